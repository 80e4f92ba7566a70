"""What must stay, or move in a known way, when the input of the measures is changed: no other implementation is needed to see it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maa.errors import MaaError
from maa.evaluation import (
    LEVELS,
    VARIANTS,
    LesionScores,
    PixelScores,
    average_precision,
    average_precision_by_image,
    best_f1_threshold,
    fixed_thresholds,
    operating_point,
    per_image_mean,
    precision_recall_curve,
    quantise,
    roc_auc,
    trapezoid,
    variants,
)
from maa.evaluation.curves import effective_sample_size, operating_points, rates_of
from maa.evaluation.pixels import PROBABILITIES, checked_maps, first_level

pytestmark = pytest.mark.slow

RANKING = (average_precision, roc_auc, trapezoid)
few = settings(max_examples=25, deadline=None)


@st.composite
def eyes(draw):
    """Levels, some of them equal, truth and field of view of one image, with a lesion pixel and another pixel in the field."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    levels = rng.choice(rng.integers(0, LEVELS, draw(st.sampled_from([1, 2, 5, 40]))), shape).astype(np.uint16)
    truth, fov = rng.random(shape) < draw(st.sampled_from([0.1, 0.5])), rng.random(shape) < 0.8
    truth[0, :2], fov[0, :2] = (True, False), True
    return levels, truth, fov


def collected(*parts, **options):
    scores = PixelScores()
    for i, part in enumerate(parts):
        scores.add(f"eye {i}", *part, **options)
    return scores


def ranks(pooled):
    return [measure(*pooled) for measure in RANKING]


@given(eyes(), st.integers(0, 2**32))
@few
def test_an_increasing_transform_of_the_scores_changes_no_ranking_measure(eye, seed):
    levels, truth, fov = eye
    known, index = np.unique(levels, return_inverse=True)
    other = np.sort(np.random.default_rng(seed).choice(LEVELS, len(known), replace=False)).astype(np.uint16)
    before, after = collected(eye).pooled(), collected((other[index.reshape(levels.shape)], truth, fov)).pooled()
    assert ranks(after) == pytest.approx(ranks(before), abs=1e-12)
    thresholds = best_f1_threshold(*before), best_f1_threshold(*after)
    points = [operating_point(*pooled, threshold) for pooled, threshold in zip((before, after), thresholds)]
    assert {**points[0], "threshold": 0} == {**points[1], "threshold": 0}
    assert other[np.searchsorted(known, round(thresholds[0] * (LEVELS - 1)))] == round(thresholds[1] * (LEVELS - 1))


@given(eyes(), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3))
@few
def test_image_mask_and_field_moved_and_turned_together_change_nothing(eye, down, right, turns):
    def moved(plane):
        return np.pad(np.rot90(plane, turns), ((down, 2), (right, 1)))

    levels, truth, fov = eye
    for before, after in zip(collected(eye).pooled(), collected(tuple(map(moved, eye))).pooled()):
        assert np.array_equal(before, after)
    froc = []
    for planes in (eye, tuple(map(moved, eye))):
        lesions = LesionScores(
            0.4, "overlap"
        )  # the middle of an even plateau, which "peak" looks at, is rounded to an even pixel
        lesions.add("eye", *planes)
        froc.append(lesions)
    if (truth & fov).any():
        assert froc[0].froc().score == froc[1].froc().score
    assert sorted(froc[0].lesions()["score"]) == sorted(froc[1].lesions()["score"])


@given(eyes())
@few
def test_a_perfect_map_is_perfect_and_its_opposite_the_worst(eye):
    _, truth, fov = eye
    perfect = collected((truth * np.uint16(LEVELS - 1), truth, fov))
    table = variants(perfect)
    inside = {name for name in VARIANTS if name != "with_healthy"}
    assert {table[name] for name in inside - {"without_field_mask", "thresholds_11_all_pixels", "shrunk"}} == {1}
    assert best_f1_threshold(*perfect.pooled()) == 1
    assert operating_point(*perfect.pooled(), 1.0) == {"threshold": 1.0, "f1": 1.0, "precision": 1.0, "recall": 1.0}
    worst = collected((~truth * np.uint16(LEVELS - 1), truth, fov)).pooled()
    prevalence = (truth & fov).sum() / fov.sum()
    assert roc_auc(*worst) == 0 and average_precision(*worst) == pytest.approx(prevalence)


