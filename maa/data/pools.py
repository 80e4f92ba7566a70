"""Pools: the pixels around which patches may be cut, by what is annotated there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maa.data.stacks import FOV, LESION, MA, ImageStack
from maa.errors import MaaError

#: Where healthy patches may come from (see `healthy_pixels`).
SOURCES = ("healthy patients", "far from lesions", "unlabelled")
#: In a diseased image, pixels this near (at 1x) to any annotated lesion are not called healthy.
GUARD = 96
#: The rim of a lesion: from so many to so many pixels outside its annotated border, at either scale.  The
#: first two are left out, because nobody draws a border that exactly.
RIM = (2, 12)


def ma_pixels(stack: ImageStack) -> np.ndarray:
    """Every annotated microaneurysm pixel inside the field of view: the centres of the MA patches.

    Returns
    -------
    ndarray, shape (M, 3), int32
        Photograph, row and column.

    Raises
    ------
    MaaError
        When there is none.

    Notes
    -----
    One patch for each annotated pixel is inferred from the paper's count: about 500,000 patches in 44
    images (paper, Table 1).  Explained in ch:hgn.
    """
    pixels = pixels_of(stack, MA)
    if not len(pixels):
        raise MaaError(
            f"None of the {len(stack)} photographs has a microaneurysm annotated inside its field of view: "
            "check their masks (the name ends in _MA) and that masks and photographs belong together."
        )
    return pixels


def pixels_of(stack: ImageStack, bits: int) -> np.ndarray:
    """Every pixel inside the field of view that carries any of the bits of a label.

    Returns
    -------
    ndarray, shape (M, 3), int32
        Photograph, row and column; M may be 0.
    """
    return _table(stack, lambda label: ((label & FOV) > 0) & ((label & bits) > 0))


def rim_pixels(stack: ImageStack) -> np.ndarray:
    """Pixels just outside an annotated microaneurysm, and on no annotated lesion.

    Whoever drew a lesion looked at the ground beside it, so that here, even in a diseased image, an
    absent label can be trusted.  Without these patches nothing would teach a network where a lesion
    ends.  Our choice; see `RIM` and ch:hgn.

    Returns
    -------
    ndarray, shape (M, 3), int32
        Photograph, row and column.
    """

    def rim(label: np.ndarray) -> np.ndarray:
        lesion = (label & MA) > 0
        near = dilate(lesion, RIM[1]) & ~dilate(lesion, RIM[0])
        return near & ((label & (FOV | LESION)) == FOV)

    return _table(stack, rim)


def healthy_pixels(stack: ImageStack, count: int, rng: np.random.Generator, source: str | None = None) -> np.ndarray:
    """Pixels drawn evenly from ground that is taken to be healthy.

    Parameters
    ----------
    stack : ImageStack
    count : int
        How many to draw, in all; with repetition where `count` exceeds what there is.
    rng : numpy.random.Generator
    source : {"healthy patients", "far from lesions", "unlabelled"}, optional
        The whole field of view of healthy patients; or, in diseased images, what is farther than GUARD (at
        1x) from everything annotated, or everything but the annotated microaneurysms.  By default
        what `healthy_source` says of the stack.

    Returns
    -------
    ndarray, shape (count, 3), int32
        Photograph, row and column.

    Raises
    ------
    MaaError
        When the stack has no such ground.

    Notes
    -----
    From healthy patients only (paper, section 2.2), so that unannotated lesions of a diseased image never
    teach the network that a lesion is background.  Explained in ch:hgn; tested in ch:ablations.
    """
    source = source or healthy_source(stack)
    if source not in SOURCES:
        raise ValueError(f"unknown source {source!r}: choose one of {', '.join(map(repr, SOURCES))}")
    chosen = np.flatnonzero(stack.diseased != (source == "healthy patients"))
    shares = np.diff(np.linspace(0, count, len(chosen) + 1).round().astype(int))
    tables = []
    for index, share in zip(chosen, shares):
        label = stack.label(index)
        if source == "unlabelled":
            allowed = (label & (FOV | MA)) == FOV
        else:
            allowed = (label & (FOV | LESION)) == FOV
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
    """Grow a mask by a disc: True at most `radius` pixels from a True pixel.

    The cost grows with the border of the mask and not with the image, whose twelve million pixels
    are mostly empty.

    Parameters
    ----------
    mask : ndarray, shape (H, W), bool
    radius : int

    Returns
    -------
    ndarray, shape (H, W), bool
    """
    rows, columns = np.nonzero(mask)
    inner = np.ones(rows.size, bool)  # pixels whose four neighbours belong too add nothing by growing
    for step_row, step_column in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        row = np.clip(rows + step_row, 0, mask.shape[0] - 1)
        column = np.clip(columns + step_column, 0, mask.shape[1] - 1)
        inner &= mask[row, column]
    rows, columns = rows[~inner], columns[~inner]
    reach = np.arange(-radius, radius + 1)
    disc_rows, disc_columns = np.nonzero(np.hypot(*np.meshgrid(reach, reach, indexing="ij")) <= radius)
    grown = mask.copy()
    for step_row, step_column in zip(disc_rows - radius, disc_columns - radius):
        row = np.clip(rows + step_row, 0, mask.shape[0] - 1)
        column = np.clip(columns + step_column, 0, mask.shape[1] - 1)
        grown[row, column] = True
    return grown


def _near(mask: np.ndarray, distance: int, reduction: int = 8) -> np.ndarray:
    """Mask grown by about `distance`, on a reduced copy: the guard need not be exact to the pixel."""
    height, width = mask.shape
    blocks = np.pad(mask, ((0, -height % reduction), (0, -width % reduction)))
    small = blocks.reshape(blocks.shape[0] // reduction, reduction, -1, reduction).any(axis=(1, 3))
    grown = dilate(small, -(-distance // reduction) + 1)  # one more: a block counts wherever in it the lesion is
    enlarged = grown.repeat(reduction, axis=0).repeat(reduction, axis=1)
    return enlarged[:height, :width]


def _table(stack: ImageStack, select: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Pixels of the diseased images that `select` marks in their labels."""
    tables = []
    for index in np.flatnonzero(stack.diseased):
        rows, columns = np.nonzero(select(stack.label(index)))
        tables.append(np.stack([np.full(rows.size, index), rows, columns], axis=1))
    return np.concatenate(tables or [np.empty((0, 3))]).astype(np.int32)
