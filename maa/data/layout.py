"""Which file of a copy of IDRiD is what: photograph, mask or file of grades, of which part and which split.

Copies are renamed, translated, unpacked twice and saved again.  So a part is known by what lies together, a split by a word in a
folder's name, a mask by the end of its own name, and a file of grades by its columns.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from maa.data.photograph import LESIONS
from maa.errors import MaaError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif"})
SPREADSHEETS = frozenset({".xlsx", ".xls", ".ods", ".numbers"})
_DEPTH = 9  # levels of folders that are looked into: four above a part, and its own with some to spare
# What systems and archivers leave behind; names that begin with a dot (macOS's "._IDRiD_01.jpg") go with them.
_LEFTOVERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini"}
_MASK_NAME = re.compile(rf"(?P<name>.+)[_\-. ](?P<kind>{'|'.join(LESIONS)})", re.IGNORECASE)
_KIND_FOLDERS = {
    "MA": "m[iy][ck]roan", "HE": "ha?emorr", "EX": "hard ?ex", "SE": "soft ?ex|cotton ?wool", "OD": "opti[ck] ?dis[ck]",
}  # fmt: skip
_TRUTH = re.compile("ground ?truth|masks?( |$)|annotation|" + "|".join(_KIND_FOLDERS.values()))
_SPLIT_WORDS = {
    "train": (
        "train",
        "entrena",
        "entraine",
        "apprentissage",
        "addestra",
        "allena",
        "trein",
        "обуч",
        "трен",
        "训练",
        "訓練",
        "学習",
    ),
    "test": ("test", "prueba", "prova", "тест", "测试", "測試", "テスト"),
}
_GRADE = re.compile(r"([0-4])(?:[.,]0*)?")


def files_below(root: Path) -> list[Path]:
    """Every file at or below a folder, nearest first, without what systems leave behind, nor the localisation part."""
    found, seen, level = [], set(), [root]
    for _ in range(_DEPTH):
        below: list[Path] = []
        for folder in level:
            real = os.path.realpath(folder)
            if real in seen:  # a link in a circle
                continue
            seen.add(real)
            for path in _entries(folder):
                if not os.path.isdir(path):
                    found.append(path)
                elif not re.match("locali[sz]", plain(path.name)):
                    below.append(path)
        level = below
    return found


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES


def bare_name(path: Path) -> str:
    """A file's name without endings of pictures, of which there may be two."""
    name = path.name
    while Path(name).suffix.lower() in PICTURES:
        name = Path(name).stem
    return name


