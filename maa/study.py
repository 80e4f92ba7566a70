"""A study: one data set, one budget, and every model that was trained on it.

Models and normalised photographs are kept in a folder, keyed by configuration, data and code, so that
what one chapter trains another finds, and a study that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from maa import idrid
from maa.errors import MaaError
from maa.hardware import device
from maa.hgn import DEPTH
from maa.idrid import Dataset, Record
from maa.phantom import PhantomConfig, write_dataset
from maa.patches import ImageStack, build_stacks, healthy_pixels, rim_pixels
from maa.progress import bar
from maa.records import cache_folder, code_fingerprint, environment, fingerprint, write_json
from maa.tempering import Tempered, TemperedSampler
from maa.training import HGNTask, PRNTask, Refinement, Schedule, fit
from maa.unet import UNetTask
from maa.weights import load_weights, save_weights

_DATA_CODE = ("fundus", "normalise", "patches", "idrid")
_MODEL_CODE = (*_DATA_CODE, "hgn", "prn", "losses", "sampling", "training", "inference")


@dataclass(frozen=True)
class Profile:
    """The budget of a study.  All our choice; the reasons are in chapters 2 to 5.

    Attributes
    ----------
    name : str
    hgn_1x, hgn_half, prn : Schedule
    width : int
        Channels of the first layer of the networks.
    healthy_pool : int
        Healthy pixels for the HGNs to draw from.
    prn_pool : int
        Healthy pixels for the PRN to draw from; all of them are scored at every refresh.
    unet : Schedule
        Of the one-stage competitor, at either scale; its batches are crops (see `maa.unet.UNetTask`).
    seeds : tuple of int
        The replication trains the main table once for each.
    images : int or None
        At most so many diseased and so many healthy photographs for training, and a third of it for
        validation; None for all.
    """

    name: str
    hgn_1x: Schedule
    hgn_half: Schedule
    prn: Schedule
    width: int = 16
    healthy_pool: int = 1_000_000
    prn_pool: int = 50_000
    unet: Schedule = Schedule(steps=1500, batch=16, learning_rate=2e-3, reports=5)
    seeds: tuple[int, ...] = (0,)
    images: int | None = None


#: What the chapters train before the reader's eyes.
LESSON = Profile(
    "lesson",
    hgn_1x=Schedule(steps=250, batch=128),
    hgn_half=Schedule(steps=250, batch=128),
    prn=Schedule(steps=200, batch=96),
    width=8,
    healthy_pool=100_000,
    prn_pool=4_000,
    images=12,
)

#: Every row of the paper's table on IDRiD, in less than 45 minutes on two cores.
QUICK = Profile(
    "quick",
    hgn_1x=Schedule(steps=2500),
    hgn_half=Schedule(steps=1500),
    prn=Schedule(steps=700, batch=128),
)

#: The replication: every row of the paper's table, several seeds, and the ablations.
FULL = Profile(
    "full",
    hgn_1x=Schedule(steps=2500),
    hgn_half=Schedule(steps=2500),
    prn=Schedule(steps=1000, batch=128, learning_rate=2e-3),
    seeds=(0, 1, 2),
)

PROFILES = {profile.name: profile for profile in (LESSON, QUICK, FULL)}


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model.

    Attributes
    ----------
    model : HGN or PRN
        In evaluation mode.
    history : DataFrame
        One row a report (see `maa.training.fit`).
    record : dict
        Configuration, seed, fingerprints, versions, machine and time.
    path : Path
        Its weights file.
    """

    model: nn.Module
    history: pd.DataFrame
    record: dict
    path: Path


