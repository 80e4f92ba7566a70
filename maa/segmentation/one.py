"""One photograph."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from torch import Tensor

from maa.data import quality
from maa.data.field import field_of_view
from maa.data.photograph import read_photograph, rgb
from maa.data.stacks import stack_photograph
from maa.errors import MaaError
from maa.hardware import device
from maa.inference.beyond import BEYOND_ROWS, LAST, Beyond
from maa.inference.maps import FULL_SCALE
from maa.inference.system import FILES, FULL_SYSTEM, ROWS, AnySystem, System
from maa.names import safe_name
from maa.provenance import partial_path
from maa.segmentation import one
from maa.segmentation.scale import FIELD_DEGREES, resize_factor, resized, working_size

#: Pixels of the largest photograph that is segmented, after resizing: some 4 GB of memory.
MAX_WORKING_PIXELS = 60_000_000
#: The threshold where none was chosen on validation photographs.
UNCHOSEN_THRESHOLD = 0.5
#: What a system can be: the paper's, or the one with more networks (ch:real).
TRACKS = ("paper", "beyond")
#: Every map that a system may make, in the order in which they build on one another.
MAPS = ROWS | BEYOND_ROWS | {FULL_SYSTEM: "HGN + PRN", LAST: "U-Nets, HGNs and PRN, beyond the paper"}
COLUMNS = ["image", "row", "column", "area", "score"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a system found in one photograph, at the photograph's own size.  Explained in ch:yours.

    Attributes
    ----------
    name : str
    image : ndarray, shape (H, W, 3), uint8
        The photograph, upright.
    fov : ndarray, shape (H, W), bool
        Its field of view.
    probability : ndarray, shape (H, W), uint16
        Probability of a microaneurysm times 65535; zero outside the field of view.
    map : str
        Which map of the system it is: a key of `MAPS`.
    threshold : float
        Probability from which a pixel is called a microaneurysm.
    resized : float
        By which factor the photograph was resized for the networks; 1 when it was not.
    notes, warnings : tuple of str
        Sentences: what was done and has to be known, such as resizing; what would mislead (see `maa.data.quality`).
    """

    name: str
    image: np.ndarray
    fov: np.ndarray
    probability: np.ndarray
    map: str
    threshold: float
    resized: float = 1.0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @cached_property
    def mask(self) -> np.ndarray:
        """Pixels called microaneurysm, shape (H, W), bool."""
        return self.probability >= max(1, round(self.threshold * FULL_SCALE))

    @cached_property
    def lesions(self) -> pd.DataFrame:
        """One row a lesion, a connected group of the mask's pixels (diagonals count), the most probable first.

        Columns: image (name), row and column (centre, in pixels of the upright photograph, from 0 at the upper left), area
        (pixels), score (highest probability in it, 0 to 1).
        """
        labels, count = ndimage.label(self.mask, structure=np.ones((3, 3)))
        rows, columns = np.nonzero(labels)
        owner = labels[rows, columns] - 1
        area, score = np.bincount(owner, minlength=count), np.zeros(count)
        np.maximum.at(score, owner, self.probability[rows, columns] / FULL_SCALE)
        table = pd.DataFrame(
            {
                "image": [self.name] * count,
                "row": np.bincount(owner, rows, count) / area,
                "column": np.bincount(owner, columns, count) / area,
                "area": area,
                "score": score,
            }
        )
        return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)

    @cached_property
    def overlay(self) -> np.ndarray:
        """The photograph with a line around every lesion, at a distance so that it can be judged, shape (H, W, 3), uint8."""
        side = max(self.mask.shape)
        gap, width = max(2, side // 600), max(1, side // 1200)
        mask = self.mask.view(np.uint8)
        inner, outer = (ndimage.maximum_filter(mask, 1 + 2 * reach) for reach in (gap, gap + width))
        drawn = self.image.copy()
        drawn[outer > inner] = one.OUTLINE
        return drawn

    def encoded(self) -> dict[str, bytes]:
        """The probability map (PNG, 16 bits), the mask (PNG, 0 and 255) and the overlay (JPEG), as `save` writes them."""
        mask = self.mask.view(np.uint8) * np.uint8(255)
        return {
            "probability": _file(self.probability, format="PNG"),
            "mask": _file(mask, format="PNG"),
            "overlay": _file(self.overlay, format="JPEG", quality=92),
        }

    def save(self, folder: str | os.PathLike[str]) -> dict[str, Path]:
        """Write the files of `encoded`, all or none of them.

        Returns their paths by "probability", "mask" and "overlay".  Makes the folder, or raises a MaaError when it cannot be
        written to.
        """
        files = output_files(folder, self.name)
        write_files({files[kind]: content for kind, content in self.encoded().items()})
        return files


def _file(picture: np.ndarray, **how: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, **how)
    return file.getvalue()


def segment(
    photograph: str | os.PathLike[str] | np.ndarray | Tensor | Image.Image,
    system: AnySystem,
    threshold: float | None = None,
    degrees: float = FIELD_DEGREES,
    resize: float | None = None,
    name: str | None = None,
) -> Segmentation:
    """Find the microaneurysms in one photograph.

    A lesion spans as many degrees in every camera, but as many pixels only at one scale, and the networks know lesions by
    their size in pixels.  Memory is bounded by `MAX_WORKING_PIXELS`, and by `maa.data.MAX_PIXELS` for the photograph
    itself.  Explained in ch:yours.

    Parameters
    ----------
    photograph : path-like, ndarray, Tensor or Image
        A file of any ordinary format (see `maa.data.read_image`); or an array or a tensor, shape (H, W, 3) or (3, H, W), of
        uint8, RGB; or a PIL image, as it is.  A fourth channel is transparency, uint16 is brought to 8 bits, and floating
        point is read as 0 to 1 (see `maa.data.rgb`).
    system : System or Beyond
        As `load_system` gives it; its last map is the result's.
    threshold : float, optional
        Probability, 0 to 1, from which a pixel is called a microaneurysm.  By default the one that was chosen on validation
        photographs, else `UNCHOSEN_THRESHOLD`.
    degrees : float
        Field of view of the camera.  With the diameter of the field in pixels it gives the scale of the photograph, which is
        brought to IDRiD's where the two differ by more than `TOLERANCE`.
    resize : float, optional
        Resize by this factor, whatever the degrees; 1, which leaves the photograph as it is, is right when the system was
        trained on photographs of the same scale.
    name : str, optional
        The file's name without its ending by default.

    Raises
    ------
    MaaError
        When the photograph cannot be read, is of another shape or type, is grey, shows no field of view, or would become too
        large; and when a number is out of its range.
    """
    check(threshold, degrees, resize)
    if isinstance(photograph, str | os.PathLike):
        image, reading = read_photograph(photograph)
        called, name = str(photograph), name or Path(photograph).stem
    else:
        called = name = name or "photograph"
        image, reading = rgb(_in_memory(photograph), called)
    fov = field_of_view(image, called)
    factor, notes = resize_factor(fov, degrees) if resize is None else (resize, ())
    height, width = fov.shape
    size = working_size((height, width), factor, MAX_WORKING_PIXELS, called, degrees if resize is None else None)
    warnings = quality.warnings(quality.measure(image, fov, factor), factor)
    seen, seen_fov = image, fov
    if factor != 1:
        seen = resized(image, size, factor)
        # Wholly inside only: a pixel that mixes retina with the dark surround looks like a lesion.
        seen_fov = resized(fov.astype(np.float32), size, factor) > 0.999
        if not seen_fov.any():
            raise MaaError(f"Nothing is left of {called} when it is resized by {factor:g}: use a larger factor.")
    kind = system.final
    probability = system.maps(stack_photograph(seen, seen_fov, called), rows=[kind])[kind]
    if factor != 1:
        back = resized(probability.astype(np.float32), (width, height), 1 / factor)
        probability = (np.clip(back, 0, FULL_SCALE) + 0.5).astype(np.uint16)
        probability[~fov] = 0
    if threshold is None and kind not in system.settings.thresholds:
        notes += (
            f"The weights come without a threshold, so {UNCHOSEN_THRESHOLD} was used: "
            "maa evaluate --split validation chooses one.",
        )
    threshold = threshold or system.settings.thresholds.get(kind, UNCHOSEN_THRESHOLD)
    return Segmentation(name, image, fov, probability, kind, float(threshold), float(factor), reading + notes, warnings)


def _in_memory(photograph: object) -> np.ndarray | Image.Image:
    """A photograph that is no file, as an array or a picture."""
    if isinstance(photograph, Tensor):
        try:
            photograph = photograph.detach().cpu()
            return (photograph.float() if photograph.is_floating_point() else photograph).numpy()
        except (TypeError, RuntimeError, NotImplementedError):
            raise MaaError(f"A tensor of type {photograph.dtype} holds no photograph: give uint8, or floating point.") from None
    if not isinstance(photograph, np.ndarray | Image.Image):
        raise MaaError(
            f"A photograph is a path, an array, a tensor or a PIL image, not a {type(photograph).__name__}: give one."
        )
    return photograph


def load_system(weights: str | os.PathLike[str] | None = None, track: str = "paper") -> AnySystem:
    """The trained networks of a folder of weights, on what this machine computes best with.

    Parameters
    ----------
    weights : path-like, optional
        By default the folder that comes with the package.
    track : {"paper", "beyond"}
        The paper's system (`maa.inference.System`), or the one with more networks of ch:real (`maa.inference.Beyond`), which raises
        fewer false alarms and takes about twice as long.

    Raises
    ------
    MaaError
        When the folder is missing or damaged, or has no weights of that track.
    """
    if track not in TRACKS:
        raise MaaError(f"There is no track {track!r}: choose {' or '.join(TRACKS)}.")
    folder = default_weights() if weights is None else Path(weights)
    if not folder.is_dir():
        raise MaaError(f"There is no folder of weights at {folder}: make one with maa train, or name another.")
    system: AnySystem = Beyond.load(folder) if track == "beyond" else System.load(folder)
    for network in system.networks:
        network.to(device())
    return system


def default_weights() -> Path:
    """The folder of weights that comes with the package, of IDRiD's 44 training photographs; a MaaError where it is absent."""
    folder = Path(__file__).parent.parent / "pretrained"
    if not any((folder / file).exists() for file in FILES.values()):
        raise MaaError(
            "This installation comes without weights: name a folder of them with --weights, or make one with "
            "maa train hgn-1x, maa train hgn-0.5x and maa train prn."
        )
    return folder


def uploaded(value: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]]) -> bytes:
    """The bytes of the file that an ``ipywidgets.FileUpload`` holds: its value is a tuple in version 8, a dictionary in 7.

    Raises a MaaError when there is no file.
    """
    files = list(value.values() if isinstance(value, Mapping) else value)
    if not files:
        raise MaaError("No photograph was chosen: choose one with the button.")
    return bytes(files[-1]["content"])


