"""Scale: how large a photograph's pixels are on the retina."""

from __future__ import annotations

import numpy as np
from PIL import Image

from maa.data.field import field_circle
from maa.data.idrid import IDRID_PIXELS_PER_DEGREE
from maa.errors import MaaError

#: Field of view, in degrees, that a camera is taken to have: IDRiD's, and the most common one.
FIELD_DEGREES = 50.0
#: Photographs that would be resized by a factor between these are left as they are: lesions themselves
#: differ in size by more, and resizing costs sharpness.  Our choice.
TOLERANCE = (0.8, 1.25)


def field_diameter(fov: np.ndarray) -> float | None:
    """Diameter of a round field of view in pixels, also where the frame cuts some of it off.

    It is the largest extent of `fov`, shape (H, W), bool, in any of 36 directions: a frame that cuts the circle above and
    below leaves its width, and one that cuts all four sides leaves the diagonals.  Where it cuts so much that
    none of these is whole, the circle on which the border lies is wider, and is taken.  None where the field fills the frame, so
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
    extent = float((along.max(axis=0) - along.min(axis=0)).max() + 1)
    circle = field_circle(fov)
    return 2 * circle[2] if circle is not None and 2 * circle[2] > 1.02 * extent else extent


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
        f"IDRiD's would be {IDRID_PIXELS_PER_DEGREE * degrees:,.0f}."
        + (" Most cameras see that many degrees: --degrees gives another number." if degrees == FIELD_DEGREES else ""),
    )


def resized(plane: np.ndarray, size: tuple[int, int], factor: float) -> np.ndarray:
    """Down by area, which neither aliases nor loses small lesions between samples; up by cubic interpolation."""
    how = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(plane).resize(size, how))


def working_size(
    shape: tuple[int, int], factor: float, most: int, called: str, degrees: float | None = None
) -> tuple[int, int]:
    """Width and height of a photograph that is resized for the networks, at least 1.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the photograph.
    factor : float
        By which it is resized.
    most : int
        Pixels that the resized photograph may have.
    called : str
        What to call it in an error.
    degrees : float, optional
        The field of view that the factor comes from; None where the factor itself was given.

    Raises
    ------
    MaaError
        When it would have more, with what to do: what fits in one piece at this factor, and which factor fits the whole.
    """
    height, width = shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size[0] * size[1] <= most:
        return size
    # Rounded down, so that what the sentence advises is within the limit.
    side, whole = int(0.999 * most**0.5 / factor), int(99.9 * (most / (height * width)) ** 0.5) / 100
    why = "the factor that was given" if degrees is None else f"the scale of the networks for a field of {degrees:g} degrees"
    advice = (
        f"cut it into pieces of {side:,} x {side:,} pixels and take them with --resize {factor:.2f}, "
        f"or take the whole with --resize {whole:g}, in which small lesions are missed"
    )
    if degrees == FIELD_DEGREES:
        advice = f"if the camera's field is smaller than {degrees:g} degrees, say so with --degrees; else {advice}"
    raise MaaError(f"{called} would have {size[0]:,} x {size[1]:,} pixels at {why}, more than {most:,}: {advice}.")
