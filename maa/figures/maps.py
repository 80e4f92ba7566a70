"""Probability maps over a photograph, and where they are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from scipy.ndimage import maximum_filter

from maa.figures.photographs import with_zooms
from maa.figures.style import (
    ERROR_INK,
    LESION_INK,
    WIDTH,
    Cut,
    Maps,
    Zooms,
    as_grey,
    bare,
    checked_mask,
    checked_plane,
    checked_rgb,
    draw_outline,
    legend_below,
    legend_key,
    new_figure,
    shrink,
    truth_legend,
)


def draw_heat(ax: Axes, grey: np.ndarray, probability: np.ndarray, gain: float) -> AxesImage:
    """A grey photograph with the probability over it: invisible at 0, opaque from `gain` on."""
    ax.imshow(grey, cmap="gray", vmin=0, vmax=1)
    return ax.imshow(probability, vmin=0, vmax=1, cmap="inferno", alpha=np.clip(probability / gain, 0, 1).astype(float))


def probability_overlay(
    image: np.ndarray, probability: np.ndarray, truth: np.ndarray | None = None, zooms: Zooms = (), gain: float = 0.3
) -> Figure:
    """A probability map over its photograph, the photograph in grey so that colour means probability only.

    A drawn pixel shows the highest probability of those it stands for, or small lesions would fade.  Explained in ch:fusion.
    """
    image = checked_rgb(image)
    probability = checked_plane(probability, image, "probability")
    mask, grey, drawn = checked_mask(truth, image, "truth"), as_grey(image), []

    def draw(ax: Axes, cut: Cut, step: int) -> None:
        drawn.append(draw_heat(ax, cut(grey, np.mean), cut(probability), gain))
        draw_outline(ax, cut(mask), LESION_INK["MA"][0], width=0.9)

    figure = with_zooms(image, zooms, draw)
    # A colour bar of its own, opaque: the picture's alpha belongs to the photograph below it.
    bar = ScalarMappable(norm=drawn[0].norm, cmap=drawn[0].cmap)
    figure.colorbar(bar, ax=figure.axes, location="bottom", shrink=0.6, aspect=40, pad=0.01, label="probability of MA")
    if truth is not None:
        truth_legend(figure)
    return figure


def map_row(image: np.ndarray, maps: Maps, truth: np.ndarray | None = None, gain: float = 0.3) -> Figure:
    """The same window of a photograph under several probability maps, in a grid of small pictures.  Explained in ch:fusion.

    Parameters
    ----------
    maps : mapping from title to ndarray, shape (H, W), float in 0..1
        At least one; for instance 1x, 0.5x, fused, refined, in this order.
    """
    image = checked_rgb(image)
    maps = {name: checked_plane(m, image, f"the map {name}") for name, m in maps.items()}
    if not maps:
        raise ValueError("maps must hold at least one probability map, but is empty.")
    mask, columns = checked_mask(truth, image, "truth"), min(len(maps) + 1, 3)
    lines = -(-(len(maps) + 1) // columns)
    figure = new_figure(height=lines * (WIDTH / columns * image.shape[0] / image.shape[1] + 0.25) + 0.4)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    step = max(1, max(image.shape) // 500)
    for ax in axes:
        bare(ax)
        ax.set_visible(False)
    for ax, name in zip(axes, ["photograph", *maps]):
        ax.set_visible(True)
        ax.set_title(name)
        if name in maps:
            draw_heat(ax, shrink(as_grey(image), step, np.mean), shrink(maps[name], step), gain)
        else:
            ax.imshow(image)
        draw_outline(ax, shrink(mask, step) if name in maps else mask, LESION_INK["MA"][0], width=0.9)
    if truth is not None:
        truth_legend(figure)
    return figure


def kinds_of_errors(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
    """The masks of the kinds in `ERROR_INK`."""
    return predicted & truth, predicted & ~truth, truth & ~predicted


def error_legend(figure: Figure, counts: Sequence[int] = ()) -> None:
    labels = [f"{name} ({count:,} px)" for name, count in zip(ERROR_INK, counts)] or ERROR_INK
    legend_below(figure, [legend_key(label, colour, "none", "s") for label, colour in zip(labels, ERROR_INK.values())])


def error_colours(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The picture of an error map, shape (H, W, 3), uint8: the photograph in grey, each kind of pixel in its `ERROR_INK`.

    `predicted` is like `truth`.  Explained in ch:fusion.
    """
    image = checked_rgb(image)
    kinds = kinds_of_errors(checked_mask(predicted, image, "predicted"), checked_mask(truth, image, "truth"))
    out = np.repeat((as_grey(image) * 0.85 * 255).astype(np.uint8)[..., None], 3, axis=2)
    for where, colour in zip(kinds, ERROR_INK.values()):
        out[where] = np.array(to_rgb(colour)) * 255
    return out


def error_map(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray, zooms: Zooms = ()) -> Figure:
    """Which pixels are right, too many or missed, and how many of each: see `error_colours`.  Explained in ch:fusion."""
    image = checked_rgb(image)
    masks = checked_mask(predicted, image, "predicted"), checked_mask(truth, image, "truth")

    def draw(ax: Axes, cut: Cut, step: int) -> None:
        # A shrunk mask is thickened by one pixel of the page: a lesion three pixels wide cannot be told from dust.
        called, true = (maximum_filter(cut(mask), 3) if step > 1 else cut(mask) for mask in masks)
        ax.imshow(error_colours(cut(image, np.mean), called, true))

    figure = with_zooms(image, zooms, draw)
    error_legend(figure, [kind.sum() for kind in kinds_of_errors(*masks)])
    return figure
