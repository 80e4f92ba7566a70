"""A study: one data set, one budget, and every model that was trained on it.

Models and normalised photographs are kept in a folder, keyed by configuration, data and recipe (`maa.recipes`), so that
what one chapter trains another finds, and a study that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from torch import nn

from maa import idrid
from maa.errors import MaaError
from maa.hardware import device, precision
from maa.hgn import HGN
from maa.idrid import Dataset
from maa.idrid import Record as Photograph
from maa.patches import ImageStack, build_stacks
from maa.phantom import PhantomConfig, write_dataset
from maa.prn import PRN
from maa.progress import bar
from maa.recipes import recipe
from maa.records import cache_folder, code_fingerprint, environment, fingerprint, write_json
from maa.training import HGNConfig, HGNTask, PRNConfig, PRNTask, Schedule, Task, UNetConfig, fit
from maa.unet import UNet, UNetTask
from maa.weights import load_weights, save_weights


@dataclass(frozen=True)
class Profile:
    """The budget of a study.  All our choice; the reasons are in ch:hgn to ch:refinement.

    Attributes
    ----------
    name : str
    hgn_1x, hgn_half : HGNConfig
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


Config = HGNConfig | PRNConfig | UNetConfig
_NETWORKS: dict[str, type[nn.Module]] = {"hgn": HGN, "prn": PRN, "unet": UNet}
C = TypeVar("C", HGNConfig, PRNConfig, UNetConfig)
_CONFIGS: dict[str, type[Config]] = {"hgn": HGNConfig, "prn": PRNConfig, "unet": UNetConfig}


