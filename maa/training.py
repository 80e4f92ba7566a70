"""Training: one loop for all three models.

A *task* says what is special about a model: how a batch is drawn, what its loss is, how it is
validated.  The loop does the rest, and can be stopped at any moment: every random number of a step is
drawn from a generator seeded by (seed, step), so a run that resumes continues bit for bit on a CPU.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from maa.hardware import device, in_channels_last, keep_memory, mixed_precision
from maa.hgn import DEPTH, HGN
from maa.inference import score_patches
from maa.losses import joint_loss
from maa.patches import FOV, MA, ImageStack, gather_scales, healthy_pixels, ma_pixels, rim_pixels
from maa.prn import PRN
from maa.progress import bar
from maa.sampling import SelectiveSampler


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained.  All our choice; explained in chapter 2.

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
        Of the network (see `maa.hgn.HGN`).
    pool : int
        Healthy pixels to draw from.
    source : {"healthy patients", "far from lesions", "unlabelled"}, optional
        Of the healthy patches (see `maa.patches.healthy_pixels`).
    rim : bool
        Whether the rims of lesions are shown too (see `maa.patches.rim_pixels`).
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
        Of the network (see `maa.prn.PRN`).
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
        Of the error that the probabilities follow; 1 is plain selective sampling (see `maa.sampling.SelectiveSampler`).
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
        Channels at full resolution (see `maa.unet.UNet`).
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


class Task(Protocol):
    """What the loop needs to know of a model."""

    def build(self) -> nn.Module:
        """A model with fresh weights, drawn from torch's global generator."""

    def loss(self, model: nn.Module, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch drawn with `rng`, and metrics worth plotting."""

    def report(self, model: nn.Module) -> dict[str, float]:
        """Validation metrics; called `Schedule.reports` times, with the model in evaluation mode."""

    def state(self) -> dict[str, Tensor]:
        """What the task itself must remember to resume."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take a state back."""


def fit(
    task: Task, schedule: Schedule, folder: str | os.PathLike[str] | None = None, description: str = "Training"
) -> tuple[nn.Module, pd.DataFrame]:
    """Train a model.

    Parameters
    ----------
    task : Task
    schedule : Schedule
    folder : path-like, optional
        Where the state of the run is kept.  A run that finds the state of an earlier one there goes on
        with it; the file is removed at the end.
    description : str
        Names the progress bar.

    Returns
    -------
    model : nn.Module
        In evaluation mode, on the device it was trained on.
    history : DataFrame
        One row a report: step, seconds, learning rate, the mean of every training metric since the last
        report, and the validation metrics.

    Notes
    -----
    Explained in chapter 2.
    """
    chosen = device()
    keep_memory()
    torch.manual_seed(schedule.seed)
    model = in_channels_last(task.build().to(chosen))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=schedule.weight_decay)
    checkpoint = Path(folder) / "checkpoint.pt" if folder else None
    first, spent = 0, 0.0
    rows: list[dict[str, float]] = []
    if checkpoint and checkpoint.exists():
        saved = torch.load(checkpoint, map_location=chosen, weights_only=True)  # tensors and numbers: nothing on disk is ever executed
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        task.restore(saved["task"])
        first, rows, spent = saved["step"], saved["rows"], saved["seconds"]

    reports = set(np.linspace(0, schedule.steps, schedule.reports + 1).round().astype(int)[1:])
    metrics: list[dict[str, Tensor]] = []
    note, start = "", time.perf_counter() - spent
    with bar(description, schedule.steps) as advance:
        for step in range(first, schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate_at(step)
            model.train()
            with mixed_precision(chosen):
                loss, values = task.loss(model, step, np.random.default_rng([schedule.seed, step]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation for it
            optimizer.step()
            metrics.append({"loss": loss.detach(), **values})
            if step + 1 in reports:
                model.eval()
                means = {key: float(torch.stack([torch.as_tensor(m[key]).float() for m in metrics]).mean()) for key in metrics[0]}
                validation = task.report(model)
                spent = time.perf_counter() - start
                rows.append({"step": step + 1, "seconds": spent, "learning_rate": schedule.learning_rate_at(step), **means, **validation})
                metrics = []
                note = "  ".join(f"{key} {value:.3f}" for key, value in {**means, **validation}.items())
                if checkpoint and step + 1 < schedule.steps:
                    _save(checkpoint, step + 1, model, optimizer, task, rows, spent)
            advance(step + 1, note)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return model.eval(), pd.DataFrame(rows)


def _save(
    checkpoint: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, task: Task, rows: list[dict[str, float]],
    seconds: float,
) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    torch.save(
        {
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "task": task.state(),
            "rows": rows,
            "seconds": seconds,
        },
        partial,
    )
    os.replace(partial, checkpoint)


# ---------------------------------------------------------------------------------------------------------


def augment(patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn, mirror and tint patches at random.

    Parameters
    ----------
    patches : ndarray, shape (N, ..., P, P, 3), uint8
        Normalised patches; what one patch holds at several scales is treated alike.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of the same shape, uint8
        Each patch in one of its 8 orientations, tinted (see `tint`).

    Notes
    -----
    Our choice: a retina has no preferred orientation at this size.
    """
    turned = np.empty_like(patches)
    groups = rng.integers(8, size=len(patches))
    for group in range(8):
        chosen = patches[groups == group]
        if group & 1:
            chosen = chosen.swapaxes(-3, -2)
        if group & 2:
            chosen = chosen[..., ::-1, :, :]
        if group & 4:
            chosen = chosen[..., ::-1, :]
        turned[groups == group] = chosen
    return tint(turned, rng)


def tint(patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change contrast and brightness of patches at random.

    Parameters
    ----------
    patches : ndarray, shape (N, ..., P, P, 3), uint8
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of the same shape, uint8
        Contrast multiplied by 0.8 to 1.25 and brightness moved by up to 0.3 of a unit of contrast
        (`maa.normalise.LEVELS`), each channel a little differently: cameras differ in colour.
    """
    shape = (len(patches),) + (1,) * (patches.ndim - 2)
    gain = np.exp(rng.uniform(-0.22, 0.22, shape + (1,)) + rng.normal(0, 0.05, shape + (3,))).astype(np.float32)
    shift = (rng.uniform(-5, 5, shape + (1,)) + rng.normal(0, 2, shape + (3,))).astype(np.float32)
    tinted = (patches.astype(np.float32) - 128) * gain
    tinted += 128.5 + shift
    return np.clip(tinted, 0, 255, out=tinted).astype(np.uint8)


#: Share of microaneurysm pixels in the field of view of a diseased photograph.  Training shows five hundred
#: times as many, and says so to the loss (see `added_log_odds`).  Counted on IDRiD's training photographs, rounded.
PRIOR = 0.001


def added_log_odds(shown: float) -> float:
    """By how much a batch raises the log-odds of a lesion over those of a photograph.

    Added to the logits that the loss sees (logit adjustment, Menon et al., ICLR 2021), so that a network's own
    logit is that of a pixel of a photograph: probabilities far from 1, which the maps resolve finely and which
    two networks can be fused by.

    Parameters
    ----------
    shown : float
        Share of microaneurysm patches in a batch.
    """
    return math.log(shown / (1 - shown)) - math.log(PRIOR / (1 - PRIOR))


class HGNTask:
    """Train a hypothesis generation network on patches with the label of their centre pixel.

    Parameters
    ----------
    train, validation : ImageStack
        Photographs at the scale of the network.
    config : HGNConfig
        Of each batch half are MA patches, an eighth rim patches and the rest healthy ones; without rims healthy ones take
        their place.

    Notes
    -----
    Half of the patches are lesions where a thousandth of the pixels are: see `added_log_odds`.
    Explained in ch:hgn.
    """

    def __init__(self, train: ImageStack, validation: ImageStack, config: HGNConfig):
        self.stack, self.config = train, config
        self.pools = {"ma": ma_pixels(train), **_background(train, config)}
        self.shares = shares(config.schedule.batch, self.pools["rim"])
        self.added = added_log_odds(self.shares["ma"] / config.schedule.batch)
        self.probe = Probe(validation)

    def build(self) -> HGN:
        return HGN(self.config.width, self.config.depth)

    def loss(self, model: nn.Module, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        where = np.concatenate([draw(self.pools[pool], share, rng) for pool, share in self.shares.items()])
        patches = torch.from_numpy(augment(self.stack.gather(where, model.patch_size), rng))
        labels = torch.arange(len(where)) < self.shares["ma"]
        device = next(model.parameters()).device
        logits = model(patches.to(device)).float() + self.added
        return F.binary_cross_entropy_with_logits(logits, labels.to(device, torch.float32)), {}

    def report(self, model: nn.Module) -> dict[str, float]:
        return {"validation_ap": self.probe.average_precision(model)}

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        pass


def _background(stack: ImageStack, config: HGNConfig | PRNConfig) -> dict[str, np.ndarray]:
    """The pools of pixels without a lesion that a network is trained on, each of shape (K, 3): rims, if any, and healthy ground."""
    healthy = healthy_pixels(stack, config.pool, np.random.default_rng(config.schedule.seed), config.source)
    return {"rim": rim_pixels(stack) if config.rim else healthy[:0], "healthy": healthy}


def shares(batch: int, rim: np.ndarray) -> dict[str, int]:
    """How many patches of a batch are lesions (half), rims of lesions (an eighth, if there are any) and healthy."""
    counts = {"ma": batch // 2, "rim": batch // 8 if len(rim) else 0}
    return counts | {"healthy": batch - sum(counts.values())}


def draw(pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` rows of a table of pixels, evenly and with repetition."""
    return pool[rng.integers(len(pool), size=count)] if count else pool[:0]


class PRNTask:
    """Train a refinement network on MA patches and selectively sampled healthy ones.

    Parameters
    ----------
    train : tuple of ImageStack
        The same photographs at 1x and at 0.5x.
    config : PRNConfig
        Its pools are of pixels at 1x; the healthy one is sampled selectively.
    hgns : sequence of HGN
        One for each tower, whose trunk the tower starts as; none, and the towers start at random.
    """

    def __init__(self, train: tuple[ImageStack, ImageStack], config: PRNConfig, hgns: Sequence[HGN] = ()):
        self.stacks, self.config, self.hgns = train, config, hgns
        self.pools = {"ma": ma_pixels(train[0]), **_background(train[0], config)}
        self.shares = shares(config.schedule.batch, self.pools["rim"])
        self.added = added_log_odds(self.shares["ma"] / config.schedule.batch)
        self.sampler = SelectiveSampler(len(self.pools["healthy"]), config.power)
        # Evenly through the training; the first epoch, before the first of them, is uniform.
        moments = np.linspace(0, config.schedule.steps, config.refreshes + 2)[1:-1].round().astype(int)
        self.refresh_at = set(moments.tolist()) - {0} if config.selective else set()

    def build(self) -> PRN:
        c = self.config
        model = PRN(c.width, c.embedding_size, c.depth, c.scales)
        for tower, hgn in zip(model.towers, self.hgns):
            tower.load_state_dict(hgn.trunk.state_dict())
        return model

    def loss(self, model: nn.Module, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        c, pools = self.config, self.pools
        if step in self.refresh_at:
            model.eval()
            self.sampler.update(score_patches(model, self.stacks, pools["healthy"])[0])
            model.train()
        healthy = pools["healthy"][self.sampler.draw(self.shares["healthy"], rng)]
        where = np.concatenate([*(draw(pools[pool], self.shares[pool], rng) for pool in ("ma", "rim")), healthy])
        patches = augment(gather_scales(self.stacks, where, model.patch_size), rng)
        labels = torch.arange(len(where)) < self.shares["ma"]
        device = next(model.parameters()).device
        logits, embedding = model(torch.from_numpy(patches).to(device))
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
        return joint_loss(
            logits.float() + self.added, embedding, labels.to(device), c.triplet_weight, c.margin, c.distance, c.mining, generator
        )

    def report(self, model: nn.Module) -> dict[str, float]:
        return {"effective_pool": self.sampler.effective_size / len(self.pools["healthy"])}

    def state(self) -> dict[str, Tensor]:
        return {"error": torch.from_numpy(self.sampler.error)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.sampler.update(state["error"].cpu().numpy())


class Probe:
    """Validation pixels, few enough to be scored during training.

    The rare class is sampled more densely, and each pixel weighs as much as those it stands for, so that the
    average precision of the sample estimates that of all the pixels.

    Parameters
    ----------
    stack : ImageStack
        Validation photographs; only the diseased ones count.

    Raises
    ------
    MaaError
        When no microaneurysm is annotated in any of them.
    """

    POSITIVES, NEGATIVES = 1000, 15_000

    def __init__(self, stack: ImageStack):
        rng = np.random.default_rng(0)  # the same probe for every run of a study
        ma = ma_pixels(stack)
        tables, total = [], 0
        diseased = np.flatnonzero(stack.diseased).tolist()
        for index in diseased:
            flat = np.flatnonzero((stack.label(index) & (FOV | MA)) == FOV)
            total += flat.size
            drawn = np.sort(draw(flat, self.NEGATIVES // len(diseased), rng))
            tables.append(np.stack([np.full(drawn.size, index), *np.divmod(drawn, stack.shapes[index, 1])], axis=1))
        negatives = np.concatenate(tables)
        positives = draw(ma, self.POSITIVES, rng)
        self.stack = stack
        self.where = np.concatenate([positives, negatives])
        self.truth = np.arange(len(self.where)) < len(positives)
        self.weight = np.where(self.truth, len(ma) / len(positives), total / len(negatives))

    def average_precision(self, model: HGN) -> float:
        """Estimated average precision of a model at the scale of the stack."""
        device, scores = next(model.parameters()).device, []
        with torch.inference_mode(), mixed_precision(device):
            for start in range(0, len(self.where), 1024):
                patches = self.stack.gather(self.where[start : start + 1024], model.patch_size)
                scores.append(model(torch.from_numpy(patches).to(device)).float().cpu())
        return float(average_precision_score(self.truth, torch.cat(scores).numpy(), sample_weight=self.weight))
