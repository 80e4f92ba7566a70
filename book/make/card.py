"""Draw the card that is shown where somebody shares a link to the book: ``python book/make/card.py``.

A phantom, so that no patient's photograph travels, with its clearest microaneurysm ringed as in the logo.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy import ndimage

from maa.phantom import make_phantom

ROOT = Path(__file__).resolve().parents[2]
INK, RING = "#f6efe3", "#5fd3f3"


def clearest(fundus) -> tuple[float, float]:
    """Row and column of the microaneurysm that is darkest against its surroundings."""
    lesions, count = ndimage.label(fundus.ma)
    green = fundus.image[..., 1].astype(float)
    darkness = ndimage.mean(ndimage.gaussian_filter(green, 12) - green, lesions, range(1, count + 1))
    return ndimage.center_of_mass(fundus.ma, lesions, int(np.argmax(darkness)) + 1)


def card() -> Figure:
    """The card, 1200 x 630 pixels."""
    fundus = make_phantom(seed=7)
    row, column = clearest(fundus)
    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="#000000", layout="none")
    whole = figure.add_axes((0.5, 0, 0.5, 1))
    whole.imshow(fundus.image, aspect="equal")
    side = fundus.image.shape[0] / 22
    whole.add_patch(Circle((column, row), side, fill=False, ec="#0b3a53", lw=5))
    whole.add_patch(Circle((column, row), side, fill=False, ec=RING, lw=3))
    lens = figure.add_axes((0.06, 0.6, 0.147, 0.28))
    top, left, half = int(row), int(column), 28
    close = np.pad(fundus.image, ((half, half), (half, half), (0, 0)), mode="edge")[
        top : top + 2 * half, left : left + 2 * half
    ]
    disc = lens.imshow(close, interpolation="lanczos", extent=(-1, 1, 1, -1))
    disc.set_clip_path(Circle((0, 0), 0.97, transform=lens.transData))
    lens.add_patch(Circle((0, 0), 0.93, fill=False, ec=RING, lw=6))
    lens.set(xlim=(-1.02, 1.02), ylim=(1.02, -1.02))
    for ax in (whole, lens):
        ax.set_axis_off()
    figure.text(0.06, 0.33, "Seeing the\nsmallest lesion", color=INK, size=40, weight="bold", linespacing=1.15)
    figure.text(
        0.06, 0.15, "An executable replication of\nmicroaneurysm segmentation", color="#d8d0c2", size=19, linespacing=1.35
    )
    return figure


if __name__ == "__main__":
    card().savefig(ROOT / "book/_static/card.jpg", facecolor="#000000", pil_kwargs={"quality": 85, "optimize": True})
