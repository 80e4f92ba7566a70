"""Provenance: what a number was made from, so that it can be made again.

Every trained model and every result carries its configuration, its seed, the fingerprint of its data, the
fingerprint of the code, the versions of the libraries, the machine and the time.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import os
import platform
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "pillow", "umap-learn")


def cache_folder() -> Path:
    """Where trained models and normalised photographs are kept: ``$MAA_CACHE``, else ``~/.cache/maa/runs``."""
    return Path(os.environ.get("MAA_CACHE") or Path.home() / ".cache" / "maa" / "runs")


def fingerprint(*parts) -> str:
    """SHA-256 (hexadecimal) of anything that JSON can hold, dataclasses included."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


@cache
def code_fingerprint(*modules: str) -> str:
    """SHA-256 of what modules of the package do: comments, docstrings and layout do not change it.

    Parameters
    ----------
    *modules : str
        Names inside the package, for example ``"hgn"``.
    """
    digest = hashlib.sha256()
    for module in sorted(modules):
        tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                # A string that stands alone is a docstring or a note on the name above it.
                node.body = [
                    line
                    for line in body
                    if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
                ]
        digest.update(f"{module}:{ast.dump(tree)}\n".encode())
    return digest.hexdigest()


def environment() -> dict:
    """The machine, the versions and the time: what a result says of its surroundings."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "maa": version("maa"),
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def write_json(path, content) -> None:
    """Write a results file in one step: whole, or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=1, default=_plain, allow_nan=False) + "\n")
    os.replace(partial, path)


def write_array(path, array: np.ndarray) -> None:
    """Write an array (``.npy``) in one step: whole, or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.npy")
    np.save(partial, array)
    os.replace(partial, path)


def _plain(value):
    """What JSON cannot hold, as what it can."""
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
