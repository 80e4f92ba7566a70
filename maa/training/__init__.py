"""Training: configurations, one loop for all networks, and what each of them is shown.

A task says what is special about a model: how a batch is drawn, what its loss is, how it is validated.  The loop does the rest, and can be stopped at any
moment: every random number of a step is drawn from a generator seeded by (seed, step), so a run that resumes continues bit for bit on a CPU.
"""

from maa.training.augmentation import augment, color_jitter, turn, turn_and_zoom
from maa.training.candidates import CandidateTask
from maa.training.config import CandidateConfig, DecoderConfig, HGNConfig, PRNConfig, Schedule, UNetConfig, WindowConfig
from maa.training.loop import Task, fit
from maa.training.probe import Probe
from maa.training.sampling import SelectiveSampler, draw
from maa.training.tasks import PRIOR, HGNTask, PRNTask, UNetTask, added_log_odds, shares
from maa.training.windows import DecoderTask, WindowTask

__all__ = [
    "CandidateConfig",
    "CandidateTask",
    "DecoderConfig",
    "DecoderTask",
    "HGNConfig",
    "HGNTask",
    "PRIOR",
    "PRNConfig",
    "PRNTask",
    "Probe",
    "Schedule",
    "SelectiveSampler",
    "Task",
    "UNetConfig",
    "UNetTask",
    "WindowConfig",
    "WindowTask",
    "added_log_odds",
    "augment",
    "color_jitter",
    "draw",
    "fit",
    "shares",
    "turn",
    "turn_and_zoom",
]
