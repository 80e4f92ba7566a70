"""Beyond the paper: what one-stage U-Nets of today give, and what the paper's second stage adds to them.

The U-Nets learn a label for every pixel, from diseased photographs and healthy ones, and of all four lesions (see
`maa.unet`).  Their maps are averaged with those of the paper's first stage, and the refinement network, which here saw
the unlabelled ground of diseased photographs, haemorrhages included, judges the candidates of the average.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from maa import evaluation
from maa.errors import MaaError
from maa.hardware import device
from maa.idrid import Dataset
from maa.inference import FULL, dense_map, double, hypotheses, log_odds, refine, score_hypotheses, to_map
from maa.patches import ImageStack
from maa.prn import PRN
from maa.records import write_json
from maa.reproduce import REFINEMENTS, WEIGHTS, Validation, best_weight, head, measures
from maa.study import Profile, Study, Trained
from maa.system import Settings, System, field_of_view, photograph, read_settings, write_settings
from maa.unet import UNet
from maa.weights import load_weights, save_weights

NAMES = {
    "hgn_1x_long": "HGN 1x, as many patches as the whole system",
    "hgn_half_long": "HGN 0.5x, as many patches as the whole system",
    "unet": "U-Net 0.5x",
    "unet_mirrored": "U-Net 0.5x, mirrored four ways",
    "unets": "two U-Nets 0.5x, mirrored four ways",
    "all": "U-Nets and HGNs, mean log-odds",
    "all_control": "+ candidates, without a network",
    "all_prn": "+ PRN, cross-entropy only",
    "all_prn_unlabelled": "+ PRN, healthy patches from anywhere unlabelled",
}

#: The row that ships: see `Beyond`.
LAST = "all_prn_unlabelled"

#: The rows of `Beyond` that the paper's system does not have.
OWN = ("unets", "all", LAST)

#: File name of its refinement network.
PRN_FILE = "prn.safetensors"

#: Side of the tiles that a U-Net is run on.
TILE = 512

#: Seeds of the U-Nets that are averaged.
MEMBERS = (0, 1)

#: Where the weights of this track lie in a folder of weights.
FOLDER = "beyond"


@dataclass(frozen=True, eq=False)
class Beyond:
    """Both tracks: the paper's system, and what its first stage and U-Nets give together.

    Attributes
    ----------
    paper : System
        With both of its hypothesis generation networks.
    unets : tuple of UNet
        At 0.5x.
    prn : PRN
        The refinement network of this track.
    settings : Settings
        Of this track, chosen on validation; its thresholds include those of the paper's rows.
    """

    paper: System
    unets: tuple[UNet, ...]
    prn: PRN
    settings: Settings

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Beyond:
        """Read the paper's system from a folder of weights, and the rest from `FOLDER` in it.

        Raises
        ------
        MaaError
            When there is no U-Net, a network is missing, or a file is damaged.
        """
        own = Path(folder) / FOLDER
        files = sorted(own.glob("unet-0.5x-*.safetensors"))
        if not files:
            raise MaaError(f"{own} holds no U-Net (unet-0.5x-*.safetensors): name another folder of weights.")
        paper, settings = System.load(folder), read_settings(own)
        settings = replace(
            settings,
            weights=paper.settings.weights | settings.weights,
            thresholds=paper.settings.thresholds | settings.thresholds,
        )
        unets = tuple(load_weights(file, UNet).to(device()) for file in files)
        return cls(paper, unets, load_weights(own / PRN_FILE, PRN).to(device()), settings)

    @property
    def rows(self) -> list[str]:
        """The keys of the maps that `maps` gives, each after those that it builds on."""
        return [*self.paper.rows, *OWN]

    @property
    def final(self) -> str:
        """The row to use."""
        return LAST

    @property
    def networks(self) -> list[nn.Module]:
        """All networks of both tracks."""
        return [*self.paper.networks, *self.unets, self.prn]

    def maps(
        self, stacks: tuple[ImageStack, ImageStack], index: int = 0, rows: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The paper's maps, then the mean of the U-Nets, that of all networks, and that refined; as `System.maps`."""
        rows = self.rows if rows is None else rows
        maps = self.paper.maps(stacks, index, {*rows, "fused"})
        if not set(rows).isdisjoint(OWN):
            maps["unets"] = mean_log_odds([mirrored_map(unet, stacks, index) for unet in self.unets])
            maps["all"] = mean_log_odds([maps["unets"], maps["fused"]])
        if LAST in rows:
            found = hypotheses(maps["all"], self.settings.hypothesis)
            scores = score_hypotheses(self.prn, stacks, index, found.centres)
            maps[LAST] = refine(maps["all"], found, scores, self.settings.weight(LAST))
        return {row: map_ for row, map_ in maps.items() if row in rows}


def mean_log_odds(maps: Sequence[np.ndarray]) -> np.ndarray:
    """One map, uint16, whose log-odds are the mean of those of several; zero where all of them are."""
    mean = sum(log_odds(map_.astype(np.float32) / FULL) for map_ in maps) / len(maps)
    return to_map(1 / (1 + np.exp(-mean))) * np.any([map_ > 0 for map_ in maps], axis=0)


