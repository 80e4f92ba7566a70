"""The second stage, trained on what it is asked about: candidates of photographs that their networks had not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maa.data.pools import dilate, healthy_pixels
from maa.data.stacks import FOV, MA, ImageStack, gather_scales
from maa.errors import MaaError
from maa.evaluation.regions import map_lesions
from maa.inference.candidates import score_patches
from maa.models.hgn import HGN
from maa.models.losses import soft_triplet_loss, triplet_loss
from maa.models.prn import PRN
from maa.training.augmentation import augment
from maa.training.config import CandidateConfig
from maa.training.loop import Task
from maa.training.sampling import Reserve, draw
from maa.training.tasks import added_log_odds

#: A candidate is a lesion where its centre lies at most so many pixels outside an outline (see `maa.training.windows.IGNORED`).
NEAR = 2
#: A lesion without a candidate is shown so many times as often as one candidate, each time up to so many pixels off its centre.
COPIES, JITTER = 4, 3
#: Steps from one scoring of healthy patches to the next, and how many are scored: about a fifth of a training's time.
REFRESH, SCORED = 25, 2048
#: Pixels that stand for all healthy ground: far more than a training can look at.
GROUND = 2_000_000


def sorted_candidates(stack: ImageStack, centres: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Candidates by what they are, with the lesions that were missed among the positives.

    Parameters
    ----------
    stack : ImageStack
        Photographs at 1x.
    centres : mapping of str to ndarray, shape (K, 2), int
        Candidates of each photograph by its name: row and column at 1x.
    rng : numpy.random.Generator
        Of the jitter of missed lesions.

    Returns
    -------
    dict of str to ndarray, shape (N, 3), int32
        Photograph, row and column: "ma", one a candidate and `COPIES` a missed lesion; "healthy", of healthy patients; "false",
        candidates of diseased patients that lie on no annotated microaneurysm.
    """
    tables: dict[str, list[np.ndarray]] = {"ma": [], "healthy": [], "false": []}
    for index, name in enumerate(stack.names):
        found = np.asarray(centres[name], int).reshape(-1, 2)
        where = np.insert(found, 0, index, axis=1)
        if not stack.diseased[index]:
            tables["healthy"].append(where)
            continue
        lesion = (stack.label(index) & (FOV | MA)) == (FOV | MA)
        lesions, known = map_lesions(lesion)
        true = dilate(lesion, NEAR)[tuple(found.T)]
        # The outlines within reach of the true candidates say which lesions were found.
        reach = np.indices((2 * NEAR + 1,) * 2).reshape(2, -1).T - NEAR
        around = np.clip(found[true][:, None] + reach, 0, np.array(lesion.shape) - 1)
        met = lesions.at(np.ravel_multi_index(tuple(around.T), lesion.shape)).max(axis=0)
        missed = np.setdiff1d(np.arange(len(known["area"])), met)
        middle = np.stack([known["row"], known["column"]], axis=1)[missed].repeat(COPIES, axis=0)
        middle += rng.uniform(-JITTER, JITTER, middle.shape)
        middle = np.clip(np.rint(middle), 0, np.array(lesion.shape) - 1).astype(int)
        tables["ma"] += [where[true], np.insert(middle, 0, index, axis=1)]
        tables["false"].append(where[~true])
    return {kind: np.concatenate([np.empty((0, 3), int), *table]).astype(np.int32) for kind, table in tables.items()}


