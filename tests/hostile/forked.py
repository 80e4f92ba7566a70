"""Commands in forks of a process that has loaded everything, so that a signal meets them at work and not at their imports."""

import os
import signal
import sys
from dataclasses import replace

import myst_nb.sphinx_ext  # noqa: F401
import sphinx.cmd.build
import torch
from hostile.stub import DarkSpots
from tiny import TINY

import maa.cli
import maa.replication.reproduce
import maa.segmentation.many
from maa.replication.profiles import PROFILES
from maa.training import Probe


def maa_with_little_to_do(*arguments):
    """``maa``, whose `segment` has a system that takes no time, and whose profile "quick" has a few steps."""
    torch.set_num_threads(1)  # what so few steps teach depends on how a sum is split
    maa.segmentation.one.load_system = lambda weights, track: DarkSpots()
    PROFILES["quick"] = replace(TINY, seeds=(0,))
    Probe.POSITIVES, Probe.NEGATIVES = 40, 120
    sys.argv = ["maa", *map(str, arguments)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    maa.cli.main()


def build(*arguments):
    """``sphinx-build``."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(sphinx.cmd.build.main([*map(str, arguments)]))


def run(program, arguments, errors, environment):
    """Run one of the two above to the end of the process; what it prints goes to the file `errors`.

    That file says that the process has begun.  Until its program has, Ctrl-C ends it without a word.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    output = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.update(environment)
    try:
        program(*arguments)
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
