"""The replication: every row of the paper's table, from one command into one results file."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from maa import evaluation
from maa.errors import MaaError
from maa.findings import by_group, false_positive_breakdown, lesion_table, pooled_breakdown
from maa.hardware import device, precision
from maa.idrid import Dataset, open_dataset
from maa.inference import FULL, fuse, hypotheses, refine, score_hypotheses
from maa.patches import EX, FOV, HE, MA, SE, ImageStack, stack_photograph
from maa.phantom import PhantomConfig
from maa.prn import PRN
from maa.progress import track
from maa.recipes import recipe
from maa.records import (
    cache_folder, code_fingerprint, environment, fingerprint, write_array, write_arrays, write_json,
)
from maa.study import Profile, Study, Trained, phantoms
from maa.system import FILES, FIRST_STAGE, ROWS, SECOND_STAGE, AnySystem, Settings, System, photograph, write_settings
from maa.training import HGNConfig, PRNConfig, Schedule
from maa.weights import network_fingerprint, save_weights

#: The refinement networks that are compared, by what differs from the full one: cross-entropy alone, each of the paper's two ideas, both.
REFINEMENTS: dict[str, dict] = {
    "prn_cross_entropy": {"triplet_weight": 0.0, "selective": False},
    "prn_sampling": {"triplet_weight": 0.0},
    "prn_triplet": {"selective": False},
    "prn_full": {},
}

#: The weights of the refinement among which validation chooses.
WEIGHTS = (0.25, 0.5, 0.65, 0.75, 0.85, 0.95)

#: What the paper reports on its test images (paper, Table 2).
PAPER = {
    "hgn_1x": {"average_precision": 0.3374, "f1": 0.3618, "precision": 0.2970, "recall": 0.4626},
    "hgn_half": {"average_precision": 0.3411, "f1": 0.4001, "precision": 0.4380, "recall": 0.3682},
    "fused": {"average_precision": 0.3622, "f1": 0.3866, "precision": None, "recall": None},
}

#: The paper's headline: the relative gain of the whole over the fully convolutional network.
PAPER_GAIN = 0.3029


#: Beside the baseline, the rows that every gain is given over: what one would have without the part in question.
REFERENCES = ("hgn_half", "fused", "control", "prn_cross_entropy")

#: Where the results of the repository are when only the package was installed, as on Colab.
PUBLISHED = "https://raw.githubusercontent.com/maa-book/maa/main/results"


class Scores:
    """Pixel and lesion scores of several maps, image by image: of the rows of the table, or of pairs of row and weight."""

    #: A candidate lesion is a connected group of pixels of at least this probability.
    CANDIDATE = 0.02

    def __init__(self):
        self.pixels: dict[Hashable, evaluation.PixelScores] = {}
        self.lesions: dict[Hashable, evaluation.LesionScores] = {}

    def add(self, row: Hashable, name: str, map_: np.ndarray, truth: np.ndarray, fov: np.ndarray, diseased: bool) -> None:
        """Add one map of one photograph to a row."""
        self.pixels.setdefault(row, evaluation.PixelScores()).add(name, map_, truth, fov, diseased)
        self.lesions.setdefault(row, evaluation.LesionScores(self.CANDIDATE)).add(name, map_, truth, fov)

    def extend(self, other: Scores) -> None:
        """Add the photographs of other scores, row by row."""
        for row, pixels in other.pixels.items():
            self.pixels.setdefault(row, evaluation.PixelScores()).extend(pixels)
            self.lesions.setdefault(row, evaluation.LesionScores(self.CANDIDATE)).extend(other.lesions[row])

    def save(self, path, identity: str) -> None:
        """Write the scores to a compressed ``.npz`` file, whole or not at all, with a word on what they are the scores of."""
        arrays = {"identity": np.array(identity), "rows": np.array([json.dumps(row) for row in self.pixels])}
        for number, row in enumerate(self.pixels):
            for part in (self.pixels[row], self.lesions[row]):
                arrays |= {f"{number} {name}": array for name, array in part.arrays().items()}
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path, identity: str) -> Scores | None:
        """What `save` wrote; None where there is no such file, it is damaged, or it holds the scores of something else."""
        scores = cls()
        try:
            with np.load(path) as stored:
                if stored["identity"] != identity:
                    return None
                for number, text in enumerate(stored["rows"]):
                    row = json.loads(str(text))
                    row = tuple(row) if isinstance(row, list) else row
                    arrays = {key.split(" ", 1)[1]: stored[key] for key in stored.files if key.startswith(f"{number} ")}
                    scores.pixels[row] = evaluation.PixelScores.from_arrays(arrays)
                    scores.lesions[row] = evaluation.LesionScores.from_arrays(arrays)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        return scores

    def table(self, thresholds: Mapping[str, float], names: Mapping[str, str] = ROWS, baseline: str = "hgn_1x") -> dict:
        """Every measure of every row.

        Parameters
        ----------
        thresholds : mapping of str to float
            The probability from which a pixel is called a microaneurysm, for each row.
        names : mapping of str to str
            What each row is called.
        baseline : str
            The row that the gains are over.

        Returns
        -------
        dict
            For each row: average precision with its interval over images, operating point, curve,
            variants, FROC, calibration, the gain over the baseline, and the gains over each of `REFERENCES`.
        """
        rows = {}
        for row, scores in self.pixels.items():
            pooled = scores.pooled()
            precision, recall, _ = evaluation.precision_recall_curve(*pooled, max_points=200)
            froc = self.lesions[row].froc()
            rows[row] = {
                "name": names[row],
                "average_precision": asdict(evaluation.bootstrap_average_precision(scores, samples=1000)),
                **evaluation.operating_point(*pooled, thresholds[row]),
                "by_image": evaluation.average_precision_by_image(scores),
                "variants": evaluation.variants(scores),
                "froc": {"score": froc.score, "sensitivity": froc.summary()},
                "calibration_error": evaluation.expected_calibration_error(*pooled),
                "calibration": {key: value.round(6) for key, value in evaluation.reliability(*pooled).items()},
                "curve": {"precision": precision.round(4), "recall": recall.round(4)},
                "paper": PAPER.get(row),
                "gains": {
                    other: asdict(evaluation.paired_bootstrap(scores, self.pixels[other], samples=1000))
                    for other in (baseline, *REFERENCES)
                    if other in self.pixels and other != row
                },
            }
            if baseline in rows[row]["gains"]:
                rows[row]["gain"] = rows[row]["gains"][baseline]
        return rows


def evaluate(
    system: AnySystem,
    dataset: Dataset,
    split: str,
    healthy: bool = True,
    names: Mapping[str, str] = ROWS,
    rows: Collection[str] | None = None,
    folder=None,
) -> dict:
    """Run a system on the photographs of a split, one at a time, and measure every row with the settings as they are.

    Parameters
    ----------
    system : AnySystem
    dataset : Dataset
    split : {"validation", "test"}
    healthy : bool
        Whether healthy photographs are run too (they enter the variant that adds them, and the FROC).
    names : mapping of str to str
        What each row of the system is called.
    rows : collection of str, optional
        The rows that are wanted; by default all that the system gives.
    folder : path-like, optional
        Where the scores of each photograph are kept as soon as they are there.  An evaluation that was stopped takes from it
        what is done, if the same weights, settings, data and rows are asked for, and does the rest.

    Returns
    -------
    dict
        A results file: data, settings, versions, time, and the rows of `Scores.table`.

    Raises
    ------
    MaaError
        When a row has no threshold that was chosen on validation.
    """
    rows = [row for row in system.rows if rows is None or row in rows]
    if not set(rows) <= system.settings.thresholds.keys():
        raise MaaError(
            "The system has no thresholds chosen on validation photographs for all of its rows: "
            "run `maa evaluate --split validation` with its weights first."
        )

    def maps(stacks: tuple[ImageStack, ImageStack]) -> Iterable[tuple[Hashable, np.ndarray]]:
        return system.maps(stacks, rows=rows).items()

    started = time.perf_counter()
    measured = _measured(system, dataset, split, healthy, folder, rows, maps)
    return _results(system, dataset, split, measured, system.settings, names, started)


def choose(system: System, dataset: Dataset, healthy: bool = True, folder=None) -> dict:
    """Choose the weight of each second stage and every row's threshold on the validation photographs, and measure with them.

    Parameters and what is returned are as in `evaluate`; "settings" holds what was chosen, as `reproduce` chooses it.
    """

    def maps(stacks: tuple[ImageStack, ImageStack]) -> Iterable[tuple[Hashable, np.ndarray]]:
        first = system.first_stage(stacks)
        yield from first.items()
        base = system.base(first)
        found = system.hypotheses(base)
        for row in (row for row in system.rows if row in SECOND_STAGE):
            opinions = system.opinions(row, base, found, stacks)
            yield from (((row, weight), refine(base, found, opinions, weight)) for weight in WEIGHTS)

    started = time.perf_counter()
    measured = _measured(system, dataset, "validation", healthy, folder, WEIGHTS, maps)
    weighed = {key: pixels for key, pixels in measured.pixels.items() if isinstance(key, tuple)}
    chosen = {row: best_weight(weighed, row) for row in system.rows if row in SECOND_STAGE}
    keys = {row: (row, chosen[row]) if row in chosen else row for row in system.rows}
    measured.pixels = {row: measured.pixels[key] for row, key in keys.items()}
    measured.lesions = {row: measured.lesions[key] for row, key in keys.items()}
    thresholds = {row: evaluation.best_f1_threshold(*pixels.pooled()) for row, pixels in measured.pixels.items()}
    settings = replace(system.settings, weights={**system.settings.weights, **chosen}, thresholds=thresholds)
    return _results(system, dataset, "validation", measured, settings, ROWS, started)


def _measured(system: AnySystem, dataset: Dataset, split: str, healthy: bool, folder, asked, maps: Callable) -> Scores:
    """The scores of every map that ``maps(stacks)`` gives of the photographs of a split, kept photograph by photograph."""
    identity = fingerprint(network_fingerprint(system.networks), asdict(system.settings), dataset.fingerprint, asked, recipe("maps"))
    scores = Scores()
    for record in track(dataset.select(split, None if healthy else True), f"Evaluating {split} photographs"):
        path = Path(folder) / f"{record.name}.npz" if folder else None
        one = Scores.load(path, identity) if path else None
        if one is None:
            one, fundus = Scores(), record.load(kinds=("MA",))
            for row, map_ in maps(stack_photograph(fundus.image, fundus.fov, fundus.name)):
                one.add(row, fundus.name, map_, fundus.ma, fundus.fov, fundus.diseased)
            if path:
                one.save(path, identity)
        scores.extend(one)
    return scores


def _results(
    system: AnySystem, dataset: Dataset, split: str, scores: Scores, settings: Settings, names: Mapping[str, str], started: float
) -> dict:
    """What a results file says of an evaluation."""
    thresholds = {row: settings.thresholds[row] for row in scores.pixels}
    return {
        "split": split,
        "data": dataset.fingerprint,
        "photographs": next(iter(scores.pixels.values())).names,
        "weights": network_fingerprint(system.networks),
        "settings": asdict(replace(settings, thresholds=thresholds)),
        "environment": environment(),
        "seconds": time.perf_counter() - started,
        "rows": scores.table(thresholds, names),
    }


class Validation:
    """The validation photographs of a study, as one set of first-stage networks sees them.

    The dense maps take nearly all the time of a measurement, so they are made once and kept in the cache.

    Parameters
    ----------
    study : Study
    seed : int
        Of the networks, which are trained if they are not there.
    """

    def __init__(self, study: Study, seed: int):
        self.first_stage = {"hgn_1x": study.hgn(1.0, seed), "hgn_half": study.hgn(0.5, seed)}
        self.stacks, self.data = study.validation, study.dataset.fingerprint
        self.photographs = np.flatnonzero(self.stacks[0].diseased)
        self.names = [self.stacks[0].names[index] for index in self.photographs]
        for index in track(list(self.photographs), "Mapping validation photographs"):
            for run in self.first_stage.values():
                self.alone(run, index)

    def kept(self, run: Trained, what: str, index: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """A map of a photograph by a network: from the cache, where ``make()`` puts it the first time."""
        key = fingerprint(self.data, run.record.key, what, recipe("maps"), str(device()), precision(device()))
        path = cache_folder() / f"maps-{key[:16]}" / f"{self.stacks[0].names[index]}.npy"
        if not path.exists():
            write_array(path, make())
        return np.load(path)

    def alone(self, run: Trained, index: int) -> np.ndarray:
        """The map that a hypothesis generation network of either scale gives without the other."""
        pair = (run.model, None) if run.record.config.scale == 1 else (None, run.model)
        return self.kept(run, "alone", index, lambda: next(iter(System(*pair).maps(self.stacks, index).values())))

    def maps(self, index: int) -> dict[str, np.ndarray]:
        """The maps of the first stage, by row."""
        maps = {row: self.alone(run, index) for row, run in self.first_stage.items()}
        return maps | {"fused": fuse(list(maps.values()))}

    def about(self, index: int) -> dict:
        """What `PixelScores.add` needs to know of a photograph beside the map."""
        label = self.stacks[0].label(index)
        return {"name": self.stacks[0].names[index], "truth": (label & MA) > 0, "fov": (label & FOV) > 0}

    def score(self, make: Callable[[int], Iterable[tuple[Hashable, np.ndarray]]], description: str) -> dict:
        """Pixel scores of every map that ``make(index)`` gives of a photograph, in pairs of key and map."""
        scores = {}
        for index in track(list(self.photographs), description):
            about = self.about(index)
            for key, map_ in make(index):
                scores.setdefault(key, evaluation.PixelScores()).add(scores=map_, **about)
        return scores

    def second_stage(self, index: int, base: np.ndarray, prns: Mapping[Hashable, PRN], threshold: float, weights=WEIGHTS):
        """A map of a photograph refined by the control and by networks: pairs of (row, weight) and map, one at a time."""
        found = hypotheses(base, threshold)
        opinions = {"control": base[tuple(found.centres.T)] / FULL}
        opinions |= {row: score_hypotheses(prn, self.stacks, index, found.centres) for row, prn in prns.items()}
        for row, opinion in opinions.items():
            for weight in weights:
                yield (row, weight), refine(base, found, opinion, weight)


def head(study: Study, validation: Validation, seed: int, started: float) -> dict:
    """What every results file says first: budget, seed, data, photographs, surroundings, and time since `started`."""
    return {
        "profile": asdict(study.profile),
        "seed": seed,
        "split": "validation",
        "data": study.dataset.fingerprint,
        "photographs": validation.names,
        "environment": environment(),
        "seconds": time.perf_counter() - started,
    }


def measures(scores: evaluation.PixelScores) -> dict:
    """What the record of a run says of its model: average precision, and the operating point with the best F1."""
    pooled = scores.pooled()
    threshold = evaluation.best_f1_threshold(*pooled)
    return {"average_precision": evaluation.average_precision(*pooled), **evaluation.operating_point(*pooled, threshold)}


def best_weight(scores: Mapping, row: str) -> float:
    """The weight with the highest average precision among scores keyed by (row, weight); of equals, the smallest."""
    weights = [weight for key, weight in scores if key == row]
    return max(weights, key=lambda weight: evaluation.average_precision(*scores[row, weight].pooled()))


def reproduce(dataset: Dataset, profile: Profile, out) -> dict:
    """Train and validate every row of the paper's table, once for each seed of the profile.

    Parameters
    ----------
    dataset : Dataset
    profile : Profile
    out : path-like
        Where the runs (``runs/``), the weights of the full system of the best seed (``weights/``) and the results
        (``results.json``) go.  A run that is there already is not repeated, so a replication that was stopped
        goes on where it was.

    Returns
    -------
    dict
        The results file: for each row every seed, mean, spread and intervals over images and seeds; the other
        measures are those of the seed whose full system is best.

    Notes
    -----
    Explained in chapter 8.
    """
    started = time.perf_counter()
    out = Path(out)
    study = Study(dataset, profile, out / "runs")
    settings = Settings()
    by_seed, weights, trained = [], [], []
    for seed in profile.seeds:
        runs = {"hgn_1x": study.hgn(1.0, seed), "hgn_half": study.hgn(0.5, seed)}
        runs |= {row: study.prn(seed, **changes) for row, changes in REFINEMENTS.items()}
        validation = Validation(study, seed)
        networks = {row: runs[row].model for row in REFINEMENTS}

        def every_map(index):
            maps = validation.maps(index)
            yield from maps.items()
            yield from validation.second_stage(index, maps["fused"], networks, settings.hypothesis)

        scores = validation.score(every_map, f"Scoring seed {seed}")
        refined = {key: value for key, value in scores.items() if key not in FIRST_STAGE}
        chosen = {row: best_weight(refined, row) for row in SECOND_STAGE}
        by_seed.append({row: scores[row] for row in FIRST_STAGE} | {row: scores[row, chosen[row]] for row in SECOND_STAGE})
        weights.append(chosen)
        trained.append(runs)
        for row, run in runs.items():
            run.add_metrics(**measures(by_seed[-1][row]), **({"weight": chosen[row]} if row in chosen else {}))

    def precision(seed, row):
        return evaluation.average_precision(*by_seed[seed][row].pooled())

    best = max(range(len(by_seed)), key=lambda seed: precision(seed, "prn_full"))
    thresholds = {row: evaluation.best_f1_threshold(*scores.pooled()) for row, scores in by_seed[best].items()}
    settings = replace(
        settings,
        weights=weights[best],
        thresholds=thresholds,
    )
    _ship(trained[best], settings, out / "weights")

    # Lesions are looked for in the maps of the best seed only.
    validation = Validation(study, profile.seeds[best])
    measured = Scores()
    measured.pixels = by_seed[best]
    networks = {row: trained[best][row].model for row in REFINEMENTS}
    findings = {}
    for index in track(list(validation.photographs), "Counting lesions"):
        maps = validation.maps(index)
        tried = sorted(set(weights[best].values()))
        second = dict(validation.second_stage(index, maps["fused"], networks, settings.hypothesis, tried))
        about = validation.about(index)
        for row in by_seed[best]:
            map_ = maps[row] if row in maps else second[row, weights[best][row]]
            measured.lesions.setdefault(row, evaluation.LesionScores(Scores.CANDIDATE)).add(scores=map_, **about)
            if row in FINDINGS:
                label, image = validation.stacks[0].label(index), photograph(validation.stacks[0], index)
                lesions, false = findings.setdefault(row, ([], {}))
                others = (label & (HE | EX | SE)) > 0
                lesions.append(lesion_table(image, about["truth"], about["fov"], map_, thresholds[row], others))
                false[about["name"]] = false_positive_breakdown(map_, thresholds[row], label, image)

    rows = measured.table(thresholds)
    for row, values in rows.items():
        runs = [scores[row] for scores in by_seed]
        values["seeds"] = [precision(seed, row) for seed in range(len(by_seed))]
        values["spread"] = float(np.std(values["seeds"], ddof=1)) if len(by_seed) > 1 else None
        values["average_precision"] = asdict(evaluation.bootstrap_average_precision(runs, samples=1000))
        values["gains"] = {
            other: asdict(evaluation.paired_bootstrap(runs, [scores[other] for scores in by_seed], samples=1000))
            for other in ("hgn_1x", *REFERENCES)
            if other != row
        }
        if "gain" in values:
            values["gain"] = values["gains"]["hgn_1x"]
        froc = evaluation.bootstrap_froc(measured.lesions[row], samples=1000)
        values["froc"]["intervals"] = {point: asdict(interval) for point, interval in froc.items()}
    results = {
        **head(study, validation, profile.seeds[best], started),
        "code": code_fingerprint(),
        "settings": asdict(settings),
        "refinement_weights": weights[best],
        "refinement_weights_by_seed": weights,
        "training_seconds": sum(run.record.seconds for runs in trained for run in runs.values()),
        "rows": rows,
        "findings": {row: _summary(*found) for row, found in findings.items()},
        "runs": {row: run.record.as_json() for row, run in trained[best].items()},
        "other_seeds": [
            {row: {key: run.record.as_json()[key] for key in ("seed", "seconds", "config", "environment")} for row, run in runs.items()}
            for index, runs in enumerate(trained)
            if index != best
        ],
    }
    write_json(out / "results.json", results)
    return results


#: The rows whose lesions and false positives are looked at one by one.
FINDINGS = ("hgn_1x", "fused", "prn_full")

#: Groups of lesions: diameter in pixels, and contrast in units of the photograph's spread (dark is negative).
DIAMETERS = (0, 10, 15, 20, 30, np.inf)
CONTRASTS = (-np.inf, -3, -2, -1, 0)


def _summary(lesions, false) -> dict:
    """Lesions found by size and by contrast, and where the false positives lie."""
    table = pd.concat(lesions)
    breakdown = pooled_breakdown(false)
    breakdown["dark_dots"] = len(breakdown["dark_dots"])  # where they are is for a gallery, not for a results file
    return {
        "by_diameter": by_group(table, "diameter", DIAMETERS),
        "by_contrast": by_group(table, "contrast", CONTRASTS),
        "false_positives": breakdown,
    }


def _ship(runs: Mapping[str, Trained], settings: Settings, folder: Path) -> None:
    """Write the weights of every row to a folder, in half precision, and the settings beside them."""
    for row, file in FILES.items():
        save_weights(runs[row].model, folder / file, half=True)
    write_settings(settings, folder)


#: Phantoms at IDRiD's scale, with three times its lesions so that few photographs hold enough of them.
TRANSFER_PHANTOMS = {"n_diseased": 30, "n_healthy": 24, "n_test": 0, "seed": 11}
TRANSFER = Profile(
    "transfer",
    hgn_1x=HGNConfig(1.0, Schedule(steps=1200)),
    hgn_half=HGNConfig(0.5, Schedule(steps=1200)),
    prn=PRNConfig(Schedule(steps=1)),
)


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
    results = choose(System(hgn_half=trained.model), dataset, healthy=False)
    results |= {"profile": asdict(TRANSFER), "runs": {"hgn_half": trained.record.as_json()}}
    write_json(Path(out) / "results.json", results)
    return results


def published(name: str, file: str = "results") -> dict | None:
    """A results file of the repository, for a page that shows it.

    Parameters
    ----------
    name : str
        A folder of ``results``: what `reproduce`, `transfer` or an opening of the test half wrote there.
    file : str
        Which of its files, without ``.json``.

    Returns
    -------
    dict or None
        None where the file is neither in the checkout nor to be had from the network.

    Notes
    -----
    ``MAA_RESULTS`` names another folder to look in, and nowhere else: for a book about a replication of one's own.
    """
    own = os.environ.get("MAA_RESULTS")
    local = Path(own or Path(__file__).parent.parent / "results") / name / f"{file}.json"
    if own or local.exists():
        return json.loads(local.read_text()) if local.exists() else None
    try:
        with urllib.request.urlopen(f"{PUBLISHED}/{name}/{file}.json", timeout=10) as reply:
            return json.load(reply)
    except (urllib.error.URLError, TimeoutError, json.JSONDecodeError):
        return None
