"""Results files of the repository, wherever the package is installed."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

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
    own = os.environ.get("MAA_RESULTS")
    local = Path(own or Path(__file__).parents[2] / "results") / name / f"{file}.json"
    if own or local.exists():
        return read_json(local, "run the command that wrote it again") if local.exists() else None
    try:  # always https: PUBLISHED
        with urllib.request.urlopen(f"{PUBLISHED}/{name}/{file}.json", timeout=10) as reply:  # nosec B310
            return dict(json.load(reply))
    except (urllib.error.URLError, TimeoutError, json.JSONDecodeError):
        return None
