"""What results files say of the paper's claim, in words: the title's mark, and every sentence that passes a judgement.

The claim has two parts.  **Size**: the whole system is 30.29 % above the single network.  **Cause**: that is the doing of the second
network and of its two ideas, the triplet loss and selective sampling.  The size is judged twice: on the test photographs, the paper's
own, once they have been opened (until then on the validation photographs), and by cross-validation.  The cause is judged by the
primary contrasts of ``results/protocol.md``, by cross-validation until an opening holds them.

The rules stand here once, so that the front page, the README, ch:gain and the tests cannot disagree, and nobody's hand writes a
verdict over numbers that have changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maa.errors import MaaError
from maa.evaluation.intervals import Interval, bootstrap_mean
from maa.inference.system import FIRST_STAGE, FULL_SYSTEM, ROWS
from maa.provenance import Json
from maa.replication.published import published
from maa.replication.scores import PAPER, PAPER_GAIN

#: A relative gain: its "value", and its interval from "low" to "high".
Gain = Mapping[str, float]
#: What a cross-validated row is compared with, and what that is called in a sentence.
_OVER = {"hgn_1x": "HGN 1x", "fused": "the fusion", "control": "the control", "prn_cross_entropy": "cross-entropy only"}
#: A baseline that still rises by more is not trained to its end, and no gain over it counts (``results/protocol.md``).
MOST_RISE = 0.01


@dataclass(frozen=True)
class Evidence:
    """What there is to judge by.

    Attributes
    ----------
    validation, crossval : dict
        What `maa.replication.reproduce.reproduce` and `maa.replication.crossval.cross_validate` wrote; the latter under the main
        reading, windows with masks.
    openings : tuple of dict
        Of the test half, in their order: what ``results/test/openings.json`` says of each frozen version, and under "results" what
        `maa.replication.evaluate.evaluate` measured of it.
    centre : dict, optional
        The cross-validation under the other reading, by the label of a centre.
    """

    validation: Json
    crossval: Json
    openings: tuple[Json, ...] = ()
    centre: Json | None = None

    @property
    def test(self) -> Json | None:
        """The results of the version that was opened last; None before the first opening."""
        return self.openings[-1]["results"] if self.openings else None

    @property
    def size(self) -> Json:
        """The results that the size is judged by, beside those of cross-validation."""
        return self.test or self.validation

    @property
    def cause(self) -> Json:
        """The results that the cause is judged by: those of the test half where they hold the contrasts that it takes."""
        return self.test if self.test and "contrasts" in self.test else self.crossval


def evidence() -> Evidence:
    """The results files of the repository, as `maa.replication.published.published` finds them.

    Raises
    ------
    MaaError
        When they are not to be had.
    """
    validation, crossval = published("idrid-full"), published("idrid-full", "crossval")
    if validation is None or crossval is None:
        raise MaaError(
            "The results files are neither beside the package nor to be had from the network: run this in a clone of the repository."
        )
    return Evidence(validation, crossval, openings(), published("idrid-full", "crossval-centre"))


def openings() -> tuple[Json, ...]:
    """Every opening of the test half, the first one first; none where nothing was opened."""
    listed = published("test", "openings") or {"openings": []}
    return tuple(
        {**entry, "results": _today(published("test", entry["file"].removesuffix(".json")) or {})}
        for entry in listed["openings"]
    )


def _today(results: Json) -> Json:
    """A results file with today's names: the full system's row was once called "refined"."""
    rows = {FULL_SYSTEM if row == "refined" else row: values for row, values in results["rows"].items()}
    return {**results, "rows": rows}


def known_gain(results: Json, row: str, other: str) -> Gain | None:
    """The relative gain of a row over another: "value", and its interval from "low" to "high"; None where it was not measured."""
    values = results["rows"].get(row, {})
    known = {"hgn_1x": values.get("gain"), **values.get("gains", {})}.get(other)
    return known["relative_gain"] if known else None


def gain(results: Json, row: str, other: str) -> Gain:
    """As `known_gain`, where it is known that it was measured; KeyError where it was not."""
    known = known_gain(results, row, other)
    if known is None:
        raise KeyError(f"the gain of {row} over {other} was not measured")
    return known


def in_words(gain: Gain) -> str:
    """A gain and its interval: ``+7.4 % (+0.3 to +14.5)``."""
    value, low, high = (f"{100 * gain[key]:+.1f}" for key in ("value", "low", "high"))
    return f"{value} % ({low} to {high})"


def difference_in_words(gap: Mapping[str, float]) -> str:
    """A difference of AUC PR and its interval: ``+0.021 (+0.008 to +0.035)``."""
    value, low, high = (f"{gap[key]:+.3f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def baseline_rise(results: Json) -> float:
    """By how much the average precision of HGN 1x rose over the last fifth of its training, as it was estimated; 0 where not told."""
    course = results.get("baseline_course") or [0.0]
    return float(course[-1] - course[int(np.ceil(0.8 * len(course))) - 1])


def size_holds(results: Json) -> bool:
    """Whether the gain over HGN 1x reaches the paper's, its interval excludes zero, and HGN 1x was trained to its end."""
    whole = gain(results, FULL_SYSTEM, "hgn_1x")
    return whole["value"] >= PAPER_GAIN and whole["low"] > 0 and baseline_rise(results) <= MOST_RISE


