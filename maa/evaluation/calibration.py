"""Calibration: do the probabilities mean what they say?"""

from __future__ import annotations

import numpy as np

from maa.errors import MaaError
from maa.evaluation.pixels import PROBABILITIES

RELIABILITY_EDGES = tuple(k / 15 for k in range(16))


def reliability(positives, negatives, edges=RELIABILITY_EDGES):
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
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or (np.diff(edges) <= 0).any():
        raise MaaError("The borders of the reliability bins must increase from 0 to 1.")
    pixels = positives + negatives
    if not pixels.any():
        raise MaaError("There is no pixel inside the field of view; check the field-of-view masks.")
    bins = np.searchsorted(edges[1:-1], PROBABILITIES, side="right")
    number, lesions, predicted = (
        np.bincount(bins, weights, len(edges) - 1) for weights in (pixels, positives, pixels * PROBABILITIES)
    )
    filled = number > 0
    number = number[filled]
    return {
        "low": edges[:-1][filled],
        "high": edges[1:][filled],
        "predicted": predicted[filled] / number,
        "observed": lesions[filled] / number,
        "pixels": number.astype(np.int64),
    }


def expected_calibration_error(positives, negatives, edges=RELIABILITY_EDGES):
    """Mean distance between predicted and observed probability, bins weighted by their pixels.  Explained in ch:gain.

    Nearly all pixels of a fundus photograph lie in the lowest bin, so the value is small for any system; look
    at `reliability` as well.  Parameters and errors as `reliability`; returns a float in [0, 1].

    References
    ----------
    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    table = reliability(positives, negatives, edges)
    return float(np.average(np.abs(table["predicted"] - table["observed"]), weights=table["pixels"]))
