"""The command line: one command for each thing that a reader does with the package.

Commands import what they need when they run, so that ``maa --help`` answers at once.  To add one,
write a function under ``@app.command()``: its docstring is its help, and a `MaaError` that it raises
becomes one red sentence and exit status 2.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maa.errors import MaaError
from maa.progress import duration

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,  # an unexpected error keeps Python's own traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The folder of IDRiD, or of phantoms.  Without it: $MAA_IDRID, then the cache folder.",
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of every random number.")]
WeightsOption = Annotated[
    Path,
    typer.Option("--weights", metavar="DIR", help="The folder of weights, as maa train or maa reproduce writes it."),
]


class ProfileName(str, Enum):
    """The budgets of `maa.study.PROFILES`, which is not imported before it is needed."""

    quick = "quick"
    lesson = "lesson"
    full = "full"


class Network(str, Enum):
    """The networks that can be trained, by the names of their weights files."""

    hgn_1x = "hgn-1x"
    hgn_half = "hgn-0.5x"
    prn = "prn"


class Track(str, Enum):
    """The systems of `maa.segment.TRACKS`."""

    paper = "paper"
    beyond = "beyond"


class Split(str, Enum):
    """The splits that can be evaluated."""

    validation = "validation"
    test = "test"


ProfileOption = Annotated[
    ProfileName,
    typer.Option(help="The budget.  quick: for IDRiD on a laptop.  lesson: that of the chapters, in a minute or two."),
]


def main() -> None:
    """Run the command line; a `MaaError` becomes one sentence on stderr and exit status 2."""
    # Pillow warns of damaged files before it fails; the sentence below says it better.
    warnings.filterwarnings("ignore", module="PIL")
    if not sys.stderr.isatty():  # in a log, or on a cluster, one wants to know that it goes on
        os.environ.setdefault("MAA_PROGRESS", "lines")
    try:
        app()
    except MaaError as error:
        complain(error)
        sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print("maa", version("maa"))
        raise typer.Exit()


@app.callback()
def overview(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Find microaneurysms, the first sign of diabetic retinopathy, in fundus photographs.

    A replication of Sarhan et al., *Multi-scale Microaneurysms Segmentation Using Embedding Triplet
    Loss* (MICCAI 2019).  The book beside it explains every step.

    **To begin**

    - `maa data` says whether IDRiD is here, and how to get it
    - `maa phantom --out phantoms` makes synthetic photographs with exact truth instead

    **To replicate the paper**, in one command or step by step

    - `maa reproduce --data phantoms --profile lesson --out replication` fills every row of its table
    - `maa train hgn-1x --data phantoms --profile lesson --out weights`, then the same with `hgn-0.5x` and `prn`
    - `maa evaluate --data phantoms --split validation --weights weights --out validation.json`

    - `maa transfer --data IDRID --out transfer` measures how real the phantoms are

    **To use it** on photographs of your own

    - `maa segment photographs --weights weights --out found`

    For research and teaching: no result of it is a diagnosis.

    **Exit status**

    - 0: done
    - 1: `maa data` found no data
    - 2: bad input; one sentence says which file and what to do

    Progress shows as a bar in a terminal, elsewhere as a line every half minute; `MAA_PROGRESS=0` silences it.
    """


