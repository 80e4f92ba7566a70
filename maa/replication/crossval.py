"""Cross-validation of both stages on every photograph that is not held back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from maa import evaluation
from maa.data.idrid import Dataset
from maa.data.pools import dilate
from maa.inference.candidates import Hypotheses, hypotheses, refine, refined_levels, score_hypotheses
from maa.inference.maps import FULL_SCALE, log_odds
from maa.inference.system import FIRST_STAGE, Settings
from maa.models.hgn import HGN
from maa.models.prn import PRN
from maa.progress import track
from maa.provenance import Json, PathLike, code_fingerprint, environment, write_json
from maa.replication.folds import FOLDS, folds
from maa.replication.profiles import Profile
from maa.replication.records import Trained
from maa.replication.scores import REFERENCES, REFINEMENT_WEIGHTS
from maa.replication.study import Study
from maa.replication.validation import Validation
from maa.training.candidates import NEAR

#: What the paper's "trained on patches" may mean, and how a network of a scale is trained under it.  Explained in ch:hgn.
READINGS: dict[str, Callable[..., Trained[HGN]]] = {"windows": Study.windows, "centre": Study.hgn}
_SOFT = {"triplet_weight": 0.5, "mining": "soft"}
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
#: What else is asked of the second stage, each against cross-entropy alone.
SECONDARY: dict[str, dict[str, Any]] = {
    "negatives of diseased patients too": {"negatives": "diseased too"},
    "warm start": {"warm": True},
    "ground, uniform": {"negatives": "ground"},
    "ground, plain": {"negatives": "ground", "rule": "plain"},
    "ground, told": {"negatives": "ground", "rule": "told"},
    "ground, mixture": {"negatives": "ground", "rule": "mixture"},
    "ground, fresh": {"negatives": "ground", "rule": "fresh"},
}
FULL = "prn_full"
#: The primary contrasts of results/protocol.md, by their names: system and baseline.
CONTRASTS: tuple[dict[str, tuple[str, str]], ...] = (
    {"C1": (FULL, "hgn_1x")},
    {"C2": (FULL, "prn_cross_entropy")},
    {"C3a": ("prn_triplet", "prn_cross_entropy"), "C3b": ("prn_sampling", "prn_cross_entropy")},
    {"C4": ("prn_cross_entropy", "control")},
)

Pixels = evaluation.PixelScores


@dataclass(frozen=True, eq=False)
class Fold:
    """One part of the photographs, as networks that were trained on the others see it.

    Attributes
    ----------
    study : Study
        Its validation photographs are those of the part.
    validation : Validation
    centres : dict of str to ndarray, shape (K, 2), int32
        The candidates of each of them, of healthy patients too.
    """

    study: Study
    validation: Validation
    centres: dict[str, np.ndarray]

    @classmethod
    def of(cls, part: Dataset, profile: Profile, out: Path) -> Fold:
        """Train the first stage on the other parts (main reading), and let it propose candidates in this one."""
        study, seed = Study(part, profile, out / "runs"), profile.seeds[0]
        validation = Validation(study, {"hgn_1x": study.windows(1.0, seed), "hgn_half": study.windows(0.5, seed)})
        names = validation.stacks[0].names
        centres = {
            name: hypotheses(validation.maps(index)["fused"], Settings().hypothesis).centres
            for index, name in track(list(enumerate(names)), "Proposing candidates")
        }
        return cls(study, validation, centres)


def first_stage(dataset: Dataset, profile: Profile, out: PathLike, reading: str, count: int = FOLDS) -> dict[str, Pixels]:
    """Train the first stage on all folds but one, for each of them and under a reading, and measure it on that one.

    Parameters
    ----------
    dataset : Dataset
        All of its photographs but the test ones take part.
    profile : Profile
        The budget; its first seed is that of every network.
    out : path-like
        Where the runs (``runs/``) go.  A run that is there is not repeated.
    reading : str
        Of `READINGS`.
    count : int
        How many folds.

    Returns
    -------
    dict of str to PixelScores
        By row of the first stage: every photograph as networks see it that had not seen it.
    """
    scores = {row: Pixels() for row in FIRST_STAGE}
    for part in folds(dataset, count):
        study = Study(part, profile, Path(out) / "runs")
        train = READINGS[reading]
        networks = {row: train(study, scale, profile.seeds[0]) for row, scale in (("hgn_1x", 1.0), ("hgn_half", 0.5))}
        validation = Validation(study, networks)

        def every_map(index: int, validation: Validation = validation) -> Iterable[tuple[str, np.ndarray]]:
            return validation.maps(index).items()

        for row, of_fold in validation.score(every_map, f"Scoring {reading}").items():
            scores[row].extend(of_fold)
    return scores


def train_second_stage(found: list[Fold], changes: Mapping[str, Any], seed: int) -> list[Trained[PRN]]:
    """For each fold, a refinement network that was trained on the candidates of the other folds.

    The candidates of a training photograph come from the networks of its own fold, which had not seen it; they had seen the fold that
    is measured, but what could pass from there is only which places of *other* photographs are asked about.
    """
    centres = {name: where for fold in found for name, where in fold.centres.items()}
    return [fold.study.refinement(centres, list(fold.validation.first_stage.values()), seed, **changes) for fold in found]


def second_stage(found: list[Fold], networks: Mapping[str, list[Trained[PRN]]]) -> tuple[dict[str, Pixels], Json]:
    """Measure refinement networks on the fold that each was not trained on.

    Parameters
    ----------
    found : list of Fold
    networks : mapping of str to list of Trained[PRN]
        By row, one for each fold.

    Returns
    -------
    scores : dict of str to PixelScores
        By row, and of the control: each photograph with the weight that is best for the others of its fold.
    details : dict
        By row: average precision of the candidates (is this one a lesion?), and the slope of the log-odds against those of the
        network with cross-entropy alone.
    """
    scores: dict[str, Pixels] = {row: Pixels() for row in ("control", *networks)}
    opinions: dict[str, list[np.ndarray]] = {row: [] for row in scores}
    true: list[np.ndarray] = []
    for number, fold in enumerate(found):
        validation = fold.validation
        tried = {(row, weight): Pixels() for row in scores for weight in REFINEMENT_WEIGHTS}
        seen: list[tuple[int, np.ndarray, Hypotheses, dict[str, np.ndarray]]] = []
        for index in track(validation.photographs, "Scoring the second stage"):
            base, image = validation.maps(index)["fused"], validation.image(index)
            hits, lesion = hypotheses(base, Settings().hypothesis), image["truth"] & image["fov"]
            proposed, truth = base[hits.rows, hits.columns], lesion[hits.rows, hits.columns]
            lesions, others = int(lesion.sum()), int((image["fov"] & ~lesion).sum())
            true.append(dilate(lesion, NEAR)[tuple(hits.centres.T)])
            opinion = {"control": base[tuple(hits.centres.T)] / FULL_SCALE}
            for row, runs in networks.items():
                opinion[row] = score_hypotheses(runs[number].model, validation.stacks, index, hits.centres)
            seen.append((index, base, hits, opinion))
            for row, belief in opinion.items():
                opinions[row].append(log_odds(belief))
                for weight in REFINEMENT_WEIGHTS:
                    levels = refined_levels(proposed, hits.owner, belief, weight)
                    tried[row, weight].add_hits(image["name"], levels, truth, lesions, others)
        for row in scores:
            weights = nested({weight: tried[row, weight] for weight in REFINEMENT_WEIGHTS})
            for index, base, hits, opinion in seen:
                image = validation.image(index)
                scores[row].add(scores=refine(base, hits, opinion[row], weights[image["name"]]), **image)
    details: Json = {}
    reference = np.concatenate(opinions.get("prn_cross_entropy", opinions["control"]))
    for row, parts in opinions.items():
        said = np.concatenate(parts)
        details[row] = {
            "candidates_average_precision": float(average_precision_score(np.concatenate(true), said)),
            "slope": float(np.cov(reference, said)[0, 1] / reference.var(ddof=1)),
        }
    return scores, details


def nested(tried: Mapping[float, Pixels]) -> dict[str, float]:
    """For each photograph, the weight that gives the others the highest average precision; of equals, the first."""
    names = next(iter(tried.values())).names

    def best(name: str) -> float:
        others = [other for other in names if other != name] or [name]
        return max(tried, key=lambda weight: evaluation.average_precision(*tried[weight].subset(others).pooled()))

    return {name: best(name) for name in names}


def cross_validate(
    dataset: Dataset,
    profile: Profile,
    out: PathLike,
    count: int = FOLDS,
    secondary: Mapping[str, Mapping[str, Any]] = SECONDARY,
) -> Json:
    """Cross-validate the first stage under both readings, and the second stage on candidates with each of its variants.

    Parameters
    ----------
    dataset, profile, out, count
        As in `first_stage`; the results go to ``crossval.json`` as well.
    secondary : mapping of str to dict
        The variants of the second stage beside those of the main table.

    Returns
    -------
    dict
        By row: average precision of the pixels of all photographs together and its mean over photographs, with intervals over
        photographs, the variants of the measure, and gains; the primary contrasts with what is to be said of them; and how the
        first reading compares with the other.
    """
    started, out, seed = time.perf_counter(), Path(out), profile.seeds[0]
    found = [Fold.of(part, profile, out) for part in folds(dataset, count)]
    networks = {row: train_second_stage(found, changes, seed) for row, changes in {**PRIMARY, **secondary}.items()}
    readings = {reading: first_stage(dataset, profile, out, reading, count) for reading in READINGS}
    second, details = second_stage(found, networks)

    def best(kind: str) -> str:
        alike = [row for row in PRIMARY if row.startswith(kind)]
        return max(alike, key=lambda row: evaluation.average_precision(*second[row].pooled()))

    chosen = {"prn_triplet": best("triplet"), "prn_sampling": best("sampling")}
    both = PRIMARY[chosen["prn_triplet"]] | PRIMARY[chosen["prn_sampling"]]
    full = train_second_stage(found, both, seed)
    whole, of_whole = second_stage(found, {"prn_cross_entropy": networks["prn_cross_entropy"], FULL: full})
    main = next(iter(readings.values()))
    scores = {**main, **second, FULL: whole[FULL]}
    named = scores | {row: second[variant] for row, variant in chosen.items()}
    contrasts = [
        {name: (named[system], named[baseline]) for name, (system, baseline) in contrast.items()} for contrast in CONTRASTS
    ]
    results: Json = {
        "profile": asdict(profile),
        "seed": seed,
        "folds": [[record.name for record in part.select("validation")] for part in folds(dataset, count)],
        "data": dataset.fingerprint,
        "code": code_fingerprint(),
        "environment": environment(),
        "training_seconds": {row: sum(run.record.seconds for run in runs) for row, runs in {**networks, FULL: full}.items()},
        "histories": {row: runs[0].record.history for row, runs in {**networks, FULL: full}.items()},
        "seconds": time.perf_counter() - started,
        "chosen": chosen,
        "readings": {reading: _rows(rows) for reading, rows in readings.items()},
        "rows": _rows(scores),
        "details": details | {FULL: of_whole[FULL]},
        "contrasts": {name: asdict(decision) for name, decision in evaluation.decide(contrasts).items()},
        "against": {
            other: {row: asdict(evaluation.paired_bootstrap(main[row], rows[row])) for row in FIRST_STAGE}
            for other, rows in readings.items()
            if rows is not main
        },
    }
    write_json(out / "crossval.json", results)
    return results


def _rows(scores: Mapping[str, Pixels]) -> Json:
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
