"""Tests of maa.claim: the words follow the numbers, whichever way they fall."""

import json
import re
from pathlib import Path

import pytest

from maa.claim import answer, confirmed, in_words, mark
from maa.reproduce import PAPER_GAIN

ROOT = Path(__file__).resolve().parent.parent


def results(whole, ideas, control=(0.2, 0.1, 0.3)) -> dict:
    """A results file with the three gains that the words are about, each as (value, low, high)."""
    gains = lambda **others: {other: {"relative_gain": dict(zip(("value", "low", "high"), g))} for other, g in others.items()}
    rows = {"prn_full": {"seeds": [0.4, 0.5], "gains": gains(hgn_1x=whole, prn_cross_entropy=ideas)},
            "control": {"gains": gains(hgn_1x=control)}}  # fmt: skip
    return {"photographs": ["a", "b", "c"], "rows": rows}


ADDS, NOTHING, HURTS = (0.04, 0.01, 0.07), (0.01, -0.02, 0.04), (-0.04, -0.07, -0.01)


@pytest.mark.parametrize(
    ("whole", "ideas", "sign", "bold", "worth"),
    [
        ((0.35, 0.2, 0.5), ADDS, "[Re]", "The size holds, and so does the reason given.", "add"),
        ((0.35, 0.2, 0.5), NOTHING, "[Re]", "The size holds; the reason given does not.", "cannot be told from nothing"),
        ((PAPER_GAIN, 0.2, 0.5), HURTS, "[Re]", "The size holds; the reason given does not.", "take away"),
        ((0.28, 0.1, 0.4), NOTHING, "[¬Re]", "The size nearly holds; the reason given does not.", "cannot be told from nothing"),
        ((0.28, 0.1, 0.4), ADDS, "[¬Re]", "The size nearly holds; the reason given does.", "add"),
        ((0.28, 0.1, 0.3), HURTS, "[¬Re]", "The size does not hold; the reason given does not.", "take away"),
        ((0.35, -0.1, 0.8), NOTHING, "[¬Re]", "The size does not hold; the reason given does not.", "cannot be told from nothing"),
    ],
)
def test_the_answer_follows_the_numbers(whole, ideas, sign, bold, worth):
    said = answer(results(whole, ideas))
    assert mark(results(whole, ideas)) == sign and confirmed(results(whole, ideas)) is (sign == "[Re]")
    assert said.startswith(f"**{bold}**") and f"selective sampling, {worth}:" in said
    assert in_words(dict(zip(("value", "low", "high"), whole))) in said and "On 3 validation photographs, with 2 seeds" in said


def test_a_gain_is_said_with_its_interval():
    assert in_words({"value": 0.0741, "low": -0.003, "high": 0.1449}) == "+7.4 % (-0.3 to +14.5)"


def test_no_page_carries_a_mark_that_the_results_do_not_give():
    right = mark(json.loads((ROOT / "results/idrid-full/results.json").read_text()))
    for page in (ROOT / "README.md", *(ROOT / "book").glob("*.md"), ROOT / "CITATION.cff"):
        for found in re.findall(r"\[¬?Re\]", page.read_text(encoding="utf-8")):
            assert found == right, f"{page.name} says {found}, the results {right}: python results/readme.py, or change the page"
