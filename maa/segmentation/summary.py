"""What a run over many photographs hands to a colleague: one page in HTML, and one picture of all overlays.

The page needs no network.  Up to `FEW` photographs it is one file, some 50 KB a photograph: thumbnails and crops are embedded, and
only the full overlays, which lie beside it, are linked.  Beyond, its pictures are smaller and lie beside it too, and a script of
its own shows `PAGE` photographs at a time, sorted as one likes.  Explained in ch:yours.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import distribution
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

from maa.provenance import write_in_one_step
from maa.segmentation.one import OUTLINE, Segmentation

#: Up to so many photographs the pictures are large.
FEW = 100
#: Photographs that the page shows at a time where there are more.
PAGE = 50
#: Photographs of one contact sheet: its JPEG file, some 5,000 pixels wide and high, opens everywhere.
SHEET = 500
#: The folder of the pictures of a page of many photographs.
THUMBNAILS = "thumbnails"
#: The most probable lesions of a photograph that are shown as crops.
CROPS = 4
#: Side of a crop, in pixels of a photograph at IDRiD's scale: eight times a lesion of ordinary size.
CROP_SIDE = 128


@dataclass(frozen=True)
class Entry:
    """What the summary shows of one photograph, without the photograph itself.

    Attributes
    ----------
    name : str
        As in the table of lesions.
    file, overlay : str
        File names of the photograph, and of the full overlay, which lies beside the page.
    lesions : int
    score : float
        Of the most probable lesion; NaN without any.
    crops : tuple of (str, bytes)
        The most probable lesions: in words, and as JPEG.
    thumbnail : bytes
        JPEG.
    warnings, notes : tuple of str
    """

    name: str
    file: str
    overlay: str
    lesions: int
    score: float
    crops: tuple[tuple[str, bytes], ...]
    thumbnail: bytes
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def renamed(self) -> bool:
        """Whether the photograph or its results go by another name than its file's."""
        return not Path(self.file).stem == self.name == self.overlay.removesuffix("_overlay.jpg")


def sizes(photographs: int) -> tuple[int, int]:
    """Longer side of a thumbnail and side of a crop, in pixels, for a page of so many photographs."""
    return (560, 112) if photographs <= FEW else (256, 72)


def entry(found: Segmentation, file: str, overlay: str, thumbnail: int, crop: int) -> Entry:
    """What the summary shows of a photograph, whose file and overlay have these names; in pixels, as `sizes` gives them."""
    side = max(1, round(CROP_SIDE / found.resized))
    drawn, crops = found.overlay, []
    for lesion in found.lesions.head(CROPS).itertuples():
        words = f"score {lesion.score:.2f}, row {lesion.row:.0f}, column {lesion.column:.0f}"
        left, top = round(lesion.column - side / 2), round(lesion.row - side / 2)
        box = (max(0, left), max(0, top), min(drawn.shape[1], left + side), min(drawn.shape[0], top + side))
        # Of a lesion at the frame's edge the rest of its square stays black.
        square = Image.new("RGB", (side, side))
        square.paste(Image.fromarray(drawn[box[1] : box[3], box[0] : box[2]]), (box[0] - left, box[1] - top))
        crops.append((words, jpeg(square.resize((crop, crop), Image.Resampling.BICUBIC))))
    score, thumb = float(found.lesions["score"].max()), jpeg(ringed(found, thumbnail))
    return Entry(found.name, file, overlay, len(found.lesions), score, tuple(crops), thumb, found.warnings, found.notes)


def ringed(found: Segmentation, side: int) -> Image.Image:
    """A copy of a photograph, at most so many pixels wide and high, with a ring around every lesion.

    The overlay's own lines, a few pixels wide, would vanish when it is reduced so far.
    """
    picture = Image.fromarray(found.image)
    picture.thumbnail((side, side), Image.Resampling.BOX)
    factor = picture.width / found.image.shape[1]
    pen = ImageDraw.Draw(picture)
    for lesion in found.lesions.itertuples():
        row, column = (lesion.row + 0.5) * factor, (lesion.column + 0.5) * factor
        radius = max(4.0, math.sqrt(lesion.area / math.pi) * factor + 2)
        pen.ellipse((column - radius, row - radius, column + radius, row + radius), outline=OUTLINE, width=2)
    return picture


