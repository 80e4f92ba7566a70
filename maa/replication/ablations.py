"""The ablations on real photographs: what each choice of the two stages, and of the fusion, is worth.

Each variant differs in one thing from a reference, is trained with the same budget and seed, and is measured as the rows
of the main table are.  Nothing here is chosen from: the settings of the system that ships are those of `maa.replication.reproduce`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from maa import evaluation
from maa.data.idrid import Dataset
from maa.inference.fusion import fuse
from maa.inference.maps import FULL_SCALE, log_odds, to_map
from maa.inference.system import Settings
from maa.models.prn import PRN
from maa.progress import track
from maa.provenance import Json, PathLike, write_json
from maa.replication.evaluate import best_weight
from maa.replication.profiles import Profile
from maa.replication.records import Trained
from maa.replication.reproduce import REFINEMENTS
from maa.replication.scores import REFINEMENT_WEIGHTS
from maa.replication.study import Study
from maa.replication.validation import Validation, head, measures

#: What differs in a `PRNConfig`.
Changes = dict[str, Any]
_PLAIN = REFINEMENTS["prn_cross_entropy"]
_TRIPLET = REFINEMENTS["prn_triplet"]
_SAMPLED = REFINEMENTS["prn_sampling"]
#: By question: what is changed in the profile's `PRNConfig` for each variant, the first of them the reference.  Asked with one seed.
QUESTIONS: dict[str, dict[str, Changes]] = {
    "source of the healthy patches": {
        "healthy patients": _PLAIN,
        "far from lesions": _PLAIN | {"source": "far from lesions"},
        "anywhere unlabelled": _PLAIN | {"source": "unlabelled"},
    },
    "start of the towers": {"the HGNs' trunks": _PLAIN, "random": _PLAIN | {"warm": False}},
    "rims of lesions": {"shown": _PLAIN, "not shown": _PLAIN | {"rim": False}},
    "scales of the patch": {"both": _PLAIN, "1x": _PLAIN | {"scales": "1x"}, "0.5x": _PLAIN | {"scales": "0.5x"}},
    "refreshes of the sampling": {"0 (uniform)": _PLAIN, "4": _SAMPLED, "16": _SAMPLED | {"refreshes": 16}},
    "weight of the triplet loss": {"0": _PLAIN, "0.1": _TRIPLET | {"triplet_weight": 0.1}, "0.5": _TRIPLET},
    "mining": {
        "semi-hard": _TRIPLET,
        "batch-hard": _TRIPLET | {"mining": "batch-hard"},
        "random": _TRIPLET | {"mining": "random"},
    },
    "margin": {"0.3": _TRIPLET, "0.6": _TRIPLET | {"margin": 0.6}},
    "distance": {"euclidean": _TRIPLET, "cosine": _TRIPLET | {"distance": "cosine"}},
    "embedding size": {"64": _TRIPLET, "16": _TRIPLET | {"embedding_size": 16}},
}
#: The questions that proved to matter: asked once more, with every seed of the profile.
DECISIVE = ("source of the healthy patches", "start of the towers", "rims of lesions")
#: Questions that the first answers raised: what may be wrong with our selective sampling, and with our patches.
FURTHER: dict[str, dict[str, Changes]] = {
    "power of the sampler's error": {"1": _SAMPLED, "1/2": _SAMPLED | {"power": 0.5}},
    "sampling of unlabelled ground": {
        "uniform": _PLAIN | {"source": "unlabelled"},
        "selective": _SAMPLED | {"source": "unlabelled"},
    },
}
#: Healthy patches that selective sampling chooses from, beside the profile's number of them.
LARGE_POOL = 400_000
#: By question about the first stage: the scales it is asked of, and what is told to `maa.replication.study.Study.hgn`, the first of
#: them the reference.
FIRST_STAGE_QUESTIONS: dict[str, tuple[tuple[float, ...], dict[str, Changes]]] = {
    "side of the HGN's patch": ((0.5,), {"45": {}, "61": {"depth": 10}}),
    "source of the HGNs' healthy patches": (
        (1.0, 0.5),
        {"healthy patients": {}, "anywhere unlabelled": {"source": "unlabelled"}},
    ),
}
#: Hypothesis thresholds to try.
THRESHOLDS = (0.0003, 0.001, 0.003, 0.01, 0.03)


def further(profile: Profile) -> dict[str, dict[str, Changes]]:
    """The questions of `FURTHER`, and whether sampling from more than the profile's pool is better."""
    sampled = {f"{profile.prn.pool:,}": _SAMPLED, f"{LARGE_POOL:,}": _SAMPLED | {"pool": LARGE_POOL}}
    return FURTHER | {"pool of the sampling": sampled}


