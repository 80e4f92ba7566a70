"""``maa score``: the probability maps of any other method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from rich import box
from rich.table import Table
from rich.text import Text
from typer import Option

from maa.cli.base import DataOption, app, find_dataset, folder_option, say, writable_file
from maa.progress import duration


@app.command()
def score(
    maps: Annotated[Path, folder_option("--maps", "The folder with a probability map of each photograph.")],
    data: DataOption = None,
    split: Annotated[
        Literal["validation", "test"], Option(help="validation: to choose.  test: once, at the end.")
    ] = "validation",
    against: Annotated[Path | None, folder_option("--against", "The maps of a second method, for a paired comparison.")] = None,
    ending: Annotated[
        str, Option(help="Only files whose names end so, apart from the suffix: _MA, where each kind of lesion has its map.")
    ] = "",
    threshold: Annotated[
        float | None,
        Option(
            help="Probability from which a pixel is called, chosen on other photographs; by default the best for F1 on these."
        ),
    ] = None,
    candidate: Annotated[
        float, Option(help="Probability from which connected pixels are one candidate lesion of the FROC.")
    ] = 0.02,
    healthy: Annotated[
        bool, Option("--healthy", help="The maps of the split's healthy photographs are there and count too.")
    ] = False,
    out: Annotated[
        Path | None, Option("--out", metavar="FILE.json", help="The results file to write, with all curves.")
    ] = None,
) -> None:
    """Measure the probability maps of any method by the protocol of this book, and beside its rows.

    **A map** is a PNG, TIFF or NPY with one channel: 8 bits (255 is a probability of 1), 16 bits (65535), or float from 0 to
    1.  It has the photograph's size, or a half or a quarter of it (doubled bilinearly).  Its name begins with the photograph's:
    `IDRiD_45.png`, `IDRiD_45_MA.tif`, `IDRiD_45.jpg.npy`.

    **What comes out**: exact average precision of the pooled pixels inside the field of view at native resolution, and the mean
    of the photographs' own; F1, precision and recall at one threshold; the FROC of lesions; all with 95 % intervals over
    photographs.  Then the same maps under the rules of other papers: 11, 33 and 256 thresholds, and map and mask shrunk to 1376
    x 1376.

    **What is compared**: with --against, the pooled values of two methods, paired, photographs drawn with replacement.  With
    the rows of this book, whose files hold no pixels, the mean of the photographs' own values, paired by photograph; only where
    photographs, masks and fields of view are IDRiD's own.
    """
    dataset = find_dataset(data)
    if out is not None:
        writable_file(out)
    from maa import evaluation
    from maa.provenance import write_json
    from maa.replication.score import score as measure
    from maa.replication.score import some

    results = measure(
        maps, dataset, split, against=against, ending=ending, threshold=threshold, candidate=candidate, healthy=healthy
    )
    if out is not None:
        write_json(out, results)
    rows = results["rows"]
    names = [row["name"] for row in rows.values()]

    table = _table(f"{len(results['photographs'])} {split} photographs, 95 % intervals over photographs", *names)
    table.add_row("AUC PR, pooled", *(_interval(row["average_precision"]) for row in rows.values()))
    table.add_row("AUC PR, mean", *(_interval(row["intervals"]["per_image_mean"]) for row in rows.values()))
    for key, name in (("f1", "F1"), ("precision", "precision"), ("recall", "recall")):
        table.add_row(name, *(_interval(row["intervals"][key]) for row in rows.values()))
    table.add_row("... at the threshold", *(f"{row['threshold']:.4f}" for row in rows.values()))
    for key in evaluation.FROC_NAMES:
        shares = (_interval(row["intervals"]["froc"][key]) for row in rows.values())
        table.add_row(f"lesions found at {key}", *shares)
    table.add_row("FROC score, the mean to 8", *(_interval(row["intervals"]["froc"]["score"]) for row in rows.values()))
    table.caption = "Mean: of the photographs' own AUC PR.  Lesions: their share, at so many false alarms a photograph."
    say(table)

    table = _table("The same maps under other rules", *names)
    for key, variant in evaluation.VARIANTS.items():
        values = [row["variants"][key] for row in rows.values()]
        table.add_row(variant.description, *("" if value is None else f"{value:.4f}" for value in values))
    say(table)

    if against is not None:
        gain = rows["maps"]["gain"]
        low, value, high = (f"{gain['relative_gain'][key]:+.1%}" for key in ("low", "value", "high"))
        say(
            f"{' over '.join(names)}, AUC PR pooled, paired: {_interval(gain['difference'], '+')}; "
            f"relative {value} ({low} to {high}); p = {gain['p_value']:.4f}, two-sided."
        )
    if results["published"] is None:
        say("No published rows to compare with: they are of IDRiD's own photographs and masks.")
    else:
        table = _table("Beside the rows of this book", "AUC PR", "mean", "yours over it")
        table.caption = "Mean: of the photographs' own AUC PR.  Over it: difference of the means, paired by photograph."
        for row in results["published"].values():
            pooled = row["average_precision"]["value"]
            table.add_row(row["name"], f"{pooled:.4f}", f"{row['per_image_mean']:.4f}", _interval(row["difference"], "+"))
        say(table)
    for row, surplus in results["surplus"].items():
        if surplus:
            say(f"{rows[row]['name']}: {len(surplus)} files are of no such photograph and were left out: {some(surplus)}.")
        if (share := rows[row]["candidate_share"]) > 0.05:
            say(
                f"{rows[row]['name']}: {share:.0%} of the field of view reach {candidate:g}, where neighbouring lesions melt "
                "into one candidate and the FROC means little: choose a higher --candidate, on other photographs."
            )
    say(f"Took {duration(results['seconds'])}." + (f"  Everything measured: {out}." if out else ""))
    say(f"AUC PR: {rows['maps']['average_precision']['value']:.4f}")


def _table(title: str, *headings: str) -> Table:
    """A table of named rows, whose numbers are never broken."""
    table = Table("", title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    return table


def _interval(interval: dict[str, float], sign: str = "") -> str:
    return f"{interval['value']:{sign}.4f} ({interval['low']:{sign}.3f} to {interval['high']:{sign}.3f})"
