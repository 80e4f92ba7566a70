"""Cut what chapters 5 and 6 show of real photographs anew: ``python book/make/real_pictures.py DATA``.

It writes two small files beside the results, with pictures in them, so that a chapter draws them wherever it runs.
``crop.json`` holds one window of a validation photograph with the shipped system's four maps and the annotation.
``embedding.json`` holds validation patches of five kinds, where the shipped refinement network puts them, and their UMAP.
Window and patches are chosen by the annotation alone, so that other weights show the same places.
"""

import base64
import io
import sys
from pathlib import Path

import numpy as np
import umap
from PIL import Image
from scipy import ndimage

from maa.data import FOV, HE, LESION, MA, dilate, healthy_pixels, ma_pixels, open_dataset, rim_pixels
from maa.evaluation import vessels
from maa.inference import FIRST_STAGE, FULL_SCALE, FULL_SYSTEM, System, image_of, score_patches
from maa.progress import track
from maa.provenance import environment, write_json
from maa.replication.profiles import FULL as PROFILE
from maa.replication.study import Study

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results/idrid-full"
WINDOW = 320  # pixels a side
PATCH = 45
COUNTS = {"microaneurysm": 120, "healthy": 60, "rim": 60, "haemorrhage": 60, "vessel": 60}
ATTRIBUTION = "Photographs: IDRiD (Porwal et al. 2018, doi:10.3390/data3030025), CC BY 4.0; cut and compressed."


def as_text(array: np.ndarray, form: str, **options) -> str:
    """A picture as base64."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def fullest_window(stack, side: int) -> tuple[int, int, int]:
    """Photograph, row and column of the window that holds the most lesions."""
    best = (0, 0, 0, 0)
    for index in np.flatnonzero(stack.diseased):
        label = stack.label(index) & MA
        parts, count = ndimage.label(label)
        middles = np.array(ndimage.center_of_mass(label > 0, parts, range(1, count + 1))).reshape(-1, 2)
        for middle in middles:
            inside = int((np.abs(middles - middle).max(axis=1) < side / 2 - 10).sum())
            corner = np.clip(np.rint(middle).astype(int) - side // 2, 0, stack.shapes[index] - side)
            best = max(best, (inside, index, *corner.tolist()))
    return int(best[1]), int(best[2]), int(best[3])


def crop(system: System, stacks, records) -> dict:
    """The window with the most lesions, under all four maps."""
    index, row, column = fullest_window(stacks[0], WINDOW)
    view = np.s_[row : row + WINDOW, column : column + WINDOW]
    rows = (*FIRST_STAGE, FULL_SYSTEM)
    maps = system.maps(stacks, index, rows)
    # Eight bits of the square root: fine steps where probabilities are small, as most are.
    roots = {name: np.rint(255 * np.sqrt(map_[view] / FULL_SCALE)).astype(np.uint8) for name, map_ in maps.items()}
    truth = (stacks[0].label(index)[view] & MA) > 0
    return {
        "photograph": records[index].name,
        "row": row,
        "column": column,
        "side": WINDOW,
        "image": as_text(records[index].load(kinds=()).image[view], "webp", quality=90, method=6),
        "truth": as_text(truth, "png"),
        "square_roots": {name: as_text(root, "png", optimize=True) for name, root in roots.items()},
        "thresholds": {row: system.settings.thresholds[row] for row in rows},  # of the best F1 on the validation photographs
    }


def some(table: np.ndarray, count: int, rng) -> np.ndarray:
    return rng.permutation(table)[:count]


def pixels_on(stack, mask_of, rng) -> np.ndarray:
    """Pixels of the diseased photographs where a mask holds, at most 2000 of each."""
    tables = []
    for index in track(list(np.flatnonzero(stack.diseased)), "Looking for vessels and haemorrhages"):
        tables.append(some(np.insert(np.argwhere(mask_of(index)), 0, index, axis=1), 2000, rng))
    return np.concatenate(tables)


def embedding(system: System, stacks, records) -> dict:
    """Patches of five kinds, and where the refinement network puts them."""
    rng, stack = np.random.default_rng(0), stacks[0]

    def vessel(index):
        lines = vessels(image_of(stack, index), (stack.label(index) & FOV) > 0)
        return ndimage.binary_erosion(lines, iterations=2) & ~dilate((stack.label(index) & LESION) > 0, 30)

    pools = {
        "microaneurysm": ma_pixels(stack),
        "healthy": healthy_pixels(stack, 1000, rng),
        "rim": rim_pixels(stack),
        "haemorrhage": pixels_on(stack, lambda i: (stack.label(i) & (HE | MA)) == HE, rng),
        "vessel": pixels_on(stack, vessel, rng),
    }
    tables = {kind: some(pool, COUNTS[kind], rng) for kind, pool in pools.items()}
    where = np.concatenate(list(tables.values()))
    probability, z = score_patches(system.prns["prn_full"], stacks, where)
    flat = umap.UMAP(n_neighbors=15, random_state=0, n_jobs=1).fit_transform(z)
    columns = 20
    sheet = np.zeros((-(-len(where) // columns) * PATCH, columns * PATCH, 3), np.uint8)
    for n, patch in enumerate(stack.gather(where, PATCH)):  # normalised, as the network sees them
        sheet[n // columns * PATCH :, n % columns * PATCH :][:PATCH, :PATCH] = patch
    return {
        "kinds": np.repeat(list(tables), [len(table) for table in tables.values()]).tolist(),
        "photographs": [records[i].name for i in where[:, 0]],
        "rows": where[:, 1].tolist(),
        "columns": where[:, 2].tolist(),
        "probability": [float(f"{p:.3g}") for p in probability],
        "embedding_float16": base64.b64encode(z.astype("<f2").tobytes()).decode("ascii"),  # (N, 64), row by row
        "umap_float16": base64.b64encode(flat.astype("<f2").tobytes()).decode("ascii"),  # (N, 2)
        "sheet": as_text(sheet, "webp", quality=70, method=6),
        "patches_in_a_row": columns,
        "side": PATCH,
    }


def main(data: str) -> None:
    study = Study(open_dataset(data), PROFILE)
    stacks, records = study.validation, study.records("validation")
    system = System.load(ROOT / "maa/pretrained")
    for name, make in (("embedding", embedding), ("crop", crop)):
        record = make(system, stacks, records) | {"attribution": ATTRIBUTION, "environment": environment()}
        write_json(OUT / f"{name}.json", record)
        print(f"{OUT / name}.json: {(OUT / f'{name}.json').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the folder of IDRiD: python book/make/real_pictures.py DATA")
    main(sys.argv[1])
