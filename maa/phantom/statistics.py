"""Statistics to compare phantoms and photographs by."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import ndimage

from maa.data.photograph import Fundus
from maa.phantom.camera import CHANNELS


def lesion_statistics(photographs: Fundus | Iterable[Fundus], kinds: Iterable[str] = ("MA",)) -> pd.DataFrame:
    """Measure every lesion of real or synthetic photographs.  Explained in ch:retina.

    Parameters
    ----------
    photographs : Fundus or iterable of Fundus
    kinds : iterable of str
        Kinds of lesion, among "MA", "HE", "EX" and "SE".

    Returns
    -------
    DataFrame
        One row for each connected region (eight neighbours) of at least five pixels: ``name``,
        ``kind``, ``row`` and ``column`` of its centre in pixels, ``area`` in pixels, and for each
        channel ``surround_red`` (median, 0 to 255, of the ring 6 to 16 pixels away that no lesion
        touches) and ``contrast_red`` (mean inside minus surround, relative to the surround; NaN
        where the surround is darker than 5 grey levels).
    """
    measured = []
    for fundus in [photographs] if isinstance(photographs, Fundus) else photographs:
        lesions = {kind: mask for kind, mask in fundus.lesions.items() if kind != "OD"}
        excluded = ~fundus.fov
        for mask in lesions.values():
            excluded = excluded | mask
        for kind in kinds:
            if kind not in lesions:
                continue
            labels, _ = ndimage.label(lesions[kind], np.ones((3, 3)))
            for index, box in enumerate(ndimage.find_objects(labels), start=1):
                rows, columns = (slice(max(0, side.start - 18), side.stop + 18) for side in box)
                inside = labels[rows, columns] == index
                distance = ndimage.distance_transform_edt(~inside)
                ring = (distance > 6) & (distance <= 16) & ~excluded[rows, columns]
                if inside.sum() < 5 or ring.sum() < 30:
                    continue
                pixels = fundus.image[rows, columns].astype(np.float32)
                surround = np.median(pixels[ring], axis=0)
                change = pixels[inside].mean(axis=0) - surround
                centre = np.argwhere(inside).mean(axis=0)
                row = {"name": fundus.name, "kind": kind, "row": rows.start + centre[0]}
                row |= {"column": columns.start + centre[1], "area": int(inside.sum())}
                for channel, level, step in zip(CHANNELS, surround, change):
                    row[f"surround_{channel}"] = float(level)
                    row[f"contrast_{channel}"] = float(step / level) if level >= 5 else math.nan
                measured.append(row)
    columns = ["name", "kind", "row", "column", "area"]
    columns += [f"{what}_{channel}" for channel in CHANNELS for what in ("surround", "contrast")]
    return pd.DataFrame(measured, columns=columns)


def texture_statistics(photographs: Fundus | Iterable[Fundus]) -> pd.DataFrame:
    """Measure the texture at octaves of scale, in real or synthetic photographs.  Explained in ch:retina.

    Parameters
    ----------
    photographs : Fundus or iterable of Fundus

    Returns
    -------
    DataFrame
        One row for each photograph, channel and scale: ``name``, ``channel``, ``sigma`` in pixels
        and ``amplitude``, the robust standard deviation (1.4826 times the median absolute
        deviation), in grey levels, of the difference of Gaussians of ``sigma`` and ``2 * sigma``
        over the square of at most 1800 pixels inscribed in the field of view.
    """
    measured = []
    for fundus in [photographs] if isinstance(photographs, Fundus) else photographs:
        rows, columns = np.flatnonzero(fundus.fov.any(axis=1)), np.flatnonzero(fundus.fov.any(axis=0))
        middle = (int(rows.mean()), int(columns.mean()))
        half = min(900, int(0.35 * len(rows)), int(0.35 * len(columns)))
        square = tuple(slice(centre - half, centre + half) for centre in middle)
        for index, channel in enumerate(CHANNELS):
            finer = ndimage.gaussian_filter(fundus.image[square][..., index].astype(np.float32), 1)
            for sigma in (1, 2, 4, 8, 16, 32):
                coarser = ndimage.gaussian_filter(finer, math.sqrt(3) * sigma)
                band = (finer - coarser)[::2, ::2]
                amplitude = 1.4826 * float(np.median(np.abs(band - np.median(band))))
                measured.append((fundus.name, channel, sigma, amplitude))
                finer = coarser
    return pd.DataFrame(measured, columns=["name", "channel", "sigma", "amplitude"])
