"""The field of view: which part of a frame shows the retina."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image
from scipy import ndimage

from maa.errors import MaaError

_FOV_SIDE = 512  # the field of view is found on a copy whose longer side is about this many pixels
BLACK = 12  # a frame whose bright parts stay below this grey level (of 255) shows no retina
_NO_FIELD = (
    "No field of view was found in {}: use a fundus photograph in which the bright retina fills a good part of the frame."
)


def field_of_view(image: np.ndarray, name: str | os.PathLike[str] = "the image") -> np.ndarray:
    """Find the part of the frame in which the camera saw the retina.  Explained in ch:retina.

    Works on a reduced copy.  Dark surround and bright retina set a threshold between them, so that dim photographs and cameras
    with a raised black level are served alike; opening cuts off dust and flare that touch the border; the largest connected
    component stays, with its holes filled.  A camera's aperture is round, so where a circle explains the component's border,
    the field is that disc, cut off by the frame: its border is smooth, and a retina that fades into the dark at one side keeps
    its whole field.  Where there is no dark surround, the whole frame is the field.  A MaaError when the frame is black,
    uniform, or holds nothing as large as a retina.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
    name : str or path-like
        What to call the image in an error, usually its path.

    Returns
    -------
    ndarray, shape (H, W), bool
    """
    height, width = image.shape[:2]
    factor = max(1, round(max(height, width) / _FOV_SIDE))
    small = np.asarray(Image.fromarray(image).reduce(factor)).max(axis=2).astype(np.float32)
    small = ndimage.median_filter(small, size=5, mode="nearest")
    dark, bright = np.percentile(small, [0.5, 90])
    if bright < BLACK or small.max() - small.min() < 4:
        raise MaaError(_NO_FIELD.format(name))
    if dark > 0.3 * bright:
        return np.ones((height, width), bool)

    field = small > dark + 0.15 * (bright - dark)
    # Padding with the border's own values keeps a field that the frame cuts off from being eroded.
    reach = max(2, round(0.02 * max(small.shape)))
    field = np.pad(field, reach, mode="edge")
    disc = np.hypot(*np.ogrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    field = ndimage.binary_opening(field, disc)[reach:-reach, reach:-reach]
    labels, count = ndimage.label(field)
    sizes = np.bincount(labels.ravel(), minlength=2)[1:]
    if count == 0 or sizes.max() < 0.05 * small.size:
        raise MaaError(_NO_FIELD.format(name))
    field = np.asarray(ndimage.binary_fill_holes(labels == 1 + sizes.argmax()))

    circle = _aperture(field)
    if circle is None:
        return field.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
    # A reduced pixel's centre, i, lies at (i + 1/2) * factor - 1/2 in the photograph.
    row, column, radius = np.array(circle) * factor + [(factor - 1) / 2, (factor - 1) / 2, 0]
    squared = radius**2 - (np.arange(height)[:, None] - row) ** 2
    half = np.where(squared >= 0, np.sqrt(np.abs(squared)), -1.0)  # -1: no pixel of this row
    columns = np.arange(width)
    return np.asarray((columns >= column - half) & (columns <= column + half))


def _aperture(field: np.ndarray) -> tuple[float, float, float] | None:
    """Row, column and radius of the circle that bounds a field, or None when it is not round.

    Least absolute distances (by reweighting): a shaded side, or the notch by which cameras mark a side, does not pull it.
    """
    # Without a border value of 1, the frame's cut would count as the border of the retina.
    rows, columns = np.nonzero(field & ~ndimage.binary_erosion(field, border_value=1))
    if rows.size < 20:
        return None
    weights = np.ones(rows.size)
    design = np.stack([2.0 * rows, 2.0 * columns, np.ones(rows.size)], axis=1)
    target = (rows**2 + columns**2).astype(float)
    for _ in range(30):
        root = np.sqrt(weights)[:, None]
        row, column, rest = np.linalg.lstsq(design * root, target * root[:, 0], rcond=None)[0]
        radius = np.sqrt(max(rest + row**2 + column**2, 0.0))
        distance = np.abs(np.hypot(rows - row, columns - column) - radius)
        weights = 1 / np.maximum(distance, 0.1)
    grid_rows, grid_columns = np.ogrid[: field.shape[0], : field.shape[1]]
    inside = np.hypot(grid_rows - row, grid_columns - column) <= radius
    explains_border = np.mean(distance <= 0.01 * radius + 0.5) >= 0.7
    explains_area = (field & inside).sum() >= 0.9 * max((field | inside).sum(), 1)
    return (row, column, radius) if explains_border and explains_area else None