def cause_by_contrasts(verdicts: Mapping[str, str]) -> str:
    """What the protocol makes of the four contrasts: whether the second network and an idea of the paper bring the gain.

    Parameters
    ----------
    verdicts : mapping of str to str
        As `maa.evaluation.ruling` gives them, of C2 (the full system over a PRN with cross-entropy only) and of C3a and C3b (each idea
        over that PRN); see ``results/protocol.md``.

    Returns
    -------
    {"holds", "does not hold", "open"}
    """
    if verdicts["C2"] == "helps" and "helps" in (verdicts["C3a"], verdicts["C3b"]):
        return "holds"
    return "does not hold" if verdicts["C2"] in ("hurts", "no effect worth having") else "open"


def mark(evidence: Evidence) -> str:
    """ReScience's mark for the title: ``[Re]`` for a replication whose size holds wherever it is judged, ``[¬Re]`` for another."""
    return "[Re]" if size_holds(evidence.size) and size_holds(evidence.crossval) else "[¬Re]"


def photographs(results: Json) -> str:
    """Which photographs a results file is of, in words: ``27 test photographs``."""
    return f"{len(diseased(results)):,} {results['split']} photographs"


def diseased(results: Json) -> list[str]:
    """The photographs with a lesion, which the measures are of."""
    return list(results["rows"]["hgn_1x"]["by_image"])


def runs(results: Json) -> str:
    """Of how many trainings a results file is, in words."""
    seeds = len(results["rows"][FULL_SYSTEM].get("seeds", [0]))
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def headline(evidence: Evidence) -> str:
    """Both parts in one sentence: ``The size holds; the reason given is not confirmed.``"""
    places = {f"on the {evidence.size['split']} photographs": size_holds(evidence.size)}
    by_windows = size_holds(evidence.crossval)
    by_centre = size_holds(evidence.centre) if evidence.centre else by_windows
    if by_centre == by_windows:
        places["in cross-validation"] = by_windows
    else:
        places |= {"in cross-validation by the label of a centre": by_centre, "by windows with masks": by_windows}
    held, failed = (" and ".join(place for place, holds in places.items() if holds == sought) for sought in (True, False))
    first = f"The size holds{f' {held}, and not {failed}' if failed else ''}" if held else "The size does not hold"
    cause = cause_by_contrasts({name: contrast["verdict"] for name, contrast in evidence.cause["contrasts"].items()})
    said = {
        "holds": "the reason given holds",
        "does not hold": "the reason given does not",
        "open": "the reason given is not confirmed",
    }
    return f"{first}; {said[cause]}."


def size_in_words(results: Json) -> str:
    """What one results file says of the size: the gain, whether it reaches the paper's, and where the paper's lies."""
    whole = gain(results, FULL_SYSTEM, "hgn_1x")
    reached = "reaches" if whole["value"] >= PAPER_GAIN else "does not reach"
    where = "below" if PAPER_GAIN < whole["low"] else "above" if PAPER_GAIN > whole["high"] else "inside"
    zero = "excludes" if whole["low"] > 0 or whole["high"] < 0 else "includes"
    rise = baseline_rise(results)
    unfinished = (
        f"  HGN 1x still rose by {rise:.3f} in the last fifth of its training, so no gain over it counts."
        if rise > MOST_RISE
        else ""
    )
    return (
        f"On {photographs(results)}, {runs(results)}, the whole system is {in_words(whole)} from HGN 1x.  That {reached} the paper's "
        f"+{100 * PAPER_GAIN:.2f} %, which lies {where} the interval; the interval {zero} zero.{unfinished}"
    )


