"""Intervals: how far a measure, or the difference of two, would move with other photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maa.errors import MaaError
from maa.evaluation.curves import positive_total, rates_of
from maa.evaluation.lesions import FROC_NAMES, FROC_POINTS, FROC_WIDE, LesionScores
from maa.evaluation.pixels import PixelScores, first_level


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
    `dataclasses.asdict` gives its JSON form.  Explained in ch:gain.
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
    p_value : float
        Two-sided, of the difference, see `p_value`.

    Notes
    -----
    `dataclasses.asdict` gives its JSON form.  Explained in ch:gain.
    """

    system: Interval
    baseline: Interval
    difference: Interval
    relative_gain: Interval
    p_value: float


#: One run of a system, or several (seeds), each on the same images.
Scores = PixelScores | Sequence[PixelScores]


def bootstrap_average_precision(
    scores: Scores, samples: int = 2000, confidence: float = 0.95, seed: int = 0, healthy: bool = False
) -> Interval:
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
    Samples without a positive pixel are left out.  What the draw of runs adds is stretched by sqrt(S / (S - 1)) for S of them,
    since runs drawn from so few vary too little; what the draw of images adds is left as it is.  Explained in ch:gain.
    """
    return Resampled.of(scores, samples, seed, healthy).interval(confidence)


def paired_bootstrap(
    system: Scores, baseline: Scores, samples: int = 2000, confidence: float = 0.95, seed: int = 0, healthy: bool = False
) -> Comparison:
    """Difference and relative gain in average precision of two systems, on the same drawn images.  Explained in ch:gain.

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
    """
    return Resampled.of(system, samples, seed, healthy).against(Resampled.of(baseline, samples, seed, healthy), confidence)


@dataclass(frozen=True, eq=False)
class Resampled:
    """Average precision of a system in every sample of a bootstrap, for one that is compared with several others.

    Attributes
    ----------
    runs : list of PixelScores
    values : ndarray, shape (samples + 1,)
        The first is that of the images as they are; NaN in a sample without a positive pixel.

    Notes
    -----
    Systems with the same images, number of runs and seed meet the same samples.  Explained in ch:gain.
    """

    runs: list[PixelScores]
    values: np.ndarray

    @classmethod
    def of(cls, scores: Scores, samples: int = 2000, seed: int = 0, healthy: bool = False) -> Resampled:
        """Draw the samples; parameters and errors as of `bootstrap_average_precision`."""
        runs = _same_images(_as_runs(scores))
        return cls(runs, _resampled(runs, *_draws(runs, samples, seed, healthy), healthy))

    def interval(self, confidence: float = 0.95) -> Interval:
        """As `bootstrap_average_precision`."""
        return _interval(self.values, confidence)

    def against(self, baseline: Resampled, confidence: float = 0.95) -> Comparison:
        """As `paired_bootstrap`, with a baseline whose samples were drawn with the same seed."""
        if len(self.runs) != len(baseline.runs):
            raise MaaError(f"The system has {len(self.runs)} runs and the baseline {len(baseline.runs)}; compare equally many.")
        _same_images([*self.runs, *baseline.runs])
        difference = self.values - baseline.values
        return Comparison(
            self.interval(confidence),
            baseline.interval(confidence),
            _interval(difference, confidence),
            _interval(self.values / baseline.values - 1, confidence),
            p_value(difference[1:]),
        )


def p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of a bootstrap: how far out in its samples of a difference zero lies.  Explained in ch:gain.

    Parameters
    ----------
    differences : (B,) float array
        Of the samples; NaN where a sample has none.

    Returns
    -------
    float
        In (0, 1]: twice the share of the samples on the rarer side of zero, those at zero counted on both, and one more
        on either side, so that no finite number of samples gives a certainty.  Below 0.05 it says that the 95 % interval of the
        same samples excludes zero.
    """
    drawn = differences[~np.isnan(differences)]
    rarer = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return min(1.0, 2 * float(rarer + 1) / (len(drawn) + 1))


def bootstrap_operating_point(
    scores: PixelScores, threshold: float, samples: int = 2000, confidence: float = 0.95, seed: int = 0, healthy: bool = False
) -> dict[str, Interval]:
    """Intervals of precision, recall and F1 at a frozen threshold, images drawn with replacement.  Explained in ch:gain.

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
    """
    images, _ = _draws([scores], samples, seed, healthy)
    positives, negatives = scores.per_image(healthy)
    positive_total(positives)
    level = first_level(threshold)
    true, false, total = (
        images @ counts for counts in (positives[:, level:].sum(1), negatives[:, level:].sum(1), positives.sum(1))
    )
    rates = rates_of(true, false, total)
    return {name: _interval(np.where(total > 0, rate, np.nan), confidence) for name, rate in rates.items()}


