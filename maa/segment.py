"""Segmenting photographs of one's own: from files of any camera to maps, masks, overlays and a table of lesions.

In Python::

    from maa.segment import load_system, segment

    system = load_system()                # System: the weights that come with maa; load_system(track="beyond"): Beyond
    result = segment("eye.jpg", system)   # Segmentation
    result.lesions                        # DataFrame: image, row, column, area, score
    result.probability                    # ndarray, (H, W), uint16: probability times 65535
    result.mask                           # ndarray, (H, W), bool
    result.overlay                        # ndarray, (H, W, 3), uint8
    result.warnings                       # tuple of str: what would mislead, such as a photograph out of focus

On the command line: ``maa segment photographs --out found``.  Explained in chapter 9.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from maa import quality, summary
from maa.beyond import LAST, NAMES, Beyond
from maa.errors import MaaError
from maa.fundus import field_of_view, read_image
from maa.hardware import device
from maa.inference import FULL
from maa.patches import stack_photograph
from maa.phantom import IDRID_PIXELS_PER_DEGREE
from maa.progress import track as tracked
from maa.system import FILES, FULL_SYSTEM, ROWS, System
from maa.weights import network_fingerprint

#: Field of view, in degrees, that a camera is taken to have: IDRiD's, and the most common one.
FIELD_DEGREES = 50.0

#: Photographs that would be resized by a factor between these are left as they are: lesions themselves
#: differ in size by more, and resizing costs sharpness.  Our choice.
TOLERANCE = (0.8, 1.25)

#: Pixels of the largest photograph that is segmented, after resizing: some 4 GB of memory.
MAX_WORKING_PIXELS = 60_000_000

#: The threshold where none was chosen on validation photographs.
UNCHOSEN_THRESHOLD = 0.5

#: What a system can be, and the map that it ends with: the paper's, and the one with more networks (chapter 10).
TRACKS = {"paper": FULL_SYSTEM, "beyond": LAST}

#: Every map that a system may make, in the order in which they build on one another.
MAPS = ROWS | NAMES | {FULL_SYSTEM: "HGN + PRN", LAST: "U-Nets, HGNs and PRN, beyond the paper"}

#: What a run writes once, beside three files for each photograph.
TABLES = ("lesions.csv", "photographs.csv", "contact_sheet.jpg", "index.html")

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}
_COLUMNS = ["image", "row", "column", "area", "score"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a system found in one photograph, at the photograph's own size.  Explained in chapter 9.

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
    notes : tuple of str
        What was done and has to be known, such as resizing; sentences.
    warnings : tuple of str
        What would mislead, such as a photograph out of focus; sentences (see `maa.quality`).
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
        return self.probability >= max(1, round(self.threshold * FULL))

    @cached_property
    def lesions(self) -> pd.DataFrame:
        """One row a lesion, a connected group of the mask's pixels (diagonals count), the most probable first.

        Columns: image (name), row and column (centre, in pixels of the upright photograph, from 0 at
        the upper left), area (pixels), score (highest probability in it, 0 to 1).
        """
        labels, count = ndimage.label(self.mask, structure=np.ones((3, 3)))
        rows, columns = np.nonzero(labels)
        owner = labels[rows, columns] - 1
        area = np.bincount(owner, minlength=count)
        score = np.zeros(count)
        np.maximum.at(score, owner, self.probability[rows, columns] / FULL)
        table = pd.DataFrame(
            {
                "image": [self.name] * count,
                "row": np.bincount(owner, rows, count) / area,
                "column": np.bincount(owner, columns, count) / area,
                "area": area,
                "score": score,
            },
            columns=_COLUMNS,
        )
        return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)

    @cached_property
    def overlay(self) -> np.ndarray:
        """The photograph with a line around every lesion, shape (H, W, 3), uint8.

        The line keeps its distance, so that the lesion inside can be judged by eye.
        """
        side = max(self.mask.shape)
        gap, width = max(2, side // 600), max(1, side // 1200)
        mask = self.mask.view(np.uint8)
        inner, outer = (ndimage.maximum_filter(mask, 1 + 2 * reach) for reach in (gap, gap + width))
        drawn = self.image.copy()
        drawn[outer > inner] = summary.OUTLINE
        return drawn

    def files(self, folder) -> dict[str, Path]:
        """Where `save` puts the probability map, the mask and the overlay."""
        return output_files(folder, self.name)

    def save(self, folder) -> dict[str, Path]:
        """Write the probability map (PNG, 16 bits), the mask (PNG, 0 and 255) and the overlay (JPEG).

        Each file is written under another name and renamed when all three are complete.

        Parameters
        ----------
        folder : path-like
            Made if it is not there.

        Returns
        -------
        dict of str to Path
            By "probability", "mask" and "overlay".

        Raises
        ------
        MaaError
            When the folder cannot be written to.
        """
        pictures = {
            "probability": (Image.fromarray(self.probability), {"format": "PNG"}),
            "mask": (Image.fromarray(self.mask.view(np.uint8) * np.uint8(255)), {"format": "PNG"}),
            "overlay": (Image.fromarray(self.overlay), {"format": "JPEG", "quality": 92}),
        }
        files = self.files(folder)

        def write(kind, partial):
            picture, options = pictures[kind]
            picture.save(partial, **options)

        _write_together(files, write)
        return files


def segment(
    photograph: str | os.PathLike | np.ndarray,
    system: System | Beyond,
    threshold: float | None = None,
    degrees: float = FIELD_DEGREES,
    resize: float | None = None,
    name: str | None = None,
) -> Segmentation:
    """Find the microaneurysms in one photograph.

    Parameters
    ----------
    photograph : path-like or ndarray, shape (H, W, 3), uint8
        A file of any ordinary format (see `maa.fundus.read_image`), or RGB.
    system : System or Beyond
        As `load_system` gives it.
    threshold : float, optional
        Probability, 0 to 1, from which a pixel is called a microaneurysm.  By default the one that was
        chosen on validation photographs, else `UNCHOSEN_THRESHOLD`.
    degrees : float
        Field of view of the camera.  With the diameter of the field in pixels it gives the scale of the
        photograph, which is brought to IDRiD's where the two differ by more than `TOLERANCE`.
    resize : float, optional
        Resize by this factor, whatever the degrees; 1 leaves the photograph as it is, which is right when
        the system was trained on photographs of the same scale.
    name : str, optional
        The file's name without its ending by default.

    Returns
    -------
    Segmentation
        Of the last map of `MAPS` that the system makes.

    Raises
    ------
    MaaError
        When the photograph cannot be read, shows no field of view, or would become too large; and when a
        number is out of its range.

    Notes
    -----
    A lesion spans as many degrees in every camera, but as many pixels only at one scale, and the networks
    know lesions by their size in pixels.  Memory is bounded by `MAX_WORKING_PIXELS`, and by
    `maa.fundus.MAX_PIXELS` for the photograph itself.  Explained in chapter 9.
    """
    _check(threshold, degrees, resize)
    if isinstance(photograph, np.ndarray):
        image, called = photograph, name or "photograph"
    else:
        image, called = read_image(photograph), str(photograph)
        name = name or Path(photograph).stem
    fov = field_of_view(image, called)
    factor, notes = resize_factor(fov, degrees) if resize is None else (resize, ())
    warnings = quality.warnings(quality.measure(image, fov, factor), factor)
    height, width = fov.shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size[0] * size[1] > MAX_WORKING_PIXELS:
        raise MaaError(
            f"{called} would have {size[0]:,} x {size[1]:,} pixels at the scale of the networks, more than "
            f"{MAX_WORKING_PIXELS:,}: name the camera's true field of view with --degrees, or crop it."
        )
    seen, seen_fov = image, fov
    if factor != 1:
        seen = _resized(image, size, factor)
        # Wholly inside only: a pixel that mixes retina with the dark surround looks like a lesion.
        seen_fov = _resized(fov.astype(np.float32), size, factor) > 0.999
        if not seen_fov.any():
            raise MaaError(f"Nothing is left of {called} when it is resized by {factor:g}: use a larger factor.")
    kind = system.final
    probability = system.maps(stack_photograph(seen, seen_fov, called), rows=[kind])[kind]
    if factor != 1:
        back = _resized(probability.astype(np.float32), (width, height), 1 / factor)
        probability = (np.clip(back, 0, FULL) + 0.5).astype(np.uint16)
        probability[~fov] = 0
    if threshold is None:
        threshold = system.settings.thresholds.get(kind)
    if threshold is None:
        threshold = UNCHOSEN_THRESHOLD
        notes += (
            f"The weights come without a threshold, so {UNCHOSEN_THRESHOLD} was used: "
            "maa evaluate --split validation chooses one.",
        )
    return Segmentation(
        name or "photograph", image, fov, probability, kind, float(threshold), float(factor), notes, warnings
    )


def load_system(weights: str | os.PathLike | None = None, track: str = "paper") -> System | Beyond:
    """The trained networks of a folder of weights, on what this machine computes best with.

    Parameters
    ----------
    weights : path-like, optional
        By default the folder that comes with the package.
    track : {"paper", "beyond"}
        The paper's system, or the one with more networks of chapter 10, which finds more and takes about three times as long.

    Returns
    -------
    System or Beyond

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
    system = Beyond.load(folder) if track == "beyond" else System.load(folder)
    for network in system.networks:
        network.to(device())
    return system


