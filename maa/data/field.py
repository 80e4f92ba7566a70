"""The field of view: which part of a frame shows the retina."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image
from scipy import ndimage

from maa.errors import MaaError

_FOV_SIDE = 512  # the field of view is found on a copy whose longer side is about this many pixels
BLACK = 12  # below this grey level (of 255) bright parts are too dark for a threshold, and for a judgement of their colour
_NO_FIELD = (
    "No field of view was found in {}: use a fundus photograph in which the bright retina fills a good part of the frame."
)
_NEARLY_BLACK = (
    "No field of view was found in {}, which is nearly black (grey levels up to {} of 255): if a viewer shows a retina in it, "
    "save it from there with 8 bits a channel."
)
#: Above this magnitude of the logarithm of `proportion` a field of view is no circle.
SQUASHED = 0.06
_MIN_SHARE = 0.05  # of the frame: nothing smaller is a retina

# Search for a circle: how many times three points of an edge are drawn, and what makes a circle the border of a field.
_LEAST_SIDE = 16  # of that copy: of fewer pixels no circle can be told
_DRAWS = 40_000
_BINS = 120  # of its angles
_COVERED = 0.6  # of the angles that the frame shows must have an edge, brighter or more coloured inside
_ARC = 0.4  # of all angles, too: a short arc fits anything

#: Row, column and radius, in pixels.
Circle = tuple[float, float, float]


def field_of_view(image: np.ndarray, name: str | os.PathLike[str] = "the image") -> np.ndarray:
    """Find the part of the frame in which the camera saw the retina.  Explained in ch:retina.

    Works on a reduced copy.  Dark surround and bright retina set a threshold between them, so that dim photographs and cameras
    with a raised black level are served alike; opening cuts off dust and flare that touch the border; the largest connected
    component stays, with its holes filled.  A camera's aperture is round, so where a circle explains the component's border,
    the field is that disc, cut off by the frame: its border is smooth, and a retina that fades into the dark at one side keeps
    its whole field.

    Where no circle explains it, or there is no dark surround to set a threshold (a grey, hazy or white one; a strip of data
    that touches the disc; a frame within the frame), a circle is searched among the picture's edges (`border_circle`).  Only
    where there is none either, the field is the component, or the whole frame.  A MaaError when the frame is black, uniform,
    or holds nothing as large as a retina.

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
    colours = np.asarray(Image.fromarray(image).reduce(factor))
    small = ndimage.median_filter(colours.max(axis=2).astype(np.float32), size=5, mode="nearest")
    dark, bright = np.percentile(small, [0.5, 90])
    if small.max() - small.min() < 4:
        raise MaaError((_NO_FIELD if bright >= BLACK or not image.any() else _NEARLY_BLACK).format(name, image.max()))
    component = None if bright < BLACK or dark > 0.3 * bright else _bright_component(small, dark, bright)
    circle = None if component is None else _aperture(component)
    sound = circle is not None
    if not sound and not (component is not None and squashed(component)):
        circle = border_circle(colours)
    if circle is None:
        if component is None:
            if bright < BLACK:
                raise MaaError(_NEARLY_BLACK.format(name, image.max()))
            if dark <= 0.3 * bright:
                raise MaaError(_NO_FIELD.format(name))
            return np.ones((height, width), bool)
        return component.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
    # A reduced pixel's centre, i, lies at (i + 1/2) * factor - 1/2 in the photograph.
    row, column, radius = np.array(circle) * factor + [(factor - 1) / 2, (factor - 1) / 2, 0]
    field = _disc((height, width), (row, column, radius))
    retina = _coloured(colours, circle)
    if sound and component is not None:
        retina &= component
    top, bottom, left, right = (side * factor for side in _straight_cuts(retina, circle))
    field[:top] = field[height - bottom :] = False
    field[:, :left] = field[:, width - right :] = False
    return field


