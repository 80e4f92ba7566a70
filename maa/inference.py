"""Inference: from a whole photograph to a probability map, in the paper's two stages.

    photograph -> HGN at 1x and at 0.5x -> fused map -> hypotheses -> PRN -> refined map

Maps are uint16, probability times 65535 rounded: half the memory of float32, and what makes the
evaluation's histogram exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.spatial import cKDTree

from maa.hardware import keep_memory, mixed_precision
from maa.hgn import HGN
from maa.patches import ImageStack, gather_scales
from maa.prn import PRN

#: The largest value of a map: probability 1.
FULL = 65535

#: Side of the square of output pixels that is computed at once: an HGN's activations take some 60 MB, and stay in the cache.
TILE = 256


def dense_map(model: HGN, image: np.ndarray, fov: np.ndarray, tile: int = TILE) -> np.ndarray:
    """Probability of a microaneurysm at every pixel of an image, tile by tile.

    Parameters
    ----------
    model : HGN
        In evaluation mode.
    image : ndarray, shape (H, W, 3), uint8
        Normalised, at the scale of the model.
    fov : ndarray, shape (H, W), bool
        Field of view at that scale.  Tiles without any of it are skipped.
    tile : int
        Side of the square of output pixels that is computed at once.

    Returns
    -------
    ndarray, shape (H, W), uint16
        Probability times 65535; zero outside the field of view.  The value at a pixel is the one that
        the network gives to the patch around it, whatever the tile.

    Notes
    -----
    Explained in chapter 2.
    """
    height, width = fov.shape
    half = model.patch_size // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), constant_values=128)
    result = np.zeros((height, width), np.uint16)
    on = next(model.parameters()).device
    keep_memory()
    with torch.inference_mode(), mixed_precision(on):
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                inside = fov[top : top + tile, left : left + tile]
                if not inside.any():
                    continue
                rows, columns = inside.shape
                seen = padded[top : top + rows + 2 * half, left : left + columns + 2 * half]
                logits = model.dense(torch.from_numpy(seen[None]).to(on)).float()
                result[top : top + rows, left : left + columns] = to_map(torch.sigmoid(logits[0]).cpu().numpy()) * inside
    return result


def to_map(probability: np.ndarray) -> np.ndarray:
    """Probabilities, 0 to 1, as uint16, 0 to 65535, rounded."""
    return (probability * FULL + 0.5).astype(np.uint16)


def double(small: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map at 0.5x brought to native resolution, bilinearly, on the grid that `maa.fundus.halve` implies.

    Parameters
    ----------
    small : ndarray, shape (ceil(H / 2), ceil(W / 2)), uint16
    shape : (H, W)

    Returns
    -------
    ndarray, shape (H, W), uint16
    """
    as_float = torch.from_numpy(small.astype(np.float32))[None, None]
    large = F.interpolate(as_float, scale_factor=2, mode="bilinear", align_corners=False)[0, 0]
    return (large[: shape[0], : shape[1]].numpy() + 0.5).astype(np.uint16)


def fuse(maps: Sequence[np.ndarray], how: str = "geometric") -> np.ndarray:
    """One map from the maps of several scales.

    Parameters
    ----------
    maps : sequence of ndarray, shape (H, W), uint16
    how : {"geometric", "arithmetic", "maximum"}
        The geometric mean is inferred from the paper's row "HGN geometric"; it asks that the scales
        agree.  The others are its alternatives.

    Returns
    -------
    ndarray, shape (H, W), uint16

    Notes
    -----
    Explained in chapter 4.
    """
    stack = [map_.astype(np.float32) for map_ in maps]
    if how == "geometric":
        fused = np.prod(stack, axis=0, dtype=np.float64) ** (1 / len(stack))
    elif how == "arithmetic":
        fused = np.mean(stack, axis=0)
    elif how == "maximum":
        fused = np.max(stack, axis=0)
    else:
        raise ValueError(f"unknown fusion {how!r}: choose 'geometric', 'arithmetic' or 'maximum'")
    return (fused + 0.5).astype(np.uint16)


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
    lesion, and a thousandth of the patches.  Explained in chapter 5.
    """
    smooth = ndimage.gaussian_filter(fused.astype(np.float32), 1.5, truncate=3)
    passing = fused >= max(1, round(threshold * FULL))
    peaks = passing & (smooth == ndimage.maximum_filter(smooth, size=2 * SEPARATION + 1))
    # A flat top holds many equal maxima: it gives one candidate, the first of them.
    tops, _ = ndimage.label(peaks, np.ones((3, 3), bool))
    rows, columns = np.nonzero(peaks)
    first = np.unique(tops[rows, columns], return_index=True)[1]
    centres = np.stack([rows[first], columns[first]], axis=1).astype(np.int32)
    rows, columns = (axis.astype(np.int32) for axis in np.nonzero(passing))
    if len(centres):
        owner = cKDTree(centres).query(np.stack([rows, columns], axis=1))[1].astype(np.int32)
    else:
        rows = columns = owner = np.empty(0, np.int32)
    return Hypotheses(centres, rows, columns, owner)


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


def score_patches(prn: PRN, stacks: tuple[ImageStack, ImageStack], where: np.ndarray, batch: int = 512) -> tuple[np.ndarray, np.ndarray]:
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
    on = next(prn.parameters()).device
    probabilities, embeddings = [np.empty(0, np.float32)], [np.empty((0, prn.embedding_size), np.float32)]
    with torch.inference_mode(), mixed_precision(on):
        for start in range(0, len(where), batch):
            patches = gather_scales(stacks, where[start : start + batch], prn.patch_size)
            logits, embedding = prn(torch.from_numpy(patches).to(on))
            probabilities.append(torch.sigmoid(logits.float()).cpu().numpy())
            embeddings.append(embedding.cpu().numpy())
    return np.concatenate(probabilities), np.concatenate(embeddings)


def refine(fused: np.ndarray, found: Hypotheses, scores: np.ndarray, weight: float) -> np.ndarray:
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

    Returns
    -------
    ndarray, shape (H, W), uint16
        Zero where nothing was proposed.

    Notes
    -----
    Our choice: the paper does not say how the two are combined.  Explained in chapter 5.
    """
    refined = np.zeros_like(fused)
    proposed = log_odds(fused[found.rows, found.columns].astype(np.float32) / FULL)
    mixed = (1 - weight) * proposed + weight * log_odds(scores)[found.owner]
    refined[found.rows, found.columns] = to_map(1 / (1 + np.exp(-mixed)))
    return refined


def log_odds(probability: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), with 0 and 1 taken as half a level of a map away from themselves."""
    probability = np.clip(probability, 0.5 / FULL, 1 - 0.5 / FULL)
    return np.log(probability / (1 - probability))
