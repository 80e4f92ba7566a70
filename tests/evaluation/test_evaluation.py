import dataclasses
import doctest
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, ndimage
from skimage.measure import label as skimage_label
from sklearn import metrics

import maa.evaluation
from maa.errors import MaaError
from maa.evaluation import (
    FROC_POINTS,
    LEVELS,
    VARIANTS,
    LesionScores,
    PixelScores,
    average_precision,
    average_precision_by_image,
    best_f1_threshold,
    bootstrap_average_precision,
    bootstrap_froc,
    bootstrap_operating_point,
    components,
    expected_calibration_error,
    fixed_thresholds,
    intervals,
    operating_point,
    paired_bootstrap,
    per_image_mean,
    precision_recall_curve,
    quantise,
    reliability,
    roc_auc,
    trapezoid,
    variants,
)


def image(seed, shape=(23, 31), prevalence=0.1, ties=None, signal=1.0):
    """Levels, truth and field of view of a random image; `ties` = number of distinct scores."""
    rng = np.random.default_rng(seed)
    truth = rng.random(shape) < prevalence
    score = 1 / (1 + np.exp(-(rng.normal(size=shape) + signal * truth)))
    if ties:
        score = np.floor(score * ties) / ties
    return quantise(score), truth, rng.random(shape) < 0.8


@st.composite
def images(draw):
    """A few images, few or many ties, prevalence from rare to common, at least one lesion and one other pixel."""
    ties, prevalence = draw(st.sampled_from([1, 2, 5, 50, None])), draw(st.sampled_from([0.01, 0.2, 0.7]))
    seeds = draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=3, unique=True))
    parts = [image(seed, (9, 14), prevalence, ties) for seed in seeds]
    for levels, truth, fov in parts:
        truth[0, :2], fov[0, :2] = (True, False), True
    return parts


def collected(parts, **options):
    scores = PixelScores()
    for i, (levels, truth, fov) in enumerate(parts):
        scores.add(f"image {i}", levels, truth, fov, **options)
    return scores


def flat(parts, everywhere=False):
    """What scikit-learn wants: all truths and all scores, in memory."""
    keep = [np.ones_like(f) if everywhere else f for _, _, f in parts]
    return (
        np.concatenate([t[k] for (_, t, _), k in zip(parts, keep)]),
        np.concatenate([lv[k] for (lv, _, _), k in zip(parts, keep)]) / (LEVELS - 1),
    )


# Pixels against scikit-learn


@given(images())
@settings(max_examples=80, deadline=None)
def test_measures_equal_scikit_learn(parts):
    pooled = collected(parts).pooled()
    truth, score = flat(parts)
    assert average_precision(*pooled) == pytest.approx(metrics.average_precision_score(truth, score), abs=1e-12)
    assert roc_auc(*pooled) == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-12)
    precision, recall, thresholds = metrics.precision_recall_curve(truth, score)
    assert trapezoid(*pooled) == pytest.approx(metrics.auc(recall, precision), abs=1e-12)

    ours = precision_recall_curve(*pooled, max_points=10**6)
    np.testing.assert_allclose(ours[0], precision[:-1][::-1])
    np.testing.assert_allclose(ours[1], recall[:-1][::-1])
    np.testing.assert_allclose(ours[2], thresholds[::-1])

    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-300))[:-1]
    best = best_f1_threshold(*pooled)
    assert metrics.f1_score(truth, score >= best) == pytest.approx(f1.max())
    assert best == thresholds[np.isclose(f1, f1.max(), rtol=1e-12)].max()


@given(images(), st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.2, 0.5, 1.0])))
@settings(max_examples=100, deadline=None)
def test_operating_point_equals_scikit_learn(parts, threshold):
    truth, score = flat(parts)
    point = operating_point(*collected(parts).pooled(), threshold)
    assert point["threshold"] == threshold
    for name, measure in [("precision", metrics.precision_score), ("recall", metrics.recall_score), ("f1", metrics.f1_score)]:
        assert point[name] == pytest.approx(measure(truth, score >= threshold, zero_division=0))