def ablate(dataset: Dataset, profile: Profile, out: PathLike) -> Json:
    """Measure every variant on the validation photographs, with the profile's first seed.  Explained in ch:real.

    Parameters
    ----------
    dataset : Dataset
    profile : Profile
    out : path-like
        As in `maa.replication.reproduce.reproduce`, whose runs are taken from there; writes ``ablations.json``.

    Returns
    -------
    dict
        By question, the variants: average precision with its interval, every weight tried, and the difference to the
        reference with a paired interval over images.
    """
    started, seed = time.perf_counter(), profile.seeds[0]
    study = Study(dataset, profile, Path(out) / "runs")
    runs = _runs(study, seed, QUESTIONS)
    validation = Validation(study, study.first_stage(seed))
    measured = _second_stage(validation, runs.values())
    questions = {
        question: _compared({name: [measured[runs[question, name].path]] for name in answers})
        for question, answers in QUESTIONS.items()
    }
    questions["fusion"] = _compared({name: [_Measured(scores)] for name, scores in _fusions(validation).items()})
    questions["hypothesis threshold"] = _compared(_thresholds(validation, study.prn(seed, **_PLAIN)))
    results = {**head(study, validation, seed, started), "questions": questions}
    write_json(Path(out) / "ablations.json", results)
    return results


def decide(dataset: Dataset, profile: Profile, out: PathLike) -> Json:
    """Ask the decisive questions with every seed, and with the first one those that came up: see `further`.

    Explained in ch:real.

    Parameters
    ----------
    dataset, profile, out
        As in `ablate`; writes ``decisive.json``.

    Returns
    -------
    dict
        By question, the variants as in `ablate`, and the average precision of every seed under "seeds".  The intervals
        are over images and, where there are several, over seeds.
    """
    started, first = time.perf_counter(), profile.seeds[0]
    study = Study(dataset, profile, Path(out) / "runs")
    answered: dict[str, dict[str, list[_Measured]]] = {}
    for seed in profile.seeds:
        asked = {question: QUESTIONS[question] for question in DECISIVE}
        if seed == first:
            asked |= further(profile)
        runs = _runs(study, seed, asked)
        measured = _second_stage(Validation(study, study.first_stage(seed)), runs.values())
        for (question, name), run in runs.items():
            answered.setdefault(question, {}).setdefault(name, []).append(measured[run.path])
    questions = {question: _compared(answers) for question, answers in answered.items()}
    validation = Validation(study, study.first_stage(first))
    for question, (scales, answers) in FIRST_STAGE_QUESTIONS.items():
        questions |= _first_stage(study, validation, first, question, scales, answers)
    results = {**head(study, validation, first, started), "seeds": list(profile.seeds), "questions": questions}
    write_json(Path(out) / "decisive.json", results)
    return results


@dataclass(frozen=True, eq=False)
class _Measured:
    """Scores of one run of a variant, at its best weight, and what is worth telling of the run."""

    scores: evaluation.PixelScores
    details: Json = field(default_factory=dict)


def _runs(study: Study, seed: int, questions: Mapping[str, Mapping[str, Changes]]) -> dict[tuple[str, str], Trained[PRN]]:
    """The refinement network of every variant, by question and name; alike ones are trained once."""
    return {
        (question, name): study.prn(seed, **changes)
        for question, answers in questions.items()
        for name, changes in answers.items()
    }


def _second_stage(validation: Validation, runs: Iterable[Trained[PRN]]) -> dict[Path, _Measured]:
    """Every refinement network, by its weights file, each at the weight that is best for it."""
    networks = {run.path: run.model for run in runs}
    seconds = {run.path: run.record.seconds for run in runs}

    def refined(index: int) -> Iterator[tuple[Any, np.ndarray]]:
        return validation.second_stage(index, validation.maps(index)["fused"], networks, Settings().hypothesis)

    scores, measured = validation.score(refined, "Scoring variants"), {}
    for run in runs:
        by_weight = {
            str(weight): evaluation.average_precision(*scores[run.path, weight].pooled()) for weight in REFINEMENT_WEIGHTS
        }
        weight = best_weight(scores, run.path)
        chosen = scores[run.path, weight]
        run.add_metrics(**measures(chosen), weight=weight)
        measured[run.path] = _Measured(chosen, {"by_weight": by_weight, "seconds": seconds[run.path]})
    return measured


