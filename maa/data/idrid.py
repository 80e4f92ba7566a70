"""Read IDRiD, the Indian Diabetic Retinopathy Image Dataset, and split it as the paper does.  Explained in ch:retina.

The phantom (`maa.phantom`) writes the same layout, so this one reader serves both.
The layout of the official release, of which any part may be absent::

    A. Segmentation/
        1. Original Images/{a. Training Set,b. Testing Set}/IDRiD_01.jpg
        2. All Segmentation Groundtruths/{a. Training Set,b. Testing Set}/
            1. Microaneurysms/IDRiD_01_MA.tif, 2. Haemorrhages/IDRiD_01_HE.tif, ...
    B. Disease Grading/
        1. Original Images/{a. Training Set,b. Testing Set}/IDRiD_001.jpg
        2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv, b. ... Testing Labels.csv
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from urllib.parse import unquote

from scipy import ndimage

from maa.data.field import field_of_view
from maa.data.photograph import LESIONS, Fundus, read_image, read_mask
from maa.errors import MaaError

SPLITS = ("train", "validation", "test")
IDRID_PIXELS_PER_DEGREE = 68.4
MISGRADED = frozenset({"IDRiD_118"})
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"}
_MASK_NAME = re.compile(rf"(?P<name>.+)_(?P<kind>{'|'.join(LESIONS)})", re.IGNORECASE)
_SEARCH_DEPTH = 4  # folders between the root that was named and "1. Original Images"


@dataclass(frozen=True)
class Record:
    """One photograph of the data set: where its files are, not yet their pixels."""

    name: str  # the file's name without its ending, for example "IDRiD_45"
    image_path: Path
    mask_paths: Mapping[str, Path]  # by kind (a key of `maa.data.LESIONS`); an absent kind was not annotated
    diseased: bool  # True for the segmentation set, False for grade 0 of the grading set
    split: str  # one of `SPLITS`

    def load(self, kinds: Collection[str] = tuple(LESIONS)) -> Fundus:
        """Read the photograph and its masks of some kinds: fewer read faster.  Explained in ch:retina.

        A MaaError when a file is missing or damaged, a mask has another size, or the photograph shows no retina.
        """
        image = read_image(self.image_path)
        fov = field_of_view(image, self.image_path)
        lesions = {kind: read_mask(path, image.shape[:2]) for kind, path in self.mask_paths.items() if kind in kinds}
        return Fundus(self.name, image, fov, lesions, self.diseased, self.split)


@dataclass(frozen=True)
class Dataset:
    """The photographs found under one folder, in their splits.  Explained in ch:retina."""

    root: Path
    records: tuple[Record, ...]  # diseased before healthy, each by number

    def select(self, split: str | None = None, diseased: bool | None = None) -> list[Record]:
        """The records, in their order, of one split (of `SPLITS`, else a ValueError), of one group of patients, or of both."""
        if split is not None and split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
        return [record for record in self.records if split in (None, record.split) and diseased in (None, record.diseased)]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of every record's name, group, split and file contents.

        It changes with any pixel, mask or split, and not when the folder moves.  Every cache entry and every result carries
        it.  Explained in ch:gain.
        """
        digest = hashlib.sha256()
        for record in self.records:
            files = {"image": record.image_path, **record.mask_paths}
            contents = ",".join(f"{kind}={_file_hash(files[kind])}" for kind in sorted(files))
            digest.update(f"{record.name},{record.diseased},{record.split},{contents}\n".encode())
        return digest.hexdigest()


def count_lesions(record: Record, kind: str = "MA") -> tuple[int, int]:
    """Count what one photograph's mask holds: annotated pixels, and connected components, diagonal neighbours joined.

    Both are 0 where nothing of the kind (a key of `maa.data.LESIONS`) is annotated.  Explained in ch:retina.
    """
    path = record.mask_paths.get(kind)
    if path is None:
        return 0, 0
    mask = read_mask(path)
    return int(mask.sum()), int(ndimage.label(mask, structure=[[1] * 3] * 3)[1])


