"""Tables as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from maa.evaluation.curves import effective_sample_size
from maa.figures.photographs import thin
from maa.figures.style import MARKER, PALETTE, axes_or_new, checked_vector, new_figure, role_of


def sampler_concentration(probabilities: np.ndarray, epochs: Sequence[float] | None = None) -> Figure:
    """How selective sampling concentrates: sorted probabilities, Lorenz curves, effective sample size.

    Parameters
    ----------
    probabilities : (E, N) float
        Sampling probabilities of the N healthy patches at E moments, each row not all zero; normalised here.
    epochs : (E,) int, optional
        Their epochs; 0, 1, 2, ... when absent.

    Returns
    -------
    Figure
        Left, each row sorted, in multiples of uniform sampling; middle, the share of draws that goes to the most drawn
        patches; right, the effective sample size as a share of N.

    Raises
    ------
    ValueError
        When the array is not (E, N), has negative or non-finite entries or a row without weight.

    Notes
    -----
    The first, middle and last row are drawn as curves, all rows in the right panel.  Explained in ch:refinement.
    """
    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"probabilities must be an (E, N) array, a row for each epoch, but have shape {p.shape}.")
    if not np.isfinite(p).all() or (p < 0).any() or (p.sum(axis=1) <= 0).any():
        raise ValueError("probabilities must be finite and not negative, and each row must have a positive sum.")
    epochs = np.arange(len(p)) if epochs is None else checked_vector(epochs, "epochs", len(p))
    count = p.shape[1]
    ordered = np.sort(p / p.sum(axis=1, keepdims=True), axis=1)[:, ::-1]
    figure = new_figure(height=2.9)
    sorts, lorenz, size = figure.subplots(1, 3)
    share = np.arange(1, count + 1) / count * 100
    for index, dash in zip(sorted({0, len(p) // 2, len(p) - 1}), ("solid", (0, (5, 2)), (0, (1, 1)))):
        style = dict(ls=dash, color=PALETTE["healthy"], label=f"epoch {epochs[index]}")
        sorts.plot(*thin(share, np.maximum(ordered[index] * count, 1e-4)), **style)
        lorenz.plot(*thin(np.append(0, share), np.append(0, np.cumsum(ordered[index]) * 100)), **style)
    size.plot(epochs, effective_sample_size(p) / count * 100, color=PALETTE["healthy"], marker="o", ms=4)
    sorts.set(yscale="log", xlabel="patches, sorted (%)", title="times uniform")
    lorenz.set(xlabel="most drawn patches (%)", title="share of draws (%)", xlim=(0, 100), ylim=(0, 101))
    size.set(xlabel="epoch", title="effective size (%)", ylim=(0, 105))
    size.xaxis.get_major_locator().set_params(integer=True)
    lorenz.legend(loc="lower right", handlelength=1.6)
    return figure


def table_intervals(rows: Sequence[tuple[Any, ...]], xlabel: str = "AUC PR", ax: Axes | None = None) -> Figure:
    """The paper's table beside ours: its value as a cross, ours as a dot with its interval.  Explained in ch:gain.

    Parameters
    ----------
    rows : sequence of (name, paper, ours, interval)
        `paper` and `ours` are float or None (not read, not run); `interval` is (low, high) or None.
        Drawn top to bottom.
    xlabel : str
        The quantity, with its split.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure
        The right-hand margin prints the numbers.

    Raises
    ------
    ValueError
        When there is no row, or an interval does not hold the value it belongs to.
    """
    if not rows:
        raise ValueError("rows must hold at least one (name, paper, ours, interval), but is empty.")
    ax = axes_or_new(ax, 0.55 * len(rows) + 1.2)
    for y, (name, paper, ours, interval) in enumerate(rows):
        colour = PALETTE[role_of(name)]
        if interval is not None:
            low, high = interval
            if ours is None or not low <= ours <= high:
                raise ValueError(f"the interval of {name} must be (low, high) around its value {ours}, but is {(low, high)}.")
            ax.plot([low, high], [y, y], color=colour, lw=3, alpha=0.55, solid_capstyle="butt")
        if ours is not None:
            ax.plot(ours, y, ls="none", marker=MARKER[role_of(name)], color=colour, ms=8, mec="white", zorder=4)
        if paper is not None:
            ax.plot(paper, y, ls="none", marker="X", color=PALETTE["paper"], ms=9, mec="white", zorder=3)
        text = f"{'not run' if ours is None else f'{ours:.3f}'}  (paper {'not read' if paper is None else f'{paper:.3f}'})"
        ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center")
    ax.set_yticks(range(len(rows)), [row[0] for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(axis="x", color="#E5E5E5", lw=0.6)
    ax.tick_params(axis="y", length=0)
    handles = [
        Line2D([], [], ls="none", marker="X", color=PALETTE["paper"], ms=8, label="paper"),
        Line2D([], [], marker="o", color="#444444", lw=3, label="ours, with its interval"),
    ]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax.figure


def ablation(groups: Mapping[str, np.ndarray], baseline: str, xlabel: str = "AUC PR", ax: Axes | None = None) -> Figure:
    """An ablation: one dot a seed, a bar at the mean, and how far the mean is from the baseline's.  Explained in ch:ablations.

    Parameters
    ----------
    groups : mapping from variant to (K,) float
        The metric of each seed, drawn top to bottom in the order given.
    baseline : str
        The variant that the others are compared with: the dashed line.
    xlabel : str
        The metric, with its split.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When the baseline is no variant or a variant has no value.
    """
    if baseline not in groups:
        raise ValueError(f"baseline must be one of {', '.join(map(repr, groups))}, but is {baseline!r}.")
    values = {name: checked_vector(v, name).astype(float) for name, v in groups.items()}
    if empty := [name for name, v in values.items() if len(v) == 0]:
        raise ValueError(f"each variant needs at least one value, but {empty[0]!r} has none.")
    ax = axes_or_new(ax, 0.42 * len(values) + 1.0)
    reference = values[baseline].mean()
    ax.axvline(reference, color=PALETTE["paper"], ls="--", lw=1, zorder=0)
    for y, (name, v) in enumerate(values.items()):
        colour = PALETTE["paper" if name == baseline else "1x"]
        ax.plot(v, np.full(len(v), y), ls="none", marker="o", ms=6, color=colour, alpha=0.6, mec="white")
        ax.plot([v.mean()] * 2, [y - 0.28, y + 0.28], color="black", lw=2)
        text = f"{v.mean():.3f}" + ("" if name == baseline else f"  ({v.mean() - reference:+.3f})")
        ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center")
    ax.set_yticks(range(len(values)), list(values))
    ax.set(ylim=(len(values) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(axis="x", color="#E5E5E5", lw=0.6)
    ax.tick_params(axis="y", length=0)
    return ax.figure
