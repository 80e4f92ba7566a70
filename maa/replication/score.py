"""Scoring the maps of any other method by the protocol of this book."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from maa import evaluation
from maa.data.idrid import Dataset, one_line
from maa.errors import MaaError
from maa.inference.maps import upsample
from maa.progress import track
from maa.provenance import Json, PathLike, environment
from maa.replication.evaluate import annotated
from maa.replication.published import published
from maa.replication.scores import Scores
from maa.replication.verdict import openings

#: Files that can hold a map.
SUFFIXES = (".png", ".tif", ".tiff", ".npy")
_SAVE = "save one channel of probabilities as PNG or TIFF (8 or 16 bits, or float of 32) or as NPY"
#: Pillow's names of one channel that is a map, and the types of their arrays; 16-bit PNGs had another name before Pillow 11.
_ONE_CHANNEL = {"L": np.uint8, "I;16": np.uint16, "I;16L": np.uint16, "I;16B": np.uint16, "F": np.float32}


def score(
    maps: PathLike,
    dataset: Dataset,
    split: str = "validation",
    *,
    against: PathLike | None = None,
    ending: str = "",
    threshold: float | None = None,
    candidate: float = Scores.CANDIDATE,
    healthy: bool = False,
) -> Json:
    """Measure the probability maps of any method on the photographs of a split.  Explained in ch:gain.

    Parameters
    ----------
    maps : path-like
        A folder with a map of each photograph, see `find_maps` and `read_map`.
    dataset : Dataset
    split : {"validation", "test"}
    against : path-like, optional
        The same of a second method, for a paired comparison.
    ending : str
        As `find_maps`; of both folders.
    threshold : float, optional
        Probability from which a pixel is called a microaneurysm, chosen on other photographs.  Without it, and for the second
        method, the one with the best F1 on these, which flatters.
    candidate : float
        Probability in (0, 1] from which connected pixels are one candidate lesion of the FROC.
    healthy : bool
        Whether the maps of healthy photographs are there and count too: in one of the variants, and as false alarms of the
        FROC.

    Returns
    -------
    dict
        Of a results file: data, maps, versions and time; under "rows" what `Scores.table` says of "maps" and of "against", and
        also "intervals" of the operating point, of the mean of the photographs' own values and of the FROC, and
        "candidate_share", of the field of view's pixels; under "published" what `compared_with_published` gives.

    Raises
    ------
    MaaError
        When photographs, maps or pixels do not fit, see `find_maps` and `read_map`; or when a map says the same everywhere.
    """
    started = time.perf_counter()
    if threshold is not None:
        evaluation.first_level(threshold)  # complains before the work
    diseased = annotated(dataset, split)
    records = [*diseased, *(dataset.select(split, diseased=False) if healthy else ())]
    folders = {"maps": maps} if against is None else {"maps": maps, "against": against}
    found = {row: find_maps(folder, [record.name for record in records], split, ending) for row, folder in folders.items()}
    scores = Scores(candidate)
    for record in track(records, f"Scoring {split} photographs"):
        fundus = record.load(kinds=("MA",))
        for row, (files, _) in found.items():
            path = files[record.name]
            levels = read_map(path, fundus.shape)
            inside = levels[fundus.fov]
            if inside.min() == inside.max() and (record.diseased or inside.any()):
                raise MaaError(
                    f"{path} has one value in the whole field of view, which ranks nothing: save the probabilities, not a mask."
                )
            scores.add(row, record.name, levels, fundus.ma, fundus.fov, record.diseased)
    for row, folder in folders.items():
        _check_range(scores.pixels[row], Path(folder))

    thresholds = {row: evaluation.best_f1_threshold(*scores.pixels[row].pooled()) for row in folders}
    thresholds |= {} if threshold is None else {"maps": threshold}
    names = {row: Path(folder).resolve().name for row, folder in folders.items()}
    rows = scores.table(thresholds, names, baseline="against")
    for row, values in rows.items():
        operating = evaluation.bootstrap_operating_point(scores.pixels[row], thresholds[row], samples=1000)
        froc = evaluation.bootstrap_froc(scores.lesions[row], samples=1000)
        pooled = scores.pixels[row].pooled()
        values["candidate_share"] = sum(h[evaluation.first_level(candidate) :].sum() for h in pooled) / sum(
            h.sum() for h in pooled
        )
        values["intervals"] = {
            **{key: asdict(interval) for key, interval in operating.items()},
            "per_image_mean": asdict(evaluation.bootstrap_mean(values["by_image"], samples=1000)),
            "froc": {key: asdict(interval) for key, interval in froc.items()},
        }
    return {
        "split": split,
        "data": dataset.fingerprint,
        "photographs": [record.name for record in records],
        "files": {
            row: {name: {"file": path.name, "sha256": _sha256(path)} for name, path in files.items()}
            for row, (files, _) in found.items()
        },
        "surplus": {row: surplus for row, (_, surplus) in found.items()},
        "candidate": candidate,
        "environment": environment(),
        "seconds": time.perf_counter() - started,
        "rows": rows,
        "published": compared_with_published(rows["maps"], split),
    }


def find_maps(folder: PathLike, names: Collection[str], split: str = "", ending: str = "") -> tuple[dict[str, Path], list[str]]:
    """The map of each photograph in a folder (not in those below), by the photograph's name.

    A file is the map of the photograph whose name it begins with, in upper or lower case, with anything behind it that is no
    letter or digit first: ``IDRiD_45.png``, ``IDRiD_45_MA.tif``, ``IDRiD_45.jpg.npy``.

    Parameters
    ----------
    folder : path-like
    names : collection of str
        Of the photographs.
    split : str
        What to call them in an error.
    ending : str
        Only files whose names end in it, apart from the suffix, are looked at: ``"_MA"``.

    Returns
    -------
    maps : dict of str to Path
        In the order of the names.
    surplus : list of str
        Files that are the map of no photograph.

    Raises
    ------
    MaaError
        When the folder cannot be read, a photograph has no map, or more than one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MaaError(f"{folder} is not a folder: name the folder that holds one map for each photograph.")
    files: dict[str, Path] = {}
    surplus = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES or not path.stem.lower().endswith(ending.lower()):
            continue
        begins = [name for name in names if re.match(rf"{re.escape(name)}(?![^\W_])", path.name, re.IGNORECASE)]
        if not begins:
            surplus.append(path.name)
            continue
        name = max(begins, key=len)
        if name in files:
            raise MaaError(
                f"{folder} holds two maps of {name}, {files[name].name} and {path.name}: "
                "leave one, or say with --ending how the names of the maps end."
            )
        files[name] = path
    missing = [name for name in names if name not in files]
    if missing:
        others = f", and holds {len(surplus)} of no such photograph ({some(surplus)})" if surplus else ""
        raise MaaError(
            f"{folder} lacks the map of {len(missing)} of {len(names)} {split} photographs ({some(missing)}){others}: "
            f"name each map as its photograph, {missing[0]}{ending}.png."
        )
    return {name: files[name] for name in names}, surplus