def _first_stage(
    study: Study, validation: Validation, seed: int, question: str, scales: Sequence[float], answers: Mapping[str, Changes]
) -> Json:
    """The answers to a question about the first stage: of each scale alone and, where both were asked, of their fusion."""
    runs = {
        name: {f"HGN {scale:g}x": study.hgn(scale, seed, **changes) for scale in scales} for name, changes in answers.items()
    }

    def maps(index: int) -> Iterator[tuple[Any, np.ndarray]]:
        for name, networks in runs.items():
            alone = {row: validation.alone(run, index) for row, run in networks.items()}
            yield from (((name, row), map_) for row, map_ in alone.items())
            if len(alone) > 1:
                yield (name, "fused"), fuse(list(alone.values()))

    scores = validation.score(maps, f"Scoring the first stage: {question}")
    for name, networks in runs.items():
        for row, run in networks.items():
            run.add_metrics(**measures(scores[name, row]))
    rows = dict.fromkeys(row for _, row in scores)
    return {f"{question}, {row}": _compared({name: [_Measured(scores[name, row])] for name in answers}) for row in rows}


def _thresholds(validation: Validation, run: Trained[PRN]) -> dict[str, list[_Measured]]:
    """The refinement by a network of what passes each of the hypothesis thresholds."""

    def refined(index: int) -> Iterator[tuple[Any, np.ndarray]]:
        fused = validation.maps(index)["fused"]
        for threshold in THRESHOLDS:
            for (row, weight), map_ in validation.second_stage(index, fused, {threshold: run.model}, threshold):
                if row == threshold:  # and not the control
                    yield (row, weight), map_

    found = validation.score(refined, "Scoring thresholds")
    return {f"{threshold:g}": [_Measured(found[threshold, best_weight(found, threshold)])] for threshold in THRESHOLDS}


def _compared(answers: Mapping[str, Sequence[_Measured]]) -> Json:
    """Each variant's average precision, and its difference to the first variant, of as many seeds as there are."""
    reference = [measured.scores for measured in next(iter(answers.values()))]
    compared = {}
    for name, measured in answers.items():
        runs = [run.scores for run in measured]
        compared[name] = {
            "average_precision": asdict(evaluation.bootstrap_average_precision(runs, samples=1000)),
            "difference": asdict(evaluation.paired_bootstrap(runs, reference, samples=1000).difference),
            "seeds": [evaluation.average_precision(*run.pooled()) for run in runs],
            **measured[0].details,
        }
    return compared


def _fusions(validation: Validation) -> dict[str, evaluation.PixelScores]:
    """Every way to make one map of two; the learned one never fits on the photograph that it is measured on."""
    learned = _learned(validation) if len(validation.photographs) > 1 else {}

    def make(index: int) -> Iterable[tuple[Any, np.ndarray]]:
        maps = validation.maps(index)
        pair = [maps["hgn_1x"], maps["hgn_half"]]
        logits = [log_odds(map_ / FULL_SCALE) for map_ in pair]
        fused = {
            "geometric": maps["fused"],
            "1x alone": pair[0],
            "0.5x alone": pair[1],
            "arithmetic": fuse(pair, "arithmetic"),
            "maximum": fuse(pair, "maximum"),
        }
        if learned:
            *weights, intercept = learned[index]
            fused["learned"] = to_map(1 / (1 + np.exp(-np.tensordot(weights, logits, 1) - intercept)))
        return fused.items()

    return validation.score(make, "Scoring fusions")


def _learned(validation: Validation, count: int = 20_000) -> dict[int, Sequence[float]]:
    """For each photograph, weights of the two log-odds and an intercept, fitted on all the others."""
    rng = np.random.default_rng(0)
    tables: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for index in track(validation.photographs, "Sampling pixels to learn the fusion from"):
        image, maps = validation.image(index), validation.maps(index)
        inside = np.flatnonzero(image["fov"])
        drawn = np.union1d(rng.choice(inside, count), np.flatnonzero(image["truth"] & image["fov"]))
        truth = image["truth"].ravel()[drawn]
        # Each class counts as much as it does in the photograph, although lesions were all taken.
        weight = np.where(truth, 1, inside.size / count)
        features = np.stack([log_odds(maps[row].ravel()[drawn] / FULL_SCALE) for row in ("hgn_1x", "hgn_half")], axis=1)
        tables[index] = features, truth, weight
    fitted: dict[int, Sequence[float]] = {}
    for index in tables:
        features, truth, weight = (np.concatenate(part) for part in zip(*(t for i, t in tables.items() if i != index)))
        model = LogisticRegression(C=np.inf, max_iter=200).fit(features, truth, sample_weight=weight)
        fitted[index] = [*model.coef_[0], model.intercept_[0]]
    return fitted
