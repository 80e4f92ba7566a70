"""The version that ships: the windows reading, its second stage on candidates, and the track beyond the paper on top."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from maa.data.idrid import Dataset
from maa.inference.beyond import BEYOND_ROWS, FOLDER, PRN_FILE, Beyond, write_both_settings
from maa.inference.system import ROWS, Settings
from maa.models.weights import save_weights
from maa.provenance import Json, PathLike, file_fingerprints, write_json
from maa.replication.beyond import MEMBERS
from maa.replication.crossval import DISEASED, PRIMARY, both_ideas, crossed_in, parts_of, proposed
from maa.replication.evaluate import choose
from maa.replication.profiles import Profile
from maa.replication.records import Trained
from maa.replication.reproduce import ship
from maa.replication.study import Study


def freeze(dataset: Dataset, profile: Profile, out: PathLike) -> Json:
    """Train what ships by the paper's split, as results/protocol.md lays down, and choose its settings on the validation photographs.

    The second stages are trained on candidates that the networks of the cross-validation propose, each in photographs that it had
    not seen, with the triplet loss and the sampler that the cross-validation chose.

    Parameters
    ----------
    dataset : Dataset
    profile : Profile
        The budget; its first seed is that of every network but the U-Nets, whose seeds are `MEMBERS`.
    out : path-like
        Where `maa.replication.crossval.cross_validate` left its runs and results.  Writes the weights of every row in half precision
        (``weights/``), with their settings, and ``frozen.json``.  A run that is there is not repeated.

    Returns
    -------
    dict
        As `maa.replication.evaluate.choose`, with the fingerprint of every file that ships and the record of every run behind it.

    Raises
    ------
    MaaError
        When there is no cross-validation in the folder.
    """
    started, out = time.perf_counter(), Path(out).absolute()
    crossed, seed = crossed_in(out), profile.seeds[0]
    centres = proposed(parts_of(dataset, profile, out, len(crossed["folds"])))
    study = Study(dataset, profile, out / "runs")
    first = {"hgn_1x": study.windows(1.0, seed), "hgn_half": study.windows(0.5, seed)}
    idea = {row: PRIMARY[variant] for row, variant in crossed["chosen"].items()}
    second = {"prn_cross_entropy": {}, **idea, "prn_full": both_ideas(crossed["chosen"]), "beyond": DISEASED}
    runs: dict[str, Trained[Any]] = {
        **first,
        **{row: study.refinement(centres, [*first.values()], seed, **changes) for row, changes in second.items()},
    }
    unets = {f"unet-0.5x-{member}": study.unet(member) for member in MEMBERS}

    folder = out / "weights"
    ship(runs, Settings(), folder)
    save_weights(runs["beyond"].model, folder / FOLDER / PRN_FILE, half=True)
    for name, run in unets.items():
        save_weights(run.model, folder / FOLDER / f"{name}.safetensors", half=True)
    results = choose(Beyond.load(folder), dataset, healthy=False, names=ROWS | BEYOND_ROWS)
    write_both_settings(Settings(**results["settings"]), folder)
    results |= {
        "seed": seed,
        "files": file_fingerprints(folder),
        "runs": {name: run.record.as_json() for name, run in (runs | unets).items()},
        "seconds": time.perf_counter() - started,
    }
    write_json(out / "frozen.json", results)
    return results
