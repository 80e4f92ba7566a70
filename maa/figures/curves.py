"""Curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from maa.figures.photographs import thin
from maa.figures.style import DASHES, MARKER, PALETTE, Curve, Points, checked_vector, ink_of, new_canvas, new_figure, role_of


def precision_recall(
    curves: Mapping[str, Curve], points: Points | None = None, prevalence: float | None = None, ax: Axes | None = None
) -> Figure:
    """Precision-recall curves of several systems over lines of equal F1.

    Average precision is a step function's area, so steps are drawn.  Explained in ch:hgn and ch:fusion.

    Parameters
    ----------
    curves : mapping from name to (recall, precision, average_precision)
        `recall` and `precision` are ndarray, shape (N,), float in 0..1 along the curve, recall rising or falling throughout;
        `average_precision` is the number that the legend prints.  It is not computed here.
    points : mapping from name to (recall, precision), optional
        Operating points.  A name that has a curve takes its colour; any other is drawn in grey with a cross and listed.
    prevalence : float in 0..1, optional
        Share of MA pixels: the precision of a coin, drawn as a dotted line.
    """
    figure, ax = new_canvas(ax, 4.6)
    for f1 in (0.2, 0.4, 0.6, 0.8):
        along = np.linspace(f1 / (2 - f1), 1, 100)
        ax.plot(along, f1 * along / (2 * along - f1), color="#C4C4C4", lw=0.8, zorder=0)
        ax.text(1.01, f1 / (2 - f1), f"F1 {f1:g}", color="#666666", va="center")
    for name, (recall, precision, average) in curves.items():
        x = checked_vector(recall, f"recall of {name}")
        y = checked_vector(precision, f"precision of {name}", len(x))
        if len(x) == 0 or (np.any(np.diff(x) < 0) and np.any(np.diff(x) > 0)):
            raise ValueError(f"recall of {name} must rise or fall along the curve, but it is empty or goes back and forth.")
        if x[0] > x[-1]:
            x, y = x[::-1], y[::-1]
        ax.plot(*thin(x, y), drawstyle="steps-pre", label=f"{name}: AP {average:.3f}", **ink_of(name))
    for name, point in (points or {}).items():
        role, marker, label = (role_of(name), MARKER[role_of(name)], None) if name in curves else ("paper", "X", name)
        look: dict[str, Any] = {"marker": marker, "color": PALETTE[role], "label": label}
        ax.plot(*point, ls="none", ms=8, mec="white", zorder=5, clip_on=False, **look)
    if prevalence is not None:
        ax.axhline(prevalence, color=PALETTE["paper"], ls=":", lw=1.2, label=f"chance: AP {prevalence:.4f}")
    ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel="precision", box_aspect=0.75)
    ax.legend(loc="upper right")
    return figure


def training_history(
    steps: ArrayLike,
    losses: Mapping[str, ArrayLike],
    metrics: Mapping[str, ArrayLike] | None = None,
    active: ArrayLike | None = None,
    xlabel: str = "epoch",
    metric: str = "metric",
) -> Figure:
    """How a training went: losses, metrics and the fraction of active triplets, one panel each.

    Not the loss of the active triplets falls as training succeeds, but their fraction.  Explained in ch:hgn and ch:refinement.

    Parameters
    ----------
    steps : ndarray, shape (T,), float
        Epochs or steps.
    losses : mapping from name to ndarray, shape (T,), float
        Drawn together; NaN leaves a gap.  A name that `role_of` knows, such as "1x, IDRiD", has the colour of its role.
    metrics : mapping from name to ndarray, shape (T,), float in 0..1, optional
        For instance the AUC PR on validation patches, in a panel called `metric`.
    active : ndarray, shape (T,), float in 0..1, optional
        Fraction of triplets that violate the margin.
    """
    steps = checked_vector(steps, "steps")
    panels = [("loss", losses), *([(metric, metrics)] if metrics else [])]
    if active is not None:
        panels.append(("active triplets", {"active fraction": active}))
    figure = new_figure(height=2.9)
    for ax, (title, columns) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for (name, values), dash in zip(columns.items(), DASHES * 9):
            colour = None if role_of(name) == "paper" else PALETTE[role_of(name)]
            marker = "o" if len(steps) <= 12 else None
            ax.plot(steps, checked_vector(values, name, len(steps)), ls=dash, label=name, color=colour, marker=marker, ms=4)
        ax.set(xlabel=xlabel, title=title, ylim=(None, None) if columns is losses else (0, 1))
        ax.xaxis.get_major_locator().set_params(integer=True)
        if len(columns) > 1 or columns is metrics:
            ax.legend()
    return figure


def froc(curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Figure:
    """Free-response ROC: share of lesions found against false detections an image.  Explained in ch:gain.

    The legend gives the score of the Retinopathy Online Challenge (Niemeijer et al., 2010): the mean sensitivity at 1/8, 1/4,
    1/2, 1, 2, 4 and 8 false detections an image.

    Parameters
    ----------
    curves : mapping from name to (false_positives_per_image, sensitivity)
        Each ndarray, shape (N,), float; the first rising from zero or more, the second in 0..1.
    """
    figure, ax = new_canvas(None, 3.8)
    stops = 2.0 ** np.arange(-3, 4)
    for name, (false_positives, sensitivity) in curves.items():
        x = checked_vector(false_positives, f"false positives of {name}").astype(float)
        y = checked_vector(sensitivity, f"sensitivity of {name}", len(x)).astype(float)
        if len(x) == 0 or np.any(np.diff(x) < 0):
            raise ValueError(f"false positives of {name} must rise along the curve, but they are empty or fall.")
        # The best operating point with at most that many false detections; none means nothing found.
        scores = np.append(0.0, y)[np.searchsorted(x, stops, side="right")]
        ink = ink_of(name)
        ax.plot(x, y, drawstyle="steps-post", label=f"{name}: score {scores.mean():.3f}", **ink)
        ax.plot(stops, scores, ls="none", marker=MARKER[role_of(name)], color=ink["color"], ms=4)
    ax.set_xscale("log", base=2)
    ax.set(xlim=(1 / 10, 80), ylim=(0, 1), xlabel="false detections an image", ylabel="lesions found")
    ax.set_xticks([*stops, 16, 32, 64], ["1/8", "1/4", "1/2", "1", "2", "4", "8", "16", "32", "64"])
    ax.grid(axis="both", color="#E5E5E5", lw=0.6)
    ax.legend(loc="upper left")
    return figure


def reliability(curves: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]], ax: Axes | None = None) -> Figure:
    """Reliability diagram: how often a pixel given probability p is MA.  Explained in ch:gain.

    The legend gives the expected calibration error, the count-weighted mean of |predicted - observed|.

    Parameters
    ----------
    curves : mapping from name to (predicted, observed, counts)
        Each ndarray, shape (B,): mean probability in a bin, share of MA in it, number of pixels in it; one above zero at least.
    """
    figure, ax = new_canvas(ax, 4.2)
    ax.plot([0, 1], [0, 1], color=PALETTE["paper"], ls=":", lw=1.2, label="perfect")
    for name, (predicted, observed, counts) in curves.items():
        weights = checked_vector(counts, f"counts of {name}")
        full = weights > 0
        x = checked_vector(predicted, f"predicted of {name}", len(full))[full]
        y = checked_vector(observed, f"observed of {name}", len(full))[full]
        if not full.any():
            raise ValueError(f"{name} has no pixel in any bin: give at least one bin with a count above zero.")
        label = f"{name}: calibration error {np.average(np.abs(x - y), weights=weights[full]):.4f}"
        ax.plot(x, y, marker=MARKER[role_of(name)], ms=5, label=label, **ink_of(name))
    labels = {"xlabel": "predicted probability of MA", "ylabel": "share of MA among such pixels"}
    ax.set(xlim=(0, 1), ylim=(0, 1), box_aspect=0.85, **labels)
    ax.legend(loc="lower right")
    return figure