def some(names: Sequence[str]) -> str:
    """The first three of a list, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_map(path: PathLike, shape: tuple[int, int]) -> np.ndarray:
    """Read a probability map of a photograph, and bring it to the photograph's size.

    Parameters
    ----------
    path : path-like
        PNG, TIFF or NPY with one channel: 8 bits (255 is a probability of 1), 16 bits (65535), or float, 0 to 1 (in a TIFF, of
        32 bits).
    shape : (H, W)
        Of the photograph.  The map has this size, or a half, a quarter and so on of it, an odd side rounded up (as
        `maa.data.halve` does); a smaller one is doubled bilinearly, as `maa.inference.upsample` does it, as often as it takes.

    Returns
    -------
    ndarray, shape (H, W), uint16
        Probability times 65535, rounded.

    Raises
    ------
    MaaError
        When the file cannot be read, has more than one channel or picture, another type or size, or values that are no
        probabilities.
    """
    path = Path(path)
    array = _array(path)
    if array.ndim != 2 or not array.size:
        raise MaaError(f"{path} has the shape {array.shape}, not (height, width): {_SAVE}.")
    if array.dtype.kind == "f":
        if np.isnan(array).any():
            raise MaaError(f"{path} holds NaN: write a probability at every pixel, 0 where there is none.")
        low, high = array.min(), array.max()
        if low < 0 or high > 1:
            raise MaaError(f"{path} holds values from {low:.4g} to {high:.4g}: floats must be probabilities, from 0 to 1.")
        levels = evaluation.quantise(array)
    elif array.dtype == np.uint8:
        levels = array.astype(np.uint16) * np.uint16(257)  # 255 becomes 65535
    elif array.dtype == np.uint16:
        levels = array
    else:
        raise MaaError(f"{path} holds {array.dtype}: {_SAVE}.")
    sizes = [shape]  # the photograph's, its half and so on
    while levels.shape != sizes[-1]:
        if max(sizes[-1]) == 1:
            raise MaaError(
                f"{path} has {levels.shape[1]} x {levels.shape[0]} pixels and its photograph {shape[1]} x {shape[0]}: "
                "bring the map to the photograph's size, or to its half or quarter."
            )
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    for size in sizes[-2::-1]:
        levels = upsample(levels, size)
    return levels


def _array(path: Path) -> np.ndarray:
    """The pixels of a file, in the machine's order of bytes."""
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
            return array.astype(array.dtype.newbyteorder("="), copy=False)
        with Image.open(path) as picture:
            frames, mode = getattr(picture, "n_frames", 1), picture.mode
            kind = np.uint16 if mode == "I" and picture.format == "PNG" else _ONE_CHANNEL.get(mode)
            if frames == 1 and kind is not None:
                return np.asarray(picture).astype(kind)
    except UnidentifiedImageError:
        raise MaaError(f"{path} is no picture of a kind that can be read here: {_SAVE}.") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise MaaError(f"{path} cannot be read as a map ({one_line(error)}): {_SAVE}.") from None
    if frames > 1:
        raise MaaError(f"{path} holds {frames} pictures: {_SAVE}.")
    what = {"1": "a mask of 1 bit", "P": "a picture with a palette", "I": "32-bit integers"}.get(
        mode, f"{mode}, not one channel"
    )
    raise MaaError(f"{path} holds {what}: {_SAVE}.")