def output_files(folder: str | os.PathLike[str], name: str) -> dict[str, Path]:
    """Where the results of a photograph go, by "probability", "mask" and "overlay": never outside of the folder."""
    endings = {"probability": "probability.png", "mask": "mask.png", "overlay": "overlay.jpg"}
    return {kind: Path(folder) / f"{safe_name(name)}_{ending}" for kind, ending in endings.items()}


def check(threshold: float | None, degrees: float, resize: float | None) -> None:
    """Refuse numbers that are out of range; a NaN, for which every comparison is false, fails too."""
    if threshold is not None and not 0 < threshold <= 1:
        raise MaaError(f"The threshold is {threshold:g}: choose a probability above 0 and at most 1.")
    if not 0 < degrees <= 200:
        raise MaaError(f"The field of view is given as {degrees:g} degrees: choose above 0 and at most 200.")
    if resize is not None and not 0 < resize <= 100:
        raise MaaError(f"The factor to resize by is {resize:g}: choose above 0 and at most 100.")


def write_together(*files: tuple[Path, Callable[[Path], object]]) -> None:
    """Have several files written under other names, and rename them when all are complete."""
    unfinished = {path: partial_path(path) for path, _ in files}
    try:
        for path, write in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(unfinished[path])
        for path in unfinished:
            os.replace(unfinished[path], path)
    except OSError as error:
        folder = files[0][0].parent
        raise MaaError(f"The results cannot be written to {folder} ({error.strerror or error}): name another folder.") from None
    finally:
        for path in unfinished.values():
            if path.parent.is_dir():
                path.unlink(missing_ok=True)


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write several files, all or none of them."""
    write_together(*((path, partial(_write, content)) for path, content in contents.items()))


def _write(content: bytes, file: Path) -> None:
    file.write_bytes(content)


#: Colour of what is drawn on a photograph: no part of a retina is cyan.
OUTLINE = (0, 229, 255)