@dataclass(frozen=True)
class Record:
    """What a trained model was made from: written once, with the weights, and never changed.

    Attributes
    ----------
    family : {"hgn", "prn", "unet"}
    config : HGNConfig, PRNConfig or UNetConfig
    start : tuple of HGNConfig
        Of the networks whose trunks the towers of a refinement network started as.
    recipe : dict of str to int
        Versions of what was done (see `maa.recipes`).
    data : str
        Fingerprint of the data set.
    photographs : tuple of str
        That it was trained on.
    device, precision : str
        What it was computed on and in (see `maa.hardware`).
    code : str
        Fingerprint of the package's code at the time: a note, no part of the key.
    environment : dict
        Versions, machine and time.
    seconds : float
        Of training.
    history : dict of str to list of float
        One entry a report (see `maa.training.fit`).
    """

    family: str
    config: Config
    start: tuple[HGNConfig, ...]
    recipe: dict[str, int]
    data: str
    photographs: tuple[str, ...]
    device: str
    precision: str
    code: str = ""
    environment: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    history: dict[str, list[float]] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Of the weights and of every draw."""
        return self.config.schedule.seed

    @property
    def name(self) -> str:
        """Of the model, for people: ``hgn-0.5x``."""
        scale = getattr(self.config, "scale", None)
        return self.family if scale is None else f"{self.family}-{scale:g}x"

    @property
    def key(self) -> str:
        """SHA-256 of all that decides what the model becomes."""
        parts = ("family", "config", "start", "recipe", "data", "photographs", "device", "precision")
        return fingerprint({part: getattr(self, part) for part in parts})

    def as_json(self) -> dict[str, object]:
        """For a file; `from_json` takes it back."""
        return {"family": self.family, "seed": self.seed, **{k: v for k, v in asdict(self).items() if k != "family"}}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Record:
        """What `as_json` gave."""
        values = {key: value for key, value in content.items() if key != "seed"}
        values["config"] = _config(_CONFIGS[content["family"]], content["config"])
        values["start"] = tuple(_config(HGNConfig, start) for start in content["start"])
        values["photographs"] = tuple(content["photographs"])
        return cls(**values)


def _config(kind: type[C], content: dict[str, Any]) -> C:
    return kind(**{**content, "schedule": Schedule(**content["schedule"])})


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model.

    Attributes
    ----------
    model : HGN, PRN or UNet
        In evaluation mode.
    record : Record
    path : Path
        Its weights file; ``run.json`` beside it holds the record, ``metrics.json`` what was measured of the model.
    """

    model: nn.Module
    record: Record
    path: Path

    @property
    def history(self) -> pd.DataFrame:
        """One row a report (see `maa.training.fit`)."""
        return pd.DataFrame(self.record.history)

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured of the model so far."""
        file = self.path.with_name("metrics.json")
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def add_metrics(self, **metrics: float) -> None:
        """Keep what was measured of the model, beside its record."""
        write_json(self.path.with_name("metrics.json"), self.metrics | metrics)


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

    def __init__(self, dataset: Dataset, profile: Profile, folder: str | os.PathLike[str] | None = None):
        self.dataset, self.profile = dataset, profile
        self.folder = Path(folder) if folder else cache_folder()

    def records(self, split: str) -> list[Photograph]:
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
        key = fingerprint(self.dataset.fingerprint, [r.name for r in records], recipe("photographs"))
        return build_stacks(records, cache_folder() / f"stack-{split}-{key[:16]}")

    def hgn(self, scale: float, seed: int = 0, **changes: Any) -> Trained:
        """The hypothesis generation network of a scale, 1.0 or 0.5.  Explained in ch:hgn and ch:half.

        Parameters
        ----------
        scale : {1.0, 0.5}
        seed : int
        **changes
            What differs from the profile's `HGNConfig`, for example ``source="unlabelled"``.
        """
        level = 0 if scale == 1.0 else 1
        config = _seeded(replace((self.profile.hgn_1x, self.profile.hgn_half)[level], **changes), seed)
        record = self._record("hgn", config)
        return self._trained(record, lambda: HGNTask(self.train[level], self.validation[level], config))

    def prn(self, seed: int = 0, **changes: Any) -> Trained:
        """A refinement network.  Explained in ch:refinement.

        Parameters
        ----------
        seed : int
        **changes
            What differs from the profile's `PRNConfig`, for example ``selective=False``.
        """
        config = _seeded(replace(self.profile.prn, **changes), seed)
        scales = {"both": (1.0, 0.5), "1x": (1.0,), "0.5x": (0.5,)}[config.scales]
        hgns = [self.hgn(scale, seed, width=config.width, depth=config.depth) for scale in scales] if config.warm else []
        record = self._record("prn", config, tuple(hgn.record.config for hgn in hgns))
        return self._trained(record, lambda: PRNTask(self.train, config, [hgn.model for hgn in hgns]))

    def unet(self, seed: int = 0, **changes: Any) -> Trained:
        """The one-stage competitor.  Explained in sec:beyond."""
        config = _seeded(replace(self.profile.unet, **changes), seed)
        level = 0 if config.scale == 1.0 else 1
        record = self._record("unet", config)
        return self._trained(record, lambda: UNetTask(self.train[level], self.validation[level], config))

    def _record(self, family: str, config: Config, start: tuple[HGNConfig, ...] = ()) -> Record:
        """The record of a model that is to be trained on this machine, as far as it decides what becomes of it."""
        chosen = device()
        families = {"photographs", family} | ({"hgn"} if start else set())
        photographs = tuple(record.name for record in self.records("train"))
        return Record(
            family, config, start, recipe(*sorted(families)), self.dataset.fingerprint, photographs, chosen.type, precision(chosen)
        )

    def _trained(self, record: Record, task: Callable[[], Task]) -> Trained:
        folder = self.folder / f"{record.name}-{record.key[:16]}"
        weights, run = folder / "weights.safetensors", folder / "run.json"
        # The record is written last: where both are, the run is whole.  A checkout has the records without the weights.
        if not (run.exists() and weights.exists()):
            model, history = fit(task(), record.config.schedule, folder, description=f"Training {record.name}")
            save_weights(model, weights)
            record = replace(
                record,
                code=code_fingerprint(),
                environment=environment(),
                seconds=float(history["seconds"].iloc[-1]),
                history=history.to_dict(orient="list"),
            )
            write_json(run, record.as_json())
        record = Record.from_json(json.loads(run.read_text()))
        return Trained(load_weights(weights, _NETWORKS[record.family]).to(device()), record, weights)


def _seeded(config: C, seed: int) -> C:
    return replace(config, schedule=replace(config.schedule, seed=seed))


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
    identity = (config, n_diseased, n_healthy, n_test, seed, recipe("phantom"))
    root = cache_folder() / f"phantoms-{fingerprint(identity)[:16]}"
    if not root.exists():
        with bar("Drawing phantoms", n_diseased + n_healthy + n_test) as advance:
            write_dataset(
                root, n_diseased, n_healthy, seed, n_test, config, progress=lambda done, total: advance(done)
            )
    return root
