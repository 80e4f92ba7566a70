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
    """Measure every lesion of some kinds ("MA", "HE", "EX", "SE") of real or synthetic photographs.  Explained in ch:retina.

    One row for each connected region (eight neighbours) of at least five pixels: ``name``, ``kind``, ``row`` and ``column`` of
    its centre in pixels, ``area`` in pixels, and for each channel ``surround_red`` (median, 0 to 255, of the ring 6 to 16 pixels
    away that no lesion touches) and ``contrast_red`` (mean inside minus surround, relative to the surround; NaN where the
    surround is darker than 5 grey levels).
    """
    measured = []
    for fundus in [photographs] if isinstance(photographs, Fundus) else photographs:
        lesions = {kind: mask for kind, mask in fundus.lesions.items() if kind != "OD"}
        excluded = np.any([~fundus.fov, *lesions.values()], axis=0)
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
                row, column = np.argwhere(inside).mean(axis=0)
                entry = [fundus.name, kind, rows.start + row, columns.start + column, int(inside.sum())]
                for level, step in zip(surround, change):
                    entry += [float(level), float(step / level) if level >= 5 else math.nan]
                measured.append(entry)
    names = ["name", "kind", "row", "column", "area"]
    names += [f"{what}_{channel}" for channel in CHANNELS for what in ("surround", "contrast")]
    return pd.DataFrame(measured, columns=names)
