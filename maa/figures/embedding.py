"""The embedding space."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Annulus, Circle, FancyArrowPatch, Rectangle
from numpy.typing import ArrayLike

from maa.figures.patches import class_legend, draw_framed
from maa.figures.style import (
    DASH,
    MARKER,
    PALETTE,
    WIDTH,
    bare,
    checked_patches,
    checked_points,
    checked_vector,
    class_name,
    new_canvas,
    new_figure,
)


def draw_classes(ax: Axes, points: np.ndarray, labels: np.ndarray, size: float = 26, alpha: float = 0.9) -> None:
    for name, value in (("healthy", 0), ("MA", 1)):
        chosen = points[labels == value]
        look: dict[str, Any] = {"marker": MARKER[name], "color": PALETTE[name], "label": f"{name} ({len(chosen)})"}
        ax.scatter(chosen[:, 0], chosen[:, 1], s=size, alpha=alpha, lw=0.5, ec="white", **look)


def draw_circle(ax: Axes) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="#BBBBBB", lw=0.8, zorder=0)
    ax.set(xlim=(-1.22, 1.22), ylim=(-1.22, 1.22), aspect="equal")
    bare(ax)


def triplet_geometry(
    before: np.ndarray, after: np.ndarray, labels: ArrayLike, triplet: tuple[int, int, int], margin: float
) -> Figure:
    """What the triplet loss asks, on the unit circle: one triplet before and after training.

    The line below each panel gives the two distances and the triplet's loss.  Explained in ch:refinement.

    Parameters
    ----------
    before, after : ndarray, shape (N, 2), float
        The same points before and after training, on the unit circle.
    triplet : (anchor, positive, negative)
        Indices of the triplet whose distances are drawn, the first two of one class and the last of the other.
    margin : float
        The loss's margin, in Euclidean distance: drawn as the band around the anchor that is as wide as the margin and
        begins at the positive.  The negative has to be outside it.
    """
    before, after = checked_points(before, "before"), checked_points(after, "after")
    if before.shape != after.shape:
        raise ValueError(f"before and after must be the same points, but have shapes {before.shape} and {after.shape}.")
    labels = checked_vector(labels, "labels", len(before))
    classes = labels[list(triplet)]
    if classes[0] != classes[1] or classes[0] == classes[2]:
        raise ValueError("triplet must be (anchor, positive, negative), the first two of one class and the last of the other.")
    figure = new_figure(height=WIDTH / 2 + 0.75)
    for ax, points, title in zip(figure.subplots(1, 2), (before, after), ("before training", "after training")):
        draw_circle(ax)
        draw_classes(ax, points, labels, alpha=0.55)
        anchor, positive, negative = ends = points[list(triplet)]
        near, far = (float(np.linalg.norm(anchor - end)) for end in (positive, negative))
        band = Annulus(anchor, near + margin, margin, color="#F2C14E", alpha=0.3, lw=0, zorder=0)
        ax.add_patch(band)
        band.set_clip_path(Circle((0, 0), 1, transform=ax.transData))
        for end, dash, label in ((positive, "solid", classes[1]), (negative, (0, (4, 2)), classes[2])):
            look: dict[str, Any] = {"color": PALETTE[class_name(label)], "ls": dash, "lw": 1.8, "zorder": 4}
            ax.add_patch(FancyArrowPatch(anchor, end, arrowstyle="-|>", mutation_scale=12, **look))
        for end, word in zip(ends, ("anchor", "positive", "negative")):
            name_point(ax, end, word)
        ax.set_title(title)
        ax.set_xlabel(f"to positive {near:.2f}, to negative {far:.2f}\nloss {max(0.0, near - far + margin):.2f}")
    chip = Rectangle((0, 0), 1, 1, color="#F2C14E", alpha=0.5, label=f"margin {margin:g}")
    figure.legend(handles=[*ax.get_legend_handles_labels()[0], chip], loc="outside upper left", ncols=3)
    return figure


def name_point(ax: Axes, point: np.ndarray, word: str) -> None:
    """Write a word beside a point of the unit circle, outside it."""
    x, y = point * 1.1 / max(float(np.linalg.norm(point)), 1e-9)
    across = "center" if abs(x) < 0.45 else ("left" if x > 0 else "right")
    up = "bottom" if y > 0.45 else ("top" if y < -0.45 else "center")
    halo = [patheffects.withStroke(linewidth=2.5, foreground="white")]
    ax.text(x, y, word, ha=across, va=up, zorder=6, clip_on=False, path_effects=halo)


def _spread(points: np.ndarray, count: int) -> list[int]:
    """Indices of `count` points far from one another, greedily: thumbnails that do not cover each other."""
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance)))
    return chosen


def embedding_scatter(
    points: np.ndarray,
    labels: ArrayLike,
    thumbnails: np.ndarray | None = None,
    wrong: ArrayLike | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """A map of the embedding: one mark a patch, by class, some of the patches laid on it.  Explained in ch:embedding.

    Parameters
    ----------
    points : ndarray, shape (N, 2), float
        Coordinates (UMAP, or the embedding itself when it is 2-D).  Their unit means nothing and is not printed.
    thumbnails : ndarray, shape (N, S, S, 3), uint8, optional
        The patches; about two dozen that lie far from one another are drawn, framed by class.
    wrong : ndarray, shape (N,), bool, optional
        Patches that the classifier gets wrong: ringed in black.
    """
    points = checked_points(points)
    labels = checked_vector(labels, "labels", len(points))
    legend_of_axes = ax is not None
    figure, ax = new_canvas(ax, 5.2 if thumbnails is not None else 4.4)
    draw_classes(ax, points, labels, size=14 if len(points) > 300 else 26, alpha=0.7)
    if wrong is not None:
        wrong = checked_vector(wrong, "wrong", len(points)).astype(bool)
        label = f"wrong ({wrong.sum()})"
        ax.scatter(points[wrong, 0], points[wrong, 1], s=44, facecolor="none", ec=PALETTE["truth"], lw=1, label=label)
    if thumbnails is not None:
        thumbnails = checked_patches(thumbnails, "thumbnails")
        checked_vector(np.arange(len(thumbnails)), "thumbnails", len(points))
        for i in _spread(points, 24):
            name = class_name(labels[i])
            picture = OffsetImage(thumbnails[i], zoom=26 / thumbnails.shape[1])
            frame = {"ec": PALETTE[name], "lw": 1.6, "ls": DASH[name]}
            ax.add_artist(AnnotationBbox(picture, points[i], pad=0.05, bboxprops=frame))
    bare(ax)
    ax.margins(0.06)
    ax.set_title(title)
    if legend_of_axes:
        ax.legend()
    else:
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure


def neighbours(
    queries: np.ndarray, query_labels: ArrayLike, found: np.ndarray, found_labels: ArrayLike, distances: ArrayLike
) -> Figure:
    """Each query patch with its nearest neighbours, framed by class, the distance above.  Explained in ch:embedding.

    Parameters
    ----------
    queries, query_labels : ndarray, shape (Q, S, S, 3), uint8, and shape (Q,), int
        Query patches, one a row, and their labels.
    found, found_labels : ndarray, shape (Q, K, S, S, 3), uint8, and shape (Q, K), int
        Their neighbours, nearest first, and their labels.
    distances : ndarray, shape (Q, K), float
        Distances to the query, in the embedding's own unit.
    """
    queries, found = checked_patches(queries, "queries"), np.asarray(found)
    found_labels, distances = np.asarray(found_labels), np.asarray(distances)
    query_labels = checked_vector(query_labels, "query_labels", len(queries))
    shape = found.shape[:2]
    if found.ndim != 5 or shape[0] != len(queries) or found_labels.shape != shape or distances.shape != shape:
        wanted = f"(Q, K, S, S, 3) with found_labels and distances (Q, K) and Q = {len(queries)}"
        shapes = f"{found.shape}, {found_labels.shape} and {distances.shape}"
        raise ValueError(f"found must be {wanted}, but they have shapes {shapes}.")
    cell = WIDTH / (shape[1] + 1)
    figure = new_figure(height=len(queries) * (cell + 0.28) + 0.35)
    for q, row in enumerate(figure.subplots(len(queries), shape[1] + 1, squeeze=False)):
        draw_framed(row[0], queries[q], query_labels[q], "query", pad=5)
        for ax, patch, label, distance in zip(row[1:], found[q], found_labels[q], distances[q]):
            draw_framed(ax, patch, label, f"{distance:.2f}", pad=5)
    class_legend(figure)
    return figure
