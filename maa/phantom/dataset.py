"""The phantom: synthetic fundus photographs whose ground truth is exact.  Explained in ch:retina.

The book has to run where IDRiD is not, so it carries a patient of its own making.  A phantom is drawn the way a photograph comes
about: a tissue with a disc, a fovea and a vascular tree; lesions, and everything that is mistaken for them; light that reaches
the retina unevenly; optics that blur; a sensor that adds noise; and JPEG compression at IDRiD's quality.  Blood and pigment
absorb, so the tissue is described by its optical density, channel by channel, and contrasts multiply with the light as they do
in a real eye.  Lengths are in degrees of visual angle.

Lesion sizes, contrasts and counts, the amplitude of the texture, the camera's colours and the JPEG tables were measured on the
54 segmentation training photographs of IDRiD and on ten of its healthy ones.  A lesion is a connected region (eight neighbours)
of a mask; its contrast is the mean inside the mask minus the median of the ring 6 to 16 pixels away from it that no lesion of
any kind touches, relative to that median.  `lesion_statistics` is that very measurement, of a phantom or of a photograph.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import SeedSequence
from PIL import Image

from maa.data.photograph import LESIONS, Fundus
from maa.errors import MaaError
from maa.phantom.camera import take_photograph
from maa.phantom.config import PhantomConfig
from maa.provenance import partial_path, remove_partials

_SPLITS = {"train": "a. Training Set", "test": "b. Testing Set"}
_MASK_FOLDERS = {kind: f"{number}. {name.title()}" for number, (kind, name) in enumerate(LESIONS.items(), start=1)}


def make_phantom(
    seed: int, diseased: bool = True, config: PhantomConfig = PhantomConfig(), name: str | None = None, split: str = "train"
) -> Fundus:
    """Draw one synthetic fundus photograph: through JPEG and back, with the masks of the kinds present.  Explained in ch:retina.

    Parameters
    ----------
    seed : int
        Non-negative, else a MaaError; the same seed and configuration give the same bytes.
    diseased : bool
        False draws a healthy patient: the optic disc is the only entry of ``lesions``.
    config : PhantomConfig
    name : str or None
        Identifier; None means ``"phantom_<seed>"``.
    split : {"train", "validation", "test"}
    """
    jpeg, fov, lesions = take_photograph(_stream(seed), diseased, config)
    with Image.open(io.BytesIO(jpeg)) as photograph:
        image = np.array(photograph)
    return Fundus(f"phantom_{seed}" if name is None else name, image, fov, lesions, diseased, split)


def write_dataset(
    out: str | os.PathLike[str],
    n_diseased: int,
    n_healthy: int,
    seed: int = 0,
    n_test: int | None = None,
    config: PhantomConfig = PhantomConfig(),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write phantoms in the folder layout of IDRiD's official release; returns the folder.  Explained in ch:retina.

    A MaaError when `out` is a file or a folder with something in it, or when a count is out of range.

    Parameters
    ----------
    out : path
        The folder to create; it may exist if it is empty.
    n_diseased, n_healthy : int
        Photographs in the segmentation training set (at least 1), and healthy ones in the grading set (0 or more).
    seed : int
        Seed of the whole set; photograph k draws from the k-th stream of it.
    n_test : int or None
        Photographs in the segmentation testing set; None means half of ``n_diseased``, as in IDRiD.
    config : PhantomConfig
    progress : callable or None
        Called as ``progress(done, total)`` after each photograph.
    """
    if n_diseased < 1 or n_healthy < 0 or (n_test is not None and n_test < 0):
        raise MaaError(
            f"A phantom data set of {n_diseased} diseased, {n_healthy} healthy and {n_test} test photographs"
            " cannot be written; ask for at least one diseased and no negative number."
        )
    out = Path(out).absolute()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise MaaError(f"{out} exists and is not an empty folder; choose another place for the phantoms.")
    n_test = round(n_diseased / 2) if n_test is None else n_test

    jobs = [(f"IDRiD_{i + 1:02d}", True, "train" if i < n_diseased else "test") for i in range(n_diseased + n_test)]
    first_healthy = max(138, len(jobs) + 1)  # IDRiD's own healthy photographs begin at 138
    jobs += [(f"IDRiD_{first_healthy + i:03d}", False, "train") for i in range(n_healthy)]

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        (draft := partial_path(out)).mkdir()
    except OSError as error:
        raise MaaError(f"The phantoms cannot be written to {out} ({error.strerror}); choose another place.") from error

    def write(path: str, content: bytes) -> None:
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
        (draft / path).write_bytes(content)

    try:
        for done, ((name, diseased, split), stream) in enumerate(zip(jobs, _stream(seed).spawn(len(jobs))), start=1):
            jpeg, _, lesions = take_photograph(stream, diseased, config)
            section = "A. Segmentation" if diseased else "B. Disease Grading"
            write(f"{section}/1. Original Images/{_SPLITS[split]}/{name}.jpg", jpeg)
            for kind, mask in lesions.items() if diseased else ():
                folder = f"{section}/2. All Segmentation Groundtruths/{_SPLITS[split]}/{_MASK_FOLDERS[kind]}"
                write(f"{folder}/{name}_{kind}.tif", _palette_tiff(mask))
            if progress is not None:
                progress(done, len(jobs))
        if n_healthy:
            rows = ["Image name,Retinopathy grade,Risk of macular edema ", *(f"{name},0,0" for name, ill, _ in jobs if not ill)]
            table = "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
            write(table, "".join(f"{row}\r\n" for row in rows).encode())
        if out.is_dir():
            out.rmdir()
        os.replace(draft, out)
        remove_partials(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def _palette_tiff(mask: np.ndarray) -> bytes:
    """A mask as IDRiD stores it: a palette image in which index 1, red, is the lesion."""
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0] + [0, 0, 0] * 254)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="tiff_lzw")
    return buffer.getvalue()


def _stream(seed: int) -> SeedSequence:
    if seed < 0:
        raise MaaError(f"The phantom's seed is {seed}; choose 0 or a positive integer.")
    return SeedSequence(seed)