@given(eyes(), st.integers(0, LEVELS - 1))
@few
def test_a_constant_map_knows_only_the_prevalence(eye, level):
    _, truth, fov = eye
    pooled = collected((np.full(truth.shape, level, np.uint16), truth, fov)).pooled()
    prevalence = (truth & fov).sum() / fov.sum()
    assert average_precision(*pooled) == pytest.approx(prevalence) and roc_auc(*pooled) == 0.5
    assert trapezoid(*pooled) == pytest.approx((1 + prevalence) / 2)
    assert best_f1_threshold(*pooled) == PROBABILITIES[level]
    point = operating_point(*pooled, PROBABILITIES[level])
    assert (point["recall"], point["precision"]) == (1, pytest.approx(prevalence))
    assert point["f1"] == pytest.approx(2 * prevalence / (1 + prevalence))
    precision, recall, thresholds = precision_recall_curve(*pooled)
    assert (precision, recall, thresholds) == (pytest.approx([prevalence]), [1], [PROBABILITIES[level]])


@given(eyes(), eyes())
@few
def test_a_lesion_free_image_has_no_precision_of_its_own_and_never_raises_that_of_all(eye, other):
    levels, _, fov = other
    free = levels, np.zeros_like(fov), fov
    with pytest.raises(MaaError, match="no lesion pixel"):
        average_precision(*collected(free).pooled())
    with pytest.raises(MaaError, match="No image has a lesion pixel"):
        per_image_mean(collected(free))
    alone, both = collected(eye), collected(eye, free)
    assert average_precision(*both.pooled()) <= average_precision(*alone.pooled()) + 1e-12
    assert per_image_mean(both) == per_image_mean(alone) and average_precision_by_image(both).keys() == {"eye 0"}
    silent = collected(eye, (np.zeros_like(levels), *free[1:]))
    if eye[0][eye[1] & eye[2]].min() > 0:  # where every lesion outscores it, it adds nothing
        assert average_precision(*silent.pooled()) == pytest.approx(average_precision(*alone.pooled()))


@given(eyes(), eyes())
@few
def test_order_and_repetition_of_images_change_nothing(eye, other):
    forward, backward = collected(eye, other), collected(other, eye)
    assert ranks(forward.pooled()) == ranks(backward.pooled())
    assert per_image_mean(forward) == pytest.approx(per_image_mean(backward))
    assert ranks(collected(eye, other, eye, other).pooled()) == pytest.approx(ranks(forward.pooled()))
    joined = collected(eye)
    rest = PixelScores()
    rest.add("other", *other)
    joined.extend(rest)
    assert ranks(joined.pooled()) == ranks(forward.pooled()) and joined.names == ["eye 0", "other"]
    with pytest.raises(MaaError, match="other was already"):
        joined.extend(rest)


@given(eyes())
@few
def test_lesions_and_ground_change_places_when_scores_and_truth_are_inverted(eye):
    levels, truth, fov = eye
    inverted = np.uint16(LEVELS - 1) - levels
    assert roc_auc(*collected((inverted, ~truth, fov)).pooled()) == pytest.approx(roc_auc(*collected(eye).pooled()))


