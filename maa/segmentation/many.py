"""Many photographs, into one folder, with tables and a page."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd

from maa.errors import MaaError
from maa.inference.system import AnySystem
from maa.models.weights import network_fingerprint
from maa.names import printable
from maa.parallel import each
from maa.provenance import fingerprint
from maa.segmentation import summary
from maa.segmentation.inputs import dangles, photographs_of, protect
from maa.segmentation.one import MAPS, UNCHOSEN_THRESHOLD, check, segment, write_together
from maa.segmentation.records import FORMAT, Done, Lazily, Records, Refused, digest, table
from maa.segmentation.scale import FIELD_DEGREES

#: What a run writes once, beside three files for each photograph.
TABLES = ("lesions.csv", "photographs.csv", "contact_sheet.jpg", "index.html")
#: The folder of the contact sheets after the first.
SHEETS = "contact_sheets"


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
    recursive: bool = False,
) -> Report:
    """Segment photographs and folders of photographs into one folder.  Explained in ch:yours.

    Writes for each photograph ``NAME_probability.png``, ``NAME_mask.png`` and ``NAME_overlay.jpg``, and at the end `TABLES`:
    ``lesions.csv`` (one row a lesion), ``photographs.csv`` (one row a photograph), ``contact_sheet.jpg`` and ``index.html``,
    the page to hand to a colleague.  For more photographs than `FEW` two folders come with the page: its ``thumbnails``, and
    where one contact sheet is not enough the other ``contact_sheets``.

    Nothing that is wrong with one photograph stops the others.  Stopped by Ctrl-C or SIGTERM, it writes the tables of what is done.
    What is done and unchanged (the same file, settings, weights and version of maa) is not done again, so a run that was
    killed goes on where it was.

    The tables are of all photographs in the folder that were segmented with these settings, by whatever run: several may write
    into one folder.  Photographs of one name get different ones.  Results of other settings stay, and are mentioned.

    Within ``maa.parallel.spread``, or ``joblib.parallel_config``, several processes or a Dask cluster do it, to the same files.
    Each of them has one photograph in memory at a time, and this process has none.

    Parameters
    ----------
    inputs : path-like, or sequence of path-like
        Photographs, and folders whose photographs are meant.
    out : path-like
        Made when the first photograph is done.
    system, threshold, degrees, resize
        As in `segment`.
    weights : str
        Where the system is from, for the page.
    force : bool
        Do again what is done.
    recursive : bool
        Whether the photographs of folders below are meant too.

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
    jobs, problems, notes = photographs_of(inputs, recursive)
    protect(jobs, inputs, out)
    networks = network_fingerprint(system.networks)
    settings = (FORMAT, version("maa"), networks, system.final, asdict(system.settings), threshold, degrees, resize)
    records = Records(out.absolute(), fingerprint(*settings))
    described = _described(system, networks, threshold, degrees, resize, weights)
    general = [str(problem) for problem in problems]  # what the page says, beside what is said of each photograph
    one = partial(_one, records, _moment(out), system, threshold, degrees, resize, force)
    alike = _by_stem(name for _, name in jobs)
    parts: list[tuple[int, Path, str, Container[str]]] = [
        (number, path, name, alike.get(name, frozenset())) for number, (path, name) in enumerate(jobs)
    ]
    done: dict[int, Done] = {}
    refused: dict[int, tuple[MaaError, Refused]] = {}
    skipped, ended = 0, []
    with _Stops() as stops:
        try:
            for number, outcome, before in each(one, parts, "Segmenting photographs"):
                if isinstance(outcome, Done):
                    done[number] = outcome
                    skipped += before
                else:
                    refused[number] = outcome
            stops.late = True
        except KeyboardInterrupt:
            count = len(done) + len(refused)
            ended = [MaaError(f"Stopped by hand after {count} of {len(jobs)} photographs: run it again for the others.")]
        except Exception as error:  # of what is wrong with a photograph none comes as far as this
            stops.late = True
            what = printable(f"{type(error).__name__}: {error}")[:300].rstrip(".")
            ended = [MaaError(f"The work of other processes ended early ({what}): run it again.")]
            if isinstance(error, MaaError):
                ended = [error]
        problems += [refused[number][0] for number in sorted(refused)] + ended
        general += map(str, ended)
        if jobs and (done or records.folder.is_dir()):
            try:
                with records.alone():
                    for _, rejected in refused.values():
                        records.refuse(rejected)
                    problems += _write_tables(records, [records.source(path) for path, _ in jobs], described, general, notes)
            except (MaaError, OSError) as error:
                problems.append(_problem(out, error))
    if skipped:
        were = "was" if skipped == 1 else "were"
        notes.append(
            f"{skipped:,} {summary.plural(skipped, 'photograph')} {were} done before and unchanged; --force does them again."
        )
    in_order = [(jobs[number][0], done[number]) for number in sorted(done)]
    rows = [(each.name, path, *_columns(each), each.large.warnings, each.large.notes) for path, each in in_order]
    photographs = pd.DataFrame(rows, columns=["image", "file", "lesions", "score", "resized", "warnings", "notes"])
    return Report(photographs, table(each for _, each in in_order), problems, notes, stops.number)


