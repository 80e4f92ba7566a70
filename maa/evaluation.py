"""How good is a probability map?  Pixels, lesions, calibration and intervals, each in one pass over the images.

The primary measure of this book is the exact, step-wise average precision over the pixels inside the field of
view, at native resolution, all diseased images pooled (our choice; the paper says "AUC PR" and no more).

Ten images of twelve megapixels do not fit into memory as sorted scores.  They need not: probability maps are
quantised to 16 bits when they are made, so a histogram of 65,536 levels for lesion pixels and another for the
rest hold everything that a ranking measure can see, ties included.  The histograms are kept for each image, so
subsets, the mean over images and bootstrap samples of images come from the same pass.

Explained in chapter 2 (average precision) and chapter 8 (variants, intervals, lesions, calibration).
"""

from dataclasses import dataclass
from typing import Callable, NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from maa.errors import MaaError

LEVELS = 65_536
PROBABILITIES = np.arange(LEVELS) / (LEVELS - 1)
RELIABILITY_EDGES = tuple(k / 15 for k in range(16))
FROC_POINTS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
FROC_NAMES = ("1/8", "1/4", "1/2", "1", "2", "4", "8")
_CHUNK_PIXELS = 1 << 21


def quantise(scores, name="the score map"):
    """Probabilities as 16-bit levels, the form in which every map of this project is stored and measured.

    Parameters
    ----------
    scores : array of uint16 or float, any shape
        uint16 is taken as levels already.  Floats are probabilities in [0, 1], and level = round(65535 * p),
        computed in the array's own precision (float16 in float32).
    name : str
        What to call the array in an error.

    Returns
    -------
    array of uint16, same shape
        Level / 65535 is the probability.

    Raises
    ------
    MaaError
        For another type, a NaN, or a value outside [0, 1].

    Notes
    -----
    Explained in chapter 2.
    """
    scores = np.asarray(scores)
    if scores.dtype == np.uint16:
        return scores
    if not np.issubdtype(scores.dtype, np.floating):
        raise MaaError(f"Scores of {name} are {scores.dtype}; give probabilities as floats in [0, 1], or uint16 levels.")
    if scores.dtype == np.float16:
        scores = scores.astype(np.float32)
    # Written so that a NaN, for which every comparison is false, fails too.
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise MaaError(f"Scores of {name} hold NaN or leave [0, 1]; apply the sigmoid before they are measured.")
    return np.rint(scores * scores.dtype.type(LEVELS - 1)).astype(np.uint16)


