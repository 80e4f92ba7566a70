"""Tests of maa.training.sampling: the formula, the statistics, and millions of patches."""

import time
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from maa.training import SelectiveSampler
from maa.training.sampling import CAP, RULES, Reserve, draw

errors = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(0, 1, width=32))


@given(errors)
def test_probability_is_the_error_over_the_sum_of_errors(error):
    sampler = SelectiveSampler(error.size)
    sampler.update(error)
    exact = error.astype(np.float64)
    expected = exact / exact.sum() if exact.any() else np.full(error.size, 1 / error.size)
    assert sampler.probabilities == pytest.approx(expected, rel=1e-6)
    assert sampler.probabilities.sum() == pytest.approx(1)
    assert sampler.effective_size == pytest.approx(1 / (expected**2).sum(), rel=1e-5)


def test_probabilities_sum_to_one_in_double_precision():
    """Divided in float32, those of a large pool would be off in the seventh digit."""
    sampler = SelectiveSampler(300_001)
    sampler.update(np.random.default_rng(0).random(300_001, dtype=np.float32))
    assert sampler.probabilities.dtype == np.float64
    assert sampler.probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert sampler.probabilities[7] == pytest.approx(float(sampler.error[7]) / sampler.error.sum(dtype=np.float64), rel=1e-14)


def test_the_first_epoch_is_uniform():
    sampler = SelectiveSampler(10)
    assert (sampler.probabilities == 0.1).all() and sampler.effective_size == pytest.approx(10)


def test_draws_follow_the_probabilities():
    rng = np.random.default_rng(0)
    error = rng.random(50).astype(np.float32) ** 3
    sampler = SelectiveSampler(50)
    sampler.update(error)
    counts = np.bincount(sampler.draw(200_000, rng), minlength=50)
    assert stats.chisquare(counts, sampler.probabilities * 200_000).pvalue > 0.001
    # ... and the test would see a sampler that ignores them, or that is one off.
    assert stats.chisquare(counts, np.full(50, 4000)).pvalue < 1e-9
    assert stats.chisquare(np.roll(counts, 1), sampler.probabilities * 200_000).pvalue < 1e-9


def test_draws_are_independent_of_one_another():
    sampler = SelectiveSampler(4)
    sampler.update([0.1, 0.2, 0.3, 0.4])
    drawn = sampler.draw(100_000, np.random.default_rng(1))
    pairs = np.bincount(drawn[:-1] * 4 + drawn[1:], minlength=16).reshape(4, 4)
    assert stats.chi2_contingency(pairs).pvalue > 0.001


@given(errors, st.integers(0, 2**32))
def test_a_patch_without_error_is_never_drawn(error, seed):
    sampler = SelectiveSampler(error.size)
    sampler.update(error)
    drawn = sampler.draw(500, np.random.default_rng(seed))
    assert drawn.dtype == np.int64 and drawn.min() >= 0 and drawn.max() < error.size
    assert not error.any() or error[drawn].all()


def test_the_extremes_of_the_generator_hit_only_patches_with_error():
    class Extreme:
        def __init__(self, value):
            self.value = value

        def random(self, count):
            return np.full(count, self.value)

    sampler = SelectiveSampler(6)
    sampler.update([0, 0, 0.3, 0.7, 0, 0])
    assert sampler.draw(1, Extreme(0.0))[0] == 2
    assert sampler.draw(1, Extreme(np.nextafter(1.0, 0)))[0] == 3