@given(images(), st.sampled_from([11, 33, 256]))
@settings(max_examples=50, deadline=None)
def test_fixed_thresholds_equal_a_loop(parts, count):
    truth, score = flat(parts)
    precision, recall = [], []
    for threshold in np.linspace(0, 1, count):
        mask = score > threshold
        precision.append((mask & truth).sum() / mask.sum() if mask.any() else 1.0)
        recall.append((mask & truth).sum() / truth.sum())
    assert fixed_thresholds(*collected(parts).pooled(), count) == pytest.approx(metrics.auc(recall, precision))


def test_eleven_thresholds_flatter_pure_chance():
    """The trap: with all scores below 0.1, eleven thresholds see two points and a straight line from precision 1."""
    rng = np.random.default_rng(0)
    truth = rng.random((300, 300)) < 0.01
    scores = PixelScores()
    scores.add("chance", rng.uniform(0.01, 0.09, truth.shape), truth)
    assert average_precision(*scores.pooled()) == pytest.approx(0.01, rel=0.2)
    assert fixed_thresholds(*scores.pooled(), 11) == pytest.approx((1 + truth.mean()) / 2)


def test_images_enter_one_by_one_in_any_order():
    parts = [image(seed) for seed in range(4)]
    forward, backward = collected(parts), collected(parts[::-1])
    for a, b in zip(forward.pooled(), backward.pooled()):
        np.testing.assert_array_equal(a, b)
    assert forward.pooled()[0].sum() == sum((t & f).sum() for _, t, f in parts)


def test_large_images_are_counted_in_chunks(monkeypatch):
    whole = collected([image(1)]).pooled()
    monkeypatch.setattr("maa.evaluation.pixels._CHUNK_PIXELS", 100)
    for a, b in zip(collected([image(1)]).pooled(), whole):
        np.testing.assert_array_equal(a, b)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40))
@settings(deadline=None)
def test_quantising_keeps_order_and_stays_within_half_a_level(values):
    p = np.array(values, np.float32)
    levels = quantise(p)
    assert levels.dtype == np.uint16
    assert np.abs(levels / (LEVELS - 1) - p).max() <= 0.51 / (LEVELS - 1)
    assert (np.diff(levels[np.argsort(p)].astype(int)) >= 0).all()
    np.testing.assert_array_equal(quantise(levels), levels)
    np.testing.assert_array_equal(quantise((levels / (LEVELS - 1)).astype(np.float32)), levels)


def test_half_precision_does_not_overflow():
    assert quantise(np.array([1.0, 0.0, 0.5], np.float16)).tolist() == [65535, 0, 32768]


def test_thinned_curve_keeps_shape_and_ends():
    pooled = collected([image(0, (200, 200), 0.05)]).pooled()
    precision, recall, thresholds = precision_recall_curve(*pooled, max_points=10**6)
    p, r, t = precision_recall_curve(*pooled, max_points=200)
    assert len(p) <= 200 and (np.diff(r) >= 0).all() and (np.diff(t) < 0).all()
    assert (r[0], r[-1], t[0]) == (recall[0], recall[-1], thresholds[0]) and r[-1] == 1
    assert set(zip(p, r)) <= set(zip(precision, recall))
    assert abs(integrate.trapezoid(p, r) - integrate.trapezoid(precision, recall)) < 0.01


# Variants


def test_variants_change_one_thing_each():
    sick, healthy = [image(seed) for seed in range(3)], image(9, prevalence=0)
    scores = collected(sick)
    table = variants(scores)
    assert list(table) == list(VARIANTS) and table["with_healthy"] is None
    truth, score = flat(sick)
    assert table["average_precision"] == pytest.approx(metrics.average_precision_score(truth, score))
    each = [metrics.average_precision_score(*flat([part])) for part in sick]
    assert table["per_image_mean"] == pytest.approx(np.mean(each))
    np.testing.assert_allclose(list(average_precision_by_image(scores).values()), each)
    everywhere = flat(sick, everywhere=True)
    assert table["without_field_mask"] == pytest.approx(metrics.average_precision_score(*everywhere))

    scores.add("healthy", *healthy, diseased=False)
    added = variants(scores)
    assert added["with_healthy"] == pytest.approx(metrics.average_precision_score(*flat([*sick, healthy])))
    assert added["with_healthy"] < added["average_precision"]
    assert {k: v for k, v in added.items() if k != "with_healthy"} == {k: v for k, v in table.items() if k != "with_healthy"}
    json.dumps(added, allow_nan=False)


