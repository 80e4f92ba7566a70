"""``maa reproduce`` and ``maa transfer``: whole experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maa.cli.base import DataOption, ProfileName, ProfileOption, app, find_dataset, rows_table, say, writable_folder
from maa.progress import duration


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
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.replication.profiles import PROFILES
    from maa.replication.reproduce import reproduce as replicate
    from maa.replication.scores import PAPER_GAIN

    results = replicate(dataset, PROFILES[profile.value], out)
    seeds = len(PROFILES[profile.value].seeds)
    title = f"profile {profile.value}, {seeds} seed{'s' * (seeds > 1)}, {len(results['photographs'])} {results['split']} photographs"
    say(rows_table(results, title))
    trained = results["training_seconds"]
    say(f"Training took {duration(trained)} in all; this command {duration(results['seconds'])}.")
    say(f"Results: {out / 'results.json'}.  Weights of the full system: {out / 'weights'}.")
    full, baseline = (results["rows"][row]["average_precision"]["value"] for row in ("prn_full", "hgn_1x"))
    gain = results["rows"]["prn_full"]["gain"]["relative_gain"]["value"]
    say(
        f"AUC PR of the full system: {full:.4f}, of the baseline: {baseline:.4f}, gain {gain:+.1%} "
        f"(the paper: {PAPER_GAIN:+.1%})"
    )
    if profile is ProfileName.full:
        from maa.inference.beyond import BEYOND_ROWS, Beyond
        from maa.inference.system import ROWS
        from maa.provenance import write_json
        from maa.replication.ablations import ablate, decide
        from maa.replication.beyond import beyond
        from maa.replication.evaluate import evaluate as measure
        from maa.replication.unlabelled import experiment

        ablate(dataset, PROFILES[profile.value], out)
        say(f"Ablations: {out / 'ablations.json'}.")
        decide(dataset, PROFILES[profile.value], out)
        say(f"The decisive ones with every seed, and what they raised: {out / 'decisive.json'}.")
        rows = beyond(dataset, PROFILES[profile.value], out)["rows"]
        best = max(rows.values(), key=lambda row: row["average_precision"]["value"])
        say(f"Beyond the paper: {best['average_precision']['value']:.4f} ({best['name']}); {out / 'beyond.json'}.")
        shipped = measure(Beyond.load(out / "weights"), dataset, "validation", False, {**ROWS, **BEYOND_ROWS})
        write_json(out / "frozen.json", shipped)
        say(f"Both tracks, as their weights ship: {out / 'frozen.json'}.")
        experiment(out)
        say(f"Lesions without a label, on phantoms: {out / 'unlabelled.json'}.")


@app.command()
def transfer(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the run and results.json.")],
    data: DataOption = None,
) -> None:
    """Measure how real the phantoms are: train on phantoms alone, validate on real photographs.

    Trains HGN 0.5x on phantoms drawn at IDRiD's scale, and measures it on the validation photographs of the
    data, of which it has seen none.
    """
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.replication.transfer import transfer as measure

    results = measure(dataset, out)
    say(rows_table(results, f"trained on phantoms, {len(results['photographs'])} validation photographs"))
    say(f"Results: {out / 'results.json'}")
