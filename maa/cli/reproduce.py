"""``maa reproduce`` and ``maa transfer``: whole experiments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from typer import Argument, Option

from maa.cli.base import (
    ClusterOption,
    DataOption,
    JobsOption,
    ProfileOption,
    app,
    find_dataset,
    folder_option,
    rows_table,
    say,
    writable_folder,
)
from maa.progress import duration

if TYPE_CHECKING:
    from maa.data.idrid import Dataset
    from maa.provenance import Json
    from maa.replication.profiles import Profile


@app.command()
def reproduce(
    out: Annotated[Path, folder_option("--out", "The folder for runs, weights and results.json.")],
    data: DataOption = None,
    profile: ProfileOption = "quick",
    jobs: JobsOption = 1,
    cluster: ClusterOption = None,
) -> None:
    """Train and validate every row of the paper's table, once for each seed of the profile.

    With the profile "full", the ablations (ablations.json, decisive.json), U-Nets beyond the paper (beyond.json), the experiment
    with lesions that nobody labelled (unlabelled.json), the cross-validation under either reading of the paper (crossval.json,
    arms.json, crossval-centre.json, arms-centre.json), that of other first stages (reading-centre.json, reading-decoder.json,
    reading-longer.json) and of the track beyond the paper (crossval-beyond.json), and the version that ships (frozen.json) too.

    Writes results.json (every measure of every row, and the record of the run behind it), and a folder `weights` with the full
    system, which the other commands take as --weights; with the profile "full" that of the version that ships.  A replication
    that was stopped goes on where it was when the same command is given again.

    With `--jobs` or `--cluster` several networks are trained at a time, each by one process, before anything is measured.  The
    workers of a Dask cluster (`pip install 'maa[cluster]'`) have the same maa, and see the data and OUT under the same paths.
    Numbers are the same to the bit where each process has the same number of threads (`OMP_NUM_THREADS`).
    """
    dataset = find_dataset(data and data.absolute())
    writable_folder(out)
    from maa.parallel import spread
    from maa.replication.grid import train
    from maa.replication.profiles import PROFILES
    from maa.replication.reproduce import reproduce as replicate
    from maa.replication.scores import PAPER_GAIN

    budget = PROFILES[profile]
    if jobs > 1 or cluster:
        with spread(jobs, cluster):
            train(dataset, budget, out, everything=profile == "full")
    results = replicate(dataset, budget, out)
    seeds, photographs = len(budget.seeds), len(results["photographs"])
    title = f"profile {profile}, {seeds} seed{'s' * (seeds > 1)}, {photographs} {results['split']} photographs"
    say(rows_table(results, title))
    say(f"Training took {duration(results['training_seconds'])} in all; this command {duration(results['seconds'])}.")
    say(f"Results: {out / 'results.json'}.  Weights of the full system: {out / 'weights'}.")
    full, baseline = (results["rows"][row]["average_precision"]["value"] for row in ("prn_full", "hgn_1x"))
    gain = results["rows"]["prn_full"]["gain"]["relative_gain"]["value"]
    gains = f"gain {gain:+.1%} (the paper: {PAPER_GAIN:+.1%})"
    say(f"AUC PR of the full system: {full:.4f}, of the baseline: {baseline:.4f}, {gains}")
    if profile == "full":
        from maa.replication.ablations import ablate, decide
        from maa.replication.beyond import beyond
        from maa.replication.unlabelled import experiment

        ablate(dataset, budget, out)
        say(f"Ablations: {out / 'ablations.json'}.")
        decide(dataset, budget, out)
        say(f"The decisive ones with every seed, and what they raised: {out / 'decisive.json'}.")
        rows = beyond(dataset, budget, out)["rows"]
        best = max(rows.values(), key=lambda row: row["average_precision"]["value"])
        say(f"Beyond the paper: {best['average_precision']['value']:.4f} ({best['name']}); {out / 'beyond.json'}.")
        experiment(out)
        say(f"Lesions without a label, on phantoms: {out / 'unlabelled.json'}.")
        with spread(jobs, cluster):
            for reading in get_args(PaperReading):
                _crossval(dataset, budget, out, reading)
                _arms(dataset, budget, out, reading)
            _beyond(dataset, budget, out)
            for other in get_args(Reading):
                _reading(dataset, budget, out, other)
        _freeze(dataset, budget, out)


#: What the paper's "trained on patches" may mean for the first stage: windows with masks, or patches with the label of their centre.
PaperReading = Literal["windows", "centre"]
PaperReadingOption = Annotated[
    PaperReading, Option(help="What the first stage is trained on: windows with masks, or centre pixels.")
]


@app.command()
def crossval(
    out: Annotated[Path, folder_option("--out", "The folder for runs and crossval.json.")],
    data: DataOption = None,
    profile: ProfileOption = "full",
    reading: PaperReadingOption = "windows",
    jobs: JobsOption = 1,
    cluster: ClusterOption = None,
) -> None:
    """Cross-validate both stages on every photograph that is not held back, as results/protocol.md lays down.

    Six folds; the first stage under either reading of the paper, the second on its candidates, with each of the paper's ideas.
    Writes crossval.json, or crossval-centre.json: every row, and the primary contrasts with what is to be said of them.  Goes on
    where it was stopped.
    """
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.parallel import spread
    from maa.replication.profiles import PROFILES

    with spread(jobs, cluster):
        _crossval(dataset, PROFILES[profile], out, reading)


def _crossval(dataset: Dataset, budget: Profile, out: Path, reading: PaperReading) -> None:
    from maa.replication.crossval import cross_validate, file_of

    _say_rows(cross_validate(dataset, budget, out, reading=reading), out / file_of("crossval", reading))


#: What the first stage may be, other than a patch network on windows with masks.
Reading = Literal["centre", "decoder", "longer"]


@app.command()
def reading(
    reading: Annotated[
        Reading,
        Argument(help="Patches with the label of their centre, an encoder-decoder on the windows, or those twice as long."),
    ],
    out: Annotated[Path, folder_option("--out", "The folder for runs and the results.")],
    data: DataOption = None,
    profile: ProfileOption = "full",
    jobs: JobsOption = 1,
    cluster: ClusterOption = None,
) -> None:
    """Cross-validate another first stage, alone, in the six folds of maa crossval.

    Writes reading-centre.json, reading-decoder.json or reading-longer.json.  Goes on where it was stopped.
    """
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.parallel import spread
    from maa.replication.profiles import PROFILES

    with spread(jobs, cluster):
        _reading(dataset, PROFILES[profile], out, reading)


def _reading(dataset: Dataset, budget: Profile, out: Path, reading: Reading) -> None:
    from maa.replication.crossval import read_otherwise

    _say_rows(read_otherwise(dataset, budget, out, reading), out / f"reading-{reading}.json")


@app.command()
def arms(
    out: Annotated[Path, folder_option("--out", "The folder where maa crossval left its runs and results.")],
    data: DataOption = None,
    profile: ProfileOption = "full",
    reading: PaperReadingOption = "windows",
    arm: Annotated[list[str] | None, Option(help="Ask this one only, such as 'warm start'; may be given again.")] = None,
    jobs: JobsOption = 1,
    cluster: ClusterOption = None,
) -> None:
    """Ask further questions of the second stage, in the parts of a cross-validation that is there.

    Whose candidates its negatives are, whether it starts from the first stage's features, and every sampler over all healthy ground:
    each beside cross-entropy alone.  Writes arms.json, or arms-centre.json.  Goes on where it was stopped.
    """
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.parallel import spread
    from maa.replication.profiles import PROFILES

    with spread(jobs, cluster):
        _arms(dataset, PROFILES[profile], out, reading, arm)


def _arms(dataset: Dataset, budget: Profile, out: Path, reading: PaperReading, only: list[str] | None = None) -> None:
    from maa.replication.crossval import ARMS, ask_further, file_of

    _say_rows(ask_further(dataset, budget, out, only or [*ARMS], reading), out / file_of("arms", reading))


@app.command()
def beyond(
    out: Annotated[Path, folder_option("--out", "The folder where maa crossval left its runs and results.")],
    data: DataOption = None,
    profile: ProfileOption = "full",
    jobs: JobsOption = 1,
    cluster: ClusterOption = None,
) -> None:
    """Cross-validate the track beyond the paper, in the parts of a cross-validation that is there.

    A U-Net in each part, its mean with the first stage, and second networks on that.  Writes crossval-beyond.json.  Goes on where it
    was stopped.
    """
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.parallel import spread
    from maa.replication.profiles import PROFILES

    with spread(jobs, cluster):
        _beyond(dataset, PROFILES[profile], out)


def _beyond(dataset: Dataset, budget: Profile, out: Path) -> None:
    from maa.replication.crossval import go_beyond

    _say_rows(go_beyond(dataset, budget, out), out / "crossval-beyond.json")


def _say_rows(results: Json, file: Path) -> None:
    for row, values in results["rows"].items():
        interval = values["average_precision"]
        say(f"{row:46} {interval['value']:.4f}  ({interval['low']:.4f} to {interval['high']:.4f})")
    for name, decision in results.get("contrasts", {}).items():
        say(f"{name:4} {decision['difference']['value']:+.4f}  {decision['verdict']}")
    say(f"Results: {file}")


@app.command()
def freeze(
    out: Annotated[Path, folder_option("--out", "The folder where maa crossval left its runs and crossval.json.")],
    data: DataOption = None,
    profile: ProfileOption = "full",
) -> None:
    """Train the version that ships, by the paper's split, and choose its settings on the validation photographs.

    It takes the windows reading, candidates that the networks of the cross-validation propose, and the triplet loss and sampler that
    it chose.  Writes a folder `weights` with both tracks, in half precision, and frozen.json: every row, the primary contrasts, and
    the fingerprint of every file.  Nothing is trained twice.
    """
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.replication.profiles import PROFILES

    _freeze(dataset, PROFILES[profile], out)


def _freeze(dataset: Dataset, budget: Profile, out: Path) -> None:
    from maa.replication.freeze import freeze

    results = freeze(dataset, budget, out)
    say(rows_table(results, f"the version that ships, {len(results['photographs'])} validation photographs"))
    say(f"Weights: {out / 'weights'}.  Results: {out / 'frozen.json'}")


@app.command()
def transfer(
    out: Annotated[Path, folder_option("--out", "The folder for the run and results.json.")], data: DataOption = None
) -> None:
    """Measure how real the phantoms are: train on phantoms alone, validate on real photographs.

    Trains HGN 0.5x on phantoms drawn at IDRiD's scale, and measures it on the validation photographs of the data, of which it
    has seen none.
    """
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.replication.transfer import transfer as measure

    results = measure(dataset, out)
    title = f"trained on phantoms, {len(results['photographs'])} validation photographs"
    say(rows_table(results, title), f"Results: {out / 'results.json'}")