def bootstrap_froc(
    lesion_scores: LesionScores, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Intervals of the FROC score and of the sensitivities behind it, images drawn with replacement.

    Parameters
    ----------
    lesion_scores : LesionScores
    samples, confidence, seed
        As `bootstrap_average_precision`.

    Returns
    -------
    dict of str to Interval
        By the names of `Froc.summary`: "1/8" to "64" are sensitivities at so many false positives per image, in [0, 1]; "score"
        is the mean of the first seven, to "8".

    Raises
    ------
    MaaError
        When there is no image or no lesion.

    Notes
    -----
    In every sample the thresholds are found anew, so the intervals hold their spread too.  Samples without a
    lesion are left out.  Explained in ch:gain.
    """
    froc = lesion_scores.froc()
    n = len(lesion_scores.names)
    images = _drawn_images(np.random.default_rng(seed), n, samples)
    candidates = lesion_scores._candidates
    found = np.stack([_at_least(part["score"], froc.thresholds) for part in lesion_scores._lesions])
    false = np.stack([_at_least(part["score"][~part["hit"]], froc.thresholds) for part in candidates])
    lesions = images @ np.array([len(part["score"]) for part in lesion_scores._lesions], float)
    points = np.array(FROC_POINTS + FROC_WIDE)
    sensitivity = np.empty((samples + 1, len(points)))
    for row, weights in enumerate(images):
        within = np.searchsorted(weights @ false, points * n, side="right")
        sensitivity[row] = np.append(0.0, weights @ found)[within]
    sensitivity = np.where(lesions > 0, sensitivity.T / np.maximum(lesions, 1), np.nan)
    values = dict(zip(FROC_NAMES, sensitivity)) | {"score": sensitivity[: len(FROC_POINTS)].mean(0)}
    return {name: _interval(value, confidence) for name, value in values.items()}


def bootstrap_mean(by_image: Mapping[str, float], samples: int = 2000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Interval of the mean of one value an image, images drawn with replacement.  Explained in ch:gain.

    Of the images' own average precisions; or, paired, of their differences between two systems.

    Parameters
    ----------
    by_image : mapping of str to float
        As `average_precision_by_image` gives it, or a difference of two.
    samples, confidence, seed
        As `bootstrap_average_precision`.

    Returns
    -------
    Interval

    Raises
    ------
    MaaError
        When there is no image.
    """
    if not by_image:
        raise MaaError("There is no image to evaluate; add at least one diseased image before asking for a measure.")
    values = np.array(list(by_image.values()))
    images = _drawn_images(np.random.default_rng(seed), len(values), samples)
    return _interval(images @ values / len(values), confidence)


def _at_least(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many of the scores reach each threshold, as float."""
    return (len(scores) - np.searchsorted(np.sort(scores), thresholds)).astype(float)


def _as_runs(scores: Scores) -> list[PixelScores]:
    return [scores] if isinstance(scores, PixelScores) else list(scores)


def _same_images(runs: list[PixelScores]) -> list[PixelScores]:
    if not runs:
        raise MaaError("There is no run to evaluate; give at least one.")
    first = runs[0]
    for other in runs[1:]:
        if other.names != first.names or other.diseased != first.diseased:
            raise MaaError("The runs were evaluated on different images; evaluate all of them on one list of images.")
        if any(
            (a[:, 1].sum(-1) != b[:, 1].sum(-1)).any() or a[0].sum() != b[0].sum() for a, b in zip(first._counts, other._counts)
        ):
            raise MaaError("The runs were evaluated against different truth or field-of-view masks; evaluate them anew.")
    return runs


def _draws(runs: Sequence[PixelScores], samples: int, seed: int, healthy: bool) -> tuple[np.ndarray, np.ndarray]:
    """How often each image is drawn, (samples + 1, n), and which runs, (samples + 1, S); row 0 is the data as is."""
    n, s = sum(healthy or d for d in runs[0].diseased), len(runs)
    if n == 0:
        raise MaaError("There is no image to evaluate; add at least one diseased image before asking for a measure.")
    generator = np.random.default_rng(seed)
    images = _drawn_images(generator, n, samples)
    drawn_runs = generator.integers(s, size=(samples, s))
    return images, np.vstack([np.arange(s)[None], drawn_runs])


def _drawn_images(generator: np.random.Generator, n: int, samples: int) -> np.ndarray:
    """How often each of n images is drawn, (samples + 1, n) float; row 0 is the data as is."""
    return np.vstack([np.ones((1, n)), generator.multinomial(n, np.full(n, 1 / n), size=samples)])


def _resampled(runs: Sequence[PixelScores], images: np.ndarray, drawn_runs: np.ndarray, healthy: bool) -> np.ndarray:
    by_run = np.stack([_weighted_average_precision(*run.per_image(healthy), images) for run in runs], 1)
    centre, drawn = by_run.mean(1), np.take_along_axis(by_run, drawn_runs, 1).mean(1)
    # Runs drawn from S runs have (S - 1) / S of the variance of runs drawn from all that there could be: a third is missing of three.
    stretch = np.sqrt(len(runs) / max(len(runs) - 1, 1))
    return np.asarray(centre + stretch * (drawn - centre))


def _weighted_average_precision(
    positives: np.ndarray, negatives: np.ndarray, weights: np.ndarray, at_once: int = 50
) -> np.ndarray:
    """Average precision of the pooled images, image i counted weights[r, i] times; (R,), NaN without positives.

    Only levels that hold a lesion pixel add to the sum, so only these are kept: often a tenth of all.
    """
    positive_total(positives)
    levels = np.asarray(positives.any(0))[::-1]
    here = positives[:, ::-1][:, levels].astype(float)
    true = positives[:, ::-1].cumsum(1)[:, levels].astype(float)
    predicted = true + negatives[:, ::-1].cumsum(1)[:, levels]
    total = positives.sum(1).astype(float)
    values = np.empty(len(weights))
    for start in range(0, len(weights), at_once):
        w = weights[start : start + at_once]
        terms = w @ true
        terms /= np.maximum(w @ predicted, 1)
        terms *= w @ here
        drawn = w @ total
        values[start : start + at_once] = np.where(drawn > 0, terms.sum(1) / np.maximum(drawn, 1), np.nan)
    return values


def _interval(values: np.ndarray, confidence: float) -> Interval:
    if not 0 < confidence < 1:
        raise MaaError(f"The confidence is {confidence}; it must lie between 0 and 1.")
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values[1:], [tail, 1 - tail])
    return Interval(float(values[0]), float(low), float(high), confidence)