def contrast_in_words(contrast: Mapping[str, Any]) -> str:
    """What is said of a contrast, with its difference of AUC PR and the interval: ``helps (+0.021, +0.008 to +0.035)``."""
    value, low, high = (f"{contrast['difference'][key]:+.3f}" for key in ("value", "low", "high"))
    said = {"undecided": "is undecided", "no effect worth having": "has no effect worth having"}
    return f"{said.get(contrast['verdict'], contrast['verdict'])} ({value}, {low} to {high})"


def cause_in_words(results: Json) -> str:
    """What one results file says of the cause: the control, a second network, and the paper's two ideas on top of it."""
    control = gain(results, "control", "hgn_1x")
    second, triplet, sampling, both = (contrast_in_words(results["contrasts"][name]) for name in ("C4", "C3a", "C3b", "C2"))
    return (
        f"On {photographs(results)}, {runs(results)}, deciding candidate by candidate, *without* a second network, gives {in_words(control)} over "
        f"HGN 1x already.  In AUC PR, with 95 % intervals: a second network with cross-entropy alone, beside that, {second}; beside that network, "
        f"the triplet loss {triplet}, selective sampling {sampling}, and the whole system {both}."
    )


def answer(evidence: Evidence) -> str:
    """Does the 30 % hold?  One bold sentence and its numbers, as Markdown.  Explained in ch:gain."""
    whole = gain(evidence.size, FULL_SYSTEM, "hgn_1x")
    sentences = [f"**{headline(evidence)}**"]
    if evidence.test:
        sentences.append(
            f"On IDRiD's {photographs(evidence.test)}, the paper's own, the whole system is {in_words(whole)} from the single network; the "
            f"paper has +{100 * PAPER_GAIN:.2f} %."
        )
    else:
        sentences.append(size_in_words(evidence.validation))
    if evidence.centre:
        control = in_words(gain(evidence.centre, "control", "hgn_1x"))
        sentences.append(f"By the label of a centre, as there, {_going_on(size_in_words(evidence.centre))}")
        sentences.append(f"There, deciding candidate by candidate *without* a second network gives {control}.")
    sentences.append(f"By windows with masks instead, {_going_on(size_in_words(evidence.crossval))}")
    sentences.append(cause_in_words(evidence.cause))
    return "  ".join(sentences)


