"""Fusion: one map from several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maa.inference.maps import FULL_SCALE, log_odds, to_map


def mean_log_odds(maps: Sequence[np.ndarray]) -> np.ndarray:
    """One map, uint16, whose log-odds are the mean of those of several; zero where all of them are."""
    mean = sum(log_odds(map_.astype(np.float32) / FULL_SCALE) for map_ in maps) / len(maps)
    return to_map(1 / (1 + np.exp(-mean))) * np.any([map_ > 0 for map_ in maps], axis=0)


def fuse(maps: Sequence[np.ndarray], how: str = "geometric") -> np.ndarray:
    """One map from the maps of several scales.  Explained in ch:fusion.

    Parameters
    ----------
    maps : sequence of ndarray, shape (H, W), uint16
    how : {"geometric", "arithmetic", "maximum"}
        The geometric mean is inferred from the paper's row "HGN geometric"; it asks that the scales
        agree.  The others are its alternatives.

    Returns
    -------
    ndarray, shape (H, W), uint16
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
