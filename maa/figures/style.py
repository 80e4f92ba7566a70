"""Every picture in the book: one style, one palette, one function a plot.

*White ground.*  A raster picture cannot know whether the page around it is light or dark, and no grey has a contrast of 4.5 on
both with room for colours beside it.  So figures are white cards with dark ink, and colours mean the same in either theme.

*Fixed colours.*  ``PALETTE`` gives each thing one colour in the whole book.  The eight differ by at least 25 CIELAB units from
each other for normal, protan, deutan and tritan vision (simulated after Machado, Oliveira and Fernandes, 2009), and by a
contrast of at least 3 from white; the tests measure both.  Curves differ in dash and marker as well, for prints in grey.

*Figures, not state.*  Each function returns a new ``matplotlib.figure.Figure`` that pyplot does not know, so a notebook shows
it exactly once, as the last expression of a cell, and nothing has to be closed.

*One exception.*  A shape or type that does not fit, and an argument that makes no picture, raise ``ValueError`` with a sentence
that says why.

*Arguments of one meaning.*  The docstrings of the functions, and of `maa.figures.explorers`, do not repeat these:

image : ndarray, shape (H, W, 3), uint8
    RGB photograph, or a window of one.
probability : ndarray, shape (H, W), float in 0..1
    Probability that a pixel is MA.
truth : ndarray, shape (H, W), bool
    Annotated MA, outlined in every picture but error maps.
window, zooms : (row, column, side), and a sequence of them, optional
    Square part of the image that is shown, in pixels; parts that are drawn in a row below it as well, numbered.
gain : float in (0, 1]
    Probability from which on a map hides the photograph.
labels : ndarray, shape (N,), int or bool
    1 for MA, 0 for healthy: colour, and mark or dash, of each patch.
xlabel : str
    The quantity along the axis, with its split or unit.
ax : Axes, optional
    Draw into this one of the caller's figure instead of into a new figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.rcsetup import cycler
from matplotlib.typing import LineStyleType
from numpy.typing import ArrayLike

Window = tuple[int, int, int]
Zooms = Sequence[Window]
Points = Mapping[str, tuple[float, float]]
Maps = Mapping[str, np.ndarray]
Cut = Callable[..., np.ndarray]
Curve = tuple[ArrayLike, ArrayLike, float]
Row = tuple[str, float | None, float | None, tuple[float, float] | None]
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
LESION_INK: dict[str, tuple[str, LineStyleType, str]] = {
    "MA": ("#00E5FF", "solid", "microaneurysms"),
    "HE": ("#FFFFFF", "solid", "haemorrhages"),
    "EX": ("#FFE14D", (0, (1, 1)), "hard exudates"),
    "SE": ("#FF7BD9", (0, (4, 2)), "soft exudates"),
    "OD": ("#A6FF6B", (0, (5, 1, 1, 1)), "optic disc"),
}
ERROR_INK = {"true positive": "#35A7FF", "false positive": "#FFC61A", "false negative": "#FF2E93"}
DASH: dict[str, LineStyleType] = {
    "1x": "solid",
    "0.5x": (0, (6, 2)),
    "fused": (0, (3, 1, 1, 1)),
    "refined": "solid",
    "paper": (0, (1, 1)),
    "MA": "solid",
    "healthy": (0, (2, 1)),
}
MARKER = {"1x": "o", "0.5x": "s", "fused": "^", "refined": "D", "paper": "X", "MA": "^", "healthy": "o"}
_SIZED = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
STYLE: dict[Any, Any] = {  # matplotlib has a type for its keys since 3.11 only
    **dict.fromkeys((*_SIZED, "figure.titlesize"), 10),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "white"),
    **dict.fromkeys(("figure.dpi", "savefig.dpi"), 120),
    "figure.figsize": (6.4, 4.0),
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "axes.titlelocation": "left",
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "legend.frameon": True,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "axes.prop_cycle": cycler(color=[PALETTE[k] for k in ("1x", "0.5x", "fused", "refined", "MA", "paper")]),
    "image.interpolation": "nearest",
    "image.cmap": "inferno",
}
WIDTH = 6.4  # inches: the text column of the page at the style's resolution
HALO = [patheffects.withStroke(linewidth=2.6, foreground="black", alpha=0.75)]
DASHES: tuple[LineStyleType, ...] = ("solid", (0, (5, 2)), (0, (1, 1)), (0, (3, 1, 1, 1)))
FOV_INK: tuple[str, LineStyleType] = ("#BBBBBB", (0, (4, 3)))


def use_style() -> None:
    """Make `STYLE` the style of this process and let notebooks show figures that pyplot does not know.

    Call it once, in the first cell.  Explained in "How to read this book".
    """
    from IPython import get_ipython

    if hasattr(get_ipython(), "kernel"):
        import matplotlib.pyplot as plt

        plt.switch_backend("module://matplotlib_inline.backend_inline")
        # The inline backend registers its PNG formatter for figures on the first `%matplotlib`.
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("png")  # type: ignore[no-untyped-call]  # of another package
    mpl.rcParams.update(STYLE)


def checked_rgb(array: ArrayLike, what: str = "image", shape: str = "(H, W, 3)") -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != shape.count(",") + 1 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise ValueError(f"{what} must be an {shape} uint8 RGB array, but has shape {array.shape} and type {array.dtype}.")
    return array


def checked_patches(patches: ArrayLike, what: str = "patches") -> np.ndarray:
    patches = checked_rgb(patches, what, "(N, S, S, 3)")
    if len(patches) == 0:
        raise ValueError(f"{what} must hold at least one patch, but is empty.")
    return patches


def checked_plane(array: ArrayLike, image: np.ndarray, what: str) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != image.shape[:2]:
        raise ValueError(f"{what} must have the image's height and width {image.shape[:2]}, but has shape {array.shape}.")
    return array


def checked_mask(array: ArrayLike | None, image: np.ndarray, what: str) -> np.ndarray:
    """A mask as bool; an empty one, which draws nothing, when absent."""
    return np.zeros(image.shape[:2], bool) if array is None else checked_plane(array, image, what).astype(bool)


def square_view(window: Window | None, image: np.ndarray, what: str) -> tuple[slice, slice]:
    height, width = image.shape[:2]
    if window is None:
        return slice(0, height), slice(0, width)
    row, column, side = window
    if side <= 0 or not (0 <= row <= height - side and 0 <= column <= width - side):
        where = f"within the image of {height} x {width} pixels"
        raise ValueError(f"{what} is (row, column, side) {where}, but is {tuple(window)}.")
    return slice(row, row + side), slice(column, column + side)


def checked_points(points: ArrayLike, what: str = "points") -> np.ndarray:
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{what} must be an (N, 2) array, but has shape {points.shape}.")
    return points


def checked_vector(values: ArrayLike, what: str, length: int | None = None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"{what} must be one-dimensional, but has shape {values.shape}.")
    if length is not None and len(values) != length:
        raise ValueError(f"{what} must have {length} entries, one for each item drawn, but has {len(values)}.")
    return values


def new_figure(width: float = WIDTH, height: float = 4.0) -> Figure:
    return Figure(figsize=(width, height), dpi=STYLE["figure.dpi"], layout="constrained")


def new_canvas(ax: Axes | None, height: float) -> tuple[Figure, Axes]:
    figure = new_figure(height=height) if ax is None else cast(Figure, ax.figure)
    return figure, figure.subplots() if ax is None else ax


def role_of(name: str) -> str:
    """Which entry of `PALETTE` the system that a table calls `name` has: ``"HGN 0.5x"`` -> ``"0.5x"``.

    Names that none of the rules know are "paper", the neutral grey.  Explained in ch:fusion.
    """
    low = name.lower().replace("×", "x")
    words = {"prn": "refined", "refine": "refined", "full": "refined", "0.5x": "0.5x", "geometric": "fused", "fus": "fused"}
    words |= {"mean": "fused", "maximum": "fused", "1x": "1x"}
    return next((role for word, role in words.items() if word in low), "paper")


def ink_of(name: str) -> dict[str, Any]:
    """Colour and dash of a system's curve."""
    return {"color": PALETTE[role_of(name)], "ls": DASH[role_of(name)]}


