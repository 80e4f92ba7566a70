"""Many photographs, into one folder, with tables and a page."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from maa.errors import MaaError
from maa.inference.system import AnySystem
from maa.models.weights import network_fingerprint
from maa.progress import track as tracked
from maa.segmentation import summary
from maa.segmentation.one import COLUMNS, MAPS, check, output_files, segment, write_together
from maa.segmentation.scale import FIELD_DEGREES

#: What a run writes once, beside three files for each photograph.
TABLES = ("lesions.csv", "photographs.csv", "contact_sheet.jpg", "index.html")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


@dataclass(frozen=True)
class Report:
    """What `segment_files` did.

    Attributes
    ----------
    photographs : DataFrame
        One row a segmented photograph: image (name), file (Path), lesions (count), score (of the most probable lesion; NaN
        without any), resized, warnings and notes (tuples of sentences).
    lesions : DataFrame
        As `Segmentation.lesions`, of all photographs.
    problems, notes : list of MaaError, list of str
        What could not be segmented, and why; what was passed over.  One sentence each.
    """

    photographs: pd.DataFrame
    lesions: pd.DataFrame
    problems: list[MaaError]
    notes: list[str]


def segment_files(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    system: AnySystem,
    threshold: float | None = None,
    degrees: float = FIELD_DEGREES,
    resize: float | None = None,
    weights: str = "",
) -> Report:
    """Segment photographs and folders of photographs into one folder.  Explained in ch:yours.

    Writes for each photograph ``NAME_probability.png``, ``NAME_mask.png`` and ``NAME_overlay.jpg``, and at the end `TABLES`:
    ``lesions.csv`` (one row a lesion), ``photographs.csv`` (one row a photograph), ``contact_sheet.jpg`` and ``index.html``,
    the page to hand to a colleague.  A photograph that cannot be used does not stop the others.  Interrupted from the
    keyboard, it writes the tables of what is done.  One photograph is in memory at a time.  The tables of an earlier run into
    the same folder are removed as soon as the first new photograph is written, so that no table ever speaks of other results
    than those beside it; overlays, masks and maps of photographs that this run does not have stay, and are mentioned.

    Parameters
    ----------
    inputs : sequence of path-like
        Photographs, and folders whose photographs (not those of folders below) are meant.
    out : path-like
        Made when the first photograph is done.
    system, threshold, degrees, resize
        As in `segment`.
    weights : str
        Where the system is from, for the page.

    Raises
    ------
    MaaError
        When the folder cannot be written to, or a photograph lies where a result would go.
    """
    check(threshold, degrees, resize)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise MaaError(f"{out} is a file, not a folder: name a folder for the results.")
    jobs, problems, notes = photographs_of(inputs)
    _protect(jobs, inputs, out)
    refused = [str(problem) for problem in problems]
    rows: list[tuple[object, ...]] = []
    unusable, entries, lesions = [], [], [pd.DataFrame(columns=COLUMNS)]
    try:
        for path, name in tracked(jobs, "Segmenting photographs"):
            try:
                found = segment(path, system, threshold, degrees, resize, name)
            except MaaError as error:
                problems.append(error)
                # Whoever reads the page and the tables needs no folder of this machine.
                refused.append(str(error).replace(str(path), path.name))
                unusable.append((name, path.name, f"Not segmented: {refused[-1]}"))
                continue
            files = found.save(out)
            if not rows:
                for table in TABLES:
                    (out / table).unlink(missing_ok=True)
            shown = summary.entry(found, path.name, files["overlay"].name, *summary.sizes(len(jobs)))
            entries.append(shown)
            rows.append((name, path, shown.lesions, shown.score, found.resized, found.warnings, found.notes))
            lesions.append(found.lesions)
            used = found.threshold
            del found  # before the next one is read
    except KeyboardInterrupt:
        done = len(rows) + len(unusable)
        problems.append(MaaError(f"Stopped by hand after {done} of {len(jobs)} photographs: run it again for the others."))
        refused.append(str(problems[-1]))
    photographs = pd.DataFrame(rows, columns=["image", "file", "lesions", "score", "resized", "warnings", "notes"])
    every_lesion = pd.concat([part for part in lesions if len(part)] or lesions[:1], ignore_index=True)
    report = Report(photographs, every_lesion, problems, notes)
    if rows:
        notes += _left_behind(out, jobs)
        page = summary.page(entries, _described(system, used, degrees, resize, weights), refused, notes)
        _write_tables(out, report, unusable, entries, page)
    return report


def _write_tables(
    out: Path, report: Report, unusable: Sequence[tuple[str, str, str]], entries: Sequence[summary.Entry], page: str
) -> None:
    """Write the two tables, the contact sheet and the page, all or none of them."""
    photographs = report.photographs.drop(columns="notes").round({"score": 4, "resized": 4})
    photographs["file"] = [path.name for path in photographs["file"]]
    photographs["lesions"] = photographs["lesions"].astype("Int64")  # which has a way to say that there is no count
    photographs["warnings"] = [" ".join(sentences) for sentences in photographs["warnings"]]
    if unusable:
        photographs = pd.concat([photographs, pd.DataFrame(unusable, columns=["image", "file", "warnings"])])
    lesions = report.lesions.round({"row": 1, "column": 1, "score": 4})
    write_together(
        (out / "lesions.csv", lambda file: lesions.to_csv(file, index=False, lineterminator="\n")),
        (out / "photographs.csv", lambda file: photographs.to_csv(file, index=False, lineterminator="\n")),
        (out / "contact_sheet.jpg", lambda file: summary.contact_sheet(entries).save(file, "JPEG", quality=88)),
        (out / "index.html", lambda file: file.write_text(page, encoding="utf-8")),
    )


def _described(system: AnySystem, threshold: float, degrees: float, resize: float | None, weights: str) -> dict[str, str]:
    """What was run, for the page."""
    count = sum(parameter.numel() for network in system.networks for parameter in network.parameters())
    now = datetime.now()
    return {
        "Made": f"{now.day} {now:%B %Y, %H:%M}",
        "Program": f"maa {version('maa')}",
        "System": f"{MAPS[system.final]} ({count:,} parameters)",
        "Weights": f"{weights or 'not named'}, fingerprint {network_fingerprint(system.networks)[:12]}",
        "Threshold": f"probability {threshold:.3f}",
        "Scale": f"field of view taken as {degrees:g} degrees" if resize is None else f"resized by {resize:g}",
    }


def _left_behind(out: Path, jobs: Sequence[tuple[Path, str]]) -> list[str]:
    """What the folder holds from earlier runs, in one sentence, or nothing."""
    ours = {target.name for _, name in jobs for target in output_files(out, name).values()}
    older = sum(path.name not in ours for path in out.glob("*_overlay.jpg"))
    overlays = f"{older} {summary.plural(older, 'overlay')}"
    return [f"{out.name} also holds {overlays} of earlier runs, which the tables and the page leave out."] if older else []


def photographs_of(inputs: Sequence[str | os.PathLike[str]]) -> tuple[list[tuple[Path, str]], list[MaaError], list[str]]:
    """The photographs that some paths, of files and folders, mean, each with a name of its own.

    Each file is given once, by the file's name without its ending; those that share one get the folder's name in front of it,
    and a number where that is not enough.  Then what to complain of (folders without a photograph), and notes of what was
    passed over in the folders.
    """
    files: dict[Path, Path] = {}
    problems, notes = [], []
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
                passed_over = (
                    f"{others} {summary.plural(others, 'other file')} and {folders} {summary.plural(folders, 'folder')}"
                )
                notes.append(f"{given}: passed over {passed_over}.")
        for path in chosen:
            files.setdefault(path.resolve(), path)

    # Some file systems do not tell upper case from lower.
    stems = Counter(path.stem.casefold() for path in files.values())
    photographs, taken = [], set()
    for resolved, path in files.items():
        name = path.stem if stems[path.stem.casefold()] == 1 else f"{resolved.parent.name}_{path.stem}"
        candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        unique = next(candidate for candidate in candidates if candidate.casefold() not in taken)
        taken.add(unique.casefold())
        photographs.append((path, unique))
    return photographs, problems, notes


def _protect(jobs: Sequence[tuple[Path, str]], inputs: Iterable[str | os.PathLike[str]], out: Path) -> None:
    """Refuse a folder for the results in which they would be mixed up with the photographs."""
    if any(given.is_dir() and out.resolve() == given.resolve() for given in map(Path, inputs)):
        raise MaaError(f"{out} is the folder of the photographs: name another folder for the results.")
    sources = {path.resolve() for path, _ in jobs}
    for _, name in jobs:
        for target in output_files(out, name).values():
            if target.resolve() in sources:
                raise MaaError(f"A result would replace the photograph {target}: name another folder for the results.")
