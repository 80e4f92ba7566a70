"""Many photographs, into one folder, with tables and a page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from maa.errors import MaaError
from maa.inference.beyond import Beyond
from maa.inference.system import AnySystem, System
from maa.models.weights import network_fingerprint
from maa.progress import track as tracked
from maa.provenance import PathLike
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
    Explained in ch:yours.
    """
    check(threshold, degrees, resize)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise MaaError(f"{out} is a file, not a folder: name a folder for the results.")
    jobs, problems, notes = photographs_of(inputs)
    _protect(jobs, inputs, out)
    rows, unusable, entries, lesions = [], [], [], [pd.DataFrame(columns=COLUMNS)]
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
        [(name, path.name, f"Not segmented: {plainly[id(error)]}") for name, path, error in unusable],
        columns=["image", "file", "warnings"],
    )
    photographs = pd.concat([photographs, lost], ignore_index=True) if len(lost) else photographs
    lesions = report.lesions.round({"row": 1, "column": 1, "score": 4})
    texts = {
        "lesions.csv": lesions.to_csv(index=False, lineterminator="\n"),
        "photographs.csv": photographs.to_csv(index=False, lineterminator="\n"),
        "index.html": summary.page(entries, run, refused, report.notes),
    }

    def write(table: str, partial: Path) -> None:
        if table in texts:
            partial.write_text(texts[table], encoding="utf-8")
        else:
            summary.contact_sheet(entries).save(partial, "JPEG", quality=88)

    write_together({table: out / table for table in TABLES}, write)


def _described(system: AnySystem, threshold: float, degrees: float, resize: float | None, weights: str) -> dict[str, str]:
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


def _left_behind(out: Path, jobs: Sequence[tuple[Path, str]]) -> list[str]:
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

    def shared(names: Sequence[str]) -> set[str]:
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


def _protect(jobs: Sequence[tuple[Path, str]], inputs: Sequence[PathLike], out: Path) -> None:
    """Refuse a folder for the results in which they would be mixed up with the photographs."""
    for given in map(Path, inputs):
        if given.is_dir() and out.resolve() == given.resolve():
            raise MaaError(f"{out} is the folder of the photographs: name another folder for the results.")
    sources = {path.resolve() for path, _ in jobs}
    for _, name in jobs:
        for target in output_files(out, name).values():
            if target.resolve() in sources:
                raise MaaError(f"A result would replace the photograph {target}: name another folder for the results.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
