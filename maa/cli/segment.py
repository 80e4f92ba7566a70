"""``maa segment``: photographs of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich import box
from rich.table import Column, Table
from rich.text import Text
from typer import Argument, Exit, Option

from maa.cli.base import ClusterOption, JobsOption, Track, app, complain, folder_option, say, writable_folder


@app.command()
def segment(
    photographs: Annotated[list[Path], Argument(metavar="IMAGE_OR_FOLDER...", help="Photographs, and folders of them.")],
    out: Annotated[Path, folder_option("--out", "The folder for the results.")],
    weights: Annotated[
        Path | None, folder_option("--weights", "The folder of weights; those that come with maa by default.")
    ] = None,
    track: Annotated[
        Track, Option(help="paper: the system of the paper.  beyond: more networks, fewer false alarms, twice the time.")
    ] = "paper",
    threshold: Annotated[
        float | None, Option(help="Probability from which a pixel is called a microaneurysm; by default as the weights say.")
    ] = None,
    degrees: Annotated[float, Option(help="Field of view of the camera.")] = 50.0,
    resize: Annotated[
        float | None, Option(help="Resize by this factor instead of by the degrees; 1 leaves photographs as they are.")
    ] = None,
    force: Annotated[bool, Option("--force", help="Do again what is done and unchanged.")] = False,
    recursive: Annotated[bool, Option("--recursive", help="Take the photographs of folders in a folder too.")] = False,
    jobs: JobsOption = 1,
    cluster: ClusterOption = None,
) -> None:
    """Find microaneurysms in photographs of your own.  For research and teaching: no diagnosis.

    Takes JPEG, JPEG 2000, PNG, TIFF, BMP, PPM, GIF and WebP, in colour, of any camera and size.

    **For all photographs together**

    - `index.html`: the page to read, print, or hand to a colleague
    - `contact_sheet.jpg`: every photograph in one picture, what was found ringed
    - `lesions.csv`: one row a lesion (row and column of its centre and area in pixels, score: its highest probability)
    - `photographs.csv`: one row a photograph (lesions, highest score, scale, warnings)
    - of more than 100 photographs, `thumbnails`: the pictures of the page, and of more than 500 further `contact_sheets`

    **For each photograph**, at its own size and upright

    - `NAME_overlay.jpg`, `NAME_mask.png`, and `NAME_probability.png` (16 bits, probability times 65535)

    **Scale.**  A lesion has a size in degrees, and the networks know it in pixels.  So a photograph whose scale, which is the
    diameter of its field of view over `--degrees`, is far from IDRiD's (68 pixels a degree) is resized for the networks, and
    the maps are brought back.  For weights that were trained on photographs like yours, `--resize 1` is right.

    **Warnings** say what would mislead: no retina, out of focus, too dark, over-exposed, strongly compressed, too few
    pixels.  A photograph that cannot be used does not stop the others: one sentence at the end says why, and the exit
    status is 2.

    **Running again** into the same folder goes on where it was stopped: what is done and unchanged, by the records in its
    folder `.maa`, is left as it is.  The tables and the page are of all photographs that were segmented into the folder with the
    same settings.  Ctrl-C leaves tables of what is done.

    **Tens of thousands** take hours.  `--jobs` spreads them over processes of this machine, each with the memory of one
    photograph; `--cluster` over those of a Dask cluster (`pip install 'maa[cluster]'`), which has the same maa and sees
    photographs and results under the same paths.  The files are the same, whoever made them.
    """
    from maa.parallel import spread
    from maa.segmentation.many import segment_files
    from maa.segmentation.one import MAPS, load_system
    from maa.segmentation.summary import FEW

    writable_folder(out)
    system = load_system(weights, track)
    source = "those that come with maa" if weights is None else weights.name or weights.resolve().name
    with spread(jobs, cluster):
        report = segment_files(photographs, out, system, threshold, degrees, resize, source, force, recursive)
    found = report.photographs
    if 0 < len(found) <= FEW:
        numbers = (Column(heading, justify="right") for heading in ("lesions", "highest score", "resized by", "warnings"))
        table = Table("photograph", *numbers, box=box.SIMPLE_HEAD)
        for row in found.itertuples():
            score = f"{row.score:.3f}" if row.lesions else ""
            scale = f"{row.resized:.2f}" if row.resized != 1 else ""
            table.add_row(Text(row.image), f"{row.lesions:,}", score, scale, str(len(row.warnings) or ""))
        say(table)
    # What holds of many photographs is printed once, the warnings first.
    names_of: dict[str, list[str]] = {}
    for before, column in (("Warning: ", "warnings"), ("", "notes")):
        for name, sentences in zip(found["image"], found[column]):
            for sentence in sentences:
                names_of.setdefault(before + sentence, []).append(name)
    for sentence, names in names_of.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        say(f"{', '.join(names[:3])}{more}: {sentence}")
    say(*report.notes)
    if len(found):
        say(f"Lesions found: {len(report.lesions):,}, photographs: {len(found):,}, by {MAPS[system.final]}.")
        say(f"The page to read: {out / 'index.html'}")
    if report.problems:
        complain(*report.problems)
        raise Exit(128 + report.stopped if report.stopped else 2)