class Study:
    """Trains each model of a profile on a data set once, and remembers it.

    Parameters
    ----------
    dataset : maa.idrid.Dataset
    profile : Profile
    folder : path-like, optional
        Where the models are kept; `maa.records.cache_folder`, where the normalised photographs always
        go, by default.

    Notes
    -----
    Every chapter begins with one.
    """

    def __init__(self, dataset: Dataset, profile: Profile, folder=None):
        self.dataset, self.profile = dataset, profile
        self.folder = Path(folder) if folder else cache_folder()

    def records(self, split: str) -> list[Record]:
        """The photographs of a split that the profile allows, diseased before healthy."""
        limit = self.profile.images
        if limit and split != "train":
            limit = max(1, limit // 3)
        return [
            record for diseased in (True, False) for record in self.dataset.select(split, diseased)[:limit]
        ]

    @cached_property
    def train(self) -> tuple[ImageStack, ImageStack]:
        """Training photographs, normalised, at 1x and 0.5x.

        Raises
        ------
        MaaError
            When none of them has an annotated microaneurysm: there would be nothing to learn from.
        """
        if not any("MA" in record.mask_paths for record in self.records("train")):
            raise MaaError(
                f"{self.dataset.root} holds no training photograph with a microaneurysm mask: "
                "at least two diseased photographs are needed, one to train on and one to validate with."
            )
        return self.stacks("train")

    @cached_property
    def validation(self) -> tuple[ImageStack, ImageStack]:
        """Validation photographs, normalised, at 1x and 0.5x."""
        return self.stacks("validation")

    def stacks(self, split: str) -> tuple[ImageStack, ImageStack]:
        """The photographs of a split, normalised, at 1x and 0.5x."""
        records = self.records(split)
        key = fingerprint(self.dataset.fingerprint, [r.name for r in records], code_fingerprint(*_DATA_CODE))
        return build_stacks(records, cache_folder() / f"stack-{split}-{key[:16]}")

    def hgn(
        self, scale: float, seed: int = 0, source: str | None = None, rim: bool = True, depth: int = DEPTH
    ) -> Trained:
        """The hypothesis generation network of a scale, 1.0 or 0.5.  Explained in chapters 2 and 3.

        Parameters
        ----------
        scale : {1.0, 0.5}
        seed : int
        source : str, optional
            Of the healthy patches (see `maa.patches.healthy_pixels`).
        rim : bool
            Whether the rims of lesions are shown too (see `maa.patches.rim_pixels`).
        depth : int
            Convolutions of the network.
        """
        level = 0 if scale == 1.0 else 1
        schedule = replace(self.profile.hgn_1x if scale == 1.0 else self.profile.hgn_half, seed=seed)
        name = f"hgn-{scale:g}x"

        def task():
            train = self.train[level]
            healthy = healthy_pixels(train, self.profile.healthy_pool, np.random.default_rng(seed), source)
            rims = rim_pixels(train) if rim else healthy[:0]
            return HGNTask(train, self.validation[level], schedule, rims, healthy, self.profile.width, depth)

        config = {
            "model": name,
            "scale": scale,
            "schedule": schedule,
            "width": self.profile.width,
            "depth": depth,
            "healthy_pool": self.profile.healthy_pool,
            "source": source,
            "rim": rim,
        }
        return self._trained(name, config, task, schedule)

    def prn(self, refinement: Refinement = Refinement(), seed: int = 0) -> Trained:
        """A refinement network.  Explained in chapter 5."""
        schedule = replace(self.profile.prn, seed=seed)
        refinement = replace(refinement, width=self.profile.width)
        tempered = isinstance(refinement, Tempered)
        scales = {"both": (1.0, 0.5), "1x": (1.0,), "0.5x": (0.5,)}[refinement.scales]
        hgns = [self.hgn(scale, seed, depth=refinement.depth) for scale in scales] if refinement.warm else []

        def task():
            rng = np.random.default_rng(seed)
            healthy = healthy_pixels(self.train[0], self.profile.prn_pool, rng, refinement.source)
            rim = rim_pixels(self.train[0]) if refinement.rim else healthy[:0]
            task = PRNTask(self.train, schedule, refinement, rim, healthy, [hgn.model for hgn in hgns])
            if tempered:
                task.sampler = TemperedSampler(len(healthy), refinement.power)
            return task

        config = {
            "model": "prn",
            "schedule": schedule,
            "refinement": refinement,
            "pool": self.profile.prn_pool,
            "start": [hgn.record["config"] for hgn in hgns],
        }
        return self._trained("prn", config, task, schedule, ("tempering",) if tempered else ())

    def unet(self, scale: float, seed: int = 0) -> Trained:
        """The one-stage competitor at a scale, 1.0 or 0.5.  Explained in chapter 8."""
        level = 0 if scale == 1.0 else 1
        schedule = replace(self.profile.unet, seed=seed)
        name = f"unet-{scale:g}x"

        def task():
            return UNetTask(self.train[level], self.validation[level], schedule)

        return self._trained(name, {"model": name, "scale": scale, "schedule": schedule}, task, schedule, ("unet",))

    def _trained(self, name, config, task, schedule, code=()):
        identity = {
            "config": config,
            "data": self.dataset.fingerprint,
            "photographs": [record.name for record in self.records("train")],
            "code": code_fingerprint(*_MODEL_CODE, *code),
        }
        folder = self.folder / f"{name}-{fingerprint(identity)[:16]}"
        weights, about = folder / "weights.safetensors", folder / "run.json"
        # The record is written last: where both are, the run is whole.  A checkout has the records without the weights.
        if not (about.exists() and weights.exists()):
            model, history = fit(task(), schedule, folder, description=f"Training {name}")
            save_weights(model, weights, **{key: config[key] for key in ("scale",) if key in config})
            write_json(
                about,
                {
                    **identity,
                    "seed": schedule.seed,
                    "environment": environment(),
                    "seconds": float(history["seconds"].iloc[-1]),
                    "history": history.to_dict(orient="list"),
                },
            )
        record = json.loads(about.read_text())
        return Trained(load_weights(weights)[0].to(device()), pd.DataFrame(record["history"]), record, weights)


def add_metrics(run: Trained, **metrics) -> None:
    """Write what was measured of a model into the record of its run."""
    run.record["metrics"] = run.record.get("metrics", {}) | metrics
    write_json(run.path.with_name("run.json"), run.record)


#: The phantoms of the chapters: IDRiD's shares of healthy and diseased, lesions of nearly IDRiD's size in pixels.
PHANTOMS = {"n_diseased": 14, "n_healthy": 14, "n_test": 0, "seed": 7}


def lesson() -> Study:
    """The study that the chapters share: on IDRiD where it is found, else on phantoms.

    Returns
    -------
    Study
        With the profile `LESSON`.  The phantoms are drawn the first time and kept in the cache.
    """
    root = idrid.find()
    if root is None:
        root = phantoms(PhantomConfig(), **PHANTOMS)
    return Study(idrid.open_dataset(root), LESSON)


def phantoms(config: PhantomConfig, n_diseased: int, n_healthy: int, n_test: int, seed: int) -> Path:
    """The folder of a set of phantoms in the cache, drawn if it is not there.

    Parameters are those of `maa.phantom.write_dataset`.
    """
    identity = (config, n_diseased, n_healthy, n_test, seed, code_fingerprint("phantom"))
    root = cache_folder() / f"phantoms-{fingerprint(identity)[:16]}"
    if not root.exists():
        with bar("Drawing phantoms", n_diseased + n_healthy + n_test) as advance:
            write_dataset(
                root, n_diseased, n_healthy, seed, n_test, config, progress=lambda done, total: advance(done)
            )
    return root