def _going_on(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def curves(results: Json, names: Mapping[str, str]) -> dict[str, tuple[Any, ...]]:
    """Precision-recall curves of some rows, as `maa.figures.precision_recall` takes them: recall, precision, average precision.

    Where a file has several seeds, curves are of the one whose full system is best, and so is the average precision beside them.
    """
    drawn = {}
    for row, name in names.items():
        values = results["rows"][row]
        value = values["average_precision"]["value"]
        if "seeds" in values:
            value = values["seeds"][list(results["profile"]["seeds"]).index(results["seed"])]
        drawn[name] = values["curve"]["recall"], values["curve"]["precision"], value
    return drawn


def beside_the_paper(results: Json) -> list[Json]:
    """The rows of a results file with the paper's numbers beside them: what is the same in both stands in one row.

    Returns
    -------
    list of dict
        For each row of the table its "name", "AUC PR" with "low" and "high", "F1", "precision", "recall", the "gain" over HGN 1x in
        words, and the paper's ("paper's AUC PR" and so on; None where it was not read, or has no such row).
    """
    table = []
    for row, values in results["rows"].items():
        if row not in ROWS:
            continue
        paper = PAPER.get(row, {})
        if row == FULL_SYSTEM:
            paper = {"average_precision": (PAPER["hgn_1x"]["average_precision"] or 0) * (1 + PAPER_GAIN)}
        over = known_gain(results, row, "hgn_1x")
        table.append({
            "name": ROWS[row],
            "AUC PR": values["average_precision"]["value"],
            "low": values["average_precision"]["low"],
            "high": values["average_precision"]["high"],
            "paper's AUC PR": paper.get("average_precision"),
            "F1": values["f1"],
            "paper's F1": paper.get("f1"),
            "precision": values["precision"],
            "paper's precision": paper.get("precision"),
            "recall": values["recall"],
            "paper's recall": paper.get("recall"),
            "gain": in_words(over) if over else "",
        })  # fmt: skip
    return table


def cross_validated(results: Json) -> list[Json]:
    """The rows of the paper's table by cross-validation.

    Returns
    -------
    list of dict
        For each row of the table its "name", with the variant that was chosen for it, "AUC PR" with "low" and "high", and its gain
        "over HGN 1x", "over the fusion", "over the control" and "over cross-entropy only" in words, of what stands before it.
    """
    table, before = [], set()
    for row, name in ROWS.items():
        taken = results["chosen"].get(row, row)
        found = results["rows"][taken]["average_precision"]
        line = {"name": name if taken == row else f"{name} ({taken.partition(', ')[2]})"}
        line |= {"AUC PR": found["value"], "low": found["low"], "high": found["high"]}
        for other, called in _OVER.items():
            line[f"over {called}"] = in_words(gain(results, taken, other)) if other in before else ""
        table.append(line)
        before.add(row)
    return table


def arms(results: Json, reference: str = "prn_cross_entropy") -> list[Json]:
    """Every second stage that was cross-validated, beside the one of a reference row.  Explained in sec:arms.

    Returns
    -------
    list of dict
        The "name"; "AUC PR", and its "difference" to the reference's with a "95 % interval"; "AP of candidates" and "slope" as
        `maa.replication.crossval.details` gives them; and at the end of the first training "tilt", "effective share" and "active
        triplets", None where there is no such thing.
    """
    table = []
    for row, history in results["histories"].items():
        if row == reference:
            continue
        gap, told = results["rows"][row]["gains"][reference]["difference"], results["details"][row]
        ends = {key: values[-1] for key, values in history.items()}
        table.append({
            "name": "both: the full system" if row == FULL_SYSTEM else row,
            "AUC PR": results["rows"][row]["average_precision"]["value"],
            "difference": gap["value"],
            "95 % interval": f"{gap['low']:+.3f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{gap['high']:+.3f}",
            "AP of candidates": told["candidates_average_precision"],
            "slope": told["slope"],
            "tilt": ends["tilt"] or None,
            "effective share": ends.get("effective_share"),
            "active triplets": ends.get("active"),
        })  # fmt: skip
    return table


def beside_windows(other: Json, windows: Sequence[Json]) -> list[Json]:
    """Another first stage beside that on windows, photograph by photograph.  Explained in sec:readings.

    Parameters
    ----------
    other : dict
        What `maa.replication.crossval.read_otherwise` wrote.
    windows : sequence of dict
        Cross-validated runs with the first stage on windows, of the same photographs.

    Returns
    -------
    list of dict
        For each row of the first stage its "name"; "AUC PR", and those of the runs on "windows"; "mean of images", and its
        "differences" to each run, `maa.evaluation.Interval`s; and "verdict": "better" or "worse" where each of them excludes zero
        on that side, else "not told apart".
    """
    table = []
    for row in FIRST_STAGE:
        found, runs = other["rows"][row], [run["rows"][row] for run in windows]
        gaps = [bootstrap_mean({name: ap - run["by_image"][name] for name, ap in found["by_image"].items()}) for run in runs]
        table.append({
            "name": ROWS[row],
            "AUC PR": found["average_precision"]["value"],
            "windows": [run["average_precision"]["value"] for run in runs],
            "mean of images": found["mean_of_images"],
            "differences": gaps,
            "verdict": _told_apart(gaps),
        })  # fmt: skip
    return table


def _told_apart(gaps: Sequence[Interval]) -> str:
    if all(gap.low > 0 for gap in gaps):
        return "better"
    return "worse" if all(gap.high < 0 for gap in gaps) else "not told apart"


def history(openings: Sequence[Json]) -> list[Json]:
    """Every opening of the test half in a row: none is left out, and none was chosen by what it gave."""
    table = []
    for number, opening in enumerate(openings, start=1):
        results, frozen = opening["results"], opening["frozen"]
        values = {row: measured["average_precision"]["value"] for row, measured in results["rows"].items()}
        table.append({
            "opening": number,
            "frozen": frozen["date"],
            "commit": frozen["commit"][:7],
            "opened": results["environment"]["time"][:10],
            "photographs": len(diseased(results)),
            "rows": len(values),
            "HGN 1x": values["hgn_1x"],
            "full system": values[FULL_SYSTEM],
            "gain": in_words(gain(results, FULL_SYSTEM, "hgn_1x")),
            "beyond the paper": values.get("all_prn_unlabelled"),
        })  # fmt: skip
    return table
