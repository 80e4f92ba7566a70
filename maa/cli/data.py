"""``maa data`` and ``maa phantom``: what data there are, and synthetic ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.table import Column, Table
from typer import Exit, Option

from maa.cli.base import DataOption, SeedOption, app, complain, folder_option, say
from maa.errors import MaaError


@app.command()
def data(
    data: DataOption = None,
    verify: Annotated[bool, Option("--verify", help="Read every photograph and every mask in full.")] = False,
    fetch: Annotated[bool, Option("--fetch", help="Download IDRiD into the cache folder if it is not found.")] = False,
) -> None:
    """Say what data were found, count them and verify them; or say how to get them.

    Counts the photographs, annotated microaneurysm pixels and lesions (connected groups of such pixels) of each split.  With
    --verify it reads everything and names each file that is damaged or misplaced: masks without their photograph and the reverse,
    masks of another size or place, photographs that show no retina, that are not used, or that are there twice, also where the
    copy was saved, scaled or mirrored anew.
    """
    from maa.data import idrid, locate, verification
    from maa.progress import in_threads

    root = locate.find(data)
    if root is None and fetch:
        say("Downloading IDRiD; this takes some minutes.")
        root = locate.fetch()
    if root is None:
        Console().print("No data were found.\n", style="bold")
        say(locate.explain())
        raise Exit(1)

    problems: list[str] = []
    if verify:
        dataset, findings = idrid.inspect_dataset(root)
        examined = list(in_threads(verification.examine, dataset.records, "Reading photographs and masks"))
        problems += [finding.sentence for finding in findings + verification.same_pictures(examined)]
        problems += [problem for one in examined for problem in one.problems]
        marked = [(one.pixels, one.lesions) for one in examined]
    else:
        dataset = idrid.open_dataset(root)
        marked = list(in_threads(idrid.count_lesions, dataset.records, "Reading the masks"))

    table = Table("split", "patients", *(Column(heading, justify="right") for heading in ("images", "MA pixels", "MA lesions")))
    groups = [(split, diseased) for split in idrid.SPLITS for diseased in (True, False)]
    for split, diseased in [*groups, (None, None)]:
        counts = [
            count
            for record, count in zip(dataset.records, marked, strict=True)
            if split in (None, record.split) and diseased in (None, record.diseased)
        ]
        patients = {True: "diseased", False: "healthy", None: ""}[diseased]
        numbers = [len(counts), *(sum(count[i] for count in counts) for i in (0, 1))]
        if split is None:
            table.add_section()
        table.add_row(split or "all", patients, *(f"{number:,}" for number in numbers))
    say(f"Found in {root}:", table, f"Fingerprint {dataset.fingerprint}")
    if problems:
        complain(*map(MaaError, problems))
        raise Exit(2)
    if verify:
        masks = sum(len(record.mask_paths) for record in dataset.records)
        Console().print(f"Verified: {len(dataset.records):,} photographs and {masks:,} masks are sound.")


@app.command()
def phantom(
    out: Annotated[Path, folder_option("--out", "The folder to write; new or empty.")],
    n: Annotated[int, Option("--n", help="Diseased patients, for training and validation.")] = 8,
    healthy: Annotated[int | None, Option(help="Healthy patients; as many as diseased by default.")] = None,
    test: Annotated[int | None, Option(help="Diseased patients for testing; half as many by default.")] = None,
    size: Annotated[int, Option(help="Height and width of a photograph in pixels.")] = 1024,
    seed: SeedOption = 0,
) -> None:
    """Write synthetic fundus photographs with exact truth, in IDRiD's own layout.

    Every other command takes the folder as --data.  The same seed and size write the same photographs, to the byte.
    """
    from maa.phantom.config import PhantomConfig
    from maa.phantom.dataset import write_dataset
    from maa.progress import bar

    config = PhantomConfig(size=size)
    n_healthy = n if healthy is None else healthy
    n_test = round(n / 2) if test is None else test
    with bar("Drawing phantoms", total=n + n_healthy + n_test) as advance:
        root = write_dataset(out, n, n_healthy, seed, n_test, config, progress=lambda done, total: advance(done))
    say(f"Wrote {root}.  Next: maa data --data {root}")
