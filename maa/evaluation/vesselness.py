"""Vessels, which IDRiD does not annotate, by a line filter."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from maa.data.normalisation import CONTRAST_LEVELS
from maa.errors import MaaError
from maa.evaluation.regions import components

#: Vessels are sought in a copy of the photograph reduced by this factor; what follows is in its pixels.
_REDUCTION = 4
#: Standard deviations of the Gaussians, for vessels of about 3, 5 and 8 pixels.
_VESSEL_SIGMAS = (1.5, 2.5, 4.0)
#: Length over which a vessel is straight, and in how many directions that is looked for.
_VESSEL_LENGTH, _VESSEL_DIRECTIONS = 15, 12
#: Strength, in units of spread, of a vessel anywhere along it and at its strongest place; and its least extent.
_VESSEL_WEAK, _VESSEL_STRONG, _VESSEL_EXTENT = 0.3, 0.6, 60


def vessels(image: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """Where the larger vessels of a photograph lie, by a fixed rule: long, dark, connected lines.

    Nobody annotated the vessels of IDRiD, and nothing is trained here.  In a copy of the green channel reduced four
    times, the second derivatives of Gaussians of three widths tell how dark a pixel is against both its sides, less
    how much it is dark (or bright) against its neighbours along the line, which is what a dot is.  The mean of that
    over 15 pixels (60 of the photograph) in the best of twelve directions is the strength of a line.  Connected lines
    of some strength are vessels when they are strong somewhere and at least 60 pixels (240 of the photograph) in
    extent, so that a round lesion is none.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        Normalised photograph, at IDRiD's scale.
    fov : (H, W) bool array
        Field of view.

    Returns
    -------
    (H, W) bool array

    Raises
    ------
    MaaError
        When shapes or types do not fit.

    Notes
    -----
    It misses capillaries, and takes some dark seams around the disc and around large exudates, which normalisation
    leaves, for vessels.  Good for a table, not for a diagnosis.  The line strength follows
    Frangi et al., "Multiscale vessel enhancement filtering", MICCAI 1998; the directions Ricci and Perfetti, "Retinal
    blood vessel segmentation using line operators", IEEE TMI 26(10), 2007; the thresholds are our choice.  Explained
    in ch:gain.
    """
    fov = np.asarray(fov)
    dark = (128 - green_channel(image, fov.shape).astype(np.float32)) / CONTRAST_LEVELS
    dark = np.asarray(Image.fromarray(dark).reduce(_REDUCTION))
    dark = np.maximum(dark, -0.5)  # an exudate leaves dark lines around it: it counts as ground
    inside = np.asarray(Image.fromarray(fov.astype(np.float32)).reduce(_REDUCTION)) >= 1
    inside = ndimage.binary_erosion(inside, iterations=3)  # the aperture is a dark line too

    line = np.zeros_like(dark)
    for sigma in _VESSEL_SIGMAS:
        down, both, right = (
            ndimage.gaussian_filter(dark, sigma, order=order, truncate=3) * -(sigma**2) for order in ((2, 0), (1, 1), (0, 2))
        )
        mean, deviation = (down + right) / 2, np.hypot((down - right) / 2, both)  # the eigenvalues: mean +- deviation
        np.maximum(line, mean + deviation - np.abs(mean - deviation), out=line)
    line = np.where(inside, np.minimum(line, 3), 0)  # one black dot must not make a line of its neighbours

    reach = _VESSEL_LENGTH // 2
    padded, strength = np.pad(line, reach), np.zeros_like(line)
    steps, (height, width) = np.arange(-reach, reach + 1), line.shape
    for angle in np.arange(_VESSEL_DIRECTIONS) * np.pi / _VESSEL_DIRECTIONS:
        rows, columns = np.rint(steps * np.sin(angle)).astype(int), np.rint(steps * np.cos(angle)).astype(int)
        along = sum(
            padded[reach + row : reach + row + height, reach + column : reach + column + width]
            for row, column in zip(rows, columns)
        )
        np.maximum(strength, along / _VESSEL_LENGTH, out=strength)

    pixels, part = components((strength >= _VESSEL_WEAK) & (line >= _VESSEL_WEAK / 2))
    found = np.zeros(line.size, bool)
    if len(pixels):
        parts = np.arange(part.max() + 1)
        extent = np.hypot(
            *(
                np.add(ndimage.maximum(axis, part, parts), 1) - ndimage.minimum(axis, part, parts)
                for axis in np.divmod(pixels, width)
            )
        )
        strongest = ndimage.maximum(strength.ravel()[pixels], part, parts)
        found[pixels] = ((extent >= _VESSEL_EXTENT) & (strongest >= _VESSEL_STRONG))[part]
    found = found.reshape(line.shape).repeat(_REDUCTION, axis=0).repeat(_REDUCTION, axis=1)
    return found[: fov.shape[0], : fov.shape[1]] & fov


def green_channel(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.shape != (*shape, 3):
        raise MaaError(
            f"The photograph is {image.dtype} of shape {image.shape}; give the normalised one, uint8, "
            f"of {shape[0]} x {shape[1]} pixels in three channels."
        )
    return image[..., 1]
