"""``maa segment``: photographs of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from maa.cli.base import Track, app, complain, say


@app.command()
def segment(
    photographs: Annotated[
        list[Path], typer.Argument(metavar="IMAGE_OR_FOLDER...", help="Photographs, and folders of them (not folders below).")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the results.")],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="DIR", help="The folder of weights; those that come with maa by default."),
    ] = None,
    track: Annotated[
        Track,
        typer.Option(
            help="paper: the system of the paper.  beyond: more networks, which find more and take three times as long."
        ),
    ] = Track.paper,
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability from which a pixel is called a microaneurysm; by default as the weights say."),
    ] = None,
    degrees: Annotated[float, typer.Option(help="Field of view of the camera.")] = 50.0,
    resize: Annotated[
        float | None, typer.Option(help="Resize by this factor instead of by the degrees; 1 leaves photographs as they are.")
    ] = None,
) -> None:
    """Find microaneurysms in photographs of your own.  For research and teaching: no diagnosis.

    Takes JPEG, PNG, TIFF, BMP and WebP, in colour, of any camera and size.

    **For all photographs together**

    - `index.html`: the page to read, print, or hand to a colleague
    - `contact_sheet.jpg`: every photograph in one picture, what was found ringed
    - `lesions.csv`: one row a lesion (row and column of its centre and area in pixels, score: its highest probability)
    - `photographs.csv`: one row a photograph (lesions, highest score, scale, warnings)

    **For each photograph**, at its own size and upright

    - `NAME_overlay.jpg`, `NAME_mask.png`, and `NAME_probability.png` (16 bits, probability times 65535)

    **Scale.**  A lesion has a size in degrees, and the networks know it in pixels.  So a photograph whose scale, which
    is the diameter of its field of view over `--degrees`, is far from IDRiD's (68 pixels a degree) is resized
    for the networks, and the maps are brought back.  For weights that were trained on photographs like
    yours, `--resize 1` is right.

    **Warnings** say what would mislead: no retina, out of focus, too dark, over-exposed, strongly compressed, too few
    pixels.  A photograph that cannot be used does not stop the others: one sentence at the end says why, and the exit
    status is 2.  Running again into the same folder replaces the tables and the page.
    """
    from maa.segmentation.many import segment_files
    from maa.segmentation.one import MAPS, load_system

    system = load_system(weights, track.value)
    source = "those that come with maa" if weights is None else weights.name or weights.resolve().name
    report = segment_files(photographs, out, system, threshold, degrees, resize, source)
    found = report.photographs
    if len(found):
        table = Table("photograph", box=box.SIMPLE_HEAD)
        for heading in ("lesions", "highest score", "resized by", "warnings"):
            table.add_column(heading, justify="right")
        for row in found.itertuples():
            score = f"{row.score:.3f}" if row.lesions else ""
            scale = f"{row.resized:.2f}" if row.resized != 1 else ""
            table.add_row(Text(row.image), f"{row.lesions:,}", score, scale, str(len(row.warnings) or ""))
        say(table)
    # What is said of many photographs is said once, the warnings first.
    said: dict[str, list[str]] = {}
    for kind, before in (("warnings", "Warning: "), ("notes", "")):
        for row in found.itertuples():
            for sentence in getattr(row, kind):
                said.setdefault(before + sentence, []).append(row.image)
    for sentence, names in said.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        say(f"{', '.join(names[:3])}{more}: {sentence}")
    for note in report.notes:
        say(note)
    if len(found):
        say(f"Lesions found: {len(report.lesions):,}, photographs: {len(found):,}, by {MAPS[system.final]}.")
        say(f"The page to read: {out / 'index.html'}")
    for problem in report.problems:
        complain(problem)
    if report.problems:
        raise typer.Exit(2)
