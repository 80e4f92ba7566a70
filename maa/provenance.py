"""Provenance: what a number was made from, so that it can be made again.

Every trained model and every result carries its configuration, its seed, the fingerprint of its data, the
fingerprint of the code, the versions of the libraries, the machine and the time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from maa.errors import MaaError

#: What JSON holds: results files and records of runs.
Json = dict[str, Any]
#: Where a file or a folder is.
PathLike = str | os.PathLike[str]
_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "pillow", "umap-learn")


def cache_folder() -> Path:
    """Where trained models and normalised photographs are kept: ``$MAA_CACHE``, else ``~/.cache/maa/runs``."""
    return Path(os.environ.get("MAA_CACHE") or Path.home() / ".cache" / "maa" / "runs")


def fingerprint(*parts: object) -> str:
    """SHA-256 (hexadecimal) of anything that JSON can hold, dataclasses included."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


@cache
def code_fingerprint() -> str:
    """SHA-256 of the package's code: a note in a record, and never part of a key (see `maa.replication.recipes`)."""
    root, digest = Path(__file__).parent, hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def file_fingerprints(folder: PathLike) -> dict[str, str]:
    """SHA-256 (hexadecimal) of the weights and settings in a folder and in those in it, by their paths in it."""
    folder = Path(folder)
    files = sorted(
        file for name in ("*.safetensors", "settings.json") for file in (*folder.glob(name), *folder.glob(f"*/{name}"))
    )
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def environment() -> dict[str, object]:
    """The machine, the versions and the time: what a result says of its surroundings."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "maa": version("maa"),
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
        "torch": str(torch.__version__),  # which says what it was built for: its metadata may not
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_json(path: PathLike, remedy: str) -> Json:
    """Read back the JSON object in a file; a MaaError, which ends in what to do about it, when it is damaged."""
    path = Path(path)
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else None  # a pipe would never end
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise MaaError(f"{path} is damaged: {remedy}.")
    return content


def write_json(path: PathLike, content: object) -> None:
    """Write a results file in one step: whole, or not at all."""
    text = json.dumps(content, indent=1, default=_plain, allow_nan=False) + "\n"
    write_in_one_step(path, lambda file: file.write(text.encode()))


def write_array(path: PathLike, array: np.ndarray) -> None:
    """Write an array (``.npy``) in one step: whole, or not at all."""
    write_in_one_step(path, lambda file: np.save(file, array))


def write_arrays(path: PathLike, arrays: dict[str, Any]) -> None:
    """Write arrays (compressed ``.npz``) in one step: whole, or not at all."""
    write_in_one_step(path, lambda file: np.savez_compressed(file, **arrays))


def write_in_one_step(path: PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Have ``write(file)`` fill a file under another name, and rename it when it is complete.

    What killed processes left half-written of the same file goes.  So, of two processes that write it at the same time, the first
    wins.  A MaaError when the place cannot be written to.
    """
    path = Path(path)
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                write(file)
            try:
                os.replace(partial, path)
            except FileNotFoundError:
                if not path.exists():  # else it went when another process was faster
                    raise
        finally:
            partial.unlink(missing_ok=True)
        remove_partials(path)
    except OSError as error:
        raise MaaError(
            f"{path} cannot be written ({error.strerror or error}): make room there, or name another folder "
            "(what is trained and prepared goes to $MAA_CACHE)."
        ) from error


def partial_path(path: PathLike) -> Path:
    """A name beside `path` under which it can be written before it is complete; never twice the same.

    The process's number would not do: two containers that share a folder may have the same, and so may a process that was killed.
    """
    path = Path(path)
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def remove_partials(path: PathLike) -> None:
    """Remove what killed processes left half-written under a `partial_path` of a file or folder, which is whole itself."""
    path = Path(path)
    for left in path.parent.glob(f".{escape(path.name)}.*.partial"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):  # one that another process of Windows has open
                left.unlink()


def _plain(value: Any) -> object:
    """What JSON cannot hold, as what it can."""
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)  # type: ignore[arg-type]  # no class is given, only instances
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
