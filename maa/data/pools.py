"""Pools: the pixels around which patches may be cut, by what is annotated there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from maa.data.stacks import FOV, LESION, MA, ImageStack
from maa.errors import MaaError

#: Where healthy patches may come from (see `healthy_pixels`).
SOURCES = ("healthy patients", "far from lesions", "unlabelled")
#: In a diseased image, pixels this near (at 1x) to any annotated lesion are not called healthy.
GUARD = 96
#: The rim of a lesion: from so many to so many pixels outside its annotated border, at either scale.  The first two are left
#: out, because nobody draws a border that exactly.
RIM = (2, 12)


def pixels_of(stack: ImageStack, bits: int) -> np.ndarray:
    """Photograph, row and column, shape (M, 3), int32, of every pixel in the field of view with any of the bits of a label."""
    return _table(stack, lambda label: ((label & FOV) > 0) & ((label & bits) > 0))


def ma_pixels(stack: ImageStack) -> np.ndarray:
    """Every annotated microaneurysm pixel inside the field of view, shape (M, 3), int32: the centres of the MA patches.

    Photograph, row and column; a MaaError when there is none.  One patch for each annotated pixel is inferred from the paper's
    count: about 500,000 patches in 44 images (paper, Table 1).  Explained in ch:hgn.
    """
    pixels = pixels_of(stack, MA)
    if not len(pixels):
        raise MaaError(
            f"None of the {len(stack)} photographs has a microaneurysm annotated inside its field of view: "
            "check their masks (the name ends in _MA) and that masks and photographs belong together."
        )
    return pixels


def lesion_centres(stack: ImageStack) -> np.ndarray:
    """The centre of every annotated microaneurysm inside the field of view, shape (K, 3), int32, as in `ma_pixels`.

    A lesion is a connected component (with diagonals) of the mask; its centre of mass is rounded to a pixel.
    """
    tables = []
    for index in np.flatnonzero(stack.diseased).tolist():
        label = stack.label(index)
        components, count = ndimage.label((label & (FOV | MA)) == (FOV | MA), np.ones((3, 3)))
        centres = np.rint(ndimage.center_of_mass(components > 0, components, range(1, count + 1))).reshape(-1, 2)
        tables.append(np.insert(centres, 0, index, axis=1))
    return np.concatenate(tables).astype(np.int32)


def rim_pixels(stack: ImageStack) -> np.ndarray:
    """Pixels just outside an annotated microaneurysm, and on no annotated lesion: shape (M, 3), int32, as in `ma_pixels`.

    Whoever drew a lesion looked at the ground beside it, so that here, even in a diseased image, an absent label can be
    trusted.  Without these patches nothing would teach a network where a lesion ends.  Our choice; see `RIM` and ch:hgn.
    """

    def rim(label: np.ndarray) -> np.ndarray:
        lesion = (label & MA) > 0
        return dilate(lesion, RIM[1]) & ~dilate(lesion, RIM[0]) & ((label & (FOV | LESION)) == FOV)

    return _table(stack, rim)


def healthy_pixels(stack: ImageStack, count: int, rng: np.random.Generator, source: str | None = None) -> np.ndarray:
    """Pixels, shape (count, 3), int32, as in `ma_pixels`, drawn evenly from ground that is taken to be healthy.

    From healthy patients only (paper, section 2.2), so that unannotated lesions of a diseased image never teach the network
    that a lesion is background.  A MaaError when the stack has no such ground.  Explained in ch:hgn; tested in ch:ablations.

    Parameters
    ----------
    stack : ImageStack
    count : int
        How many to draw, in all; with repetition where `count` exceeds what there is.
    rng : numpy.random.Generator
    source : {"healthy patients", "far from lesions", "unlabelled"}, optional
        The whole field of view of healthy patients; or, in diseased images, what is farther than GUARD (at 1x) from everything
        annotated, or everything but the annotated microaneurysms.  By default what `healthy_source` says of the stack.
    """
    source = source or healthy_source(stack)
    if source not in SOURCES:
        raise ValueError(f"unknown source {source!r}: choose one of {', '.join(map(repr, SOURCES))}")
    chosen = np.flatnonzero(stack.diseased != (source == "healthy patients")).tolist()
    shares = np.diff(np.linspace(0, count, len(chosen) + 1).round().astype(int))
    avoided = MA if source == "unlabelled" else LESION
    tables = []
    for index, share in zip(chosen, shares):
        label = stack.label(index)
        allowed = (label & (FOV | avoided)) == FOV
        if source == "far from lesions":
            allowed &= ~_near((label & LESION) > 0, round(GUARD * stack.scale))
        flat = np.flatnonzero(allowed)
        if flat.size:
            drawn = np.sort(flat[rng.integers(flat.size, size=share)])
            tables.append(np.stack([np.full(share, index), *np.divmod(drawn, label.shape[1])], axis=1))
    if not tables:
        raise MaaError(
            f"No healthy ground ({source}) was found: the data have no healthy patient, or in every diseased "
            "image the whole field of view lies near an annotated lesion; add photographs of healthy patients."
        )
    return np.concatenate(tables).astype(np.int32)


def healthy_source(stack: ImageStack) -> str:
    """The source of `healthy_pixels` that a stack allows: healthy patients, where it has any."""
    return "far from lesions" if stack.diseased.all() else "healthy patients"


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Grow a mask, shape (H, W), bool, by a disc: True at most `radius` pixels from a True pixel.

    The cost grows with the border of the mask and not with the image, whose twelve million pixels are mostly empty.
    """

    def shifted(down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
        return np.clip(rows + down, 0, mask.shape[0] - 1), np.clip(columns + right, 0, mask.shape[1] - 1)

    rows, columns = np.nonzero(mask)
    # Pixels whose four neighbours belong too add nothing by growing.
    border = ~np.all([mask[shifted(*step)] for step in ((0, 1), (0, -1), (1, 0), (-1, 0))], axis=0)
    rows, columns = rows[border], columns[border]
    reach = np.arange(-radius, radius + 1)
    disc = np.hypot(*np.meshgrid(reach, reach, indexing="ij")) <= radius
    grown = mask.copy()
    for down, right in np.argwhere(disc) - radius:
        grown[shifted(down, right)] = True
    return grown


def _near(mask: np.ndarray, distance: int) -> np.ndarray:
    """Mask grown by about `distance`, on a reduced copy: the guard need not be exact to the pixel."""
    height, width = mask.shape
    block = 8
    padded = np.pad(mask, ((0, -height % block), (0, -width % block)))
    small = np.any(padded.reshape(padded.shape[0] // block, block, -1, block), axis=(1, 3))
    grown = dilate(small, -(-distance // block) + 1)  # one more: a block counts wherever in it the lesion is
    return grown.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]


def _table(stack: ImageStack, select: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Pixels of the diseased images that `select` marks in their labels."""
    tables = []
    for index in np.flatnonzero(stack.diseased).tolist():
        rows, columns = np.nonzero(select(stack.label(index)))
        tables.append(np.stack([np.full(rows.size, index), rows, columns], axis=1))
    return np.concatenate(tables or [np.empty((0, 3), int)]).astype(np.int32)
