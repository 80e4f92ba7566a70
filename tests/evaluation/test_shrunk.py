"""Tests of the measures that shrink first, and of what a mean over images is worth."""

import numpy as np
import pytest
from sklearn.metrics import auc

from maa.errors import MaaError
from maa.evaluation import PixelScores, bootstrap_mean, fixed_thresholds, quantise, shrink, variants


def example(height=130, width=170, seed=0):
    """A map, its truth, and a field of view that touches no border."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    fov = np.hypot(rows - height / 2, columns - width / 2) < 50
    truth = (rng.random((height // 10, width // 10)) < 0.05).repeat(10, 0).repeat(10, 1) & fov
    levels = (np.clip(0.25 * truth + rng.normal(0.3, 0.15, truth.shape), 0, 1) * 65535 * fov).astype(np.uint16)
    return levels, truth, fov


def test_the_field_is_cut_out_padded_to_a_square_and_shrunk_by_area():
    levels, truth, fov = example()
    fov[:, 90:] = False  # higher than wide
    rows, columns = np.flatnonzero(fov.any(1)), np.flatnonzero(fov.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert height == 99 and width < height
    side = 33
    small, mask = shrink(levels, truth, fov, side)
    square = np.zeros((99, 99))
    left = (99 - width) // 2
    square[:, left : left + width] = levels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert small.dtype == np.uint16 and mask.dtype == bool and small.shape == mask.shape == (side, side)
    assert np.abs(small - square.reshape(33, 3, 33, 3).mean((1, 3))).max() <= 1
    assert mask[:, : left // 3].sum() == 0


def test_a_mask_is_taken_at_twice_the_side_and_then_by_halves():
    fov = np.ones((16, 16), bool)
    truth = np.zeros((16, 16), bool)
    truth[0:4, 0:4] = True  # one pixel of the small picture, whole
    truth[4:6, 4:8] = True  # half of one
    truth[8, 8:16:2] = True  # lies between the places that are looked at
    truth[13, 13] = True  # less than half of one
    _, mask = shrink(np.zeros((16, 16), np.uint16), truth, fov, side=4)
    expected = np.zeros((4, 4), bool)
    expected[0, 0] = expected[1, 1] = True
    assert (mask == expected).all()


def test_what_is_smaller_than_the_square_is_not_shrunk():
    levels, truth, fov = example()
    assert shrink(levels, truth, fov) is None
    assert shrink(levels, truth, np.zeros_like(fov)) is None
    scores = PixelScores()
    scores.add("a", levels, truth, fov)
    assert scores.shrunk() is None and variants(scores)["shrunk"] is None


def test_scores_keep_the_shrunk_map_as_fine_as_its_thresholds(monkeypatch):
    monkeypatch.setattr(shrink, "__defaults__", (64,))
    parts = [example(seed=seed) for seed in range(3)]
    levels = parts[0][0]
    levels[:4] = quantise(np.linspace(0, 1, 33))[:, None].repeat(levels.shape[1], 1)[:4]  # levels that lie at a threshold
    scores = PixelScores()
    for index, part in enumerate(parts):
        scores.add(str(index), *part)
    healthy = example(seed=9)
    scores.add("healthy", healthy[0], np.zeros_like(healthy[1]), healthy[2], diseased=False)
    direct = PixelScores()
    for index, part in enumerate(parts):
        direct.add(str(index), *shrink(*part))
    expected = fixed_thresholds(*direct.pooled(), 33)
    assert variants(scores)["shrunk"] == pytest.approx(expected, abs=1e-12)
    assert scores.shrunk()[0].sum() == direct.pooled()[0].sum()
    again = PixelScores()
    for name in scores.names:
        again.extend(PixelScores.from_arrays(scores.subset([name]).arrays()))
    assert variants(again)["shrunk"] == variants(scores)["shrunk"]


def torchmetrics_curve(levels, truth, count):
    """Precision and recall as torchmetrics 1.9 bins them: called is what is at or above a threshold, and the end is (1, 0)."""
    precision, recall = [], []
    for threshold in np.linspace(0, 1, count):
        called = levels / 65535 >= threshold
        precision.append(truth[called].mean() if called.any() else 0.0)  # NaN there, and left out of its sum
        recall.append(truth[called].sum() / truth.sum())
    return np.array([*precision, 1.0]), np.array([*recall, 0.0])


def test_33_thresholds_are_joined_by_trapezoids_and_not_by_steps_as_torchmetrics_does():
    levels, truth, fov = example()
    levels[fov & (levels == 0)] = 1  # else the threshold 0 says nothing in one of the two
    levels[truth & (levels > 60000)] = 60000
    scores = PixelScores()
    scores.add("a", levels, truth, fov)
    ours = fixed_thresholds(*scores.pooled(), 33)
    precision, recall = torchmetrics_curve(levels[fov], truth[fov], 33)
    # No level lies on a threshold, so that "above" and "at or above" are one; only where nothing is called do the rules differ.
    assert not np.isin(np.linspace(0, 1, 33)[1:] * 65535, levels).any()
    empty = recall == 0
    assert empty[:-1].any()
    assert auc(recall, np.where(empty, 1, precision)) == pytest.approx(ours, abs=1e-12)
    step = float(-(np.diff(recall) * precision[:-1]).sum())  # torchmetrics' average precision of a binned curve
    assert step < ours - 0.01


def test_the_interval_of_a_mean_and_of_a_paired_difference():
    rng = np.random.default_rng(1)
    values = dict(zip("abcdefghij", rng.random(10)))
    interval = bootstrap_mean(values, samples=4000)
    assert interval.value == pytest.approx(np.mean(list(values.values())))
    spread = np.std(list(values.values())) / np.sqrt(10)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert bootstrap_mean({"a": 0.25, "b": 0.25}).low == pytest.approx(0.25)
    with pytest.raises(MaaError, match="no image"):
        bootstrap_mean({})
