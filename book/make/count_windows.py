"""Count what the paper's Table 1 may have counted: ``python book/make/count_windows.py DATA``.

Patches under both readings of "trained on patches": one around each annotated pixel, and windows of 256 x 256 pixels on a grid.  Writes
results/idrid-full/windows.json, which ch:hgn reads.
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from maa.data import open_dataset, read_mask
from maa.progress import track
from maa.provenance import environment, write_json

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "results/idrid-full/windows.json"
#: Side of a window, as others report it, and the step of the grid, which was fitted to the paper's counts.
SIDE, STEP = 256, 12


def on_grid(mask: np.ndarray) -> np.ndarray:
    """Marked pixels of every window that lies whole in the photograph, by row and column of the grid."""
    total = np.pad(mask.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32), ((1, 0), (1, 0)))
    counts = total[SIDE:, SIDE:] - total[:-SIDE, SIDE:] - total[SIDE:, :-SIDE] + total[:-SIDE, :-SIDE]
    return counts[::STEP, ::STEP]


def main(data: str) -> None:
    """Count, and write what was counted."""
    started, dataset, counts = time.perf_counter(), open_dataset(data), {}
    for split, diseased in (("train", True), ("validation", True), ("train", False), ("validation", False)):
        found = dict.fromkeys(("photographs", "pixels", "windows", "windows_with_lesion", "lesion_pixels_in_windows"), 0)
        records = dataset.select(split, diseased)
        for record in track(records, f"Counting in {split} photographs"):
            with Image.open(record.image_path) as image:
                width, height = image.size
            lesion = np.zeros((height, width), bool)
            if "MA" in record.mask_paths:
                lesion = read_mask(record.mask_paths["MA"], lesion.shape)
            windows = on_grid(lesion)
            found["photographs"] += 1
            found["pixels"] += int(lesion.sum())
            found["windows"] += windows.size
            found["windows_with_lesion"] += int((windows > 0).sum())
            found["lesion_pixels_in_windows"] += int(windows.sum())
        counts[f"{split}, {'diseased' if diseased else 'healthy'}"] = found
    seconds = time.perf_counter() - started
    write_json(
        RECORD,
        {
            "side": SIDE,
            "step": STEP,
            "data": dataset.fingerprint,
            "environment": environment(),
            "seconds": seconds,
            "counts": counts,
        },
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