def _bright_component(small: np.ndarray, dark: float, bright: float) -> np.ndarray | None:
    """The largest bright region, its holes filled, or None where none is large enough."""
    field = small > dark + 0.15 * (bright - dark)
    # Padding with the border's own values keeps a field that the frame cuts off from being eroded.
    reach = max(2, round(0.02 * max(small.shape)))
    field = np.pad(field, reach, mode="edge")
    disc = np.hypot(*np.ogrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    field = ndimage.binary_opening(field, disc)[reach:-reach, reach:-reach]
    labels, count = ndimage.label(field)
    sizes = np.bincount(labels.ravel(), minlength=2)[1:]
    if count == 0 or sizes.max() < _MIN_SHARE * small.size:
        return None
    return np.asarray(ndimage.binary_fill_holes(labels == 1 + sizes.argmax()))


def _disc(shape: tuple[int, int], circle: Circle) -> np.ndarray:
    """The pixels inside a circle."""
    row, column, radius = circle
    squared = radius**2 - (np.arange(shape[0])[:, None] - row) ** 2
    half = np.where(squared >= 0, np.sqrt(np.abs(squared)), -1.0)  # -1: no pixel of this row
    columns = np.arange(shape[1])
    return np.asarray((columns >= column - half) & (columns <= column + half))


def _border(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a field's border, without the frame's cut, which is no border of the retina."""
    rows, columns = np.nonzero(field & ~ndimage.binary_erosion(field, border_value=1))
    return rows, columns


def _aperture(field: np.ndarray) -> Circle | None:
    """Row, column and radius of the circle that bounds a field, or None when it is not round.

    Least absolute distances (by reweighting): a shaded side, or the notch by which cameras mark a side, does not pull it.
    """
    rows, columns = _border(field)
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


def _coloured(colours: np.ndarray, circle: Circle) -> np.ndarray:
    """Where a small copy has at least a quarter of the strength of colour that is usual inside a circle: no strip of data has."""
    chroma = ndimage.median_filter(np.ptp(colours, axis=2).astype(np.float32), size=5, mode="nearest")
    return np.asarray(chroma > 0.25 * np.median(chroma[_disc(chroma.shape, circle)]))


def _straight_cuts(retina: np.ndarray, circle: Circle) -> tuple[int, int, int, int]:
    """How many rows above and below, and columns left and right, a mask in the camera cuts off the disc in a straight line.

    There the whole chord is dark, and some pixels further on the whole chord is bright; a retina that fades is neither.
    `retina`, shape (h, w), bool, says where it is bright.
    """
    disc = _disc(retina.shape, circle)
    cuts = []
    for axis in (1, 0):
        covered = (retina & disc).sum(axis=axis) / np.maximum(disc.sum(axis=axis), 1)
        chord = disc.sum(axis=axis)
        for cover, length in ((covered, chord), (covered[::-1], chord[::-1])):
            start = int((length > 0).argmax())
            bright = np.flatnonzero(cover[start:] > 0.1)
            end = start + int(bright[0]) if bright.size else start
            sharp = cover[end + 3 : end + 4].min(initial=1) > 0.8
            cuts.append(end if sharp and end - start > 0.03 * circle[2] else 0)
    return cuts[0], cuts[1], cuts[2], cuts[3]


def border_circle(colours: np.ndarray) -> Circle | None:
    """The circle whose rim is an edge of the picture nearly all around, or None.

    By random sampling (RANSAC) of three edge pixels at a time, in two planes: brightness, and strength of colour, which a grey or
    white surround, a strip of data and its text lack.  At each pixel of the rim, the inside has to be the brighter, or more
    coloured, side; the edges of vessels, of letters and of the optic disc meet no circle of this size all around.  The notch of
    a camera and sides that the frame cuts off only take away from the rim that is seen.

    Parameters
    ----------
    colours : ndarray, shape (H, W, 3), uint8
        Small: a side of about 500 pixels.
    """
    if min(colours.shape[:2]) < _LEAST_SIDE:
        return None
    best: tuple[float, Circle] | None = None
    brightest = colours.max(axis=2).astype(np.float32)
    for plane in (brightest, brightest - colours.min(axis=2)):
        found = _searched_circle(ndimage.median_filter(plane, size=5, mode="nearest"))
        if found is not None and (best is None or found[0] > best[0]):
            best = found
    return None if best is None else best[1]


def _searched_circle(plane: np.ndarray) -> tuple[float, Circle] | None:
    """Share of the angles at which a circle has an edge, and the circle, of the one with the most; None below the limits."""
    height, width = plane.shape
    points, inwards = _edges(plane)
    if len(points) < 50:
        return None
    corners = np.random.default_rng(0).integers(len(points), size=(3, _DRAWS))
    # The circle through three points: both differences are chords.
    first, second, third = points[corners]
    a, b = second - first, third - first
    area = 2 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    straight = np.abs(area) < 1e-6
    area[straight] = 1
    aa, bb = (a**2).sum(axis=1), (b**2).sum(axis=1)
    centre = first + np.stack([(b[:, 1] * aa - a[:, 1] * bb) / area, (a[:, 0] * bb - b[:, 0] * aa) / area], axis=1)
    radius = np.linalg.norm(first - centre, axis=1)
    side = min(height, width)
    fits = ~straight & (radius > 0.25 * side) & (radius < 1.5 * max(height, width))
    for corner in corners:
        towards = centre - points[corner]
        fits &= (towards * inwards[corner]).sum(axis=1) > 0.94 * radius
    candidates = np.concatenate([centre, radius[:, None]], axis=1)[fits][:300]
    best: tuple[float, Circle] | None = None
    for candidate in candidates:
        score, circle = _rim(candidate, points, inwards, plane.shape)
        if score and (best is None or score > best[0]):
            best = (score, circle)
    if best is None:
        return None
    for _ in range(3):  # fitted to all points of its rim, it may gain some
        score, circle = _rim(best[1], points, inwards, plane.shape, fit=True)
        if score < best[0]:
            break
        best = (score, circle)
    return best if _disc((height, width), best[1]).mean() >= _MIN_SHARE else None


def _edges(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of an edge, shape (N, 2), and the directions towards the side of larger values, unit vectors, shape (N, 2)."""
    smooth = ndimage.gaussian_filter(plane, 1.5)
    gradient = np.stack(np.gradient(smooth))
    steep = np.hypot(*gradient)
    low, high = np.percentile(plane, [0.5, 99.5])
    floor = max(0.015 * (high - low), 2.5 * float(np.median(steep)), 0.1)
    inside = np.zeros(plane.shape, bool)
    inside[3:-3, 3:-3] = True
    at = np.argwhere((steep > floor) & inside)
    towards = gradient[:, at[:, 0], at[:, 1]].T / steep[at[:, 0], at[:, 1]][:, None]
    here = steep[at[:, 0], at[:, 1]]
    ridge = np.ones(len(at), bool)
    for step in (-1, 1):
        ridge &= here >= ndimage.map_coordinates(steep, (at + step * towards).T, order=1, mode="nearest")
    return at[ridge].astype(float), towards[ridge]


def _rim(
    circle: Circle | np.ndarray, points: np.ndarray, inwards: np.ndarray, shape: tuple[int, ...], fit: bool = False
) -> tuple[float, Circle]:
    """Share of all angles at which a circle's rim has an edge, 0 below the limits; with `fit`, of the circle fitted to them."""
    row, column, radius = (float(value) for value in circle)
    near = _near(row, column, radius, points, inwards)
    if fit and near.sum() >= 10:
        rows, columns = points[near].T
        design = np.stack([2 * rows, 2 * columns, np.ones(rows.size)], axis=1)
        row, column, rest = np.linalg.lstsq(design, rows**2 + columns**2, rcond=None)[0]
        radius = float(np.sqrt(max(rest + row**2 + column**2, 0.0)))
        near = _near(row, column, radius, points, inwards)
    away = points[near] - (row, column)
    angles = (np.arange(_BINS) + 0.5) * 2 * np.pi / _BINS - np.pi
    seen_rows, seen_columns = row + radius * np.sin(angles), column + radius * np.cos(angles)
    seen = (seen_rows > 3) & (seen_rows < shape[0] - 4) & (seen_columns > 3) & (seen_columns < shape[1] - 4)
    bins = ((np.arctan2(away[:, 0], away[:, 1]) + np.pi) / (2 * np.pi) * _BINS).astype(int) % _BINS
    met = np.bincount(bins, minlength=_BINS) > 0
    share = float((met & seen).sum() / _BINS)
    enough = share >= _ARC and share * _BINS >= _COVERED * seen.sum()
    return (share if enough else 0.0), (float(row), float(column), float(radius))


def _near(row: float, column: float, radius: float, points: np.ndarray, inwards: np.ndarray) -> np.ndarray:
    """Which edge pixels lie on a circle and look at its centre, shape (N,), bool."""
    away = points - (row, column)
    distance = np.hypot(away[:, 0], away[:, 1])
    on_rim = np.abs(distance - radius) <= max(1.5, 0.008 * radius)
    return np.asarray(on_rim & (-(away * inwards).sum(axis=1) > 0.94 * distance))


def field_circle(fov: np.ndarray) -> Circle | None:
    """Row, column and radius of the circle that bounds a field of view, shape (H, W), bool; None when it is not round.

    The centre may lie outside the frame, and the diameter may exceed it.
    """
    step = max(1, round(max(fov.shape) / _FOV_SIDE))
    circle = _aperture(fov[step // 2 :: step, step // 2 :: step])
    return None if circle is None else (circle[0] * step + step // 2, circle[1] * step + step // 2, circle[2] * step)


def squashed(fov: np.ndarray) -> bool:
    """Whether a field of view, shape (H, W), bool, is an upright ellipse and no circle: its frame was resized to another shape."""
    return abs(np.log(proportion(fov))) > SQUASHED


def proportion(fov: np.ndarray) -> float:
    """Width over height of the upright ellipse that explains the border of a field of view, shape (H, W), bool.

    1 where none explains it, so that nothing can be told.
    """
    step = max(1, round(max(fov.shape) / _FOV_SIDE))
    rows, columns = (at.astype(float) for at in _border(fov[step // 2 :: step, step // 2 :: step]))
    if rows.size < 40:
        return 1.0
    middle = np.array([rows.mean(), columns.mean()])
    size = max(np.ptp(rows), np.ptp(columns), 1.0)
    y, x = (rows - middle[0]) / size, (columns - middle[1]) / size
    design = np.stack([y**2, x**2, y, x], axis=1)
    weights = np.ones(rows.size)
    for _ in range(30):
        root = np.sqrt(weights)
        p, q, r, s = np.linalg.lstsq(design * root[:, None], root, rcond=None)[0]
        if p <= 0 or q <= 0:
            return 1.0
        scale = 1 + r**2 / (4 * p) + s**2 / (4 * q)
        half_height, half_width = np.sqrt(scale / p), np.sqrt(scale / q)
        away = np.hypot((y + r / (2 * p)) / half_height, (x + s / (2 * q)) / half_width) - 1
        distance = np.abs(away) * min(half_height, half_width) * size
        weights = 1 / np.maximum(distance, 0.1)
    explained = np.mean(distance <= 0.01 * min(half_height, half_width) * size + 0.75) >= 0.7
    return float(half_width / half_height) if explained else 1.0
