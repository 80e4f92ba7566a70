"""Cross-validation of both stages on every photograph that is not held back."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from maa import evaluation
from maa.data.idrid import Dataset
from maa.errors import MaaError
from maa.parallel import in_order
from maa.provenance import Json, PathLike, code_fingerprint, environment, read_json, write_json
from maa.replication.folds import FOLDS, Fold, Pixels, folds
from maa.replication.profiles import Profile
from maa.replication.records import Trained
from maa.replication.scores import CONTRASTS, Contrast, judged, with_intervals

_SOFT = {"triplet_weight": 0.5, "mining": "soft"}
#: What breaks the paper's rule that healthy patches come from healthy patients only.
DISEASED: dict[str, Any] = {"negatives": "diseased too"}
#: By row: what differs in the profile's `CandidateConfig`.  The rows of the main table, but for the full system, whose sampler
#: and triplet loss are the best of these.
PRIMARY: dict[str, dict[str, Any]] = {
    "prn_cross_entropy": {},
    "triplet, semi-hard": {"triplet_weight": 0.5},
    "triplet, soft": _SOFT,
    "triplet, soft, projected": _SOFT | {"projected": True},
    "sampling, plain": {"rule": "plain"},
    "sampling, told": {"rule": "told"},
    "sampling, mixture": {"rule": "mixture"},
    "sampling, fresh": {"rule": "fresh"},
}
#: What else may be asked of the second stage, each against cross-entropy alone.
ARMS: dict[str, dict[str, Any]] = {
    "warm start": {"warm": True},
    "ground, uniform": {"negatives": "ground"},
    "ground, plain": {"negatives": "ground", "rule": "plain"},
    "ground, told": {"negatives": "ground", "rule": "told"},
    "ground, mixture": {"negatives": "ground", "rule": "mixture"},
    "ground, fresh": {"negatives": "ground", "rule": "fresh"},
}
FULL = "prn_full"
#: Asked beside the `ARMS` in any case: cross-entropy alone, and the full system, with negatives of diseased patients too.
TOO = "negatives of diseased patients too"
FULL_TOO = f"both ideas, {TOO}"
#: What results/protocol.md asks beside the primary contrasts: what the paper's rule for negatives costs, and whether its two ideas are
#: worth more without it.
FURTHER: tuple[Contrast, ...] = ({"D1": (TOO, "prn_cross_entropy")}, {"D2": (FULL_TOO, TOO)})
#: By row that moves candidates as a whole: the row whose networks it asks.
WHOLE = {
    "cross-entropy, moved whole": "prn_cross_entropy",
    "both ideas, moved whole": FULL,
    f"{TOO}, moved whole": TOO,
    f"{FULL_TOO}, moved whole": FULL_TOO,
}
#: Is the outline better left as it is, does a second network then add to the fused map, and the two ideas to that network?
OUTLINES: tuple[Contrast, ...] = (
    {"E1": ("cross-entropy, moved whole", "prn_cross_entropy")},
    {"E2": ("cross-entropy, moved whole", "fused")},
    {"E3": ("both ideas, moved whole", "cross-entropy, moved whole")},
)
#: Beyond the paper: are mirror images worth anything to a U-Net, the first stage to that, a second network to both, and the two ideas
#: to that network?
BEYOND: tuple[Contrast, ...] = (
    {"B1": ("unet_mirrored", "unet")},
    {"B2": ("all", "unet_mirrored")},
    {"B3": (f"{TOO}, moved whole", "all")},
    {"B4": (f"{FULL_TOO}, moved whole", f"{TOO}, moved whole")},
)


def proposed(parts: Sequence[Fold]) -> dict[str, np.ndarray]:
    """The `Fold.candidates` of all parts: of every photograph, by networks that had not seen it."""
    found = in_order(Fold.candidates, [(fold,) for fold in parts], "Proposing candidates")
    return {name: centres for part in found for name, centres in part.items()}


def details(opinions: Mapping[str, np.ndarray], true: np.ndarray) -> Json:
    """What the rows of `Fold.second_stage` say of single candidates.

    Returns
    -------
    dict
        By row: average precision of the candidates (is this one a lesion?), and the slope of the log-odds against those of the
        network with cross-entropy alone.
    """
    reference = opinions["prn_cross_entropy"]
    return {
        row: {
            "candidates_average_precision": float(average_precision_score(true, said)),
            "slope": float(np.cov(reference, said)[0, 1] / reference.var(ddof=1)),
        }
        for row, said in opinions.items()
    }


def cross_validate(dataset: Dataset, profile: Profile, out: PathLike, count: int = FOLDS, reading: str = "windows") -> Json:
    """Cross-validate a first stage, and on its candidates the second stage with each of the paper's ideas.

    Within `maa.parallel.spread` several processes do it.

    Parameters
    ----------
    dataset : Dataset
        All of its photographs but the test ones take part.
    profile : Profile
        The budget; its first seed is that of every network.
    out : path-like
        Where the runs (``runs/``) and the results (``crossval.json``, under another reading ``crossval-centre.json``) go.  A run
        that is there is not repeated.
    count : int
        How many folds.
    reading : {"windows", "centre"}
        Of `maa.replication.folds.READINGS`: what the first stage is.

    Returns
    -------
    dict
        By row: average precision of the pixels of all photographs together and its mean over photographs, with intervals over
        photographs, the variants of the measure, and gains; the primary contrasts with what is to be said of them; and the average
        precision that the trainings of HGN 1x estimated at their reports.
    """
    started, out = time.perf_counter(), Path(out).absolute()
    found = parts_of(dataset, profile, out, count, reading)
    course = _course(_networks(found)[::2])
    centres = proposed(found)
    main = _first_stage(found)
    second = _second_stage(found, centres, {"control": None, **PRIMARY})

    def best(kind: str) -> str:
        alike = [row for row in PRIMARY if row.startswith(kind)]
        return max(alike, key=lambda row: evaluation.average_precision(*second.scores[row].pooled()))

    chosen = {"prn_triplet": best("triplet"), "prn_sampling": best("sampling")}
    whole = _second_stage(found, centres, {FULL: both_ideas(chosen)})
    scores = {**main, **second.scores, **whole.scores}
    results: Json = {
        **_head(dataset, profile, found, scores),
        "reading": reading,
        "baseline_course": course,
        "training_seconds": second.seconds | whole.seconds,
        "histories": second.histories | whole.histories,
        "chosen": chosen,
        "rows": _rows(scores),
        "details": details(second.opinions | whole.opinions, second.true),
        "contrasts": judged(scores | {row: scores[variant] for row, variant in chosen.items()}, CONTRASTS),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / file_of("crossval", reading), results)
    return results


def read_otherwise(dataset: Dataset, profile: Profile, out: PathLike, reading: str, count: int = FOLDS) -> Json:
    """Cross-validate the first stage alone, under another reading, in the parts of `cross_validate`.  Explained in sec:readings.

    Within `maa.parallel.spread` several processes do it.

    Parameters
    ----------
    dataset, profile, count : as for `cross_validate`
    out : path-like
        Where the runs (``runs/``) and the results (``reading-centre.json``) go.  A run that is there is not repeated.
    reading : {"centre", "decoder", "longer"}
        Of `maa.replication.folds.READINGS`.

    Returns
    -------
    dict
        Rows as of `cross_validate`, the seconds that all trainings of a scale took, and the course of HGN 1x where it was estimated.
    """
    started, out = time.perf_counter(), Path(out).absolute()
    found = parts_of(dataset, profile, out, count, reading)
    networks = _networks(found)
    by_row = {"hgn_1x": networks[::2], "hgn_half": networks[1::2]}
    scores = _first_stage(found)
    results: Json = {
        **_head(dataset, profile, found, scores),
        "reading": reading,
        "training_seconds": {row: sum(run.record.seconds for run in runs) for row, runs in by_row.items()},
        "histories": {row: runs[0].record.history for row, runs in by_row.items()},
        "baseline_course": _course(by_row["hgn_1x"]),
        "rows": _rows(scores),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / f"reading-{reading}.json", results)
    return results


def ask_further(
    dataset: Dataset, profile: Profile, out: PathLike, arms: Collection[str] = tuple(ARMS), reading: str = "windows"
) -> Json:
    """Ask further questions of the second stage, in the parts of a cross-validation that is there.  Explained in sec:arms.

    Within `maa.parallel.spread` several processes do it.

    Parameters
    ----------
    dataset, profile : as for `cross_validate`
    out : path-like
        Where `cross_validate` left its runs and results; writes ``arms.json``, under another reading ``arms-centre.json``.
    arms : collection of str
        Which of the `ARMS`.
    reading : {"windows", "centre"}
        As for `cross_validate`.

    Returns
    -------
    dict
        Rows and details as of `cross_validate`, beside the first stage, the control and cross-entropy alone; and under "contrasts"
        those of `FURTHER`, under "outlines" those of `OUTLINES`.

    Raises
    ------
    MaaError
        When there is no such arm, or no cross-validation in the folder.
    """
    started, out = time.perf_counter(), Path(out).absolute()
    if unknown := [name for name in arms if name not in ARMS]:
        raise MaaError(f"There is no arm {unknown[0]!r}: choose among {', '.join(ARMS)}.")
    crossed = crossed_in(out, reading)
    found = parts_of(dataset, profile, out, len(crossed["folds"]), reading)
    whole = both_ideas(crossed["chosen"])
    rows = {
        "control": None,
        "prn_cross_entropy": {},
        TOO: DISEASED,
        FULL_TOO: whole | DISEASED,
        **{row: ARMS[row] for row in arms},
    }
    rows |= {row: (rows | {FULL: whole})[other] for row, other in WHOLE.items()}
    second = _second_stage(found, proposed(found), rows, WHOLE)
    scores = _first_stage(found) | second.scores
    results: Json = {
        **_head(dataset, profile, found, scores),
        "reading": reading,
        "training_seconds": second.seconds,
        "histories": second.histories,
        "rows": _rows(scores),
        "details": details(second.opinions, second.true),
        "contrasts": judged(scores, FURTHER),
        "outlines": judged(scores, OUTLINES),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / file_of("arms", reading), results)
    return results


def go_beyond(dataset: Dataset, profile: Profile, out: PathLike) -> Json:
    """Cross-validate the track beyond the paper, in the parts of a cross-validation that is there.  Explained in sec:beyond.

    One U-Net at 0.5x in each part; the mean with the first stage on windows; and on that mean's candidates the control and second
    networks with negatives of diseased patients too, under either rule for outlines.  Within `maa.parallel.spread` several processes
    do it.

    Parameters
    ----------
    dataset, profile, out : as for `ask_further`
        Writes ``crossval-beyond.json``.

    Returns
    -------
    dict
        Rows as of `cross_validate`; under "contrasts" those of `BEYOND`; and the seconds of all U-Nets.

    Raises
    ------
    MaaError
        When there is no cross-validation in the folder.
    """
    started, out = time.perf_counter(), Path(out).absolute()
    crossed = crossed_in(out)
    found = parts_of(dataset, profile, out, len(crossed["folds"]))
    unets = in_order(Fold.unet, [(fold,) for fold in found], "U-Nets")
    scores = _first_stage(found)
    scores |= _extended(in_order(Fold.beyond_scores, [(fold,) for fold in found], "Scoring the track beyond the paper"))
    rows = {"control": None, TOO: DISEASED, FULL_TOO: both_ideas(crossed["chosen"]) | DISEASED}
    rows |= {row: rows[other] for row, other in WHOLE.items() if other in rows}
    scores |= _second_stage(found, proposed(found), rows, WHOLE, beyond=True).scores
    results: Json = {
        **_head(dataset, profile, found, scores),
        "training_seconds": {"unet": sum(run.record.seconds for run in unets)},
        "histories": {"unet": unets[0].record.history},
        "rows": _rows(scores),
        "contrasts": judged(scores, BEYOND),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / "crossval-beyond.json", results)
    return results


def file_of(what: str, reading: str) -> str:
    """The name of a results file: of the main reading ``crossval.json``, of another ``crossval-centre.json``."""
    return f"{what}.json" if reading == "windows" else f"{what}-{reading}.json"


def crossed_in(out: Path, reading: str = "windows") -> Json:
    """What `cross_validate` wrote into a folder; a MaaError where there is nothing."""
    path = out / file_of("crossval", reading)
    if not path.is_file():
        raise MaaError(f"{out} holds no {path.name}: run maa crossval --out {out} --reading {reading} first.")
    return read_json(path, f"run maa crossval --reading {reading} again")


@dataclass(frozen=True)
class _SecondStage:
    """Of all parts, by row: as `Fold.second_stage`; seconds of all trainings, and the history of the first."""

    scores: dict[str, Pixels]
    opinions: dict[str, np.ndarray]
    true: np.ndarray
    seconds: dict[str, float]
    histories: dict[str, Any]


def _second_stage(
    found: Sequence[Fold],
    centres: Mapping[str, np.ndarray],
    rows: Mapping[str, Mapping[str, Any] | None],
    whole: Collection[str] = (),
    beyond: bool = False,
) -> _SecondStage:
    """Train and measure second stages, by row what differs in the configuration, None for the control; `whole` and `beyond` as there."""
    trained = {row: changes for row, changes in rows.items() if changes is not None}
    items = [(fold, centres, changes) for changes in trained.values() for fold in found]
    runs = in_order(Fold.refinement, items, "Second stage")
    of_row = {row: runs[number * len(found) : (number + 1) * len(found)] for number, row in enumerate(trained)}
    parts = in_order(Fold.second_stage, [(fold, centres, rows, whole, beyond) for fold in found], "Scoring the second stage")
    return _SecondStage(
        _extended(part[0] for part in parts),
        {row: np.concatenate([part[1][row] for part in parts]) for row in rows},
        np.concatenate([part[2] for part in parts]),
        {row: sum(run.record.seconds for run in each) for row, each in of_row.items()},
        {row: each[0].record.history for row, each in of_row.items()},
    )


def parts_of(dataset: Dataset, profile: Profile, out: Path, count: int, reading: str = "windows") -> list[Fold]:
    """The parts of a cross-validation whose networks are kept in a folder."""
    found = [Fold(part, profile, out / "runs", reading) for part in folds(dataset, count)]
    _ = found[0].study.train  # normalised once, before several would do it
    return found


def _head(dataset: Dataset, profile: Profile, found: Sequence[Fold], scores: Mapping[str, Pixels]) -> Json:
    return {
        "profile": asdict(profile),
        "seed": profile.seeds[0],
        "split": "cross-validated",
        "photographs": scores["hgn_1x"].names,
        "folds": [[record.name for record in fold.part.select("validation")] for fold in found],
        "data": dataset.fingerprint,
        "code": code_fingerprint(),
        "environment": environment(),
    }


def _networks(found: Sequence[Fold]) -> list[Trained[Any]]:
    """Those of the first stage: of each part at 1x and at 0.5x."""
    return in_order(Fold.network, [(fold, scale) for fold in found for scale in (1.0, 0.5)], "First stage")


def _course(runs: Sequence[Trained[Any]]) -> list[float]:
    """The average precision that trainings estimated at their reports, in the mean; nothing where they did not."""
    courses = [run.record.history["validation_ap"] for run in runs if "validation_ap" in run.record.history]
    return [float(value) for value in np.mean(courses, axis=0)] if courses else []


def _first_stage(found: Sequence[Fold]) -> dict[str, Pixels]:
    return _extended(in_order(Fold.first_stage, [(fold,) for fold in found], "Scoring the first stage"))


def both_ideas(chosen: Mapping[str, str]) -> dict[str, Any]:
    """The full system: both ideas, each in the variant that was chosen."""
    return PRIMARY[chosen["prn_triplet"]] | PRIMARY[chosen["prn_sampling"]]


def _extended(parts: Iterable[dict[str, Pixels]]) -> dict[str, Pixels]:
    """The photographs of all parts together, by row."""
    scores: dict[str, Pixels] = {}
    for part in parts:
        for row, pixels in part.items():
            scores.setdefault(row, Pixels()).extend(pixels)
    return scores


def _rows(scores: Mapping[str, Pixels]) -> Json:
    rows: Json = {}
    compared = with_intervals(scores, samples=2000)
    for row, pixels in scores.items():
        by_image = evaluation.average_precision_by_image(pixels)
        rows[row] = {
            **compared[row],
            "mean_of_images": float(np.mean([*by_image.values()])),
            "by_image": by_image,
            "variants": evaluation.variants(pixels),
        }
    return rows
