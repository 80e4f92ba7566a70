"""Cut the gallery of chapter 10 anew from IDRiD's validation photographs: ``python results/gallery.py DATA``.

The first row holds annotated microaneurysms, drawn at random; the others the dots that the shipped system of the paper's
track is surest of, that look like a microaneurysm by the rules of `maa.findings`, and that nobody annotated.
"""

import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from maa import figures
from maa.findings import false_positive_breakdown, pooled_breakdown
from maa.idrid import open_dataset
from maa.patches import MA
from maa.progress import track
from maa.records import environment, write_json
from maa.study import FULL, Study
from maa.system import System, photograph

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, ROWS, SIDE = 8, 3, 64


def main(data: str) -> None:
    dataset = open_dataset(data)
    system = System.load(ROOT / "maa/pretrained")
    stacks = Study(dataset, FULL).validation
    diseased = np.flatnonzero(stacks[0].diseased)
    threshold = system.settings.thresholds["refined"]
    found, lesions = {}, []
    for index in track(list(diseased), "Looking for dark dots"):
        label = stacks[0].label(index)
        map_ = system.maps(stacks, index)["refined"]
        found[stacks[0].names[index]] = false_positive_breakdown(map_, threshold, label, photograph(stacks[0], index))
        components, count = ndimage.label(label & MA)
        centres = ndimage.center_of_mass(label & MA, components, range(1, count + 1))
        lesions += [(index, *np.rint(centre).astype(int)) for centre in centres]
    dots = pooled_breakdown(found)["dark_dots"][: COLUMNS * ROWS]
    labelled = np.random.default_rng(0).permutation(lesions)[:COLUMNS]
    indices = {name: index for index, name in enumerate(stacks[0].names)}
    where = [*labelled.tolist(), *([indices[dot["image"]], round(dot["row"]), round(dot["column"])] for dot in dots)]
    originals = {index: dataset.select("validation", True)[k].load(kinds=()).image for k, index in enumerate(diseased)}
    half = SIDE // 2
    crops = []
    for index, row, column in where:
        image = np.pad(originals[index], ((half, half), (half, half), (0, 0)), mode="edge")
        crops.append(image[row : row + SIDE, column : column + SIDE])
    titles = ["annotated"] * len(labelled) + [f"{dot['probability']:.2f}" for dot in dots]
    figures.use_style()
    figure = figures.patch_grid(np.stack(crops), np.arange(len(crops)) < len(labelled), titles, columns=COLUMNS)
    figure.savefig(ROOT / "book/_static/dark_dots.png", dpi=110)
    about = {"threshold": threshold, "dots": dots, "environment": environment()}
    write_json(ROOT / "results/idrid-full/gallery.json", about)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the folder of IDRiD: python results/gallery.py DATA")
    main(sys.argv[1])
