"""What a run over many photographs hands to a colleague: one page in HTML, and one picture of all overlays.

The page is one file that needs no network: thumbnails and crops are embedded, and only the full overlays are linked, which
lie beside it.  Its size stays bounded by drawing them smaller where there are many (see `sizes`): some 50 KB a photograph
up to `FEW` photographs, some 15 KB beyond.  Explained in ch:yours.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from maa.segmentation.one import OUTLINE, Segmentation

#: Up to so many photographs the pictures are large.
FEW = 100
#: The most probable lesions of a photograph that are shown as crops.
CROPS = 4
#: Side of a crop, in pixels of a photograph at IDRiD's scale: eight times a lesion of ordinary size.
CROP_SIDE = 128
#: What is said at the top of every page, and on the contact sheet.
STATEMENT = (
    "For research and teaching only.  This is no diagnosis and no medical device.  What is marked may be no lesion, and what "
    "is not marked may be one."
)


@dataclass(frozen=True)
class Entry:
    """What the summary shows of one photograph; the photograph itself is forgotten.

    Attributes
    ----------
    name : str
        As in the table of lesions.
    file : str
        Name of the photograph's file.
    overlay : str
        File name of the full overlay, which lies beside the page.
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


def sizes(photographs: int) -> tuple[int, int]:
    """Longer side of a thumbnail and side of a crop, in pixels, for a page of so many photographs."""
    return (560, 112) if photographs <= FEW else (256, 72)


def entry(found: Segmentation, file: str, overlay: str, thumbnail: int, crop: int) -> Entry:
    """Draw what the summary shows of a photograph.

    Parameters
    ----------
    found : Segmentation
    file, overlay : str
        File names of the photograph and of its overlay.
    thumbnail, crop : int
        Sizes in pixels, as `sizes` gives them.
    """
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
    score = float(found.lesions["score"].max()) if len(found.lesions) else math.nan
    return Entry(
        found.name, file, overlay, len(found.lesions), score, tuple(crops), jpeg(ringed(found, thumbnail)),
        found.warnings, found.notes,
    )  # fmt: skip


