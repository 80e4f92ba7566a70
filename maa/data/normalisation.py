"""Normalisation: what is left of a photograph once its illumination has been taken away."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

#: Standard deviation, in pixels of the photograph, of the Gaussian that estimates the background: much
#: wider than a lesion (8 to 30 pixels), narrower than the shading of the retina.  Our choice.
BACKGROUND_SIGMA = 64.0
#: Grey levels for one unit of spread.  Large vessels, the darkest things that matter, lie 4 units below
#: the background, and a uint8 leaves room for 5.  Our choice.
CONTRAST_LEVELS = 24
#: The background is smooth, so it is estimated on a copy reduced by this factor.
_REDUCTION = 8


def normalise(image: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """Local contrast of a photograph, in units of its own spread, as uint8.

    In each colour channel the background, a Gaussian mean over the field of view alone, is subtracted, and
    the difference is divided by its own spread over the field of view, so that the same lesion looks
    the same in a dark corner and a bright centre, and through two different cameras.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB photograph.
    fov : ndarray, shape (H, W), bool
        Field of view; at least one pixel of it.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        128 where a pixel equals its background, `LEVELS` more for every unit of spread above it, clipped at
        0 and 255; exactly 128 outside the field of view.

    Notes
    -----
    The spread is half the distance between the 16th and 84th percentiles: a standard deviation that
    exudates and haemorrhages do not inflate.  Our choice: the paper does not state its preprocessing.
    Explained in ch:retina.
    """
    height, width = fov.shape
    weight = _reduce(fov.astype(np.float32))
    blurred_weight = _blur(weight)
    normalised = np.full((height, width, 3), 128, np.uint8)
    # A thousandth of the pixels fixes two percentiles to far better than one grey level.
    sample = np.flatnonzero(fov)[:: max(1, int(fov.sum()) // 50_000)]
    for channel in range(3):
        plane = image[..., channel].astype(np.float32)
        background = _blur(_reduce(plane * fov)) / np.maximum(blurred_weight, 1e-6)
        difference = plane - _enlarge(background, (height, width))
        low, high = np.percentile(difference.ravel()[sample], [16, 84])
        spread = max((high - low) / 2, 1.0)  # a flat channel holds rounding noise: do not amplify it
        np.multiply(difference, CONTRAST_LEVELS / spread, out=difference)
        difference += 128.5
        np.clip(difference, 0, 255, out=difference)
        np.copyto(normalised[..., channel], difference.astype(np.uint8), where=fov)
    return normalised


def _reduce(plane: np.ndarray) -> np.ndarray:
    """Mean over blocks of `_REDUCTION` squared pixels."""
    return np.asarray(Image.fromarray(plane).reduce(_REDUCTION))


def _blur(plane: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(plane, BACKGROUND_SIGMA / _REDUCTION, mode="constant", truncate=3)


def _enlarge(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear interpolation back to full size, block centre on block centre."""
    height, width = shape
    rows, columns = plane.shape
    box = (0, 0, width / _REDUCTION, height / _REDUCTION)  # the last block may be a partial one
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR, box=box))