def _check_range(pixels: evaluation.PixelScores, folder: Path) -> None:
    """Refuse maps that were saved in the range of another type: it is their rank that decides, but thresholds have values."""
    positives, negatives = pixels.pooled(healthy=True, outside_field=True)
    highest = int(np.flatnonzero(positives + negatives)[-1])
    if highest <= 257:  # 1 of 255, or 255 of 65535
        raise MaaError(
            f"No map in {folder} goes above a probability of 0.004: "
            "save 8 bits as 0 to 255, 16 bits as 0 to 65535, floats as 0 to 1, or scale all alike, which keeps their ranks."
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compared_with_published(row: Json, split: str) -> Json | None:
    """A row beside this project's own on the same photographs, as far as results files allow.

    They hold no pixel, but the average precision of each photograph.  So what is compared, photograph by photograph, is the
    mean of the photographs' own values.  For a comparison of pooled values, give `score` the maps of both methods.

    Parameters
    ----------
    row : dict
        Of `Scores.table`.
    split : {"validation", "test"}
        Validation: the networks that ship, ``results/idrid-full/frozen.json``.  Test: the last opening, ``results/test``.

    Returns
    -------
    dict or None
        For each published row: its "name", its "average_precision" (pooled) and "per_image_mean", and the "difference" of the
        means, ours subtracted, with its interval.  None when the files are not to be had, or are of other photographs, masks or
        fields of view.
    """
    if split == "validation":
        theirs = published("idrid-full", "frozen")
    else:
        opened = openings()
        theirs = opened[-1]["results"] if opened else None
    if theirs is None or any(_measured_on(other) != _measured_on(row) for other in theirs["rows"].values()):
        return None
    return {
        key: {
            "name": other["name"],
            "average_precision": other["average_precision"],
            "per_image_mean": other["variants"]["per_image_mean"],
            "difference": asdict(
                evaluation.bootstrap_mean(
                    {name: value - other["by_image"][name] for name, value in row["by_image"].items()}, samples=1000
                )
            ),
        }
        for key, other in theirs["rows"].items()
    }


def _measured_on(row: Json) -> tuple[object, ...]:
    """Photographs, lesions and pixels of the field of view that a row is of; names are not enough, phantoms have the same."""
    return sorted(row["by_image"]), row["froc"]["sensitivity"]["lesions"], int(np.sum(row["calibration"]["pixels"]))
