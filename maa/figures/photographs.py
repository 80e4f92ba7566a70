"""Photographs and their lesions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from maa.figures.style import (
    DASH,
    HALO,
    LESION_INK,
    PALETTE,
    WIDTH,
    axes_or_new,
    bare,
    checked_plane,
    checked_rgb,
    checked_vector,
    count,
    draw_outline,
    legend_below,
    new_figure,
    role_of,
    shrink,
)


def _scale_bar(ax: Axes, width: float, pixels_per_degree: float) -> None:
    degrees = max((d for d in (0.1, 0.2, 0.5, 1, 2, 5, 10) if d * pixels_per_degree <= 0.3 * width), default=0.1)
    length, height = degrees * pixels_per_degree, ax.get_ylim()[0]
    line = ax.plot([0.04 * width, 0.04 * width + length], [0.95 * height] * 2, color="white", lw=2.5)[0]
    text = ax.text(0.04 * width, 0.92 * height, f"{degrees:g}°", color="white", va="bottom")
    for artist in (line, text):
        artist.set_path_effects(HALO)


def with_zooms(
    image: np.ndarray,
    zooms: Sequence[tuple[int, int, int]],
    draw: Callable[[Axes, slice, slice, int], object],
    pixels_per_degree: float | None = None,
) -> Figure:
    """Lay out the whole picture above its zooms and call ``draw(ax, rows, columns, step)`` for each of them."""
    height, width = image.shape[:2]
    for row, column, side in zooms:
        if not (0 <= row and 0 <= column and 0 < side and row + side <= height and column + side <= width):
            raise ValueError(
                f"each zoom is (row, column, side) within the image of {height} x {width} pixels, but one is "
                f"{(row, column, side)}."
            )
    whole = WIDTH * height / width
    below = WIDTH / len(zooms) if zooms else 0
    figure = new_figure(height=whole + below + 0.45)
    grid = figure.add_gridspec(2 if zooms else 1, max(1, len(zooms)), height_ratios=[whole, below][: 2 if zooms else 1])
    views = [(figure.add_subplot(grid[0, :]), slice(0, height), slice(0, width), -(-max(height, width) // 1000))]
    for i, (row, column, side) in enumerate(zooms):
        ax = figure.add_subplot(grid[1, i])
        views.append((ax, slice(row, row + side), slice(column, column + side), max(1, side // 500)))
    for i, (ax, rows, columns, step) in enumerate(views):
        draw(ax, rows, columns, step)
        bare(ax)
        if pixels_per_degree:
            _scale_bar(ax, (columns.stop - columns.start) / step, pixels_per_degree / step)
        if i:
            ax.text(0.03, 0.97, str(i), transform=ax.transAxes, va="top", color="white", path_effects=HALO)
            main, scale = views[0][0], views[0][3]
            box = Rectangle(
                (columns.start / scale, rows.start / scale),
                (columns.stop - columns.start) / scale,
                (rows.stop - rows.start) / scale,
                fill=False,
                ec="white",
                lw=1.2,
                path_effects=HALO,
            )
            main.add_patch(box)
            main.text(columns.stop / scale, rows.start / scale, f" {i}", color="white", va="top", path_effects=HALO)
    return figure


def photograph(
    image: np.ndarray,
    lesions: Mapping[str, np.ndarray] | None = None,
    fov: np.ndarray | None = None,
    zooms: Sequence[tuple[int, int, int]] = (),
    pixels_per_degree: float | None = None,
) -> Figure:
    """A fundus photograph with its lesions and its field of view outlined, and native-resolution zooms below it.

    Explained in ch:retina.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph.
    lesions : mapping from "MA", "HE", "EX", "SE", "OD" to (H, W) bool, optional
        Annotated masks; the legend gives the number of separate MA lesions drawn.
    fov : (H, W) bool, optional
        Field of view, drawn as a dashed grey line.
    zooms : sequence of (row, column, side)
        Square windows in pixels, drawn in a row below the photograph and numbered.
    pixels_per_degree : float, optional
        Draws a scale bar in degrees of visual angle (IDRiD: 68).

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When an array has another shape than the image, a lesion is unknown or a zoom leaves the image.
    """
    image = checked_rgb(image)
    lesions = {} if lesions is None else dict(lesions)
    if unknown := set(lesions) - set(LESION_INK):
        raise ValueError(f"lesions are named {', '.join(LESION_INK)}, but one is {sorted(unknown)[0]!r}.")
    lesions = {k: checked_plane(lesions[k], image, f"the mask of {k}").astype(bool) for k in LESION_INK if k in lesions}
    fov = None if fov is None else checked_plane(fov, image, "fov").astype(bool)

    def draw(ax: Axes, rows: slice, columns: slice, step: int) -> AxesImage:
        ax.imshow(shrink(image[rows, columns], step, np.mean))
        if fov is not None:
            draw_outline(ax, shrink(fov[rows, columns], step, np.max), "#BBBBBB", (0, (4, 3)))
        for name, mask in lesions.items():
            colour, dash, _ = LESION_INK[name]
            draw_outline(ax, shrink(mask[rows, columns], step, np.max), colour, dash)

    figure = with_zooms(image, zooms, draw, pixels_per_degree)
    drawn = [
        (LESION_INK[k][2] + (f" ({count(m)})" if k == "MA" else ""), *LESION_INK[k][:2]) for k, m in lesions.items() if m.any()
    ]
    if fov is not None:
        drawn.append(("field of view", "#BBBBBB", (0, (4, 3))))
    legend_below(figure, [Line2D([], [], color=c, ls=d, label=n) for n, c, d in drawn])
    return figure


def lesion_sizes(
    real_areas: np.ndarray | None = None,
    phantom_areas: np.ndarray | None = None,
    reach: Mapping[str, int] | None = None,
    microns_per_pixel: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Histogram of lesion sizes, real beside phantom, with the receptive fields marked on the same axis.

    Explained in ch:retina and ch:half.

    Parameters
    ----------
    real_areas, phantom_areas : (N,) and (M,) float, optional
        Areas of single lesions in native pixels; at least one of the two.
    reach : mapping from "1x", "0.5x" to int, optional
        Side of each network's receptive field in native pixels.
    microns_per_pixel : float, optional
        Adds a second axis in micrometres on the retina.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure
        The horizontal axis is the diameter of the disc of equal area, in native pixels.

    Raises
    ------
    ValueError
        When neither sample is given or an area is not positive.
    """
    samples = [
        (n, checked_vector(a, f"{n} areas"), c, f)
        for n, a, c, f in (("real", real_areas, PALETTE["truth"], False), ("phantom", phantom_areas, PALETTE["0.5x"], True))
        if a is not None
    ]
    if not samples or any(len(a) == 0 or np.min(a) <= 0 for _, a, _, _ in samples):
        raise ValueError("lesion_sizes needs real_areas or phantom_areas, each with at least one area above zero pixels.")
    ax = axes_or_new(ax, 3.4)
    sizes = [2 * np.sqrt(np.asarray(a) / np.pi) for _, a, _, _ in samples]
    bins = np.histogram_bin_edges(np.clip(np.concatenate(sizes), 0, np.percentile(np.concatenate(sizes), 99.5)), 30)
    for (name, areas, colour, fill), size in zip(samples, sizes):
        label = f"{name}: {len(areas):,} lesions, median {np.median(size):.1f} px"
        ax.hist(
            size,
            bins,
            weights=np.full(len(size), 100 / len(size)),
            histtype="stepfilled" if fill else "step",
            color=colour,
            alpha=0.45 if fill else 1,
            lw=1.8,
            label=label,
            zorder=1 if fill else 2,
        )
    for name, side in (reach or {}).items():
        ax.axvline(side, color=PALETTE[role_of(name)], ls=DASH[role_of(name)], label=f"receptive field {name}: {side} px")
    ax.set(xlabel="diameter of the disc of equal area (native pixels)", ylabel="lesions (%)", xlim=(0, None))
    ax.legend()
    if microns_per_pixel:
        top = ax.secondary_xaxis("top", functions=(lambda x: x * microns_per_pixel, lambda x: x / microns_per_pixel))
        top.set_xlabel("on the retina (µm)")
    return ax.figure


def thin(x: np.ndarray, y: np.ndarray, most: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points of a curve, evenly along x: a curve of ten million points is a curve of a page's width."""
    if len(x) <= most:
        return x, y
    keep = np.unique(np.append(np.searchsorted(x, np.linspace(x[0], x[-1], most)), len(x) - 1))
    return x[keep], y[keep]