def shrink(array: np.ndarray, step: int, how: Cut = np.max) -> np.ndarray:
    """Pool `array` over step x step blocks, dropping the ragged edge: a page is 800 pixels wide, a photograph 4288."""
    if step == 1:
        return array
    height, width = (n // step * step for n in array.shape[:2])
    blocks = array[:height, :width].reshape(height // step, step, width // step, step, *array.shape[2:])
    return how(blocks, axis=(1, 3)).astype(array.dtype)


def as_grey(image: np.ndarray) -> np.ndarray:
    """The green channel, where lesions have most contrast, dimmed so that colours stand out: (H, W) in 0..0.8."""
    return image[..., 1] / 255 * 0.8


def bare(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def draw_outline(ax: Axes, mask: np.ndarray, colour: str, dash: LineStyleType = "solid", width: float = 1.1) -> None:
    if mask.any() and not mask.all():
        limits = ax.get_xlim(), ax.get_ylim()  # the contour's one-pixel apron, which closes lesions at the edge, is not shown
        extent = (-1.5, mask.shape[1] + 0.5, -1.5, mask.shape[0] + 0.5)
        lines = ax.contour(np.pad(mask, 1), levels=[0.5], colors=[colour], linestyles=[dash], linewidths=width, extent=extent)
        lines.set_path_effects([patheffects.withStroke(linewidth=width + 1.0, foreground="black", alpha=0.6)])
        ax.set(xlim=limits[0], ylim=limits[1])


def legend_key(label: str, colour: str, dash: LineStyleType = "solid", marker: str | None = None) -> Line2D:
    return Line2D([], [], color=colour, ls=dash, marker=marker, label=label)


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """Put a legend above the pictures, on a dark chip because outlines are light."""
    if not handles:
        return
    columns = min(3, len(handles))
    # Constrained layout forgets the titles of axes with a fixed aspect when it makes room for an outside legend.
    room = (0.18 + 0.2 * -(-len(handles) // columns)) / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - room))
    chip = {"facecolor": "#3A3A3A", "edgecolor": "none", "framealpha": 1, "labelcolor": "white"}
    spaces = {"handlelength": 1.6, "columnspacing": 1.2, "borderpad": 0.4, "borderaxespad": 0.3}
    figure.legend(handles=handles, loc="upper left", ncols=columns, **chip, **spaces).set_in_layout(False)
    # Notebooks crop a figure to what is in its layout: an empty frame keeps the room for the legend in the picture.
    figure.add_artist(Rectangle((0, 0), 1, 1, transform=figure.transFigure, facecolor="none", edgecolor="none"))


def truth_legend(figure: Figure) -> None:
    legend_below(figure, [legend_key("annotated MA", LESION_INK["MA"][0])])


def class_name(label: int) -> str:
    return "MA" if label else "healthy"
