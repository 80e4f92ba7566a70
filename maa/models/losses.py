"""The losses of the refinement network: a triplet loss on its embedding, joined to cross-entropy.

A triplet is an anchor, a positive (another patch of the anchor's class) and a negative (a patch of the
other class).  The loss asks that the negative be farther from the anchor than the positive is, by a margin:

    max(0, d(anchor, positive) - d(anchor, negative) + margin)

Which triplets of a batch are used is called mining.  That the paper uses a triplet loss is *stated* there;
margin, distance, mining and weight are *our choice*, and the ablations of ch:ablations vary each.
Explained in ch:refinement.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def pairwise_distance(embedding: Tensor, distance: str = "euclidean") -> Tensor:
    """Distance of every embedding of a batch to every other.  Explained in ch:refinement.

    Computed in float32 also under mixed precision (float64 stays float64): the margin is compared with a
    difference of distances, and bfloat16 carries only three decimal digits.

    Parameters
    ----------
    embedding : (B, D) float tensor
    distance : {"euclidean", "cosine"}
        "cosine" is 1 - cosine similarity, in [0, 2]; it needs no normalised input.

    Returns
    -------
    (B, B) float tensor
        Differentiable.  Where two embeddings coincide the gradient of the Euclidean distance is taken as zero.

    Raises
    ------
    ValueError
        When `distance` is not one of the two, or `embedding` is not two-dimensional.
    """
    if embedding.ndim != 2:
        raise ValueError(f"An embedding batch has the shape (B, D), but this one has {tuple(embedding.shape)}.")
    with torch.autocast(embedding.device.type, enabled=False):
        x = _at_least_float32(embedding)
        if distance == "euclidean":
            return _Euclidean.apply(x)  # type: ignore[no-untyped-call]
        if distance == "cosine":
            x = F.normalize(x, dim=1, eps=1e-6)
            return 1 - x @ x.T
    raise ValueError(f"Unknown distance {distance!r}: choose 'euclidean' or 'cosine'.")


def _distance_between(embedding: Tensor, one: Tensor, other: Tensor, distance: str) -> Tensor:
    """`pairwise_distance(embedding, distance)[one, other]`, whose gradient touches only these pairs."""
    x = _at_least_float32(embedding)
    if distance == "euclidean":
        return torch.linalg.vector_norm(x[one] - x[other], dim=-1)
    x = F.normalize(x, dim=1, eps=1e-6)
    return 1 - (x[one] * x[other]).sum(-1)  # no product of matrices, so autocast leaves it in float32


@lru_cache(maxsize=2)
def _places(count: int, device: torch.device) -> Tensor:
    """Where each pair stands among those that `F.pdist` gives, (count, count), int64; on the diagonal the place behind the last."""
    rows, columns = torch.triu_indices(count, count, 1, device=device)
    places = torch.full((count, count), len(rows), device=device)
    places[rows, columns] = places[columns, rows] = torch.arange(len(rows), device=device)
    return places


class _Euclidean(torch.autograd.Function):
    """All distances of a batch from those of its B (B - 1) / 2 pairs, and their gradient as one product of matrices.

    What torch.cdist gives, in a fifth of its time.  The shortcut of Gram's matrix loses half the digits of small distances, so it
    is not used for them; in the gradient it is, in float64.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        distances = F.pad(F.pdist(x), (0, 1))[_places(len(x), x.device)]
        ctx.save_for_backward(x, distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, distances = ctx.saved_tensors
        # Two points that coincide have no direction to be moved in: their gradient is taken as zero.
        pull = ((gradient + gradient.T) / distances).masked_fill_(distances == 0, 0).double()
        return (pull.sum(1, keepdim=True) * x - pull @ x.double()).to(x.dtype)


def mine_random(
    distances: Tensor, labels: Tensor, margin: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """One triplet an anchor, its positive and its negative drawn uniformly.  Explained in ch:refinement.

    Parameters
    ----------
    distances : (B, B) float tensor
        Not looked at; all miners share one signature.
    labels : (B,) integer or boolean tensor
    margin : float
        Not looked at.
    generator : torch.Generator, optional
        Makes the draw repeatable.  By default PyTorch's global generator.

    Returns
    -------
    anchor, positive, negative : (T,) int64 tensors
        Indices into the batch.  T <= B: anchors without a positive or without a negative are left out.
    """
    positive, negative = _pair_masks(labels)
    device = generator.device if generator is not None else labels.device
    draw = torch.rand((2, *positive.shape), generator=generator, device=device).to(labels.device)
    positives, negatives = torch.where(positive, draw[0], -1).max(1), torch.where(negative, draw[1], -1).max(1)
    usable = ((positives.values >= 0) & (negatives.values >= 0)).nonzero().squeeze(1)
    return usable, positives.indices[usable], negatives.indices[usable]


def mine_semi_hard(
    distances: Tensor, labels: Tensor, margin: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Every triplet whose negative is farther than its positive, but by less than the margin.  Explained in ch:refinement.

    d(a, p) < d(a, n) < d(a, p) + margin: such triplets have a loss between zero and the margin, and leave out
    the hardest negatives, which often are mislabelled.

    Parameters
    ----------
    distances : (B, B) float tensor
    labels : (B,) integer or boolean tensor
    margin : float
        In the unit of `distances`.
    generator : None
        Nothing is drawn; all miners share one signature.

    Returns
    -------
    anchor, positive, negative : (T,) int64 tensors
        Indices into the batch, in lexicographic order.  Takes about B**3 bytes of memory.

    References
    ----------
    Schroff, Kalenichenko, Philbin, "FaceNet: A unified embedding for face recognition and clustering",
    CVPR 2015, section 3.2 (there with squared distances).
    """
    is_positive, is_negative = _pair_masks(labels)
    anchor, positive = is_positive.nonzero(as_tuple=True)
    to_positive = distances[anchor, positive].unsqueeze(1)
    to_others = distances[anchor]
    semi_hard = is_negative[anchor] & (to_positive < to_others) & (to_others < to_positive + margin)
    pair, negative = semi_hard.nonzero(as_tuple=True)
    return anchor[pair], positive[pair], negative


def mine_batch_hard(
    distances: Tensor, labels: Tensor, margin: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """One triplet an anchor: its farthest positive and its nearest negative.

    Parameters
    ----------
    distances : (B, B) float tensor
    labels : (B,) integer or boolean tensor
    margin : float
        Not looked at; all miners share one signature.
    generator : None
        Nothing is drawn.

    Returns
    -------
    anchor, positive, negative : (T,) int64 tensors
        Indices into the batch.  T <= B: anchors without a positive or without a negative are left out.

    References
    ----------
    Hermans, Beyer, Leibe, "In defense of the triplet loss for person re-identification", arXiv 1703.07737,
    2017, equation 5.

    Notes
    -----
    A loss that stays at the margin is the sign of collapse: all embeddings fell onto one point.
    Explained in ch:refinement.
    """
    return _hardest(distances, *_pair_masks(labels))


MINERS = {"random": mine_random, "semi-hard": mine_semi_hard, "batch-hard": mine_batch_hard}


def triplet_loss(
    embedding: Tensor,
    labels: Tensor,
    margin: float = 0.2,
    distance: str = "euclidean",
    mining: str = "batch-hard",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Triplet loss of a batch, averaged over the triplets that violate the margin.

    Parameters
    ----------
    embedding : (B, D) float tensor
    labels : (B,) integer or boolean tensor
        Class of each patch: 1 microaneurysm, 0 healthy.
    margin : float
        Positive, in the unit of the distance.
    distance : {"euclidean", "cosine"}
    mining : {"random", "semi-hard", "batch-hard"}
    generator : torch.Generator, optional
        For random mining.

    Returns
    -------
    loss : scalar tensor
        Mean over the *violating* mined triplets (those with a loss above zero), zero when there is none.
        So it does not fall as training succeeds; the active fraction does.
    active : scalar tensor
        Violating triplets over those that the miner chose from: its own for "random" and "batch-hard", which
        look at one an anchor, and all triplets of the batch for "semi-hard", which returns violating ones only.
        In [0, 1]; carries no gradient.

    Raises
    ------
    ValueError
        When an option is unknown, `margin` is not positive or `labels` does not fit `embedding`.

    Notes
    -----
    A batch of a single class has no triplet: loss and active fraction are zero and `backward` works.
    Equal to `TripletMarginLoss` of pytorch-metric-learning with its default reducer.  Explained in ch:refinement.
    """
    mine = _checked_miner(embedding, labels, margin, mining)
    if mining == "semi-hard":  # the same as below, without a list of millions of triplets
        return _semi_hard_loss(pairwise_distance(embedding, distance), labels, margin)
    anchor, positive, negative = mine(pairwise_distance(embedding.detach(), distance), labels, margin, generator)
    to_positive, to_negative = _distance_between(embedding, anchor, torch.stack([positive, negative]), distance)
    violation = (to_positive - to_negative + margin).relu()
    violating = (violation > 0).sum()
    loss = violation.sum() / violating.clamp(min=1)
    return loss, violating / max(1, len(anchor))


def _semi_hard_loss(distances: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """`triplet_loss` over the triplets of `mine_semi_hard`, which are counted instead of listed.

    The negatives of a pair of an anchor and a positive follow one another in the order of their distances from the anchor, so that
    two searches find how many there are.  The sum over all triplets then needs, for each distance, how often it is the positive's
    less how often it is the negative's.
    """
    weights, triplets = torch.zeros_like(distances), torch.zeros((), dtype=torch.int64, device=distances.device)
    for label in labels.unique():  # type: ignore[no-untyped-call]
        own, others = (labels == label).nonzero(), (labels != label).nonzero()
        positive = distances.detach()[own, own.T].fill_diagonal_(torch.inf)  # no anchor is its own positive
        negative, order = distances.detach()[own, others.T].sort(1)
        first = torch.searchsorted(negative, positive, right=True)
        end = torch.searchsorted(negative, positive + margin).maximum(first)
        one = torch.ones_like(positive)
        pairs = weights.new_zeros(len(own), len(others) + 1).scatter_add_(1, first, one).scatter_add_(1, end, -one)
        weights[own, own.T] = (end - first).to(weights.dtype)
        weights[own, others.T[0, order]] = -pairs.cumsum(1)[:, :-1]
        triplets += (end - first).sum()
    violations = (weights * distances).sum(dtype=torch.float64) + margin * triplets
    loss = (violations / triplets.clamp(min=1)).to(distances.dtype)
    return loss, triplets / max(1, count_triplets(labels))


def soft_triplet_loss(embedding: Tensor, labels: Tensor, photographs: Tensor) -> tuple[Tensor, Tensor]:
    """The hardest triplet of each anchor, its positive from another photograph, with a soft margin: log(1 + exp(d_ap - d_an)).

    Two patches of one photograph are alike for many reasons, two of one lesion trivially; that lesions of different photographs lie
    together is what is to be learned.  A soft margin never lets go of a triplet (Hermans et al., arXiv 1703.07737).

    Parameters
    ----------
    embedding : (B, D) float tensor
    labels : (B,) integer or boolean tensor
        Class of each patch: 1 microaneurysm, 0 healthy.
    photographs : (B,) integer tensor
        Which photograph each patch is of.

    Returns
    -------
    loss : scalar tensor
        Mean over the anchors that have a positive and a negative; zero where none has.
    active : scalar tensor
        Share of those anchors whose negative is nearer than their positive, in [0, 1]; carries no gradient.

    Notes
    -----
    Explained in ch:embedding.  Anchors of both classes, as in `mine_batch_hard`.
    """
    same, negative = _pair_masks(labels)
    elsewhere = photographs.unsqueeze(0) != photographs.unsqueeze(1)
    anchor, *others = _hardest(pairwise_distance(embedding.detach()), same & elsewhere, negative)
    to_positive, to_negative = _distance_between(embedding, anchor, torch.stack(others), "euclidean")
    anchors = max(1, len(anchor))
    return F.softplus(to_positive - to_negative).sum() / anchors, (to_positive > to_negative).sum() / anchors


def joint_loss(
    logits: Tensor,
    embedding: Tensor,
    labels: Tensor,
    triplet_weight: float,
    margin: float = 0.2,
    distance: str = "euclidean",
    mining: str = "batch-hard",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the class head plus the weighted triplet loss of the embedding head.  Explained in ch:refinement.

    Parameters
    ----------
    logits : (B,) float tensor
        Before the sigmoid; positive means microaneurysm.
    embedding : (B, D) float tensor
    labels : (B,) integer or boolean tensor
        1 microaneurysm, 0 healthy.
    triplet_weight : float
        At least 0.  At 0 the triplet loss is still measured for the log, without a gradient.
    margin, distance, mining, generator
        As in `triplet_loss`.

    Returns
    -------
    loss : scalar tensor
    parts : dict of str to scalar tensor
        "cross_entropy", "triplet" (unweighted) and "active" (fraction of violating triplets), detached.
        They stay tensors, so that logging does not make the processor wait for the accelerator at each step.

    Raises
    ------
    ValueError
        As `triplet_loss`; also for a negative weight or logits of another shape than the labels.
    """
    if triplet_weight < 0:
        raise ValueError(f"The triplet weight is {triplet_weight}, but it must not be negative.")
    if logits.shape != labels.shape:
        raise ValueError(f"Logits of shape {tuple(logits.shape)} do not fit labels of shape {tuple(labels.shape)}.")
    logits = _at_least_float32(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    with torch.set_grad_enabled(torch.is_grad_enabled() and triplet_weight > 0):
        triplet, active = triplet_loss(embedding, labels, margin, distance, mining, generator)
    loss = cross_entropy + triplet_weight * triplet
    return loss, {"cross_entropy": cross_entropy.detach(), "triplet": triplet.detach(), "active": active}


def count_triplets(labels: Tensor) -> int:
    """Number of triplets that a batch holds, without listing them.  Explained in ch:refinement.

    Parameters
    ----------
    labels : (B,) integer or boolean tensor

    Returns
    -------
    int
        Sum over the anchors of (positives of the anchor) x (negatives of the anchor).
    """
    sizes = labels.unique(return_counts=True)[1]  # type: ignore[no-untyped-call]
    return int((sizes * (sizes - 1) * (len(labels) - sizes)).sum())


def _hardest(distances: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One triplet an anchor, where it has both: the farthest of its positives and the nearest of its negatives, (B, B) bool each."""
    farthest, nearest = torch.where(positive, distances, -torch.inf).max(1), torch.where(negative, distances, torch.inf).min(1)
    usable = ((farthest.values > -torch.inf) & (nearest.values < torch.inf)).nonzero().squeeze(1)
    return usable, farthest.indices[usable], nearest.indices[usable]


def _pair_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    return same.clone().fill_diagonal_(False), ~same


def _checked_miner(
    embedding: Tensor, labels: Tensor, margin: float, mining: str
) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    if mining not in MINERS:
        raise ValueError(f"Unknown mining {mining!r}: choose one of {', '.join(map(repr, MINERS))}.")
    if not margin > 0:
        raise ValueError(f"The margin is {margin}, but it must be positive.")
    if labels.shape != embedding.shape[:1]:
        raise ValueError(f"Labels of shape {tuple(labels.shape)} do not fit embeddings of shape {tuple(embedding.shape)}.")
    return MINERS[mining]


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
