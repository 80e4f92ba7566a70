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
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from maa.errors import MaaError
from maa.names import safe_name
from maa.provenance import Json, write_json
from maa.segmentation.one import COLUMNS, Segmentation, output_files
from maa.segmentation.summary import FEW, Entry, entry, sizes

#: Raised when results or records come to mean something else, so that those of an older maa are made again.
FORMAT = 1
#: The folder of the records, in the folder of the results.
FOLDER = ".maa"
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
    lesions : DataFrame
        As `Segmentation.lesions`.
    resized, threshold : float
        As in `Segmentation`.
    large, small : Entry
        For the page of few and of many photographs.
    """

    settings: str
    source: str
    content: str
    results: list[str]
    lesions: pd.DataFrame
    resized: float
    threshold: float
    large: Entry
    small: Entry

    @property
    def name(self) -> str:
        """What the photograph is called in the tables."""
        return self.large.name


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
        """Keep other processes from writing to the folder meanwhile, and remove what killed ones left half-written."""
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
            for folder in (self.out, self.folder):
                for left in folder.glob(".*.partial"):
                    with suppress(OSError):
                        left.unlink()
            yield
        finally:
            lock.release()

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

    def save(self, found: Segmentation, file: str, source: str, content: str) -> Done:
        """Write the results of a photograph, then its record; `file` is what its file is called in the tables."""
        path = self._path(found.name)
        path.unlink(missing_ok=True)  # no record ever speaks of results that are half those of another run
        results = found.save(self.out)
        overlay = results["overlay"].name
        large, small = (entry(found, file, overlay, *sizes(count)) for count in (1, FEW + 1))
        hashes = [digest(result) for result in results.values()]
        done = Done(
            self.settings, source, content, hashes, found.lesions, found.resized, found.threshold, large, small
        )  # fmt: skip
        content_of = {key: value for key, value in vars(done).items() if key not in ("lesions", "large", "small")}
        pictures = {"large": _as_json(large), "small": _as_json(small)}
        write_json(path, {"format": FORMAT, **content_of, "lesions": found.lesions[COLUMNS[1:]].to_numpy(float), **pictures})
        self._refusal(source).unlink(missing_ok=True)
        return done

    def refuse(self, refused: Refused) -> None:
        """Write down that a photograph cannot be segmented; a record of earlier results of it is no longer true."""
        for name in numbered(refused.name):
            before = self.read(name)
            if before is None:
                break
            if (before.settings, before.source) == (refused.settings, refused.source):
                self._path(name).unlink()
        write_json(self._refusal(refused.source), {"format": FORMAT, **asdict(refused)})

    def all(self) -> tuple[list[Done], list[Refused]]:
        """What is done and refused with the settings of this run, by name; photographs that are refused and gone are left out."""
        done, refused = [], []
        for path in sorted(self.folder.glob("*.done")):
            record = self._read_done(path)
            if record and record.settings == self.settings and self._results_of(record):
                done.append(record)
        sources = {record.source for record in done}
        for path in sorted(self.folder.glob("*.refused")):
            content = _content(path)
            with suppress(KeyError, TypeError):
                rejected = Refused(**{key: str(content[key]) for key in Refused.__annotations__})
                current = rejected.settings == self.settings and os.path.lexists(self.out / rejected.source)
                if current and rejected.source not in sources:
                    refused.append(rejected)
        return done, refused

    def read(self, name: str) -> Done | None:
        """The record of that name, whatever its settings; None when there is none, or it is damaged."""
        return self._read_done(self._path(name))

    def _results_of(self, record: Done) -> bool:
        return all(file.is_file() for file in output_files(self.out, record.name).values())

    def _path(self, name: str) -> Path:
        return self.folder / f"{safe_name(name)}.done"

    def _refusal(self, source: str) -> Path:
        return self.folder / f"{hashlib.sha256(os.fsencode(source)).hexdigest()[:32]}.refused"

    def _read_done(self, path: Path) -> Done | None:
        content = _content(path)
        try:
            lesions = pd.DataFrame(content["lesions"], columns=COLUMNS[1:], dtype=float).astype({"area": int})
            entries = _from_json(content["large"]), _from_json(content["small"])
            name = entries[0].name
            lesions.insert(0, "image", [name] * len(lesions))
            # The folder may come from elsewhere: a record says nothing of other files than those beside it.
            names = {(shown.name, shown.overlay, shown.lesions) for shown in entries}
            if self._path(name) != path or names != {(name, output_files("", name)["overlay"].name, len(lesions))}:
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
