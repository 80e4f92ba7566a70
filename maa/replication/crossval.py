"""Cross-validation of the first stage, under both readings of the paper, on every photograph that is not held back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from maa import evaluation
from maa.data.idrid import Dataset
from maa.inference.system import FIRST_STAGE
from maa.models.hgn import HGN
from maa.provenance import Json, PathLike, code_fingerprint, environment, write_json
from maa.replication.folds import FOLDS, folds
from maa.replication.profiles import Profile
from maa.replication.records import Trained
from maa.replication.scores import REFERENCES
from maa.replication.study import Study
from maa.replication.validation import Validation, measures

#: What the paper's "trained on patches" may mean, and how a network of a scale is trained under it.  Explained in ch:hgn.
READINGS: dict[str, Callable[..., Trained[HGN]]] = {"windows": Study.windows, "centre": Study.hgn}


def cross_validate(dataset: Dataset, profile: Profile, out: PathLike, count: int = FOLDS) -> Json:
    """Train the first stage on all folds but one, for each of them and under each reading, and measure it on that one.

    Parameters
    ----------
    dataset : Dataset
        All of its photographs but the test ones take part.
    profile : Profile
        The budget; its first seed is that of every network.
    out : path-like
        Where the runs (``runs/``) and the results (``crossval.json``) go.  A run that is there is not repeated.
    count : int
        How many folds.

    Returns
    -------
    dict
        By reading, the rows of the first stage: average precision of the pixels of all photographs together and its mean over
        photographs, with intervals over photographs; the gain over the row's HGN 1x; and how the first reading compares with
        each other one.
    """
    started, out = time.perf_counter(), Path(out)
    scores: dict[str, dict[str, evaluation.PixelScores]] = {
        reading: {row: evaluation.PixelScores() for row in FIRST_STAGE} for reading in READINGS
    }
    seconds = dict.fromkeys(READINGS, 0.0)
    for part in folds(dataset, count):
        study = Study(part, profile, out / "runs")
        for reading, train in READINGS.items():
            networks = {row: train(study, scale, profile.seeds[0]) for row, scale in (("hgn_1x", 1.0), ("hgn_half", 0.5))}
            seconds[reading] += sum(run.record.seconds for run in networks.values())
            validation = Validation(study, networks)

            def every_map(index: int, validation: Validation = validation) -> Iterable[tuple[str, np.ndarray]]:
                return validation.maps(index).items()

            for row, of_fold in validation.score(every_map, f"Scoring {reading}").items():
                scores[reading][row].extend(of_fold)
                if row in networks:
                    networks[row].add_metrics(**measures(of_fold))
    first = next(iter(READINGS))
    results: Json = {
        "profile": asdict(profile),
        "folds": [[record.name for record in part.select("validation")] for part in folds(dataset, count)],
        "data": dataset.fingerprint,
        "code": code_fingerprint(),
        "environment": environment(),
        "training_seconds": seconds,
        "seconds": time.perf_counter() - started,
        "readings": {reading: _rows(rows) for reading, rows in scores.items()},
        "against": {
            other: {row: asdict(evaluation.paired_bootstrap(scores[first][row], scores[other][row])) for row in FIRST_STAGE}
            for other in READINGS
            if other != first
        },
    }
    write_json(out / "crossval.json", results)
    return results


def _rows(scores: dict[str, evaluation.PixelScores]) -> Json:
    rows: Json = {}
    for row, pixels in scores.items():
        by_image = evaluation.average_precision_by_image(pixels)
        rows[row] = {
            "average_precision": asdict(evaluation.bootstrap_average_precision(pixels)),
            "mean_of_images": float(np.mean([*by_image.values()])),
            "by_image": by_image,
            "variants": evaluation.variants(pixels),
            "gains": {
                other: asdict(evaluation.paired_bootstrap(pixels, scores[other]))
                for other in ("hgn_1x", *REFERENCES)
                if other in scores and other != row
            },
        }
    return rows
