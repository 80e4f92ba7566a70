"""A replication of a few steps, which several tests share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from maa.replication.profiles import Profile
from maa.training import CandidateConfig, DecoderConfig, HGNConfig, PRNConfig, Probe, Schedule, UNetConfig, WindowConfig

TINY = Profile(
    "tiny",
    hgn_1x=HGNConfig(1.0, Schedule(steps=30, batch=32, reports=2, learning_rate=1e-2), width=2, pool=2000),
    hgn_half=HGNConfig(0.5, Schedule(steps=30, batch=32, reports=2, learning_rate=1e-2), width=2, pool=2000),
    prn=PRNConfig(Schedule(steps=5, batch=16, reports=1), width=2, pool=60),
    windows=WindowConfig(1.0, Schedule(steps=20, batch=8, reports=1, learning_rate=1e-2), width=2, side=96, pool=500),
    decoder=DecoderConfig(1.0, Schedule(steps=5, batch=4, reports=1), width=2, side=96, pool=500),
    candidates=CandidateConfig(Schedule(steps=5, batch=16, reports=1), width=2, embedding_size=8),
    unet=UNetConfig(Schedule(steps=3, batch=8, reports=1), side=48),
    seeds=(1, 4),
)


@contextmanager
def in_small(cache: Path) -> Iterator[None]:
    """A cache of its own, a probe of few pixels, silence, and one thread: what so few steps teach depends on how a sum is split."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAA_CACHE", str(cache))
        patch.setenv("MAA_PROGRESS", "0")
        patch.setattr(Probe, "POSITIVES", 40)
        patch.setattr(Probe, "NEGATIVES", 120)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
