"""Many photographs, into one folder, with tables and a page."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd

from maa.data.files import is_dicom
from maa.errors import MaaError
from maa.inference.system import AnySystem
from maa.models.weights import network_fingerprint
from maa.names import printable, safe_name
from maa.progress import track as tracked
from maa.provenance import fingerprint
from maa.segmentation import summary
from maa.segmentation.one import COLUMNS, MAPS, UNCHOSEN_THRESHOLD, check, output_files, segment, write_together
from maa.segmentation.records import FORMAT, Done, Records, Refused, digest, numbered
from maa.segmentation.scale import FIELD_DEGREES

#: What a run writes once, beside three files for each photograph.
TABLES = ("lesions.csv", "photographs.csv", "contact_sheet.jpg", "index.html")
_SUFFIXES = {
    f".{ending}"
    for ending in ["jpg", "jpeg", "jpe", "jfif", "jp2", "j2k", "png", "tif", "tiff", "bmp", "webp", "gif", "ppm", "pnm"]
}
# What is as likely a photograph, and better named with a sentence than passed over.
_SUFFIXES |= {".heic", ".heif", ".avif", ".dcm", ".dicom"}


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
    stopped : int
        The number of the signal that stopped it, such as `signal.SIGINT`; 0 when it came to its end.
    """

    photographs: pd.DataFrame
    lesions: pd.DataFrame
    problems: list[MaaError]
    notes: list[str]
    stopped: int = 0


def segment_files(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    system: AnySystem,
    threshold: float | None = None,
    degrees: float = FIELD_DEGREES,
    resize: float | None = None,
    weights: str = "",
    force: bool = False,
) -> Report:
    """Segment photographs and folders of photographs into one folder.  Explained in ch:yours.

    Writes for each photograph ``NAME_probability.png``, ``NAME_mask.png`` and ``NAME_overlay.jpg``, and at the end `TABLES`:
    ``lesions.csv`` (one row a lesion), ``photographs.csv`` (one row a photograph), ``contact_sheet.jpg`` and ``index.html``,
    the page to hand to a colleague.  One photograph is in memory at a time.

    Nothing that is wrong with one photograph stops the others.  Stopped by Ctrl-C or SIGTERM, it writes the tables of what is done.
    What is done and unchanged (the same file, settings, weights and version of maa) is not done again, so a run that was
    killed goes on where it was.

    The tables are of all photographs in the folder that were segmented with these settings, by whatever run: several may write
    into one folder.  Photographs of one name get different ones.  Results of other settings stay, and are mentioned.

    Parameters
    ----------
    inputs : path-like, or sequence of path-like
        Photographs, and folders whose photographs (not those of folders below) are meant.
    out : path-like
        Made when the first photograph is done.
    system, threshold, degrees, resize
        As in `segment`.
    weights : str
        Where the system is from, for the page.
    force : bool
        Do again what is done.

    Raises
    ------
    MaaError
        When the folder is a file, or a photograph lies where a result would go.
    """
    check(threshold, degrees, resize)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise MaaError(f"{out} is a file, not a folder: name a folder for the results.")
    inputs = [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs
    jobs, problems, notes = photographs_of(inputs)
    _protect(jobs, inputs, out)
    networks = network_fingerprint(system.networks)
    settings = (FORMAT, version("maa"), networks, system.final, asdict(system.settings), threshold, degrees, resize)
    records = Records(out, fingerprint(*settings))
    described = _described(system, networks, threshold, degrees, resize, weights)
    general = [str(problem) for problem in problems]  # what the page says, beside what is said of each photograph
    done: list[tuple[Path, Done]] = []
    refused: list[Refused] = []
    names = {name for _, name in jobs}
    skipped = 0
    with _Stops() as stops:
        try:
            for path, name in tracked(jobs, "Segmenting photographs"):
                source = records.source(path)
                try:
                    content = digest(path) if os.path.isfile(path) else ""
                    free = partial(records.free_name, name, source, content, names)
                    before = None if force else records.unchanged(free(), source, content)
                    if before is None:
                        if _dangles(path):
                            raise MaaError(
                                f"{path} is a link to a file that is not there: fetch it (git annex get), or remove the link."
                            )
                        found = segment(path, system, threshold, degrees, resize, free())
                        with records.alone():
                            if len(done) == skipped:  # no table of an earlier run speaks of results that are replaced
                                _remove_tables(out)
                            found = dataclasses.replace(found, name=free())
                            done.append((path, records.save(found, printable(path.name), source, content)))
                        del found  # before the next one is read
                    else:
                        done.append((path, before))
                        skipped += 1
                except Exception as error:  # whatever is wrong with one, the others are done
                    problems.append(_problem(path, error))
                    # Whoever reads the page and the tables needs no folder of this machine.
                    sentence = printable(str(problems[-1]).replace(str(path), path.name))
                    refused.append(Refused(records.settings, source, name, printable(path.name), sentence))
            stops.late = True
        except KeyboardInterrupt:
            count = len(done) + len(refused)
            problems.append(MaaError(f"Stopped by hand after {count} of {len(jobs)} photographs: run it again for the others."))
            general.append(str(problems[-1]))
        if jobs and (done or records.folder.is_dir()):
            try:
                with records.alone():
                    for each in refused:
                        records.refuse(each)
                    problems += _write_tables(records, [records.source(path) for path, _ in jobs], described, general, notes)
            except (MaaError, OSError) as error:
                problems.append(_problem(out, error))
    if skipped:
        were = "was" if skipped == 1 else "were"
        notes.append(
            f"{skipped:,} {summary.plural(skipped, 'photograph')} {were} done before and unchanged; --force does them again."
        )
    rows = [(each.name, path, *_columns(each), each.large.warnings, each.large.notes) for path, each in done]
    photographs = pd.DataFrame(rows, columns=["image", "file", "lesions", "score", "resized", "warnings", "notes"])
    return Report(photographs, _joined(each for _, each in done), problems, notes, stops.number)


class _Stops:
    """Makes Ctrl-C, SIGTERM and the end of a terminal one KeyboardInterrupt, and none any more while the tables are written.

    What is ignored stays so, as under nohup.  Elsewhere than in the main thread, where Python has no say in signals, it does nothing.

    Attributes
    ----------
    number : int
        The signal that came; 0 without one.
    late : bool
        Whether it is too late to interrupt.
    """

    def __init__(self) -> None:
        self.number, self.late = 0, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stops:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows lacks the last
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._come)
        return self

    def _come(self, number: int, frame: FrameType | None) -> None:
        if not self.late:
            self.number, self.late = number, True
            raise KeyboardInterrupt

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _problem(path: Path, error: Exception) -> MaaError:
    """What went wrong with a photograph, in one sentence."""
    if isinstance(error, MaaError):
        return error
    if isinstance(error, MemoryError):
        return MaaError(f"{path} needs more memory than there is: scale it down, or use a machine with more.")
    if isinstance(error, OSError):
        return MaaError(
            f"{path} cannot be read or its results not be written ({error.strerror or error}): check the file and the folder."
        )
    what = printable(f"{type(error).__name__}: {error}")[:300].rstrip(".")
    return MaaError(f"{path} could not be segmented, which is a fault of maa ({what}): please report it.")


