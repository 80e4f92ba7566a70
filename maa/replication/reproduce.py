"""The replication: every row of the paper's table, from one command into one results file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maa import evaluation
from maa.data.idrid import Dataset
from maa.data.stacks import EX, HE, SE
from maa.evaluation.error_analysis import by_group, false_positive_breakdown, lesion_table, pooled_breakdown
from maa.inference.system import FILES, FIRST_STAGE, SECOND_STAGE, Settings, image_of, write_settings
from maa.models.weights import save_weights
from maa.progress import track
from maa.provenance import Json, PathLike, code_fingerprint, write_json
from maa.replication.evaluate import best_weight
from maa.replication.profiles import Profile
from maa.replication.records import Trained
from maa.replication.scores import Scores
from maa.replication.study import Study
from maa.replication.validation import Validation, head, measures

#: The refinement networks that are compared, by what differs from the full one: cross-entropy alone, each of the paper's two ideas, both.
REFINEMENTS: dict[str, dict[str, Any]] = {
    "prn_cross_entropy": {"triplet_weight": 0.0, "selective": False},
    "prn_sampling": {"triplet_weight": 0.0},
    "prn_triplet": {"selective": False},
    "prn_full": {},
}


def reproduce(dataset: Dataset, profile: Profile, out: PathLike) -> Json:
    """Train and validate every row of the paper's table, once for each seed of the profile.  Explained in ch:gain.

    Parameters
    ----------
    dataset : Dataset
    profile : Profile
    out : path-like
        Where the runs (``runs/``), the weights of the full system of the best seed (``weights/``) and the results
        (``results.json``) go.  A run that is there already is not repeated, so a replication that was stopped
        goes on where it was.

    Returns
    -------
    dict
        The results file: for each row every seed, mean, spread and intervals over images and seeds; the other
        measures are those of the seed whose full system is best.
    """
    started = time.perf_counter()
    out = Path(out)
    study = Study(dataset, profile, out / "runs")
    settings = Settings()
    by_seed: list[dict[str, evaluation.PixelScores]] = []
    weights: list[dict[str, float]] = []
    trained: list[dict[str, Trained[Any]]] = []
    for seed in profile.seeds:
        validation = Validation(study, study.first_stage(seed))
        prns = {row: study.prn(seed, **changes) for row, changes in REFINEMENTS.items()}
        networks = {row: run.model for row, run in prns.items()}
        runs: dict[str, Trained[Any]] = {**validation.first_stage, **prns}

        def every_map(
            index: int, validation: Validation = validation, networks: dict[str, Any] = networks
        ) -> Iterator[tuple[Any, np.ndarray]]:
            maps = validation.maps(index)
            yield from maps.items()
            yield from validation.second_stage(index, maps["fused"], networks, settings.hypothesis)

        scores = validation.score(every_map, f"Scoring seed {seed}")
        refined = {key: value for key, value in scores.items() if key not in FIRST_STAGE}
        chosen = {row: best_weight(refined, row) for row in SECOND_STAGE}
        by_seed.append({row: scores[row] for row in FIRST_STAGE} | {row: scores[row, chosen[row]] for row in SECOND_STAGE})
        weights.append(chosen)
        trained.append(runs)
        for row, run in runs.items():
            run.add_metrics(**measures(by_seed[-1][row]), **({"weight": chosen[row]} if row in chosen else {}))

    def precision(seed: int, row: str) -> float:
        return evaluation.average_precision(*by_seed[seed][row].pooled())

    best = max(range(len(by_seed)), key=lambda seed: precision(seed, "prn_full"))
    thresholds = {row: evaluation.best_f1_threshold(*scores.pooled()) for row, scores in by_seed[best].items()}
    precisions = {row: precision(best, row) for row in by_seed[best]}
    settings = replace(settings, weights=weights[best], thresholds=thresholds, precisions=precisions)
    ship(trained[best], settings, out / "weights")

    # Lesions are looked for in the maps of the best seed only.
    validation = Validation(study, study.first_stage(profile.seeds[best]))
    measured = Scores()
    measured.pixels = dict(by_seed[best].items())
    networks = {row: trained[best][row].model for row in REFINEMENTS}
    findings: dict[str, tuple[list[pd.DataFrame], Json]] = {}
    for index in track(validation.photographs, "Counting lesions"):
        maps = validation.maps(index)
        tried = sorted(set(weights[best].values()))
        second = dict(validation.second_stage(index, maps["fused"], networks, settings.hypothesis, tried))
        image = validation.image(index)
        for row in by_seed[best]:
            map_ = maps[row] if row in maps else second[row, weights[best][row]]
            measured.lesions.setdefault(row, evaluation.LesionScores(Scores.CANDIDATE)).add(scores=map_, **image)
            if row in FINDINGS:
                label, seen = validation.stacks[0].label(index), image_of(validation.stacks[0], index)
                lesions, false = findings.setdefault(row, ([], {}))
                others = (label & (HE | EX | SE)) > 0
                lesions.append(lesion_table(seen, image["truth"], image["fov"], map_, thresholds[row], others))
                false[image["name"]] = false_positive_breakdown(map_, thresholds[row], label, seen)

    rows = measured.table(thresholds, runs={row: [scores[row] for scores in by_seed] for row in by_seed[best]})
    for row, values in rows.items():
        values["seeds"] = [precision(seed, row) for seed in range(len(by_seed))]
        values["spread"] = float(np.std(values["seeds"], ddof=1)) if len(by_seed) > 1 else None
        froc = evaluation.bootstrap_froc(measured.lesions[row], samples=1000)
        values["froc"]["intervals"] = {point: asdict(interval) for point, interval in froc.items()}
    results = {
        **head(study, validation, profile.seeds[best], started),
        "code": code_fingerprint(),
        "settings": asdict(settings),
        "refinement_weights": weights[best],
        "refinement_weights_by_seed": weights,
        "training_seconds": sum(run.record.seconds for of_seed in trained for run in of_seed.values()),
        "rows": rows,
        "findings": {row: _summary(*found) for row, found in findings.items()},
        "runs": {row: run.record.as_json() for row, run in trained[best].items()},
        "other_seeds": [
            {
                row: {key: run.record.as_json()[key] for key in ("seed", "seconds", "config", "environment")}
                for row, run in of_seed.items()
            }
            for index, of_seed in enumerate(trained)
            if index != best
        ],
    }
    write_json(out / "results.json", results)
    return results


#: The rows whose lesions and false positives are looked at one by one.
FINDINGS = ("hgn_1x", "fused", "prn_full")
#: Groups of lesions: diameter in pixels, and contrast in units of the photograph's spread (dark is negative).
DIAMETERS = (0, 10, 15, 20, 30, np.inf)
CONTRASTS = (-np.inf, -3, -2, -1, 0)


def _summary(lesions: list[pd.DataFrame], false: Json) -> Json:
    """Lesions found by size and by contrast, and where the false positives lie."""
    table = pd.concat(lesions)
    breakdown = pooled_breakdown(false)
    breakdown["dark_dots"] = len(breakdown["dark_dots"])  # where they are is for a gallery, not for a results file
    return {
        "by_diameter": by_group(table, "diameter", DIAMETERS),
        "by_contrast": by_group(table, "contrast", CONTRASTS),
        "false_positives": breakdown,
    }


def ship(runs: Mapping[str, Trained[Any]], settings: Settings, folder: Path) -> None:
    """Write the weights of every row to a folder, in half precision, and the settings beside them."""
    for row, file in FILES.items():
        save_weights(runs[row].model, folder / file, half=True)
    write_settings(settings, folder)