def test_images_without_a_lesion_have_no_average_precision_of_their_own():
    parts = [image(0), image(1, prevalence=0)]
    assert list(average_precision_by_image(collected(parts))) == ["image 0"]
    assert per_image_mean(collected(parts)) == average_precision(*collected(parts[:1]).pooled())


def test_subset_arrays_and_sums_hold_the_same_scores():
    scores = collected([image(seed) for seed in range(3)])
    scores.add("healthy", *image(5, prevalence=0), diseased=False)
    loaded = PixelScores()
    for name in scores.names:  # one at a time, each through arrays
        loaded.extend(PixelScores.from_arrays(scores.subset([name]).arrays()))
    with pytest.raises(MaaError, match="image 1"):
        loaded.extend(scores.subset(["image 1"]))
    assert loaded.names == scores.names and loaded.diseased == scores.diseased
    assert variants(loaded) == variants(scores)
    chosen = loaded.subset(["image 2", "image 0"])
    assert chosen.names == ["image 2", "image 0"]
    assert average_precision(*chosen.pooled()) == average_precision(*collected([image(0), image(2)]).pooled())


# Intervals


def test_bootstrap_equals_resampling_the_pixels():
    parts = [image(seed, ties=20, signal=seed / 2) for seed in range(5)]
    scores = collected(parts)
    draws, runs = intervals._draws([scores], 30, 3, False)
    assert (draws[0] == 1).all() and (draws.sum(1) == 5).all() and (draws[1:] != 1).any()
    fast = intervals._resampled([scores], draws, runs, False)
    slow = [
        metrics.average_precision_score(*flat([p for p, times in zip(parts, row) for _ in range(int(times))])) for row in draws
    ]
    np.testing.assert_allclose(fast, slow)
    interval = bootstrap_average_precision(scores, samples=30, seed=3, confidence=0.9)
    assert interval.value == pytest.approx(slow[0]) and interval.confidence == 0.9
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(slow[1:], [0.05, 0.95]))


def test_bootstrap_covers_the_mean_of_a_known_population():
    """Recall of images drawn from a population with recall 0.5: the 95 % interval holds 0.5 about as often as it says."""
    rng, covered = np.random.default_rng(0), 0
    for trial in range(40):
        scores = PixelScores()
        for i in range(20):
            found = rng.random((1, 40)) < rng.uniform(0.3, 0.7)
            scores.add(str(i), found.astype(np.float32), np.ones((1, 40), bool))
        interval = bootstrap_operating_point(scores, 1.0, samples=200, seed=trial)["recall"]
        covered += interval.low <= 0.5 <= interval.high
    assert covered >= 33


def test_paired_bootstrap_is_tighter_than_two_separate_ones():
    base, better = [], []
    for seed in range(8):
        levels, truth, fov = image(seed, (40, 40), signal=0.5 + 0.4 * (seed % 4))
        base.append((levels, truth, fov))
        better.append((quantise(np.clip(levels / 65535 + 0.05 * truth, 0, 1)), truth, fov))
    system, baseline = collected(better), collected(base)
    result = paired_bootstrap(system, baseline, samples=500)
    a, b = average_precision(*system.pooled()), average_precision(*baseline.pooled())
    assert result.system.value == pytest.approx(a) and result.baseline.value == pytest.approx(b)
    assert result.difference.value == pytest.approx(a - b)
    assert result.relative_gain.value == pytest.approx(a / b - 1)
    assert result.difference.low > 0 and result.p_value == 2 / 501
    assert result.difference.high - result.difference.low < 0.5 * (result.system.high - result.system.low)
    assert result.system == bootstrap_average_precision(system, samples=500)
    json.dumps(dataclasses.asdict(result), allow_nan=False)
    backwards = paired_bootstrap(baseline, system, samples=500)
    assert backwards.p_value == result.p_value and backwards.difference.low == pytest.approx(-result.difference.high)


def test_runs_add_their_own_spread():
    parts = [image(seed, (40, 40)) for seed in range(5)]
    runs = [
        collected([(quantise(np.clip(lv / 65535 + shift * t, 0, 1)), t, f) for lv, t, f in parts]) for shift in (0.0, 0.2, 0.4)
    ]
    each = [average_precision(*run.pooled()) for run in runs]
    pooled = bootstrap_average_precision(runs, samples=400)
    assert pooled.value == pytest.approx(np.mean(each))
    alone = bootstrap_average_precision(runs[1], samples=400)
    assert pooled.high - pooled.low > 1.3 * (alone.high - alone.low)
    same = paired_bootstrap(runs, runs, samples=50)
    assert same.difference.low == same.difference.high == 0 and same.p_value == 1


