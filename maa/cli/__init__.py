"""The command line: one command for each thing that a reader does with the package.

Commands import what they need when they run, so that ``maa --help`` answers at once.  To add one, write a function under
``@app.command()`` and import its file here: its docstring is its help, and a `MaaError` that it raises becomes one red sentence and
exit status 2.
"""

from maa.cli import data, train, segment, reproduce, score  # noqa: F401, I001  # the order of the commands in the help
from maa.cli.base import ProfileName, app, main

__all__ = ["ProfileName", "app", "main"]
