"""The embedding space."""

from __future__ import annotations

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Annulus, Circle, FancyArrowPatch, Rectangle

from maa.figures.patches import class_legend, frame
from maa.figures.style import (
    MARKER,
    PALETTE,
    WIDTH,
    axes_or_new,
    bare,
    checked_patches,
    checked_points,
    checked_vector,
    new_figure,
)


def classes(ax: Axes, points: np.ndarray, labels: np.ndarray, size: float = 26, alpha: float = 0.9) -> None:
    for name, value in (("healthy", 0), ("MA", 1)):
        chosen = points[labels == value]
        ax.scatter(
            *chosen.T,
            s=size,
            marker=MARKER[name],
            color=PALETTE[name],
            alpha=alpha,
            lw=0.5,
            ec="white",
            label=f"{name} ({len(chosen)})",
        )


def circle(ax: Axes) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="#BBBBBB", lw=0.8, zorder=0)
    ax.set(xlim=(-1.22, 1.22), ylim=(-1.22, 1.22), aspect="equal")
    bare(ax)


def triplet_geometry(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray, triplet: tuple[int, int, int], margin: float
) -> Figure:
    """What the triplet loss asks, on the unit circle: one triplet before and after training.  Explained in ch:refinement.

    Parameters
    ----------
    before, after : (N, 2) float
        The same points before and after training, on the unit circle.
    labels : (N,) int
        1 for MA, 0 for healthy.
    triplet : (anchor, positive, negative)
        Indices of the triplet whose distances are drawn.
    margin : float
        The loss's margin, in Euclidean distance: drawn as the band around the anchor that is as wide as the margin and
        begins at the positive.  The negative has to be outside it.

    Returns
    -------
    Figure
        Two panels; the line below each gives the two distances and the triplet's loss.

    Raises
    ------
    ValueError
        When shapes differ or the triplet is not (same class, same class, other class).
    """
    before, after = checked_points(before, "before"), checked_points(after, "after")
    if before.shape != after.shape:
        raise ValueError(f"before and after must be the same points, but have shapes {before.shape} and {after.shape}.")
    labels = checked_vector(labels, "labels", len(before))
    anchor, positive, negative = triplet
    if labels[anchor] != labels[positive] or labels[anchor] == labels[negative]:
        raise ValueError(
            "triplet must be (anchor, positive, negative) with the first two of one class and the last of the other."
        )
    figure = new_figure(height=WIDTH / 2 + 0.75)
    for ax, points, title in zip(figure.subplots(1, 2), (before, after), ("before training", "after training")):
        circle(ax)
        classes(ax, points, labels, alpha=0.55)
        a, p, n = points[[anchor, positive, negative]]
        near, far = np.linalg.norm(a - p), np.linalg.norm(a - n)
        band = Annulus(a, near + margin, margin, color="#F2C14E", alpha=0.3, lw=0, zorder=0)
        ax.add_patch(band)
        band.set_clip_path(Circle((0, 0), 1, transform=ax.transData))
        for end, word, role in ((p, "positive", labels[anchor]), (n, "negative", labels[negative])):
            colour = PALETTE["MA" if role else "healthy"]
            ax.add_patch(
                FancyArrowPatch(
                    a,
                    end,
                    arrowstyle="-|>",
                    mutation_scale=12,
                    color=colour,
                    lw=1.8,
                    zorder=4,
                    ls="solid" if word == "positive" else (0, (4, 2)),
                )
            )
        name_point(ax, a, "anchor"), name_point(ax, p, "positive"), name_point(ax, n, "negative")
        ax.set_title(title)
        ax.set_xlabel(f"to positive {near:.2f}, to negative {far:.2f}\nloss {max(0.0, near - far + margin):.2f}")
    handles = [
        *figure.axes[0].get_legend_handles_labels()[0],
        Rectangle((0, 0), 1, 1, color="#F2C14E", alpha=0.5, label=f"margin {margin:g}"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def name_point(ax: Axes, point: np.ndarray, word: str) -> None:
    out = point * 1.1 / max(np.linalg.norm(point), 1e-9)
    ax.text(
        *out,
        word,
        ha="center" if abs(out[0]) < 0.45 else ("left" if out[0] > 0 else "right"),
        va="bottom" if out[1] > 0.45 else ("top" if out[1] < -0.45 else "center"),
        zorder=6,
        clip_on=False,
        path_effects=[patheffects.withStroke(linewidth=2.5, foreground="white")],
    )


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
    labels: np.ndarray,
    thumbnails: np.ndarray | None = None,
    wrong: np.ndarray | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """A map of the embedding: one mark a patch, by class, with some of the patches themselves laid on it.

    Explained in ch:embedding.

    Parameters
    ----------
    points : (N, 2) float
        Coordinates (UMAP, or the embedding itself when it is 2-D).  Their unit means nothing and is not printed.
    labels : (N,) int
        1 for MA, 0 for healthy.
    thumbnails : (N, S, S, 3) uint8, optional
        The patches; about two dozen that lie far from one another are drawn, framed by class.
    wrong : (N,) bool, optional
        Patches that the classifier gets wrong: ringed in black.
    title : str
        A line above.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When shapes or lengths differ.
    """
    points = checked_points(points)
    labels = checked_vector(labels, "labels", len(points))
    alone = ax is None
    ax = axes_or_new(ax, 5.2 if thumbnails is not None else 4.4)
    classes(ax, points, labels, size=14 if len(points) > 300 else 26, alpha=0.7)
    if wrong is not None:
        wrong = checked_vector(wrong, "wrong", len(points)).astype(bool)
        ax.scatter(*points[wrong].T, s=44, facecolor="none", ec=PALETTE["truth"], lw=1, label=f"wrong ({wrong.sum()})")
    if thumbnails is not None:
        thumbnails = checked_patches(thumbnails, "thumbnails")
        checked_vector(np.arange(len(thumbnails)), "thumbnails", len(points))
        for i in _spread(points, 24):
            name = "MA" if labels[i] else "healthy"
            box = AnnotationBbox(
                OffsetImage(thumbnails[i], zoom=26 / thumbnails.shape[1]),
                points[i],
                pad=0.05,
                bboxprops=dict(ec=PALETTE[name], lw=1.6, ls="solid" if labels[i] else (0, (2, 1))),
            )
            ax.add_artist(box)
    bare(ax)
    ax.margins(0.06)
    ax.set_title(title)
    if alone:
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    else:
        ax.legend()
    return ax.figure


def neighbours(
    queries: np.ndarray, query_labels: np.ndarray, found: np.ndarray, found_labels: np.ndarray, distances: np.ndarray
) -> Figure:
    """Each query patch with its nearest neighbours in the embedding, framed by class, the distance above.

    Explained in ch:embedding.

    Parameters
    ----------
    queries : (Q, S, S, 3) uint8
        Query patches, one a row.
    query_labels : (Q,) int
        1 for MA, 0 for healthy.
    found : (Q, K, S, S, 3) uint8
        Their neighbours, nearest first.
    found_labels : (Q, K) int
        Classes of the neighbours.
    distances : (Q, K) float
        Distances to the query, in the embedding's own unit.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When shapes disagree.
    """
    queries, found = checked_patches(queries, "queries"), np.asarray(found)
    found_labels, distances = np.asarray(found_labels), np.asarray(distances)
    query_labels = checked_vector(query_labels, "query_labels", len(queries))
    shape = found.shape[:2]
    if found.ndim != 5 or shape[0] != len(queries) or found_labels.shape != shape or distances.shape != shape:
        raise ValueError(
            f"found must be (Q, K, S, S, 3) with found_labels and distances (Q, K) and Q = {len(queries)}, but they have "
            f"shapes {found.shape}, {found_labels.shape} and {distances.shape}."
        )
    columns = shape[1] + 1
    cell = WIDTH / columns
    figure = new_figure(height=len(queries) * (cell + 0.28) + 0.35)
    axes = figure.subplots(len(queries), columns, squeeze=False)
    for q, row in enumerate(axes):
        for k, ax in enumerate(row):
            ax.imshow(queries[q] if k == 0 else found[q, k - 1])
            bare(ax)
            frame(ax, query_labels[q] if k == 0 else found_labels[q, k - 1])
            ax.set_title("query" if k == 0 else f"{distances[q, k - 1]:.2f}", loc="center", pad=5)
    class_legend(figure)
    return figure
