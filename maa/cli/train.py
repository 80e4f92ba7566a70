"""``maa train`` and ``maa evaluate``: one network, and every row of a folder of weights."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from maa.cli.base import (
    DataOption,
    ProfileOption,
    SeedOption,
    Track,
    app,
    find_dataset,
    folder_option,
    rows_table,
    say,
    writable_file,
    writable_folder,
)
from maa.errors import MaaError
from maa.progress import duration

#: The networks that can be trained, by the names of their weights files.
Network = Literal["hgn-1x", "hgn-0.5x", "prn"]


@app.command()
def train(
    network: Annotated[Network, Argument(help="Which network: one of the first stage's two, or the second's.")],
    out: Annotated[Path, folder_option("--out", "The folder of weights to write into.")],
    data: DataOption = None,
    profile: ProfileOption = "quick",
    seed: SeedOption = 0,
) -> None:
    """Train one network of the system on the training photographs.

    Writes the weights (NETWORK.safetensors) and beside them a record of the run (NETWORK.json): configuration, seed,
    fingerprints of data and code, versions, time, and the history of every measure.  Three runs into one folder, one for each
    network, make a whole system.  The second stage starts from the first, whose networks of the same seed are trained before it
    where OUT/runs does not hold them.

    A run that was stopped goes on at its last checkpoint when the same command is given again, and one that is complete is not
    repeated; OUT/runs keeps both.

    Several GPUs of a machine train together under `accelerate launch --multi_gpu --num_processes 4 -m maa train ...`
    (`pip install 'maa[devices]'`): each takes its share of every batch, and the losses are those of one, but for rounding.
    """
    from maa.training.devices import is_first

    if not is_first():  # the first one speaks and writes
        os.environ["MAA_PROGRESS"] = "0"
    dataset = find_dataset(data)
    writable_folder(out)
    from maa.provenance import write_in_one_step, write_json
    from maa.replication.profiles import PROFILES
    from maa.replication.study import Study

    study = Study(dataset, PROFILES[profile], out / "runs")
    trained = study.prn(seed) if network == "prn" else study.hgn(1.0 if network == "hgn-1x" else 0.5, seed)
    if not is_first():
        return
    weights = out / f"{network}.safetensors"
    write_in_one_step(weights, lambda file: file.write(trained.path.read_bytes()))
    write_json(weights.with_suffix(".json"), trained.record.as_json())

    last = trained.history.iloc[-1]
    counts = {diseased: sum(r.diseased is diseased for r in study.records("train")) for diseased in (True, False)}
    size = sum(parameter.numel() for parameter in trained.model.parameters())
    say(f"Network      {network}, {size:,} parameters, seed {seed}")
    say(f"Photographs  {counts[True]} diseased, {counts[False]} healthy")
    say(f"Training     {last['step']:,.0f} steps in {duration(last['seconds'])}, loss {last['loss']:.4f} at the end")
    if "validation_ap" in trained.history:
        say(f"Validation   AUC PR {last['validation_ap']:.4f} on a sample of pixels at the network's scale")
    say(f"Weights      {weights}", f"Record       {weights.with_suffix('.json')}")


@app.command()
def evaluate(
    split: Annotated[Literal["validation", "test"], Option(help="validation: to choose.  test: once, at the end.")],
    weights: Annotated[
        Path | None,
        folder_option("--weights", "The folder of weights.  For the test split, by default the frozen ones that ship."),
    ] = None,
    out: Annotated[
        Path | None,
        Option("--out", metavar="FILE.json", help="The results file to write, by default the split's name here, test.json."),
    ] = None,
    data: DataOption = None,
    healthy: Annotated[
        bool, Option(help="Whether healthy photographs are run too: for false alarms a photograph, and one of the variants.")
    ] = True,
    track: Annotated[
        Track | None,
        Option(
            help="paper: the rows of the paper's table.  beyond: those and the U-Nets'.  By default all that the weights allow."
        ),
    ] = None,
) -> None:
    """Measure every row of the paper's table that the weights allow.

    The measure is the average precision of the pooled pixels inside the field of view, at native resolution, with its interval
    over photographs; then F1, precision and recall at one threshold.  On the validation photographs the thresholds are chosen,
    and written into the folder of weights (settings.json); on the test photographs they are taken from there as they are.  The
    rows of the track beyond the paper are measured too, where the folder of weights has one.

    The results file holds much more: curves, the variants that the literature uses, FROC, calibration, the primary contrasts of
    results/protocol.md where every row is there that they take, and the fingerprints of the weights.

    Photograph by photograph, what is measured is kept in a folder beside the results file, FILE.json.parts, until all are done:
    an evaluation that was stopped goes on where it was when the same command is given again.
    """
    if weights is None and split == "validation":
        raise MaaError(
            "What is chosen on validation photographs is written into the folder of weights: name yours with --weights."
        )
    from maa.segmentation.one import default_weights, load_system

    weights, out = weights or default_weights(), out or Path(f"{split}.json")
    dataset = find_dataset(data)
    from maa.replication.evaluate import annotated

    annotated(dataset, split)
    writable_file(out)
    from maa.inference import beyond
    from maa.inference.system import FILES, FULL_SYSTEM, ROWS, Settings, write_settings
    from maa.provenance import file_fingerprints, write_json
    from maa.replication.evaluate import choose
    from maa.replication.evaluate import evaluate as measure

    if track is None:
        track = "beyond" if (weights / beyond.FOLDER).is_dir() else "paper"
    system, parts = load_system(weights, track), out.with_name(out.name + ".parts")
    names = ROWS | beyond.BEYOND_ROWS
    if split == "validation":
        results = choose(system, dataset, healthy, names, parts)
        write = beyond.write_both_settings if track == "beyond" else write_settings
        write(Settings(**results["settings"]), weights)
    elif any(row not in system.settings.thresholds for row in system.rows):
        raise MaaError(
            f"{weights} holds no thresholds chosen on validation photographs: run "
            f"maa evaluate --split validation --weights {weights} first."
        )
    else:
        results = measure(system, dataset, split, healthy, names, folder=parts)
    write_json(out, results | {"files": file_fingerprints(weights)})
    shutil.rmtree(parts)

    say(rows_table(results, f"{len(results['photographs'])} {split} photographs"))
    rows = results["rows"]
    absent = [file for name, file in FILES.items() if name not in rows]
    if absent:
        say(f"{weights} holds no {' and no '.join(absent)}, so the rows that need it are left out.")
    chosen = "; settings written to the folder of weights" if split == "validation" else ""
    say(f"Took {duration(results['seconds'])}.  Everything measured: {out}{chosen}.")
    if beyond.LAST in rows:
        say(f"AUC PR beyond the paper: {rows[beyond.LAST]['average_precision']['value']:.4f}")
    last = [row for row in ROWS if row in rows][-1]
    name = "the full system" if last == FULL_SYSTEM else f"{rows[last]['name']}, the last row that the weights allow"
    say(f"AUC PR of {name}: {rows[last]['average_precision']['value']:.4f}")
