"""Folds: the photographs that are not held back for the test in parts, and each part as networks see it that were trained on the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maa import evaluation
from maa.data.idrid import Dataset
from maa.data.pools import dilate
from maa.inference.candidates import Hypotheses, hypotheses, refine, refined_levels, score_hypotheses
from maa.inference.fusion import mean_log_odds
from maa.inference.maps import FULL_SCALE, log_odds
from maa.inference.system import Settings
from maa.models.prn import PRN
from maa.models.unet import UNet
from maa.progress import track
from maa.replication.profiles import Profile
from maa.replication.records import Trained
from maa.replication.scores import REFINEMENT_WEIGHTS
from maa.replication.study import Study
from maa.replication.validation import Validation
from maa.training.candidates import NEAR


def _longer(study: Study, scale: float, seed: int) -> Trained[Any]:
    schedule = study.profile.windows.schedule
    return study.windows(scale, seed, schedule=replace(schedule, steps=2 * schedule.steps))


#: What the first stage may be, and how a network of a scale is trained: the paper's "trained on patches" read as windows with masks,
#: which the second stage is built on, or as patches with the label of their centre (ch:hgn); an encoder-decoder on those windows; and
#: the network on windows trained twice as long, so that either scale has the time of both.
READINGS: dict[str, Callable[..., Trained[Any]]] = {
    "windows": Study.windows,
    "centre": Study.hgn,
    "decoder": Study.decoder,
    "longer": _longer,
}
#: Nine of IDRiD's 54 diseased photographs a fold.
FOLDS = 6

Pixels = evaluation.PixelScores


def folds(dataset: Dataset, count: int = FOLDS, seed: int = 0) -> list[Dataset]:
    """The same photographs, dealt again: each data set has another part of them for validation, and the others for training.

    Diseased and healthy photographs are dealt apart, in an order drawn with `seed`, so that the parts are of one size within one.
    Test photographs are left out.  IDRiD does not say which photographs are of one patient, so each counts as a patient.

    Parameters
    ----------
    dataset : Dataset
    count : int
        How many parts, at least 2.
    seed : int

    Returns
    -------
    list of Dataset, of length `count`
    """
    rng = np.random.default_rng(seed)
    part: dict[str, int] = {}
    for diseased in (True, False):
        records = [record for record in dataset.select(diseased=diseased) if record.split != "test"]
        order = rng.permutation(len(records))
        part |= {records[index].name: place % count for place, index in enumerate(order)}
    return [
        Dataset(
            dataset.root,
            tuple(
                replace(record, split="validation" if part[record.name] == fold else "train")
                for record in dataset.records
                if record.name in part
            ),
        )
        for fold in range(count)
    ]


@dataclass(frozen=True)
class Fold:
    """One part of the photographs, as networks that were trained on the others see it.

    Attributes
    ----------
    part : Dataset
        Its validation photographs are those of the part.
    profile : Profile
        The budget; its first seed is that of every network.
    runs : Path
        Where the networks are kept.  One that is there is not trained again.
    reading : {"windows", "centre", "decoder", "longer"}
        Of the `READINGS`: what its first stage is.
    """

    part: Dataset
    profile: Profile
    runs: Path
    reading: str = "windows"

    @property
    def seed(self) -> int:
        """That of every network."""
        return self.profile.seeds[0]

    @property
    def study(self) -> Study:
        """Its networks."""
        return Study(self.part, self.profile, self.runs)

    def network(self, scale: float) -> Trained[Any]:
        """Of the first stage, trained on the other parts."""
        return READINGS[self.reading](self.study, scale, self.seed)

    def validation(self) -> Validation:
        """The photographs, as the first stage sees them."""
        return Validation(self.study, {"hgn_1x": self.network(1.0), "hgn_half": self.network(0.5)})

    def first_stage(self) -> dict[str, Pixels]:
        """Its scores, by row."""
        validation = self.validation()
        return validation.score(lambda index: validation.maps(index).items(), f"Scoring {self.reading}")

    def candidates(self) -> dict[str, np.ndarray]:
        """What the first stage proposes in each photograph, of healthy patients too: by its name an array of shape (K, 2), int32."""
        validation = self.validation()
        names = track(list(enumerate(validation.stacks[0].names)), "Proposing candidates")
        return {name: hypotheses(validation.maps(index)["fused"], Settings().hypothesis).centres for index, name in names}

    def unet(self) -> Trained[UNet]:
        """The one-stage competitor, trained on the other parts.  Explained in sec:beyond."""
        return self.study.unet(self.seed)

    @staticmethod
    def beyond(validation: Validation, run: Trained[UNet], index: int) -> dict[str, np.ndarray]:
        """The maps of the track beyond the paper: the U-Net's, that of its mirror images, and its mean with the first stage's."""
        mirrored = validation.mirrored(run, index)
        together = mean_log_odds([mirrored, validation.maps(index)["fused"]])
        return {"unet": validation.mirrored(run, index, ways=1), "unet_mirrored": mirrored, "all": together}

    def beyond_scores(self) -> dict[str, Pixels]:
        """Scores of those, by row."""
        validation, run = self.validation(), self.unet()
        return validation.score(lambda index: self.beyond(validation, run, index).items(), "Scoring the track beyond the paper")

    def refinement(self, centres: Mapping[str, np.ndarray], changes: Mapping[str, Any]) -> Trained[PRN]:
        """A refinement network that was trained on the candidates of the other parts.

        The candidates of a training photograph come from the networks of its own part, which had not seen it; they had seen the part
        that is measured, but what could pass from there is only which places of *other* photographs are asked about.

        Parameters
        ----------
        centres : mapping of str to ndarray
            The `candidates` of all parts.
        changes : mapping
            What differs in the profile's `CandidateConfig`.
        """
        first = [self.network(scale) for scale in (1.0, 0.5)]
        return self.study.refinement(centres, first, self.seed, **changes)

    def second_stage(
        self,
        centres: Mapping[str, np.ndarray],
        rows: Mapping[str, Mapping[str, Any] | None],
        whole: Collection[str] = (),
        beyond: bool = False,
    ) -> tuple[dict[str, Pixels], dict[str, np.ndarray], np.ndarray]:
        """Measure refinement networks.

        Parameters
        ----------
        centres : mapping of str to ndarray
            As for `refinement`.
        rows : mapping of str to mapping or None
            By row what differs in the configuration; None for the control, which asks the fused map.
        whole : collection of str
            The rows whose candidates are moved as a whole (`maa.inference.refine`).
        beyond : bool
            Whether candidates of the map "all" of `beyond` are judged, in place of those of the first stage.

        Returns
        -------
        scores : dict of str to PixelScores
            By row: each photograph with the weight that is best for the others.
        opinions : dict of str to ndarray, shape (K,), float
            By row: the log-odds of every candidate of all photographs.
        true : ndarray, shape (K,), bool
            Which of them are lesions.
        """
        validation = self.validation()
        unet = self.unet() if beyond else None
        runs = {row: None if changes is None else self.refinement(centres, changes) for row, changes in rows.items()}
        prns = {run.record.key: run.model for run in runs.values() if run}  # rows may differ in no network
        tried = {(row, weight): Pixels() for row in rows for weight in REFINEMENT_WEIGHTS}
        seen: list[tuple[int, np.ndarray, Hypotheses, dict[str, np.ndarray]]] = []
        true: list[np.ndarray] = []
        for index in track(validation.photographs, "Scoring the second stage"):
            base = self.beyond(validation, unet, index)["all"] if unet else validation.maps(index)["fused"]
            image = validation.image(index)
            hits, lesion = hypotheses(base, Settings().hypothesis), image["truth"] & image["fov"]
            proposed, truth = base[hits.rows, hits.columns], lesion[hits.rows, hits.columns]
            peaks = base[tuple(hits.centres.T)]
            lesions, others = int(lesion.sum()), int((image["fov"] & ~lesion).sum())
            true.append(dilate(lesion, NEAR)[tuple(hits.centres.T)])
            said = {key: score_hypotheses(prn, validation.stacks, index, hits.centres) for key, prn in prns.items()}
            opinion = {row: said[run.record.key] if run else peaks / FULL_SCALE for row, run in runs.items()}
            for row in rows:
                for weight in REFINEMENT_WEIGHTS:
                    levels = refined_levels(proposed, hits.owner, opinion[row], weight, peaks if row in whole else None)
                    tried[row, weight].add_hits(image["name"], levels, truth, lesions, others)
            seen.append((index, base, hits, opinion))
        scores: dict[str, Pixels] = {}
        for row in rows:
            weights = nested({weight: tried[row, weight] for weight in REFINEMENT_WEIGHTS})
            scores[row] = Pixels()
            for index, base, hits, opinion in seen:
                image = validation.image(index)
                refined = refine(base, hits, opinion[row], weights[image["name"]], whole=row in whole)
                scores[row].add(scores=refined, **image)
        opinions = {row: log_odds(np.concatenate([opinion[row] for *_, opinion in seen])) for row in rows}
        return scores, opinions, np.concatenate(true)


def nested(tried: Mapping[float, Pixels]) -> dict[str, float]:
    """For each photograph, the weight that gives the others the highest average precision; of equals, the first."""
    names = next(iter(tried.values())).names

    def best(name: str) -> float:
        others = [other for other in names if other != name] or [name]
        return max(tried, key=lambda weight: evaluation.average_precision(*tried[weight].subset(others).pooled()))

    return {name: best(name) for name in names}