@given(eyes())
@few
def test_what_lies_outside_the_field_is_counted_only_when_it_is_asked_for(eye):
    levels, truth, fov = eye
    scores, whole = collected(eye), collected((levels, truth))
    elsewhere = np.where(fov, levels, LEVELS - 1 - levels).astype(np.uint16), np.where(fov, truth, ~truth), fov
    assert all(np.array_equal(a, b) for a, b in zip(scores.pooled(), collected(elsewhere).pooled()))
    assert all(np.array_equal(a, b) for a, b in zip(scores.pooled(outside_field=True), whole.pooled()))
    everything = collected(eye)
    everything.add("healthy", levels, np.zeros_like(truth), fov, diseased=False)
    assert all(np.array_equal(a, b) for a, b in zip(everything.pooled(), scores.pooled()))
    assert everything.pooled(healthy=True)[1].sum() == scores.pooled()[1].sum() + fov.sum()
    assert variants(scores)["with_healthy"] is None
    assert variants(everything)["with_healthy"] == average_precision(*everything.pooled(healthy=True))
    assert variants(everything)["without_field_mask"] == average_precision(*whole.pooled())
    assert variants(everything)["thresholds_11_all_pixels"] == fixed_thresholds(*whole.pooled(), 11)
    for count in (11, 33, 256):
        assert variants(everything)[f"thresholds_{count}"] == fixed_thresholds(*scores.pooled(), count)


# Small cases, counted by hand


def counts(positives, negatives):
    """Histograms from {level: pixels}."""
    histograms = np.zeros((2, LEVELS), np.int64)
    for row, pixels in enumerate((positives, negatives)):
        for level, number in pixels.items():
            histograms[row, level] = number
    return histograms


def test_a_case_that_is_counted_by_hand():
    pooled = counts({60000: 2, 30000: 1, 0: 1}, {60000: 1, 40000: 3, 0: 13})
    assert average_precision(*pooled) == pytest.approx((2 * 2 / 3 + 3 / 7 + 4 / 21) / 4)
    assert roc_auc(*pooled) == pytest.approx((2 * (16 + 0.5) + 13 + 13 / 2) / (4 * 17))
    assert trapezoid(*pooled) == pytest.approx((0.5 * (1 + 2 / 3) + 0.25 * (3 / 7 + 2 / 6) + 0.25 * (4 / 21 + 3 / 7)) / 2 + 0)
    # 2 TP / (TP + FP + positives): 4/7 at 60000, 6/11 at 30000, 8/25 at 0.
    assert best_f1_threshold(*pooled) == 60000 / 65535
    assert operating_point(*pooled, 30001 / 65535) == {
        "threshold": 30001 / 65535, "f1": pytest.approx(4 / 10), "precision": pytest.approx(2 / 6), "recall": 0.5,
    }  # fmt: skip
    assert operating_point(*pooled, 1) == {"threshold": 1.0, "f1": 0.0, "precision": 0.0, "recall": 0.0}
    # Eleven thresholds: 0 leaves 3 and 4 above, 0.1 to 0.4 the same, 0.5 and 0.6 leave 2 and 4, up to 0.9 2 and 1, 1 nothing.
    assert fixed_thresholds(*pooled, 11) == pytest.approx(0.25 * (3 / 7 + 2 / 6) / 2 + 0.5 * (2 / 3 + 1) / 2)
    assert fixed_thresholds(*pooled, 2) == pytest.approx(0.75 * (3 / 7 + 1) / 2)
    precision, recall, thresholds = precision_recall_curve(*pooled)
    np.testing.assert_allclose(precision, [2 / 3, 2 / 6, 3 / 7, 4 / 21])
    np.testing.assert_allclose(recall, [0.5, 0.5, 0.75, 1])
    np.testing.assert_allclose(thresholds, np.array([60000, 40000, 30000, 0]) / 65535)


def test_of_equally_good_thresholds_the_highest_is_taken():
    # 2 TP / (TP + FP + 2): 2/3 at 50000, and 4/6 at 20000.
    assert best_f1_threshold(*counts({50000: 1, 20000: 1}, {20000: 2})) == 50000 / 65535


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    rng = np.random.default_rng(0)
    pooled = rng.integers(0, 5, (2, LEVELS))
    whole, thin = precision_recall_curve(*pooled, max_points=LEVELS), precision_recall_curve(*pooled, max_points=7)
    assert len(whole[0]) > 60000 and len(thin[0]) == 7 and len(precision_recall_curve(*pooled)[0]) <= 500
    assert len(precision_recall_curve(*pooled)[0]) > 350
    for default, explicit in zip(precision_recall_curve(*pooled), precision_recall_curve(*pooled, max_points=500)):
        np.testing.assert_array_equal(default, explicit)
    for all_points, kept in zip(whole, thin):
        assert (kept[0], kept[-1]) == (all_points[0], all_points[-1]) and np.isin(kept, all_points).all()
    steps = np.hypot(np.diff(whole[1]), np.diff(whole[0])).cumsum()
    at = [0.0, *steps[np.searchsorted(-whole[2], -thin[2])[1:] - 1]]
    assert np.diff(at[1:]) == pytest.approx(steps[-1] / 6, rel=0.05)
    exact = precision_recall_curve(*counts({5: 1, 4: 1, 3: 1}, {}), max_points=3)
    assert len(exact[0]) == 3


