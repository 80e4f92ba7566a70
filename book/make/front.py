"""Cut the picture of the front page anew from IDRiD's validation photographs: ``python book/make/front.py DATA``.

It is the window in which most microaneurysms are annotated, and on it what the shipped system of the paper's track says.  The
rule looks at the annotation only, so that no success of the system chose the picture.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy import ndimage

from maa import figures
from maa.data import open_dataset, stack_photograph
from maa.inference import System, field_of
from maa.progress import track
from maa.provenance import environment, write_json

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "maa/pretrained"
PICTURE = ROOT / "book/_static/front.jpg"
RECORD = ROOT / "results/idrid-full/front.json"
HEIGHT, WIDTH = 480, 720  # pixels of the photograph

#: Colour and dash of a ring, as in the book's error maps.
INK = {
    "found": (figures.ERROR_INK["true positive"], "solid"),
    "unlabelled": (figures.ERROR_INK["false positive"], (0, (4, 2))),
    "missed": (figures.ERROR_INK["false negative"], (0, (1, 1))),
}


def shipped() -> str:
    """SHA-256 of the weights and settings that the picture shows at work."""
    files = sorted(p for p in WEIGHTS.iterdir() if p.suffix in (".safetensors", ".json"))
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()


def richest(mask: np.ndarray) -> tuple[int, int, int]:
    """Lesions in the window with most of them, and its upper left corner; a lesion counts where its centre lies."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return 0, 0, 0
    centres = np.array(ndimage.center_of_mass(mask, labels, range(1, count + 1)))
    corners = (centres - (HEIGHT / 2, WIDTH / 2)).round().astype(int)
    corners = corners.clip(0, np.array(mask.shape) - (HEIGHT, WIDTH))
    inside = [int(((centres >= c) & (centres < c + (HEIGHT, WIDTH))).all(axis=1).sum()) for c in corners]
    best = int(np.argmax(inside))
    return inside[best], *map(int, corners[best])


def rings(truth: np.ndarray, called: np.ndarray) -> list[tuple[str, float, float, float]]:
    """What became of each lesion of a window: "found", "missed" or "unlabelled", with row, column and radius in pixels."""
    found = []
    for mask, other, hit, miss in ((truth, called, "found", "missed"), (called, truth, None, "unlabelled")):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        for index in range(1, count + 1):
            pixels = labels == index
            kind = hit if (pixels & other).any() else miss
            if kind is not None:
                row, column = ndimage.center_of_mass(pixels)
                found.append((kind, row, column, max(9.0, np.sqrt(pixels.sum() / np.pi)) + 5))
    return found


def draw(image: np.ndarray, marks) -> Figure:
    """The window, from edge to edge, with its rings."""
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=200, layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(image, interpolation="lanczos")
    for kind, row, column, radius in marks:
        colour, dash = INK[kind]
        halo = [patheffects.withStroke(linewidth=4, foreground="black", alpha=0.7)]
        ax.add_patch(Circle((column, row), radius, fill=False, ec=colour, lw=2, ls=dash, path_effects=halo))
    ax.set_axis_off()
    return figure


def main(data: str) -> None:
    records = open_dataset(data).select("validation", True)
    best = (0, 0, 0, None)
    for record in track(records, "Looking for the window"):
        mask = record.load(kinds=("MA",)).ma
        best = max(best, (*richest(mask), record.name), key=lambda one: one[0])
    count, row, column, name = best
    fundus = next(r for r in records if r.name == name).load(kinds=("MA",))
    system, stacks = System.load(WEIGHTS), stack_photograph(fundus.image, fundus.fov)
    probability = np.where(field_of(stacks[0], 0), system.maps(stacks, rows=[system.final])[system.final] / 65535, 0)
    threshold = system.settings.thresholds[system.final]
    window = slice(row, row + HEIGHT), slice(column, column + WIDTH)
    marks = rings(fundus.ma[window], probability[window] >= threshold)
    figure = draw(fundus.image[window], marks)
    figure.savefig(PICTURE, pil_kwargs={"quality": 82, "optimize": True})
    counts = {kind: sum(mark[0] == kind for mark in marks) for kind in INK}
    record = {"photograph": name, "row": row, "column": column, "height": HEIGHT, "width": WIDTH, "threshold": threshold}
    write_json(RECORD, record | counts | {"shipped": shipped(), "environment": environment()})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the folder of IDRiD: python book/make/front.py DATA")
    main(sys.argv[1])
