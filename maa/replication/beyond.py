"""Beyond the paper: what one-stage U-Nets of today give, and what the paper's second stage adds to them.

The U-Nets learn a label for every pixel, from diseased photographs and healthy ones, and of all four lesions (see
`maa.models.unet`).  Their maps are averaged with those of the paper's first stage, and the refinement network, which here saw
the unlabelled ground of diseased photographs, haemorrhages included, judges the candidates of the average.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from maa import evaluation
from maa.data.idrid import Dataset
from maa.inference.beyond import BEYOND_ROWS, LAST, OWN
from maa.inference.fusion import mean_log_odds
from maa.inference.system import Settings
from maa.provenance import Json, PathLike, write_json
from maa.replication.evaluate import best_weight
from maa.replication.profiles import Profile
from maa.replication.records import Trained
from maa.replication.reproduce import REFINEMENTS
from maa.replication.scores import REFINEMENT_WEIGHTS, with_intervals
from maa.replication.study import Study
from maa.replication.validation import Validation, head, measures

#: Seeds of the U-Nets that are averaged.
MEMBERS = (0, 1)


def beyond(dataset: Dataset, profile: Profile, out: PathLike, seed: int = 0) -> Json:
    """Train the U-Nets and measure them, alone and with everything that the paper's track has.  Explained in ch:real.

    Parameters
    ----------
    dataset : Dataset
    profile : Profile
    out : path-like
        As in `maa.replication.reproduce.reproduce`, whose runs are taken from there; writes ``beyond.json``.
    seed : int
        Of everything but the U-Nets, whose seeds are `MEMBERS`.

    Returns
    -------
    dict
        For each row average precision, operating point and gains over the paper's track, with intervals over images.
    """
    started = time.perf_counter()
    study = Study(dataset, profile, Path(out) / "runs")
    plain = REFINEMENTS["prn_cross_entropy"]
    runs = {"all_prn": study.prn(seed, **plain), LAST: study.prn(seed, **plain, source="unlabelled")}
    unets = [study.unet(member) for member in MEMBERS]
    longer = {row: study.hgn(seed=seed, **changes) for row, changes in long(profile).items()}
    validation = Validation(study, study.first_stage(seed))

    def every_map(index: int) -> Iterator[tuple[Any, np.ndarray]]:
        first = validation.maps(index)
        yield from first.items()
        for row, run in longer.items():
            yield row, validation.alone(run, index)
        yield "unet", validation.mirrored(unets[0], index, ways=1)
        each = [validation.mirrored(run, index) for run in unets]
        together = mean_log_odds(each)
        everything = mean_log_odds([together, first["fused"]])
        yield from {"unet_mirrored": each[0], "unets": together, "all": everything}.items()
        prns = {row: run.model for row, run in runs.items()}
        yield from validation.second_stage(index, everything, prns, Settings().hypothesis)

    scores = validation.score(every_map, "Scoring the track beyond the paper")
    refined = {key: value for key, value in scores.items() if isinstance(key, tuple)}
    weights = {row: best_weight(refined, row) for row in ("control", *runs)}
    for row, name in (("control", "all_control"), *zip(runs, runs)):
        scores[name] = refined[row, weights[row]]
    rows: Json = {}
    thresholds: dict[str, float] = {}
    baselines = ("hgn_1x", "hgn_half", "fused", "unet")
    compared = with_intervals({row: scores[row] for row in (*BEYOND_ROWS, *baselines)}, baselines)
    for row, name in BEYOND_ROWS.items():
        pooled = scores[row].pooled()
        thresholds[row] = evaluation.best_f1_threshold(*pooled)
        rows[row] = {
            "name": name,
            **compared[row],
            **evaluation.operating_point(*pooled, thresholds[row]),
            "by_image": evaluation.average_precision_by_image(scores[row]),
        }
    measured: dict[str, Trained[Any]] = {"unet": unets[0], **longer}
    for row, run in measured.items():
        run.add_metrics(**measures(scores[row]))
    settings = Settings(weights={LAST: weights[LAST]}, thresholds={row: thresholds[row] for row in OWN})
    trained: dict[str, Trained[Any]] = {**{f"unet-{member}": run for member, run in zip(MEMBERS, unets)}, **runs, **longer}
    results = {
        **head(study, validation, seed, started),
        "settings": asdict(settings),
        "weights_tried": list(REFINEMENT_WEIGHTS),
        "rows": rows,
        "runs": {name: run.record.as_json() for name, run in trained.items()},
    }
    write_json(Path(out) / "beyond.json", results)
    return results


def long(profile: Profile) -> dict[str, dict[str, Any]]:
    """Of each HGN that is trained on as many patches as all three networks of the paper's system: what `Study.hgn` is told."""
    # A patch of the refinement network is one at each of two scales.
    schedules = [config.schedule for config in (profile.hgn_1x, profile.hgn_half, profile.prn, profile.prn)]
    patches = sum(schedule.steps * schedule.batch for schedule in schedules)
    return {
        row: {"scale": scale, "schedule": replace(config.schedule, steps=round(patches / config.schedule.batch))}
        for row, scale, config in (("hgn_1x_long", 1.0, profile.hgn_1x), ("hgn_half_long", 0.5, profile.hgn_half))
    }