class PixelScores:
    """Histograms of the scores of lesion pixels and other pixels, for each image, inside and outside the field.

    Add images one by one; no pixel is kept.  One image takes 1 MiB, whatever its size.

    Examples
    --------
    >>> scores = PixelScores()
    >>> scores.add("a", np.array([[0.9, 0.2], [0.6, 0.1]]), np.array([[True, False], [False, True]]))
    >>> round(average_precision(*scores.pooled()), 3)
    0.75

    Notes
    -----
    Explained in chapter 2.
    """

    def __init__(self):
        self.names = []
        self.diseased = []
        self._counts = []  # one (2, 2, LEVELS) uint32 array an image: [outside the field?, lesion?, level]

    def __len__(self):
        return len(self.names)

    def add(self, name, scores, truth, fov=None, diseased=True):
        """Count the pixels of one image.

        Parameters
        ----------
        name : str
            Unique identifier of the image.
        scores : (H, W) uint16 or float array
            Probability map, see `quantise`.
        truth : (H, W) bool array
            True on annotated lesion pixels.
        fov : (H, W) bool array, optional
            Field of view.  By default the whole image.
        diseased : bool
            False for a photograph of a healthy patient; these count only where a measure asks for them.

        Raises
        ------
        MaaError
            When shapes or types do not fit, scores leave [0, 1], or the name was added before.
        """
        _new_name(name, self.names)
        levels, truth, fov = checked_maps(name, scores, truth, fov)
        counts = np.zeros(4 * LEVELS, np.int64)
        levels, truth = levels.ravel(), truth.ravel()
        fov = None if fov is None else fov.ravel()
        for start in range(0, levels.size, _CHUNK_PIXELS):
            part = slice(start, start + _CHUNK_PIXELS)
            code = levels[part].astype(np.intp)
            code += LEVELS * truth[part]
            if fov is not None:
                code += 2 * LEVELS * ~fov[part]
            counts += np.bincount(code, minlength=4 * LEVELS)
        self.names.append(str(name))
        self.diseased.append(bool(diseased))
        self._counts.append(counts.astype(np.uint32).reshape(2, 2, LEVELS))

    def per_image(self, healthy=False, outside_field=False):
        """Histograms of each image.

        Parameters
        ----------
        healthy : bool
            Whether images of healthy patients are included.
        outside_field : bool
            Whether pixels outside the field of view are included.

        Returns
        -------
        positives, negatives : (n, 65536) int64 arrays
            Pixels of each level, of lesion and of anything else.

        Raises
        ------
        MaaError
            When no image is left.
        """
        chosen = [c for c, diseased in zip(self._counts, self.diseased) if diseased or healthy]
        if not chosen:
            raise MaaError("There is no image to evaluate; add at least one diseased image before asking for a measure.")
        counts = np.stack([c.sum(0, dtype=np.int64) if outside_field else c[0].astype(np.int64) for c in chosen])
        return counts[:, 1], counts[:, 0]

    def pooled(self, healthy=False, outside_field=False):
        """Histograms of the pixels of all images together; parameters and errors as `per_image`.

        Returns
        -------
        positives, negatives : (65536,) int64 arrays
        """
        positives, negatives = self.per_image(healthy, outside_field)
        return positives.sum(0), negatives.sum(0)

    def subset(self, names):
        """The same scores for some of the images, in the order given.

        Parameters
        ----------
        names : iterable of str

        Returns
        -------
        PixelScores

        Raises
        ------
        MaaError
            When a name is unknown.
        """
        chosen = PixelScores()
        for name in names:
            if name not in self.names:
                raise MaaError(f"Image {name} is not among these scores; choose from {', '.join(self.names)}.")
            i = self.names.index(name)
            chosen.names.append(name)
            chosen.diseased.append(self.diseased[i])
            chosen._counts.append(self._counts[i])
        return chosen

    def extend(self, other):
        """Add the images of other scores; MaaError when one of them is there already."""
        for name, diseased, counts in zip(other.names, other.diseased, other._counts):
            _new_name(name, self.names)
            self.names.append(name)
            self.diseased.append(diseased)
            self._counts.append(counts)

    def arrays(self):
        """Everything, as a dict of str to array, for a file; `from_arrays` takes it back."""
        return {"images": np.array(self.names, dtype=np.str_), "diseased": np.array(self.diseased, bool),
                "counts": np.array(self._counts, np.uint32).reshape(-1, 2, 2, LEVELS)}

    @classmethod
    def from_arrays(cls, arrays):
        """What `arrays` gave; KeyError when something is missing."""
        scores = cls()
        scores.names, scores.diseased = arrays["images"].tolist(), arrays["diseased"].tolist()
        scores._counts = list(arrays["counts"])
        return scores