def test_draws_repeat_with_the_generator_and_none_is_none():
    sampler = SelectiveSampler(100)
    sampler.update(np.linspace(0, 1, 100))
    a, b = (sampler.draw(50, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(a, b) and len(sampler.draw(0, np.random.default_rng(0))) == 0


def test_a_partial_update_changes_the_patches_it_names_and_no_other():
    sampler = SelectiveSampler(5)
    sampler.update([0.1, 0.2, 0.3, 0.4, 0.5])
    sampler.update([0.9, 0.0], indices=np.array([3, 0]))
    assert sampler.error == pytest.approx([0, 0.2, 0.3, 0.9, 0.5])
    assert sampler.probabilities == pytest.approx(np.array([0, 0.2, 0.3, 0.9, 0.5]) / 1.9)
    assert 0 not in sampler.draw(2000, np.random.default_rng(0))


def test_a_model_without_any_error_is_sampled_evenly():
    sampler = SelectiveSampler(4)
    sampler.update(np.zeros(4))
    assert (sampler.probabilities == 0.25).all()


@pytest.mark.parametrize("bad", [[0.1, -0.01, 0.2], [0.1, 1.01, 0.2], [0.1, np.nan, 0.2], [0.1, 0.2], [[0.1, 0.2, 0.3]]])
def test_what_is_no_error_is_refused_and_changes_nothing(bad):
    sampler = SelectiveSampler(3)
    sampler.update([0.5, 0.25, 0.25])
    with pytest.raises(ValueError, match="errors"):
        sampler.update(bad)
    assert sampler.probabilities == pytest.approx([0.5, 0.25, 0.25])


def test_an_array_of_the_caller_is_not_kept():
    error = np.array([0.5, 0.5], np.float32)
    sampler = SelectiveSampler(2)
    sampler.update(error)
    error[:] = 0
    assert (sampler.error == 0.5).all()


def test_a_pool_needs_a_patch():
    with pytest.raises(ValueError, match="at least one"):
        SelectiveSampler(0)


def test_five_million_patches_in_little_memory_and_time():
    size, rng = 5_000_000, np.random.default_rng(0)
    error = rng.random(size, dtype=np.float32) * 1e-3  # all small but for one thousand
    error[:1000] = 1
    tracemalloc.start()
    started = time.process_time()
    sampler = SelectiveSampler(size)
    sampler.update(error)
    drawn = sampler.draw(100_000, rng)
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * size  # float32 error and float64 sum, the old sum alive while the new one is made
    assert seconds < 2
    share = error[:1000].sum() / error.sum(dtype=np.float64)
    assert (drawn < 1000).mean() == pytest.approx(share, abs=0.01)


def test_small_errors_among_many_are_not_lost_in_the_sum():
    """A float32 sum stands still at 2 ** 24; every patch behind it would then be drawn never."""
    size = 2**24 + 2**22
    sampler = SelectiveSampler(size)
    drawn = sampler.draw(10_000, np.random.default_rng(0))
    assert (drawn > 2**24).mean() == pytest.approx(0.2, abs=0.02)


@given(errors, st.sampled_from([0.25, 0.5, 1.0]))
@settings(max_examples=25, deadline=None)
def test_the_power_flattens_and_keeps_the_order(error, power):
    sampler = SelectiveSampler(error.size, power)
    sampler.update(error)
    exact = error.astype(np.float64) ** power if error.any() else np.ones(error.size)
    assert sampler.probabilities == pytest.approx(exact / exact.sum(), rel=1e-6)
    plain = SelectiveSampler(error.size)
    plain.update(error)
    assert sampler.effective_size >= plain.effective_size * (1 - 1e-6)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_draws_of_every_power_follow_its_probabilities(power):
    error = np.linspace(0.05, 1, 20, dtype=np.float32) ** 2
    sampler = SelectiveSampler(20, power)
    sampler.update(error)
    expected = error.astype(float) ** power / (error.astype(float) ** power).sum()
    counted = np.bincount(sampler.draw(20_000, np.random.default_rng(7)), minlength=20)
    assert stats.chisquare(counted, expected * 20_000).pvalue > 0.001
    other = error.astype(float) ** (power + 0.25)
    assert stats.chisquare(counted, other / other.sum() * 20_000).pvalue < 1e-6


@given(errors, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_patches_in_another_order_have_their_probabilities_in_that_order(error, random):
    order = list(range(error.size))
    random.shuffle(order)
    first, second = SelectiveSampler(error.size), SelectiveSampler(error.size)
    first.update(error)
    second.update(error[order])
    assert second.probabilities == pytest.approx(first.probabilities[order], rel=1e-9)


def test_pixels_are_drawn_evenly_and_with_repetition():
    pool = np.arange(30).reshape(10, 3)
    drawn = draw(pool, 20_000, np.random.default_rng(3))
    assert drawn.shape == (20_000, 3) and (drawn[:, 0] + 1 == drawn[:, 1]).all()
    assert stats.chisquare(np.bincount(drawn[:, 0] // 3, minlength=10)).pvalue > 0.001
    assert draw(pool, 0, np.random.default_rng(0)).shape == (0, 3) and draw(pool[:0], 0, np.random.default_rng(0)).shape == (
        0,
        3,
    )
    assert draw(pool, 1, np.random.default_rng(0)).shape == (1, 3)


def test_a_new_sampler_knows_nothing_and_one_patch_is_a_pool():
    sampler = SelectiveSampler(1)
    assert sampler.power == 1 and sampler.error.dtype == np.float32 and sampler.error.tolist() == [1]
    assert sampler.draw(3, np.random.default_rng(0)).tolist() == [0, 0, 0]
    sampler.update([1.0])
    sampler.update([0.0])
    assert sampler.error.tolist() == [1]


RELATIVE = np.r_[0.0, 0.01, np.full(96, 0.25), 2.0, 73.99]  # errors of mean 1
EXPECTED = {
    "plain": RELATIVE,
    "told": np.r_[0.05, 0.05, np.full(96, 0.25), 2.0, 20.0],
    "mixture": np.r_[0.5, 0.505, np.full(96, 0.625), 1.5, 37.495],
    "fresh": np.r_[0.1, 0.11, np.full(96, 0.35), 2.1, 20.0],
}


@pytest.mark.parametrize("rule", RULES)
def test_the_weights_of_a_rule_are_counted_by_hand(rule):
    assert RELATIVE.mean() == pytest.approx(1) and CAP == 20
    weights = Reserve(rule, RELATIVE / 100).weights
    assert weights == pytest.approx(EXPECTED[rule] / EXPECTED[rule].mean(), rel=1e-12)


def test_where_all_errors_are_alike_no_weights_vary_less_or_more():
    assert Reserve("plain", np.full(5, 0.3)).variance == 1 and Reserve("mixture", np.zeros(5)).variance == 1


@pytest.mark.parametrize("rule", RULES)
def test_the_reserve_draws_as_its_weights_say(rule):
    rng = np.random.default_rng(0)
    reserve = Reserve(rule, rng.random(40) ** 6)
    assert reserve.weights.mean() == pytest.approx(1)
    assert reserve.weight(reserve.error) == pytest.approx(reserve.weights)
    if rule == "fresh":
        assert len(np.unique(reserve.draw(40, rng))) == 40
        first = np.bincount([reserve.draw(1, rng)[0] for _ in range(20_000)], minlength=40)
    else:
        first = np.bincount(reserve.draw(20_000, rng), minlength=40)
    assert first / 20_000 == pytest.approx(reserve.weights / 40, abs=0.012)


def test_no_patch_rules_and_none_is_forgotten():
    error = np.r_[np.zeros(999), 1.0]
    for rule in ("told", "fresh"):
        weights = Reserve(rule, error).weights
        assert weights.max() / weights.min() <= CAP**2 * 1.001 and weights.min() > 0
    assert Reserve("mixture", error).weights.min() >= 0.5
    assert (Reserve("plain", np.zeros(5)).weights == 1).all()


def test_drawing_by_the_error_and_dividing_by_the_weight_varies_less():
    error = np.random.default_rng(0).random(500) ** 6
    assert Reserve("plain", error).variance == pytest.approx(0, abs=1e-9)  # the best there is: every term is the mean
    assert 0 < Reserve("mixture", error).variance < 1
    # By simulation: the variance of one drawn, weighed error against that of an even draw.
    reserve = Reserve("mixture", error)
    drawn = reserve.draw(200_000, np.random.default_rng(1))
    assert np.var(error[drawn] / reserve.weights[drawn]) / np.var(error) == pytest.approx(reserve.variance, rel=0.03)


def test_with_what_is_told_the_best_logit_is_the_true_one():
    # Two kinds of ground and lesions that look like either: the network is a table, so its best logits are known.
    lesions, ground = np.array([0.2, 0.8]), np.array([0.9, 0.1])
    reserve = Reserve("told", np.r_[np.full(900, 0.05), np.full(100, 0.6)])
    w = reserve.weight(np.array([0.05, 0.6]))
    assert w[1] > 3 * w[0]
    logit = torch.zeros(2, dtype=torch.double, requires_grad=True)
    told, drawn = torch.from_numpy(-np.log(w)), torch.from_numpy(ground * w / (ground * w).sum())
    norm = float((ground * w).sum())  # 1, as the weights are of mean 1
    assert norm == pytest.approx(1)
    optimizer = torch.optim.LBFGS([logit], max_iter=200, tolerance_grad=1e-12)

    def loss():
        optimizer.zero_grad()
        z = logit + told
        value = (torch.from_numpy(lesions) * torch.nn.functional.softplus(-z) + drawn * torch.nn.functional.softplus(z)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert logit.detach().numpy() == pytest.approx(np.log(lesions / ground), abs=1e-4)