def test_rates_of_nothing_are_zero():
    rates = rates_of(np.array([0, 3]), np.array([0, 1]), np.array([0, 4]))
    assert {name: values.tolist() for name, values in rates.items()} == {
        "f1": [0, 0.75],
        "precision": [0, 0.75],
        "recall": [0, 0.75],
    }
    assert rates_of(np.array(1), np.array(0), 1) == {"f1": 1, "precision": 1, "recall": 1}


def test_operating_points_of_one_picture():
    score = np.array([[0.9, 0.5, 0.5], [0.2, 0.95, 0.4]])
    truth = np.array([[True, True, False], [False, False, True]])
    fov = np.array([[True, True, True], [True, False, False]])
    precision, recall = operating_points(score, truth, [0.5, 0.9, 0.91], fov)
    np.testing.assert_allclose(precision, [2 / 3, 1, np.nan])
    np.testing.assert_allclose(recall, [1, 0.5, 0])
    precision, recall = operating_points(score, truth, [0.0, 0.45])
    np.testing.assert_allclose((precision, recall), [[3 / 6, 2 / 4], [1, 2 / 3]])
    with pytest.raises(ValueError, match="no annotated pixel"):
        operating_points(score, truth, [0.5], ~truth)


def test_effective_sample_size_counts_equal_shares():
    np.testing.assert_allclose(effective_sample_size([[1, 1, 1, 1], [0, 3, 0, 0], [2, 2, 0, 0]]), [4, 1, 2])
    assert effective_sample_size([3, 1]) == pytest.approx(16 / 10)


# Levels


def test_levels_are_rounded_probabilities_in_every_precision():
    p = np.array([0, 0.25, 0.5, 1 / 65535, 1.4999 / 65535, 1.5001 / 65535, 1])
    for kind in (np.float32, np.float64):
        levels = quantise(p.astype(kind))
        assert levels.dtype == np.uint16 and levels.tolist() == [0, 16384, 32768, 1, 1, 2, 65535]
    assert quantise(np.array([1, 0.5], np.float16)).tolist() == [65535, 32768]
    assert quantise(np.zeros((0, 3))).shape == (0, 3)
    given_levels = np.array([0, 7, 65535], np.uint16)
    assert quantise(given_levels) is given_levels
    assert PROBABILITIES[[0, 1, -1]].tolist() == [0, 1 / 65535, 1] and len(PROBABILITIES) == LEVELS == 65536
    for bad, words in (
        (np.array([1]), "int"),
        (np.array([True]), "bool"),
        (np.array([np.nan]), "NaN"),
        (np.array([1.0001]), "leave"),
        (np.array([-1e-9]), "leave"),
    ):
        with pytest.raises(MaaError, match=f"the map.*{words}" if words != "leave" else "the map.*leave"):
            quantise(bad, "the map")
    with pytest.raises(MaaError, match="Scores of the score map"):
        quantise(np.array([2.0]))


def test_the_first_level_at_or_above_a_threshold():
    assert [first_level(t) for t in (0, 1 / 65535, 1.01 / 65535, 0.5, 1)] == [0, 1, 2, 32768, 65535]
    for bad in (-0.001, 1.001, float("nan")):
        with pytest.raises(MaaError, match="threshold is"):
            first_level(bad)


