"""The replication: every row of the paper's table, from one command into one results file."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from maa import evaluation
from maa.errors import MaaError
from maa.idrid import Dataset, open_dataset
from maa.inference import refine, score_hypotheses
from maa.patches import MA, ImageStack, stack_photograph
from maa.phantom import PhantomConfig
from maa.prn import PRN
from maa.progress import track
from maa.records import code_fingerprint, environment, write_json
from maa.study import Profile, Study, phantoms
from maa.system import FILES, ROWS, System, field_of_view
from maa.training import Refinement, Schedule

#: The refinement networks that are compared: cross-entropy alone, each of the paper's two ideas, and both.
REFINEMENTS = {
    "prn_cross_entropy": Refinement(triplet_weight=0.0, selective=False),
    "prn_sampling": Refinement(triplet_weight=0.0, selective=True),
    "prn_triplet": Refinement(selective=False),
    "prn_full": Refinement(),
}

NAMES = {
    **ROWS,
    "prn_cross_entropy": "+ PRN, cross-entropy only",
    "prn_sampling": "+ PRN, selective sampling",
    "prn_triplet": "+ PRN, triplet loss",
    "prn_full": "+ PRN, both: the full system",
}

#: The weights of the refinement among which validation chooses.
WEIGHTS = (0.1, 0.25, 0.5, 0.75, 0.9)

#: What the paper reports on its test images (paper, Table 2).
PAPER = {
    "hgn_1x": {"average_precision": 0.3374, "f1": 0.3618, "precision": 0.2970, "recall": 0.4626},
    "hgn_half": {"average_precision": 0.3411, "f1": 0.4001, "precision": 0.4380, "recall": 0.3682},
    "fused": {"average_precision": 0.3622, "f1": 0.3866, "precision": None, "recall": None},
}

#: The paper's headline: the relative gain of the whole over the fully convolutional network.
PAPER_GAIN = 0.3029


#: Where the results of the repository are when only the package was installed, as on Colab.
PUBLISHED = "https://raw.githubusercontent.com/maa-book/maa/main/results"


class Scores:
    """Pixel and lesion scores of every row of the table, image by image."""

    #: A candidate lesion is a connected group of pixels of at least this probability.
    CANDIDATE = 0.5

    def __init__(self):
        self.pixels: dict[str, evaluation.PixelScores] = {}
        self.lesions: dict[str, evaluation.LesionScores] = {}

    def add(self, row: str, name: str, map_: np.ndarray, truth: np.ndarray, fov: np.ndarray, diseased: bool) -> None:
        """Add one map of one photograph to a row."""
        self.pixels.setdefault(row, evaluation.PixelScores()).add(name, map_, truth, fov, diseased)
        self.lesions.setdefault(row, evaluation.LesionScores(self.CANDIDATE)).add(name, map_, truth, fov)

    def table(self, thresholds: Mapping[str, float], baseline: str = "hgn_1x") -> dict:
        """Every measure of every row.

        Parameters
        ----------
        thresholds : mapping of str to float
            The probability from which a pixel is called a microaneurysm, for each row.
        baseline : str
            The row that the gains are over.

        Returns
        -------
        dict
            For each row: average precision with its interval over images, operating point, curve,
            variants, FROC, calibration, and the gain over the baseline.
        """
        rows = {}
        for row, scores in self.pixels.items():
            pooled = scores.pooled()
            precision, recall, _ = evaluation.precision_recall_curve(*pooled, max_points=200)
            froc = self.lesions[row].froc()
            rows[row] = {
                "name": NAMES[row],
                "average_precision": asdict(evaluation.bootstrap_average_precision(scores, samples=1000)),
                **evaluation.operating_point(*pooled, thresholds[row]),
                "by_image": evaluation.average_precision_by_image(scores),
                "variants": evaluation.variants(scores),
                "froc": {"score": froc.score, "sensitivity": froc.summary()},
                "calibration_error": evaluation.expected_calibration_error(*pooled),
                "curve": {"precision": precision.round(4), "recall": recall.round(4)},
                "paper": PAPER.get(row),
            }
            if baseline in self.pixels and row != baseline:
                gain = evaluation.paired_bootstrap(scores, self.pixels[baseline], samples=1000)
                rows[row]["gain"] = asdict(gain)
        return rows


def evaluate(system: System, dataset: Dataset, split: str, healthy: bool = True) -> dict:
    """Run a system on the photographs of a split, one at a time, and measure every row.

    On the validation split the weight of the refinement and the thresholds are chosen, as `reproduce` chooses
    them; on the test split they are taken as they are.

    Parameters
    ----------
    system : System
    dataset : Dataset
    split : {"validation", "test"}
    healthy : bool
        Whether healthy photographs are run too (they enter the variant that adds them, and the FROC).

    Returns
    -------
    dict
        A results file: data, settings, versions, time, and the rows of `Scores.table`.

    Raises
    ------
    MaaError
        When a row has no threshold that was chosen on validation, and the split is the test split.
    """
    if split == "test" and not system.rows <= system.settings.thresholds.keys():
        raise MaaError(
            "The system has no thresholds chosen on validation photographs for all of its rows: "
            "run `maa evaluate --split validation` with its weights first."
        )
    records = dataset.select(split, None if healthy else True)
    started = time.perf_counter()
    scores, settings = Scores(), system.settings
    candidates = {weight: Scores() for weight in WEIGHTS} if system.prn and split == "validation" else {}
    # While the weight is being chosen the candidates are scored below, once for all weights.
    mapped = replace(system, prn=None) if candidates else system
    for record in track(records, f"Evaluating {split} photographs"):
        fundus = record.load(kinds=("MA",))
        about = {"name": fundus.name, "truth": fundus.ma, "fov": fundus.fov, "diseased": fundus.diseased}
        stacks = stack_photograph(fundus.image, fundus.fov, fundus.name)
        maps = mapped.maps(stacks)
        for row, map_ in maps.items():
            scores.add(row, map_=map_, **about)
        if candidates:
            base = system.base(maps)
            found = system.hypotheses(base)
            probabilities = score_hypotheses(system.prn, stacks, 0, found.centres)
            for weight, refined in candidates.items():
                refined.add("refined", map_=refine(base, found, probabilities, weight), **about)
    if candidates:
        settings = replace(settings, weight=_best_weight(candidates, "refined"))
        scores.pixels |= candidates[settings.weight].pixels
        scores.lesions |= candidates[settings.weight].lesions
    thresholds = dict(settings.thresholds)
    if split == "validation":
        thresholds = {row: evaluation.best_f1_threshold(*pixels.pooled()) for row, pixels in scores.pixels.items()}
    return {
        "split": split,
        "data": dataset.fingerprint,
        "photographs": [record.name for record in records],
        "settings": asdict(replace(settings, thresholds=thresholds)),
        "environment": environment(),
        "seconds": time.perf_counter() - started,
        "rows": scores.table(thresholds),
    }


def _best_weight(candidates: Mapping[float, Scores], row: str) -> float:
    """The weight of the refinement with the highest average precision; of equals, the smallest."""
    return max(candidates, key=lambda weight: evaluation.average_precision(*candidates[weight].pixels[row].pooled()))


FIRST_STAGE = ("hgn_1x", "hgn_half", "fused")


def validate(first_stage: System, prns: Mapping[str, PRN], stacks: tuple[ImageStack, ImageStack], photographs: Iterable[int]):
    """Score validation photographs with the first stage, and with every refinement at every weight.

    The dense maps take nearly all the time, so they are made once and shared.

    Returns
    -------
    scores : Scores
        Of the rows of the first stage.
    refined : dict of (str, float) to Scores
        By refinement network and weight.
    """
    scores = Scores()
    refined = {(row, weight): Scores() for row in prns for weight in WEIGHTS}
    for index in track(list(photographs), "Evaluating validation photographs"):
        fov = field_of_view(stacks[0], index)
        truth = (stacks[0].label(index) & MA) > 0
        about = {"name": stacks[0].names[index], "truth": truth, "fov": fov, "diseased": bool(stacks[0].diseased[index])}
        maps = first_stage.maps(stacks, index)
        for row, map_ in maps.items():
            scores.add(row, map_=map_, **about)
        found = first_stage.hypotheses(maps["fused"])
        for row, prn in prns.items():
            probabilities = score_hypotheses(prn, stacks, index, found.centres)
            for weight in WEIGHTS:
                refined[row, weight].add(row, map_=refine(maps["fused"], found, probabilities, weight), **about)
    return scores, refined


def reproduce(dataset: Dataset, profile: Profile, out, seed: int = 0) -> dict:
    """Train and validate every row of the paper's table.

    Parameters
    ----------
    dataset : Dataset
    profile : Profile
    out : path-like
        Where the runs, the weights of the full system (``weights/``) and the results
        (``results.json``) go.  A run that is there already is not repeated, so a replication that
        was stopped goes on where it was.
    seed : int

    Returns
    -------
    dict
        The results file, as `evaluate` writes it, with the run behind each row.

    Notes
    -----
    Explained in chapter 8.
    """
    started = time.perf_counter()
    out = Path(out)
    study = Study(dataset, profile, out / "runs")
    trained = {"hgn_1x": study.hgn(1.0, seed), "hgn_half": study.hgn(0.5, seed)}
    trained |= {row: study.prn(refinement, seed) for row, refinement in REFINEMENTS.items()}

    first_stage = System(trained["hgn_1x"].model, trained["hgn_half"].model, None)
    prns = {row: trained[row].model for row in REFINEMENTS}
    photographs = np.flatnonzero(study.validation[0].diseased)
    scores, refined = validate(first_stage, prns, study.validation, photographs)
    weights = {row: _best_weight({weight: refined[row, weight] for weight in WEIGHTS}, row) for row in prns}
    for row, weight in weights.items():
        scores.pixels |= refined[row, weight].pixels
        scores.lesions |= refined[row, weight].lesions
    thresholds = {row: evaluation.best_f1_threshold(*pixels.pooled()) for row, pixels in scores.pixels.items()}

    folder = out / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    for network, row in (("hgn_1x", "hgn_1x"), ("hgn_half", "hgn_half"), ("prn", "prn_full")):
        shutil.copy(trained[row].path, folder / FILES[network])
    settings = replace(
        first_stage.settings,
        weight=weights["prn_full"],
        thresholds={row: thresholds[row] for row in FIRST_STAGE} | {"refined": thresholds["prn_full"]},
    )
    System(None, None, None, settings).save_settings(folder)

    results = {
        "profile": asdict(profile),
        "seed": seed,
        "split": "validation",
        "data": dataset.fingerprint,
        "code": code_fingerprint(*sorted(path.stem for path in Path(__file__).parent.glob("*.py"))),
        "photographs": [study.validation[0].names[index] for index in photographs],
        "settings": asdict(settings),
        "refinement_weights": weights,
        "environment": environment(),
        "seconds": time.perf_counter() - started,
        "rows": scores.table(thresholds),
        "runs": {row: run.record for row, run in trained.items()},
    }
    write_json(out / "results.json", results)
    return results


#: Phantoms at IDRiD's scale, with three times its lesions so that few photographs hold enough of them.
TRANSFER_PHANTOMS = {"n_diseased": 30, "n_healthy": 24, "n_test": 0, "seed": 11}
TRANSFER = Profile("transfer", Schedule(steps=1200), Schedule(steps=1200), Schedule(steps=1))


def transfer(dataset: Dataset, out) -> dict:
    """How real the phantom is: a network that has seen phantoms only, on real validation photographs.

    Parameters
    ----------
    dataset : Dataset
        Real photographs.  None of them is trained on.
    out : path-like
        Where the run and the results (``results.json``) go.

    Returns
    -------
    dict
        The results file, as `evaluate` writes it, for the row "HGN 0.5x".

    Notes
    -----
    Explained in chapter 1.
    """
    root = phantoms(PhantomConfig(size=1368, lesion_density=3.0), **TRANSFER_PHANTOMS)
    trained = Study(open_dataset(root), TRANSFER, Path(out) / "runs").hgn(0.5)
    results = evaluate(System(None, trained.model, None), dataset, "validation", healthy=False)
    results |= {"profile": asdict(TRANSFER), "runs": {"hgn_half": trained.record}}
    write_json(Path(out) / "results.json", results)
    return results


def published(name: str) -> dict | None:
    """A results file of the repository, for a page that shows it.

    Parameters
    ----------
    name : str
        A folder of ``results``: what `reproduce` or `transfer` wrote there.

    Returns
    -------
    dict or None
        None where the file is neither in the checkout nor to be had from the network.
    """
    local = Path(__file__).parent.parent / "results" / name / "results.json"
    if local.exists():
        return json.loads(local.read_text())
    try:
        with urllib.request.urlopen(f"{PUBLISHED}/{name}/results.json", timeout=10) as reply:
            return json.load(reply)
    except (urllib.error.URLError, TimeoutError, json.JSONDecodeError):
        return None
