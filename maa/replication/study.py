"""A study: one data set, one budget, and every model that was trained on it.

Models and normalised photographs are kept in a folder, keyed by configuration, data and recipe (`maa.replication.recipes`), so that
what one chapter trains another finds, and a study that was interrupted goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from maa.data import idrid, locate
from maa.data.idrid import Dataset
from maa.data.idrid import Record as Photograph
from maa.data.stacks import ImageStack, build_stacks
from maa.errors import MaaError
from maa.hardware import device, precision
from maa.models.hgn import HGN
from maa.models.prn import PRN
from maa.models.unet import UNet
from maa.models.weights import load_weights, save_weights
from maa.phantom.config import PhantomConfig
from maa.phantom.dataset import write_dataset
from maa.progress import bar
from maa.provenance import cache_folder, code_fingerprint, environment, fingerprint, write_json
from maa.replication.profiles import LESSON, PHANTOMS, Profile
from maa.replication.recipes import recipe
from maa.replication.records import NETWORKS, C, Config, Record, Trained
from maa.training.candidates import CandidateTask
from maa.training.config import HGNConfig
from maa.training.devices import is_first, processes, wait
from maa.training.loop import Task, fit
from maa.training.tasks import HGNTask, PRNTask, UNetTask
from maa.training.windows import DecoderTask, WindowTask


class Study:
    """Trains each model of a profile on a data set once, and remembers it.

    Parameters
    ----------
    dataset : maa.data.Dataset
    profile : Profile
    folder : path-like, optional
        Where the models are kept; `maa.provenance.cache_folder`, where the normalised photographs always
        go, by default.
    shipped : path-like, optional
        Of models trained elsewhere, one folder each, that are taken where they were made alike, on whatever machine.

    Notes
    -----
    Every chapter begins with one.
    """

    def __init__(
        self,
        dataset: Dataset,
        profile: Profile,
        folder: str | os.PathLike[str] | None = None,
        shipped: str | os.PathLike[str] | None = None,
    ) -> None:
        self.dataset, self.profile = dataset, profile
        self.folder = Path(folder) if folder else cache_folder()
        self.shipped = Path(shipped) if shipped else None

    def records(self, split: str) -> list[Photograph]:
        """The photographs of a split that the profile allows, diseased before healthy."""
        limit = self.profile.images
        if limit and split != "train":
            limit = max(1, limit // 3)
        return [record for diseased in (True, False) for record in self.dataset.select(split, diseased)[:limit]]

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
        names = [record.name for record in self.records(split)]
        fine, coarse = self._stacks
        return fine.subset(names), coarse.subset(names)

    @cached_property
    def _stacks(self) -> tuple[ImageStack, ImageStack]:
        """All photographs but the test ones in one stack, whatever their split: folds of a data set share the file."""
        records = sorted(self.records("train") + self.records("validation"), key=lambda record: record.name)
        alike = Dataset(self.dataset.root, tuple(replace(record, split="train") for record in records))
        key = fingerprint(alike.fingerprint, recipe("photographs"))
        return build_stacks(records, cache_folder() / f"stacks-{key[:16]}")

    def hgn(self, scale: float, seed: int = 0, **changes: Any) -> Trained[HGN]:
        """The hypothesis generation network of a scale, 1.0 or 0.5.  Explained in ch:hgn and ch:half.

        Parameters
        ----------
        scale : {1.0, 0.5}
        seed : int
        **changes
            What differs from the profile's `HGNConfig`, for example ``source="unlabelled"``.
        """
        return self._of_one_scale("hgn", self._hgn_config(scale, seed, **changes), HGNTask)

    def first_stage(self, seed: int = 0) -> dict[str, Trained[HGN]]:
        """Both hypothesis generation networks, by the row that each gives."""
        return {"hgn_1x": self.hgn(1.0, seed), "hgn_half": self.hgn(0.5, seed)}

    def windows(self, scale: float, seed: int = 0, **changes: Any) -> Trained[HGN]:
        """The hypothesis generation network of a scale, 1.0 or 0.5, trained on windows with masks.  Explained in ch:hgn."""
        config = _seeded(replace(self.profile.windows, scale=scale, **changes), seed)
        return self._of_one_scale("windows", config, WindowTask)

    def decoder(self, scale: float, seed: int = 0) -> Trained[UNet]:
        """An encoder-decoder in the place of the hypothesis generation network of a scale.  Explained in sec:readings."""
        return self._of_one_scale("decoder", _seeded(replace(self.profile.decoder, scale=scale), seed), DecoderTask)

    def prn(self, seed: int = 0, **changes: Any) -> Trained[PRN]:
        """A refinement network.  Explained in ch:refinement.

        Parameters
        ----------
        seed : int
        **changes
            What differs from the profile's `PRNConfig`, for example ``selective=False``.
        """
        config = _seeded(replace(self.profile.prn, **changes), seed)
        scales = {"both": (1.0, 0.5), "1x": (1.0,), "0.5x": (0.5,)}[config.scales]
        alike = {"width": config.width, "depth": config.depth}
        start = [self._hgn_config(scale, seed, **alike) for scale in scales] if config.warm else []
        record = self._record("prn", config, tuple(start))

        def task() -> PRNTask:
            return PRNTask(self.train, config, [self.hgn(hgn.scale, seed, **alike).model for hgn in start])

        return self._trained(record, task)

    def refinement(
        self, centres: Mapping[str, np.ndarray], first_stage: Sequence[Trained[HGN]], seed: int = 0, **changes: Any
    ) -> Trained[PRN]:
        """A refinement network that is trained on candidates.  Explained in ch:refinement.

        Parameters
        ----------
        centres : mapping of str to ndarray, shape (K, 2), int
            Candidates of each training photograph by its name, proposed by networks that had not seen it.
        first_stage : sequence of Trained[HGN]
            At 1x and at 0.5x: a network with ``warm=True`` starts from their trunks.
        seed : int
        **changes
            What differs from the profile's `CandidateConfig`, for example ``rule="told"``.
        """
        config = _seeded(replace(self.profile.candidates, **changes), seed)
        asked = fingerprint({record.name: centres[record.name] for record in self.records("train")})
        start = [run.record.key for run in first_stage] if config.warm else []
        record = self._record("candidates", config)
        record = replace(record, data=fingerprint(record.data, asked, start))
        hgns = [run.model for run in first_stage] if config.warm else []
        return self._trained(record, lambda: CandidateTask(self.train, centres, config, hgns))

    def unet(self, seed: int = 0, **changes: Any) -> Trained[UNet]:
        """The one-stage competitor.  Explained in sec:beyond."""
        return self._of_one_scale("unet", _seeded(replace(self.profile.unet, **changes), seed), UNetTask)

    def _of_one_scale(self, family: str, config: Any, task: Callable[..., Task[Any]]) -> Trained[Any]:
        """A network that sees the photographs at the scale that its configuration names."""
        level = 0 if config.scale == 1.0 else 1
        return self._trained(self._record(family, config), lambda: task(self.train[level], self.validation[level], config))

    def _hgn_config(self, scale: float, seed: int, **changes: Any) -> HGNConfig:
        config = self.profile.hgn_1x if scale == 1.0 else self.profile.hgn_half
        return _seeded(replace(config, **changes), seed)

    def _record(self, family: str, config: Config, start: tuple[HGNConfig, ...] = ()) -> Record:
        """The record of a model that is to be trained on this machine, as far as it decides what becomes of it."""
        chosen = device()
        families = {"photographs", family} | ({"hgn"} if start else set())
        photographs = tuple(record.name for record in self.records("train"))
        return Record(
            family,
            config,
            start,
            recipe(*sorted(families)),
            self.dataset.fingerprint,
            photographs,
            chosen.type,
            precision(chosen),
        )

    def _shipped(self, record: Record) -> Path | None:
        """The folder of the shipped model that differs from a record in nothing but the machine that it was trained on."""
        for run in sorted(self.shipped.glob(f"{record.name}-*/run.json")) if self.shipped else []:
            if replace(Record.read(run), device=record.device, precision=record.precision).key == record.key:
                return run.parent
        return None

    def _trained(self, record: Record, task: Callable[[], Task[Any]]) -> Trained[Any]:
        folder = self._shipped(record) or self.folder / f"{record.name}-{record.key[:16]}"
        weights, run = folder / "weights.safetensors", folder / "run.json"

        def is_whole() -> bool:
            # The record is written last: where both are, the run is whole.  A checkout has the records without the weights.
            return run.exists() and weights.exists()

        together = processes() > 1  # which then do the same, but for the first, which locks and writes
        if together or not is_whole():
            # Of two processes that want the same model one trains it, and the other waits for it.
            with _lock(folder.name) if is_first() else nullcontext():
                wait()
                if not is_whole():
                    model, history = fit(task(), record.config.schedule, folder, description=f"Training {record.name}")
                if not is_whole() and is_first():
                    save_weights(model, weights)
                    record = replace(
                        record,
                        code=code_fingerprint(),
                        environment=environment(),
                        seconds=float(history["seconds"].iloc[-1]),
                        history=history.to_dict(orient="list"),
                    )
                    write_json(run, record.as_json())
                wait()
        record = Record.read(run)
        return Trained(load_weights(weights, NETWORKS[record.family]).to(device()), record, weights)


def _lock(name: str) -> FileLock:
    """In the cache, so that a run that fails leaves nothing where its results would have gone."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


