"""Regions: connected groups of pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph


def components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 8-connected components of a mask, of which only the pixels that are set cost time.

    Of the twelve million pixels of a photograph a few thousand are set, in still fewer horizontal runs: the runs
    are joined where one touches another in the next row.

    Parameters
    ----------
    mask : (H, W) bool array

    Returns
    -------
    pixels : (M,) integer array
        Flat positions of the pixels that are set, rising.
    component : (M,) integer array
        The number of the component of each, from 0, in the order of their first pixels.

    Notes
    -----
    Equal to `scipy.ndimage.label` with eight neighbours.  Explained in ch:gain.
    """
    pixels = np.flatnonzero(mask)
    row, column = np.divmod(pixels, mask.shape[1])
    place = row * (mask.shape[1] + 2) + column  # the end of a row does not touch the start of the next
    opens = np.diff(place, prepend=-2) > 1
    first, last = place[opens], place[np.append(opens[1:], True)[: len(opens)]]
    below = mask.shape[1] + 2
    start = np.searchsorted(last, first + below - 1)  # a run touches those of the next row from this
    stop = np.searchsorted(first, last + below + 1, side="right")  # to before this one
    touching = np.maximum(stop - start, 0)
    upper = np.repeat(np.arange(len(first)), touching)
    lower = np.arange(len(upper)) + np.repeat(start - (touching.cumsum() - touching), touching)
    graph = sparse.coo_array((np.ones(len(upper), bool), (upper, lower)), shape=(len(first), len(first)))
    run = csgraph.connected_components(graph, directed=False)[1] if len(first) else np.empty(0, np.int32)
    return pixels, run[opens.cumsum() - 1].astype(np.intp)


class _LesionMap(NamedTuple):
    """The pixels of the lesions of an image, in rising order, and the number of the lesion of each."""

    pixels: np.ndarray
    lesion: np.ndarray
    width: int

    def at(self, pixels: np.ndarray) -> np.ndarray:
        """Number of the lesion at flat positions, -1 where there is none."""
        if not len(self.pixels):
            return np.full(np.shape(pixels), -1)
        nearest = np.minimum(np.searchsorted(self.pixels, pixels), len(self.pixels) - 1)
        return np.where(self.pixels[nearest] == pixels, self.lesion[nearest], -1)


def map_lesions(truth: np.ndarray) -> tuple[_LesionMap, dict[str, np.ndarray]]:
    """Which lesion lies where, and the lesions' centres and areas."""
    pixels, component = components(truth)
    count = int(component.max(initial=-1)) + 1
    row, column = centres(pixels, component, count, truth.shape)
    lesions = {"row": row, "column": column, "area": np.bincount(component, minlength=count)}
    return _LesionMap(pixels, component, truth.shape[1]), lesions


def centres(pixels: np.ndarray, component: np.ndarray, count: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    area = np.bincount(component, minlength=count)
    rows, columns = np.divmod(pixels, shape[1])
    return (np.bincount(component, rows, count) / area, np.bincount(component, columns, count) / area)


def pairs_at(lesion_map: _LesionMap, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lesion = lesion_map.at(np.rint(row).astype(int) * lesion_map.width + np.rint(column).astype(int))
    candidate = np.flatnonzero(lesion >= 0)
    return candidate, lesion[candidate]