def fold(name: str) -> str:
    """What a name has in common with its variants: case, leading zeros and the composition of accents do not count."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", unicodedata.normalize("NFKC", name).casefold().strip())


def plain(name: str) -> str:
    """A folder's name without its numbering ("1. ", "a. "), case, accents and URL escapes, its words apart."""
    name = unicodedata.normalize("NFKD", re.sub(r"^\s*\w\.\s*", "", unquote(name))).casefold()
    letters = "".join(letter for letter in name if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[^\W_]+", letters))


def mask_of(path: Path, root: Path) -> tuple[str, str | None] | None:
    """Name and kind of the mask that a file is, by its own name or by its folders; None for what is no mask.

    The kind, a key of `maa.data.LESIONS`, is None where neither says which lesion is marked.
    """
    name, folders = bare_name(path), [plain(part) for part in path.relative_to(root).parts[:-1]]
    if match := _MASK_NAME.fullmatch(name):
        return match["name"], match["kind"].upper()
    if not any(_TRUTH.search(folder) for folder in folders):
        return None
    kinds = (kind for folder in reversed(folders) for kind, words in _KIND_FOLDERS.items() if re.search(words, folder))
    return name, next(kinds, None)


def named_as_mask(path: Path) -> bool:
    """Whether a file's own name is that of a mask, such as IDRiD_01_MA."""
    return _MASK_NAME.fullmatch(path.stem) is not None


def split_of(path: Path, root: Path) -> str | None:
    """The split, "train" or "test", that the nearest folder with such a word in its name says; None where none does."""
    for folder in reversed(path.relative_to(root).parts[:-1]):
        if split := split_word(folder):
            return split
    return None


def split_word(name: str) -> str | None:
    words = plain(name).split()
    meant = [split for split, known in _SPLIT_WORDS.items() if any(word.startswith(known) for word in words)]
    return meant[0] if len(meant) == 1 else None


def part_of(folder: Path, root: Path, occupied: Collection[Path]) -> Path:
    """The part that a folder of masks or of grades belongs to: the nearest at or above it that has photographs below it.

    `occupied` are all folders that have.
    """
    return next((above for above in (folder, *folder.parents) if above == root or above in occupied), root)


def by_number(path: Path) -> tuple[int, str]:
    """What photographs are sorted by: the last number in their names."""
    return int(re.findall(r"\d+", f"0 {path.stem}")[-1]), path.stem


def is_grades(path: Path) -> bool:
    """Whether a file is one of grades, by its name ("Disease Grading ... Labels") or by the heads of its columns."""
    if path.suffix.lower() not in (".csv", ".tsv", ".txt") or not path.is_file():
        return False
    if names_grades(path):
        return True
    try:
        with open(path, "rb") as file:
            head = plain(_decoded(file.read(400)).partition("\n")[0])
    except OSError:
        return False
    return "retinopath" in head and "grad" in head


def names_grades(path: Path) -> bool:
    return {"grading", "labels"} <= set(plain(path.stem).split())


def read_grades(path: Path) -> dict[str, int]:
    """Retinopathy grade, 0 to 4, by `fold`ed image name; rows without a name or a grade are passed over.

    Reads what spreadsheets make of the official file: semicolons or tabs for commas, UTF-16, 2.0 or 2,0 for 2, a column of row
    numbers, rows in quotation marks, and names with the picture's ending.  A MaaError where a grade is none or a name has two.
    """
    try:
        text = _decoded(path.read_bytes()).strip()
    except OSError as error:
        raise MaaError(f"{path} cannot be read ({error.strerror}): copy it again.") from None
    lines = text.splitlines()
    separator = ""
    if lines and lines[0].lower().startswith("sep="):  # a line for Excel
        separator = lines.pop(0)[4:5]
    separator = separator or max(",;\t|", key=(lines or [""])[0].count)
    grades: dict[str, int] = {}
    for number, (name, grade) in _name_and_grade(_rows(lines, separator)):
        match = _GRADE.fullmatch(grade)
        if not match:
            raise MaaError(f'{path} gives {name} the grade "{grade}" in row {number}, which is none of 0 to 4: correct it.')
        value = int(match[1])
        key = fold(bare_name(Path(name)))
        if grades.setdefault(key, value) != value:
            raise MaaError(
                f"{path} gives {name} the grade {grades[key]} and again, in row {number}, {value}: keep the right one."
            )
    if not grades:
        raise MaaError(f"{path} holds no rows of image name and retinopathy grade: download it again, or save it as CSV.")
    return grades


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    rows = []
    for row in csv.reader(lines, delimiter=separator):
        if len(row) == 1 and separator in row[0]:  # the whole row became one cell
            row = next(csv.reader([row[0]], delimiter=separator))
        rows.append([cell.strip() for cell in row])
    return rows


def _name_and_grade(rows: list[list[str]]) -> Iterator[tuple[int, tuple[str, str]]]:
    """The number, from 1, the name and the grade of each row that has both."""
    first = next((row for row in rows[1:] if any(row)), [])
    # Row numbers, which pandas adds, have no letter in them.
    name = next((i for i, cell in enumerate(first) if re.search(r"[^\W\d]", cell)), 0)
    heads = [plain(cell) for cell in rows[0]] if rows else []
    grade = next((i for i, head in enumerate(heads) if "grad" in head and i != name), name + 1)
    for number, row in enumerate(rows, start=1):
        is_head = number == 1 and not _GRADE.fullmatch((row[grade:] or [""])[0])
        if len(row) > max(name, grade) and row[name] and row[grade] and not is_head:
            yield number, (row[name], row[grade])


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content[: len(content) // 2 * 2].decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without what systems leave behind."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(".") and name.lower() not in _LEFTOVERS]
