"""The ablations on real photographs: what each choice of the second stage, and of the fusion, is worth.

Each variant of the refinement network differs in one thing from a reference, is trained with the same budget and
seed, and is measured as the rows of the main table are.  Nothing here is chosen from: the settings of the system that
ships are those of `maa.reproduce`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from maa import evaluation
from maa.idrid import Dataset
from maa.inference import FULL, fuse, log_odds, to_map
from maa.progress import track
from maa.records import write_json
from maa.reproduce import REFINEMENTS, WEIGHTS, Validation, best_weight, head
from maa.study import Profile, Study
from maa.system import Settings
from maa.training import Refinement

_PLAIN = REFINEMENTS["prn_cross_entropy"]
_TRIPLET = REFINEMENTS["prn_triplet"]
_SAMPLED = REFINEMENTS["prn_sampling"]

#: By question: the variants, the first of them the reference.
QUESTIONS: dict[str, dict[str, Refinement]] = {
    "source of the healthy patches": {
        "healthy patients": _PLAIN,
        "far from lesions": replace(_PLAIN, source="far from lesions"),
        "anywhere unlabelled": replace(_PLAIN, source="unlabelled"),
    },
    "start of the towers": {"the HGNs' trunks": _PLAIN, "random": replace(_PLAIN, warm=False)},
    "rims of lesions": {"shown": _PLAIN, "not shown": replace(_PLAIN, rim=False)},
    "scales of the patch": {
        "both": _PLAIN,
        "1x": replace(_PLAIN, scales="1x"),
        "0.5x": replace(_PLAIN, scales="0.5x"),
    },
    "refreshes of the sampling": {"0 (uniform)": _PLAIN, "4": _SAMPLED, "16": replace(_SAMPLED, refreshes=16)},
    "weight of the triplet loss": {"0": _PLAIN, "0.1": replace(_TRIPLET, triplet_weight=0.1), "0.5": _TRIPLET},
    "mining": {
        "semi-hard": _TRIPLET,
        "batch-hard": replace(_TRIPLET, mining="batch-hard"),
        "random": replace(_TRIPLET, mining="random"),
    },
    "margin": {"0.3": _TRIPLET, "0.6": replace(_TRIPLET, margin=0.6)},
    "distance": {"euclidean": _TRIPLET, "cosine": replace(_TRIPLET, distance="cosine")},
    "embedding size": {"64": _TRIPLET, "16": replace(_TRIPLET, embedding_size=16)},
}

#: Hypothesis thresholds to try.
THRESHOLDS = (0.0003, 0.001, 0.003, 0.01, 0.03)


def ablate(dataset: Dataset, profile: Profile, out, seed: int = 0) -> dict:
    """Measure every variant on the validation photographs.

    Parameters
    ----------
    dataset : Dataset
    profile : Profile
    out : path-like
        As in `maa.reproduce.reproduce`, whose runs are taken from there; writes ``ablations.json``.
    seed : int
        Of every run.

    Returns
    -------
    dict
        By question, the variants: average precision with its interval, every weight tried, and the difference to the
        reference with a paired interval over images.

    Notes
    -----
    Explained in chapter 10.
    """
    started = time.perf_counter()
    study = Study(dataset, profile, Path(out) / "runs")
    validation = Validation(study, seed)
    variants = {variant for question in QUESTIONS.values() for variant in question.values()}
    runs = {refinement: study.prn(refinement, seed) for refinement in sorted(variants, key=repr)}
    networks = {refinement: run.model for refinement, run in runs.items()}

    def variants_of(index):
        return validation.second_stage(index, validation.maps(index)["fused"], networks, Settings().hypothesis)

    scores = validation.score(variants_of, "Scoring variants")
    questions = {}
    for question, answers in QUESTIONS.items():
        chosen = {name: scores[r, best_weight(scores, r)] for name, r in answers.items()}
        questions[question] = _compared(chosen)
        for name, refinement in answers.items():
            curve = {str(w): evaluation.average_precision(*scores[refinement, w].pooled()) for w in WEIGHTS}
            questions[question][name] |= {"by_weight": curve, "seconds": runs[refinement].record["seconds"]}

    questions["fusion"] = _compared(_fusions(validation))

    def thresholds_of(index):
        fused, plain = validation.maps(index)["fused"], networks[_PLAIN]
        for threshold in THRESHOLDS:
            for (row, weight), map_ in validation.second_stage(index, fused, {threshold: plain}, threshold):
                if row == threshold:  # and not the control
                    yield (row, weight), map_

    found = validation.score(thresholds_of, "Scoring thresholds")
    questions["hypothesis threshold"] = _compared(
        {f"{threshold:g}": found[threshold, best_weight(found, threshold)] for threshold in THRESHOLDS}
    )
    results = {**head(study, validation, seed, started), "questions": questions}
    write_json(Path(out) / "ablations.json", results)
    return results


def _compared(chosen: Mapping[str, evaluation.PixelScores]) -> dict:
    """Each variant's average precision, and its difference to the first."""
    reference = next(iter(chosen.values()))
    return {
        name: {
            "average_precision": asdict(evaluation.bootstrap_average_precision(scores, samples=1000)),
            "difference": asdict(evaluation.paired_bootstrap(scores, reference, samples=1000).difference),
        }
        for name, scores in chosen.items()
    }


def _fusions(validation: Validation) -> dict[str, evaluation.PixelScores]:
    """Every way to make one map of two; the learned one never fits on the photograph that it is measured on."""
    learned = _learned(validation) if len(validation.photographs) > 1 else {}

    def make(index):
        maps = validation.maps(index)
        pair = [maps["hgn_1x"], maps["hgn_half"]]
        logits = [log_odds(map_ / FULL) for map_ in pair]
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
    tables = {}
    for index in track(list(validation.photographs), "Sampling pixels to learn the fusion from"):
        about, maps = validation.about(index), validation.maps(index)
        inside = np.flatnonzero(about["fov"])
        drawn = np.union1d(rng.choice(inside, count), np.flatnonzero(about["truth"] & about["fov"]))
        truth = about["truth"].ravel()[drawn]
        # Each class counts as much as it does in the photograph, although lesions were all taken.
        weight = np.where(truth, 1, inside.size / count)
        features = np.stack([log_odds(maps[row].ravel()[drawn] / FULL) for row in ("hgn_1x", "hgn_half")], axis=1)
        tables[index] = features, truth, weight
    fitted = {}
    for index in tables:
        features, truth, weight = (np.concatenate(part) for part in zip(*(t for i, t in tables.items() if i != index)))
        model = LogisticRegression(C=np.inf, max_iter=200).fit(features, truth, sample_weight=weight)
        fitted[index] = [*model.coef_[0], model.intercept_[0]]
    return fitted