def average_precision(positives, negatives):
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
    Equal to scikit-learn's `average_precision_score` of the same pixels.  Explained in chapter 2.
    """
    true, false = _from_the_top(positives, negatives)
    precision = true / np.maximum(true + false, 1)
    return float((positives[::-1] * precision).sum() / true[-1])


def precision_recall_curve(positives, negatives, max_points=500):
    """Precision and recall at falling thresholds, thinned for plotting.

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

    Notes
    -----
    Explained in chapter 2.
    """
    precision, recall, thresholds = _full_curve(positives, negatives)
    if len(recall) > max_points:
        travelled = np.concatenate([[0], np.hypot(np.diff(recall), np.diff(precision)).cumsum()])
        keep = np.searchsorted(travelled, np.linspace(0, travelled[-1], max_points))
        keep = np.unique(np.concatenate([[0], keep[1:-1], [len(recall) - 1]]))
        precision, recall, thresholds = precision[keep], recall[keep], thresholds[keep]
    return precision, recall, thresholds


def operating_point(positives, negatives, threshold):
    """Precision, recall and F1 of the mask that holds every pixel with a score of at least the threshold.

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

    Notes
    -----
    Explained in chapter 2.
    """
    level = first_level(threshold)
    all_positives = _positive_total(positives)
    true, false = positives[level:].sum(), negatives[level:].sum()
    return {"threshold": float(threshold), **{k: float(v) for k, v in _rates(true, false, all_positives).items()}}


def best_f1_threshold(positives, negatives):
    """The threshold with the highest F1: chosen on validation images, frozen, then used on others.

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

    Notes
    -----
    Explained in chapter 2.
    """
    true, false = _from_the_top(positives, negatives)
    return float(PROBABILITIES[::-1][(2 * true / (true + false + true[-1])).argmax()])


def trapezoid(positives, negatives):
    """Area under the precision-recall curve by trapezoids, from precision 1 at recall 0.

    Straight lines between the points of a precision-recall curve cannot be reached by any threshold, and promise
    too much (Davis and Goadrich, ICML 2006).  Parameters and errors as `average_precision`; returns a float.

    Notes
    -----
    Equal to scikit-learn's `auc(recall, precision)` of `precision_recall_curve`.  Explained in chapter 8.
    """
    precision, recall, _ = _full_curve(positives, negatives)
    return float(np.trapezoid(np.append(1, precision), np.append(0, recall)))


def fixed_thresholds(positives, negatives, count):
    """Area under the precision-recall curve from a few equally spaced thresholds, as one code base computes it.

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

    Notes
    -----
    Explained in chapter 8.
    """
    total = _positive_total(positives)
    first = np.searchsorted(PROBABILITIES, np.linspace(0, 1, count), side="right")
    true = total - np.append(0, positives.cumsum())[first]
    false = negatives.sum() - np.append(0, negatives.cumsum())[first]
    precision = np.where(true + false > 0, true / np.maximum(true + false, 1), 1.0)
    return float(np.trapezoid(precision[::-1], (true / total)[::-1]))


def roc_auc(positives, negatives):
    """Area under the ROC curve: the chance that a lesion pixel outscores another pixel, ties counted half.

    Near 1 for any usable system when one pixel in a thousand is a lesion, hence no measure to choose by.
    Parameters and errors as `average_precision` (also without a negative pixel); returns a float.

    Notes
    -----
    Equal to scikit-learn's `roc_auc_score`.  Explained in chapter 8.
    """
    total = _positive_total(positives)
    if negatives.sum() == 0:
        raise MaaError("There is no pixel outside the lesions, so no ROC curve; check the truth masks.")
    above_or_tied = total - positives.cumsum() + positives / 2
    return float((negatives * above_or_tied).sum() / total / negatives.sum())


def per_image_mean(scores, healthy=False, outside_field=False):
    """Mean of the images' own average precisions; images without a lesion pixel have none and are left out.

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

    Notes
    -----
    Explained in chapter 8.
    """
    return float(np.mean(list(average_precision_by_image(scores, healthy, outside_field).values())))


def average_precision_by_image(scores, healthy=False, outside_field=False):
    """Average precision of each image that has a lesion pixel; parameters and errors as `per_image_mean`.

    Returns
    -------
    dict of str to float
        By image name.

    Notes
    -----
    Explained in chapter 8.
    """
    names = [n for n, diseased in zip(scores.names, scores.diseased) if diseased or healthy]
    by_image = {name: average_precision(p, n) for name, p, n in zip(names, *scores.per_image(healthy, outside_field))
                if p.any()}
    if not by_image:
        raise MaaError("No image has a lesion pixel where the scores are counted; check the truth masks.")
    return by_image


class Variant(NamedTuple):
    """One way in which the literature sums up a precision-recall curve; `measure` takes a `PixelScores`."""

    description: str
    measure: Callable


VARIANTS = {
    "average_precision": Variant(
        "Exact average precision, pixels of all diseased images pooled, inside the field of view (primary)",
        lambda s: average_precision(*s.pooled())),
    "trapezoid": Variant("Trapezoids between all points of the curve", lambda s: trapezoid(*s.pooled())),
    "thresholds_11": Variant("Trapezoids between 11 thresholds, empty ones set to precision 1",
                             lambda s: fixed_thresholds(*s.pooled(), 11)),
    "thresholds_33": Variant("Trapezoids between 33 thresholds, empty ones set to precision 1",
                             lambda s: fixed_thresholds(*s.pooled(), 33)),
    "thresholds_256": Variant("Trapezoids between 256 thresholds, empty ones set to precision 1",
                              lambda s: fixed_thresholds(*s.pooled(), 256)),
    "thresholds_11_all_pixels": Variant("11 thresholds as above, without the field-of-view mask: a public code base's rule",
                                        lambda s: fixed_thresholds(*s.pooled(outside_field=True), 11)),
    "per_image_mean": Variant("Mean of the images' own average precisions", per_image_mean),
    "without_field_mask": Variant("Exact average precision, without the field-of-view mask",
                                  lambda s: average_precision(*s.pooled(outside_field=True))),
    "with_healthy": Variant("Exact average precision, with the healthy images added",
                            lambda s: average_precision(*s.pooled(healthy=True))),
    "roc_auc": Variant("Area under the ROC curve", lambda s: roc_auc(*s.pooled())),
}


def variants(scores):
    """Every measure of `VARIANTS` of one system, to place the numbers of other papers.

    Parameters
    ----------
    scores : PixelScores

    Returns
    -------
    dict of str to (float or None)
        In the order of `VARIANTS`; "with_healthy" is None when no healthy image was added.

    Raises
    ------
    MaaError
        When there is no diseased image or no positive pixel.

    Notes
    -----
    Explained in chapter 8.
    """
    table = {name: variant.measure(scores) for name, variant in VARIANTS.items()}
    if all(scores.diseased):
        table["with_healthy"] = None
    return table


def reliability(positives, negatives, edges=RELIABILITY_EDGES):
    """Predicted probability against the observed share of lesion pixels, bin by bin.

    Parameters
    ----------
    positives, negatives : (65536,) integer arrays
    edges : (K + 1,) increasing sequence
        Borders of the bins, from 0 to 1.  A bin holds its lower border; the last one also its upper.
        Logarithmic borders show the rare high probabilities better.

    Returns
    -------
    dict of str to (M,) array, M <= K
        "low", "high", "predicted" (mean), "observed" (share), "pixels"; empty bins are left out.

    Raises
    ------
    MaaError
        When the borders do not increase from 0 to 1, or there is no pixel.

    Notes
    -----
    Explained in chapter 8.
    """
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or (np.diff(edges) <= 0).any():
        raise MaaError("The borders of the reliability bins must increase from 0 to 1.")
    pixels = positives + negatives
    if not pixels.any():
        raise MaaError("There is no pixel inside the field of view; check the field-of-view masks.")
    bins = np.searchsorted(edges[1:-1], PROBABILITIES, side="right")
    number, lesions, predicted = (np.bincount(bins, weights, len(edges) - 1)
                                  for weights in (pixels, positives, pixels * PROBABILITIES))
    filled = number > 0
    number = number[filled]
    return {"low": edges[:-1][filled], "high": edges[1:][filled], "predicted": predicted[filled] / number,
            "observed": lesions[filled] / number, "pixels": number.astype(np.int64)}


def expected_calibration_error(positives, negatives, edges=RELIABILITY_EDGES):
    """Mean distance between predicted and observed probability, bins weighted by their pixels.

    Nearly all pixels of a fundus photograph lie in the lowest bin, so the value is small for any system; look
    at `reliability` as well.  Parameters and errors as `reliability`; returns a float in [0, 1].

    References
    ----------
    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.

    Notes
    -----
    Explained in chapter 8.
    """
    table = reliability(positives, negatives, edges)
    return float(np.average(np.abs(table["predicted"] - table["observed"]), weights=table["pixels"]))


@dataclass(frozen=True)
class Interval:
    """A value and its interval: of a percentile bootstrap, where nothing else is said.

    Attributes
    ----------
    value : float
        Of the images as they are.
    low, high : float
    confidence : float
        In (0, 1): of a bootstrap, the share of the samples between `low` and `high`.

    Notes
    -----
    `dataclasses.asdict` gives its JSON form.  Explained in chapter 8.
    """

    value: float
    low: float
    high: float
    confidence: float = 0.95


@dataclass(frozen=True)
class Comparison:
    """Paired bootstrap of two systems on the same images.

    Attributes
    ----------
    system, baseline : Interval
        Average precision of each (mean over its runs).
    difference : Interval
        system - baseline.
    relative_gain : Interval
        system / baseline - 1; the paper's headline is 0.3029.
    share_not_better : float
        Share of the bootstrap samples in which the system does not beat the baseline.

    Notes
    -----
    `dataclasses.asdict` gives its JSON form.  Explained in chapter 8.
    """

    system: Interval
    baseline: Interval
    difference: Interval
    relative_gain: Interval
    share_not_better: float


def bootstrap_average_precision(scores, samples=2000, confidence=0.95, seed=0, healthy=False):
    """Interval of the pooled average precision, images (and runs, when several are given) drawn with replacement.

    Images are drawn, not pixels: the pixels of one photograph are anything but independent.  With ten images the
    percentile interval is somewhat too narrow, as the bootstrap is for small samples.

    Parameters
    ----------
    scores : PixelScores or sequence of PixelScores
        Several runs (seeds) of one system on the same images: the value is then the mean over runs, and each
        sample draws images and runs.
    samples : int
    confidence : float
        In (0, 1).
    seed : int
    healthy : bool
        Whether images of healthy patients take part.

    Returns
    -------
    Interval

    Raises
    ------
    MaaError
        When the runs differ in their images, or there is no positive pixel.

    Notes
    -----
    Samples without a positive pixel are left out.  Explained in chapter 8.
    """
    runs = _same_images(_as_runs(scores))
    images, drawn_runs = _draws(runs, samples, seed, healthy)
    values = _resampled(runs, images, drawn_runs, healthy)
    return _interval(values, confidence)


def paired_bootstrap(system, baseline, samples=2000, confidence=0.95, seed=0, healthy=False):
    """Difference and relative gain in average precision of two systems, on the same drawn images.

    Parameters
    ----------
    system, baseline : PixelScores or sequence of PixelScores
        The same images in the same order, equally many runs each.  Run i of the system is paired with run i
        of the baseline (the same seed, say), and each sample draws images and pairs of runs.
    samples, confidence, seed, healthy
        As `bootstrap_average_precision`.

    Returns
    -------
    Comparison

    Raises
    ------
    MaaError
        When images, their truth or the number of runs differ, or there is no positive pixel.

    Notes
    -----
    Explained in chapter 8.
    """
    system, baseline = _as_runs(system), _as_runs(baseline)
    if len(system) != len(baseline):
        raise MaaError(f"The system has {len(system)} runs and the baseline {len(baseline)}; compare equally many.")
    _same_images([*system, *baseline])
    images, drawn_runs = _draws(system, samples, seed, healthy)
    ours = _resampled(system, images, drawn_runs, healthy)
    theirs = _resampled(baseline, images, drawn_runs, healthy)
    difference = ours - theirs
    return Comparison(*(_interval(v, confidence) for v in (ours, theirs, difference, ours / theirs - 1)),
                      share_not_better=float(np.mean(difference[1:][~np.isnan(difference[1:])] <= 0)))


def bootstrap_operating_point(scores, threshold, samples=2000, confidence=0.95, seed=0, healthy=False):
    """Intervals of precision, recall and F1 at a frozen threshold, images drawn with replacement.

    Parameters
    ----------
    scores : PixelScores
    threshold : float
        As in `operating_point`.
    samples, confidence, seed, healthy
        As `bootstrap_average_precision`.

    Returns
    -------
    dict of str to Interval
        "f1", "precision", "recall".

    Raises
    ------
    MaaError
        When there is no positive pixel.

    Notes
    -----
    Explained in chapter 8.
    """
    images, _ = _draws([scores], samples, seed, healthy)
    positives, negatives = scores.per_image(healthy)
    _positive_total(positives)
    level = first_level(threshold)
    true, false, total = (images @ counts for counts in
                          (positives[:, level:].sum(1), negatives[:, level:].sum(1), positives.sum(1)))
    rates = _rates(true, false, total)
    return {name: _interval(np.where(total > 0, rate, np.nan), confidence) for name, rate in rates.items()}


def bootstrap_froc(lesion_scores, samples=2000, confidence=0.95, seed=0):
    """Intervals of the FROC score and of the sensitivities behind it, images drawn with replacement.

    Parameters
    ----------
    lesion_scores : LesionScores
    samples, confidence, seed
        As `bootstrap_average_precision`.

    Returns
    -------
    dict of str to Interval
        By the names of `Froc.summary`: "1/8", "1/4", "1/2", "1", "2", "4" and "8" are sensitivities at so many
        false positives per image, in [0, 1]; "score" is their mean.

    Raises
    ------
    MaaError
        When there is no image or no lesion.

    Notes
    -----
    In every sample the thresholds are found anew, so the intervals hold their spread too.  Samples without a
    lesion are left out.  Explained in chapter 8.
    """
    froc = lesion_scores.froc()
    n = len(lesion_scores.names)
    images = _drawn_images(np.random.default_rng(seed), n, samples)
    candidates = lesion_scores._candidates
    found = np.stack([_at_least(part["score"], froc.thresholds) for part in lesion_scores._lesions])
    false = np.stack([_at_least(part["score"][~part["hit"]], froc.thresholds) for part in candidates])
    lesions = images @ np.array([len(part["score"]) for part in lesion_scores._lesions], float)
    sensitivity = np.empty((samples + 1, len(FROC_POINTS)))
    for row, weights in enumerate(images):
        within = np.searchsorted(weights @ false, np.array(FROC_POINTS) * n, side="right")
        sensitivity[row] = np.append(0.0, weights @ found)[within]
    sensitivity = np.where(lesions > 0, sensitivity.T / np.maximum(lesions, 1), np.nan)
    values = dict(zip(FROC_NAMES, sensitivity)) | {"score": sensitivity.mean(0)}
    return {name: _interval(value, confidence) for name, value in values.items()}


def _at_least(scores, thresholds):
    """How many of the scores reach each threshold, as float."""
    return (len(scores) - np.searchsorted(np.sort(scores), thresholds)).astype(float)


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
    healthy ones too: adding them changes the false positives per image.  Explained in chapter 8.
    """

    def __init__(self, threshold, match="peak"):
        if not 0 < threshold <= 1:
            raise MaaError(f"The candidate threshold is {threshold}; it must be above 0 and at most 1.")
        if match not in ("peak", "overlap"):
            raise ValueError(f"Unknown match {match!r}: choose 'peak' or 'overlap'.")
        self.threshold = threshold
        self.match = match
        self.names = []
        self._lesions = []
        self._candidates = []

    def add(self, name, scores, truth, fov=None):
        """Find candidates and lesions of one image; parameters and errors as `PixelScores.add`."""
        levels, truth, fov = checked_maps(name, scores, truth, fov)
        above = levels >= first_level(self.threshold)
        if fov is not None:
            above, truth = above & fov, truth & fov
        lesion_map, lesions = _lesion_map(truth)
        pixels, component = components(above)
        count = int(component.max(initial=-1)) + 1
        score = levels.ravel()[pixels]
        top = np.zeros(count, np.uint16)
        np.maximum.at(top, component, score)
        # The peak is the centre of the pixels that share the maximum: a saturated map has many.
        on_top = score == top[component]
        row, column = _centres(pixels[on_top], component[on_top], count, truth.shape)
        if self.match == "overlap":
            touched = lesion_map.at(pixels)
            pairs = np.unique(np.stack([component, touched])[:, touched >= 0], axis=1)
        else:
            pairs = _pairs_at(lesion_map, row, column)
        candidates = {"row": row, "column": column, "area": np.bincount(component, minlength=count),
                      "score": PROBABILITIES[top]}
        self._keep(name, candidates, lesions, pairs)

    def add_candidates(self, name, rows, columns, scores, truth, fov=None):
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
        _check_mask(name, "truth", truth, truth.shape)
        if fov is not None:
            _check_mask(name, "field of view", fov, truth.shape)
            truth = truth & fov
        row, column = np.asarray(rows, float), np.asarray(columns, float)
        levels = quantise(np.asarray(scores), f"the candidates of {name}")
        if not row.shape == column.shape == levels.shape or row.ndim != 1:
            raise MaaError(f"Rows, columns and scores of the candidates of {name} differ in length; give one of each.")
        inside = (np.rint(row) >= 0) & (np.rint(row) < truth.shape[0])
        inside &= (np.rint(column) >= 0) & (np.rint(column) < truth.shape[1])
        if not inside.all():
            raise MaaError(f"Candidates of {name} lie outside the image of {truth.shape[0]} x {truth.shape[1]} pixels; "
                           "give positions at the truth mask's resolution.")
        kept = levels > 0
        if fov is not None:
            kept &= fov[np.rint(row).astype(int), np.rint(column).astype(int)]
        row, column, levels = row[kept], column[kept], levels[kept]
        lesion_map, lesions = _lesion_map(truth)
        candidates = {"row": row, "column": column, "area": np.ones(len(row), np.int64), "score": PROBABILITIES[levels]}
        self._keep(name, candidates, lesions, _pairs_at(lesion_map, row, column))

    def _keep(self, name, candidates, lesions, pairs):
        _new_name(name, self.names)
        candidate, lesion = pairs
        candidates["hit"] = np.zeros(len(candidates["score"]), bool)
        candidates["hit"][candidate] = True
        lesions["score"] = np.zeros(len(lesions["row"]))
        np.maximum.at(lesions["score"], lesion, candidates["score"][candidate])
        self.names.append(str(name))
        self._candidates.append(candidates)
        self._lesions.append(lesions)

    def extend(self, other):
        """Add the images of other scores; MaaError when one of them is there already, or the rules differ."""
        if (self.threshold, self.match) != (other.threshold, other.match):
            raise MaaError("The lesions were looked for by different rules; count them anew by one threshold and one match.")
        for name, candidates, lesions in zip(other.names, other._candidates, other._lesions):
            _new_name(name, self.names)
            self.names.append(name)
            self._candidates.append(candidates)
            self._lesions.append(lesions)

    def arrays(self):
        """Everything, as a dict of str to array, for a file; `from_arrays` takes it back."""
        arrays = {"names": np.array(self.names, dtype=np.str_), "rule": np.array([str(self.threshold), self.match])}
        for kind, parts in (("lesions", self._lesions), ("candidates", self._candidates)):
            arrays[f"{kind} each"] = np.array([len(part["score"]) for part in parts], np.int64)
            arrays |= {f"{kind} {key}": value for key, value in (self._table(parts) if parts else {}).items() if key != "image"}
        return arrays

    @classmethod
    def from_arrays(cls, arrays):
        """What `arrays` gave; KeyError when something is missing."""
        threshold, match = arrays["rule"].tolist()
        scores = cls(float(threshold), match)
        scores.names = arrays["names"].tolist()
        for kind, parts in (("lesions", scores._lesions), ("candidates", scores._candidates)):
            prefix, each = f"{kind} ", f"{kind} each"
            ends = arrays[each].cumsum()
            columns = {key.removeprefix(prefix): np.split(value, ends[:-1]) for key, value in arrays.items()
                       if key.startswith(prefix) and key != each}
            parts += [{key: values[i] for key, values in columns.items()} for i in range(len(ends))]
        return scores

    def lesions(self):
        """Every lesion: dict of equally long arrays "image", "row", "column" (centre), "area", "score" (0: missed).

        `pandas.DataFrame(scores.lesions())` makes a table, for results by size, say.
        """
        return self._table(self._lesions)

    def candidates(self):
        """Every candidate: dict of equally long arrays "image", "row", "column" (peak), "area", "score", "hit"."""
        return self._table(self._candidates)

    def _table(self, parts):
        if not parts:
            raise MaaError("There is no image to evaluate; add at least one before asking for a measure.")
        image = np.repeat(self.names, [len(part["score"]) for part in parts])
        return {"image": image} | {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def froc(self):
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
        return Froc(thresholds,
                    (len(found) - np.searchsorted(found, thresholds)) / len(found),
                    (len(false) - np.searchsorted(false, thresholds)) / len(self.names),
                    len(self.names), len(found))


@dataclass(frozen=True, eq=False)
class Froc:
    """Sensitivity against false positives per image, at falling thresholds.

    Attributes
    ----------
    thresholds, sensitivity, false_positives_per_image : (K,) float arrays
    images, lesions : int
        How many.

    Notes
    -----
    Explained in chapter 8.
    """

    thresholds: np.ndarray
    sensitivity: np.ndarray
    false_positives_per_image: np.ndarray
    images: int
    lesions: int

    def sensitivity_at(self, false_positives_per_image):
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
    def score(self):
        """Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per image: the challenge's score."""
        return float(self.sensitivity_at(np.array(FROC_POINTS)).mean())

    def summary(self):
        """JSON form: sensitivities at "1/8", "1/4", "1/2", "1", "2", "4", "8", their "score", "images", "lesions"."""
        values = self.sensitivity_at(np.array(FROC_POINTS)).tolist()
        return {**dict(zip(FROC_NAMES, values)), "score": self.score, "images": self.images, "lesions": self.lesions}


def checked_maps(name, scores, truth, fov=None):
    """The three maps of an image as arrays that fit each other; parameters and errors as `PixelScores.add`.

    Returns
    -------
    levels : (H, W) uint16 array
        See `quantise`.
    truth : (H, W) bool array
    fov : (H, W) bool array or None
    """
    scores, truth = np.asarray(scores), np.asarray(truth)
    if scores.ndim != 2:
        raise MaaError(f"The score map of {name} has the shape {scores.shape}; it must be (height, width).")
    _check_mask(name, "truth", truth, scores.shape)
    if fov is not None:
        fov = np.asarray(fov)
        _check_mask(name, "field of view", fov, scores.shape)
    return quantise(scores, name), truth, fov


def _new_name(name, names):
    if name in names:
        raise MaaError(f"Image {name} was already added to these scores; give each image a name of its own.")


def _check_mask(name, what, mask, shape):
    if mask.dtype != bool:
        raise MaaError(f"The {what} of {name} is {mask.dtype}; make it boolean, True where it holds.")
    if mask.ndim != 2 or mask.shape != shape:
        raise MaaError(f"The {what} of {name} has the shape {mask.shape}, not the image's {shape}; bring both to one size.")


def first_level(threshold):
    """The lowest 16-bit level, 0 to 65535, that is at or above a threshold in [0, 1]; MaaError beyond that range."""
    if not 0 <= threshold <= 1:
        raise MaaError(f"The threshold is {threshold}; it must be a probability in [0, 1].")
    return int(np.searchsorted(PROBABILITIES, threshold))


def _positive_total(positives):
    total = positives.sum()
    if total == 0:
        raise MaaError("There is no lesion pixel where the scores are counted, so precision and recall mean nothing; "
                       "check the truth masks and the field of view.")
    return total


def _from_the_top(positives, negatives):
    """True and false positives as the threshold falls from level 65535 to 0."""
    _positive_total(positives)
    return positives[::-1].cumsum(), negatives[::-1].cumsum()


def _full_curve(positives, negatives):
    true, false = _from_the_top(positives, negatives)
    taken = ((positives + negatives) > 0)[::-1]
    true, false = true[taken], false[taken]
    return true / (true + false), true / true[-1], PROBABILITIES[::-1][taken]


def _rates(true, false, total):
    return {"f1": 2 * true / np.maximum(true + false + total, 1),
            "precision": true / np.maximum(true + false, 1), "recall": true / np.maximum(total, 1)}


def _as_runs(scores):
    return [scores] if isinstance(scores, PixelScores) else list(scores)


def _same_images(runs):
    if not runs:
        raise MaaError("There is no run to evaluate; give at least one.")
    first = runs[0]
    for other in runs[1:]:
        if other.names != first.names or other.diseased != first.diseased:
            raise MaaError("The runs were evaluated on different images; evaluate all of them on one list of images.")
        if any((a[:, 1].sum(-1) != b[:, 1].sum(-1)).any() or a[0].sum() != b[0].sum()
               for a, b in zip(first._counts, other._counts)):
            raise MaaError("The runs were evaluated against different truth or field-of-view masks; evaluate them anew.")
    return runs


def _draws(runs, samples, seed, healthy):
    """How often each image is drawn, (samples + 1, n), and which runs, (samples + 1, S); row 0 is the data as is."""
    n, s = sum(healthy or d for d in runs[0].diseased), len(runs)
    if n == 0:
        raise MaaError("There is no image to evaluate; add at least one diseased image before asking for a measure.")
    generator = np.random.default_rng(seed)
    images = _drawn_images(generator, n, samples)
    drawn_runs = generator.integers(s, size=(samples, s))
    return images, np.vstack([np.arange(s)[None], drawn_runs])


def _drawn_images(generator, n, samples):
    """How often each of n images is drawn, (samples + 1, n) float; row 0 is the data as is."""
    return np.vstack([np.ones((1, n)), generator.multinomial(n, np.full(n, 1 / n), size=samples)])


def _resampled(runs, images, drawn_runs, healthy):
    by_run = np.stack([_weighted_average_precision(*run.per_image(healthy), images) for run in runs], 1)
    return np.take_along_axis(by_run, drawn_runs, 1).mean(1)


def _weighted_average_precision(positives, negatives, weights, at_once=50):
    """Average precision of the pooled images, image i counted weights[r, i] times; (R,), NaN without positives.

    Only levels that hold a lesion pixel add to the sum, so only these are kept: often a tenth of all.
    """
    _positive_total(positives)
    levels = positives.any(0)[::-1]
    here = positives[:, ::-1][:, levels].astype(float)
    true = positives[:, ::-1].cumsum(1)[:, levels].astype(float)
    predicted = true + negatives[:, ::-1].cumsum(1)[:, levels]
    total = positives.sum(1).astype(float)
    values = np.empty(len(weights))
    for start in range(0, len(weights), at_once):
        w = weights[start:start + at_once]
        terms = w @ true
        terms /= np.maximum(w @ predicted, 1)
        terms *= w @ here
        drawn = w @ total
        values[start:start + at_once] = np.where(drawn > 0, terms.sum(1) / np.maximum(drawn, 1), np.nan)
    return values


def _interval(values, confidence):
    if not 0 < confidence < 1:
        raise MaaError(f"The confidence is {confidence}; it must lie between 0 and 1.")
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values[1:], [tail, 1 - tail])
    return Interval(float(values[0]), float(low), float(high), confidence)


