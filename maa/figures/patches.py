"""Patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.typing import LineStyleType
from numpy.typing import ArrayLike

from maa.figures.style import (
    DASH,
    HALO,
    LESION_INK,
    PALETTE,
    WIDTH,
    bare,
    checked_mask,
    checked_patches,
    checked_rgb,
    checked_vector,
    class_name,
    draw_outline,
    legend_key,
    new_figure,
    truth_legend,
)


def draw_box(ax: Axes, x: float, y: float, side: float, dash: LineStyleType = "solid", width: float = 1.4) -> None:
    ax.add_patch(Rectangle((x, y), side, side, fill=False, ec="white", ls=dash, lw=width, path_effects=HALO))


def draw_framed(ax: Axes, patch: np.ndarray, label: int | None, title: str | None, pad: float) -> None:
    """A patch, bordered by its class: MA solid, healthy dashed, so that colour is not alone in saying it."""
    ax.imshow(patch)
    bare(ax)
    if label is not None:
        name = class_name(label)
        ax.spines[:].set(visible=True, color=PALETTE[name], linewidth=2.2, capstyle="butt", linestyle=DASH[name])
    if title is not None:
        ax.set_title(title, loc="center", pad=pad)


def class_legend(figure: Figure) -> None:
    handles = [legend_key(name, PALETTE[name], DASH[name]) for name in ("MA", "healthy")]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)


def patch_grid(
    patches: np.ndarray, labels: ArrayLike | None = None, titles: Sequence[str] | None = None, columns: int = 8
) -> Figure:
    """A grid of patches, framed by class.  Explained in ch:hgn.

    Parameters
    ----------
    patches : ndarray, shape (N, S, S, 3), uint8
        RGB patches, at least one, drawn in reading order.
    titles : sequence of N str, optional
        A short line above each patch.
    columns : int
        Patches in a row.
    """
    patches = checked_patches(patches)
    classes = [None] * len(patches) if labels is None else checked_vector(labels, "labels", len(patches))
    words = [None] * len(patches) if titles is None else map(str, checked_vector(titles, "titles", len(patches)))
    columns = min(columns, len(patches))
    lines = -(-len(patches) // columns)
    cell = WIDTH / max(columns, 4)
    height = lines * (cell + (0.2 if titles is not None else 0.0)) + (0.3 if labels is not None else 0)
    figure = new_figure(cell * columns, height)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(patches) :]:
        ax.set_visible(False)
    for ax, patch, label, title in zip(axes, patches, classes, words):
        draw_framed(ax, patch, label, title, pad=3)
    if labels is not None:
        class_legend(figure)
    return figure


def patch_at_both_scales(
    image: np.ndarray, truth: np.ndarray, half_image: np.ndarray, half_truth: np.ndarray, centre: tuple[int, int], side: int
) -> Figure:
    """What each HGN sees around one pixel: its surroundings, the patch at 1x, the patch at 0.5x.  Explained in ch:half.

    Parameters
    ----------
    half_image, half_truth : ndarray, shape (H/2, W/2, 3), uint8, and shape (H/2, W/2), bool
        `image` and `truth` at half the resolution (`maa.data.halve`).
    centre : (row, column)
        In native pixels, one and a half patches or more from the edge of the image.
    side : int
        Side of a patch in pixels of its own scale.
    """
    image, half_image = checked_rgb(image), checked_rgb(half_image, "half_image")
    truth, half_truth = checked_mask(truth, image, "truth"), checked_mask(half_truth, half_image, "half_truth")
    reach = int(1.5 * side)
    row, column = centre
    if not (reach <= row < image.shape[0] - reach and reach <= column < image.shape[1] - reach):
        where = f"{reach} pixels or more within the image of {image.shape[:2]} pixels"
        raise ValueError(f"centre must lie {where}, but is {(row, column)}.")
    figure = new_figure(height=WIDTH / 3 + 0.55)
    native, half = (image, truth, row, column), (half_image, half_truth, row // 2, column // 2)
    views = (("surroundings", native, 2 * reach), ("1x", native, side), ("0.5x", half, side))
    for ax, (name, (picture, mask, r, c), extent) in zip(figure.subplots(1, 3), views):
        middle = extent // 2
        window = np.s_[r - middle : r - middle + extent, c - middle : c - middle + extent]
        ax.imshow(picture[window])
        draw_outline(ax, mask[window], LESION_INK["MA"][0], width=1.4)
        bare(ax)
        if name in PALETTE:
            ax.set_title(f"{name}: {side} x {side} pixels")
            ax.spines[:].set(visible=True, color=PALETTE[name], linewidth=2.5)
            continue
        ax.set_title(name)
        for role, size in (("1x", side), ("0.5x", 2 * side)):
            corner = middle - size / 2
            draw_box(ax, corner - 0.5, corner - 0.5, size, DASH[role])
            ax.text(corner, corner - 2, role, color="white", va="bottom", path_effects=HALO)
    truth_legend(figure)
    return figure


def most_drawn(patches: np.ndarray, probabilities: ArrayLike, count: int = 16) -> Figure:
    """The `count` patches that the sampler now draws most, each with its multiple of uniform sampling.

    `patches` are as in `patch_grid`; `probabilities`, shape (N,), are normalised here.  Explained in ch:refinement.
    """
    patches = checked_patches(patches)
    p = checked_vector(probabilities, "probabilities", len(patches)).astype(float)
    top = np.argsort(-p, kind="stable")[:count]
    times = p[top] / p.mean()
    return patch_grid(patches[top], titles=[f"{t:.0f}×" if t >= 10 else f"{t:.1f}×" for t in times])