def field_diameter(fov: np.ndarray) -> float | None:
    """Diameter of a round field of view in pixels, also where the frame cuts some of it off.

    Parameters
    ----------
    fov : ndarray, shape (H, W), bool

    Returns
    -------
    float or None
        The largest extent in any of 36 directions: a frame that cuts the circle above and below leaves
        its width, and one that cuts all four sides leaves the diagonals.  None where the field fills the
        frame, so that its border is not seen.
    """
    if fov.all():
        return None
    rows = np.flatnonzero(fov.any(axis=1))
    left = fov[rows].argmax(axis=1)
    right = fov.shape[1] - 1 - fov[rows, ::-1].argmax(axis=1)
    points = np.stack([np.concatenate([rows, rows]), np.concatenate([left, right])], axis=1)
    angles = np.deg2rad(np.arange(0, 180, 5))
    along = points @ np.stack([np.sin(angles), np.cos(angles)])
    return float((along.max(axis=0) - along.min(axis=0)).max() + 1)


def resize_factor(fov: np.ndarray, degrees: float = FIELD_DEGREES) -> tuple[float, tuple[str, ...]]:
    """By which factor a photograph is brought to the scale of IDRiD, and what is to be said about it.

    Parameters
    ----------
    fov : ndarray, shape (H, W), bool
    degrees : float
        Field of view of the camera.

    Returns
    -------
    factor : float
        1 inside `TOLERANCE`.
    notes : tuple of str
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
        f"IDRiD's would be {IDRID_PIXELS_PER_DEGREE * degrees:,.0f}.",
    )


def default_weights() -> Path:
    """The folder of weights that comes with the package: trained on IDRiD's 44 training photographs.

    Raises
    ------
    MaaError
        When this installation lacks it.
    """
    folder = Path(__file__).parent / "pretrained"
    if any((folder / file).exists() for file in FILES.values()):
        return folder
    raise MaaError(
        "This installation comes without weights: name a folder of them with --weights, or make one with "
        "maa train hgn-1x, maa train hgn-0.5x and maa train prn."
    )


@dataclass(frozen=True)
class Report:
    """What `segment_files` did.

    Attributes
    ----------
    photographs : DataFrame
        One row a segmented photograph: image (name), file (Path), lesions (count), score (of the most probable lesion;
        NaN without any), resized, warnings and notes (tuples of sentences).
    lesions : DataFrame
        As `Segmentation.lesions`, of all photographs.
    problems : list of MaaError
        What could not be segmented, and why: one sentence each.
    notes : list of str
        What was passed over.
    """

    photographs: pd.DataFrame
    lesions: pd.DataFrame
    problems: list[MaaError]
    notes: list[str]


def segment_files(
    inputs: Sequence,
    out: str | os.PathLike,
    system: System | Beyond,
    threshold: float | None = None,
    degrees: float = FIELD_DEGREES,
    resize: float | None = None,
    weights: str = "",
) -> Report:
    """Segment photographs and folders of photographs into one folder.

    Writes for each photograph ``NAME_probability.png``, ``NAME_mask.png`` and ``NAME_overlay.jpg``, and at the
    end `TABLES`: ``lesions.csv`` (one row a lesion), ``photographs.csv`` (one row a photograph), ``contact_sheet.jpg``
    and ``index.html``, the page to hand to a colleague.  A photograph that cannot be used does not stop the others.
    Interrupted from the keyboard, it writes the tables of what is done.

    The tables of an earlier run into the same folder are removed as soon as the first new photograph is written, so that
    no table ever speaks of other results than those beside it; overlays, masks and maps of photographs that this run does
    not have stay, and are mentioned.

    Parameters
    ----------
    inputs : sequence of path-like
        Photographs, and folders whose photographs (not those of folders below) are meant.
    out : path-like
        Made when the first photograph is done.
    system, threshold, degrees, resize
        As in `segment`.
    weights : str
        Where the system is from, as the page says it.

    Returns
    -------
    Report

    Raises
    ------
    MaaError
        When the folder cannot be written to, or a photograph lies where a result would go.

    Notes
    -----
    One photograph is in memory at a time; of those that are done only what the page shows of them is kept, some 50 KB each.
    Explained in chapter 9.
    """
    _check(threshold, degrees, resize)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise MaaError(f"{out} is a file, not a folder: name a folder for the results.")
    jobs, problems, notes = photographs_of(inputs)
    _protect(jobs, inputs, out)
    rows, unusable, entries, lesions = [], [], [], [pd.DataFrame(columns=_COLUMNS)]
    try:
        for path, name in tracked(jobs, "Segmenting photographs"):
            try:
                found = segment(path, system, threshold, degrees, resize, name)
            except MaaError as error:
                problems.append(error)
                unusable.append((name, path, error))
                continue
            files = found.save(out)
            if not rows:
                for table in TABLES:
                    (out / table).unlink(missing_ok=True)
            entries.append(summary.entry(found, path.name, files["overlay"].name, *summary.sizes(len(jobs))))
            best = found.lesions["score"].max() if len(found.lesions) else float("nan")
            rows.append((name, path, len(found.lesions), best, found.resized, found.warnings, found.notes))
            lesions.append(found.lesions)
            used = found.threshold
            del found  # before the next one is read
    except KeyboardInterrupt:
        done = len(rows) + len(unusable)
        problems.append(MaaError(f"Stopped by hand after {done} of {len(jobs)} photographs: run it again for the others."))
    found_lesions = pd.concat([part for part in lesions if len(part)] or lesions[:1], ignore_index=True)
    report = Report(
        pd.DataFrame(rows, columns=["image", "file", "lesions", "score", "resized", "warnings", "notes"]),
        found_lesions, problems, notes,
    )  # fmt: skip
    if rows:
        notes += _left_behind(out, jobs)
        run = _described(system, used, degrees, resize, weights)
        _write_tables(out, report, unusable, entries, run)
    return report


def _write_tables(out: Path, report: Report, unusable: Sequence, entries: Sequence, run: Mapping[str, str]) -> None:
    """Write the two tables, the contact sheet and the page, all or none of them."""
    found = report.photographs
    photographs = found[["image", "lesions", "score", "resized"]].round({"score": 4, "resized": 4})
    photographs.insert(1, "file", [path.name for path in found["file"]])
    photographs["warnings"] = [" ".join(sentences) for sentences in found["warnings"]]
    photographs["lesions"] = photographs["lesions"].astype("Int64")  # which has a way to say that there is no count
    # Whoever reads them needs no folder of this machine.
    plainly = {id(error): str(error).replace(str(path), path.name) for _, path, error in unusable}
    refused = [plainly.get(id(problem), str(problem)) for problem in report.problems]
    lost = pd.DataFrame(
        [(name, path.name, f"Not segmented: {plainly[id(error)]}") for name, path, error in unusable], columns=["image", "file", "warnings"]
    )
    photographs = pd.concat([photographs, lost], ignore_index=True) if len(lost) else photographs
    lesions = report.lesions.round({"row": 1, "column": 1, "score": 4})
    page = summary.page(entries, run, refused, report.notes)
    texts = {
        "lesions.csv": lesions.to_csv(index=False, lineterminator="\n"),
        "photographs.csv": photographs.to_csv(index=False, lineterminator="\n"),
        "index.html": page,
    }

    def write(table, partial):
        if table in texts:
            partial.write_text(texts[table], encoding="utf-8")
        else:
            summary.contact_sheet(entries).save(partial, "JPEG", quality=88)

    _write_together({table: out / table for table in TABLES}, write)


def _described(system, threshold, degrees, resize, weights) -> dict[str, str]:
    """What was run, for the page."""
    kind = system.final
    count = sum(parameter.numel() for network in system.networks for parameter in network.parameters())
    now = datetime.now()
    return {
        "Made": f"{now.day} {now:%B %Y, %H:%M}",
        "Program": f"maa {version('maa')}",
        "System": f"{MAPS[kind]} ({count:,} parameters)",
        "Weights": f"{weights or 'not named'}, fingerprint {network_fingerprint(system.networks)[:12]}",
        "Threshold": f"probability {threshold:.3f}",
        "Scale": f"field of view taken as {degrees:g} degrees" if resize is None else f"resized by {resize:g}",
    }


def _left_behind(out: Path, jobs) -> list[str]:
    """What the folder holds from earlier runs, in one sentence, or nothing."""
    ours = {target.name for _, name in jobs for target in output_files(out, name).values()}
    older = sum(path.name not in ours for path in out.glob("*_overlay.jpg"))
    if not older:
        return []
    return [f"{out.name} also holds {_count(older, 'overlay')} of earlier runs, which the tables and the page leave out."]


def photographs_of(inputs: Sequence) -> tuple[list[tuple[Path, str]], list[MaaError], list[str]]:
    """The photographs that some paths mean, each with a name of its own.

    Parameters
    ----------
    inputs : sequence of path-like
        Files and folders.

    Returns
    -------
    photographs : list of (Path, str)
        Each file once.  Its name is the file's without its ending; those that share one get the folder's name in
        front of it, and a number where that is not enough.
    problems : list of MaaError
        Folders without a photograph.
    notes : list of str
        What was passed over in the folders.
    """
    files, problems, notes, seen = [], [], [], set()
    for given in map(Path, inputs):
        chosen = [given]
        if given.is_dir():
            there = sorted(path for path in given.iterdir() if not path.name.startswith("."))
            chosen = [path for path in there if path.suffix.lower() in _SUFFIXES and path.is_file()]
            folders = sum(path.is_dir() for path in there)
            others = len(there) - len(chosen) - folders
            if not chosen:
                below = " itself (its folders are not searched)" if folders else ""
                problems.append(MaaError(f"{given} holds no photograph{below}: name a folder of JPEG, PNG or TIFF files."))
            elif folders or others:
                notes.append(f"{given}: passed over {_count(others, 'other file')} and {_count(folders, 'folder')}.")
        for path in chosen:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                files.append(path)

    def shared(names):
        # Some file systems do not tell upper case from lower.
        folded = [name.casefold() for name in names]
        return {name for name in folded if folded.count(name) > 1}

    names = [path.stem for path in files]
    twice = shared(names)
    names = [
        f"{path.resolve().parent.name}_{name}" if name.casefold() in twice else name
        for path, name in zip(files, names, strict=True)
    ]
    taken, unique = set(), []
    for name in names:
        number, candidate = 1, name
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate.casefold())
        unique.append(candidate)
    return list(zip(files, unique, strict=True)), problems, notes


def uploaded(value: Sequence | Mapping) -> bytes:
    """The bytes of the file that an ``ipywidgets.FileUpload`` holds: its value is a tuple in version 8, a dictionary in 7.

    Raises
    ------
    MaaError
        When there is no file.
    """
    files = list(value.values() if isinstance(value, Mapping) else value)
    if not files:
        raise MaaError("No photograph was chosen: choose one with the button.")
    return bytes(files[-1]["content"])


def output_files(folder, name: str) -> dict[str, Path]:
    """Where the results of a photograph go, by "probability", "mask" and "overlay"."""
    endings = {"probability": "probability.png", "mask": "mask.png", "overlay": "overlay.jpg"}
    return {kind: Path(folder) / f"{name}_{ending}" for kind, ending in endings.items()}


def _protect(jobs, inputs, out):
    """Refuse a folder for the results in which they would be mixed up with the photographs."""
    for given in map(Path, inputs):
        if given.is_dir() and out.resolve() == given.resolve():
            raise MaaError(f"{out} is the folder of the photographs: name another folder for the results.")
    sources = {path.resolve() for path, _ in jobs}
    for _, name in jobs:
        for target in output_files(out, name).values():
            if target.resolve() in sources:
                raise MaaError(f"A result would replace the photograph {target}: name another folder for the results.")


def _check(threshold, degrees, resize):
    # Written so that a NaN, for which every comparison is false, fails too.
    if threshold is not None and not 0 < threshold <= 1:
        raise MaaError(f"The threshold is {threshold:g}: choose a probability above 0 and at most 1.")
    if not 0 < degrees <= 200:
        raise MaaError(f"The field of view is given as {degrees:g} degrees: choose above 0 and at most 200.")
    if resize is not None and not 0 < resize <= 100:
        raise MaaError(f"The factor to resize by is {resize:g}: choose above 0 and at most 100.")


def _resized(plane, size, factor):
    """Down by area, which neither aliases nor loses small lesions between samples; up by cubic interpolation."""
    how = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(plane).resize(size, how))


def _write_together(files, write):
    """Write several files under other names, and rename them when all are complete."""
    partial = {key: path.with_name(f".{path.name}.{os.getpid()}.partial") for key, path in files.items()}
    try:
        for key, path in partial.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(key, path)
        for key, path in files.items():
            os.replace(partial[key], path)
    except OSError as error:
        folder = next(iter(files.values())).parent
        raise MaaError(
            f"The results cannot be written to {folder} ({error.strerror or error}): name another folder."
        ) from None
    finally:
        for path in partial.values():
            if path.parent.is_dir():
                path.unlink(missing_ok=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