def mirrored_map(unet: UNet, stacks: tuple[ImageStack, ImageStack], index: int, ways: int = 4) -> np.ndarray:
    """A U-Net's map of a photograph at native resolution, the mean log-odds over its mirror images.

    Parameters
    ----------
    unet : UNet
        At 0.5x.
    stacks : tuple of ImageStack
        At 1x and at 0.5x.
    index : int
        Which photograph of the stacks.
    ways : {1, 2, 4}
        As it is; also upside down; also left and right.

    Returns
    -------
    ndarray, shape (H, W), uint16
    """
    native, half = stacks
    image, fov = photograph(half, index), field_of_view(half, index)
    maps = []
    for down, right in ((1, 1), (-1, 1), (1, -1), (-1, -1))[:ways]:
        seen, inside = (np.ascontiguousarray(array[::down, ::right]) for array in (image, fov))
        maps.append(dense_map(unet, seen, inside, tile=TILE)[::down, ::right])
    return double(mean_log_odds(maps), tuple(native.shapes[index]))


def beyond(dataset: Dataset, profile: Profile, out, seed: int = 0) -> dict:
    """Train the U-Nets and measure them, alone and with everything that the paper's track has.

    Parameters
    ----------
    dataset : Dataset
    profile : Profile
    out : path-like
        As in `maa.reproduce.reproduce`, whose runs are taken from there; writes ``beyond.json``, and the weights of
        `Beyond` into ``weights/beyond/``.
    seed : int
        Of everything but the U-Nets, whose seeds are `MEMBERS`.

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
    runs = {"all_prn": study.prn(seed, **plain), LAST: study.prn(seed, **plain, source="unlabelled")}
    unets = [study.unet(member) for member in MEMBERS]
    long = _long(study, seed)
    validation = Validation(study, seed)

    def once(run, index):
        return validation.kept(run, "once", index, lambda: mirrored_map(run.model, validation.stacks, index, ways=1))

    def mirrored(run, index):
        return validation.kept(run, "mirrored", index, lambda: mirrored_map(run.model, validation.stacks, index))

    def every_map(index):
        first = validation.maps(index)
        yield from first.items()
        for row, run in long.items():
            yield row, validation.alone(run, index)
        yield "unet", once(unets[0], index)
        each = [mirrored(run, index) for run in unets]
        together = mean_log_odds(each)
        everything = mean_log_odds([together, first["fused"]])
        yield from {"unet_mirrored": each[0], "unets": together, "all": everything}.items()
        prns = {row: run.model for row, run in runs.items()}
        yield from validation.second_stage(index, everything, prns, Settings().hypothesis)

    scores = validation.score(every_map, "Scoring the track beyond the paper")
    refined = {key: value for key, value in scores.items() if isinstance(key, tuple)}
    weights = {row: best_weight(refined, row) for row in ("control", *runs)}
    for row, name in (("control", "all_control"), *zip(runs, runs)):
        scores[name] = refined[row, weights[row]]
    rows, thresholds = {}, {}
    for row, name in NAMES.items():
        pooled = scores[row].pooled()
        thresholds[row] = evaluation.best_f1_threshold(*pooled)
        rows[row] = {
            "name": name,
            "average_precision": asdict(evaluation.bootstrap_average_precision(scores[row], samples=1000)),
            **evaluation.operating_point(*pooled, thresholds[row]),
            "by_image": evaluation.average_precision_by_image(scores[row]),
            "gains": {
                other: asdict(evaluation.paired_bootstrap(scores[row], scores[other], samples=1000))
                for other in ("hgn_1x", "hgn_half", "fused", "unet")
                if other != row
            },
        }
    for row, run in {"unet": unets[0], **long}.items():
        run.add_metrics(**measures(scores[row]))
    settings = Settings(weights={LAST: weights[LAST]}, thresholds={row: thresholds[row] for row in OWN})
    _ship(runs[LAST], unets, settings, Path(out) / "weights" / FOLDER)
    trained = {**{f"unet-{member}": run for member, run in zip(MEMBERS, unets)}, **runs, **long}
    results = {
        **head(study, validation, seed, started),
        "settings": asdict(settings),
        "weights_tried": list(WEIGHTS),
        "rows": rows,
        "runs": {name: run.record.as_json() for name, run in trained.items()},
    }
    write_json(Path(out) / "beyond.json", results)
    return results


def _long(study: Study, seed: int) -> dict[str, Trained]:
    """Each HGN trained on as many patches as all three networks of the paper's system together."""
    profile = study.profile
    # A patch of the refinement network is one at each of two scales.
    schedules = [config.schedule for config in (profile.hgn_1x, profile.hgn_half, profile.prn, profile.prn)]
    patches = sum(schedule.steps * schedule.batch for schedule in schedules)
    long = {}
    for row, scale, config in (("hgn_1x_long", 1.0, profile.hgn_1x), ("hgn_half_long", 0.5, profile.hgn_half)):
        schedule = replace(config.schedule, steps=round(patches / config.schedule.batch))
        long[row] = study.hgn(scale, seed, schedule=schedule)
    return long


def _ship(prn: Trained, unets: Sequence[Trained], settings: Settings, folder: Path) -> None:
    """Write what `Beyond` adds to the paper's system, whose weights lie in the folder above."""
    save_weights(prn.model, folder / PRN_FILE, half=True)
    for member, run in zip(MEMBERS, unets):
        save_weights(run.model, folder / f"unet-0.5x-{member}.safetensors", half=True)
    write_settings(settings, folder)
