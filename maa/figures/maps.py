"""Probability maps over a photograph, and where they are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from maa.figures.photographs import with_zooms
from maa.figures.style import (
    ERROR_INK,
    LESION_INK,
    WIDTH,
    as_grey,
    bare,
    checked_plane,
    checked_rgb,
    draw_outline,
    fat,
    legend_below,
    new_figure,
    shrink,
)


def draw_heat(ax: Axes, image: np.ndarray, probability: np.ndarray, step: int, gain: float) -> AxesImage:
    """A grey photograph with the probability over it: invisible at 0, opaque from `gain` on."""
    ax.imshow(shrink(as_grey(image), step, np.mean), cmap="gray", vmin=0, vmax=1)
    pooled = shrink(probability, step, np.max)  # maxima, or a lesion three pixels wide would fade on the page
    return ax.imshow(pooled, vmin=0, vmax=1, cmap="inferno", alpha=np.clip(pooled / gain, 0, 1).astype(float))


def probability_overlay(
    image: np.ndarray,
    probability: np.ndarray,
    truth: np.ndarray | None = None,
    zooms: Sequence[tuple[int, int, int]] = (),
    gain: float = 0.3,
) -> Figure:
    """A probability map over its photograph, the photograph in grey so that colour means probability only.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph.
    probability : (H, W) float in 0..1
        Probability that a pixel is MA.
    truth : (H, W) bool, optional
        Annotated MA, outlined.
    zooms : sequence of (row, column, side)
        Windows in pixels, drawn below.
    gain : float in (0, 1]
        Probability from which on the map hides the photograph.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When a shape is not the image's or a zoom leaves the image.

    Notes
    -----
    At page size each drawn pixel shows the highest probability of those it stands for.  Explained in ch:fusion.
    """
    image = checked_rgb(image)
    probability = checked_plane(probability, image, "probability")
    truth = None if truth is None else checked_plane(truth, image, "truth").astype(bool)
    drawn = []

    def draw(ax: Axes, rows: slice, columns: slice, step: int) -> AxesImage:
        drawn.append(draw_heat(ax, image[rows, columns], probability[rows, columns], step, gain))
        if truth is not None:
            draw_outline(ax, shrink(truth[rows, columns], step, np.max), LESION_INK["MA"][0], width=0.9)

    figure = with_zooms(image, zooms, draw)
    # A colour bar of its own, opaque: the picture's alpha belongs to the photograph below it.
    bar = ScalarMappable(norm=drawn[0].norm, cmap=drawn[0].cmap)
    figure.colorbar(bar, ax=figure.axes, location="bottom", shrink=0.6, aspect=40, pad=0.01, label="probability of MA")
    if truth is not None:
        legend_below(figure, [Line2D([], [], color=LESION_INK["MA"][0], label="annotated MA")])
    return figure


def map_row(image: np.ndarray, maps: Mapping[str, np.ndarray], truth: np.ndarray | None = None, gain: float = 0.3) -> Figure:
    """The same window of a photograph under several probability maps, in a grid of small pictures.  Explained in ch:fusion.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB window.
    maps : mapping from title to (H, W) float in 0..1
        For instance 1x, 0.5x, fused, refined, in this order.
    truth : (H, W) bool, optional
        Annotated MA, outlined in every picture.
    gain : float in (0, 1]
        Probability from which on a map hides the photograph.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When there is no map or a shape is not the image's.
    """
    image = checked_rgb(image)
    maps = {name: checked_plane(m, image, f"the map {name}") for name, m in maps.items()}
    if not maps:
        raise ValueError("maps must hold at least one probability map, but is empty.")
    truth = None if truth is None else checked_plane(truth, image, "truth").astype(bool)
    columns = min(len(maps) + 1, 3)
    lines = -(-(len(maps) + 1) // columns)
    figure = new_figure(height=lines * (WIDTH / columns * image.shape[0] / image.shape[1] + 0.25) + 0.4)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes:
        bare(ax)
        ax.set_visible(False)
    axes[0].imshow(image)
    step = max(1, max(image.shape) // 500)
    for ax, name in zip(axes, ["photograph", *maps]):
        ax.set_visible(True)
        ax.set_title(name)
        if name in maps:
            draw_heat(ax, image, maps[name], step, gain)
        if truth is not None:
            draw_outline(ax, truth if ax is axes[0] else shrink(truth, step, np.max), LESION_INK["MA"][0], width=0.9)
    if truth is not None:
        legend_below(figure, [Line2D([], [], color=LESION_INK["MA"][0], label="annotated MA")])
    return figure


def error_colours(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The picture of an error map: the photograph in grey, each predicted or annotated pixel in `ERROR_INK`.

    Explained in ch:fusion.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph or window.
    predicted, truth : (H, W) bool
        Predicted and annotated MA.

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    ValueError
        When a shape is not the image's.
    """
    image = checked_rgb(image)
    predicted = checked_plane(predicted, image, "predicted").astype(bool)
    truth = checked_plane(truth, image, "truth").astype(bool)
    out = np.repeat((as_grey(image) * 0.85 * 255).astype(np.uint8)[..., None], 3, axis=2)
    kinds = (predicted & truth, predicted & ~truth, truth & ~predicted)
    for where, colour in zip(kinds, ERROR_INK.values()):
        out[where] = np.array(to_rgb(colour)) * 255
    return out


def error_map(
    image: np.ndarray, predicted: np.ndarray, truth: np.ndarray, zooms: Sequence[tuple[int, int, int]] = ()
) -> Figure:
    """Which pixels were right, which too many, which missed; the legend counts them.  Explained in ch:fusion.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph or window.
    predicted, truth : (H, W) bool
        Predicted and annotated MA.
    zooms : sequence of (row, column, side)
        Windows in pixels, drawn below.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When a shape is not the image's or a zoom leaves the image.
    """
    image, kinds = checked_rgb(image), []
    predicted = checked_plane(predicted, image, "predicted").astype(bool)
    truth = checked_plane(truth, image, "truth").astype(bool)

    def draw(ax: Axes, rows: slice, columns: slice, step: int) -> AxesImage:
        ax.imshow(
            error_colours(
                shrink(image[rows, columns], step, np.mean),
                *(fat(shrink(m[rows, columns], step, np.max), step) for m in (predicted, truth)),
            )
        )

    figure = with_zooms(image, zooms, draw)
    counts = ((predicted & truth).sum(), (predicted & ~truth).sum(), (truth & ~predicted).sum())
    for (name, colour), count in zip(ERROR_INK.items(), counts):
        kinds.append(Line2D([], [], color=colour, marker="s", ls="none", label=f"{name} ({count:,} px)"))
    legend_below(figure, kinds)
    return figure
