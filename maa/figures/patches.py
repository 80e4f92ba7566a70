"""Patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from maa.figures.style import (
    DASH,
    HALO,
    LESION_INK,
    PALETTE,
    WIDTH,
    Dash,
    bare,
    checked_patches,
    checked_plane,
    checked_rgb,
    checked_vector,
    draw_outline,
    legend_below,
    new_figure,
)


def frame(ax: Axes, label: object) -> None:
    """Border an image by its class: MA solid, healthy dashed, so that colour is not alone in saying it."""
    name = "MA" if label else "healthy"
    ax.spines[:].set(
        visible=True, color=PALETTE[name], linewidth=2.2, capstyle="butt", linestyle="solid" if label else (0, (2, 1))
    )


def class_legend(figure: Figure) -> None:
    figure.legend(
        handles=[
            Line2D([], [], color=PALETTE["MA"], label="MA"),
            Line2D([], [], color=PALETTE["healthy"], ls=(0, (2, 1)), label="healthy"),
        ],
        loc="outside upper right",
        ncols=2,
    )


def patch_grid(
    patches: np.ndarray, labels: np.ndarray | None = None, titles: Sequence[str] | None = None, columns: int = 8
) -> Figure:
    """A grid of patches, framed by class.  Explained in ch:hgn.

    Parameters
    ----------
    patches : (N, S, S, 3) uint8
        RGB patches, drawn in reading order.
    labels : (N,) int or bool, optional
        1 for MA, 0 for healthy: colour and dash of the frame.
    titles : sequence of N str, optional
        A short line above each patch.
    columns : int
        Patches in a row.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When the patches have another shape or labels or titles another length.
    """
    patches = checked_patches(patches)
    labels = None if labels is None else checked_vector(labels, "labels", len(patches))
    titles = None if titles is None else checked_vector(titles, "titles", len(patches))
    columns = min(columns, len(patches))
    lines = -(-len(patches) // columns)
    cell = WIDTH / max(columns, 4)
    figure = new_figure(
        cell * columns, lines * (cell + (0.2 if titles is not None else 0.0)) + (0.3 if labels is not None else 0)
    )
    for i, ax in enumerate(figure.subplots(lines, columns, squeeze=False).ravel()):
        bare(ax)
        if i >= len(patches):
            ax.set_visible(False)
            continue
        ax.imshow(patches[i])
        if labels is not None:
            frame(ax, labels[i])
        if titles is not None:
            ax.set_title(str(titles[i]), loc="center", pad=3)
    if labels is not None:
        class_legend(figure)
    return figure


def patch_at_both_scales(
    image: np.ndarray,
    truth: np.ndarray,
    half_image: np.ndarray,
    half_truth: np.ndarray,
    centre: tuple[int, int],
    side: int,
    receptive_field: int | None = None,
) -> Figure:
    """What each HGN sees around one pixel: its surroundings, the patch at 1x, the patch at 0.5x.  Explained in ch:half.

    Parameters
    ----------
    image, truth : (H, W, 3) uint8 and (H, W) bool
        Photograph at native resolution and its MA.
    half_image, half_truth : (H/2, W/2, 3) uint8 and (H/2, W/2) bool
        The same at half the resolution (`maa.data.halve`).
    centre : (row, column)
        In native pixels.
    side : int
        Side of a patch in pixels of its own scale.
    receptive_field : int, optional
        Side of the network's receptive field in pixels of its own scale, drawn as a box where it is below `side`.

    Returns
    -------
    Figure
        Three pictures; the first carries the outlines of the two patches.

    Raises
    ------
    ValueError
        When shapes disagree or a patch leaves the image.
    """
    image, half_image = checked_rgb(image), checked_rgb(half_image, "half_image")
    truth, half_truth = checked_plane(truth, image, "truth"), checked_plane(half_truth, half_image, "half_truth")
    reach = int(1.5 * side)
    row, column = centre
    if not (reach <= row < image.shape[0] - reach and reach <= column < image.shape[1] - reach):
        raise ValueError(
            f"centre must lie {reach} pixels or more within the image of {image.shape[:2]} pixels, but is {(row, column)}."
        )
    figure = new_figure(height=WIDTH / 3 + 0.55)
    views = (
        ("surroundings", image, truth, reach, centre),
        ("1x", image, truth, side // 2, centre),
        ("0.5x", half_image, half_truth, side // 2, (row // 2, column // 2)),
    )
    for ax, (name, picture, mask, half, (r, c)) in zip(figure.subplots(1, 3), views):
        window = np.s_[
            r - half : r - half + (2 * half if half == reach else side),
            c - half : c - half + (2 * half if half == reach else side),
        ]
        ax.imshow(picture[window])
        draw_outline(ax, np.asarray(mask[window], dtype=bool), LESION_INK["MA"][0], width=1.4)
        bare(ax)
        ax.set_title(name if half == reach else f"{name}: {side} x {side} pixels")
        if half == reach:
            for role, size in (("1x", side), ("0.5x", 2 * side)):
                draw_box(ax, half, size, "white", DASH[role])
                ax.text(half - size / 2, half - size / 2 - 2, role, color="white", va="bottom", path_effects=HALO)
        else:
            ax.spines[:].set(visible=True, color=PALETTE[name], linewidth=2.5)
            if receptive_field is not None and receptive_field < side:
                draw_box(ax, half, receptive_field, "white", (0, (2, 2)))
    handles = [Line2D([], [], color=LESION_INK["MA"][0], label="annotated MA")]
    if receptive_field is not None and receptive_field < side:
        handles.append(Line2D([], [], color="white", ls=(0, (2, 2)), label=f"receptive field ({receptive_field} px)"))
    legend_below(figure, handles)
    return figure


def draw_box(ax: Axes, centre: tuple[float, float], side: float, colour: str, dash: Dash) -> None:
    ax.add_patch(
        Rectangle(
            (centre - side / 2 - 0.5, centre - side / 2 - 0.5),
            side,
            side,
            fill=False,
            ec=colour,
            ls=dash,
            lw=1.4,
            path_effects=HALO,
        )
    )


def most_drawn(patches: np.ndarray, probabilities: np.ndarray, count: int = 16) -> Figure:
    """The healthy patches that the sampler now draws most, each with its multiple of uniform sampling.

    Explained in ch:refinement.

    Parameters
    ----------
    patches : (N, S, S, 3) uint8
        Healthy patches.
    probabilities : (N,) float
        Their sampling weights; normalised here.
    count : int
        How many to draw.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When lengths differ.
    """
    patches = checked_patches(patches)
    p = checked_vector(probabilities, "probabilities", len(patches)).astype(float)
    top = np.argsort(-p, kind="stable")[:count]
    times = p[top] / p.mean()
    return patch_grid(patches[top], titles=[f"{t:.0f}×" if t >= 10 else f"{t:.1f}×" for t in times])