def test_every_pixel_is_counted_once_where_it_belongs(monkeypatch):
    monkeypatch.setattr("maa.evaluation.pixels._CHUNK_PIXELS", 5)  # several chunks, the last of them short
    rng = np.random.default_rng(1)
    levels, truth, fov = rng.integers(0, 4, (6, 7)).astype(np.uint16), rng.random((6, 7)) < 0.5, rng.random((6, 7)) < 0.6
    scores = collected((levels, truth, fov))
    for outside, seen in ((False, fov), (True, np.ones_like(fov))):
        for histogram, lesion in zip(scores.per_image(outside_field=outside), (truth, ~truth)):
            assert histogram.shape == (1, LEVELS) and histogram.dtype == np.int64
            assert np.array_equal(histogram[0], np.bincount(levels[seen & lesion], minlength=LEVELS))
    again = PixelScores.from_arrays(scores.arrays())
    assert (again.names, again.diseased, len(again)) == (["eye 0"], [True], 1)
    assert all(np.array_equal(a, b) for a, b in zip(again.pooled(outside_field=True), scores.pooled(outside_field=True)))
    assert scores.arrays()["counts"].dtype == np.uint32 and PixelScores().arrays()["counts"].shape == (0, 2, 2, LEVELS)


def test_a_subset_is_in_the_order_given_and_takes_the_patients_along():
    planes = np.full((2, 2), 9, np.uint16), np.eye(2, dtype=bool)
    scores = collected(planes, planes)
    scores.add("healthy", np.full((2, 2), 7, np.uint16), np.zeros((2, 2), bool), diseased=False)
    chosen = scores.subset(["healthy", "eye 1"])
    assert (chosen.names, chosen.diseased, len(chosen), len(scores)) == (["healthy", "eye 1"], [False, True], 2, 3)
    assert chosen.per_image(healthy=True)[1][:, [7, 9]].tolist() == [[4, 0], [0, 2]]
    assert len(chosen.per_image()[0]) == 1


def test_maps_are_checked_before_they_are_counted():
    levels, truth, fov = checked_maps("eye", [[0.0, 1.0]], [[True, False]], [[True, True]])
    assert levels.tolist() == [[0, 65535]] and truth.dtype == fov.dtype == bool
    assert checked_maps("eye", [[0.0]], [[True]])[2] is None
    for planes, words in (
        (([0.0], [True]), "shape"),
        (([[0.0]], [[1]]), "truth of eye is int"),
        (([[0.0]], [True]), "truth of eye has the shape"),
        (([[0.0]], [[True]], [[True, True]]), "field of view of eye has the shape"),
    ):
        with pytest.raises(MaaError, match=words):
            checked_maps("eye", *planes)


def test_healthy_images_and_what_lies_outside_the_field_are_left_out_unless_asked_for():
    truth, fov = np.array([[True, True, False, False]]), np.array([[True, False, True, True]])
    scores = PixelScores()
    scores.add("sick", np.array([[0.9, 0.1, 0.5, 0.2]]), truth, fov)
    scores.add("well", np.array([[0.3, 0.4, 0.6, 0.2]]), truth, fov, diseased=False)
    assert average_precision_by_image(scores) == {"sick": 1}
    assert average_precision_by_image(scores, healthy=True) == {"sick": 1, "well": pytest.approx(1 / 2)}
    assert average_precision_by_image(scores, outside_field=True) == {"sick": pytest.approx((1 + 2 / 4) / 2)}
    assert per_image_mean(scores) == 1 and per_image_mean(scores, healthy=True) == pytest.approx(3 / 4)
    assert per_image_mean(scores, outside_field=True) == pytest.approx(3 / 4)
    for histograms in (scores.per_image(), scores.pooled()):
        assert [int(histogram.sum()) for histogram in histograms] == [1, 2]
    assert [int(histogram.sum()) for histogram in scores.pooled(healthy=True, outside_field=True)] == [4, 4]


def test_a_threshold_with_one_false_pixel_above_it_has_precision_zero():
    assert fixed_thresholds(*counts({30000: 1}, {60000: 1}), 3) == pytest.approx(0.25)
