"""The one exception that a person is meant to read."""

from __future__ import annotations


class MaaError(Exception):
    """A problem that the person at the keyboard can mend.

    Its message is one sentence: what was wrong, with which file, and what to do.  The command line
    prints it without a traceback and exits with status 2.
    """
