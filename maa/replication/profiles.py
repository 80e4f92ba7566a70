"""Profiles: budgets of a study."""

from __future__ import annotations

from dataclasses import dataclass

from maa.training.config import CandidateConfig, DecoderConfig, HGNConfig, PRNConfig, Schedule, UNetConfig, WindowConfig


@dataclass(frozen=True)
class Profile:
    """The budget of a study.  All our choice; the reasons are in ch:hgn to ch:refinement.

    Attributes
    ----------
    name : str
    hgn_1x, hgn_half : HGNConfig
    windows, decoder : WindowConfig, DecoderConfig
        At 1x; at 0.5x nothing else differs.  The encoder-decoder is trained about as long, in seconds, as the network that it is compared with.
    prn : PRNConfig
    unet : UNetConfig
        Of the one-stage competitor.
    seeds : tuple of int
        The replication trains the main table once for each.
    images : int or None
        At most so many diseased and so many healthy photographs for training, and a third of it for
        validation; None for all.
    """

    name: str
    hgn_1x: HGNConfig
    hgn_half: HGNConfig
    prn: PRNConfig
    windows: WindowConfig = WindowConfig(1.0, Schedule(steps=1000, batch=16))
    decoder: DecoderConfig = DecoderConfig(1.0, Schedule(steps=650, batch=8, learning_rate=2e-3, reports=5))
    candidates: CandidateConfig = CandidateConfig(Schedule(steps=1000, batch=128, learning_rate=2e-3))
    unet: UNetConfig = UNetConfig(Schedule(steps=1500, batch=16, learning_rate=2e-3, reports=5))
    seeds: tuple[int, ...] = (0,)
    images: int | None = None


#: What the chapters train before the reader's eyes.
LESSON = Profile(
    "lesson",
    hgn_1x=HGNConfig(1.0, Schedule(steps=250, batch=128), width=8, pool=100_000),
    hgn_half=HGNConfig(0.5, Schedule(steps=250, batch=128), width=8, pool=100_000),
    prn=PRNConfig(Schedule(steps=200, batch=96), width=8, pool=4_000),
    images=12,
)
#: Every row of the paper's table on IDRiD, in less than 45 minutes on two cores.
QUICK = Profile(
    "quick",
    hgn_1x=HGNConfig(1.0, Schedule(steps=2500)),
    hgn_half=HGNConfig(0.5, Schedule(steps=1500)),
    prn=PRNConfig(Schedule(steps=700, batch=128)),
)
#: The replication: every row of the paper's table, several seeds, and the ablations.
FULL = Profile(
    "full",
    hgn_1x=HGNConfig(1.0, Schedule(steps=2500)),
    hgn_half=HGNConfig(0.5, Schedule(steps=2500)),
    prn=PRNConfig(Schedule(steps=1000, batch=128, learning_rate=2e-3)),
    seeds=(0, 1, 2),
)
PROFILES = {profile.name: profile for profile in (LESSON, QUICK, FULL)}
#: The phantoms of the chapters: IDRiD's shares of healthy and diseased, lesions of nearly IDRiD's size in pixels.
PHANTOMS = {"n_diseased": 14, "n_healthy": 14, "n_test": 0, "seed": 7}