def _seeded(config: C, seed: int) -> C:
    return replace(config, schedule=replace(config.schedule, seed=seed))


#: Networks of the lessons on phantoms, with their records; book/make/lessons.py trains them.
LESSONS = Path(__file__).parent.parent / "pretrained" / "lessons"


def lesson(anew: bool = False) -> Study:
    """The study that the chapters share: on IDRiD where it is found, else on phantoms.

    Parameters
    ----------
    anew : bool
        Train every network on this machine, and take none of those on phantoms that ship with the package.

    Returns
    -------
    Study
        With the profile `LESSON`.  The phantoms are drawn the first time and kept in the cache.
    """
    root = locate.find()
    if root is None:
        root = phantoms(PhantomConfig(), **PHANTOMS)
    return Study(idrid.open_dataset(root), LESSON, shipped=None if anew else LESSONS)


def phantoms(config: PhantomConfig, n_diseased: int, n_healthy: int, n_test: int, seed: int) -> Path:
    """The folder of a set of phantoms in the cache, drawn if it is not there.

    Parameters are those of `maa.phantom.write_dataset`.
    """
    identity = (config, n_diseased, n_healthy, n_test, seed, recipe("phantom"))
    root = cache_folder() / f"phantoms-{fingerprint(identity)[:16]}"
    if not root.exists():
        with _lock(root.name):
            if not root.exists():
                with bar("Drawing phantoms", n_diseased + n_healthy + n_test) as advance:
                    write_dataset(root, n_diseased, n_healthy, seed, n_test, config, progress=lambda done, total: advance(done))
    return root
