"""Tests of maa.claim: the words follow the numbers, whichever way they fall."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from maa.claim import answer, confirmed, in_words, mark
from maa.reproduce import PAPER_GAIN

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def front():
    """The script that cuts the front page's picture."""
    spec = importlib.util.spec_from_file_location("front", ROOT / "results/front.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_the_picture_of_the_front_page_shows_the_networks_that_ship(front):
    record = json.loads(front.RECORD.read_text())
    assert front.PICTURE.is_file() and record["shipped"] == front.shipped(), "cut it anew: python results/front.py DATA"


def test_the_lesions_of_a_window_are_told_apart(front):
    truth, called = np.zeros((2, 40, 60), bool)
    truth[5:9, 5:9] = called[7:11, 7:11] = True  # touched
    truth[20:24, 5:9] = True  # missed
    called[30:33, 40:43] = True  # nobody labelled it
    marks = front.rings(truth, called)
    assert [mark[0] for mark in marks] == ["found", "missed", "unlabelled"]
    assert marks[1][1:3] == (21.5, 6.5) and marks[2][1:3] == (31, 41)


def test_the_window_is_the_one_with_most_lesions(front):
    mask = np.zeros((1500, 2500), bool)
    for row, column in ((100, 100), (900, 1500), (950, 1600), (1000, 1700)):
        mask[row : row + 5, column : column + 5] = True
    count, row, column = front.richest(mask)
    assert count == 3 and row <= 900 and column <= 1500 and row + front.HEIGHT > 1000 and column + front.WIDTH > 1700
    assert front.richest(np.zeros((600, 800), bool)) == (0, 0, 0)
