"""Cut the gallery of chapter 10 anew from IDRiD's validation photographs: ``python book/make/gallery.py DATA``.

The first row holds annotated microaneurysms, drawn at random; the others the dots that the shipped system of the paper's
track is surest of, that look like a microaneurysm by the rules of `maa.evaluation.error_analysis`, and that nobody annotated.
"""

import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from maa import figures
from maa.data import MA, open_dataset
from maa.evaluation import false_positive_breakdown, pooled_breakdown
from maa.inference import System, image_of
from maa.progress import track
from maa.provenance import environment, write_json
from maa.replication.profiles import FULL
from maa.replication.study import Study

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, ROWS, SIDE = 8, 3, 64


def main(data: str) -> None:
    dataset = open_dataset(data)
    system = System.load(ROOT / "maa/pretrained")
    stacks = Study(dataset, FULL).validation
    diseased = np.flatnonzero(stacks[0].diseased)
    threshold = system.settings.thresholds["prn_full"]
    found, lesions = {}, []
    for index in track(list(diseased), "Looking for dark dots"):
        label = stacks[0].label(index)
        map_ = system.maps(stacks, index, rows=["prn_full"])["prn_full"]
        found[stacks[0].names[index]] = false_positive_breakdown(map_, threshold, label, image_of(stacks[0], index))
        components, count = ndimage.label(label & MA)
        centres = ndimage.center_of_mass(label & MA, components, range(1, count + 1))
        lesions += [(index, *np.rint(centre).astype(int)) for centre in centres]
    dots = pooled_breakdown(found)["dark_dots"][: COLUMNS * ROWS]
    labelled = np.random.default_rng(0).permutation(lesions)[:COLUMNS]
    draw(dataset, stacks[0].names, dots, labelled.tolist())
    record = {"threshold": threshold, "dots": dots, "labelled": labelled, "environment": environment()}
    write_json(ROOT / "results/idrid-full/gallery.json", record)


def draw(dataset, names, dots: list[dict], labelled: list[tuple[int, int, int]]) -> None:
    """Cut the squares out of the photographs: the green channel, where blood is darkest, each stretched to its own range."""
    indices = {name: index for index, name in enumerate(names)}
    where = [*labelled, *([indices[dot["image"]], round(dot["row"]), round(dot["column"])] for dot in dots)]
    records = {record.name: record for record in dataset.select("validation", True)}
    originals = {index: records[names[index]].load(kinds=()).image for index in {index for index, *_ in where}}
    half = SIDE // 2
    crops = []
    for index, row, column in where:
        image = np.pad(originals[index], ((half, half), (half, half), (0, 0)), mode="edge")
        green = ndimage.gaussian_filter(image[row : row + SIDE, column : column + SIDE, 1].astype(float), 1)
        low, high = np.percentile(green, [1, 99])
        crops.append(np.repeat((255 * np.clip((green - low) / (high - low), 0, 1)).astype(np.uint8)[..., None], 3, axis=2))
    titles = ["annotated"] * len(labelled) + [f"{dot['probability']:.2f}" for dot in dots]
    figures.use_style()
    figure = figures.patch_grid(np.stack(crops), titles=titles, columns=COLUMNS)
    figure.savefig(ROOT / "book/_static/dark_dots.png", dpi=110)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the folder of IDRiD: python book/make/gallery.py DATA")
    main(sys.argv[1])
