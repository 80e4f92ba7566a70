"""What is to be segmented: files, and folders of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from maa.data.files import is_dicom
from maa.errors import MaaError
from maa.names import printable, safe_name
from maa.segmentation.one import output_files
from maa.segmentation.records import FOLDER, numbered
from maa.segmentation.summary import plural

_SUFFIXES = {
    f".{ending}"
    for ending in ["jpg", "jpeg", "jpe", "jfif", "jp2", "j2k", "png", "tif", "tiff", "bmp", "webp", "gif", "ppm", "pnm"]
}
# What is as likely a photograph, and better named with a sentence than passed over.
_SUFFIXES |= {".heic", ".heif", ".avif", ".dcm", ".dicom"}


def photographs_of(
    inputs: Sequence[str | os.PathLike[str]], recursive: bool = False
) -> tuple[list[tuple[Path, str]], list[MaaError], list[str]]:
    """The photographs that some paths, of files and folders, mean, each with a name of its own.

    With `recursive`, those of the folders in a folder are meant too, but for links to folders, for what is hidden, and for results
    of maa.

    Each file is given once, by the file's name without its ending; those that share one get the folder's name in front of it,
    and a number where that is not enough.  A link is called as it is, not as what it points to.  Then what to complain of
    (folders without a photograph, or that cannot be read), and notes of what was passed over in the folders.
    """
    files: dict[str, Path] = {}
    problems, notes = [], []
    for given in map(Path, inputs):
        chosen = [given]
        if os.path.isdir(given):  # which, unlike a Path, can be asked of any text
            there, unread = _inside(given, recursive)
            problems += unread
            if unread and not there:
                continue
            no_folders = [path for path in there if not os.path.isdir(path)]
            chosen = [path for path in no_folders if path.suffix.lower() in _SUFFIXES or is_dicom(path)]
            folders, others = len(there) - len(no_folders), len(no_folders) - len(chosen)
            if not chosen:
                below = " itself (its folders are searched with --recursive)" if folders and not recursive else ""
                problems.append(MaaError(f"{given} holds no photograph{below}: name a folder of JPEG, PNG or TIFF files."))
            elif folders or others:
                passed_over = f"{others} {plural(others, 'other file')} and {folders} {plural(folders, 'folder')}"
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


def _inside(folder: Path, recursive: bool) -> tuple[list[Path], list[MaaError]]:
    """What is in a folder, instead of folders that are entered what is in them, and what to complain of."""
    try:
        there = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        return [], [MaaError(f"{folder} cannot be read ({error.strerror}): check who may read that folder.")]
    if not recursive:
        return there, []
    found, problems = [], []
    for path in there:
        if os.path.isdir(path) and not os.path.islink(path) and not os.path.isdir(path / FOLDER):
            inner, unread = _inside(path, recursive)
            found += inner
            problems += unread
        else:
            found.append(path)
    return found, problems


def _folded(name: str) -> str:
    return safe_name(name).casefold()


def dangles(path: Path) -> bool:
    """Whether a link leads to nothing, or in a circle."""
    return os.path.islink(path) and not os.path.exists(path)


def protect(jobs: Sequence[tuple[Path, str]], inputs: Iterable[str | os.PathLike[str]], out: Path) -> None:
    """Refuse a folder for the results in which they would be mixed up with the photographs."""
    if any(os.path.isdir(given) and os.path.realpath(out) == os.path.realpath(given) for given in inputs):
        raise MaaError(f"{out} is the folder of the photographs: name another folder for the results.")
    sources = {os.path.realpath(path) for path, _ in jobs}
    for _, name in jobs:
        for target in output_files(out, name).values():
            if os.path.realpath(target) in sources:
                raise MaaError(f"A result would replace the photograph {target}: name another folder for the results.")
