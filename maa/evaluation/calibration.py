"""Calibration: do the probabilities mean what they say?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maa.errors import MaaError
from maa.evaluation.pixels import PROBABILITIES

RELIABILITY_EDGES = tuple(k / 15 for k in range(16))


def reliability(
    positives: np.ndarray, negatives: np.ndarray, edges: Sequence[float] = RELIABILITY_EDGES
) -> dict[str, np.ndarray]:
    """Predicted probability against the observed share of lesion pixels, bin by bin.  Explained in ch:gain.

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
    """
    borders = np.asarray(edges, float)
    if borders.ndim != 1 or len(borders) < 2 or borders[0] != 0 or borders[-1] != 1 or (np.diff(borders) <= 0).any():
        raise MaaError("The borders of the reliability bins must increase from 0 to 1.")
    pixels = positives + negatives
    if not pixels.any():
        raise MaaError("There is no pixel inside the field of view; check the field-of-view masks.")
    bins = np.searchsorted(borders[1:-1], PROBABILITIES, side="right")
    number, lesions, predicted = (
        np.bincount(bins, weights, len(borders) - 1) for weights in (pixels, positives, pixels * PROBABILITIES)
    )
    filled = number > 0
    number = number[filled]
    return {
        "low": borders[:-1][filled],
        "high": borders[1:][filled],
        "predicted": predicted[filled] / number,
        "observed": lesions[filled] / number,
        "pixels": number.astype(np.int64),
    }


def expected_calibration_error(
    positives: np.ndarray, negatives: np.ndarray, edges: Sequence[float] = RELIABILITY_EDGES
) -> float:
    """Mean distance between predicted and observed probability, bins weighted by their pixels.  Explained in ch:gain.

    Nearly all pixels of a fundus photograph lie in the lowest bin, so the value is small for any system; look
    at `reliability` as well.  Parameters and errors as `reliability`; returns a float in [0, 1].

    References
    ----------
    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    table = reliability(positives, negatives, edges)
    return float(np.average(np.abs(table["predicted"] - table["observed"]), weights=table["pixels"]))
