"""Beyond the paper: what a one-stage U-Net of today gives, and what the paper's second stage adds to it.

The U-Net learns a label for every pixel, from diseased photographs and healthy ones, and of all four lesions
(see `maa.unet`).  Its second stage is the refinement network of the paper's track, unchanged, and one that saw
the unlabelled ground of diseased photographs, haemorrhages included.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from maa import evaluation
from maa.idrid import Dataset
from maa.inference import FULL, dense_map, double, log_odds, to_map
from maa.progress import track
from maa.records import cache_folder, fingerprint, write_array, write_json
from maa.reproduce import REFINEMENTS, Validation, best_weight, head
from maa.study import Profile, Study, Trained
from maa.system import Settings, field_of_view, photograph

NAMES = {
    "unet_half": "U-Net 0.5x",
    "all": "U-Net and HGNs, mean log-odds",
    "all_control": "+ candidates, without a network",
    "all_prn": "+ PRN, cross-entropy only",
    "all_prn_unlabelled": "+ PRN, healthy patches from anywhere unlabelled",
}

#: Side of the tiles that a U-Net is run on.
TILE = 512


def beyond(dataset: Dataset, profile: Profile, out, seed: int = 0) -> dict:
    """Train the U-Net and measure it, alone and with everything that the paper's track has.

    Parameters
    ----------
    dataset : Dataset
    profile : Profile
    out : path-like
        As in `maa.reproduce.reproduce`, whose runs are taken from there; writes ``beyond.json``.
    seed : int

    Returns
    -------
    dict
        For each row average precision, operating point and gains over the paper's track, with intervals over images.

    Notes
    -----
    Explained in chapter 10.
    """
    started = time.perf_counter()
    study = Study(dataset, profile, Path(out) / "runs")
    plain = REFINEMENTS["prn_cross_entropy"]
    refinements = {"all_prn": plain, "all_prn_unlabelled": replace(plain, source="unlabelled")}
    prns = {row: study.prn(refinement, seed).model for row, refinement in refinements.items()}
    unet = study.unet(0.5, seed)
    validation = Validation(study, seed)
    folder = _mapped(validation, unet)

    def every_map(index):
        first = validation.maps(index)
        found = np.load(folder / f"{validation.stacks[0].names[index]}.npy")
        mean = (log_odds(found / FULL) + log_odds(first["fused"] / FULL)) / 2
        everything = to_map(1 / (1 + np.exp(-mean)))
        yield from (first | {"unet_half": found, "all": everything}).items()
        yield from validation.second_stage(index, everything, prns, Settings().hypothesis)

    scores = validation.score(every_map, "Scoring")
    refined = {key: value for key, value in scores.items() if isinstance(key, tuple)}
    for row, name in (("control", "all_control"), *zip(prns, prns)):
        scores[name] = refined[row, best_weight(refined, row)]
    rows = {}
    for row, name in NAMES.items():
        pooled = scores[row].pooled()
        rows[row] = {
            "name": name,
            "average_precision": asdict(evaluation.bootstrap_average_precision(scores[row], samples=1000)),
            **evaluation.operating_point(*pooled, evaluation.best_f1_threshold(*pooled)),
            "by_image": evaluation.average_precision_by_image(scores[row]),
            "gains": {
                other: asdict(evaluation.paired_bootstrap(scores[row], scores[other], samples=1000))
                for other in ("hgn_1x", "hgn_half", "fused", "unet_half")
                if other != row
            },
        }
    results = {
        **head(study, validation, seed, started),
        "training_seconds": unet.record["seconds"],
        "rows": rows,
        "runs": {"unet_half": unet.record},
    }
    write_json(Path(out) / "beyond.json", results)
    return results


def _mapped(validation: Validation, run: Trained) -> Path:
    """The folder of the maps of the U-Net at 0.5x of the validation photographs, at native resolution, in the cache."""
    native, stack = validation.stacks
    folder = cache_folder() / f"maps-{fingerprint(validation.folder.name, run.path.parent.name)[:16]}"
    for index in track(list(validation.photographs), "Mapping with the U-Net"):
        path = folder / f"{native.names[index]}.npy"
        if not path.exists():
            map_ = dense_map(run.model, photograph(stack, index), field_of_view(stack, index), tile=TILE)
            write_array(path, double(map_, tuple(native.shapes[index])))
    return folder
