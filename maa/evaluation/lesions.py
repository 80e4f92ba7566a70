"""Lesions: which are found, at how many false alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maa.errors import MaaError
from maa.evaluation.pixels import PROBABILITIES, check_mask, checked_maps, first_level, new_name, quantise
from maa.evaluation.regions import centres, components, map_lesions, pairs_at

FROC_POINTS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
#: Beyond the challenge's range, for eyes that hold some fifty lesions each, as IDRiD's do; they are no part of the score.
FROC_WIDE = (16, 32, 64)
FROC_NAMES = ("1/8", "1/4", "1/2", "1", "2", "4", "8", "16", "32", "64")

#: Equally long arrays by name: a table.
Columns = dict[str, np.ndarray]


class LesionScores:
    """Which lesions are found, at how many false alarms: lesion-level evaluation, image by image.

    Lesions are the 8-connected components of the truth inside the field of view.  Candidates are the 8-connected
    components of the map at or above a threshold, each with the highest score in it; or they are given, as points.

    Parameters
    ----------
    threshold : float
        In (0, 1], forms the candidates of a map.  Choose it on validation images, like any other: one that is
        too low melts neighbouring lesions into one candidate.
    match : {"peak", "overlap"}
        When a candidate hits a lesion.  "peak": when its peak lies on the lesion, the rule of the Retinopathy
        Online Challenge, where a finding is a point that has to fall inside the lesion (Niemeijer et al., IEEE
        TMI 29(1), 2010); so a candidate hits one lesion at most.  "overlap": when they share a pixel, as is
        common with pixel-wise annotations such as e-ophtha's (Decenciere et al., IRBM 34(2), 2013); lenient,
        because a large candidate hits all that it covers.

    Notes
    -----
    A lesion's score is the highest of the candidates that hit it; further ones on the same lesion are neither
    rewarded nor punished.  A candidate that hits no lesion is a false positive.  All images that are added count,
    healthy ones too: adding them changes the false positives per image.  Explained in ch:gain.
    """

    def __init__(self, threshold: float, match: str = "peak") -> None:
        if not 0 < threshold <= 1:
            raise MaaError(f"The candidate threshold is {threshold}; it must be above 0 and at most 1.")
        if match not in ("peak", "overlap"):
            raise ValueError(f"Unknown match {match!r}: choose 'peak' or 'overlap'.")
        self.threshold = threshold
        self.match = match
        self.names: list[str] = []
        self._lesions: list[Columns] = []
        self._candidates: list[Columns] = []

    def add(self, name: str, scores: np.ndarray, truth: np.ndarray, fov: np.ndarray | None = None) -> None:
        """Find candidates and lesions of one image; parameters and errors as `PixelScores.add`."""
        levels, truth, fov = checked_maps(name, scores, truth, fov)
        above = levels >= first_level(self.threshold)
        if fov is not None:
            above, truth = above & fov, truth & fov
        lesion_map, lesions = map_lesions(truth)
        pixels, component = components(above)
        count = int(component.max(initial=-1)) + 1
        score = levels.ravel()[pixels]
        top = np.zeros(count, np.uint16)
        np.maximum.at(top, component, score)
        # The peak is the centre of the pixels that share the maximum: a saturated map has many.
        on_top = score == top[component]
        row, column = centres(pixels[on_top], component[on_top], count, truth.shape)
        if self.match == "overlap":
            touched = lesion_map.at(pixels)
            pairs = tuple(np.unique(np.stack([component, touched])[:, touched >= 0], axis=1))
        else:
            pairs = pairs_at(lesion_map, row, column)
        candidates = {
            "row": row,
            "column": column,
            "area": np.bincount(component, minlength=count),
            "score": PROBABILITIES[top],
        }
        self._keep(name, candidates, lesions, pairs)

    def add_candidates(
        self,
        name: str,
        rows: np.ndarray,
        columns: np.ndarray,
        scores: np.ndarray,
        truth: np.ndarray,
        fov: np.ndarray | None = None,
    ) -> None:
        """Count given candidates, for a detector that returns points; the rule is "peak".

        Parameters
        ----------
        name : str
        rows, columns : (K,) arrays
            Positions in pixels; those outside the field of view are dropped.
        scores : (K,) uint16 or float array
            See `quantise`.  A candidate of score 0 never counts.
        truth, fov
            As in `add`.

        Raises
        ------
        MaaError
            When the arrays do not fit each other, or a position lies outside the image.
        """
        if self.match != "peak":
            raise ValueError("Points cannot overlap a lesion: build LesionScores with match='peak'.")
        truth, fov = np.asarray(truth), None if fov is None else np.asarray(fov)
        check_mask(name, "truth", truth, truth.shape)
        if fov is not None:
            check_mask(name, "field of view", fov, truth.shape)
            truth = truth & fov
        row, column = np.asarray(rows, float), np.asarray(columns, float)
        levels = quantise(np.asarray(scores), f"the candidates of {name}")
        if not row.shape == column.shape == levels.shape or row.ndim != 1:
            raise MaaError(f"Rows, columns and scores of the candidates of {name} differ in length; give one of each.")
        inside = (np.rint(row) >= 0) & (np.rint(row) < truth.shape[0])
        inside &= (np.rint(column) >= 0) & (np.rint(column) < truth.shape[1])
        if not inside.all():
            raise MaaError(
                f"Candidates of {name} lie outside the image of {truth.shape[0]} x {truth.shape[1]} pixels; "
                "give positions at the truth mask's resolution."
            )
        valid = levels > 0
        if fov is not None:
            valid &= fov[np.rint(row).astype(int), np.rint(column).astype(int)]
        row, column, levels = row[valid], column[valid], levels[valid]
        lesion_map, lesions = map_lesions(truth)
        candidates = {"row": row, "column": column, "area": np.ones(len(row), np.int64), "score": PROBABILITIES[levels]}
        self._keep(name, candidates, lesions, pairs_at(lesion_map, row, column))

    def _keep(self, name: str, candidates: Columns, lesions: Columns, pairs: tuple[np.ndarray, np.ndarray]) -> None:
        new_name(name, self.names)
        candidate, lesion = pairs
        candidates["hit"] = np.zeros(len(candidates["score"]), bool)
        candidates["hit"][candidate] = True
        lesions["score"] = np.zeros(len(lesions["row"]))
        np.maximum.at(lesions["score"], lesion, candidates["score"][candidate])
        self.names.append(str(name))
        self._candidates.append(candidates)
        self._lesions.append(lesions)

    def extend(self, other: LesionScores) -> None:
        """Add the images of other scores; MaaError when one of them is there already, or the rules differ."""
        if (self.threshold, self.match) != (other.threshold, other.match):
            raise MaaError("The lesions were looked for by different rules; count them anew by one threshold and one match.")
        for name, candidates, lesions in zip(other.names, other._candidates, other._lesions):
            new_name(name, self.names)
            self.names.append(name)
            self._candidates.append(candidates)
            self._lesions.append(lesions)

    def arrays(self) -> Columns:
        """Everything, as a dict of str to array, for a file; `from_arrays` takes it back."""
        arrays = {"names": np.array(self.names, dtype=np.str_), "rule": np.array([str(self.threshold), self.match])}
        for kind, parts in (("lesions", self._lesions), ("candidates", self._candidates)):
            arrays[f"{kind} each"] = np.array([len(part["score"]) for part in parts], np.int64)
            arrays |= {f"{kind} {key}": value for key, value in (self._table(parts) if parts else {}).items() if key != "image"}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> LesionScores:
        """What `arrays` gave; KeyError when something is missing."""
        threshold, match = arrays["rule"].tolist()
        scores = cls(float(threshold), match)
        scores.names = arrays["names"].tolist()
        for kind, parts in (("lesions", scores._lesions), ("candidates", scores._candidates)):
            prefix, each = f"{kind} ", f"{kind} each"
            ends = arrays[each].cumsum()
            columns = {
                key.removeprefix(prefix): np.split(value, ends[:-1])
                for key, value in arrays.items()
                if key.startswith(prefix) and key != each
            }
            parts += [{key: values[i] for key, values in columns.items()} for i in range(len(ends))]
        return scores

    def lesions(self) -> Columns:
        """Every lesion: dict of equally long arrays "image", "row", "column" (centre), "area", "score" (0: missed).

        `pandas.DataFrame(scores.lesions())` makes a table, for results by size, say.
        """
        return self._table(self._lesions)

    def candidates(self) -> Columns:
        """Every candidate: dict of equally long arrays "image", "row", "column" (peak), "area", "score", "hit"."""
        return self._table(self._candidates)

    def _table(self, parts: list[Columns]) -> Columns:
        if not parts:
            raise MaaError("There is no image to evaluate; add at least one before asking for a measure.")
        image = np.repeat(self.names, [len(part["score"]) for part in parts])
        return {"image": image} | {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def froc(self) -> Froc:
        """Free-response ROC curve of all images added.

        Returns
        -------
        Froc

        Raises
        ------
        MaaError
            When there is no image or no lesion.
        """
        lesions, candidates = self.lesions(), self.candidates()
        if len(lesions["score"]) == 0:
            raise MaaError("No image has a lesion inside the field of view; check the truth masks.")
        thresholds = np.unique(candidates["score"])[::-1]
        false = np.sort(candidates["score"][~candidates["hit"]])
        found = np.sort(lesions["score"])
        return Froc(
            thresholds,
            (len(found) - np.searchsorted(found, thresholds)) / len(found),
            (len(false) - np.searchsorted(false, thresholds)) / len(self.names),
            len(self.names),
            len(found),
        )


@dataclass(frozen=True, eq=False)
class Froc:
    """Sensitivity against false positives per image, at falling thresholds.  Explained in ch:gain.

    Attributes
    ----------
    thresholds, sensitivity, false_positives_per_image : (K,) float arrays
    images, lesions : int
        How many.
    """

    thresholds: np.ndarray
    sensitivity: np.ndarray
    false_positives_per_image: np.ndarray
    images: int
    lesions: int

    def sensitivity_at(self, false_positives_per_image: float | np.ndarray) -> np.ndarray:
        """Highest sensitivity with at most so many false positives per image; nothing is interpolated.

        Parameters
        ----------
        false_positives_per_image : float or array

        Returns
        -------
        float array, same shape
            0 where even the highest threshold raises more false alarms.
        """
        within = np.searchsorted(self.false_positives_per_image, false_positives_per_image, side="right")
        return np.append(0.0, self.sensitivity)[within]

    @property
    def score(self) -> float:
        """Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per image: the challenge's score."""
        return float(self.sensitivity_at(np.array(FROC_POINTS)).mean())

    def summary(self) -> dict[str, float]:
        """JSON form: sensitivities at "1/8", "1/4" and so on (`FROC_NAMES`), the "score", "images", "lesions"."""
        values = self.sensitivity_at(np.array(FROC_POINTS + FROC_WIDE)).tolist()
        return {**dict(zip(FROC_NAMES, values)), "score": self.score, "images": self.images, "lesions": self.lesions}
