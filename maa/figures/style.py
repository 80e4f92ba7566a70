"""Every picture in the book: one style, one palette, one function a plot.

Three decisions hold throughout.

*White ground.*  A raster picture cannot know whether the page around it is light or dark.  Transparent
pictures need ink that reads on both, and no grey has a contrast of 4.5 on white and on near-black at
once with room for colours beside it.  So figures are white cards with dark ink, and colours keep their meaning
in either theme.

*Fixed colours.*  ``PALETTE`` gives each thing one colour in the whole book.  The eight colours differ
by at least 25 CIELAB units from each other for normal, protan, deutan and tritan vision (simulated after
Machado, Oliveira and Fernandes, 2009), and by a contrast of at least 3 from white; the tests measure both.
Curves differ in dash and marker as well, so that a print in grey can be read too.

*Figures, not state.*  Each function takes plain arrays and returns a new ``matplotlib.figure.Figure`` that
pyplot does not know, so a notebook shows it exactly once, as the last expression of a cell, and nothing
has to be closed.  Line plots take ``ax`` to draw into a figure of the caller's instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import label as connected
from scipy.ndimage import maximum_filter

PALETTE = {
    "MA": "#972D00",
    "healthy": "#25207A",
    "1x": "#4B61D6",
    "0.5x": "#B58E0E",
    "fused": "#1EA760",
    "refined": "#DE65BE",
    "truth": "#000000",
    "paper": "#666666",
}
LESION_INK: dict[str, tuple[str, Any, str]] = {
    "MA": ("#00E5FF", "solid", "microaneurysms"),
    "HE": ("#FFFFFF", "solid", "haemorrhages"),
    "EX": ("#FFE14D", (0, (1, 1)), "hard exudates"),
    "SE": ("#FF7BD9", (0, (4, 2)), "soft exudates"),
    "OD": ("#A6FF6B", (0, (5, 1, 1, 1)), "optic disc"),
}
ERROR_INK = {"true positive": "#35A7FF", "false positive": "#FFC61A", "false negative": "#FF2E93"}
#: How a line is drawn, as matplotlib takes it.
Dash = str | tuple[int, tuple[int, ...]]
DASH: dict[str, Dash] = {
    "1x": "solid",
    "0.5x": (0, (6, 2)),
    "fused": (0, (3, 1, 1, 1)),
    "refined": "solid",
    "paper": (0, (1, 1)),
}
MARKER = {"1x": "o", "0.5x": "s", "fused": "^", "refined": "D", "paper": "X", "MA": "^", "healthy": "o"}
STYLE: dict[str, Any] = {
    "figure.figsize": (6.4, 4.0),
    "figure.dpi": 120,
    "savefig.dpi": 120,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "figure.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "legend.frameon": True,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "axes.prop_cycle": mpl.cycler(color=[PALETTE[k] for k in ("1x", "0.5x", "fused", "refined", "MA", "paper")]),
    "image.interpolation": "nearest",
    "image.cmap": "inferno",
}
WIDTH = 6.4  # inches: the text column of the page at the style's resolution
HALO = [patheffects.withStroke(linewidth=2.6, foreground="black", alpha=0.75)]


def use_style() -> None:
    """Make `STYLE` the style of this process and let notebooks show figures that pyplot does not know.

    Call it once, in the first cell.  Explained in "How to read this book".
    """
    mpl.rcParams.update(STYLE)
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        import matplotlib.pyplot as plt

        plt.switch_backend("module://matplotlib_inline.backend_inline")
        # The inline backend registers its PNG formatter for figures on the first `%matplotlib`.
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("png")
        mpl.rcParams.update(STYLE)


def checked_rgb(image: np.ndarray, what: str = "image") -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"{what} must be an (H, W, 3) uint8 RGB array, but has shape {image.shape} and type {image.dtype}.")
    return image


def checked_plane(array: np.ndarray, image: np.ndarray, what: str) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != image.shape[:2]:
        raise ValueError(f"{what} must have the image's height and width {image.shape[:2]}, but has shape {array.shape}.")
    return array


def checked_patches(patches: np.ndarray, what: str = "patches") -> np.ndarray:
    patches = np.asarray(patches)
    if patches.ndim != 4 or patches.shape[3] != 3 or patches.dtype != np.uint8:
        raise ValueError(f"{what} must be an (N, S, S, 3) uint8 array, but has shape {patches.shape} and type {patches.dtype}.")
    if len(patches) == 0:
        raise ValueError(f"{what} must hold at least one patch, but is empty.")
    return patches


def checked_points(points: np.ndarray, what: str = "points") -> np.ndarray:
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{what} must be an (N, 2) array, but has shape {points.shape}.")
    return points


def checked_vector(values: np.ndarray, what: str, length: int | None = None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"{what} must be one-dimensional, but has shape {values.shape}.")
    if length is not None and len(values) != length:
        raise ValueError(f"{what} must have {length} entries, one for each item drawn, but has {len(values)}.")
    return values


def new_figure(width: float = WIDTH, height: float = 4.0) -> Figure:
    return Figure(figsize=(width, height), dpi=STYLE["figure.dpi"], layout="constrained")


def axes_or_new(ax: Axes | None, height: float = 4.0) -> Axes:
    return ax if ax is not None else new_figure(height=height).subplots()


def role_of(name: str) -> str:
    """Which entry of `PALETTE` a system called `name` has: ``"HGN 0.5x"`` -> ``"0.5x"``.  Explained in ch:fusion.

    Parameters
    ----------
    name : str
        The system's name as a table prints it.

    Returns
    -------
    str
        A key of `PALETTE`; names that none of the rules know are "paper", the neutral grey.
    """
    low = name.lower().replace("×", "x")
    rules = (
        ("prn", "refined"),
        ("refine", "refined"),
        ("full", "refined"),
        ("0.5x", "0.5x"),
        ("geometric", "fused"),
        ("fus", "fused"),
        ("mean", "fused"),
        ("maximum", "fused"),
        ("1x", "1x"),
    )
    return next((role for word, role in rules if word in low), "paper")


def shrink(array: np.ndarray, step: int, how: Callable[..., np.ndarray]) -> np.ndarray:
    """Pool `array` over step x step blocks, dropping the ragged edge: a page is 800 pixels wide, a photograph 4288."""
    if step == 1:
        return array
    height, width = (n // step * step for n in array.shape[:2])
    blocks = array[:height, :width].reshape(height // step, step, width // step, step, *array.shape[2:])
    return how(blocks, axis=(1, 3)).astype(array.dtype)


def fat(mask: np.ndarray, step: int) -> np.ndarray:
    """Thicken a shrunk mask by one pixel of the page: a lesion three pixels wide cannot be told from dust."""
    return maximum_filter(mask, 3) if step > 1 else mask


def as_grey(image: np.ndarray) -> np.ndarray:
    """The green channel, where lesions have most contrast, dimmed so that colours stand out: (H, W) in 0..0.8."""
    return image[..., 1] / 255 * 0.8


def bare(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def draw_outline(ax: Axes, mask: np.ndarray, colour: str, dash: str = "solid", width: float = 1.1) -> None:
    if mask.any() and not mask.all():
        limits = ax.get_xlim(), ax.get_ylim()  # the contour's one-pixel apron, which closes lesions at the edge, is not shown
        ax.contour(
            np.pad(mask, 1),
            levels=[0.5],
            colors=[colour],
            linestyles=[dash],
            linewidths=width,
            extent=(-1.5, mask.shape[1] + 0.5, -1.5, mask.shape[0] + 0.5),
        ).set_path_effects([patheffects.withStroke(linewidth=width + 1.0, foreground="black", alpha=0.6)])
        ax.set(xlim=limits[0], ylim=limits[1])


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int = 3) -> None:
    """Put a legend above the pictures, on a dark chip because outlines are light.

    Constrained layout forgets the titles of axes with a fixed aspect when it makes room for an outside legend, so the room
    is made here.
    """
    if not handles:
        return
    columns = min(columns, len(handles))
    lines = -(-len(handles) // columns)
    room = (0.18 + 0.2 * lines) / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - room))
    legend = figure.legend(
        handles=handles,
        loc="upper left",
        ncols=columns,
        facecolor="#3A3A3A",
        edgecolor="none",
        framealpha=1,
        labelcolor="white",
        handlelength=1.6,
        columnspacing=1.2,
        borderpad=0.4,
        borderaxespad=0.3,
    )
    legend.set_in_layout(False)
    # Notebooks crop a figure to what is in its layout: an empty frame keeps the room for the legend in the picture.
    figure.add_artist(Rectangle((0, 0), 1, 1, transform=figure.transFigure, facecolor="none", edgecolor="none"))


def count(mask: np.ndarray) -> int:
    return int(connected(mask, structure=np.ones((3, 3)))[1])
