"""What is known of each photograph in a folder of results: from these records the tables and the page are made.

A record is written when the results of its photograph are complete.  So a run that was killed loses the photograph in hand and no
other, the next run passes over what is done and unchanged, and two runs into one folder lose no rows of one another.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import pandas as pd
from filelock import FileLock

from maa.errors import MaaError
from maa.names import safe_name
from maa.provenance import Json, write_json
from maa.segmentation.one import COLUMNS, Segmentation, output_files, write_files
from maa.segmentation.summary import FEW, Entry, entry, sizes

T = TypeVar("T")
#: Raised when results or records come to mean something else, so that those of an older maa are made again.
FORMAT = 1
#: The folder of the records, in the folder of the results.
FOLDER = ".maa"
#: Bytes that have to be free on the disk before a photograph is segmented: its results take up to some ten million.
ROOM = 50_000_000
_LARGEST = 10_000_000  # bytes of a record; its pictures take some 70,000


@dataclass(frozen=True, eq=False)
class Done:
    """A photograph that was segmented.

    Attributes
    ----------
    settings : str
        Fingerprint of all that its results depend on, the photograph excepted.
    source, content : str
        Where the photograph is, seen from the folder of the results; SHA-256 of its file ("" when it cannot be known).
    results : list of str
        SHA-256 of the files of `output_files`, in their order.
    lesions : ndarray, shape (L, 4), float64
        As `Segmentation.lesions`, without the name.
    resized, threshold : float
        As in `Segmentation`.
    large, small : Entry
        For the page of few and of many photographs.
    """

    settings: str
    source: str
    content: str
    results: list[str]
    lesions: np.ndarray
    resized: float
    threshold: float
    large: Entry
    small: Entry

    @property
    def name(self) -> str:
        """What the photograph is called in the tables."""
        return self.large.name

    def renamed(self, name: str) -> Done:
        """The same under another name."""
        overlay = output_files("", name)["overlay"].name
        large, small = (replace(shown, name=name, overlay=overlay) for shown in (self.large, self.small))
        return replace(self, large=large, small=small)

    def light(self) -> Done:
        """The same without pictures, which are nearly all of it."""
        bare = replace(self.large, thumbnail=b"", crops=())
        return replace(self, large=bare, small=bare)


def table(done: Iterable[Done]) -> pd.DataFrame:
    """The lesions of several photographs, as `Segmentation.lesions`."""
    done = list(done)
    numbers = np.concatenate([np.empty((0, len(COLUMNS) - 1)), *(each.lesions for each in done)])
    lesions = pd.DataFrame(numbers, columns=COLUMNS[1:]).astype({"area": int})
    lesions.insert(0, "image", pd.Series([each.name for each in done for _ in each.lesions], dtype=str))
    return lesions


class Lazily(Sequence[T]):
    """Items that are made when they are asked for: the pictures of tens of thousands of photographs would not fit into memory."""

    def __init__(self, length: int, make: Callable[[int], T]) -> None:
        self.length, self.make = length, make

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self.make(place) for place in range(*index.indices(self.length))]
        if not 0 <= index < self.length:
            raise IndexError(index)
        return self.make(index)


@dataclass(frozen=True)
class Refused:
    """A photograph that could not be segmented: as in `Done`, and in one sentence why."""

    settings: str
    source: str
    name: str
    file: str
    sentence: str


class Records:
    """The records of a folder of results.

    Parameters
    ----------
    out : Path
        The folder of the results.
    settings : str
        As in `Done`: of this run.
    """

    def __init__(self, out: Path, settings: str) -> None:
        self.out, self.folder, self.settings = out, out / FOLDER, settings

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from writing to the folder meanwhile."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "lock")
            with suppress(NotImplementedError):  # a file system without locks: one process at a time is then the user's affair
                lock.acquire()
        except OSError as error:
            raise MaaError(
                f"The results cannot be written to {self.out} ({error.strerror or error}): name another folder."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def check_room(self) -> None:
        """Raise a MaaError when the disk is full: before the work on a photograph, whose results could not be kept."""
        there = next(folder for folder in (self.out, *self.out.parents) if folder.is_dir())
        disk = shutil.disk_usage(there)
        if disk.total and disk.free < ROOM:  # some file systems of the cloud say 0 of 0
            raise MaaError(f"The disk of {self.out} is full: free {ROOM // 1_000_000} MB or more, and run it again.")

    def tidy(self) -> None:
        """Remove what killed processes left half-written; only where `alone`, since others write nothing then."""
        for folder in (self.out, self.folder):
            for left in folder.glob(".*.partial"):
                with suppress(OSError):
                    left.unlink()

    def source(self, path: Path) -> str:
        """Where a photograph is: its own name, in a folder that is named relative to that of the results."""
        folder, name = os.path.split(os.path.abspath(path))
        with suppress(ValueError):  # another drive of Windows
            folder = os.path.relpath(os.path.realpath(folder), os.path.realpath(self.out))
        return os.path.join(folder, name)

    def free_name(self, name: str, source: str, content: str, others: Container[str]) -> str:
        """The name for the results of a photograph: itself, or with the first number that is no other photograph's.

        `others` are the names that this run gives; earlier ones may have given more.
        """
        names = (candidate for candidate in numbered(name) if candidate == name or candidate not in others)
        return next(candidate for candidate in names if not self._taken(candidate, source, content))

    def _taken(self, name: str, source: str, content: str) -> bool:
        there = self.read(name)
        if there is None or there.source == source:
            return False
        moved = there.content == content != "" and not os.path.lexists(self.out / there.source)
        return not moved

    def unchanged(self, name: str, source: str, content: str) -> Done | None:
        """The record of a photograph whose results are there, whole, of the same file and of the same settings."""
        there = self.read(name)
        if there is None or not content or (there.settings, there.content) != (self.settings, content):
            return None
        with suppress(OSError):
            if [digest(file) for file in output_files(self.out, name).values()] == there.results:
                return there
        return None

    def prepared(self, found: Segmentation, file: str, source: str, content: str) -> tuple[Done, dict[str, bytes]]:
        """The record of a photograph and what its results are to hold; `file` is what its file is called in the tables.

        All that takes time, so that nobody waits for it where `alone`.
        """
        results = found.encoded()
        overlay = output_files("", found.name)["overlay"].name
        large, small = (entry(found, file, overlay, *sizes(count)) for count in (1, FEW + 1))
        hashes = [hashlib.sha256(result).hexdigest() for result in results.values()]
        lesions = found.lesions[COLUMNS[1:]].to_numpy(float)
        done = Done(
            self.settings, source, content, hashes, lesions, found.resized, found.threshold, large, small
        )  # fmt: skip
        return done, results

    def save(self, done: Done, results: Mapping[str, bytes]) -> None:
        """Write the results of a photograph, then its record."""
        path, files = self._path(done.name), output_files(self.out, done.name)
        path.unlink(missing_ok=True)  # no record ever speaks of results that are half those of another run
        write_files({files[kind]: content for kind, content in results.items()})
        pictures = {"large": _as_json(done.large), "small": _as_json(done.small)}
        write_json(path, {"format": FORMAT, **vars(done), **pictures})
        self._refusal(done.source).unlink(missing_ok=True)

    def refuse(self, refused: Refused) -> None:
        """Write down that a photograph cannot be segmented; a record of earlier results of it is no longer true."""
        for name in numbered(refused.name):
            before = self.read(name)
            if before is None:
                break
            if (before.settings, before.source) == (refused.settings, refused.source):
                self._path(name).unlink()
        write_json(self._refusal(refused.source), {"format": FORMAT, **asdict(refused)})

    def all(self, first: Mapping[str, int]) -> tuple[Lazily[Done], list[Refused]]:
        """What is done and refused with the settings of this run; photographs that are refused and gone are left out.

        By name, after those whose sources have a place in `first`.
        """
        places: list[tuple[int, Path]] = []
        sources = set()
        for path in sorted(self.folder.glob("*.done")):
            record = self._read_done(path)
            if record and record.settings == self.settings and self._results_of(record):
                places.append((first.get(record.source, len(first)), path))
                sources.add(record.source)
        places.sort(key=itemgetter(0))
        refused = []
        for path in sorted(self.folder.glob("*.refused")):
            content = _content(path)
            with suppress(KeyError, TypeError):
                rejected = Refused(**{key: str(content[key]) for key in Refused.__annotations__})
                current = rejected.settings == self.settings and os.path.lexists(self.out / rejected.source)
                if current and rejected.source not in sources:
                    refused.append(rejected)
        refused.sort(key=lambda each: first.get(each.source, len(first)))
        return Lazily(len(places), lambda place: self._sound(places[place][1])), refused

    def read(self, name: str) -> Done | None:
        """The record of that name, whatever its settings; None when there is none, or it is damaged."""
        return self._read_done(self._path(name))

    def _sound(self, path: Path) -> Done:
        """A record that was whole a moment ago."""
        done = self._read_done(path)
        if done is None:
            raise MaaError(f"{path} was changed while it was read: run it again.")
        return done

    def _results_of(self, record: Done) -> bool:
        return all(file.is_file() for file in output_files(self.out, record.name).values())

    def _path(self, name: str) -> Path:
        return self.folder / f"{safe_name(name)}.done"

    def _refusal(self, source: str) -> Path:
        return self.folder / f"{hashlib.sha256(os.fsencode(source)).hexdigest()[:32]}.refused"

    def _read_done(self, path: Path) -> Done | None:
        content = _content(path)
        try:
            lesions = np.array(content["lesions"], float).reshape(len(content["lesions"]), len(COLUMNS) - 1)
            entries = _from_json(content["large"]), _from_json(content["small"])
            name = entries[0].name
            # The folder may come from elsewhere: a record says nothing of other files than those beside it.
            names = {(shown.name, shown.overlay, shown.lesions) for shown in entries}
            if self._path(name) != path or names != {(name, output_files("", name)["overlay"].name, len(lesions))}:
                return None
            if not np.isfinite(lesions).all():
                return None
            settings, source, digits = (str(content[key]) for key in ("settings", "source", "content"))
            resized, threshold = (float(content[key]) for key in ("resized", "threshold"))
            return Done(settings, source, digits, list(map(str, content["results"])), lesions, resized, threshold, *entries)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return None


def numbered(name: str) -> Iterator[str]:
    """A name, and with numbers from 2 on."""
    return itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))


def digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hexadecimal) of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(path: Path) -> Json:
    """What a record holds; nothing where there is none that this version can read."""
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and path.stat().st_size <= _LARGEST:
            content = json.loads(path.read_bytes())
            if isinstance(content, dict) and content.get("format") == FORMAT:
                return content
    return {}


def _as_json(shown: Entry) -> Json:
    pictures = [[words, base64.b64encode(picture).decode()] for words, picture in shown.crops]
    thumbnail = base64.b64encode(shown.thumbnail).decode()
    score = None if math.isnan(shown.score) else shown.score
    return vars(shown) | {"crops": pictures, "thumbnail": thumbnail, "score": score}


def _from_json(content: Any) -> Entry:
    score = math.nan if content["score"] is None else float(content["score"])
    crops = tuple((str(words), base64.b64decode(picture, validate=True)) for words, picture in content["crops"])
    name, file, overlay = (str(content[key]) for key in ("name", "file", "overlay"))
    warnings, notes = (tuple(map(str, content[key])) for key in ("warnings", "notes"))
    thumbnail = base64.b64decode(content["thumbnail"], validate=True)
    return Entry(name, file, overlay, int(content["lesions"]), score, crops, thumbnail, warnings, notes)
