"""The validation photographs, as one set of first-stage networks sees them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from maa import evaluation
from maa.data.stacks import FOV, MA
from maa.hardware import device, precision
from maa.inference.beyond import mirrored_map
from maa.inference.candidates import hypotheses, refine, score_hypotheses
from maa.inference.fusion import fuse
from maa.inference.maps import FULL_SCALE
from maa.inference.system import System
from maa.models.hgn import HGN
from maa.models.prn import PRN
from maa.models.unet import UNet
from maa.progress import track
from maa.provenance import Json, cache_folder, environment, fingerprint, write_array
from maa.replication.recipes import recipe
from maa.replication.records import Trained
from maa.replication.scores import REFINEMENT_WEIGHTS
from maa.replication.study import Study


class Validation:
    """The validation photographs of a study, as one set of first-stage networks sees them.

    The dense maps take nearly all the time of a measurement, so they are made once and kept in the cache.

    Parameters
    ----------
    study : Study
    first_stage : dict of str to Trained[HGN]
        The networks of the rows "hgn_1x" and "hgn_half", such as `Study.first_stage` gives.
    """

    def __init__(self, study: Study, first_stage: dict[str, Trained[HGN]]) -> None:
        self.first_stage = first_stage
        self.stacks, self.data = study.validation, study.dataset.fingerprint
        self.photographs: list[int] = np.flatnonzero(self.stacks[0].diseased).tolist()
        self.names = [self.stacks[0].names[index] for index in self.photographs]
        for index in track(self.photographs, "Mapping validation photographs"):
            for run in self.first_stage.values():
                self.alone(run, index)

    def cached(self, run: Trained[Any], what: str, index: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """A map of a photograph by a network: from the cache, where ``make()`` puts it the first time."""
        key = fingerprint(self.data, run.record.key, what, recipe("maps"), str(device()), precision(device()))
        path = cache_folder() / f"maps-{key[:16]}" / f"{self.stacks[0].names[index]}.npy"
        with suppress(OSError, ValueError, EOFError):  # there is none, or it is damaged
            return np.load(path)
        write_array(path, map_ := make())
        return map_

    def alone(self, run: Trained[HGN], index: int) -> np.ndarray:
        """The map that a hypothesis generation network of either scale gives without the other."""
        fine = run.record.name.endswith("-1x")
        row, system = ("hgn_1x", System(hgn_1x=run.model)) if fine else ("hgn_half", System(hgn_half=run.model))
        return self.cached(run, "alone", index, lambda: system.maps(self.stacks, index)[row])

    def mirrored(self, run: Trained[UNet], index: int, ways: int = 4) -> np.ndarray:
        """The map that a U-Net gives, from as many of the photograph's mirror images (`maa.inference.beyond.mirrored_map`)."""
        what = "once" if ways == 1 else "mirrored"
        return self.cached(run, what, index, lambda: mirrored_map(run.model, self.stacks, index, ways))

    def maps(self, index: int) -> dict[str, np.ndarray]:
        """The maps of the first stage, by row."""
        maps = {row: self.alone(run, index) for row, run in self.first_stage.items()}
        return maps | {"fused": fuse(list(maps.values()))}

    def image(self, index: int) -> Json:
        """What `PixelScores.add` needs to know of a photograph beside the map."""
        label = self.stacks[0].label(index)
        return {"name": self.stacks[0].names[index], "truth": (label & MA) > 0, "fov": (label & FOV) > 0}

    def score(
        self, make: Callable[[int], Iterable[tuple[Hashable, np.ndarray]]], description: str
    ) -> dict[Any, evaluation.PixelScores]:
        """Pixel scores of every map that ``make(index)`` gives of a photograph, in pairs of key and map."""
        scores: dict[Hashable, evaluation.PixelScores] = {}
        for index in track(self.photographs, description):
            image = self.image(index)
            for key, map_ in make(index):
                scores.setdefault(key, evaluation.PixelScores()).add(scores=map_, **image)
        return scores

    def second_stage(
        self,
        index: int,
        base: np.ndarray,
        prns: Mapping[Any, PRN],
        threshold: float,
        weights: Sequence[float] = REFINEMENT_WEIGHTS,
    ) -> Iterator[tuple[tuple[Any, float], np.ndarray]]:
        """A map of a photograph refined by the control and by networks: pairs of (row, weight) and map, one at a time."""
        found = hypotheses(base, threshold)
        opinions: dict[Hashable, np.ndarray] = {"control": base[tuple(found.centres.T)] / FULL_SCALE}
        opinions |= {row: score_hypotheses(prn, self.stacks, index, found.centres) for row, prn in prns.items()}
        for row, opinion in opinions.items():
            for weight in weights:
                yield (row, weight), refine(base, found, opinion, weight)


def head(study: Study, validation: Validation, seed: int, started: float) -> Json:
    """What every results file says first: budget, seed, data, photographs, surroundings, and time since `started`."""
    return {
        "profile": asdict(study.profile),
        "seed": seed,
        "split": "validation",
        "data": study.dataset.fingerprint,
        "photographs": validation.names,
        "environment": environment(),
        "seconds": time.perf_counter() - started,
    }


def measures(scores: evaluation.PixelScores) -> dict[str, float]:
    """What the record of a run says of its model: average precision, and the operating point with the best F1."""
    pooled = scores.pooled()
    threshold = evaluation.best_f1_threshold(*pooled)
    return {"average_precision": evaluation.average_precision(*pooled), **evaluation.operating_point(*pooled, threshold)}
