"""The phantom: synthetic fundus photographs whose ground truth is exact.

The book has to run where IDRiD is not, so it carries a patient of its own making.  A phantom is
drawn the way a photograph comes about: a tissue with a disc, a fovea and a vascular tree; lesions,
and everything that is mistaken for them; light that reaches the retina unevenly; optics that blur;
a sensor that adds noise; and JPEG compression at IDRiD's quality.  Blood and pigment absorb, so the
tissue is described by its optical density, channel by channel, and contrasts multiply with the
light as they do in a real eye.

Where the constants come from
-----------------------------
Lesion sizes, contrasts and counts, the amplitude of the texture, the camera's colours and the JPEG
tables were measured on the 54 segmentation training photographs of IDRiD and on ten of its healthy
ones.  A lesion is a connected region (eight neighbours) of a mask; its contrast is the mean inside
the mask minus the median of the ring 6 to 16 pixels away from it that no lesion of any kind
touches, relative to that median.  `lesion_statistics` and `texture_statistics` are those very
measurements, so that a phantom and a photograph can be put side by side.

Lengths are in degrees of visual angle.  IDRiD's field of view, 50 degrees by the camera's data
sheet, is 3420 pixels wide: 68.4 pixels per degree.

Explained in ch:retina.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from maa.data.photograph import Fundus
from maa.errors import MaaError
from maa.phantom.camera import take_photograph
from maa.phantom.config import PhantomConfig

MASK_LEVEL = 0.4
_SPLITS = {"train": "a. Training Set", "test": "b. Testing Set"}
_MASK_FOLDERS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
    "OD": "5. Optic Disc",
}


def make_phantom(
    seed: int, diseased: bool = True, config: PhantomConfig = PhantomConfig(), name: str | None = None, split: str = "train"
) -> Fundus:
    """Draw one synthetic fundus photograph.  Explained in ch:retina.

    Parameters
    ----------
    seed : int
        Non-negative; the same seed and configuration give the same bytes.
    diseased : bool
        False draws a healthy patient: the optic disc is the only entry of ``lesions``.
    config : PhantomConfig
    name : str or None
        Identifier; None means ``"phantom_<seed>"``.
    split : {"train", "validation", "test"}

    Returns
    -------
    Fundus
        ``image`` (H, W, 3) uint8 has been through JPEG and back.  ``lesions`` holds the annotated
        masks of the kinds present, without the share ``config.unlabelled`` of the microaneurysms.

    Raises
    ------
    MaaError
        ``seed`` is negative.
    """
    jpeg, fov, lesions = take_photograph(_stream(seed), diseased, config)
    with Image.open(io.BytesIO(jpeg)) as photograph:
        image = np.array(photograph)
    return Fundus(
        name=f"phantom_{seed}" if name is None else name, image=image, fov=fov, lesions=lesions, diseased=diseased, split=split
    )


def write_dataset(
    out: PathLike,
    n_diseased: int,
    n_healthy: int,
    seed: int = 0,
    n_test: int | None = None,
    config: PhantomConfig = PhantomConfig(),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write phantoms in the folder layout of IDRiD's official release.  Explained in ch:retina.

    Parameters
    ----------
    out : path
        The folder to create; it may exist if it is empty.
    n_diseased, n_healthy : int
        Photographs in the segmentation training set (at least 1), and healthy ones in the grading
        set (0 or more).
    seed : int
        Seed of the whole set; photograph k draws from the k-th stream of it.
    n_test : int or None
        Photographs in the segmentation testing set; None means half of ``n_diseased``, as in IDRiD.
    config : PhantomConfig
    progress : callable or None
        Called as ``progress(done, total)`` after each photograph.

    Returns
    -------
    Path
        The folder written.

    Raises
    ------
    MaaError
        ``out`` is a file or a folder with something in it, or a count is out of range.
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
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise MaaError(f"The phantoms cannot be written to {out} ({error.strerror}); choose another place.") from error
    try:
        for done, ((name, diseased, split), stream) in enumerate(zip(jobs, _stream(seed).spawn(len(jobs))), start=1):
            jpeg, _, lesions = take_photograph(stream, diseased, config)
            section = "A. Segmentation" if diseased else "B. Disease Grading"
            _write_bytes(draft / section / "1. Original Images" / _SPLITS[split] / f"{name}.jpg", jpeg)
            if diseased:
                for kind, mask in lesions.items():
                    folder = draft / section / "2. All Segmentation Groundtruths" / _SPLITS[split] / _MASK_FOLDERS[kind]
                    _write_bytes(folder / f"{name}_{kind}.tif", _palette_tiff(mask))
            if progress is not None:
                progress(done, len(jobs))
        if n_healthy:
            labels = io.StringIO()
            rows = csv.writer(labels)
            rows.writerow(["Image name", "Retinopathy grade", "Risk of macular edema "])
            rows.writerows([name, 0, 0] for name, diseased, _ in jobs if not diseased)
            _write_bytes(
                draft / "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv",
                labels.getvalue().encode(),
            )
        draft.chmod(0o755)
        if out.is_dir():
            out.rmdir()
        os.replace(draft, out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return out


def _stream(seed: int) -> np.random.SeedSequence:
    if seed < 0:
        raise MaaError(f"The phantom's seed is {seed}; choose 0 or a positive integer.")
    return np.random.SeedSequence(seed)


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _palette_tiff(mask: np.ndarray) -> bytes:
    """A mask as IDRiD stores it: a palette image in which index 1, red, is the lesion."""
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0] + [0, 0, 0] * 254)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="tiff_lzw")
    return buffer.getvalue()
