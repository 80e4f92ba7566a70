"""Shrunk: a map and its truth made smaller before they are compared, as some published numbers were."""

from __future__ import annotations

import numpy as np
from PIL import Image

from maa.data.photograph import halve

#: Side of the square in pixels, and number of thresholds, of the code behind a published 0.5341.
SIDE, THRESHOLDS = 1376, 33


def shrink(levels: np.ndarray, truth: np.ndarray, fov: np.ndarray, side: int = SIDE) -> tuple[np.ndarray, np.ndarray] | None:
    """Cut the field of view out of a map and its truth, pad both to a square, and shrink them.  Explained in ch:gain.

    Parameters
    ----------
    levels : (H, W) uint16 array
        Probability map, see `quantise`.
    truth, fov : (H, W) bool array
        Annotated lesion pixels, and field of view.
    side : int
        Of the square that comes out, in pixels.

    Returns
    -------
    levels : (side, side) uint16 array
        Means over the area of each pixel.
    truth : (side, side) bool array
        Taken at the nearest pixel at twice the side, then true where half of a block of 2 x 2 is.
    None
        In place of both where the field of view is smaller than the square, so that nothing is shrunk.

    Notes
    -----
    What `preprocessing.py` and `evaluate.py` of the repository BEBC-MIA/Retinal-lesion-Segmentation do to the masks (seen in
    November 2026); its networks give their maps at this size, so how a map is shrunk is our choice.
    """
    rows, columns = (np.flatnonzero(fov.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    levels, truth = levels[window], truth[window]
    height, width = truth.shape
    length = max(height, width)
    if length < side:
        return None
    above, left = (length - height) // 2, (length - width) // 2
    margins = (above, length - height - above), (left, length - width - left)
    small = Image.fromarray(np.pad(levels, margins).astype(np.float32)).resize((side, side), Image.Resampling.BOX)
    mask = Image.fromarray(np.pad(truth, margins).view(np.uint8)).resize((2 * side, 2 * side), Image.Resampling.NEAREST)
    return np.rint(np.asarray(small)).astype(np.uint16), halve(np.asarray(mask).astype(bool))