def test_the_spread_of_three_runs_is_not_understated():
    """On one image only the draw of runs is left: its spread is the standard error of the runs' mean."""
    levels, truth, fov = image(0, (40, 40))
    runs = [collected([(quantise(np.clip(levels / 65535 + lift * truth, 0, 1)), truth, fov)]) for lift in (0.0, 0.1, 0.3)]
    each = [average_precision(*run.pooled()) for run in runs]
    images, drawn = intervals._draws(runs, 4000, 0, False)
    values = intervals._resampled(runs, images, drawn, False)
    assert values[0] == pytest.approx(np.mean(each))
    assert values[1:].std() == pytest.approx(np.std(each, ddof=1) / np.sqrt(3), rel=0.03)


def test_operating_point_intervals_hold_the_value():
    scores = collected([image(seed) for seed in range(6)])
    point = operating_point(*scores.pooled(), 0.6)
    for name, interval in bootstrap_operating_point(scores, 0.6, samples=200).items():
        assert interval.value == pytest.approx(point[name]) and interval.low < interval.value < interval.high


def test_samples_without_a_lesion_are_left_out():
    interval = bootstrap_average_precision(collected([image(0), image(1, prevalence=0)]), samples=50)
    assert np.isfinite([interval.low, interval.high]).all()


# Calibration