@app.command()
def data(
    data: DataOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every photograph and every mask in full.")
    ] = False,
    fetch: Annotated[
        bool,
        typer.Option("--fetch", help="Download IDRiD into the cache folder if it is not found."),
    ] = False,
) -> None:
    """Say what data were found, count them and verify them; or say how to get them.

    Counts the photographs, annotated microaneurysm pixels and lesions (connected groups of such pixels)
    of each split.  With --verify it also checks that every file can be read, that every mask fits its
    photograph and that every photograph shows a retina, and lists all that do not.
    """
    from maa import idrid
    from maa.progress import in_threads

    out = Console()
    root = idrid.find(data)
    if root is None and fetch:
        out.print("Downloading IDRiD; this takes some minutes.")
        root = idrid.fetch()
    if root is None:
        out.print("No data were found.\n", style="bold")
        out.print(Text(idrid.explain()), soft_wrap=True, highlight=False)
        raise typer.Exit(1)

    dataset = idrid.open_dataset(root)
    examined = list(in_threads(lambda record: _examine(record, verify), dataset.records, "Reading the masks"))
    problems = [problem for _, problem in examined if problem]

    out.print(Text(f"Found in {root}:"), soft_wrap=True, highlight=False)
    table = Table("split", "patients")
    for heading in ("images", "MA pixels", "MA lesions"):
        table.add_column(heading, justify="right")
    groups = [(split, diseased) for split in idrid.SPLITS for diseased in (True, False)]
    for split, diseased in [*groups, (None, None)]:
        counts = [
            count
            for record, (count, _) in zip(dataset.records, examined, strict=True)
            if split in (None, record.split) and diseased in (None, record.diseased)
        ]
        patients = {True: "diseased", False: "healthy", None: ""}[diseased]
        numbers = [len(counts), *(sum(count[i] for count in counts) for i in (0, 1))]
        if split is None:
            table.add_section()
        table.add_row(split or "all", patients, *(f"{number:,}" for number in numbers))
    out.print(table)
    out.print(f"Fingerprint {dataset.fingerprint}", soft_wrap=True, highlight=False)
    if problems:
        for problem in problems:
            complain(problem)
        raise typer.Exit(2)
    if verify:
        masks = sum(len(record.mask_paths) for record in dataset.records)
        out.print(f"Verified: {len(dataset.records):,} photographs and {masks:,} masks are sound.")


@app.command()
def phantom(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder to write; new or empty.")
    ],
    n: Annotated[
        int, typer.Option("--n", help="Diseased patients, for training and validation.")
    ] = 8,
    healthy: Annotated[
        int | None, typer.Option(help="Healthy patients; as many as diseased by default.")
    ] = None,
    test: Annotated[
        int | None, typer.Option(help="Diseased patients for testing; half as many by default.")
    ] = None,
    size: Annotated[int, typer.Option(help="Height and width of a photograph in pixels.")] = 1024,
    seed: SeedOption = 0,
) -> None:
    """Write synthetic fundus photographs with exact truth, in IDRiD's own layout.

    Every other command takes the folder as --data.  The same seed and size write the same photographs,
    to the byte.
    """
    from maa.phantom import PhantomConfig, write_dataset
    from maa.progress import bar

    config = PhantomConfig(size=size)
    n_healthy = n if healthy is None else healthy
    n_test = round(n / 2) if test is None else test
    with bar("Drawing phantoms", total=n + n_healthy + n_test) as advance:
        root = write_dataset(
            out,
            n_diseased=n,
            n_healthy=n_healthy,
            n_test=n_test,
            seed=seed,
            config=config,
            progress=lambda done, total: advance(done),
        )
    Console().print(
        Text(f"Wrote {root}.  Next: maa data --data {root}"), soft_wrap=True, highlight=False
    )


@app.command()
def train(
    network: Annotated[Network, typer.Argument(help="Which network: one of the first stage's two, or the second's.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of weights to write into.")],
    data: DataOption = None,
    profile: ProfileOption = ProfileName.quick,
    seed: SeedOption = 0,
) -> None:
    """Train one network of the system on the training photographs.

    Writes the weights (NETWORK.safetensors) and beside them a record of the run (NETWORK.json):
    configuration, seed, fingerprints of data and code, versions, time, and the history of every measure.  Three
    runs into one folder, one for each network, make a whole system.  The second stage starts from the first, whose
    networks of the same seed are trained before it where OUT/runs does not hold them.

    A run that was stopped goes on at its last checkpoint when the same command is given again, and one that
    is complete is not repeated; OUT/runs keeps both.
    """
    dataset = _dataset(data)
    _writable_folder(out)
    from maa.records import write_json
    from maa.study import PROFILES, Study
    from maa.system import FILES

    study = Study(dataset, PROFILES[profile.value], out / "runs")
    if network is Network.prn:
        trained = study.prn(seed)
    else:
        trained = study.hgn(1.0 if network is Network.hgn_1x else 0.5, seed)
    weights = out / FILES["prn_full" if network is Network.prn else network.name]
    _copy(trained.path, weights)
    write_json(weights.with_suffix(".json"), trained.record.as_json())

    last = trained.history.iloc[-1]
    counts = {diseased: sum(r.diseased is diseased for r in study.records("train")) for diseased in (True, False)}
    size = sum(parameter.numel() for parameter in trained.model.parameters())
    _say(f"Network      {network.value}, {size:,} parameters, seed {seed}")
    _say(f"Photographs  {counts[True]} diseased, {counts[False]} healthy")
    _say(f"Training     {last['step']:,.0f} steps in {duration(last['seconds'])}, loss {last['loss']:.4f} at the end")
    if "validation_ap" in trained.history:
        _say(f"Validation   AUC PR {last['validation_ap']:.4f} on a sample of pixels at the network's scale")
    _say(f"Weights      {weights}")
    _say(f"Record       {weights.with_suffix('.json')}")


