"""Tests of maa.evaluation.contrasts: p-values, Holm's correction, and what each contrast is called."""

import dataclasses
import json

import numpy as np
import pytest

from maa.errors import MaaError
from maa.evaluation import Interval, PixelScores, decide, detectable, holm, p_value, paired_bootstrap, quantise, ruling


def scores(help_=0.0, images=8, seed=0):
    """Scores of some images whose lesions are lifted by `help_`; an array of as many says it for each."""
    made = PixelScores()
    for index, lift in enumerate(np.broadcast_to(help_, images)):
        truth = np.random.default_rng(index).random((40, 40)) < 0.1
        rng = np.random.default_rng([seed, index])
        made.add(str(index), quantise(np.clip(0.4 + 0.15 * rng.normal(size=truth.shape) + (0.1 + lift) * truth, 0, 1)), truth)
    return made


def test_the_p_value_counts_the_rarer_side_twice():
    drawn = np.array([-1.0, 0.0, *range(1, 98)])  # two of 99 are not above zero
    assert p_value(drawn) == 2 * (2 + 1) / 100 == p_value(-drawn)
    assert p_value(np.append(drawn, np.nan)) == p_value(drawn)
    assert p_value(np.ones(999)) == 2 / 1000  # never nothing
    assert p_value(np.zeros(99)) == 1


def test_the_p_value_and_the_interval_agree():
    for shift, seed in ((1.7, 0), (1.9, 1), (2.1, 2), (2.3, 3)):
        drawn = np.random.default_rng(seed).normal(shift, 1, 20_000)
        assert (p_value(drawn) < 0.05) == (np.quantile(drawn, 0.025) > 0)


def test_under_no_difference_the_p_value_is_below_five_percent_about_as_often():
    """Means of 30 values of a population without a difference: the bootstrap is a little bold with so few."""
    rng = np.random.default_rng(0)
    small = 0
    for _ in range(400):
        values = rng.normal(size=30)
        small += p_value(rng.choice(values, (400, 30)).mean(1)) < 0.05
    assert 0.03 < small / 400 < 0.1


def test_holm_against_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(4) ** 3
        corrected, factors = holm(p)
        assert sorted(factors) == [1, 2, 3, 4] and factors[p.argmin()] == 4
        for level in (0.01, 0.05, 0.2):
            rejected = set()
            for step, index in enumerate(np.argsort(p)):  # reject from the smallest on, stop at the first that stays
                if p[index] > level / (4 - step):
                    break
                rejected.add(index)
            assert set(np.flatnonzero(corrected <= level)) == rejected
    assert holm([0.01, 0.04, 0.03, 0.005])[0] == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(
    ("value", "low", "high", "corrected", "verdict"),
    [
        (0.02, 0.01, 0.03, 0.049, "helps"),
        (-0.02, -0.03, -0.01, 0.049, "hurts"),
        (0.004, 0.001, 0.008, 0.01, "helps"),  # small, but an effect: the first rule comes first
        (0.004, 0.001, 0.008, 0.2, "no effect worth having"),
        (0.0, -0.01, 0.01, 1.0, "no effect worth having"),
        (0.02, 0.001, 0.04, 0.05, "undecided"),
        (0.0, -0.011, 0.005, 1.0, "undecided"),
    ],
)
def test_the_rules_of_the_protocol(value, low, high, corrected, verdict):
    assert ruling(Interval(value, low, high), corrected) == verdict


def test_four_contrasts_are_decided_by_their_paired_bootstraps():
    base, better, worse = scores(), scores(0.1), scores(-0.05)
    mixed = scores(np.array([0.06, -0.06] * 4))
    same = scores(np.array([0.002, -0.002] * 4))
    contrasts = [
        {"C1": (better, base)},
        {"C2": (worse, base)},
        {"C3a": (same, base), "C3b": (mixed, base)},
        {"C4": (base, base)},
    ]
    decided = decide(contrasts, samples=2000)
    assert list(decided) == ["C1", "C2", "C3a", "C3b", "C4"]
    assert [decision.verdict for decision in decided.values()] == [
        "helps", "hurts", "no effect worth having", "undecided", "no effect worth having",
    ]  # fmt: skip
    alone = paired_bootstrap(better, base)
    assert decided["C1"].difference == alone.difference and decided["C1"].p_value == alone.p_value
    assert decided["C1"].corrected == pytest.approx(4 * 2 / 2001)
    json.dumps({name: dataclasses.asdict(decision) for name, decision in decided.items()}, allow_nan=False)


def test_a_contrast_of_two_ideas_enters_by_the_better_one_doubled():
    base, better, better_still = scores(), scores(0.02), scores(0.1)
    first, second = {"a": (better_still, base)}, {"b": (base, base)}
    alone = decide([first, second], samples=400)
    paired = decide([{**first, "c": (base, better)}, second], samples=400)
    assert paired["a"].corrected == 2 * alone["a"].corrected
    assert paired["c"].corrected >= paired["a"].corrected
    nothing = decide([{**first, "c": (base, base)}, second], samples=400)["c"]
    assert nothing.corrected == nothing.p_value == 1  # the other's effect is not lent to it


def test_runs_are_paired_too():
    base = [scores(seed=seed) for seed in range(3)]
    decided = decide([{"C": ([scores(0.1, seed=seed) for seed in range(3)], base)}], samples=500)
    assert decided["C"].verdict == "helps"


@pytest.mark.parametrize("contrasts", [[], [{}]])
def test_no_contrast_no_decision(contrasts):
    with pytest.raises(MaaError, match="without a pair"):
        decide(contrasts)


def test_a_detectable_difference_is_detected_as_often_as_it_says():
    rng = np.random.default_rng(0)
    difference = detectable(0.04, 54)
    means = rng.normal(difference, 0.04, (4000, 54)).mean(1)
    assert np.mean(np.abs(means) > 1.96 * 0.04 / np.sqrt(54)) == pytest.approx(0.8, abs=0.03)
    assert detectable(0.04, 10) > detectable(0.04, 54) and detectable(0.04, 10, 0.05 / 4) > detectable(0.04, 10)
