"""Stacks: normalised photographs at one scale, padded, one behind the other in one uint8 file, and the patches cut from them.

Nothing here holds patches for longer than a batch: a batch is one gather.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maa.data.idrid import Record
from maa.data.normalisation import normalise
from maa.data.photograph import halve
from maa.errors import MaaError
from maa.progress import in_threads
from maa.provenance import partial_path, read_json, remove_partials

#: Ground around every photograph, so that a patch may be centred on any of its pixels.
MARGIN = 128
# What is known of a pixel, as bits: inside the field of view, and what is annotated there.
FOV, MA, HE, EX, SE, OD = 1, 2, 4, 8, 16, 32
_BITS = {"MA": MA, "HE": HE, "EX": EX, "SE": SE, "OD": OD}
#: Any annotated lesion; the optic disc is none.
LESION = MA | HE | EX | SE
_SCALES = (1.0, 0.5)


@dataclass(frozen=True, eq=False)
class ImageStack:
    """Normalised photographs at one scale, of any sizes, behind one another in memory-mapped files.

    Explained in ch:retina (normalisation) and ch:half (the two scales).

    Attributes
    ----------
    pixels : ndarray, shape (bytes,), uint8
        Photographs as `maa.data.normalise` leaves them, RGB, row by row, each with MARGIN pixels of background (128) on
        every side.
    labels : ndarray, shape (bytes,), uint8
        For every pixel, 0 in the margin, the sum of FOV (inside the field of view) and of what is annotated there: MA
        (microaneurysm), HE (haemorrhage), EX and SE (hard and soft exudate), OD (optic disc).
    shapes : ndarray, shape (N, 2), int
        Height and width of each photograph at this scale, without the margin.
    names : tuple of str
    diseased : ndarray, shape (N,), bool
    scale : float
        1.0, or 0.5 for photographs halved by area.
    starts : ndarray, shape (N,), int
        Which pixel, margins counted, each photograph begins with.
    """

    pixels: np.ndarray
    labels: np.ndarray
    shapes: np.ndarray
    names: tuple[str, ...]
    diseased: np.ndarray
    scale: float
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def whole(
        cls,
        pixels: np.ndarray,
        labels: np.ndarray,
        shapes: np.ndarray,
        names: Sequence[str],
        diseased: np.ndarray,
        scale: float,
    ) -> ImageStack:
        """All photographs of two files, in their order."""
        sizes = (shapes + 2 * MARGIN).prod(axis=1)
        return cls(pixels, labels, shapes, tuple(names), diseased, scale, np.cumsum(sizes) - sizes)

    def subset(self, names: Sequence[str]) -> ImageStack:
        """Some of the photographs, in the order given, without a copy; a KeyError for one that is not there."""
        index = {name: number for number, name in enumerate(self.names)}
        chosen = np.array([index[name] for name in names], int)
        parts = {key: getattr(self, key)[chosen] for key in ("shapes", "diseased", "starts")}
        return replace(self, names=tuple(names), **parts)

    def image(self, index: int) -> np.ndarray:
        """One photograph with its margin, shape (H + 2 * MARGIN, W + 2 * MARGIN, 3), uint8, not copied."""
        return self._whole(self.pixels, index, 3)

    def label(self, index: int) -> np.ndarray:
        """The labels of one photograph without its margin, shape (H, W), uint8, not copied."""
        return self._whole(self.labels, index, 1)[MARGIN:-MARGIN, MARGIN:-MARGIN, 0]

    def gather(self, where: np.ndarray, size: int) -> np.ndarray:
        """Patches, shape (B, size, size, 3), uint8, around pixels, in one vectorised copy.

        Parameters
        ----------
        where : ndarray, shape (B, 3), int
            Photograph, row and column of each centre.
        size : int
            Side in pixels, at most 2 * MARGIN.  A patch of even size is centred on the first pixel behind its middle.
        """
        return self._around(self.pixels, where, size, 3)

    def gather_labels(self, where: np.ndarray, size: int) -> np.ndarray:
        """The labels of what `gather` gives, shape (B, size, size), uint8; 0 beyond the photograph."""
        return self._around(self.labels, where, size, 1)[..., 0]

    def _whole(self, planes: np.ndarray, index: int, channels: int) -> np.ndarray:
        height, width = self.shapes[index] + 2 * MARGIN
        return planes[self.starts[index] * channels :][: height * width * channels].reshape(height, width, channels)

    def _around(self, planes: np.ndarray, where: np.ndarray, size: int, channels: int) -> np.ndarray:
        photograph, row, column = where.T.astype(np.int64)
        shift, width = MARGIN - size // 2, self.shapes[photograph, 1] + 2 * MARGIN
        first = self.starts[photograph] + (row + shift) * width + column + shift
        # The bytes of one row are contiguous, so a patch is `size` short copies.
        rows = np.lib.stride_tricks.sliding_window_view(planes, channels * size)
        chosen = rows[channels * (first[:, None] + np.arange(size) * width[:, None])]
        return np.asarray(chosen).reshape(-1, size, size, channels)


def gather_scales(stacks: tuple[ImageStack, ImageStack], where: np.ndarray, size: int) -> np.ndarray:
    """Patches, shape (B, 2, size, size, 3), uint8, around the same pixels at both scales.  Explained in ch:refinement.

    Sharp in the middle, with room around it: `stacks` are the same photographs at 1x and at 0.5x, and `where`, shape (B, 3), int,
    is photograph, row and column at 1x.
    """
    fine, coarse = stacks
    return np.stack([fine.gather(where, size), coarse.gather(where // (1, 2, 2), size)], axis=1)


def build_stacks(records: Sequence[Record], folder: str | os.PathLike[str]) -> tuple[ImageStack, ImageStack]:
    """Load and normalise photographs at 1x and 0.5x, once; later calls map the files of the first.

    The files are written under another name and renamed when complete, so that an interrupted preparation is never taken for a
    whole one.  A MaaError when there are no records, when a photograph or mask cannot be read, or when the files are damaged.

    Parameters
    ----------
    records : sequence of maa.data.Record
        Or of anything else that has ``load() -> Fundus``.
    folder : path-like
        Where the arrays are kept.
    """
    if not records:
        raise MaaError("There are no photographs to prepare: check the data folder and its split.")
    folder = Path(folder)
    about, remedy = folder / "about.json", f"remove the folder {folder}, and the photographs are prepared again"
    if not folder.exists():
        partial = partial_path(folder)
        try:
            partial.mkdir(parents=True)
            _write_stacks(records, partial)
            os.replace(partial, folder)
            remove_partials(folder)
        except OSError as error:
            if not about.exists():  # else another process was faster, with the same files
                raise MaaError(
                    f"{folder.parent} cannot be written to ({error.strerror or error}): make room there, or name another folder "
                    "for what is prepared with MAA_CACHE."
                ) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    index = read_json(about, remedy)

    def stack(scale: float) -> ImageStack:
        pixels, labels = (np.memmap(folder / f"{what}-{scale}.u8", np.uint8, mode="r") for what in ("pixels", "labels"))
        shapes, diseased = np.array(index["shapes"][str(scale)], int), np.array(index["diseased"], bool)
        stack = ImageStack.whole(pixels, labels, shapes, index["names"], diseased, scale)
        size = (shapes + 2 * MARGIN).prod(axis=1).sum()
        if (3 * size, size) != (pixels.size, labels.size) or not len(records) == len(stack) == len(shapes) == len(diseased):
            raise ValueError("the files are not those of the index")
        return stack

    try:
        return stack(1.0), stack(0.5)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise MaaError(f"{about} or a file beside it is damaged: {remedy}.") from None


def _write_stacks(records: Sequence[Record], folder: Path) -> None:
    names, diseased = [], []
    shapes: dict[str, list[tuple[int, ...]]] = {str(scale): [] for scale in _SCALES}
    for name, ill, planes in in_threads(_prepare, records, "Normalising photographs"):
        names.append(name)
        diseased.append(bool(ill))
        for scale, (image, label) in zip(_SCALES, planes):
            shapes[str(scale)].append(tuple(side - 2 * MARGIN for side in label.shape))
            for what, array in (("pixels", image), ("labels", label)):
                with open(folder / f"{what}-{scale}.u8", "ab") as file:
                    file.write(array.tobytes())
    (folder / "about.json").write_text(json.dumps({"names": names, "diseased": diseased, "shapes": shapes}))


def _prepare(record: Record) -> tuple[str, bool, list[tuple[np.ndarray, np.ndarray]]]:
    fundus = record.load()
    return fundus.name, fundus.diseased, _planes(fundus.image, fundus.fov, fundus.lesions)


def _planes(image: np.ndarray, fov: np.ndarray, lesions: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Padded pixels and labels of a photograph, at each of `_SCALES`."""
    image, planes = normalise(image, fov), []
    masks = {FOV: fov} | {bit: lesions[kind] for kind, bit in _BITS.items() if kind in lesions}
    for scale in _SCALES:
        if scale == 0.5:
            image, masks = halve(image), {bit: halve(mask) for bit, mask in masks.items()}
        label = np.zeros(image.shape[:2], np.uint8)
        for bit, mask in masks.items():
            label |= mask * np.uint8(bit)
        margin = ((MARGIN, MARGIN), (MARGIN, MARGIN))
        planes.append((np.pad(image, (*margin, (0, 0)), constant_values=128), np.pad(label, margin)))
    return planes


def stack_photograph(image: np.ndarray, fov: np.ndarray, name: str = "photograph") -> tuple[ImageStack, ImageStack]:
    """One photograph (H, W, 3), uint8, RGB, normalised in its field of view (H, W), bool: at 1x and at 0.5x, in memory."""
    fine, coarse = (
        ImageStack.whole(pixels.ravel(), label.ravel(), np.array([label.shape]) - 2 * MARGIN, (name,), np.array([True]), scale)
        for scale, (pixels, label) in zip(_SCALES, _planes(image, fov, {}))
    )
    return fine, coarse
