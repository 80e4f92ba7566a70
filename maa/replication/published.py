"""Results files of the repository, wherever the package is installed; and what others have published."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import NamedTuple

from maa.provenance import Json, read_json

#: Where the results of the repository are when only the package was installed, as on Colab.
PUBLISHED = "https://raw.githubusercontent.com/maa-book/maa/main/results"


def published(name: str, file: str = "results") -> Json | None:
    """A results file of the repository, for a page that shows it.

    Parameters
    ----------
    name : str
        A folder of ``results``: what `reproduce`, `transfer` or an opening of the test half wrote there.
    file : str
        Which of its files, without ``.json``.

    Returns
    -------
    dict or None
        None where the file is neither in the checkout nor to be had from the network; a MaaError where it is damaged.

    Notes
    -----
    ``MAA_RESULTS`` names another folder to look in, and nowhere else: for a book about a replication of one's own.
    """
    local = _results() / name / f"{file}.json"
    if os.environ.get("MAA_RESULTS") or local.exists():
        return read_json(local, "run the command that wrote it again") if local.exists() else None
    try:  # always https: PUBLISHED
        with urllib.request.urlopen(f"{PUBLISHED}/{name}/{file}.json", timeout=10) as reply:  # nosec B310
            return dict(json.load(reply))
    except (urllib.error.URLError, TimeoutError, json.JSONDecodeError):
        return None


def recorded_runs() -> list[Json]:
    """The record of every training behind the results files; none where only the package was installed."""
    return [read_json(path, "do the run again") for path in sorted(_results().glob("*/runs/*/run.json"))]


def _results() -> Path:
    return Path(os.environ.get("MAA_RESULTS") or Path(__file__).parents[2] / "results")


class Reported(NamedTuple):
    """A published area under the precision-recall curve of microaneurysms, on the 27 test photographs of IDRiD.

    Attributes
    ----------
    method : str
    value : float
    arithmetic : str
        How it was computed, as far as that could be read off public code.
    variant : str or None
        The key of `maa.evaluation.VARIANTS` that is nearest to it.
    known : str
        What others found when they computed it again.
    """

    method: str
    value: float
    arithmetic: str
    variant: str | None = None
    known: str = ""


_NOT_KNOWN = "not known"
_ELEVEN = "11 thresholds, trapezoids, no field of view, 960 x 1440"
#: Secondary sources, or reported by the authors themselves; the arithmetic read off public code in November 2026.
REPORTED = (
    Reported("iFLYTEK-MIG, first of the 2018 challenge", 0.5017, _NOT_KNOWN),
    Reported("VRT, second", 0.4951, _NOT_KNOWN),
    Reported("PATech, third", 0.4740, _NOT_KNOWN),
    Reported("L-Seg", 0.4627, _NOT_KNOWN),
    Reported("Local-Global U-Nets", 0.5250, _NOT_KNOWN),
    Reported(
        "PBDA (DSR-U-Net++)",
        0.5341,
        "33 thresholds, trapezoids, photographs and masks shrunk to 1376 x 1376; the folder of validation is that of the test",
        "shrunk",
    ),
    Reported("WFDENet", 0.4991, _ELEVEN, "thresholds_11_all_pixels", "0.4280 in an independent replication, by the same 11"),
    Reported(
        "M2MRF-C", 0.4905, f"{_ELEVEN}; best of three", "thresholds_11_all_pixels", "0.408, exact, with the authors' weights"
    ),
    Reported("fundus-lesions-toolkit, seresnext50, five data sets", 0.398, "not known; 1024 pixels wide"),
)