def _remove_tables(out: Path) -> None:
    for table in TABLES:
        with suppress(OSError):  # one that is open elsewhere: it will be written under another name
            (out / table).unlink()


def _columns(each: Done) -> tuple[int, float, float]:
    return each.large.lesions, each.large.score, each.resized


def _joined(records: Iterable[Done]) -> pd.DataFrame:
    """The lesions of several photographs."""
    parts = [each.lesions for each in records]
    return pd.concat([part for part in parts if len(part)] or [pd.DataFrame(columns=COLUMNS)], ignore_index=True)


def _write_tables(
    records: Records, sources: Sequence[str], described: dict[str, str], general: Sequence[str], notes: Sequence[str]
) -> list[MaaError]:
    """Write the two tables, the contact sheet and the page of all records; each on its own, and what went wrong with them is returned.

    Those of this run, whose sources are given, stand first and in that order.
    """
    done, refused = records.all()
    if not done:
        return []
    place = {source: number for number, source in enumerate(sources)}
    done.sort(key=lambda each: place.get(each.source, len(place)))
    refused.sort(key=lambda each: place.get(each.source, len(place)))
    rows = [(each.name, each.large.file, *_columns(each), " ".join(each.large.warnings)) for each in done]
    rows += [(each.name, each.file, pd.NA, pd.NA, pd.NA, f"Not segmented: {each.sentence}") for each in refused]
    photographs = pd.DataFrame(rows, columns=["image", "file", "lesions", "score", "resized", "warnings"])
    photographs = photographs.astype({"lesions": "Int64", "score": "Float64", "resized": "Float64"}).round(
        {"score": 4, "resized": 4}
    )
    lesions = _joined(done).round({"row": 1, "column": 1, "score": 4})
    entries = [each.large if len(done) <= summary.FEW else each.small for each in done]
    sentences = [printable(sentence) for sentence in (*general, *(each.sentence for each in refused))]
    notes = [printable(note) for note in (*notes, *_left_behind(records.out, done))]
    problems = []
    for name, write in (
        ("lesions.csv", lambda file: _write_csv(lesions, file)),
        ("photographs.csv", lambda file: _write_csv(photographs, file)),
        ("contact_sheet.jpg", lambda file: summary.contact_sheet(entries).save(file, "JPEG", quality=88)),
        ("index.html", lambda file: file.write_text(summary.page(entries, described, sentences, notes), encoding="utf-8")),
    ):
        try:
            try:
                write_together((records.out / name, write))
            except MaaError:  # such as one that is open in a spreadsheet
                other = Path(name).with_stem(f"{Path(name).stem}_new").name
                write_together((records.out / other, write))
                problems.append(
                    MaaError(f"{records.out / name} cannot be replaced, so {other} was written: close it where it is open.")
                )
                sentences.append(printable(str(problems[-1]).replace(str(records.out / name), name)))
        except Exception as error:  # whatever is wrong with one, the others are written
            problems.append(_problem(records.out / name, error))
            sentences.append(printable(str(problems[-1])))
    return problems


