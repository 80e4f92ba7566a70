"""``maa train`` and ``maa evaluate``: one network, and every row of a folder of weights."""

from __future__ import annotations

import os
import shutil
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from maa.cli.base import (
    DataOption,
    ProfileName,
    ProfileOption,
    SeedOption,
    Track,
    app,
    find_dataset,
    rows_table,
    say,
    writable_folder,
)
from maa.errors import MaaError
from maa.progress import duration


class Network(str, Enum):
    """The networks that can be trained, by the names of their weights files."""

    hgn_1x = "hgn-1x"
    hgn_half = "hgn-0.5x"
    prn = "prn"


class Split(str, Enum):
    """The splits that can be evaluated."""

    validation = "validation"
    test = "test"


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
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.inference.system import FILES
    from maa.provenance import write_json
    from maa.replication.profiles import PROFILES
    from maa.replication.study import Study

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
    say(f"Network      {network.value}, {size:,} parameters, seed {seed}")
    say(f"Photographs  {counts[True]} diseased, {counts[False]} healthy")
    say(f"Training     {last['step']:,.0f} steps in {duration(last['seconds'])}, loss {last['loss']:.4f} at the end")
    if "validation_ap" in trained.history:
        say(f"Validation   AUC PR {last['validation_ap']:.4f} on a sample of pixels at the network's scale")
    say(f"Weights      {weights}")
    say(f"Record       {weights.with_suffix('.json')}")


@app.command()
def evaluate(
    split: Annotated[Split, typer.Option(help="validation: to choose.  test: once, at the end.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", metavar="DIR", help="The folder of weights.  For the test split, by default the frozen ones that ship."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.json", help="The results file to write, by default the split's name here, test.json."
        ),
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
        typer.Option(
            help="paper: the rows of the paper's table.  beyond: those and the U-Nets'.  By default all that the weights allow."
        ),
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
        raise MaaError(
            "What is chosen on validation photographs is written into the folder of weights: name yours with --weights."
        )
    from maa.segmentation.one import default_weights, load_system

    weights, out = weights or default_weights(), out or Path(f"{split.value}.json")
    dataset = find_dataset(data)
    if not dataset.select(split.value, diseased=True):
        raise MaaError(f"{dataset.root} holds no {split.value} photographs with annotations: name a data folder that does.")
    if out.is_dir() or (out.parent.exists() and not out.parent.is_dir()):
        raise MaaError(f"{out} cannot be written as a file: name the results file, for example results.json.")
    writable_folder(out.parent)
    from maa.inference import beyond
    from maa.inference.system import FILES, FULL_SYSTEM, ROWS, Settings, System, write_settings
    from maa.provenance import file_fingerprints, write_json
    from maa.replication.evaluate import choose
    from maa.replication.evaluate import evaluate as measure

    if (
        track is None
    ):  # on validation photographs the settings of the paper's track are chosen; the other's come with its weights
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
        results = measure(system, dataset, split.value, healthy, {**ROWS, **beyond.BEYOND_ROWS}, folder=parts)
    write_json(out, results | {"files": file_fingerprints(weights)})
    shutil.rmtree(parts)

    say(rows_table(results, f"{len(results['photographs'])} {split.value} photographs"))
    rows = results["rows"]
    absent = [file for name, file in FILES.items() if name not in rows]
    if absent:
        say(f"{weights} holds no {' and no '.join(absent)}, so the rows that need it are left out.")
    chosen = "; settings written to the folder of weights" if split is Split.validation and track is Track.paper else ""
    say(f"Took {duration(results['seconds'])}.  Everything measured: {out}{chosen}.")
    if beyond.LAST in rows:
        say(f"AUC PR beyond the paper: {rows[beyond.LAST]['average_precision']['value']:.4f}")
    last = [row for row in ROWS if row in rows][-1]
    name = "the full system" if last == FULL_SYSTEM else f"{rows[last]['name']}, the last row that the weights allow"
    say(f"AUC PR of {name}: {rows[last]['average_precision']['value']:.4f}")


def _copy(source: Path, target: Path) -> None:
    """Copy a file in one step: whole, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        shutil.copy(source, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