class CandidateTask(Task[PRN]):
    """Train a refinement network on candidates: is this one a microaneurysm?

    Parameters
    ----------
    train : tuple of ImageStack
        The same photographs at 1x and at 0.5x.
    centres : mapping of str to ndarray, shape (K, 2), int
        Candidates of each photograph by its name, proposed by networks that had not seen it.
    config : CandidateConfig
    hgns : sequence of HGN
        One for each tower, whose trunk the tower starts as; none, and the towers start at random.

    Notes
    -----
    What selective sampling does to the odds can be told to the loss ("told"): where healthy patches are drawn w(x) times as often as
    evenly, the best logit is the true one less log w(x), so this is added to the logit of *every* patch, healthy or not, and the best
    logit is the true one again.  Or it can be taken back ("mixture"): each patch counts 1 / w(x).  Explained in ch:refinement.
    """

    def __init__(
        self,
        train: tuple[ImageStack, ImageStack],
        centres: Mapping[str, np.ndarray],
        config: CandidateConfig,
        hgns: Sequence[HGN] = (),
    ) -> None:
        rng = np.random.default_rng(config.schedule.seed)
        self.stacks, self.config, self.hgns = train, config, hgns
        kinds = sorted_candidates(train[0], centres, rng)
        self.positive = kinds["ma"]
        self.negative = {
            "healthy": lambda: kinds["healthy"],
            "diseased too": lambda: np.concatenate([kinds["healthy"], kinds["false"]]),
            "ground": lambda: healthy_pixels(train[0], GROUND, rng),
        }[config.negatives]()
        if not len(self.positive) or not len(self.negative):
            raise MaaError("The first stage proposes nothing to learn from: train it longer, or give it more photographs.")
        self.count = config.schedule.batch // 2
        self.added = added_log_odds(0.5)
        # What was scored last; evenly likely until the first time.
        self.scored = np.zeros((SCORED, 3), np.int32)
        self.errors = np.zeros(SCORED, np.float32)
        self.beliefs = np.zeros(len(self.positive), np.float32)
        self.reserve: Reserve | None = None

    def build(self) -> PRN:
        c = self.config
        model = PRN(c.width, c.embedding_size, c.depth, c.scales, c.projected)
        for tower, hgn in zip(model.towers, self.hgns):
            tower.load_state_dict(hgn.trunk.state_dict())
        return model

    def refresh(self, model: PRN, rng: np.random.Generator) -> None:
        """Score healthy patches anew, and, where the loss is to know of it, the lesions too."""
        model.eval()
        self.scored = draw(self.negative, SCORED, rng)
        self.errors = score_patches(model, self.stacks, self.scored)[0]
        if self.config.rule == "told":
            self.beliefs = score_patches(model, self.stacks, self.positive)[0]
        self.reserve = Reserve(self.config.rule, self.errors)
        model.train()

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, Tensor, Tensor]:
        """A batch: lesions first, then as many healthy patches.

        Returns
        -------
        where : ndarray, shape (B, 3), int
        told : Tensor, shape (B,), float32
            What is added to the logits for the sake of the sampling.
        weight : Tensor, shape (B,), float32
            What each patch counts.
        """
        positive = rng.integers(len(self.positive), size=self.count)
        w = np.ones(2 * self.count)
        if self.reserve is None:
            healthy = draw(self.negative, self.count, rng)
        else:
            chosen = self.reserve.draw(self.count, rng)
            healthy = self.scored[chosen]
            w = np.concatenate([self.reserve.weight(self.beliefs[positive]), self.reserve.weights[chosen]])
        told = -np.log(w) if self.config.rule == "told" else np.zeros_like(w)
        weight = np.ones_like(w)
        if self.config.rule == "mixture":
            weight[self.count :] = 1 / w[self.count :]
        where = np.concatenate([self.positive[positive], healthy])
        return where, torch.from_numpy(told).float(), torch.from_numpy(weight).float()

    def loss(self, model: PRN, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        c = self.config
        if c.rule != "uniform" and step and step % REFRESH == 0:
            self.refresh(model, rng)
        where, told, weight = self.draw(rng)
        labels = torch.arange(len(where)) < self.count
        patches = augment(gather_scales(self.stacks, where, model.patch_size), rng)
        device = next(model.parameters()).device
        logits, embedding = model(torch.from_numpy(patches).to(device))
        labels, told, weight = (tensor.to(device) for tensor in (labels, told, weight))
        each = F.binary_cross_entropy_with_logits(logits.float() + self.added + told, labels.float(), reduction="none")
        cross_entropy = (each * weight).mean()
        metrics = {
            "cross_entropy": cross_entropy.detach(),
            "tilt": -told[: self.count].mean(),
            "counted": weight[self.count :].mean(),
        }
        if not c.triplet_weight:
            return cross_entropy, metrics
        if c.mining == "soft":
            triplet, active = soft_triplet_loss(embedding, labels, torch.from_numpy(where[:, 0]).to(device))
        else:
            generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
            triplet, active = triplet_loss(embedding, labels, c.margin, mining=c.mining, generator=generator)
        return cross_entropy + c.triplet_weight * triplet, metrics | {"triplet": triplet.detach(), "active": active}

    def report(self, model: PRN) -> dict[str, float]:
        if self.reserve is None:
            return {}
        w = self.reserve.weights
        shares = np.bincount(self.scored[:, 0], w) / w.sum()
        return {
            "effective_share": float(w.sum() ** 2 / np.square(w).sum() / len(w)),
            "largest_share_of_a_photograph": float(shares.max()),
            "capped": float((w >= w.max() * (1 - 1e-9)).mean()),
            "variance": self.reserve.variance,
        }

    def state(self) -> dict[str, Tensor]:
        state = {"scored": self.scored, "errors": self.errors, "beliefs": self.beliefs}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in state.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.scored, self.errors, self.beliefs = (state[name].cpu().numpy() for name in ("scored", "errors", "beliefs"))
        if self.errors.any():
            self.reserve = Reserve(self.config.rule, self.errors)