@app.command()
def evaluate(
    split: Annotated[Split, typer.Option(help="validation: to choose.  test: once, at the end.")],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="DIR", help="The folder of weights.  For the test split, by default the frozen ones that ship."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.json", help="The results file to write, by default the split's name here, test.json."),
    ] = None,
    data: DataOption = None,
    healthy: Annotated[
        bool,
        typer.Option(
            "--healthy/--no-healthy",
            help="Whether healthy photographs are run too: for false alarms a photograph, and one of the variants.",
        ),
    ] = True,
    track: Annotated[
        Track | None,
        typer.Option(help="paper: the rows of the paper's table.  beyond: those and the U-Nets'.  By default all that the weights allow."),
    ] = None,
) -> None:
    """Measure every row of the paper's table that the weights allow.

    The measure is the average precision of the pooled pixels inside the field of view, at native resolution,
    with its interval over photographs; then F1, precision and recall at one threshold.  On the validation
    photographs the thresholds are chosen, and written into the folder of weights (settings.json); on the test
    photographs they are taken from there as they are, and the rows of the track beyond the paper are measured
    too, where the folder of weights has one.

    The results file holds much more: curves, the variants that the literature uses, FROC, calibration, and the fingerprints of
    the weights.

    Photograph by photograph, what is measured is kept in a folder beside the results file, FILE.json.parts, until all are done: an
    evaluation that was stopped goes on where it was when the same command is given again.
    """
    if weights is None and split is Split.validation:
        raise MaaError("What is chosen on validation photographs is written into the folder of weights: name yours with --weights.")
    from maa.segment import default_weights, load_system

    weights, out = weights or default_weights(), out or Path(f"{split.value}.json")
    dataset = _dataset(data)
    if not dataset.select(split.value, diseased=True):
        raise MaaError(f"{dataset.root} holds no {split.value} photographs with annotations: name a data folder that does.")
    if out.is_dir() or (out.parent.exists() and not out.parent.is_dir()):
        raise MaaError(f"{out} cannot be written as a file: name the results file, for example results.json.")
    _writable_folder(out.parent)
    from maa import beyond
    from maa.records import file_fingerprints, write_json
    from maa.reproduce import choose
    from maa.reproduce import evaluate as measure
    from maa.system import FILES, FULL_SYSTEM, ROWS, Settings, System, write_settings

    if track is None:  # on validation photographs the settings of the paper's track are chosen; the other's come with its weights
        both = split is Split.test and (weights / beyond.FOLDER).is_dir()
        track = Track.beyond if both else Track.paper
    system, parts = load_system(weights, track.value), out.with_name(out.name + ".parts")
    if split is Split.validation and track is Track.paper:
        results = choose(System.load(weights), dataset, healthy, parts)
        write_settings(Settings(**results["settings"]), weights)
    elif any(row not in system.settings.thresholds for row in system.rows):
        raise MaaError(
            f"{weights} holds no thresholds chosen on validation photographs: run "
            f"maa evaluate --split validation --weights {weights} first."
        )
    else:
        results = measure(system, dataset, split.value, healthy, {**ROWS, **beyond.NAMES}, folder=parts)
    write_json(out, results | {"files": file_fingerprints(weights)})
    shutil.rmtree(parts)

    _say(_rows_table(results, f"{len(results['photographs'])} {split.value} photographs"))
    rows = results["rows"]
    absent = [file for name, file in FILES.items() if name not in rows]
    if absent:
        _say(f"{weights} holds no {' and no '.join(absent)}, so the rows that need it are left out.")
    chosen = "; settings written to the folder of weights" if split is Split.validation and track is Track.paper else ""
    _say(f"Took {duration(results['seconds'])}.  Everything measured: {out}{chosen}.")
    if beyond.LAST in rows:
        _say(f"AUC PR beyond the paper: {rows[beyond.LAST]['average_precision']['value']:.4f}")
    last = [row for row in ROWS if row in rows][-1]
    name = "the full system" if last == FULL_SYSTEM else f"{rows[last]['name']}, the last row that the weights allow"
    _say(f"AUC PR of {name}: {rows[last]['average_precision']['value']:.4f}")


