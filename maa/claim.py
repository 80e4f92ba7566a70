"""What a results file says of the paper's claim, in words: the title's mark and the answer on the front page.

The rules stand here once, so that the front page, the README and the tests cannot disagree, and nobody's hand writes a verdict
over numbers that have changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from maa.reproduce import PAPER_GAIN


def gain(results: Mapping, row: str, other: str) -> Mapping[str, float]:
    """The relative gain of a row of a results file over another: "value", and its interval from "low" to "high"."""
    return results["rows"][row]["gains"][other]["relative_gain"]


def in_words(gain: Mapping[str, float]) -> str:
    """A gain and its interval: ``+7.4 % (+0.3 to +14.5)``."""
    value, low, high = (f"{100 * gain[key]:+.1f}" for key in ("value", "low", "high"))
    return f"{value} % ({low} to {high})"


def confirmed(results: Mapping) -> bool:
    """Whether the headline holds: the gain over HGN 1x reaches the paper's, and its interval excludes zero."""
    whole = gain(results, "prn_full", "hgn_1x")
    return whole["value"] >= PAPER_GAIN and whole["low"] > 0


def mark(results: Mapping) -> str:
    """ReScience's mark for the title: ``[Re]`` for a replication that succeeded, ``[¬Re]`` for one that did not."""
    return "[Re]" if confirmed(results) else "[¬Re]"


def answer(results: Mapping) -> str:
    """Does the 30 % hold?  One bold sentence and its numbers, as Markdown.

    Parameters
    ----------
    results : mapping
        What `maa.reproduce.reproduce` writes.

    Returns
    -------
    str
        Whether the size of the gain is the paper's, and whether its cause is: the triplet loss and selective sampling over a
        second network without them.

    Notes
    -----
    Explained in chapter 8, which has the same rules and all the gains.
    """
    whole, control = gain(results, "prn_full", "hgn_1x"), gain(results, "control", "hgn_1x")
    ideas = gain(results, "prn_full", "prn_cross_entropy")
    if confirmed(results):
        size = "The size holds"
    elif whole["low"] > 0 and whole["high"] >= PAPER_GAIN:
        size = "The size nearly holds"
    else:
        size = "The size does not hold"
    cause = "and so does the reason given" if ideas["low"] > 0 else "the reason given does not"
    if not confirmed(results) and ideas["low"] > 0:
        cause = "the reason given does"
    joint = ", " if cause.startswith("and") else "; "
    if ideas["low"] > 0:
        worth = "add"
    elif ideas["high"] < 0:
        worth = "take away"
    else:
        worth = "cannot be told from nothing"
    photographs, seeds = len(results["photographs"]), len(results["rows"]["prn_full"]["seeds"])
    return (
        f"**{size}{joint}{cause}.**  On {photographs} validation photographs, with {seeds} seeds, the whole system is "
        f"{in_words(whole)} from the single network; the paper has +{100 * PAPER_GAIN:.2f} %.  Deciding candidate by candidate, "
        f"*without* a second network, gives {in_words(control)} already.  The paper's two ideas, triplet loss and selective "
        f"sampling, {worth}: {in_words(ideas)} from a second network without them."
    )