def jpeg(picture: Image.Image) -> bytes:
    """A picture as the bytes of a JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()


def contact_sheet(entries: Sequence[Entry]) -> Image.Image:
    """One picture of all thumbnails, each with its name, its count and a mark where there is a warning.

    RGB, about as wide as it is high: for `SHEET` photographs some 5,000 pixels.
    """
    cell = 320 if len(entries) <= FEW else 200
    columns = min(len(entries), max(2, math.ceil(math.sqrt(len(entries) * 0.9))))
    rows = math.ceil(len(entries) / columns)
    gap, line = cell // 20, cell // 16
    small, large = font(line), font(line + 4)
    # No higher than the highest thumbnail, so that a folder of wide photographs leaves no gaps.
    shapes = [Image.open(io.BytesIO(shown.thumbnail), formats=["JPEG"]).size for shown in entries]
    height = max(min(cell, round(cell * high / wide)) for wide, high in shapes)
    below = 2 * line + 3 * gap
    width, top = max(640, columns * (cell + gap) + gap), 4 * line + gap
    sheet = Image.new("RGB", (width, top + rows * (height + below)), (17, 20, 24))
    pen = ImageDraw.Draw(sheet)
    pen.text((gap, gap), heading(entries), font=large, fill="white")
    pen.text((gap, gap + 2 * line), "For research and teaching only: no diagnosis.", font=small, fill=(190, 196, 204))
    for place, shown in enumerate(entries):
        left = gap + place % columns * (cell + gap)
        upper = top + place // columns * (height + below)
        picture = Image.open(io.BytesIO(shown.thumbnail), formats=["JPEG"])
        picture.thumbnail((cell, cell))
        sheet.paste(picture, (left + (cell - picture.width) // 2, upper + (height - picture.height) // 2))
        lower = upper + height + gap // 2
        face = font(line, shown.name)
        boxes = missing(shown.name, face)
        name = "".join("?" if letter in boxes else letter for letter in shown.name)
        pen.text((left, lower), fitting(name, face, cell), font=face, fill="white")
        count = f"{shown.lesions:,} {plural(shown.lesions, 'lesion')}"
        pen.text((left, lower + line + 4), count, font=small, fill=OUTLINE)
        if shown.warnings:
            start = left + pen.textlength(count + "   ", font=small)
            pen.text((start, lower + line + 4), "warning", font=small, fill=(255, 190, 60))
    return sheet


def heading(entries: Sequence[Entry]) -> str:
    """How much was found in how many photographs, in words."""
    lesions, photographs = sum(shown.lesions for shown in entries), len(entries)
    return f"{lesions:,} {plural(lesions, 'lesion')} in {photographs:,} {plural(photographs, 'photograph')}"


def plural(number: int, noun: str) -> str:
    """A noun as it stands after a number."""
    return noun if number == 1 else f"{noun}s"


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """A font that has the letters of a text: DejaVu Sans, which matplotlib brings, else one of this machine's, where one has them."""
    first = ImageFont.truetype(str(_DEJAVU), size)
    lacking = missing(text, first)
    others = (_face(file, size) for file in _fonts_of_this_machine()) if lacking else iter(())
    return next((face for face in others if face and not missing(text, face)), first)


