"""Scale: how large a photograph's pixels are on the retina."""

from __future__ import annotations

import numpy as np
from PIL import Image

from maa.data.idrid import IDRID_PIXELS_PER_DEGREE

#: Field of view, in degrees, that a camera is taken to have: IDRiD's, and the most common one.
FIELD_DEGREES = 50.0
#: Photographs that would be resized by a factor between these are left as they are: lesions themselves
#: differ in size by more, and resizing costs sharpness.  Our choice.
TOLERANCE = (0.8, 1.25)


def field_diameter(fov: np.ndarray) -> float | None:
    """Diameter of a round field of view in pixels, also where the frame cuts some of it off.

    It is the largest extent of `fov`, shape (H, W), bool, in any of 36 directions: a frame that cuts the circle above and
    below leaves its width, and one that cuts all four sides leaves the diagonals.  None where the field fills the frame, so
    that its border is not seen.
    """
    if fov.all():
        return None
    rows = np.flatnonzero(fov.any(axis=1))
    left = fov[rows].argmax(axis=1)
    right = fov.shape[1] - 1 - fov[rows, ::-1].argmax(axis=1)
    points = np.stack([np.concatenate([rows, rows]), np.concatenate([left, right])], axis=1)
    angles = np.deg2rad(np.arange(0, 180, 5))
    along = points @ np.stack([np.sin(angles), np.cos(angles)])
    return float((along.max(axis=0) - along.min(axis=0)).max() + 1)


def resize_factor(fov: np.ndarray, degrees: float = FIELD_DEGREES) -> tuple[float, tuple[str, ...]]:
    """By which factor a photograph is brought to IDRiD's scale, 1 inside `TOLERANCE`; and sentences that say why.

    Its field of view is `fov`, shape (H, W), bool, taken to span so many degrees.
    """
    diameter = field_diameter(fov)
    if diameter is None:
        return 1.0, (
            "The border of the field of view is not in the frame, so the scale is unknown and taken as IDRiD's: "
            "--resize sets it.",
        )
    factor = IDRID_PIXELS_PER_DEGREE * degrees / diameter
    if TOLERANCE[0] <= factor <= TOLERANCE[1]:
        return 1.0, ()
    return factor, (
        f"Resized by {factor:.2f}: its field of view of {degrees:g} degrees is {diameter:,.0f} pixels wide, "
        f"IDRiD's would be {IDRID_PIXELS_PER_DEGREE * degrees:,.0f}.",
    )


def resized(plane: np.ndarray, size: tuple[int, int], factor: float) -> np.ndarray:
    """Down by area, which neither aliases nor loses small lesions between samples; up by cubic interpolation."""
    how = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(plane).resize(size, how))