@app.command()
def segment(
    photographs: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE_OR_FOLDER...", help="Photographs, and folders of them (not folders below)."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the results.")],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="DIR", help="The folder of weights; those that come with maa by default."),
    ] = None,
    track: Annotated[
        Track,
        typer.Option(help="paper: the system of the paper.  beyond: more networks, which find more and take three times as long."),
    ] = Track.paper,
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability from which a pixel is called a microaneurysm; by default as the weights say."),
    ] = None,
    degrees: Annotated[float, typer.Option(help="Field of view of the camera.")] = 50.0,
    resize: Annotated[
        float | None,
        typer.Option(help="Resize by this factor instead of by the degrees; 1 leaves photographs as they are."),
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
    from maa.segment import MAPS, load_system, segment_files

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
        _say(table)
    # What is said of many photographs is said once, the warnings first.
    said: dict[str, list[str]] = {}
    for kind, before in (("warnings", "Warning: "), ("notes", "")):
        for row in found.itertuples():
            for sentence in getattr(row, kind):
                said.setdefault(before + sentence, []).append(row.image)
    for sentence, names in said.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        _say(f"{', '.join(names[:3])}{more}: {sentence}")
    for note in report.notes:
        _say(note)
    if len(found):
        _say(f"Lesions found: {len(report.lesions):,}, photographs: {len(found):,}, by {MAPS[system.final]}.")
        _say(f"The page to read: {out / 'index.html'}")
    for problem in report.problems:
        complain(problem)
    if report.problems:
        raise typer.Exit(2)


@app.command()
def reproduce(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for runs, weights and results.json.")],
    data: DataOption = None,
    profile: ProfileOption = ProfileName.quick,
) -> None:
    """Train and validate every row of the paper's table, once for each seed of the profile.

    With the profile "full", the ablations (ablations.json, decisive.json), U-Nets beyond the paper (beyond.json), both tracks as
    their weights ship (frozen.json), and the experiment with lesions that nobody labelled (unlabelled.json) too.

    Writes results.json (every measure of every row, and the record of the run behind it), and a folder
    `weights` with the full system, which the other commands take as --weights.  A replication that was stopped
    goes on where it was when the same command is given again.
    """
    dataset = _dataset(data)
    _writable_folder(out)
    from maa.reproduce import PAPER_GAIN
    from maa.reproduce import reproduce as replicate
    from maa.study import PROFILES

    results = replicate(dataset, PROFILES[profile.value], out)
    seeds = len(PROFILES[profile.value].seeds)
    title = f"profile {profile.value}, {seeds} seed{'s' * (seeds > 1)}, {len(results['photographs'])} {results['split']} photographs"
    _say(_rows_table(results, title))
    trained = results["training_seconds"]
    _say(f"Training took {duration(trained)} in all; this command {duration(results['seconds'])}.")
    _say(f"Results: {out / 'results.json'}.  Weights of the full system: {out / 'weights'}.")
    full, baseline = (results["rows"][row]["average_precision"]["value"] for row in ("prn_full", "hgn_1x"))
    gain = results["rows"]["prn_full"]["gain"]["relative_gain"]["value"]
    _say(
        f"AUC PR of the full system: {full:.4f}, of the baseline: {baseline:.4f}, gain {gain:+.1%} "
        f"(the paper: {PAPER_GAIN:+.1%})"
    )
    if profile is ProfileName.full:
        from maa.ablations import ablate, decide
        from maa.beyond import NAMES, Beyond, beyond
        from maa.records import write_json
        from maa.reproduce import evaluate as measure
        from maa.system import ROWS
        from maa.unlabelled import experiment

        ablate(dataset, PROFILES[profile.value], out)
        _say(f"Ablations: {out / 'ablations.json'}.")
        decide(dataset, PROFILES[profile.value], out)
        _say(f"The decisive ones with every seed, and what they raised: {out / 'decisive.json'}.")
        rows = beyond(dataset, PROFILES[profile.value], out)["rows"]
        best = max(rows.values(), key=lambda row: row["average_precision"]["value"])
        _say(f"Beyond the paper: {best['average_precision']['value']:.4f} ({best['name']}); {out / 'beyond.json'}.")
        shipped = measure(Beyond.load(out / "weights"), dataset, "validation", False, {**ROWS, **NAMES})
        write_json(out / "frozen.json", shipped)
        _say(f"Both tracks, as their weights ship: {out / 'frozen.json'}.")
        experiment(out)
        _say(f"Lesions without a label, on phantoms: {out / 'unlabelled.json'}.")


@app.command()
def transfer(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the run and results.json.")],
    data: DataOption = None,
) -> None:
    """Measure how real the phantoms are: train on phantoms alone, validate on real photographs.

    Trains HGN 0.5x on phantoms drawn at IDRiD's scale, and measures it on the validation photographs of the
    data, of which it has seen none.
    """
    dataset = _dataset(data)
    _writable_folder(out)
    from maa.reproduce import transfer as measure

    results = measure(dataset, out)
    _say(_rows_table(results, f"trained on phantoms, {len(results['photographs'])} validation photographs"))
    _say(f"Results: {out / 'results.json'}")


def complain(error) -> None:
    """Print one problem as one red line on stderr."""
    Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)


