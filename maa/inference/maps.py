"""Maps: a network's probability at every pixel of a photograph."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from maa.hardware import keep_memory, mixed_precision
from maa.models.hgn import HGN
from maa.models.unet import UNet

#: The largest value of a map: probability 1.
FULL_SCALE = 65535
#: Side of the square of output pixels that is computed at once: an HGN's activations take some 60 MB, and stay in the cache.
TILE = 256


def dense_map(model: HGN | UNet, image: np.ndarray, fov: np.ndarray, tile: int = TILE) -> np.ndarray:
    """Probability of a microaneurysm at every pixel of an image, tile by tile.  Explained in ch:hgn.

    Parameters
    ----------
    model : HGN or UNet
        In evaluation mode.
    image : ndarray, shape (H, W, 3), uint8
        Normalised, at the scale of the model.
    fov : ndarray, shape (H, W), bool
        Field of view at that scale.  Tiles without any of it are skipped, and an HGN's are cut to where it is.
    tile : int
        Side of the square of output pixels that is computed at once.

    Returns
    -------
    ndarray, shape (H, W), uint16
        Probability times 65535; zero outside the field of view.  The value at a pixel is the one that
        the network gives to the patch around it, whatever the tile.
    """
    height, width = fov.shape
    half = model.patch_size // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), constant_values=128)
    result = np.zeros((height, width), np.uint16)
    device = next(model.parameters()).device
    keep_memory()
    with torch.inference_mode(), mixed_precision(device):
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                bottom, right = min(top + tile, height), min(left + tile, width)
                found = ndimage.find_objects(fov[top:bottom, left:right].view(np.uint8))
                if not found:
                    continue
                rows, columns = slice(top, bottom), slice(left, right)
                if isinstance(model, HGN):  # a U-Net's value at a pixel depends a little on where the tile ends
                    rows, columns = (slice(start + part.start, start + part.stop) for start, part in zip((top, left), found[0]))
                seen = padded[rows.start : rows.stop + 2 * half, columns.start : columns.stop + 2 * half]
                logits = model.dense(torch.from_numpy(seen[None]).to(device)).float()
                result[rows, columns] = to_map(torch.sigmoid(logits[0]).cpu().numpy()) * fov[rows, columns]
    return result


def to_map(probability: np.ndarray) -> np.ndarray:
    """Probabilities, 0 to 1, as uint16, 0 to 65535, rounded."""
    return (probability * FULL_SCALE + 0.5).astype(np.uint16)


def upsample(small: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map at 0.5x brought to native resolution, bilinearly, on the grid that `maa.data.halve` implies.

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


def log_odds(probability: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), with 0 and 1 taken as half a level of a map away from themselves."""
    probability = np.clip(probability, 0.5 / FULL_SCALE, 1 - 0.5 / FULL_SCALE)
    return np.log(probability / (1 - probability))
