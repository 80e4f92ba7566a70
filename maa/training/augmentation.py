"""Augmentation: patches turned, mirrored, scaled and tinted at random."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F


def augment(patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn, mirror and tint patches at random.

    Parameters
    ----------
    patches : ndarray, shape (N, ..., P, P, 3), uint8
        Normalised patches; what one patch holds at several scales is treated alike.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of the same shape, uint8
        Each patch in one of its 8 orientations, tinted (see `color_jitter`).

    Notes
    -----
    Our choice: a retina has no preferred orientation at this size.
    """
    return color_jitter(turn(patches, rng.integers(8, size=len(patches))), rng)


def turn(patches: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Each patch in one of its 8 orientations.

    Parameters
    ----------
    patches : ndarray, shape (N, ..., P, P, C)
    orientation : ndarray, shape (N,), int, 0 to 7

    Returns
    -------
    ndarray of the same shape and type
    """
    # A pixel moves whole: one copy in place of one for each channel.
    pixels = np.ascontiguousarray(patches).view(f"V{patches.shape[-1] * patches.itemsize}")[..., 0]
    turned = np.empty_like(pixels)
    for which in range(8):
        chosen = pixels[orientation == which]
        if which & 1:
            chosen = chosen.swapaxes(-2, -1)
        if which & 2:
            chosen = chosen[..., ::-1, :]
        if which & 4:
            chosen = chosen[..., ::-1]
        turned[orientation == which] = chosen
    return turned[..., None].view(patches.dtype)


def color_jitter(patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change contrast and brightness of patches at random.

    Parameters
    ----------
    patches : ndarray, shape (N, ..., P, P, 3), uint8
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of the same shape, uint8
        Contrast multiplied by 0.8 to 1.25 and brightness moved by up to 0.3 of a unit of contrast
        (`maa.data.CONTRAST_LEVELS`), each channel a little differently: cameras differ in colour.
    """
    count, side = len(patches), patches.shape[-2]
    gain = np.exp(rng.uniform(-0.22, 0.22, (count, 1)) + rng.normal(0, 0.05, (count, 3))).astype(np.float32)
    shift = (rng.uniform(-5, 5, (count, 1)) + rng.normal(0, 2, (count, 3))).astype(np.float32)
    # PyTorch has every core do it, a whole row at once, and changes no bit.
    times, plus = (torch.from_numpy(each).repeat(1, side)[:, None] for each in (gain, 128.5 + shift))
    rows = torch.from_numpy(patches).reshape(count, math.prod(patches.shape[1:-2]), 3 * side)
    return rows.float().sub_(128).mul_(times).add_(plus).clamp_(0, 255).to(torch.uint8).numpy().reshape(patches.shape)


def turn_and_zoom(
    pixels: np.ndarray, labels: np.ndarray, side: int, zoom: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The middle of crops, turned by any angle, mirrored and scaled at random.

    Parameters
    ----------
    pixels : ndarray, shape (N, R, R, 3), uint8
    labels : ndarray, shape (N, R, R), uint8
    side : int
        Of what is returned; R is at least side * zoom * sqrt(2), or else corners show repeated borders.
    zoom : float
        Crops are scaled by up to this factor, up or down.
    rng : numpy.random.Generator

    Returns
    -------
    pixels : ndarray, shape (N, side, side, 3), uint8
        Interpolated bilinearly.
    labels : ndarray, shape (N, side, side), uint8
        Of the nearest pixel; 0 where there is none.
    """
    count, room = labels.shape[:2]
    angle = rng.uniform(0, 2 * np.pi, count)
    scale = np.exp(rng.uniform(-np.log(zoom), np.log(zoom), count)) * side / room
    mirror = rng.choice([-1, 1], count)
    turn = np.zeros((count, 2, 3), np.float32)
    turn[:, 0, 0], turn[:, 0, 1] = scale * np.cos(angle) * mirror, -scale * np.sin(angle)
    turn[:, 1, 0], turn[:, 1, 1] = scale * np.sin(angle) * mirror, scale * np.cos(angle)
    grid = F.affine_grid(torch.from_numpy(turn), [count, 1, side, side], align_corners=False)
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    turned = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    marked = F.grid_sample(
        torch.from_numpy(labels)[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return turned.add_(0.5).permute(0, 2, 3, 1).to(torch.uint8).numpy(), marked[:, 0].to(torch.uint8).numpy()
