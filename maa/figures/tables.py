"""Tables as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from maa.evaluation.curves import effective_sample_size
from maa.figures.photographs import thin
from maa.figures.style import DASHES, MARKER, PALETTE, Row, checked_vector, new_canvas, new_figure, role_of


def sampler_concentration(probabilities: ArrayLike) -> Figure:
    """How selective sampling concentrates: sorted probabilities, Lorenz curves, effective sample size.

    Left, each row sorted, in multiples of uniform sampling; middle, the share of draws that the most drawn patches get, both of
    the first, middle and last row; right, the effective sample size of each row, in % of N.  Explained in ch:refinement.

    Parameters
    ----------
    probabilities : ndarray, shape (E, N), float
        Weights of the N healthy patches in E epochs, finite, zero or more, no row all zero; normalised here.
    """
    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"probabilities must be an (E, N) array, a row for each epoch, but have shape {p.shape}.")
    if not np.isfinite(p).all() or (p < 0).any() or (p.sum(axis=1) <= 0).any():
        raise ValueError("probabilities must be finite and not negative, and each row must have a positive sum.")
    count = p.shape[1]
    ordered = np.sort(p / p.sum(axis=1, keepdims=True), axis=1)[:, ::-1]
    figure = new_figure(height=2.9)
    sorts, lorenz, size = figure.subplots(1, 3)
    share = np.arange(1, count + 1) / count * 100
    for index, dash in zip(sorted({0, len(p) // 2, len(p) - 1}), DASHES):
        look = {"ls": dash, "color": PALETTE["healthy"], "label": f"epoch {index}"}
        sorts.plot(*thin(share, np.maximum(ordered[index] * count, 1e-4)), **look)
        lorenz.plot(*thin(np.append(0, share), np.append(0, np.cumsum(ordered[index]) * 100)), **look)
    size.plot(np.arange(len(p)), effective_sample_size(p) / count * 100, color=PALETTE["healthy"], marker="o", ms=4)
    sorts.set(yscale="log", xlabel="patches, sorted (%)", title="times uniform")
    lorenz.set(xlabel="most drawn patches (%)", title="share of draws (%)", xlim=(0, 100), ylim=(0, 101))
    size.set(xlabel="epoch", title="effective size (%)", ylim=(0, 105))
    size.xaxis.get_major_locator().set_params(integer=True)
    lorenz.legend(loc="lower right", handlelength=1.6)
    return figure


def _table(ax: Axes, names: Sequence[str], numbers: Sequence[str], xlabel: str) -> None:
    """One row a name, top to bottom, with its numbers in the right-hand margin."""
    for y, text in enumerate(numbers):
        ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center")
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(axis="x", color="#E5E5E5", lw=0.6)
    ax.tick_params(axis="y", length=0)


def table_intervals(rows: Sequence[Row], xlabel: str = "AUC PR") -> Figure:
    """The paper's table beside ours: its value as a cross, ours as a dot with its interval.  Explained in ch:gain.

    Parameters
    ----------
    rows : sequence of (name, paper, ours, interval)
        `paper` and `ours` are float or None (not read, not run); `interval` is (low, high) around `ours`, or None.
        Drawn top to bottom; the right-hand margin prints the numbers.
    """
    if not rows:
        raise ValueError("rows must hold at least one (name, paper, ours, interval), but is empty.")
    figure, ax = new_canvas(None, 0.55 * len(rows) + 1.2)
    numbers = []
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
        words = "not read" if paper is None else f"{paper:.3f}"
        numbers.append(f"{'not run' if ours is None else f'{ours:.3f}'}  (paper {words})")
    _table(ax, [row[0] for row in rows], numbers, xlabel)
    cross = Line2D([], [], ls="none", marker="X", color=PALETTE["paper"], ms=8, label="paper")
    dot = Line2D([], [], marker="o", color="#444444", lw=3, label="ours, with its interval")
    ax.legend(handles=[cross, dot], loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def ablation(groups: Mapping[str, ArrayLike], baseline: str, xlabel: str = "AUC PR") -> Figure:
    """An ablation: one dot a seed, a bar at the mean, and how far the mean is from the baseline's.  Explained in ch:ablations.

    Parameters
    ----------
    groups : mapping from variant to ndarray, shape (K,), float
        The metric of each seed, at least one, drawn top to bottom in the order given.
    baseline : str
        The variant that the others are compared with: the dashed line.
    """
    if baseline not in groups:
        raise ValueError(f"baseline must be one of {', '.join(map(repr, groups))}, but is {baseline!r}.")
    values = {name: checked_vector(v, name).astype(float) for name, v in groups.items()}
    if empty := [name for name, v in values.items() if len(v) == 0]:
        raise ValueError(f"each variant needs at least one value, but {empty[0]!r} has none.")
    figure, ax = new_canvas(None, 0.42 * len(values) + 1.0)
    reference = values[baseline].mean()
    ax.axvline(reference, color=PALETTE["paper"], ls="--", lw=1, zorder=0)
    numbers = []
    for y, (name, v) in enumerate(values.items()):
        colour = PALETTE["paper" if name == baseline else "1x"]
        ax.plot(v, np.full(len(v), y), ls="none", marker="o", ms=6, color=colour, alpha=0.6, mec="white")
        ax.plot([v.mean()] * 2, [y - 0.28, y + 0.28], color="black", lw=2)
        numbers.append(f"{v.mean():.3f}" + ("" if name == baseline else f"  ({v.mean() - reference:+.3f})"))
    _table(ax, list(values), numbers, xlabel)
    return figure
