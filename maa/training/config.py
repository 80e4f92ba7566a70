"""Configurations: every hyper-parameter of a network in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maa.models.hgn import DEPTH


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained.  All our choice; explained in ch:hgn.

    Attributes
    ----------
    steps : int
        Optimiser steps.
    batch : int
        Patches a step, half of them centred on a microaneurysm.
    learning_rate : float
        At its highest: it rises over the first twentieth of the steps and falls along a cosine to zero.
    weight_decay : float
        Of AdamW.
    seed : int
        Of the initial weights and of every draw.
    reports : int
        How many times the run is validated and saved on its way, at least 1.
    """

    steps: int
    batch: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    seed: int = 0
    reports: int = 10

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step (0 to steps - 1)."""
        warmup = max(1, self.steps // 20)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class HGNConfig:
    """All that makes a hypothesis generation network what it is, but for the photographs.  Explained in ch:hgn.

    Attributes
    ----------
    scale : {1.0, 0.5}
        Of the photographs that it sees.
    schedule : Schedule
    width, depth : int
        Of the network (see `maa.models.HGN`).
    pool : int
        Healthy pixels to draw from.
    source : {"healthy patients", "far from lesions", "unlabelled"}, optional
        Of the healthy patches (see `maa.data.healthy_pixels`).
    rim : bool
        Whether the rims of lesions are shown too (see `maa.data.rim_pixels`).
    """

    scale: float
    schedule: Schedule
    width: int = 16
    depth: int = DEPTH
    pool: int = 1_000_000
    source: str | None = None
    rim: bool = True


@dataclass(frozen=True)
class PRNConfig:
    """All that makes a refinement network what it is, but for the photographs.  Explained in ch:refinement, varied in ch:ablations.

    Attributes
    ----------
    schedule : Schedule
    width, embedding_size, depth, scales
        Of the network (see `maa.models.PRN`).
    pool : int
        Healthy pixels to draw from; all of them are scored at every refresh.
    source, rim
        As in `HGNConfig`.
    warm : bool
        Whether the towers start as the trunks of the two trained HGNs, or at random.
    triplet_weight : float
        Of the triplet loss against cross-entropy; 0 trains without it.
    margin : float
        Of the triplet loss, in Euclidean distance on the unit sphere (0 to 2).
    mining : {"random", "semi-hard", "batch-hard"}
    distance : {"euclidean", "cosine"}
    selective : bool
        Selective sampling of the healthy patches; False draws them evenly.
    refreshes : int
        How many times in a training the sampling probabilities are refreshed.
    power : float, 0 to 1
        Of the error that the probabilities follow; 1 is plain selective sampling (see `maa.training.SelectiveSampler`).
    """

    schedule: Schedule
    width: int = 16
    embedding_size: int = 64
    depth: int = DEPTH
    scales: str = "both"
    pool: int = 50_000
    source: str | None = None
    rim: bool = True
    warm: bool = True
    triplet_weight: float = 0.5
    margin: float = 0.3
    mining: str = "semi-hard"
    distance: str = "euclidean"
    selective: bool = True
    refreshes: int = 4
    power: float = 1.0


@dataclass(frozen=True)
class UNetConfig:
    """All that makes a U-Net what it is, but for the photographs.  Explained in sec:beyond.

    Attributes
    ----------
    schedule : Schedule
        Its batches are crops, half of them centred on microaneurysm pixels, a quarter on other lesions or anywhere in diseased
        photographs, a quarter anywhere in healthy ones.
    scale : {1.0, 0.5}
    width : int
        Channels at full resolution (see `maa.models.UNet`).
    pool : int
        Pixels of diseased and of healthy photographs to draw from, each.
    side : int
        Of a training crop in pixels, a multiple of 16.
    zoom : float
        Crops are scaled by up to this factor, up or down.
    cross_entropy_weight : float
        Of the sum of every class's cross-entropy, against the Dice loss.
    """

    schedule: Schedule
    scale: float = 0.5
    width: int = 32
    pool: int = 200_000
    side: int = 144
    zoom: float = 1.25
    cross_entropy_weight: float = 10.0


@dataclass(frozen=True)
class WindowConfig:
    """All that makes a hypothesis generation network that is trained on windows with masks what it is.  Explained in ch:hgn.

    Attributes
    ----------
    scale : {1.0, 0.5}
        Of the photographs that it sees.
    schedule : Schedule
        Its batches are windows, half of them with a lesion.
    width, depth : int
        Of the network (see `maa.models.HGN`).
    side : int
        Of a window in pixels, at most 256.
    pool : int
        Pixels of healthy patients to centre windows on.
    """

    scale: float
    schedule: Schedule
    width: int = 16
    depth: int = DEPTH
    side: int = 256
    pool: int = 1_000_000


@dataclass(frozen=True)
class DecoderConfig:
    """All that makes an encoder-decoder that is trained on windows with masks what it is.  Explained in sec:readings.

    Attributes
    ----------
    scale : {1.0, 0.5}
        Of the photographs that it sees.
    schedule : Schedule
        As in `WindowConfig`.
    width : int
        Channels at full resolution (see `maa.models.UNet`).
    side : int
        Of a window in pixels, a multiple of 16.
    pool : int
        As in `WindowConfig`.
    """

    scale: float
    schedule: Schedule
    width: int = 16
    side: int = 256
    pool: int = 1_000_000


@dataclass(frozen=True)
class CandidateConfig:
    """All that makes a refinement network that is trained on candidates what it is, but for the photographs.  Explained in ch:refinement.

    Attributes
    ----------
    schedule : Schedule
        Half of a batch are microaneurysms.
    width, embedding_size, depth, scales, projected
        Of the network (see `maa.models.PRN`).
    negatives : {"healthy", "diseased too", "ground"}
        Candidates of healthy patients (the paper's rule), those that are no lesion in diseased photographs beside them, or any
        pixel of healthy patients, candidate or not.
    warm : bool
        Whether the towers start as the trunks of the networks of the first stage, or at random.
    triplet_weight : float
        Of the triplet loss against cross-entropy; 0 trains without it.
    mining : {"random", "semi-hard", "batch-hard", "soft"}
        As in `maa.models.losses.triplet_loss`; or the hardest triplets of different photographs with a soft margin.
    margin : float
        Of the triplet loss, in Euclidean distance on the unit sphere (0 to 2); of no account for "soft".
    rule : {"uniform", "plain", "told", "mixture", "fresh"}
        How the healthy patches are drawn (see `maa.training.Reserve`).
    """

    schedule: Schedule
    width: int = 16
    embedding_size: int = 64
    depth: int = DEPTH
    scales: str = "both"
    projected: bool = False
    negatives: str = "healthy"
    warm: bool = False
    triplet_weight: float = 0.0
    mining: str = "semi-hard"
    margin: float = 0.3
    rule: str = "uniform"