def components(mask):
    """The 8-connected components of a mask, of which only the pixels that are set cost time.

    Of the twelve million pixels of a photograph a few thousand are set, in still fewer horizontal runs: the runs
    are joined where one touches another in the next row.

    Parameters
    ----------
    mask : (H, W) bool array

    Returns
    -------
    pixels : (M,) integer array
        Flat positions of the pixels that are set, rising.
    component : (M,) integer array
        The number of the component of each, from 0, in the order of their first pixels.

    Notes
    -----
    Equal to `scipy.ndimage.label` with eight neighbours.  Explained in chapter 8.
    """
    pixels = np.flatnonzero(mask)
    row, column = np.divmod(pixels, mask.shape[1])
    place = row * (mask.shape[1] + 2) + column  # the end of a row does not touch the start of the next
    opens = np.diff(place, prepend=-2) > 1
    first, last = place[opens], place[np.append(opens[1:], True)[:len(opens)]]
    below = mask.shape[1] + 2
    start = np.searchsorted(last, first + below - 1)  # a run touches those of the next row from this
    stop = np.searchsorted(first, last + below + 1, side="right")  # to before this one
    touching = np.maximum(stop - start, 0)
    upper = np.repeat(np.arange(len(first)), touching)
    lower = np.arange(len(upper)) + np.repeat(start - (touching.cumsum() - touching), touching)
    graph = sparse.coo_array((np.ones(len(upper), bool), (upper, lower)), shape=(len(first), len(first)))
    run = csgraph.connected_components(graph, directed=False)[1] if len(first) else np.empty(0, np.int32)
    return pixels, run[opens.cumsum() - 1].astype(np.intp)


