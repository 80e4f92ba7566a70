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

import torch
import torch.nn.functional as F
from torch import Tensor


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
            # The Gram-matrix shortcut loses half the digits of small distances, so it is not used here.
            # cdist defines the gradient at distance zero as zero, where that of a square root is infinite.
            return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        if distance == "cosine":
            x = F.normalize(x, dim=1, eps=1e-6)
            return 1 - x @ x.T
    raise ValueError(f"Unknown distance {distance!r}: choose 'euclidean' or 'cosine'.")


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
    return _one_per_anchor(
        draw[0].masked_fill(~positive, -1).argmax(1), draw[1].masked_fill(~negative, -1).argmax(1), positive, negative
    )


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
    positive, negative = _pair_masks(labels)
    return _one_per_anchor(
        distances.masked_fill(~positive, -torch.inf).argmax(1),
        distances.masked_fill(~negative, torch.inf).argmin(1),
        positive,
        negative,
    )


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
    distances = pairwise_distance(embedding, distance)
    anchor, positive, negative = mine(distances.detach(), labels, margin, generator)
    violation = (distances[anchor, positive] - distances[anchor, negative] + margin).relu()
    violating = (violation > 0).sum()
    loss = violation.sum() / violating.clamp(min=1)
    considered = count_triplets(labels) if mining == "semi-hard" else len(anchor)
    return loss, violating / max(1, considered)


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
    distances = pairwise_distance(embedding)
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    positive = same & (photographs.unsqueeze(0) != photographs.unsqueeze(1))
    usable = positive.any(1) & (~same).any(1)
    farthest = distances.masked_fill(~positive, -torch.inf).amax(1)[usable]
    nearest = distances.masked_fill(same, torch.inf).amin(1)[usable]
    anchors = max(1, len(farthest))
    return F.softplus(farthest - nearest).sum() / anchors, (farthest > nearest).sum() / anchors


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


def _pair_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def _one_per_anchor(
    positive: Tensor, negative: Tensor, is_positive: Tensor, is_negative: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    usable = is_positive.any(1) & is_negative.any(1)
    return usable.nonzero().squeeze(1), positive[usable], negative[usable]


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