@given(images(), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_reliability_equals_a_loop(parts, bins):
    truth, score = flat(parts)
    edges = np.linspace(0, 1, bins + 1)
    table = reliability(*collected(parts).pooled(), edges)
    rows, error = [], 0
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (score >= low) & ((score < high) | (i == bins - 1))
        if inside.any():
            rows.append((low, high, score[inside].mean(), truth[inside].mean(), inside.sum()))
            error += inside.sum() / len(score) * abs(rows[-1][2] - rows[-1][3])
    np.testing.assert_allclose(np.array(rows), np.stack(list(table.values()), 1))
    assert expected_calibration_error(*collected(parts).pooled(), edges) == pytest.approx(error)


def test_scores_drawn_from_their_own_probability_are_calibrated():
    rng = np.random.default_rng(0)
    p = rng.random((500, 500))
    honest, bold = PixelScores(), PixelScores()
    honest.add("a", p, rng.random(p.shape) < p)
    bold.add("a", np.sqrt(p), rng.random(p.shape) < p)
    assert expected_calibration_error(*honest.pooled()) < 0.01
    # The mean of sqrt(p) - p over the unit interval is 1/6.
    assert expected_calibration_error(*bold.pooled()) == pytest.approx(1 / 6, abs=0.01)


# Lesions


def blob(mask, row, column, size=3):
    mask[row : row + size, column : column + size] = True


def scene():
    """Three lesions; candidates: one on lesion 0, two on lesion 1, none on lesion 2, two false."""
    truth, score = np.zeros((60, 80), bool), np.zeros((60, 80), np.float32)
    for row, column in [(5, 5), (20, 20), (40, 40)]:
        blob(truth, row, column, 5)
    for row, column, value in [(6, 6, 0.9), (20, 20, 0.8), (22, 24, 0.7), (50, 5, 0.85), (50, 50, 0.3)]:
        score[row, column] = value
    return score, truth


def test_lesions_and_false_alarms_of_a_scene_counted_by_hand():
    lesion_scores = LesionScores(0.1)
    lesion_scores.add("sick", *scene())
    lesion_scores.add("healthy", np.zeros((60, 80), np.float32), np.zeros((60, 80), bool))
    lesions, candidates = lesion_scores.lesions(), lesion_scores.candidates()
    np.testing.assert_allclose(lesions["score"], [0.9, 0.8, 0], atol=1e-5)
    np.testing.assert_array_equal(lesions["row"], [7, 22, 42])
    np.testing.assert_array_equal(lesions["area"], [25, 25, 25])
    assert dict(zip(np.round(candidates["score"], 2).tolist(), candidates["hit"].tolist())) == {
        0.9: True,
        0.8: True,
        0.7: True,
        0.85: False,
        0.3: False,
    }
    froc = lesion_scores.froc()
    assert (froc.images, froc.lesions) == (2, 3)
    np.testing.assert_allclose(froc.sensitivity, np.array([1, 1, 2, 2, 2]) / 3)
    np.testing.assert_allclose(froc.false_positives_per_image, [0, 0.5, 0.5, 0.5, 1])
    np.testing.assert_allclose(froc.sensitivity_at(np.array(FROC_POINTS)), np.array([1, 1, 2, 2, 2, 2, 2]) / 3)
    assert froc.score == pytest.approx(12 / 21)
    assert froc.summary()["1/4"] == pytest.approx(1 / 3) and froc.summary()["score"] == froc.score
    json.dumps(froc.summary())


def test_peak_and_overlap_differ_where_a_candidate_covers_two_lesions():
    truth, score = np.zeros((20, 20), bool), np.zeros((20, 20), np.float32)
    blob(truth, 5, 3)
    blob(truth, 5, 12)
    score[6, 2:16], score[6, 4] = 0.5, 0.6
    found = {}
    for match in ("peak", "overlap"):
        lesion_scores = LesionScores(0.4, match)
        lesion_scores.add("a", score, truth)
        found[match] = lesion_scores.lesions()["score"] > 0
    assert found["peak"].tolist() == [True, False] and found["overlap"].tolist() == [True, True]


def test_the_peak_of_a_plateau_is_its_centre():
    truth, score = np.zeros((30, 30), bool), np.zeros((30, 30), np.float32)
    blob(truth, 14, 14, 3)
    score[10:21, 10:21] = 1
    lesion_scores = LesionScores(0.5)
    lesion_scores.add("a", score, truth)
    candidates = lesion_scores.candidates()
    assert (candidates["row"][0], candidates["column"][0], candidates["area"][0]) == (15, 15, 121)
    assert candidates["hit"].all()


def brute_froc(parts, threshold, match):
    """Loops over components found by scikit-image."""
    found, false = [], []
    for levels, truth, fov in parts:
        score = levels / (LEVELS - 1)
        lesion_map = skimage_label(truth & fov, connectivity=2)
        component = skimage_label((score >= threshold) & fov, connectivity=2)
        best = np.zeros(lesion_map.max() + 1)
        for c in range(1, component.max() + 1):
            top = score[component == c].max()
            if match == "peak":
                row, column = np.rint(np.argwhere((component == c) & (score == top)).mean(0)).astype(int)
                hit = {lesion_map[row, column]} - {0}
            else:
                hit = set(lesion_map[component == c].tolist()) - {0}
            for lesion in hit:
                best[lesion] = max(best[lesion], top)
            if not hit:
                false.append(top)
        found += best[1:].tolist()
    return np.array(found), np.array(false)


@given(images(), st.sampled_from([0.3, 0.5, 0.7]), st.sampled_from(["peak", "overlap"]))
@settings(max_examples=80, deadline=None)
def test_lesions_equal_loops_over_components(parts, threshold, match):
    lesion_scores = LesionScores(threshold, match)
    for i, part in enumerate(parts):
        lesion_scores.add(str(i), *part)
    found, false = brute_froc(parts, threshold, match)
    np.testing.assert_allclose(np.sort(lesion_scores.lesions()["score"]), np.sort(found))
    froc = lesion_scores.froc()
    for i, t in enumerate(froc.thresholds):
        assert froc.sensitivity[i] == pytest.approx((found >= t).mean())
        assert froc.false_positives_per_image[i] == pytest.approx((false >= t).sum() / len(parts))
    for limit in (0, *FROC_POINTS):
        reached = [(found >= t).mean() for t in froc.thresholds if (false >= t).sum() / len(parts) <= limit]
        assert froc.sensitivity_at(limit) == pytest.approx(max(reached, default=0))


@given(st.integers(0, 10_000), st.integers(1, 14), st.integers(1, 14), st.sampled_from([0, 0.1, 0.3, 0.6, 0.9, 1]))
@settings(max_examples=300, deadline=None)
def test_components_equal_those_of_scipy(seed, height, width, filled):
    mask = np.random.default_rng(seed).random((height, width)) < filled
    pixels, component = components(mask)
    expected = ndimage.label(mask, np.ones((3, 3)))[0].ravel()
    np.testing.assert_array_equal(pixels, np.flatnonzero(mask))
    np.testing.assert_array_equal(component + 1, expected[pixels])


@pytest.mark.parametrize("match", ["peak", "overlap"])
def test_bootstrap_of_the_froc_equals_adding_the_drawn_images(match):
    parts = [image(seed, (40, 50), prevalence=0.02, ties=50, signal=seed / 2) for seed in range(5)]
    lesion_scores = LesionScores(0.7, match)
    for i, part in enumerate(parts):
        lesion_scores.add(str(i), *part)
    intervals = bootstrap_froc(lesion_scores, samples=40, seed=3, confidence=0.9)
    summary = lesion_scores.froc().summary()
    drawn = np.random.default_rng(3).multinomial(5, np.full(5, 1 / 5), size=40)
    slow = []
    for times in drawn:
        again = LesionScores(0.7, match)
        for i, part in enumerate([p for p, k in zip(parts, times) for _ in range(k)]):
            again.add(str(i), *part)
        slow.append(again.froc().summary())
    assert set(intervals) == set(summary) - {"images", "lesions"}
    for name, interval in intervals.items():
        assert interval.value == pytest.approx(summary[name]) and interval.confidence == 0.9
        np.testing.assert_allclose([interval.low, interval.high], np.quantile([s[name] for s in slow], [0.05, 0.95]))
    assert intervals["score"].low < intervals["score"].high
    json.dumps({name: dataclasses.asdict(interval) for name, interval in intervals.items()}, allow_nan=False)


def test_bootstrap_of_the_froc_leaves_out_samples_without_a_lesion_and_takes_maps_without_candidates():
    lesion_scores = LesionScores(0.1)
    lesion_scores.add("sick", *scene())
    lesion_scores.add("healthy", np.zeros((60, 80), np.float32), np.zeros((60, 80), bool))
    interval = bootstrap_froc(lesion_scores, samples=50)["score"]
    assert interval.value == pytest.approx(12 / 21) and np.isfinite([interval.low, interval.high]).all()
    nothing = LesionScores(0.5)
    nothing.add("a", np.zeros((60, 80), np.float32), scene()[1])
    assert bootstrap_froc(nothing, samples=5)["score"].high == 0
    with pytest.raises(MaaError, match="no image"):
        bootstrap_froc(LesionScores(0.5))


def test_given_candidates_equal_the_components_they_came_from():
    score, truth = scene()
    fov = np.ones_like(truth)
    fov[45:, 40:] = False
    of_map, of_points = LesionScores(0.1), LesionScores(0.1)
    of_map.add("a", score, truth, fov)
    rows, columns = np.nonzero(score)
    of_points.add_candidates("a", rows, columns, score[rows, columns], truth, fov)
    for a, b in zip(dataclasses.astuple(of_map.froc()), dataclasses.astuple(of_points.froc())):
        np.testing.assert_array_equal(a, b)
    assert len(of_points.candidates()["score"]) == 4


def test_a_map_without_candidates_finds_nothing():
    lesion_scores = LesionScores(0.5)
    lesion_scores.add("a", np.zeros((60, 80), np.float32), scene()[1])
    assert lesion_scores.froc().score == 0


# Bad input


@pytest.mark.parametrize("collector", [PixelScores, lambda: LesionScores(0.5)])
@pytest.mark.parametrize(
    "change, message",
    [
        (dict(truth=np.zeros((4, 6), bool)), "truth of eye"),
        (dict(truth=np.zeros((4, 5), np.uint8)), "boolean"),
        (dict(fov=np.ones((4, 4), bool)), "field of view of eye"),
        (dict(scores=np.full((4, 5), np.nan)), "eye hold NaN"),
        (dict(scores=np.full((4, 5), 1.01)), "leave"),
        (dict(scores=np.full((4, 5), -0.1)), "leave"),
        (dict(scores=np.zeros((4, 5), np.uint8)), "uint8"),
        (dict(scores=np.zeros((4, 5, 1))), "height"),
    ],
)
def test_maps_that_do_not_fit_are_named(collector, change, message):
    maps = dict(scores=np.zeros((4, 5)), truth=np.zeros((4, 5), bool), fov=np.ones((4, 5), bool)) | change
    with pytest.raises(MaaError, match=message):
        collector().add("eye", **maps)


@pytest.mark.parametrize("collector", [PixelScores, lambda: LesionScores(0.5)])
def test_an_image_is_counted_once(collector):
    scores = collector()
    scores.add("eye", *image(0))
    with pytest.raises(MaaError, match="eye was already"):
        scores.add("eye", *image(0))


@pytest.mark.parametrize(
    "measure",
    [v.measure for name, v in VARIANTS.items() if name not in ("shrunk", "with_healthy")]  # which may be None
    + [
        variants,
        bootstrap_average_precision,
        lambda s: bootstrap_operating_point(s, 0.5),
        lambda s: paired_bootstrap(s, s),
        lambda s: best_f1_threshold(*s.pooled()),
        lambda s: operating_point(*s.pooled(), 0.5),
        lambda s: precision_recall_curve(*s.pooled()),
    ],
)
def test_no_lesion_pixel_and_no_image_are_refused(measure):
    with pytest.raises(MaaError, match="lesion pixel"):
        measure(collected([image(0, prevalence=0)]))
    with pytest.raises(MaaError, match="no image"):
        measure(PixelScores())


def test_other_misuse_is_refused():
    scores = collected([image(0), image(1)])
    for call, message in [
        (lambda: scores.subset(["image 7"]), "image 7"),
        (lambda: operating_point(*scores.pooled(), 1.5), "threshold is 1.5"),
        (lambda: reliability(*scores.pooled(), [0, 0.5, 0.5, 1]), "borders"),
        (lambda: bootstrap_average_precision(scores, samples=5, confidence=95), "confidence"),
        (lambda: bootstrap_average_precision([]), "no run"),
        (lambda: paired_bootstrap(scores, scores.subset(["image 1", "image 0"])), "different images"),
        (lambda: paired_bootstrap([scores, scores], [scores]), "2 runs"),
        (lambda: paired_bootstrap(scores, collected([image(0), image(2)])), "different truth"),
        (lambda: LesionScores(0), "threshold is 0"),
        (lambda: LesionScores(0.5).froc(), "no image"),
        (lambda: LesionScores(0.5).add_candidates("eye", [9], [1], [0.5], np.zeros((4, 5), bool)), "outside the image"),
        (lambda: LesionScores(0.5).add_candidates("eye", [1, 2], [1], [0.5], np.zeros((4, 5), bool)), "length"),
    ]:
        with pytest.raises(MaaError, match=message):
            call()
    with pytest.raises(ValueError, match="match"):
        LesionScores(0.5, "touch")
    with pytest.raises(ValueError, match="overlap"):
        LesionScores(0.5, "overlap").add_candidates("eye", [1], [1], [0.5], np.zeros((4, 5), bool))
    lesion_scores = LesionScores(0.5)
    lesion_scores.add("eye", *image(0, prevalence=0))
    with pytest.raises(MaaError, match="no lesion|No image has a lesion"):
        lesion_scores.froc()


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(maa.evaluation).failed == 0


def test_a_map_of_few_hits_is_counted_as_the_whole_map():
    rng = np.random.default_rng(0)
    map_ = np.where(rng.random((60, 70)) < 0.1, rng.integers(0, 65536, (60, 70)), 0).astype(np.uint16)
    truth, fov = rng.random((60, 70)) < 0.05, rng.random((60, 70)) < 0.8
    whole, few = PixelScores(), PixelScores()
    whole.add("a", map_, truth, fov)
    hits = np.nonzero(fov & (map_ > 0))
    few.add_hits("a", map_[hits], truth[hits], int((truth & fov).sum()), int((~truth & fov).sum()))
    assert all((ours == theirs).all() for ours, theirs in zip(few.pooled(), whole.pooled()))
    with pytest.raises(MaaError, match="already added"):
        few.add_hits("a", map_[hits], truth[hits], 5000, 5000)
    with pytest.raises(MaaError, match="more pixels than its field"):
        few.add_hits("b", map_[hits], truth[hits], 1, 5000)
    every = np.nonzero(fov)  # with a hit at each pixel nothing is left over
    few.add_hits("b", map_[every], truth[every], int((truth & fov).sum()), int((~truth & fov).sum()))
    assert all((ours == 2 * theirs).all() for ours, theirs in zip(few.pooled(), whole.pooled()))
    assert few.shrunk() is None, "where the pixels lie is not known"