class _LesionMap(NamedTuple):
    """The pixels of the lesions of an image, in rising order, and the number of the lesion of each."""

    pixels: np.ndarray
    lesion: np.ndarray
    width: int

    def at(self, pixels):
        """Number of the lesion at flat positions, -1 where there is none."""
        if not len(self.pixels):
            return np.full(np.shape(pixels), -1)
        nearest = np.minimum(np.searchsorted(self.pixels, pixels), len(self.pixels) - 1)
        return np.where(self.pixels[nearest] == pixels, self.lesion[nearest], -1)


def _lesion_map(truth):
    """Which lesion lies where, and the lesions' centres and areas."""
    pixels, component = components(truth)
    count = int(component.max(initial=-1)) + 1
    row, column = _centres(pixels, component, count, truth.shape)
    lesions = {"row": row, "column": column, "area": np.bincount(component, minlength=count)}
    return _LesionMap(pixels, component, truth.shape[1]), lesions


def _centres(pixels, component, count, shape):
    area = np.bincount(component, minlength=count)
    rows, columns = np.divmod(pixels, shape[1])
    return (np.bincount(component, rows, count) / area, np.bincount(component, columns, count) / area)


def _pairs_at(lesion_map, row, column):
    lesion = lesion_map.at(np.rint(row).astype(int) * lesion_map.width + np.rint(column).astype(int))
    candidate = np.flatnonzero(lesion >= 0)
    return candidate, lesion[candidate]
