"""Photographs and their lesions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.ndimage import label as connected

from maa.figures.patches import draw_box
from maa.figures.style import (
    FOV_INK,
    HALO,
    LESION_INK,
    PALETTE,
    WIDTH,
    Cut,
    Maps,
    Zooms,
    bare,
    checked_mask,
    checked_rgb,
    checked_vector,
    draw_outline,
    ink_of,
    legend_below,
    legend_key,
    new_canvas,
    new_figure,
    shrink,
    square_view,
)


def _scale_bar(ax: Axes, width: float, pixels_per_degree: float) -> None:
    degrees = max((d for d in (0.1, 0.2, 0.5, 1, 2, 5, 10) if d * pixels_per_degree <= 0.3 * width), default=0.1)
    left, height = 0.04 * width, ax.get_ylim()[0]
    right = left + degrees * pixels_per_degree
    ax.plot([left, right], [0.95 * height] * 2, color="white", lw=2.5, path_effects=HALO)
    ax.text(left, 0.92 * height, f"{degrees:g}°", color="white", va="bottom", path_effects=HALO)


def with_zooms(
    image: np.ndarray, zooms: Zooms, draw: Callable[[Axes, Cut, int], None], pixels_per_degree: float | None = None
) -> Figure:
    """Lay out the whole picture above its zooms and call ``draw(ax, cut, step)`` for each.

    ``cut(array, how)`` is the part of an array that belongs there, pooled over `step` pixels a side.
    """
    height, width = image.shape[:2]
    views = [square_view(window, image, "each zoom") for window in (None, *zooms)]
    heights = [WIDTH * height / width, *([WIDTH / len(zooms)] if zooms else [])]
    figure = new_figure(height=sum(heights) + 0.45)
    grid = figure.add_gridspec(len(heights), max(1, len(zooms)), height_ratios=heights)
    main, scale = figure.add_subplot(grid[0, :]), -(-max(height, width) // 1000)
    for i, (rows, columns) in enumerate(views):
        side = columns.stop - columns.start
        ax, step = (figure.add_subplot(grid[1, i - 1]), max(1, side // 500)) if i else (main, scale)
        draw(ax, lambda array, how=np.max, r=rows, c=columns, step=step: shrink(array[r, c], step, how), step)
        bare(ax)
        if pixels_per_degree:
            _scale_bar(ax, side / step, pixels_per_degree / step)
        if i:
            ax.text(0.03, 0.97, str(i), transform=ax.transAxes, va="top", color="white", path_effects=HALO)
            draw_box(main, columns.start / scale, rows.start / scale, side / scale, width=1.2)
            main.text(columns.stop / scale, rows.start / scale, f" {i}", color="white", va="top", path_effects=HALO)
    return figure


def photograph(
    image: np.ndarray,
    lesions: Maps | None = None,
    fov: np.ndarray | None = None,
    zooms: Zooms = (),
    pixels_per_degree: float | None = None,
) -> Figure:
    """A fundus photograph with its lesions and its field of view outlined, and zooms below it.  Explained in ch:retina.

    Parameters
    ----------
    lesions : mapping from "MA", "HE", "EX", "SE", "OD" to ndarray, shape (H, W), bool, optional
        Annotated masks; the legend gives the number of separate MA lesions drawn.
    fov : ndarray, shape (H, W), bool, optional
        Field of view, outlined in grey.
    pixels_per_degree : float, optional
        Draws a scale bar in degrees of visual angle (IDRiD: 68).
    """
    image = checked_rgb(image)
    lesions = lesions or {}
    if unknown := set(lesions) - set(LESION_INK):
        raise ValueError(f"lesions are named {', '.join(LESION_INK)}, but one is {sorted(unknown)[0]!r}.")
    masks = {k: checked_mask(lesions[k], image, f"the mask of {k}") for k in LESION_INK if k in lesions}
    field = checked_mask(fov, image, "fov")

    def draw(ax: Axes, cut: Cut, step: int) -> None:
        ax.imshow(cut(image, np.mean))
        draw_outline(ax, cut(field), *FOV_INK)
        for name, mask in masks.items():
            draw_outline(ax, cut(mask), *LESION_INK[name][:2])

    figure = with_zooms(image, zooms, draw, pixels_per_degree)
    handles = []
    for name, mask in masks.items():
        colour, dash, words = LESION_INK[name]
        if mask.any():
            count = f" ({connected(mask, structure=np.ones((3, 3)))[1]})" if name == "MA" else ""
            handles.append(legend_key(words + count, colour, dash))
    if fov is not None:
        handles.append(legend_key("field of view", *FOV_INK))
    legend_below(figure, handles)
    return figure


def lesion_sizes(
    real_areas: ArrayLike | None = None, phantom_areas: ArrayLike | None = None, reach: Mapping[str, int] | None = None
) -> Figure:
    """Histogram of lesion sizes, real beside phantom, with the receptive fields marked on the same axis.

    The horizontal axis is the diameter of the disc of equal area, in native pixels.  Explained in ch:retina and ch:half.

    Parameters
    ----------
    real_areas, phantom_areas : ndarray, shapes (N,) and (M,), float above zero, optional
        Areas of single lesions in native pixels; at least one of the two.
    reach : mapping from "1x", "0.5x" to int, optional
        Side of each network's receptive field in native pixels.
    """
    given = {"real": real_areas, "phantom": phantom_areas}
    samples = {name: checked_vector(areas, f"{name} areas") for name, areas in given.items() if areas is not None}
    if not samples or any(len(areas) == 0 or areas.min() <= 0 for areas in samples.values()):
        raise ValueError("lesion_sizes needs real_areas or phantom_areas, each with at least one area above zero pixels.")
    figure, ax = new_canvas(None, 3.4)
    sizes = {name: 2 * np.sqrt(areas / np.pi) for name, areas in samples.items()}
    both = np.concatenate(list(sizes.values()))
    bins = np.histogram_bin_edges(np.clip(both, 0, np.percentile(both, 99.5)), 30)
    looks: dict[str, dict[str, Any]] = {
        "real": {"color": PALETTE["truth"], "histtype": "step", "alpha": 1, "zorder": 2},
        "phantom": {"color": PALETTE["0.5x"], "histtype": "stepfilled", "alpha": 0.45, "zorder": 1},
    }
    for name, size in sizes.items():
        label = f"{name}: {len(size):,} lesions, median {np.median(size):.1f} px"
        ax.hist(size, bins.tolist(), weights=np.full(len(size), 100 / len(size)), lw=1.8, label=label, **looks[name])
    for name, side in (reach or {}).items():
        ax.axvline(side, label=f"receptive field {name}: {side} px", **ink_of(name))
    ax.set(xlabel="diameter of the disc of equal area (native pixels)", ylabel="lesions (%)", xlim=(0, None))
    ax.legend()
    return figure


def thin(x: np.ndarray, y: np.ndarray, most: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points of a curve, evenly along x: a curve of ten million points is a curve of a page's width."""
    if len(x) <= most:
        return x, y
    chosen = np.unique(np.append(np.searchsorted(x, np.linspace(x[0], x[-1], most)), len(x) - 1))
    return x[chosen], y[chosen]
