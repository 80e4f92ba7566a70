"""The authors' argument, put to the test where the truth is known: lesions that nobody labelled.

Healthy patches from diseased photographs hold lesions that the annotators left out, and teach a network that a lesion is
background; so the authors take them from healthy patients only.  On real photographs nobody knows what was left out.
Phantoms are drawn twice, alike to the byte, once with all masks and once without a share of the microaneurysms: the
networks learn from what is labelled and are judged by what is there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from maa import evaluation
from maa.data.idrid import open_dataset
from maa.data.pools import SOURCES, ma_pixels, pixels_of
from maa.data.stacks import FOV, MA, ImageStack
from maa.inference.candidates import score_patches
from maa.inference.system import System, field_of
from maa.models.hgn import HGN
from maa.models.prn import PRN
from maa.phantom.config import PhantomConfig
from maa.progress import bar
from maa.provenance import Json, PathLike, environment, write_json
from maa.replication.profiles import Profile
from maa.replication.study import Study, phantoms
from maa.training.config import HGNConfig, PRNConfig, Schedule
from maa.training.sampling import draw

#: Shares of the microaneurysms that carry no label.
SHARES = (0.0, 0.3, 0.6)
#: Photographs of every set: three in four train, one in four validates.
PHOTOGRAPHS = {"n_diseased": 32, "n_healthy": 32, "n_test": 0, "seed": 21}
PROFILE = Profile(
    "unlabelled",
    hgn_1x=HGNConfig(1.0, Schedule(steps=400, batch=256, reports=1), width=8, pool=200_000),
    hgn_half=HGNConfig(0.5, Schedule(steps=400, batch=256, reports=1), width=8, pool=200_000),
    prn=PRNConfig(Schedule(steps=250, batch=128, learning_rate=2e-3, reports=1), width=8, pool=10_000),
    seeds=(0, 1, 2),
)
#: Refinement networks, from a random start so that all they know comes from the patches of their source.
_SAMPLING = {"uniform": False, "selective": True}


def experiment(
    out: PathLike, config: PhantomConfig = PhantomConfig(), profile: Profile = PROFILE, shares: Sequence[float] = SHARES
) -> Json:
    """Train networks on phantoms with a share of the labels left out, for every source of healthy patches.

    Explained in ch:real.

    Parameters
    ----------
    out : path-like
        Where the results go (``unlabelled.json``); the networks, small and many, are kept in the cache.
    config : PhantomConfig
        Of the phantoms, but for the share of unlabelled lesions.
    profile : Profile
        Each network is trained once for each of its seeds.
    shares : sequence of float
        Of unlabelled lesions, 0 to 1.

    Returns
    -------
    dict
        ``networks``, one entry for each share, source, seed and network: ``hgn_1x``, whose maps are measured, and two
        refinement networks, with uniform and with selective sampling, which judge the patches around pixels.  Each
        has the average precision against the whole truth (``true``) and against the labels that were left
        (``labelled``), on the same validation photographs.
    """
    started = time.perf_counter()
    studies = {
        share: Study(open_dataset(phantoms(replace(config, unlabelled=share), **PHOTOGRAPHS)), profile)
        for share in (0.0, *shares)
    }
    whole = studies[0.0].validation
    entries, total = [], len(shares) * len(SOURCES) * len(profile.seeds)
    with bar("Leaving labels out", total) as advance:
        for share in shares:
            labels = studies[share].validation
            assert np.array_equal(whole[0].pixels, labels[0].pixels), "the same photographs, whatever is labelled"
            for source in SOURCES:
                for seed in profile.seeds:
                    setting = {"share": share, "source": source, "seed": seed}
                    hgn = studies[share].hgn(1.0, seed, source=source).model
                    entries.append({**setting, "network": "hgn_1x", **_map_precision(hgn, whole[0], labels[0])})
                    for name, selective in _SAMPLING.items():
                        prn = studies[share].prn(seed, triplet_weight=0.0, selective=selective, warm=False, source=source).model
                        entries.append({**setting, "network": f"prn_{name}", **_patch_precision(prn, whole, labels)})
                    advance(len(entries) // 3)
    results = {
        "profile": asdict(profile),
        "phantoms": {**asdict(config), **PHOTOGRAPHS},
        "data": {str(share): study.dataset.fingerprint for share, study in studies.items()},
        "split": "validation",
        "environment": environment(),
        "seconds": time.perf_counter() - started,
        "networks": entries,
    }
    write_json(Path(out) / "unlabelled.json", results)
    return results


def _map_precision(hgn: HGN, whole: ImageStack, labels: ImageStack) -> Json:
    """Average precision of the dense maps of a network at 1x, against the truth and against the labels."""
    scores = {"true": evaluation.PixelScores(), "labelled": evaluation.PixelScores()}
    for index in np.flatnonzero(whole.diseased).tolist():
        map_ = System(hgn).maps((whole, whole), index)["hgn_1x"]
        for ruler, stack in zip(scores, (whole, labels)):
            truth = (stack.label(index) & MA) > 0
            scores[ruler].add(whole.names[index], map_, truth, field_of(whole, index))
    return {ruler: evaluation.average_precision(*pixels.pooled()) for ruler, pixels in scores.items()}


def _patch_precision(prn: PRN, whole: tuple[ImageStack, ImageStack], labels: tuple[ImageStack, ImageStack]) -> Json:
    """Average precision of a refinement network on pixels drawn from diseased photographs, weighed to stand for all."""
    rng = np.random.default_rng(0)  # the same pixels for every network
    every = {"lesions": ma_pixels(whole[0]), "ground": pixels_of(whole[0], FOV)}
    marked = _labels(whole[0], every["ground"]) & MA > 0
    every["ground"] = every["ground"][~marked]
    counts = {"lesions": 4000, "ground": 20_000}
    where = np.concatenate([draw(every[name], count, rng) for name, count in counts.items()])
    weight = np.concatenate([np.full(count, len(every[name]) / count) for name, count in counts.items()])
    probability = score_patches(prn, whole, where)[0]
    result = {}
    for ruler, stack in (("true", whole[0]), ("labelled", labels[0])):
        truth = _labels(stack, where) & MA > 0
        result[ruler] = float(average_precision_score(truth, probability, sample_weight=weight))
    return result


def _labels(stack: ImageStack, where: np.ndarray) -> np.ndarray:
    """The labels of pixels: (K, 3) to (K,)."""
    return stack.gather_labels(where, 1)[:, 0, 0]