def _write_csv(table: pd.DataFrame, file: Path) -> None:
    """Write a table as a spreadsheet reads it right: it is told that this is UTF-8, and no text is taken for a formula."""
    table = table.copy()
    for column in {"image", "file", "warnings"} & set(table):
        table[column] = table[column].str.replace(r"^(?=[=+\-@])", "'", regex=True)
    table.to_csv(file, index=False, lineterminator="\n", encoding="utf-8-sig")


def _described(
    system: AnySystem, networks: str, threshold: float | None, degrees: float, resize: float | None, weights: str
) -> dict[str, str]:
    """What was run, for the page."""
    count = sum(parameter.numel() for network in system.networks for parameter in network.parameters())
    used = threshold or system.settings.thresholds.get(system.final, UNCHOSEN_THRESHOLD)
    today = date.today()  # the day only, so that a run that was stopped ends with the same page
    return {
        "Made": f"{today.day} {today:%B %Y}",
        "Program": f"maa {version('maa')}",
        "System": f"{MAPS[system.final]} ({count:,} parameters)",
        "Weights": f"{printable(weights) or 'not named'}, fingerprint {networks[:12]}",
        "Threshold": f"probability {used:.3f}",
        "Scale": f"field of view taken as {degrees:g} degrees" if resize is None else f"resized by {resize:g}",
    }


def _left_behind(out: Path, done: Sequence[Done]) -> list[str]:
    """What the folder holds of other settings, in one sentence, or nothing."""
    ours = {each.large.overlay for each in done}
    older = sum(path.name not in ours for path in out.glob("*_overlay.jpg"))
    overlays = f"{older} {summary.plural(older, 'overlay')}"
    return [f"This folder also holds {overlays} of other settings, which the tables and the page leave out."] if older else []


def photographs_of(inputs: Sequence[str | os.PathLike[str]]) -> tuple[list[tuple[Path, str]], list[MaaError], list[str]]:
    """The photographs that some paths, of files and folders, mean, each with a name of its own.

    Each file is given once, by the file's name without its ending; those that share one get the folder's name in front of it,
    and a number where that is not enough.  A link is called as it is, not as what it points to.  Then what to complain of
    (folders without a photograph, or that cannot be read), and notes of what was passed over in the folders.
    """
    files: dict[str, Path] = {}
    problems, notes = [], []
    for given in map(Path, inputs):
        chosen = [given]
        if os.path.isdir(given):  # which, unlike a Path, can be asked of any text
            try:
                there = sorted(path for path in given.iterdir() if not path.name.startswith("."))
            except OSError as error:
                problems.append(MaaError(f"{given} cannot be read ({error.strerror}): check who may read that folder."))
                continue
            folders = sum(os.path.isdir(path) for path in there)
            chosen = [
                path for path in there if not os.path.isdir(path) and (path.suffix.lower() in _SUFFIXES or is_dicom(path))
            ]
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
            folder, name = os.path.split(os.path.abspath(path))
            files.setdefault(os.path.join(os.path.realpath(folder), name), path)

    # Some file systems do not tell upper case from lower.
    stems = Counter(_folded(path.stem) for path in files.values())
    photographs, taken = [], set()
    for path in files.values():
        name = printable(path.stem)
        if stems[_folded(path.stem)] > 1:
            name = printable(f"{Path(os.path.abspath(path)).parent.name}_{path.stem}")
        unique = next(candidate for candidate in numbered(name) if _folded(candidate) not in taken)
        taken.add(_folded(unique))
        photographs.append((path, unique))
    return photographs, problems, notes


def _folded(name: str) -> str:
    return safe_name(name).casefold()


def _dangles(path: Path) -> bool:
    """Whether a link leads to nothing, or in a circle."""
    return os.path.islink(path) and not os.path.exists(path)


def _protect(jobs: Sequence[tuple[Path, str]], inputs: Iterable[str | os.PathLike[str]], out: Path) -> None:
    """Refuse a folder for the results in which they would be mixed up with the photographs."""
    if any(os.path.isdir(given) and os.path.realpath(out) == os.path.realpath(given) for given in inputs):
        raise MaaError(f"{out} is the folder of the photographs: name another folder for the results.")
    sources = {os.path.realpath(path) for path, _ in jobs}
    for _, name in jobs:
        for target in output_files(out, name).values():
            if os.path.realpath(target) in sources:
                raise MaaError(f"A result would replace the photograph {target}: name another folder for the results.")
