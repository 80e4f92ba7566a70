"""Scores of every row of the table, and the paper's numbers."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from maa import evaluation
from maa.inference.system import ROWS
from maa.provenance import Json, PathLike, write_arrays

#: The weights of the refinement among which validation chooses.
REFINEMENT_WEIGHTS = (0.25, 0.5, 0.65, 0.75, 0.85, 0.95)
#: What the paper reports on its test images (paper, Table 2).
PAPER: dict[str, dict[str, float | None]] = {
    "hgn_1x": {"average_precision": 0.3374, "f1": 0.3618, "precision": 0.2970, "recall": 0.4626},
    "hgn_half": {"average_precision": 0.3411, "f1": 0.4001, "precision": 0.4380, "recall": 0.3682},
    "fused": {"average_precision": 0.3622, "f1": 0.3866, "precision": None, "recall": None},
}
#: The paper's headline: the relative gain of the whole over the fully convolutional network.
PAPER_GAIN = 0.3029
#: Beside the baseline, the rows that every gain is given over: what one would have without the part in question.
REFERENCES = ("hgn_half", "fused", "control", "prn_cross_entropy")
#: By their names: a row and the one that it is compared with.  What stands together is one contrast for the correction.
Contrast = Mapping[str, tuple[str, str]]
#: The primary contrasts of results/protocol.md.
CONTRASTS: tuple[Contrast, ...] = (
    {"C1": ("prn_full", "hgn_1x")},
    {"C2": ("prn_full", "prn_cross_entropy")},
    {"C3a": ("prn_triplet", "prn_cross_entropy"), "C3b": ("prn_sampling", "prn_cross_entropy")},
    {"C4": ("prn_cross_entropy", "control")},
)


def judged(scores: Mapping[Any, evaluation.PixelScores], contrasts: Sequence[Contrast]) -> Json:
    """What is to be said of contrasts between rows, by their names, as `maa.evaluation.decide` says it of their scores."""
    pairs = [
        {name: (scores[system], scores[baseline]) for name, (system, baseline) in contrast.items()} for contrast in contrasts
    ]
    return {name: asdict(decision) for name, decision in evaluation.decide(pairs).items()}


def with_intervals(
    rows: Mapping[Any, evaluation.PixelScores | Sequence[evaluation.PixelScores]],
    baselines: Sequence[str] = ("hgn_1x", *REFERENCES),
    samples: int = 1000,
) -> dict[Any, Json]:
    """Of each row its average precision with its interval, and its gains over those of the baselines that are there."""
    drawn = {row: evaluation.Resampled.of(scores, samples) for row, scores in rows.items()}
    return {
        row: {
            "average_precision": asdict(ours.interval()),
            "gains": {other: asdict(ours.against(drawn[other])) for other in baselines if other in drawn and other != row},
        }
        for row, ours in drawn.items()
    }


class Scores:
    """Pixel and lesion scores of several maps, image by image: of the rows of the table, or of pairs of row and weight."""

    #: A candidate lesion is a connected group of pixels of at least this probability.
    CANDIDATE = 0.02

    def __init__(self, candidate: float = CANDIDATE) -> None:
        self.candidate = candidate
        self.pixels: dict[Hashable, evaluation.PixelScores] = {}
        self.lesions: dict[Hashable, evaluation.LesionScores] = {}

    def add(self, row: Hashable, name: str, map_: np.ndarray, truth: np.ndarray, fov: np.ndarray, diseased: bool) -> None:
        """Add one map of one photograph to a row."""
        self.pixels.setdefault(row, evaluation.PixelScores()).add(name, map_, truth, fov, diseased)
        self.lesions.setdefault(row, evaluation.LesionScores(self.candidate)).add(name, map_, truth, fov)

    def extend(self, other: Scores) -> None:
        """Add the photographs of other scores, row by row."""
        for row, pixels in other.pixels.items():
            self.pixels.setdefault(row, evaluation.PixelScores()).extend(pixels)
            self.lesions.setdefault(row, evaluation.LesionScores(self.candidate)).extend(other.lesions[row])

    def save(self, path: PathLike, identity: str) -> None:
        """Write the scores to a compressed ``.npz`` file, whole or not at all, with a word on what they are the scores of."""
        arrays = {"identity": np.array(identity), "rows": np.array([json.dumps(row) for row in self.pixels])}
        for number, row in enumerate(self.pixels):
            for part in (self.pixels[row], self.lesions[row]):
                arrays |= {f"{number} {name}": array for name, array in part.arrays().items()}
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: PathLike, identity: str) -> Scores | None:
        """What `save` wrote; None where there is no such file, it is damaged, or it holds the scores of something else."""
        scores = cls()
        try:
            with np.load(path) as stored:
                if stored["identity"] != identity:
                    return None
                for number, text in enumerate(stored["rows"]):
                    row = json.loads(str(text))
                    row = tuple(row) if isinstance(row, list) else row
                    arrays = {key.split(" ", 1)[1]: stored[key] for key in stored.files if key.startswith(f"{number} ")}
                    scores.pixels[row] = evaluation.PixelScores.from_arrays(arrays)
                    scores.lesions[row] = evaluation.LesionScores.from_arrays(arrays)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        return scores

    def table(
        self,
        thresholds: Mapping[str, float],
        names: Mapping[str, str] = ROWS,
        baseline: str = "hgn_1x",
        runs: Mapping[str, Sequence[evaluation.PixelScores]] | None = None,
    ) -> Json:
        """Every measure of every row.

        Parameters
        ----------
        thresholds : mapping of str to float
            The probability from which a pixel is called a microaneurysm, for each row.
        names : mapping of str to str
            What each row is called.
        baseline : str
            The row that the gains are over.
        runs : mapping of str to sequence of PixelScores, optional
            Of each row all trainings, where there are several: average precision and gains are then those of their mean.

        Returns
        -------
        dict
            For each row: average precision with its interval over images, operating point, curve,
            variants, FROC, calibration, the gain over the baseline, and the gains over each of `REFERENCES`.
        """
        rows: Json = {}
        compared = with_intervals(runs or self.pixels, (baseline, *REFERENCES))
        for row, scores in self.pixels.items():
            assert isinstance(row, str)  # and no pair of row and weight: those are for choosing
            pooled = scores.pooled()
            precision, recall, _ = evaluation.precision_recall_curve(*pooled, max_points=200)
            froc = self.lesions[row].froc()
            rows[row] = {
                "name": names[row],
                **compared[row],
                **evaluation.operating_point(*pooled, thresholds[row]),
                "by_image": evaluation.average_precision_by_image(scores),
                "variants": evaluation.variants(scores),
                "froc": {"score": froc.score, "sensitivity": froc.summary()},
                "calibration_error": evaluation.expected_calibration_error(*pooled),
                "calibration": {key: value.round(6) for key, value in evaluation.reliability(*pooled).items()},
                "curve": {"precision": precision.round(4), "recall": recall.round(4)},
                "paper": PAPER.get(row),
            }
            if baseline in rows[row]["gains"]:
                rows[row]["gain"] = rows[row]["gains"][baseline]
        return rows
