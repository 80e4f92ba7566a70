"""Curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maa.figures.photographs import thin
from maa.figures.style import DASH, MARKER, PALETTE, axes_or_new, checked_vector, new_figure, role_of


def _iso_f1(ax: Axes) -> None:
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1, 100)
        ax.plot(recall, f1 * recall / (2 * recall - f1), color="#C4C4C4", lw=0.8, zorder=0)
        ax.text(1.01, f1 / (2 - f1), f"F1 {f1:g}", color="#666666", va="center")


def precision_recall(
    curves: Mapping[str, tuple[Any, ...]],
    points: Mapping[str, tuple[float, float]] | None = None,
    prevalence: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Precision-recall curves of several systems over lines of equal F1.

    Parameters
    ----------
    curves : mapping from name to (recall, precision, average_precision)
        `recall` and `precision` are (N,) float in 0..1 along the curve, recall rising or falling throughout;
        `average_precision` is the number that the legend prints.  It is not computed here.
    points : mapping from name to (recall, precision), optional
        Operating points.  A name that has a curve takes its colour; any other is drawn in grey with a cross and listed.
    prevalence : float in 0..1, optional
        Share of MA pixels: the precision of a coin, drawn as a dotted line.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When recall and precision differ in length or recall goes back and forth.

    Notes
    -----
    Average precision is a step function's area, so steps are drawn.  Explained in ch:hgn and ch:fusion.
    """
    ax = axes_or_new(ax, 4.6)
    _iso_f1(ax)
    for name, (recall, precision, average) in curves.items():
        recall = checked_vector(recall, f"recall of {name}")
        precision = checked_vector(precision, f"precision of {name}", len(recall))
        if len(recall) == 0 or np.any(np.diff(recall) < 0) and np.any(np.diff(recall) > 0):
            raise ValueError(f"recall of {name} must rise or fall along the curve, but it is empty or goes back and forth.")
        if recall[0] > recall[-1]:
            recall, precision = recall[::-1], precision[::-1]
        role = role_of(name)
        ax.plot(
            *thin(recall, precision),
            drawstyle="steps-pre",
            color=PALETTE[role],
            ls=DASH.get(role, "solid"),
            label=f"{name}: AP {average:.3f}",
        )
    for name, (recall, precision) in (points or {}).items():
        role, known = role_of(name), name in curves
        ax.plot(
            recall,
            precision,
            ls="none",
            marker=MARKER[role] if known else "X",
            ms=8,
            mec="white",
            zorder=5,
            color=PALETTE[role if known else "paper"],
            label=None if known else name,
            clip_on=False,
        )
    if prevalence is not None:
        ax.axhline(prevalence, color=PALETTE["paper"], ls=":", lw=1.2, label=f"chance: AP {prevalence:.4f}")
    ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel="precision", box_aspect=0.75)
    ax.legend(loc="upper right")
    return ax.figure


def training_history(
    steps: np.ndarray,
    losses: Mapping[str, np.ndarray],
    metrics: Mapping[str, np.ndarray] | None = None,
    active: np.ndarray | None = None,
    xlabel: str = "epoch",
    metric: str = "metric",
) -> Figure:
    """How a training went: losses, metrics and the fraction of active triplets, one panel each.

    Parameters
    ----------
    steps : (T,) float
        Epochs or steps.
    losses : mapping from name to (T,) float
        Drawn together; NaN leaves a gap.  A name that `role_of` knows, such as "1x, IDRiD", has the colour of its role.
    metrics : mapping from name to (T,) float in 0..1, optional
        For instance the AUC PR on validation patches.
    active : (T,) float in 0..1, optional
        Fraction of triplets that violate the margin.
    xlabel : str
        What `steps` counts.
    metric : str
        What the second panel is called.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When a column is not as long as `steps`.

    Notes
    -----
    The loss of the active triplets does not fall as training succeeds; their fraction does.  Explained in chapters 2
    and 5.
    """
    steps = checked_vector(steps, "steps")
    panels = [("loss", losses, None)]
    if metrics:
        panels.append((metric, metrics, (0, 1)))
    if active is not None:
        panels.append(("active triplets", {"active fraction": active}, (0, 1)))
    figure = new_figure(height=2.9)
    for ax, (label, columns, limits) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for (name, values), dash in zip(columns.items(), ("solid", (0, (5, 2)), (0, (1, 1)), (0, (3, 1, 1, 1))) * 9):
            role = role_of(name)
            ax.plot(
                steps,
                checked_vector(values, name, len(steps)),
                ls=dash,
                label=name,
                color=None if role == "paper" else PALETTE[role],
                marker="o" if len(steps) <= 12 else None,
                ms=4,
            )
        ax.set(xlabel=xlabel, ylim=limits if limits else (None, None))
        ax.set_title(label)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if len(columns) > 1 or columns is metrics:
            ax.legend()
    return figure


