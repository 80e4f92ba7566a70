"""Stacks: normalised photographs at one scale, padded, one behind the other in one uint8 file, and the patches cut from them.

Nothing here holds patches for longer than a batch: a batch is one gather.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maa.data.idrid import Record
from maa.data.normalisation import normalise
from maa.data.photograph import halve
from maa.errors import MaaError
from maa.progress import in_threads
from maa.provenance import PathLike

#: Ground around every photograph, so that a patch may be centred on any of its pixels.
MARGIN = 128
# What is known of a pixel, as bits: inside the field of view, and what is annotated there.
FOV, MA, HE, EX, SE, OD = 1, 2, 4, 8, 16, 32
#: Any annotated lesion; the optic disc is none.
LESION = MA | HE | EX | SE


@dataclass(frozen=True, eq=False)
class ImageStack:
    """Normalised photographs at one scale, of any sizes, behind one another in memory-mapped files.

    Explained in ch:retina (normalisation) and ch:half (the two scales).

    Attributes
    ----------
    pixels : ndarray, shape (bytes,), uint8
        Photographs as `maa.data.normalise` leaves them, RGB, row by row, each with MARGIN pixels
        of background (128) on every side.
    labels : ndarray, shape (bytes,), uint8
        For every pixel, without the margin, the sum of FOV (inside the field of view) and of what is annotated
        there: MA (microaneurysm), HE (haemorrhage), EX and SE (hard and soft exudate), OD (optic disc).
    shapes : ndarray, shape (N, 2), int
        Height and width of each photograph at this scale, without the margin.
    names : tuple of str
    diseased : ndarray, shape (N,), bool
    scale : float
        1.0, or 0.5 for photographs halved by area.
    """

    pixels: np.ndarray
    labels: np.ndarray
    shapes: np.ndarray
    names: tuple[str, ...]
    diseased: np.ndarray
    scale: float

    def __post_init__(self) -> None:
        padded = (self.shapes + 2 * MARGIN).prod(axis=1) * 3
        object.__setattr__(self, "_starts", np.concatenate([[0], np.cumsum(padded)]))
        object.__setattr__(self, "_label_starts", np.concatenate([[0], np.cumsum(self.shapes.prod(axis=1))]))
        # One row of three times `size` bytes is contiguous, so a patch is `size` short copies.
        object.__setattr__(self, "_strides", (self.shapes[:, 1] + 2 * MARGIN) * 3)

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> np.ndarray:
        """One photograph with its margin, shape (H + 2 * MARGIN, W + 2 * MARGIN, 3), uint8, not copied."""
        height, width = self.shapes[index] + 2 * MARGIN
        return self.pixels[self._starts[index] : self._starts[index + 1]].reshape(height, width, 3)

    def label(self, index: int) -> np.ndarray:
        """The labels of one photograph, shape (H, W), uint8, not copied."""
        start, stop = self._label_starts[index : index + 2]
        return self.labels[start:stop].reshape(self.shapes[index])

    def gather(self, where: np.ndarray, size: int) -> np.ndarray:
        """Patches around pixels, in one vectorised copy.

        Parameters
        ----------
        where : ndarray, shape (B, 3), int
            Photograph, row and column of each centre.
        size : int
            Side of the patches in pixels, at most 2 * MARGIN.  The centre of a patch of even size is
            the first pixel behind its middle.

        Returns
        -------
        ndarray, shape (B, size, size, 3), uint8
        """
        photograph, row, column = where.T.astype(np.int64)
        shift = MARGIN - size // 2
        strides = self._strides[photograph]
        first = self._starts[photograph] + (row + shift) * strides + (column + shift) * 3
        rows = np.lib.stride_tricks.sliding_window_view(self.pixels, 3 * size)
        return rows[first[:, None] + np.arange(size) * strides[:, None]].reshape(-1, size, size, 3)

    def gather_labels(self, where: np.ndarray, size: int) -> np.ndarray:
        """The labels of what `gather` gives, shape (B, size, size), uint8; 0 beyond the photograph."""
        photograph, row, column = where.T.astype(np.int64)
        height, width = self.shapes[photograph].T[..., None, None]
        reach = np.arange(size) - size // 2
        rows, columns = row[:, None, None] + reach[:, None], column[:, None, None] + reach
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        first = self._label_starts[photograph][:, None, None]
        return np.where(inside, self.labels[np.where(inside, first + rows * width + columns, 0)], np.uint8(0))


def build_stacks(records: Sequence[Record], folder: PathLike) -> tuple[ImageStack, ImageStack]:
    """Load and normalise photographs at 1x and 0.5x, once; later calls map the files of the first.

    Parameters
    ----------
    records : sequence of maa.data.Record
        Photographs to load: anything that has ``load() -> Fundus``.
    folder : path-like
        Where the arrays are kept.  They are written under another name and renamed when complete,
        so that an interrupted preparation is never taken for a whole one.

    Returns
    -------
    tuple of ImageStack
        The same photographs at 1x and at 0.5x.

    Raises
    ------
    MaaError
        When there are no records, or when a photograph or mask cannot be read.
    """
    if not records:
        raise MaaError("There are no photographs to prepare: check the data folder and its split.")
    folder = Path(folder)
    if not (folder / "about.json").exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        partial.mkdir(parents=True)
        try:
            _write_stacks(records, partial)
            try:
                os.replace(partial, folder)
            except OSError:
                if not (folder / "about.json").exists():  # else another process was faster, with the same files
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    about = json.loads((folder / "about.json").read_text())
    return tuple(
        ImageStack(
            pixels=np.memmap(folder / f"pixels-{scale}.u8", np.uint8, mode="r"),
            labels=np.memmap(folder / f"labels-{scale}.u8", np.uint8, mode="r"),
            shapes=np.array(about["shapes"][str(scale)]),
            names=tuple(about["names"]),
            diseased=np.array(about["diseased"], bool),
            scale=scale,
        )
        for scale in (1.0, 0.5)
    )


def stack_photograph(image: np.ndarray, fov: np.ndarray, name: str = "photograph") -> tuple[ImageStack, ImageStack]:
    """One photograph, normalised, at 1x and at 0.5x, in memory.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB photograph.
    fov : ndarray, shape (H, W), bool

    Returns
    -------
    tuple of ImageStack
        Of one photograph each, without annotations, like those of `build_stacks`.
    """
    stacks = []
    image = normalise(image, fov)
    for scale in (1.0, 0.5):
        if scale == 0.5:
            image, fov = halve(image), halve(fov)
        stacks.append(
            ImageStack(
                pixels=_pad(image).ravel(),
                labels=fov.astype(np.uint8).ravel() * FOV,
                shapes=np.array([fov.shape]),
                names=(name,),
                diseased=np.array([True]),
                scale=scale,
            )
        )
    return tuple(stacks)


def _pad(image: np.ndarray) -> np.ndarray:
    return np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=128)


def gather_scales(stacks: tuple[ImageStack, ImageStack], where: np.ndarray, size: int) -> np.ndarray:
    """Patches around the same pixels at both scales: sharp in the middle, with room around it.  Explained in ch:refinement.

    Parameters
    ----------
    stacks : tuple of ImageStack
        The same photographs at 1x and at 0.5x.
    where : ndarray, shape (B, 3), int
        Photograph, row and column at 1x.
    size : int
        Side in pixels, at either scale.

    Returns
    -------
    ndarray, shape (B, 2, size, size, 3), uint8
    """
    fine, coarse = stacks
    return np.stack([fine.gather(where, size), coarse.gather(where // (1, 2, 2), size)], axis=1)


def _write_stacks(records: Sequence[Record], folder: Path) -> None:
    scales = (1.0, 0.5)
    about = {"names": [], "diseased": [], "shapes": {str(scale): [] for scale in scales}}
    pixels = {scale: open(folder / f"pixels-{scale}.u8", "wb") for scale in scales}
    labels = {scale: open(folder / f"labels-{scale}.u8", "wb") for scale in scales}
    for name, diseased, planes in in_threads(_prepare, records, "Normalising photographs"):
        about["names"].append(name)
        about["diseased"].append(bool(diseased))
        for scale, (image, label) in zip(scales, planes):
            pixels[scale].write(image.tobytes())
            labels[scale].write(label.tobytes())
            about["shapes"][str(scale)].append(label.shape)
    for file in (*pixels.values(), *labels.values()):
        file.close()
    (folder / "about.json").write_text(json.dumps(about))


def _prepare(record: Record) -> tuple[str, bool, list[tuple[np.ndarray, np.ndarray]]]:
    """Name and class of a photograph, and at each scale its padded pixels and its labels."""
    fundus = record.load()
    image = normalise(fundus.image, fundus.fov)
    masks = {FOV: fundus.fov}
    for kind, bit in zip(("MA", "HE", "EX", "SE", "OD"), (MA, HE, EX, SE, OD)):
        if kind in fundus.lesions:
            masks[bit] = fundus.lesions[kind]
    planes = []
    for scale in (1.0, 0.5):
        if scale == 0.5:
            image, masks = halve(image), {bit: halve(mask) for bit, mask in masks.items()}
        planes.append((_pad(image), sum(mask.astype(np.uint8) * np.uint8(bit) for bit, mask in masks.items())))
    return fundus.name, fundus.diseased, planes