def _say(what) -> None:
    """Print a table, or one line that is never broken nor coloured."""
    out = Console()
    if isinstance(what, str):
        out.print(Text(what), soft_wrap=True, highlight=False)
    else:
        out.print(what)


def _dataset(data: Path | None):
    """The data set that `find` finds, or one sentence on how to get one."""
    from maa import idrid

    root = idrid.find(data)
    if root is None:
        raise MaaError(
            "No data were found: name their folder with --data (maa data explains how to get IDRiD, "
            "maa phantom makes some)."
        )
    return idrid.open_dataset(root)


def _writable_folder(folder: Path) -> None:
    """Complain before the work, not after it, of a folder that cannot be made or written to."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise MaaError(f"{folder} cannot be made, because {there} is a file: name another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise MaaError(f"{there} may not be written to by this user: name another folder.")


def _copy(source: Path, target: Path) -> None:
    """Copy a file in one step: whole, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        shutil.copy(source, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _rows_table(results: dict, title: str) -> Table:
    """The rows of a results file as a table, with the paper's values beside them."""
    table = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.caption = "95 % intervals over photographs.  Gain: relative, over HGN 1x.  Paper: AUC PR on IDRiD's test photographs."
    table.add_column("row")  # the one that wraps in a narrow terminal: no number may be cut
    for heading in ("AUC PR", "interval", "F1", "precision", "recall", "gain", "paper"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results["rows"].values():
        precision = row["average_precision"]
        gain = row.get("gain")
        table.add_row(
            row["name"],
            f"{precision['value']:.4f}",
            f"{precision['low']:.3f}-{precision['high']:.3f}",
            *(f"{row[key]:.3f}" for key in ("f1", "precision", "recall")),
            f"{gain['relative_gain']['value']:+.1%}" if gain else "",
            f"{row['paper']['average_precision']:.4f}" if row["paper"] else "",
        )
    return table


def _examine(record, verify: bool) -> tuple[tuple[int, int], MaaError | None]:
    """Pixels and lesions of one record and, when verifying, what is wrong with it."""
    from maa.idrid import count_lesions

    if not verify:
        return count_lesions(record), None
    try:
        record.load()
        return count_lesions(record), None
    except MaaError as error:
        return (0, 0), error


if __name__ == "__main__":
    main()