def open_dataset(root: str | os.PathLike[str]) -> Dataset:
    """Find the photographs and masks under a folder and split them.  Explained in ch:retina.

    The two parts are known by what they contain, not by their top folder's name, down to four folders below the root.

    Diseased photographs are those of the segmentation set: of its training images the last ten of 54 by number (or that share
    of another count) are for validation and the rest for training; its testing images are for testing.  The counts (44 / 10 /
    27) are the paper's; taking the last ten is our choice, since the paper does not say which.

    Healthy photographs are the grade-0 ones of the grading set's training images.  With 89 or more, the first 80 are for
    training, the next 9 for validation and the rest for testing (counts: the paper's; which: ours); with fewer, the last ninth
    or so for validation, and the rest for training.  One is left out when its bytes equal those of a segmentation image or of
    an image of another grade, and so is IDRiD_118, whose twin is graded 3, even where the twin is absent.

    A MaaError when the folder is missing, holds a part twice, or holds no photograph with annotated microaneurysms.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise MaaError(f"{root} is not a folder: name the folder that holds IDRiD.")
    segmentation, grading = [], []
    for images in _original_images(root):
        if truth := _child(images.parent, "all segmentation groundtruths"):
            segmentation.append((images, truth))
        if (truth := _child(images.parent, "groundtruths")) and _label_files(truth):
            grading.append((images, truth))
    for part, found in (("segmentation", segmentation), ("grading", grading)):
        if len(found) > 1:
            raise MaaError(
                f"{root} holds the {part} part of IDRiD twice, in {found[0][0].parent} and "
                f"{found[1][0].parent}: name the folder of one copy."
            )
    diseased = _diseased_records(*segmentation[0]) if segmentation else []
    if not any("MA" in record.mask_paths for record in diseased):
        raise MaaError(
            f"{root} holds no photographs with microaneurysm masks in IDRiD's layout: name the "
            'folder that contains "A. Segmentation" (maa data explains how to get it).'
        )
    healthy = _healthy_records(*grading[0], diseased) if grading else []
    return Dataset(root, (*diseased, *healthy))


def _diseased_records(images: Path, truth: Path) -> list[Record]:
    masks: dict[str, dict[str, Path]] = {}
    for path in sorted(truth.rglob("*")):
        match = _MASK_NAME.fullmatch(path.stem)
        if match and path.suffix.lower() in _IMAGE_SUFFIXES:
            masks.setdefault(match["name"], {})[match["kind"].upper()] = path
    training, testing = (_images(_child(images, part)) for part in ("training set", "testing set"))
    held_out = _share(len(training), 10, 54)
    splits = ["train"] * (len(training) - held_out) + ["validation"] * held_out + ["test"] * len(testing)
    return [Record(path.stem, path, masks.get(path.stem, {}), True, split) for path, split in zip(training + testing, splits)]


def _healthy_records(images: Path, truth: Path, diseased: list[Record]) -> list[Record]:
    healthy: list[Path] = []
    others = [record.image_path for record in diseased]
    for labels in _label_files(truth):
        is_training = "training" in labels.name.lower()
        grades = _grades(labels)
        for path in _images(_child(images, "training set" if is_training else "testing set")):
            grade = grades.get(path.stem)
            if grade == 0 and is_training and path.stem not in MISGRADED:
                healthy.append(path)
            elif grade:
                others.append(path)
    # Only files of equal size can be equal, so hardly any has to be read.
    sizes = {path.stat().st_size for path in healthy} & {path.stat().st_size for path in others}
    seen = {_file_hash(path) for path in others if path.stat().st_size in sizes}
    healthy = [path for path in healthy if path.stat().st_size not in sizes or _file_hash(path) not in seen]
    limit = min(len(healthy), 89)
    validation = _share(limit, 9, 89)
    splits = ["train"] * (limit - validation) + ["validation"] * validation + ["test"] * (len(healthy) - limit)
    return [Record(path.stem, path, {}, False, split) for path, split in zip(healthy, splits)]


def _share(count: int, part: int, whole: int) -> int:
    """The paper's share of a count of images: at least one, of an empty set none."""
    return min(count, max(1, round(count * part / whole)))


def _grades(path: Path) -> dict[str, int]:
    """Retinopathy grade by image name; rows without a name or a number are passed over."""
    grades = {}
    try:
        # The official file has trailing commas, blank cells and Windows line ends.
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            for row in csv.reader(file):
                if len(row) >= 2 and row[1].strip().isdigit():
                    grades[row[0].strip()] = int(row[1])
    except OSError as error:
        raise MaaError(f"{path} cannot be read ({one_line(error)}): copy it again.") from None
    if not grades:
        raise MaaError(f"{path} holds no rows of image name and retinopathy grade: download it again.")
    return grades


def _original_images(root: Path) -> Iterator[Path]:
    """Every folder "1. Original Images" at or below a root, nearest first."""
    level = [root]
    for _ in range(_SEARCH_DEPTH + 2):
        below = []
        for folder in level:
            if _plain(folder.name) == "original images":
                yield folder
            elif "groundtruths" not in _plain(folder.name):
                below += [child for child in _entries(folder) if child.is_dir()]
        level = below


def _label_files(folder: Path) -> list[Path]:
    return [
        path
        for path in _entries(folder)
        if path.suffix.lower() == ".csv" and {"grading", "labels"} <= set(re.split(r"[\W_]+", unquote(path.name).lower()))
    ]


def _child(folder: Path | None, plain: str) -> Path | None:
    """The sub-folder of a name, whatever its numbering ("1. ", "a. "), case and URL escapes."""
    for child in _entries(folder) if folder else ():
        if child.is_dir() and _plain(child.name) == plain:
            return child
    return None


def _images(folder: Path | None) -> list[Path]:
    """The image files of a folder, by the number in their names."""
    found = [p for p in _entries(folder) if p.suffix.lower() in _IMAGE_SUFFIXES] if folder else []
    return sorted(found, key=lambda path: (int(re.findall(r"\d+", f"0 {path.stem}")[-1]), path.stem))


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden files (macOS leaves "._IDRiD_01.jpg")."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except PermissionError:
        return []


def _plain(name: str) -> str:
    return re.sub(r"^\s*\w\.\s*", "", unquote(name)).strip().lower()


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _file_hash(path: Path) -> str:
    stat = path.stat()
    return _hash_once(path, stat.st_size, stat.st_mtime_ns)


@cache
def _hash_once(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file; size and time of change are in the key, so a changed file is read anew."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