@cache
def _face(file: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(file, size)
    except (OSError, ValueError):  # such as one of pictures of a single size
        return None


def missing(text: str, face: ImageFont.FreeTypeFont) -> set[str]:
    """The letters of a text that a font draws as it draws what does not exist: as a box."""
    box = face.getmask("\U0010ffff")
    return {
        letter
        for letter in set(text)
        if not letter.isspace() and (drawn := face.getmask(letter)).size == box.size and bytes(drawn) == bytes(box)
    }


#: matplotlib is not imported for it, which takes a second and complains where its cache cannot be written.
_DEJAVU = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf")


@cache
def _fonts_of_this_machine() -> list[str]:
    folders = ["/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts", "/Library/Fonts"]
    folders += ["/System/Library/Fonts", f"{os.environ.get('WINDIR', '')}/Fonts"]
    files = (file for folder in folders for file in Path(folder).expanduser().rglob("*"))
    return sorted(str(file) for file in files if file.suffix.lower() in (".ttf", ".ttc", ".otf"))


def fitting(name: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    """A name, or both of its ends, as fits into a width in pixels."""
    if face.getlength(name) <= width:
        return name
    keep = len(name) // 2
    while keep > 1 and face.getlength(f"{name[:keep]}…{name[-keep:]}") > width:
        keep -= 1
    return f"{name[:keep]}…{name[-keep:]}"


def page(entries: Sequence[Entry], run: Mapping[str, str], refused: Sequence[str], notes: Sequence[str]) -> str:
    """The summary page of few photographs in HTML.

    `run` says what was run, in the order in which it is shown; `refused` and `notes` are sentences: what could not be segmented
    and why, and what else is to be known.
    """
    return _rendered("segmentation.html", entries, run, refused, notes, sheets=["contact_sheet.jpg"])


def paged(
    entries: Sequence[Entry], run: Mapping[str, str], refused: Sequence[str], notes: Sequence[str], sheets: Sequence[str]
) -> str:
    """The summary page of many photographs in HTML, whose pictures `write_thumbnails` writes.

    Parameters are those of `page`, and the paths of the contact sheets.
    """
    rows = [
        {
            "name": shown.name,
            "lesions": shown.lesions,
            "score": None if math.isnan(shown.score) else round(shown.score, 4),
            "overlay": quote(shown.overlay),
            "pictures": [quote(picture) for picture in _pictures(shown)],
            "crops": [words for words, _ in shown.crops],
            "warnings": shown.warnings,
            "notes": shown.notes,
            "file": shown.file if shown.renamed else None,
        }
        for shown in entries
    ]
    # A name cannot end the element that holds it.
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return _rendered("segmentation_many.html", entries, run, refused, notes, data=data, sheets=sheets, size=PAGE)


def write_thumbnails(entries: Sequence[Entry], out: Path) -> None:
    """Write the pictures of a page of many photographs: of each the thumbnail, and its crops side by side.

    What is there and the same is left alone, and what belongs to none of them is removed.
    """
    (out / THUMBNAILS).mkdir(exist_ok=True)
    written = set()
    for shown in entries:
        pictures = [shown.thumbnail, *([_strip(shown)] if shown.crops else [])]
        for name, content in zip(_pictures(shown), pictures):
            written.add(name)
            if not ((out / name).is_file() and (out / name).read_bytes() == content):
                write_in_one_step(out / name, partial(_write, content))
    for file in (out / THUMBNAILS).iterdir():
        if f"{THUMBNAILS}/{file.name}" not in written:
            with suppress(OSError):  # such as a folder, which is none of ours
                file.unlink()


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _pictures(shown: Entry) -> list[str]:
    """The paths of the thumbnail, and of the crops if there are any."""
    stem = f"{THUMBNAILS}/{shown.overlay.removesuffix('_overlay.jpg')}"
    return [f"{stem}_thumbnail.jpg", *([f"{stem}_lesions.jpg"] if shown.crops else [])]


def _strip(shown: Entry) -> bytes:
    crops = [Image.open(io.BytesIO(picture), formats=["JPEG"]) for _, picture in shown.crops]
    side = crops[0].width
    strip = Image.new("RGB", (CROPS * side, side))
    for place, crop in enumerate(crops):
        strip.paste(crop, (place * side, 0))
    return jpeg(strip)


def _rendered(
    template: str,
    entries: Sequence[Entry],
    run: Mapping[str, str],
    refused: Sequence[str],
    notes: Sequence[str],
    **more: object,
) -> str:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["embedded"] = lambda picture: f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    templates.globals |= {"plural": plural, "heading": heading(entries)}
    warned = sum(bool(shown.warnings) for shown in entries)
    return templates.get_template(template).render(
        entries=entries, warned=warned, run=run, refused=refused, notes=notes, **more
    )
