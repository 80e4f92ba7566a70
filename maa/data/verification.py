"""Whether the pictures of a data set are what their names say: copies of one another, and masks that cannot be right."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from maa.data.idrid import Finding, Record, copy_of, count_components
from maa.data.photograph import Fundus
from maa.errors import MaaError

#: Two photographs whose vessels correlate by more than this are one.  Measured on IDRiD: see `same_pictures`.
ALIKE = 0.8
_SIDE = 64  # of the picture that is compared: vessels are left, grain and compression are not
_MANY = 4  # so many lesions at the same pixels are no coincidence


@dataclass(frozen=True, eq=False)
class Examined:
    """What one photograph and its masks hold, read in full."""

    record: Record
    pixels: int  # annotated as microaneurysm
    lesions: int  # connected groups of them
    problems: tuple[str, ...]
    vessels: np.ndarray | None  # what `same_pictures` compares; None where the photograph cannot be read or shows nothing
    marks: str | None  # digest of the microaneurysm mask; None where it has too few lesions to be told from another


def examine(record: Record) -> Examined:
    """Read a photograph and its masks in full, and say what is wrong with each of its files."""
    try:
        fundus = record.load()
    except MaaError as error:
        return Examined(record, 0, 0, (str(error),), None, None)
    problems = []
    for kind, mask in fundus.lesions.items():
        marked, path = int(mask.sum()), record.mask_paths[kind]
        if marked > mask.size / 2:
            problems.append(
                f"The mask {path} marks {marked / mask.size:.0%} of its photograph: it looks inverted, so invert it."
            )
        elif 2 * int((mask & fundus.fov).sum()) < marked:
            problems.append(
                f"The mask {path} marks mostly what lies outside the field of view of {record.image_path}: "
                "use the mask that was drawn on this photograph."
            )
    pixels, lesions = count_components(fundus.ma)
    marks = (
        hashlib.sha256(repr(fundus.shape).encode() + np.packbits(fundus.ma).tobytes()).hexdigest() if lesions >= _MANY else None
    )
    return Examined(record, pixels, lesions, tuple(problems), _vessels(fundus), marks)


def same_pictures(examined: Sequence[Examined]) -> list[Finding]:
    """Photographs that show the same picture, and photographs with the same marks, whatever their bytes.

    Of each photograph the green channel inside the box of its field of view is brought to 64 x 64 pixels, freed of everything
    broad (light, macula), and compared with all others, turned and mirrored in each of the eight ways.  Re-encoded, resized,
    brightened or mirrored copies of IDRiD's photographs correlate by 0.95 and more, different photographs by 0.61 and less.
    Copies with the same bytes are left to `maa.data.idrid.inspect_dataset`.
    """
    findings = []
    seen = [(one.record, one.vessels) for one in examined if one.vessels is not None]
    if seen:
        shown, upright = [record for record, _ in seen], np.stack([vessels for _, vessels in seen])
        best = np.full((len(shown), len(shown)), -1.0)
        for turns, mirrored in itertools.product(range(4), (False, True)):
            turned = np.rot90(upright[:, :, ::-1] if mirrored else upright, turns, axes=(1, 2))
            best = np.maximum(best, upright.reshape(len(shown), -1) @ turned.reshape(len(shown), -1).T)
        for i, j in np.argwhere(np.triu(best > ALIKE, 1)):
            one, other = shown[i], shown[j]
            if one.image_path.read_bytes() != other.image_path.read_bytes():
                findings.append(copy_of(one, other, ", saved, scaled or mirrored anew"))
    first: dict[str, Examined] = {}
    for one in examined:
        if one.marks and (other := first.setdefault(one.marks, one)) is not one:
            findings.append(
                Finding(
                    f"{other.record.mask_paths['MA']} and {one.record.mask_paths['MA']} mark the same {one.lesions} microaneurysms in "
                    "two photographs: one of them belongs to another photograph.",
                    True,
                )
            )
    return findings


def _vessels(fundus: Fundus) -> np.ndarray | None:
    """The fine structure of a photograph, shape (64, 64), float32, of mean 0 and norm 1; 0 outside the field and at its rim."""
    rows, columns = (np.flatnonzero(fundus.fov.any(axis=axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

    def small(plane: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(plane).resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)

    green, inside = (
        small(np.ascontiguousarray(fundus.image[box][..., 1])),
        small(fundus.fov[box].view(np.uint8) * np.uint8(255)) / 255,
    )
    weight = ndimage.gaussian_filter(inside, 3)
    fine = green - ndimage.gaussian_filter(green * inside, 3) / np.maximum(weight, 1e-3)
    core = ndimage.binary_erosion(inside > 0.99, iterations=3)
    if not core.any():
        return None
    fine = np.where(core, fine - fine[core].mean(), 0)
    norm = float(np.linalg.norm(fine))
    # Less than half a grey level of structure is the noise of a blank picture.
    return fine / norm if norm > 0.5 * core.sum() ** 0.5 else None