def ringed(found: Segmentation, side: int) -> Image.Image:
    """A small copy of a photograph with a ring around every lesion.

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

    Returns
    -------
    Image
        RGB; as wide as it is high, about, and at most some 9,000 pixels for a thousand photographs.
    """
    cell = 320 if len(entries) <= FEW else 200
    columns = min(len(entries), max(2, math.ceil(math.sqrt(len(entries) * 0.9))))
    rows = math.ceil(len(entries) / columns)
    gap, line = cell // 20, cell // 16
    small, large = font(line), font(line + 4)
    # No higher than the highest thumbnail, so that a folder of wide photographs leaves no gaps.
    shapes = [Image.open(io.BytesIO(shown.thumbnail)).size for shown in entries]
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
        picture = Image.open(io.BytesIO(shown.thumbnail))
        picture.thumbnail((cell, cell))
        sheet.paste(picture, (left + (cell - picture.width) // 2, upper + (height - picture.height) // 2))
        pen.text((left, upper + height + gap // 2), fitting(shown.name, small, cell), font=small, fill="white")
        said = f"{shown.lesions:,} {'lesion' if shown.lesions == 1 else 'lesions'}"
        pen.text((left, upper + height + gap // 2 + line + 4), said, font=small, fill=OUTLINE)
        if shown.warnings:
            start = left + pen.textlength(said + "   ", font=small)
            pen.text((start, upper + height + gap // 2 + line + 4), "warning", font=small, fill=(255, 190, 60))
    return sheet


def heading(entries: Sequence[Entry]) -> str:
    """How much was found in how many photographs, in words."""
    lesions, photographs = sum(shown.lesions for shown in entries), len(entries)
    return f"{lesions:,} {'lesion' if lesions == 1 else 'lesions'} in {photographs:,} {'photograph' if photographs == 1 else 'photographs'}"


def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: it has the letters of most alphabets."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)


def fitting(name: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    """A name, or both of its ends, as fits into a width in pixels."""
    if face.getlength(name) <= width:
        return name
    keep = len(name) // 2
    while keep > 1 and face.getlength(f"{name[:keep]}…{name[-keep:]}") > width:
        keep -= 1
    return f"{name[:keep]}…{name[-keep:]}"


def page(entries: Sequence[Entry], run: Mapping[str, str], refused: Sequence[str], notes: Sequence[str]) -> str:
    """The summary page.

    Parameters
    ----------
    entries : sequence of Entry
    run : mapping of str to str
        What was run, in the order in which it is shown.
    refused : sequence of str
        What could not be segmented, and why: one sentence each.
    notes : sequence of str
        What else is to be said of the run.

    Returns
    -------
    str
        HTML.
    """
    warned = sum(bool(shown.warnings) for shown in entries)
    title = f"{heading(entries)}, found by maa"
    said = (
        [f"{warned:,} of {len(entries):,} photographs {'carries a warning' if warned == 1 else 'carry warnings'}."]
        if warned
        else []
    )
    said += [f"{len(refused):,} could not be used: see the end of the page."] if refused else []
    facts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in run.items())
    rows = "".join(_row(number, shown) for number, shown in enumerate(entries, start=1))
    cards = "".join(_card(number, shown) for number, shown in enumerate(entries, start=1))
    parts = [
        f"<h1>{escape(heading(entries))}</h1>",
        f'<p class="statement">{escape(STATEMENT)}</p>',
        *(f"<p>{escape(sentence)}</p>" for sentence in said),
        f'<h2>What was run</h2><dl class="run">{facts}</dl>',
        '<h2>All photographs</h2><table><thead><tr><th scope="col">photograph</th><th scope="col">lesions</th>'
        f'<th scope="col">highest score</th><th scope="col">warnings</th></tr></thead><tbody>{rows}</tbody></table>',
        "<p>A <em>lesion</em> is a connected group of pixels whose probability reaches the threshold; its <em>score</em> is the "
        "highest probability in it.  Beside this page: <a href='lesions.csv'>lesions.csv</a>, one row a lesion; "
        "<a href='photographs.csv'>photographs.csv</a>, one row a photograph; <a href='contact_sheet.jpg'>contact_sheet.jpg</a>, all "
        "overlays in one picture; and for each photograph its overlay, mask and probability map at full size.</p>",
        f'<h2>One by one</h2><div class="cards">{cards}</div>',
    ]
    if refused:
        parts.append(f"<h2>What could not be used</h2><ul>{''.join(f'<li>{escape(one)}</li>' for one in refused)}</ul>")
    if notes:
        parts.append(f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(one)}</li>' for one in notes)}</ul>")
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _row(number: int, shown: Entry) -> str:
    score = f"{shown.score:.2f}" if shown.lesions else "none"
    warnings = f'<span class="count">{len(shown.warnings)}</span>' if shown.warnings else "none"
    return (
        f'<tr><th scope="row"><a href="#photograph-{number}">{escape(shown.name)}</a></th>'
        f"<td>{shown.lesions:,}</td><td>{score}</td><td>{warnings}</td></tr>\n"
    )


def _card(number: int, shown: Entry) -> str:
    name, link = escape(shown.name), escape(quote(shown.overlay))
    count = f"{shown.lesions:,} {'lesion' if shown.lesions == 1 else 'lesions'}"
    marked = f"{count} marked" if shown.lesions else "no lesion marked"
    crops = "".join(
        f'<figure><img loading="lazy" src="{_embedded(data)}" alt="Lesion of {name}: {escape(words)}">'
        f"<figcaption>{escape(words.split(',')[0].removeprefix('score '))}</figcaption></figure>"
        for words, data in shown.crops
    )
    if crops:
        crops = f'<p>The most probable, with their scores:</p><div class="crops">{crops}</div>'
    warnings = "".join(f"<li>{escape(sentence)}</li>" for sentence in shown.warnings)
    if warnings:
        warnings = f'<div class="warning"><strong>Warning</strong><ul>{warnings}</ul></div>'
    notes = "".join(f'<p class="note">{escape(sentence)}</p>' for sentence in shown.notes)
    file = f'<p class="note">File: {escape(shown.file)}</p>' if Path(shown.file).stem != shown.name else ""
    return (
        f'<section id="photograph-{number}"><h3>{name}</h3>'
        f'<a href="{link}"><img class="overlay" loading="lazy" src="{_embedded(shown.thumbnail)}" '
        f'alt="{name}, {marked}; opens the full overlay"></a>'
        f'<p class="lesions">{count}</p>{warnings}{crops}{notes}{file}</section>\n'
    )


def _embedded(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


#: Colours meet a contrast of 4.5 to 1 in both themes.
STYLE = """
:root { --page: #fff; --text: #1b1f24; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa; --link: #0550ae; --warn: #7a4100; --warnbg: #fff4dc; }
@media (prefers-color-scheme: dark) {
  :root { --page: #111418; --text: #e6eaef; --soft: #a4adb8; --line: #3a424c; --card: #1a1f25; --link: #7cb7ff; --warn: #ffcf7a; --warnbg: #33270d; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
a { color: var(--link); }
.statement { border-left: 4px solid var(--warn); background: var(--warnbg); padding: .6rem .8rem; max-width: 46rem; font-weight: 600; }
.run { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; }
.run dt { color: var(--soft); }
.run dd { margin: 0; }
table { border-collapse: collapse; width: 100%; max-width: 46rem; }
th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
thead th { color: var(--soft); font-weight: 600; overflow-wrap: normal; vertical-align: bottom; }
th:first-child { text-align: left; font-weight: 400; }
.count { color: var(--warn); background: var(--warnbg); font-weight: 700; padding: 0 .5rem; border-radius: 1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1rem; align-items: start; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem; break-inside: avoid; min-width: 0; }
section:target { outline: 3px solid var(--link); }
.overlay { display: block; width: 100%; height: auto; background: #000; border-radius: .25rem; }
.lesions { font-size: 1.2rem; font-weight: 700; margin: .5rem 0 0; }
section p { margin: .5rem 0 .2rem; }
.crops { display: grid; grid-template-columns: repeat(4, 1fr); gap: .4rem; }
.crops figure { margin: 0; text-align: center; font-size: .85rem; }
.crops img { display: block; width: 100%; height: auto; border-radius: .25rem; }
.warning { color: var(--warn); background: var(--warnbg); border-radius: .25rem; padding: .5rem .7rem; margin: .5rem 0; }
.warning ul { margin: .2rem 0 0; padding-left: 1.2rem; }
.note { color: var(--soft); font-size: .9rem; }
@media (max-width: 26rem) { th, td { padding: .3rem .25rem; font-size: .9rem; } .run { grid-template-columns: 1fr; } .run dd { margin-bottom: .4rem; } }
@media print {
  :root { --page: #fff; --text: #000; --soft: #444; --line: #999; --card: #fff; --link: #000; --warn: #000; --warnbg: #fff; }
  main { max-width: none; padding: 0; } .cards { grid-template-columns: 1fr 1fr; } .warning, .statement { border: 1px solid #000; }
}
"""
