"""Curves: precision and recall at every threshold, and what they are summed up by."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate

from maa.errors import MaaError
from maa.evaluation.pixels import PROBABILITIES, PixelScores, first_level
from maa.evaluation.shrunk import SIDE, THRESHOLDS


def average_precision(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Exact, step-wise average precision: the mean, over lesion pixels, of the precision at their score.

    Parameters
    ----------
    positives, negatives : (65536,) integer arrays
        Pixels of each level, as `PixelScores.pooled` gives them.

    Returns
    -------
    float
        In (0, 1].  Chance level is the share of positives.  Pixels of equal score enter together.

    Raises
    ------
    MaaError
        When there is no positive pixel.

    Notes
    -----
    Equal to scikit-learn's `average_precision_score` of the same pixels.  Explained in ch:hgn.
    """
    true, false = _from_the_top(positives, negatives)
    precision = true / np.maximum(true + false, 1)
    return float((positives[::-1] * precision).sum() / true[-1])


def precision_recall_curve(
    positives: np.ndarray, negatives: np.ndarray, max_points: int = 500
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall at falling thresholds, thinned for plotting.  Explained in ch:hgn.

    Parameters
    ----------
    positives, negatives : (65536,) integer arrays
    max_points : int
        At least 2.  Points are kept at equal steps along the curve; its two ends always stay.

    Returns
    -------
    precision, recall, thresholds : (K,) float arrays, K <= max_points
        Recall rises, thresholds fall.  Draw it as steps; no point at recall 0 is made up.

    Raises
    ------
    MaaError
        When there is no positive pixel.
    """
    precision, recall, thresholds = _full_curve(positives, negatives)
    if len(recall) > max_points:
        travelled = np.concatenate([[0], np.hypot(np.diff(recall), np.diff(precision)).cumsum()])
        keep = np.searchsorted(travelled, np.linspace(0, travelled[-1], max_points))
        keep = np.unique(np.concatenate([[0], keep[1:-1], [len(recall) - 1]]))
        precision, recall, thresholds = precision[keep], recall[keep], thresholds[keep]
    return precision, recall, thresholds


def operating_point(positives: np.ndarray, negatives: np.ndarray, threshold: float) -> dict[str, float]:
    """Precision, recall and F1 of the mask that holds every pixel with a score of at least the threshold.  Explained in ch:hgn.

    Parameters
    ----------
    positives, negatives : (65536,) integer arrays
    threshold : float
        Probability in [0, 1], compared with the quantised scores.

    Returns
    -------
    dict of str to float
        "threshold", "f1", "precision", "recall".  An empty mask has precision 0 and F1 0.

    Raises
    ------
    MaaError
        When there is no positive pixel.
    """
    level = first_level(threshold)
    all_positives = positive_total(positives)
    true, false = positives[level:].sum(), negatives[level:].sum()
    return {"threshold": float(threshold), **{k: float(v) for k, v in rates_of(true, false, all_positives).items()}}


def best_f1_threshold(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The threshold with the highest F1: chosen on validation images, frozen, then used on others.  Explained in ch:hgn.

    Parameters
    ----------
    positives, negatives : (65536,) integer arrays

    Returns
    -------
    float
        A probability that occurs in the data; the highest one where several are equally good.

    Raises
    ------
    MaaError
        When there is no positive pixel.
    """
    true, false = _from_the_top(positives, negatives)
    return float(PROBABILITIES[::-1][(2 * true / (true + false + true[-1])).argmax()])


def trapezoid(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Area under the precision-recall curve by trapezoids, from precision 1 at recall 0.

    Straight lines between the points of a precision-recall curve cannot be reached by any threshold, and promise
    too much (Davis and Goadrich, ICML 2006).  Parameters and errors as `average_precision`; returns a float.

    Notes
    -----
    Equal to scikit-learn's `auc(recall, precision)` of `precision_recall_curve`.  Explained in ch:gain.
    """
    precision, recall, _ = _full_curve(positives, negatives)
    return float(integrate.trapezoid(np.append(1, precision), np.append(0, recall)))


def fixed_thresholds(positives: np.ndarray, negatives: np.ndarray, count: int) -> float:
    """Area under the precision-recall curve from a few equally spaced thresholds, as one code base computes it.

    Explained in ch:gain.

    The thresholds are linspace(0, 1, count), a pixel counts when its score is *above* the threshold, a threshold
    with no pixel above it gets precision 1, and the points are joined by trapezoids.  Where most lesions score
    below the first thresholds, one long line from precision 1 then passes for a curve.

    Parameters
    ----------
    positives, negatives : (65536,) integer arrays
    count : int
        11 in the code base; 33 stands beside it in a comment; 256 are the grey levels of an 8-bit picture.

    Returns
    -------
    float

    Raises
    ------
    MaaError
        When there is no positive pixel.

    References
    ----------
    `my_metrics.py` of the repository CVIU-CSU/M2MRF-Lesion-Segmentation (which pools all pixels, without a
    field of view: see "thresholds_11_all_pixels" in `VARIANTS`).
    """
    total = positive_total(positives)
    first = np.searchsorted(PROBABILITIES, np.linspace(0, 1, count), side="right")
    true = total - np.append(0, positives.cumsum())[first]
    false = negatives.sum() - np.append(0, negatives.cumsum())[first]
    precision = np.where(true + false > 0, true / np.maximum(true + false, 1), 1.0)
    return float(integrate.trapezoid(precision[::-1], (true / total)[::-1]))


def roc_auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a lesion pixel outscores another pixel, ties counted half.

    Near 1 for any usable system when one pixel in a thousand is a lesion, hence no measure to choose by.
    Parameters and errors as `average_precision` (also without a negative pixel); returns a float.

    Notes
    -----
    Equal to scikit-learn's `roc_auc_score`.  Explained in ch:gain.
    """
    total = positive_total(positives)
    if negatives.sum() == 0:
        raise MaaError("There is no pixel outside the lesions, so no ROC curve; check the truth masks.")
    above_or_tied = total - positives.cumsum() + positives / 2
    return float((negatives * above_or_tied).sum() / total / negatives.sum())


def per_image_mean(scores: PixelScores, healthy: bool = False, outside_field: bool = False) -> float:
    """Mean of the images' own average precisions; images without a lesion pixel have none and are left out.

    Explained in ch:gain.

    Parameters
    ----------
    scores : PixelScores
    healthy, outside_field : bool
        As `PixelScores.per_image`.

    Returns
    -------
    float

    Raises
    ------
    MaaError
        When no image has a positive pixel.
    """
    return float(np.mean(list(average_precision_by_image(scores, healthy, outside_field).values())))


def average_precision_by_image(scores: PixelScores, healthy: bool = False, outside_field: bool = False) -> dict[str, float]:
    """Average precision of each image that has a lesion pixel; parameters and errors as `per_image_mean`.

    Explained in ch:gain.

    Returns
    -------
    dict of str to float
        By image name.
    """
    names = [n for n, diseased in zip(scores.names, scores.diseased) if diseased or healthy]
    by_image = {
        name: average_precision(p, n) for name, p, n in zip(names, *scores.per_image(healthy, outside_field)) if p.any()
    }
    if not by_image:
        raise MaaError("No image has a lesion pixel where the scores are counted; check the truth masks.")
    return by_image


class Variant(NamedTuple):
    """One way in which the literature sums up a precision-recall curve; `measure` takes a `PixelScores`, None: it cannot be had."""

    description: str
    measure: Callable[[PixelScores], float | None]


VARIANTS = {
    "average_precision": Variant(
        "Exact average precision, pixels of all diseased images pooled, inside the field of view (primary)",
        lambda s: average_precision(*s.pooled()),
    ),
    "trapezoid": Variant("Trapezoids between all points of the curve", lambda s: trapezoid(*s.pooled())),
    "thresholds_11": Variant(
        "Trapezoids between 11 thresholds, empty ones set to precision 1", lambda s: fixed_thresholds(*s.pooled(), 11)
    ),
    "thresholds_33": Variant(
        "Trapezoids between 33 thresholds, empty ones set to precision 1", lambda s: fixed_thresholds(*s.pooled(), 33)
    ),
    "thresholds_256": Variant(
        "Trapezoids between 256 thresholds, empty ones set to precision 1", lambda s: fixed_thresholds(*s.pooled(), 256)
    ),
    "thresholds_11_all_pixels": Variant(
        "11 thresholds as above, without the field-of-view mask: a public code base's rule",
        lambda s: fixed_thresholds(*s.pooled(outside_field=True), 11),
    ),
    "shrunk": Variant(
        f"{THRESHOLDS} thresholds as above, map and mask shrunk to {SIDE} x {SIDE}: the code behind 0.5341",
        lambda s: fixed_thresholds(*small, THRESHOLDS) if (small := s.shrunk()) else None,
    ),
    "per_image_mean": Variant("Mean of the images' own average precisions", per_image_mean),
    "without_field_mask": Variant(
        "Exact average precision, without the field-of-view mask", lambda s: average_precision(*s.pooled(outside_field=True))
    ),
    "with_healthy": Variant(
        "Exact average precision, with the healthy images added",
        lambda s: None if all(s.diseased) else average_precision(*s.pooled(healthy=True)),
    ),
    "roc_auc": Variant("Area under the ROC curve", lambda s: roc_auc(*s.pooled())),
}


def variants(scores: PixelScores) -> dict[str, float | None]:
    """Every measure of `VARIANTS` of one system, to place the numbers of other papers.  Explained in ch:gain.

    Parameters
    ----------
    scores : PixelScores

    Returns
    -------
    dict of str to (float or None)
        In the order of `VARIANTS`; "with_healthy" is None when no healthy image was added, "shrunk" when an image is too small.

    Raises
    ------
    MaaError
        When there is no diseased image or no positive pixel.
    """
    return {name: variant.measure(scores) for name, variant in VARIANTS.items()}


def positive_total(positives: np.ndarray) -> int:
    total = positives.sum()
    if total == 0:
        raise MaaError(
            "There is no lesion pixel where the scores are counted, so precision and recall mean nothing; "
            "check the truth masks and the field of view."
        )
    return total


def _from_the_top(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives as the threshold falls from level 65535 to 0."""
    positive_total(positives)
    return positives[::-1].cumsum(), negatives[::-1].cumsum()


def _full_curve(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    true, false = _from_the_top(positives, negatives)
    taken = ((positives + negatives) > 0)[::-1]
    true, false = true[taken], false[taken]
    return true / (true + false), true / true[-1], PROBABILITIES[::-1][taken]


def rates_of(true: np.ndarray, false: np.ndarray, total: np.ndarray | int) -> dict[str, np.ndarray]:
    return {
        "f1": 2 * true / np.maximum(true + false + total, 1),
        "precision": true / np.maximum(true + false, 1),
        "recall": true / np.maximum(total, 1),
    }


def operating_points(
    probability: np.ndarray, truth: np.ndarray, thresholds: ArrayLike, fov: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of ``probability >= threshold`` at each threshold, over the pixels of one picture.

    Precision is NaN where no pixel reaches the threshold; a picture without annotated pixels has no recall and raises
    ``ValueError``.  Only the pixels in `fov` count.  Explained in ch:fusion.
    """
    inside = np.ones(truth.shape, bool) if fov is None else np.asarray(fov, bool)
    scores, positive = np.asarray(probability)[inside], np.asarray(truth, bool)[inside]
    if not positive.any():
        raise ValueError("truth has no annotated pixel inside the field of view: recall needs at least one.")
    found = len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
    hits = positive.sum() - np.searchsorted(np.sort(scores[positive]), thresholds, side="left")
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits / found, hits / positive.sum()


def effective_sample_size(probabilities: ArrayLike) -> np.ndarray:
    """Kish's effective sample size (1965) of each distribution along the last axis: 1 / sum(p^2), from 1 to N."""
    p = np.asarray(probabilities, dtype=float)
    p = p / p.sum(axis=-1, keepdims=True)
    return np.asarray(1 / (p**2).sum(axis=-1))