def _one(
    records: Records,
    began: int | None,
    system: AnySystem,
    threshold: float | None,
    degrees: float,
    resize: float | None,
    force: bool,
    number: int,
    given: Path,
    name: str,
    others: Container[str],
) -> tuple[int, Done | tuple[MaaError, Refused], bool]:
    """Segment one photograph, in whatever process, and write its results and its record.

    `began` says which page was there when the run began, and `others` are names that other photographs of the run have.

    Returns its number; its record without pictures, or what is wrong with it; and whether it was done before.
    """
    path = given.absolute()
    source = records.source(path)
    try:
        content = digest(path) if os.path.isfile(path) else ""
        free = partial(records.free_name, name, source, content, others)
        before = None if force else records.unchanged(free(), source, content)
        if before is not None:
            return number, before.light(), True
        if dangles(path):
            raise MaaError(f"{path} is a link to a file that is not there: fetch it (git annex get), or remove the link.")
        records.check_room()
        found = segment(path, system, threshold, degrees, resize, free())
        done, results = records.prepared(found, printable(path.name), source, content)
        with records.alone():
            # No table of an earlier run speaks of results that are replaced.  That of this run, where it was stopped and
            # this photograph was still in another process's hands, stays.
            if _moment(records.out) == began:
                _remove_tables(records.out)
            done = done.renamed(free())
            records.save(done, results)
        return number, done.light(), False
    except Exception as error:  # whatever is wrong with one, the others are done
        problem = MaaError(str(_problem(path, error)).replace(str(path), str(given)))
        # Whoever reads the page and the tables needs no folder of this machine.
        sentence = printable(str(problem).replace(str(given), given.name))
        return number, (problem, Refused(records.settings, source, name, printable(given.name), sentence)), False


def _moment(out: Path) -> int | None:
    """When the page in a folder of results was written, if there is one."""
    with suppress(OSError):
        return (out / "index.html").stat().st_mtime_ns
    return None


def _by_stem(names: Iterable[str]) -> dict[str, set[str]]:
    """The names that are another with a number behind it, by that other one: see `Records.free_name`."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(re.sub(r"_\d+$", "", name), set()).add(name)
    return found


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
    for name in TABLES:
        with suppress(OSError):  # one that is open elsewhere: it will be written under another name
            (out / name).unlink()
    shutil.rmtree(out / SHEETS, ignore_errors=True)


def _columns(each: Done) -> tuple[int, float, float]:
    return each.large.lesions, each.large.score, each.resized


def _write_tables(
    records: Records, sources: Sequence[str], described: dict[str, str], general: Sequence[str], notes: Sequence[str]
) -> list[MaaError]:
    """Write the tables, the contact sheets and the page of all records; each on its own, and what went wrong with them is returned.

    Those of this run, whose sources are given, stand first and in that order.
    """
    records.tidy()
    done, refused = records.all({source: number for number, source in enumerate(sources)})
    if not len(done):
        return []
    rows = [(each.name, each.large.file, *_columns(each), " ".join(each.large.warnings)) for each in done]
    rows += [(each.name, each.file, pd.NA, pd.NA, pd.NA, f"Not segmented: {each.sentence}") for each in refused]
    photographs = pd.DataFrame(rows, columns=["image", "file", "lesions", "score", "resized", "warnings"])
    photographs = photographs.astype({"lesions": "Int64", "score": "Float64", "resized": "Float64"}).round(
        {"score": 4, "resized": 4}
    )
    few = len(done) <= summary.FEW
    entries = Lazily(len(done), lambda place: done[place].large if few else done[place].small)
    sentences = [printable(sentence) for sentence in (*general, *(each.sentence for each in refused))]
    notes = [printable(note) for note in (*notes, *_left_behind(records.out, done))]
    sheets = {
        "contact_sheet.jpg" if not start else f"{SHEETS}/{start // summary.SHEET + 1}.jpg": slice(start, start + summary.SHEET)
        for start in range(0, len(done), summary.SHEET)
    }
    problems = []
    writers: list[tuple[str, Callable[[Path], object]]] = [
        ("lesions.csv", partial(_write_lesions, done)),
        ("photographs.csv", partial(_write_csv, photographs)),
        *((name, partial(_write_sheet, entries, part)) for name, part in sheets.items()),
        ("index.html", lambda file: file.write_text(page(), encoding="utf-8")),
    ]

    def page() -> str:
        if few:
            return summary.page(entries, described, sentences, notes)
        summary.write_thumbnails(entries, records.out)
        return summary.paged(entries, described, sentences, notes, list(sheets))

    for name, write in writers:
        try:
            try:
                write_together((records.out / name, write))
            except MaaError:  # such as one that is open in a spreadsheet
                other = Path(name).with_stem(f"{Path(name).stem}_new")
                write_together((records.out / other, write))
                problems.append(
                    MaaError(f"{records.out / name} cannot be replaced, so {other} was written: close it where it is open.")
                )
                sentences.append(printable(str(problems[-1]).replace(str(records.out / name), name)))
        except Exception as error:  # whatever is wrong with one, the others are written
            problems.append(_problem(records.out / name, error))
            sentences.append(printable(str(problems[-1])))
    return problems


def _write_lesions(done: Sequence[Done], file: Path) -> None:
    """Write the table of lesions, those of some hundred photographs at a time."""
    for start in range(0, len(done), 500):
        _write_csv(table(done[start : start + 500]).round({"row": 1, "column": 1, "score": 4}), file, start > 0)


def _write_sheet(entries: Sequence[summary.Entry], part: slice, file: Path) -> None:
    summary.contact_sheet(entries[part]).save(file, "JPEG", quality=88)


def _write_csv(table: pd.DataFrame, file: Path, more: bool = False) -> None:
    """Write a table as a spreadsheet reads it right: it is told that this is UTF-8, and no text is taken for a formula.

    With `more`, rows are added to a table that is there.
    """
    table = table.copy()
    for column in {"image", "file", "warnings"} & set(table):
        table[column] = table[column].str.replace(r"^(?=[=+\-@])", "'", regex=True)
    encoding = "utf-8" if more else "utf-8-sig"
    table.to_csv(file, index=False, lineterminator="\n", encoding=encoding, mode="a" if more else "w", header=not more)


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
