"""Candidates: what the first stage proposes, and what the second says of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from maa.data.stacks import ImageStack, gather_scales
from maa.hardware import mixed_precision
from maa.inference.maps import FULL_SCALE, log_odds, to_map
from maa.models.prn import PRN


@dataclass(frozen=True)
class Hypotheses:
    """What the first stage proposes in one image.

    Attributes
    ----------
    centres : ndarray, shape (K, 2), int32
        Row and column of each candidate: the local maxima of the fused map.
    rows, columns : ndarray, shape (M,), int32
        The pixels that belong to some candidate.
    owner : ndarray, shape (M,), int32
        Which candidate: the nearest.
    """

    centres: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    owner: np.ndarray


#: Candidates are at least this many pixels apart: a small lesion's width at 1x.
SEPARATION = 8


def hypotheses(fused: np.ndarray, threshold: float) -> Hypotheses:
    """Candidates of a map: its local maxima, each with the pixels around it that pass a threshold.

    Parameters
    ----------
    fused : ndarray, shape (H, W), uint16
    threshold : float
        Probability from which a pixel is part of a hypothesis.

    Returns
    -------
    Hypotheses

    Notes
    -----
    The paper re-scores hypotheses; that they are candidates and not pixels is our choice: one decision a
    lesion, and a thousandth of the patches.  Explained in ch:refinement.
    """
    smooth = ndimage.gaussian_filter(fused.astype(np.float32), 1.5, truncate=3)
    passing = fused >= max(1, round(threshold * FULL_SCALE))
    peaks = passing & (smooth == ndimage.maximum_filter(smooth, size=2 * SEPARATION + 1))
    # A flat top holds many equal maxima: it gives one candidate, the first of them.
    tops, _ = ndimage.label(peaks, np.ones((3, 3), bool))
    rows, columns = np.nonzero(peaks)
    first = np.unique(tops[rows, columns], return_index=True)[1]
    centres = np.stack([rows[first], columns[first]], axis=1).astype(np.int32)
    if not len(centres):
        return Hypotheses(centres, *(np.empty(0, np.int32) for _ in range(3)))
    pixels = np.argwhere(passing).astype(np.int32)
    owner = cKDTree(centres).query(pixels)[1].astype(np.int32)
    return Hypotheses(centres, pixels[:, 0], pixels[:, 1], owner)


def score_hypotheses(prn: PRN, stacks: tuple[ImageStack, ImageStack], index: int, centres: np.ndarray) -> np.ndarray:
    """The refinement network's probability for each candidate of a photograph.

    Parameters
    ----------
    prn : PRN
        In evaluation mode.
    stacks : tuple of ImageStack
        At 1x and at 0.5x.
    index : int
        Which photograph of the stacks.
    centres : ndarray, shape (K, 2), int
        Row and column at 1x.

    Returns
    -------
    ndarray, shape (K,), float32
    """
    where = np.concatenate([np.full((len(centres), 1), index), centres], axis=1)
    return score_patches(prn, stacks, where)[0]


def score_patches(
    prn: PRN, stacks: tuple[ImageStack, ImageStack], where: np.ndarray, batch: int = 512
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and embeddings of the patches around pixels.

    Parameters
    ----------
    prn : PRN
    stacks : tuple of ImageStack
        At 1x and at 0.5x.
    where : ndarray, shape (K, 3), int
        Photograph, row and column at 1x.

    Returns
    -------
    probabilities : ndarray, shape (K,), float32
    embeddings : ndarray, shape (K, embedding_size), float32
    """
    device = next(prn.parameters()).device
    probabilities, embeddings = [np.empty(0, np.float32)], [np.empty((0, prn.embedding_size), np.float32)]
    with torch.inference_mode(), mixed_precision(device):
        for start in range(0, len(where), batch):
            patches = gather_scales(stacks, where[start : start + batch], prn.patch_size)
            logits, embedding = prn(torch.from_numpy(patches).to(device))
            probabilities.append(torch.sigmoid(logits.float()).cpu().numpy())
            embeddings.append(embedding.cpu().numpy())
    return np.concatenate(probabilities), np.concatenate(embeddings)


def refine(fused: np.ndarray, found: Hypotheses, scores: np.ndarray, weight: float, whole: bool = False) -> np.ndarray:
    """The final map: what was proposed, weighed by what the refinement network thinks of it.

    The two are mixed in log-odds, ``(1 - weight) * logit(fused) + weight * logit(score)``, where networks
    that are sure differ as visibly near one as near zero; in a mean of probabilities they would not.

    Parameters
    ----------
    fused : ndarray, shape (H, W), uint16
    found : Hypotheses
        Of that map.
    scores : ndarray, shape (K,), float
        The refinement network's probability of each candidate.
    weight : float, 0 to 1
        Of the refinement; 0 keeps the fused map inside the hypotheses.
    whole : bool
        Move each candidate as a whole, by what the second network thinks of it beyond what the map says at its centre.  So the slope of
        its outline stays the map's own, which else is flattened as all its pixels come nearer to one score.

    Returns
    -------
    ndarray, shape (H, W), uint16
        Zero where nothing was proposed.

    Notes
    -----
    Our choice: the paper does not say how the two are combined.  Explained in ch:refinement.
    """
    peaks = fused[tuple(found.centres.T)] if whole else None
    refined = np.zeros_like(fused)
    refined[found.rows, found.columns] = refined_levels(fused[found.rows, found.columns], found.owner, scores, weight, peaks)
    return refined


def refined_levels(
    proposed: np.ndarray, owner: np.ndarray, scores: np.ndarray, weight: float, peaks: np.ndarray | None = None
) -> np.ndarray:
    """What `refine` makes of the pixels of the hypotheses alone.

    Parameters
    ----------
    proposed : ndarray, shape (M,), uint16
        The map at those pixels.
    owner : ndarray, shape (M,), int32
        As of `Hypotheses`.
    scores, weight : as for `refine`
    peaks : ndarray, shape (K,), uint16, optional
        The map at the centres of the candidates, where each is to be moved as a whole.

    Returns
    -------
    ndarray, shape (M,), uint16
    """
    own, opinion = log_odds(proposed.astype(np.float32) / FULL_SCALE), log_odds(scores)
    if peaks is None:
        mixed = (1 - weight) * own + weight * opinion[owner]
    else:
        mixed = own + weight * (opinion - log_odds(peaks.astype(np.float32) / FULL_SCALE))[owner]
    return to_map(1 / (1 + np.exp(-mixed)))
