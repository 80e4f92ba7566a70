"""Evaluating a system on the photographs of a split."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from maa import evaluation
from maa.data.idrid import Dataset, Record
from maa.data.stacks import ImageStack, stack_photograph
from maa.errors import MaaError
from maa.inference.system import ROWS, AnySystem, Settings
from maa.models.weights import network_fingerprint
from maa.progress import track
from maa.provenance import Json, PathLike, environment, fingerprint
from maa.replication.recipes import recipe
from maa.replication.scores import CONTRASTS, REFINEMENT_WEIGHTS, Scores, judged


def evaluate(
    system: AnySystem,
    dataset: Dataset,
    split: str,
    healthy: bool = True,
    names: Mapping[str, str] = ROWS,
    rows: Collection[str] | None = None,
    folder: PathLike | None = None,
) -> Json:
    """Run a system on the photographs of a split, one at a time, and measure every row with the settings as they are.

    Parameters
    ----------
    system : AnySystem
    dataset : Dataset
    split : {"validation", "test"}
    healthy : bool
        Whether healthy photographs are run too (they enter the variant that adds them, and the FROC).
    names : mapping of str to str
        What each row of the system is called.
    rows : collection of str, optional
        The rows that are wanted; by default all that the system gives.
    folder : path-like, optional
        Where the scores of each photograph are kept as soon as they are there.  An evaluation that was stopped takes from it
        what is done, if the same weights, settings, data and rows are asked for, and does the rest.

    Returns
    -------
    dict
        A results file: data, settings, versions, time, the rows of `Scores.table`, and where every row is there that they take, the
        primary contrasts of results/protocol.md.

    Raises
    ------
    MaaError
        When a row has no threshold that was chosen on validation.
    """
    rows = [row for row in system.rows if rows is None or row in rows]
    if not set(rows) <= system.settings.thresholds.keys():
        raise MaaError(
            "The system has no thresholds chosen on validation photographs for all of its rows: "
            "run `maa evaluate --split validation` with its weights first."
        )

    def maps(stacks: tuple[ImageStack, ImageStack]) -> Iterable[tuple[Hashable, np.ndarray]]:
        return system.maps(stacks, rows=rows).items()

    started = time.perf_counter()
    measured = _measured(system, dataset, split, healthy, folder, rows, maps)
    return _results(system, dataset, split, measured, system.settings, names, started)


def choose(
    system: AnySystem, dataset: Dataset, healthy: bool = True, names: Mapping[str, str] = ROWS, folder: PathLike | None = None
) -> Json:
    """Choose the weight of each second stage and every row's threshold on the validation photographs, and measure with them.

    Parameters and what is returned are as in `evaluate`; "settings" holds what was chosen, as `reproduce` chooses it.
    """
    started = time.perf_counter()
    measured = _measured(
        system,
        dataset,
        "validation",
        healthy,
        folder,
        REFINEMENT_WEIGHTS,
        lambda stacks: system.tried(stacks, REFINEMENT_WEIGHTS),
    )
    weighed = {key: pixels for key, pixels in measured.pixels.items() if isinstance(key, tuple)}
    chosen = {row: best_weight(weighed, row) for row in dict.fromkeys(row for row, _ in weighed)}
    keys = {row: (row, chosen[row]) if row in chosen else row for row in system.rows}
    measured.pixels = {row: measured.pixels[key] for row, key in keys.items()}
    measured.lesions = {row: measured.lesions[key] for row, key in keys.items()}
    pooled = {row: measured.pixels[row].pooled() for row in keys}
    settings = replace(
        system.settings,
        weights={**system.settings.weights, **chosen},
        thresholds={row: evaluation.best_f1_threshold(*counts) for row, counts in pooled.items()},
        precisions={row: evaluation.average_precision(*counts) for row, counts in pooled.items()},
    )
    return _results(system, dataset, "validation", measured, settings, names, started)


Maps = Iterable[tuple[Hashable, np.ndarray]]


def annotated(dataset: Dataset, split: str) -> list[Record]:
    """The photographs of a split that have annotations; MaaError when there are none."""
    records = dataset.select(split, diseased=True)
    if not records:
        raise MaaError(f"{dataset.root} holds no {split} photographs with annotations: name a data folder that does.")
    return records


def _measured(
    system: AnySystem,
    dataset: Dataset,
    split: str,
    healthy: bool,
    folder: PathLike | None,
    asked: object,
    maps: Callable[[tuple[ImageStack, ImageStack]], Maps],
) -> Scores:
    """The scores of every map that ``maps(stacks)`` gives of the photographs of a split, kept photograph by photograph."""
    identity = fingerprint(
        network_fingerprint(system.networks), asdict(system.settings), dataset.fingerprint, asked, recipe("maps")
    )
    scores = Scores()
    for record in track(dataset.select(split, None if healthy else True), f"Evaluating {split} photographs"):
        path = Path(folder) / f"{record.name}.npz" if folder else None
        one = Scores.load(path, identity) if path else None
        if one is None:
            one, fundus = Scores(), record.load(kinds=("MA",))
            for row, map_ in maps(stack_photograph(fundus.image, fundus.fov, fundus.name)):
                one.add(row, fundus.name, map_, fundus.ma, fundus.fov, fundus.diseased)
            if path:
                one.save(path, identity)
        scores.extend(one)
    return scores


def _results(
    system: AnySystem,
    dataset: Dataset,
    split: str,
    scores: Scores,
    settings: Settings,
    names: Mapping[str, str],
    started: float,
) -> Json:
    """What a results file says of an evaluation."""
    thresholds = {row: settings.thresholds[row] for row in map(str, scores.pixels)}
    compared = {row for contrast in CONTRASTS for pair in contrast.values() for row in pair}
    whole = compared <= scores.pixels.keys()
    return {
        "split": split,
        "data": dataset.fingerprint,
        "photographs": next(iter(scores.pixels.values())).names,
        "weights": network_fingerprint(system.networks),
        "settings": asdict(replace(settings, thresholds=thresholds)),
        "environment": environment(),
        "seconds": time.perf_counter() - started,
        "rows": scores.table(thresholds, names),
        **({"contrasts": judged(scores.pixels, CONTRASTS)} if whole else {}),
    }


def best_weight(scores: Mapping[Any, evaluation.PixelScores], row: Hashable) -> float:
    """The weight with the highest average precision among scores keyed by (row, weight); of equals, the smallest."""
    weights: list[float] = [weight for key, weight in scores if key == row]
    return max(weights, key=lambda weight: evaluation.average_precision(*scores[row, weight].pooled()))
