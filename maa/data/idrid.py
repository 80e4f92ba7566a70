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

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from maa.data import layout
from maa.data.field import field_of_view
from maa.data.photograph import LESIONS, Fundus, read_image, read_mask
from maa.errors import MaaError

SPLITS = ("train", "validation", "test")
IDRID_PIXELS_PER_DEGREE = 68.4
MISGRADED = frozenset({"IDRiD_118"})


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
    return count_components(read_mask(path))


def count_components(mask: np.ndarray) -> tuple[int, int]:
    """Annotated pixels and connected components, diagonal neighbours joined, of a mask, shape (H, W), bool."""
    return int(mask.sum()), int(ndimage.label(mask, structure=[[1] * 3] * 3)[1])


class Finding(NamedTuple):
    """Something that is wrong with a data set."""

    sentence: str
    misleads: bool  # whether training with it would teach or measure something wrong, so that `open_dataset` refuses


def open_dataset(root: str | os.PathLike[str]) -> Dataset:
    """Find the photographs and masks under a folder and split them.  Explained in ch:retina.

    The two parts are known by what they contain, not by their folders' names, down to four folders below the root; a split by
    a word such as "training" in the name of a folder, a mask by the end of its own name.

    Diseased photographs are those of the segmentation set: of its training images the last ten of 54 by number (or that share
    of another count) are for validation and the rest for training; its testing images are for testing.  The counts (44 / 10 /
    27) are the paper's; taking the last ten is our choice, since the paper does not say which.

    Healthy photographs are the grade-0 ones of the grading set's training images.  With 89 or more, the first 80 are for
    training, the next 9 for validation and the rest for testing (counts: the paper's; which: ours); with fewer, the last ninth
    or so for validation, and the rest for training.  One is left out when its bytes equal those of a segmentation image or of
    an image of another grade, and so is IDRiD_118, whose twin is graded 3, even where the twin is absent.

    A MaaError when the folder is missing, holds a part twice, holds no photograph with annotated microaneurysms, or holds what
    would mislead training: `inspect_dataset` says what that is.
    """
    dataset, findings = inspect_dataset(root)
    misleading = [sentence for sentence, misleads in findings if misleads]
    if misleading:
        others = f" (and {len(misleading) - 1} more like it: maa data --verify lists all)" if misleading[1:] else ""
        raise MaaError(misleading[0].removesuffix(".") + others + ".")
    if not any("MA" in record.mask_paths for record in dataset.records):
        raise MaaError(_nothing_found(Path(root).expanduser(), "no mask of microaneurysms was found"))
    return dataset