def froc(curves: Mapping[str, tuple[Any, ...]], ax: Axes | None = None) -> Figure:
    """Free-response ROC: share of lesions found against false detections an image.  Explained in ch:gain.

    Parameters
    ----------
    curves : mapping from name to (false_positives_per_image, sensitivity)
        Each (N,) float; the first rising and positive or zero, the second in 0..1.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure
        The legend gives the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false detections an image, the score
        of the Retinopathy Online Challenge (Niemeijer et al., 2010).

    Raises
    ------
    ValueError
        When lengths differ or false positives do not rise.
    """
    ax = axes_or_new(ax, 3.8)
    stops = 2.0 ** np.arange(-3, 4)
    for name, (false, found) in curves.items():
        false = checked_vector(false, f"false positives of {name}").astype(float)
        found = checked_vector(found, f"sensitivity of {name}", len(false)).astype(float)
        if len(false) == 0 or np.any(np.diff(false) < 0):
            raise ValueError(f"false positives of {name} must rise along the curve, but they are empty or fall.")
        # The best operating point with at most that many false detections; none means nothing found.
        at = np.append(0.0, found)[np.searchsorted(false, stops, side="right")]
        role = role_of(name)
        ax.plot(
            false,
            found,
            drawstyle="steps-post",
            color=PALETTE[role],
            ls=DASH.get(role, "solid"),
            label=f"{name}: score {at.mean():.3f}",
        )
        ax.plot(stops, at, ls="none", marker=MARKER[role], color=PALETTE[role], ms=4)
    ax.set_xscale("log", base=2)
    ax.set(xlim=(1 / 10, 80), ylim=(0, 1), xlabel="false detections an image", ylabel="lesions found")
    ax.set_xticks([*stops, 16, 32, 64], ["1/8", "1/4", "1/2", "1", "2", "4", "8", "16", "32", "64"])
    ax.grid(axis="both", color="#E5E5E5", lw=0.6)
    ax.legend(loc="upper left")
    return ax.figure


def reliability(curves: Mapping[str, tuple[Any, ...]], ax: Axes | None = None) -> Figure:
    """Reliability diagram: how often a pixel given probability p is MA.  Explained in ch:gain.

    Parameters
    ----------
    curves : mapping from name to (predicted, observed, counts)
        Each (B,): mean probability in a bin, share of MA in it, number of pixels in it (empty bins are left out).
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure
        The legend gives the expected calibration error, the count-weighted mean of |predicted - observed|.

    Raises
    ------
    ValueError
        When lengths differ or every bin is empty.
    """
    ax = axes_or_new(ax, 4.2)
    ax.plot([0, 1], [0, 1], color=PALETTE["paper"], ls=":", lw=1.2, label="perfect")
    for name, (predicted, observed, counts) in curves.items():
        counts = checked_vector(counts, f"counts of {name}")
        predicted = checked_vector(predicted, f"predicted of {name}", len(counts))
        observed = checked_vector(observed, f"observed of {name}", len(counts))
        full = counts > 0
        if not full.any():
            raise ValueError(f"{name} has no pixel in any bin: give at least one bin with a count above zero.")
        error = np.average(np.abs(predicted - observed)[full], weights=counts[full])
        role = role_of(name)
        ax.plot(
            predicted[full],
            observed[full],
            marker=MARKER[role],
            ms=5,
            color=PALETTE[role],
            ls=DASH.get(role, "solid"),
            label=f"{name}: calibration error {error:.4f}",
        )
    ax.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability of MA", ylabel="share of MA among such pixels", box_aspect=0.85
    )
    ax.legend(loc="lower right")
    return ax.figure