def inspect_dataset(root: str | os.PathLike[str]) -> tuple[Dataset, list[Finding]]:
    """Find the photographs and masks under a folder, and what is wrong with how they lie, from names, labels and bytes.

    Misleading are: a mask without its photograph, a photograph without any mask, two masks or photographs of one name, a mask that does not say
    what it marks or is of a format that is not read, photographs of an unknown split, a file of grades that cannot be trusted or
    names none of the photographs, and a copy of a photograph in another split.  No picture is decoded: `maa.data.verification`
    does that.  A MaaError as `open_dataset` when there is no data set at all.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise MaaError(f"{root} is not a folder: name the folder that holds IDRiD.")
    files = layout.files_below(root)
    masks, photographs = {}, []
    for path in filter(layout.is_picture, files):
        if mask := layout.mask_of(path, root):
            masks[path] = mask
        else:
            photographs.append(path)
    labels = [path for path in files if layout.is_grades(path)]
    occupied = {folder for path in photographs for folder in path.parents}
    annotated = _parts(masks, root, occupied)
    graded = _parts(labels, root, occupied)
    # A photograph belongs to the deepest part that it lies in, so that one part may lie within another.
    owner = {
        path: next((folder for folder in path.parents if folder in annotated or folder in graded), None) for path in photographs
    }
    absent = [path for path in (*photographs, *masks) if not path.is_file()]
    findings = [
        Finding(f"{path} is a link to a file that is not here, or no ordinary file: fetch it, or remove it.", True)
        for path in absent
    ]
    masks = {path: mask for path, mask in masks.items() if path not in absent}
    segmentation = [path for path in photographs if owner[path] in annotated and path not in absent]
    if not segmentation:
        raise MaaError(_nothing_found(root, _what_is_there(root, files, masks, photographs)))
    _refuse_copies(root, "segmentation", segmentation, owner)
    diseased = _diseased_records(root, segmentation, masks, findings)
    findings += _unread_masks(files, root, masks)
    grading = [path for path in photographs if owner[path] in graded and path not in (*segmentation, *absent)]
    _refuse_copies(root, "grading", labels, {path: layout.part_of(path.parent, root, occupied) for path in labels})
    healthy = _healthy_records(root, grading, labels, diseased, findings)
    findings += _leftovers(root, files, [path for path in photographs if owner[path] is None], bool(labels))
    dataset = Dataset(root, (*diseased, *healthy))
    findings += _copies(dataset.records)
    return dataset, findings


def _parts(paths: Iterable[Path], root: Path, occupied: Collection[Path]) -> set[Path]:
    return {layout.part_of(folder, root, occupied) for folder in {path.parent for path in paths}}


def _refuse_copies(root: Path, part: str, paths: Sequence[Path], owner: Mapping[Path, Path | None]) -> None:
    """A MaaError when one split of a part lies in two places."""
    places: dict[str | None, Path] = {}
    for path in paths:
        split = layout.split_word(path.name) if part == "grading" else layout.split_of(path, root)
        place = owner[path]
        if place and places.setdefault(split, place) != place:
            raise MaaError(
                f"{root} holds the {part} part of IDRiD twice, in {places[split]} and {place}: name the folder of one copy."
            )


def _diseased_records(
    root: Path, photographs: Sequence[Path], masks: Mapping[Path, tuple[str, str | None]], findings: list[Finding]
) -> list[Record]:
    training, testing = _by_split(root, photographs, findings)
    by_name: dict[str, Path] = {}
    for path in training + testing:
        first = by_name.setdefault(layout.fold(layout.bare_name(path)), path)
        if first != path:
            findings.append(
                Finding(f"{first} and {path} are two photographs of one name: keep one, or give it another number.", True)
            )
    found: dict[Path, dict[str, Path]] = {path: {} for path in training + testing}
    splits_here = {layout.split_of(path, root) for path in photographs}
    for path, (name, kind) in sorted(masks.items()):
        photograph = by_name.get(layout.fold(name))
        if photograph is None:
            # A mask whose whole split was left out harms nobody.
            absent = layout.split_of(path, root) not in (*splits_here, None)
            findings.append(Finding(f"The mask {path} matches no photograph: there is none called {name}.", not absent))
        elif kind is None:
            findings.append(
                Finding(
                    f"{path} does not say what it marks: let its name end in _MA, _HE, _EX, _SE or _OD, as {name}_MA.tif does.",
                    True,
                )
            )
        elif _file_hash(found[photograph].setdefault(kind, path)) != _file_hash(path):
            findings.append(
                Finding(
                    f"{found[photograph][kind]} and {path} are different masks of one photograph: keep the right one.", True
                )
            )
    for path, by_kind in found.items():
        if "MA" not in by_kind:
            # One lesion-free photograph among annotated ones is possible, one without even its optic disc has lost its masks.
            others = "but has other masks, so it counts as free of them" if by_kind else "nor any other, so they were lost"
            findings.append(
                Finding(
                    f"{path} has no mask of microaneurysms, {others}: copy {layout.bare_name(path)}_MA.tif again, or lay an all-black "
                    "one there if nothing is annotated.",
                    not by_kind,
                )
            )
    held_out = _share(len(training), 10, 54)
    splits = ["train"] * (len(training) - held_out) + ["validation"] * held_out + ["test"] * len(testing)
    return [Record(path.stem, path, found[path], True, split) for path, split in zip(training + testing, splits)]


def _by_split(root: Path, photographs: Sequence[Path], findings: list[Finding]) -> tuple[list[Path], list[Path]]:
    """Training and testing photographs, each by number."""
    splits: dict[str | None, list[Path]] = {"train": [], "test": [], None: []}
    for path in sorted(photographs, key=layout.by_number):
        splits[layout.split_of(path, root)].append(path)
    findings += [
        Finding(
            f'The folder {folder} holds photographs, but no word of its name says of which split: call it "a. Training Set" or '
            '"b. Testing Set".',
            True,
        )
        for folder in sorted({path.parent for path in splits[None]})
    ]
    return splits["train"], splits["test"]


def _healthy_records(
    root: Path, photographs: Sequence[Path], labels: Sequence[Path], diseased: Sequence[Record], findings: list[Finding]
) -> list[Record]:
    healthy: list[Path] = []
    others = [record.image_path for record in diseased]
    training, testing = _by_split(root, photographs, findings)
    read: dict[str, Path] = {}
    for path in labels:
        split = layout.split_word(path.name) or "train"
        if read.setdefault(split, path) != path:
            findings.append(Finding(f"{read[split]} and {path} are two files of grades of one split: keep one.", True))
            continue
        try:
            grades = layout.read_grades(path)
        except MaaError as error:
            findings.append(Finding(str(error), True))
            continue
        here = training if split == "train" else testing
        named = [photograph for photograph in here if layout.fold(layout.bare_name(photograph)) in grades]
        if here and not named:
            findings.append(
                Finding(
                    f"{path} names none of the photographs of its split, such as {here[0]}: use the file that belongs to them.",
                    True,
                )
            )
        else:
            findings += [
                Finding(f"{photograph} has no grade in {path}, so it is not used.", False)
                for photograph in here
                if photograph not in named
            ]
        for photograph in named:
            grade = grades[layout.fold(layout.bare_name(photograph))]
            if grade == 0 and split == "train" and photograph.stem not in MISGRADED:
                healthy.append(photograph)
            elif grade:
                others.append(photograph)
    # Only files of equal size can be equal, so hardly any has to be read.
    sizes = {path.stat().st_size for path in healthy} & {path.stat().st_size for path in others}
    seen = {_file_hash(path) for path in others if path.stat().st_size in sizes}
    healthy = [path for path in healthy if path.stat().st_size not in sizes or _file_hash(path) not in seen]
    limit = min(len(healthy), 89)
    validation = _share(limit, 9, 89)
    splits = ["train"] * (limit - validation) + ["validation"] * validation + ["test"] * (len(healthy) - limit)
    return [Record(path.stem, path, {}, False, split) for path, split in zip(healthy, splits)]


def _copies(records: Sequence[Record]) -> list[Finding]:
    """Photographs that are the same file, byte for byte."""
    by_size: dict[int, list[Record]] = {}
    for record in records:
        by_size.setdefault(record.image_path.stat().st_size, []).append(record)
    first: dict[str, Record] = {}
    findings = []
    for record in (record for same in by_size.values() if len(same) > 1 for record in same):
        other = first.setdefault(_file_hash(record.image_path), record)
        if other is not record:
            findings.append(copy_of(other, record))
    return findings


def copy_of(one: Record, other: Record, how: str = "") -> Finding:
    """What is to be said of two records that show the same picture."""
    where = f"both for {one.split}" if one.split == other.split else f"one for {one.split}, one for {other.split}"
    return Finding(
        f"{one.image_path} and {other.image_path} are the same photograph{how}, {where}: remove one.", one.split != other.split
    )


def _unread_masks(files: Sequence[Path], root: Path, masks: Mapping[Path, object]) -> list[Finding]:
    """Files that are masks by their names, but of a format that is not read, and that have no twin that is."""
    read = {path.with_suffix("") for path in masks}
    return [
        Finding(
            f"{path} is named as a mask, but {path.suffix or 'a file without an ending'} is not read: save it as TIFF or PNG.",
            True,
        )
        for path in files
        if not layout.is_picture(path) and path.with_suffix("") not in read and layout.named_as_mask(path)
    ]


def _leftovers(root: Path, files: Sequence[Path], unused: Sequence[Path], has_labels: bool) -> list[Finding]:
    """What lies there and is not used."""
    findings = [
        Finding(f"{path} is a spreadsheet, which is not read: save it as CSV beside itself.", True)
        for path in files
        if path.suffix.lower() in layout.SPREADSHEETS and layout.names_grades(path) and not has_labels
    ]
    for folder in sorted({path.parent for path in unused}):
        ungraded = any("grading" in layout.plain(part) for part in folder.relative_to(root).parts) and not has_labels
        what = (
            'a file of grades such as "a. IDRiD_Disease Grading_Training Labels.csv" belongs into a folder "2. Groundtruths" beside '
            '"1. Original Images"'
            if ungraded
            else "move it away, or lay masks or grades beside it"
        )
        findings.append(
            Finding(f"The photographs in {folder} have neither masks nor grades, so they are not used: {what}.", ungraded)
        )
    return findings


def _what_is_there(root: Path, files: Sequence[Path], masks: Collection[Path], photographs: Sequence[Path]) -> str:
    if masks:
        place = min(masks).parent
        return f'the masks in {place} have no photographs near them, which belong into "1. Original Images/a. Training Set"'
    if photographs:
        return (
            f'the photographs in {photographs[0].parent} have no masks near them, which belong into "2. All Segmentation '
            'Groundtruths" and are named like IDRiD_01_MA.tif'
        )
    if archive := next((path for path in files if path.suffix.lower() in (".zip", ".7z", ".rar", ".tar", ".gz")), None):
        return f"{archive} is still packed, so unpack it there"
    return "it holds no pictures"


def _nothing_found(root: Path, why: str) -> str:
    return (
        f"{root} holds no photographs with microaneurysm masks in IDRiD's layout ({why}): name the "
        'folder that contains "A. Segmentation" (maa data explains how to get it).'
    )


def _share(count: int, part: int, whole: int) -> int:
    """The paper's share of a count of images: at least one, of an empty set none."""
    return min(count, max(1, round(count * part / whole)))


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _file_hash(path: Path) -> str:
    stat = path.stat()
    return _hash_once(path, stat.st_size, stat.st_mtime_ns)


@cache
def _hash_once(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file; size and time of change are in the key, so a changed file is read anew."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MaaError(f"{path} cannot be read ({error.strerror}): change its permissions, or copy it again.") from None
