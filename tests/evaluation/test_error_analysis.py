import json

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats

from maa import phantom
from maa.data import EX, FOV, HE, MA, OD, SE, dilate, normalise
from maa.errors import MaaError
from maa.evaluation import (
    CATEGORIES,
    DOT_CONTRAST,
    LesionScores,
    by_group,
    components,
    false_positive_breakdown,
    lesion_table,
    pooled_breakdown,
    roundness,
    vessels,
    wilson,
)
from maa.phantom import anatomy as anatomy_module
from maa.phantom.dataset import _stream


def ground(shape=(160, 200)):
    return np.full((*shape, 3), 128, np.uint8)


def disc(shape, row, column, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column) <= radius


# Lesions


def test_a_lesion_table_of_lesions_measured_by_hand():
    image, truth, scores = ground(), np.zeros((160, 200), bool), np.zeros((160, 200))
    truth[20:30, 40:50] = True  # 10 x 10, two units darker, upper half found
    image[20:30, 40:50, 1] = 128 - 48
    scores[20:25, 40:50] = 0.6
    truth[100:104, 0:5] = True  # at the border, one unit brighter, missed
    image[100:104, 0:5, 1] = 128 + 24
    scores[100, 0] = 0.4
    fov = np.ones_like(truth)
    fov[100, :] = False
    table = lesion_table(image, truth, fov, scores, 0.5)
    assert table.row.tolist() == [24.5, 102] and table.column.tolist() == [44.5, 2]
    assert table.area.tolist() == [100, 15]
    np.testing.assert_allclose(table.diameter, np.sqrt(4 * np.array([100, 15]) / np.pi))
    np.testing.assert_allclose(table.contrast, [-2, 1])
    np.testing.assert_allclose(table.score, [0.6, 0], atol=1e-5)
    assert table.found.tolist() == [True, False] and table.found_share.tolist() == [0.5, 0]


def test_contrast_is_taken_against_ground_between_4_and_12_pixels_that_is_no_lesion():
    shape = (80, 80)
    image, truth = ground(shape), disc(shape, 40, 40, 5)
    away = ndimage.distance_transform_edt(~truth)
    image[..., 1] = np.select([truth, away < 4, away <= 12], [80, 0, 128 - 24], 255)
    other = np.zeros(shape, bool)
    other[:40] = True
    image[:40][~truth[:40], 1] = 7
    scores = np.zeros(shape)
    with_other = lesion_table(image, truth, None, scores, 0.5, other).contrast[0]
    assert with_other == pytest.approx((image[truth, 1].mean() - 104) / 24)
    assert lesion_table(image, truth, ~other | truth, scores, 0.5).contrast[0] == pytest.approx(with_other)
    assert lesion_table(image, truth, None, scores, 0.5).contrast[0] > with_other
    assert np.isnan(lesion_table(image, truth, truth, scores, 0.5).contrast[0])


def test_the_table_lists_the_lesions_of_lesion_scores():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (60, 70, 3), np.uint8)
    truth, fov, scores = rng.random((60, 70)) < 0.1, rng.random((60, 70)) < 0.9, rng.random((60, 70))
    lesion_scores = LesionScores(0.8, "overlap")
    lesion_scores.add("a", scores, truth, fov)
    table, lesions = lesion_table(image, truth, fov, scores, 0.8), lesion_scores.lesions()
    for name in ("row", "column", "area"):
        np.testing.assert_allclose(table[name], lesions[name])
    np.testing.assert_array_equal(table.found, lesions["score"] > 0)
    assert (table.found_share * table.area).sum() == pytest.approx((truth & fov & (scores >= 0.8)).sum())


def test_a_photograph_without_lesions_has_an_empty_table():
    nothing = np.zeros((160, 200), bool)
    table = lesion_table(ground(), nothing, None, np.zeros((160, 200)), 0.5)
    assert len(table) == 0 and by_group(table, "area", [0, 10, 1000]) == []


def test_groups_counted_by_hand():
    table = pd.DataFrame(
        {
            "area": [10, 20, 20, 40, 99],
            "found": [True, False, True, True, True],
            "found_share": [0.5, 0, 1, 0.25, 1],
            "contrast": [-1, -2, np.nan, -3, 9],
        }
    )
    small, large, largest = by_group(table, "area", [0, 20, 30, 40])[:3]
    assert (small["lesions"], small["found"], small["pixels"], small["found_pixels"]) == (1, 1, 10, 5)
    assert (large["lesions"], large["found"], large["pixels"], large["found_pixels"]) == (2, 1, 40, 20)
    assert largest["lesions"] == 1 and largest["high"] == 40 and largest["recall"]["value"] == 0.25
    assert large["sensitivity"]["value"] == large["recall"]["value"] == 0.5
    # Two lesions of one size weigh as two cases.
    assert large["recall"] == large["sensitivity"]
    dark, bright = by_group(table, "contrast", [-np.inf, -1.5, 5])  # neither the NaN nor what lies beyond 5
    assert dark["low"] is None and (dark["lesions"], bright["lesions"]) == (2, 1)
    json.dumps([dark, bright], allow_nan=False)
    assert len(by_group(table, "area", [0, 5, np.inf])) == 1  # the empty group is left out
    # A large lesion outweighs the small ones, so the pixels tell less than three lesions would.
    uneven = by_group(table[table.area != 20], "area", [0, np.inf], confidence=0.9)[0]
    assert uneven["recall"]["value"] == pytest.approx((5 + 10 + 99) / 149) and uneven["recall"]["confidence"] == 0.9
    assert uneven["recall"]["high"] - uneven["recall"]["low"] > 0.6


@pytest.mark.parametrize("hits, number", [(0, 5), (3, 10), (10, 10), (81, 263)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_wilson_equals_scipy(hits, number, confidence):
    expected = stats.binomtest(hits, number).proportion_ci(confidence, method="wilson")
    interval = wilson(hits / number, number, confidence)
    np.testing.assert_allclose([interval.low, interval.high], [expected.low, expected.high], atol=1e-12)
    assert interval.value == hits / number and interval.confidence == confidence


# Shapes


def test_roundness_of_known_shapes():
    mask = np.zeros((300, 300), bool)
    rows, columns = np.ogrid[:300, :300]
    mask |= disc(mask.shape, 50, 50, 20)
    mask |= ((rows - 150) / 20) ** 2 + ((columns - 100) / 40) ** 2 <= 1
    mask |= disc(mask.shape, 240, 50, 25) & ~disc(mask.shape, 240, 50, 20)
    mask[250:252, 120:280] = True
    round_, ellipse, ring, line = roundness(*components(mask), 300)
    assert round_ == pytest.approx(1, abs=0.02) and ellipse == pytest.approx(0.5, abs=0.02)
    assert ring == pytest.approx((25**2 - 20**2) / (25**2 + 20**2), abs=0.03) and line < 0.02
    # One pixel is a square: 1 / (4 pi / 12).
    assert roundness(np.array([7]), np.array([0]), 300) == pytest.approx(3 / np.pi)


# Vessels


def tube(shape, width, depth, slope=0.3, stop=None):
    """A straight dark line of a width (pixels) and depth (units of spread)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside = np.abs(rows - shape[0] / 2 - slope * (columns - shape[1] / 2)) / np.hypot(1, slope) <= width / 2
    return inside & (columns < (stop or shape[1])), np.uint8(24 * depth)


@pytest.mark.parametrize("width, depth", [(10, 1.5), (20, 2), (30, 3)])
def test_a_long_line_is_a_vessel_and_dots_short_and_bright_lines_are_none(width, depth):
    shape = (601, 803)  # not a multiple of the reduction
    fov = np.ones(shape, bool)
    image = ground(shape)
    line, dark = tube(shape, width, depth)
    image[line] -= dark
    dots = disc(shape, 100, 150, 9) | disc(shape, 100, 400, 15) | disc(shape, 500, 100, 40)
    image[dots] -= 60
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    found = vessels(image, fov)
    assert found.shape == shape and found.dtype == bool
    middle = np.zeros(shape, bool)
    middle[40:-40, 40:-40] = True
    assert found[line & middle].mean() > 0.8
    assert not found[~dilate(line, 16)].any()
    assert not vessels(255 - image, fov)[~dilate(line, 30)].any()
    assert not vessels(image, ~dilate(line, 16))[dilate(line, 16)].any()


def test_a_short_line_is_no_vessel():
    image = ground((600, 800))
    line, dark = tube((600, 800), 12, 2, slope=0, stop=150)
    image[line] -= dark
    assert not vessels(image, np.ones((600, 800), bool)).any()


def test_the_vessels_of_a_phantom():
    config = phantom.PhantomConfig()
    recall, precision, dots = [], [], []
    for seed in (0, 3):
        fundus = phantom.make_phantom(seed, config=config)
        anatomy, vascular = (np.random.Generator(np.random.PCG64(child)) for child in _stream(seed).spawn(2))
        eye = anatomy_module.place_eye(anatomy, config)
        drawn = anatomy_module.draw_vessels(anatomy_module.grow_vessels(vascular, eye), eye)[0].max(0)
        found = vessels(normalise(fundus.image, fundus.fov), fundus.fov)
        recall.append(found[(drawn > 0.4) & fundus.fov].mean())
        precision.append(dilate(drawn > 0, 4)[found].mean())
        dots.append(found[fundus.ma & (drawn == 0)].mean())
    assert min(recall) > 0.7 and min(precision) > 0.7 and np.mean(dots) < 0.1


# False alarms


def crowd():
    """A photograph with something of every category, and the map that calls all of it."""
    shape = (600, 800)
    image, label = ground(shape), np.full(shape, FOV, np.uint8)
    scores = np.zeros(shape)
    label[:, 700:] = 0
    for bit, row in ((HE, 40), (EX, 100), (SE, 160), (OD, 220)):
        label[row : row + 20, 40:60] |= bit
        scores[row : row + 10, 40:50] = 0.7  # 100 pixels of each
    lesion = disc(shape, 450, 100, 8)
    label[lesion] |= MA
    scores[dilate(lesion, 5)] = 0.8  # three pixels of rim, two beyond it
    line, dark = tube(shape, 16, 2, slope=0)
    image[line] -= dark
    scores[298:304, 300:310] = 0.6  # on the vessel
    for row, column, depth, radius in ((100, 300, 60, 7), (100, 400, 60, 2), (100, 500, 10, 7), (180, 500, 60, 24)):
        image[disc(shape, row, column, radius)] -= np.uint8(depth)
        scores[disc(shape, row, column, radius)] = 0.9  # a dark dot; one too small, one too pale, one too large
    image[200:203, 300:360] -= np.uint8(60)
    scores[200:203, 300:360] = 0.9  # not round
    scores[400:420, 720:740] = 1  # outside the field of view
    return image, label, scores, lesion


def test_a_breakdown_counted_by_hand():
    image, label, scores, lesion = crowd()
    result = false_positive_breakdown(scores, 0.5, label, image)
    json.dumps(result, allow_nan=False)
    counts = {name: (c["pixels"], c["components"]) for name, c in result["categories"].items()}
    assert tuple(counts) == CATEGORIES
    for name in ("haemorrhage", "hard exudate", "soft exudate", "disc"):
        assert counts[name] == (100, 1), name
    assert counts["rim"] == ((dilate(lesion, 3) & ~lesion).sum(), 0)  # that component touches a lesion: it is no false one
    assert counts["vessel"] == (60, 1)
    dot = disc(lesion.shape, 100, 300, 7)
    assert counts["dark dot"] == (dot.sum(), 1)
    beyond = (dilate(lesion, 5) & ~dilate(lesion, 3)).sum()
    rest = sum(disc(lesion.shape, 100, 300, radius).sum() for radius in (2, 7, 24)) + 180
    assert counts["other"] == (beyond + rest, 4)
    false = (scores >= 0.5) & ((label & (FOV | MA)) == FOV)
    assert result["pixels"] == false.sum() and result["components"] == 10 and result["threshold"] == 0.5
    assert sum(c["share"] for c in result["categories"].values()) == pytest.approx(1)
    (found,) = result["dark_dots"]
    assert (found["row"], found["column"], found["area"]) == (100, 300, dot.sum())
    assert found["contrast"] == pytest.approx(-2.5) and found["contrast"] < DOT_CONTRAST
    assert found["probability"] == pytest.approx(0.9, abs=1e-5) and found["roundness"] == pytest.approx(1, abs=0.05)


def test_a_pixel_goes_to_the_first_category_and_a_component_to_that_of_most_pixels():
    shape = (100, 100)
    label, scores = np.full(shape, FOV, np.uint8), np.zeros(shape)
    label[20:30, 20:30] |= HE | EX | OD
    scores[20:30, 20:35] = 0.9  # 100 pixels annotated, 50 not
    label[60:70, 20:30] |= EX
    scores[60:70, 26:40] = 0.9  # 40 annotated, 100 not
    categories = false_positive_breakdown(scores, 0.5, label, ground(shape))["categories"]
    counts = {name: (c["pixels"], c["components"]) for name, c in categories.items() if c["pixels"]}
    assert counts == {"haemorrhage": (100, 1), "hard exudate": (40, 0), "other": (150, 1)}


def test_a_map_without_false_alarms():
    label = np.full((160, 200), FOV, np.uint8)
    label[50:60, 50:60] |= MA
    for scores in (np.zeros(label.shape), (label & MA) / MA * 0.9):
        result = false_positive_breakdown(scores, 0.5, label, ground())
        assert result["pixels"] == result["components"] == 0 and result["dark_dots"] == []
        assert {c["share"] for c in result["categories"].values()} == {0}


def test_breakdowns_are_pooled():
    image, label, scores, _ = crowd()
    first = false_positive_breakdown(scores, 0.5, label, image)
    second = false_positive_breakdown(scores * 0.8, 0.5, label, image)  # the vessel and the rest of the weak are gone
    pooled = pooled_breakdown({"a": first, "b": second})
    json.dumps(pooled, allow_nan=False)
    for name in CATEGORIES:
        a, b, both = (part["categories"][name] for part in (first, second, pooled))
        assert both["pixels"] == a["pixels"] + b["pixels"] and both["components"] == a["components"] + b["components"]
        assert both["share"] == pytest.approx(both["pixels"] / (first["pixels"] + second["pixels"]))
    assert pooled["pixels"] == first["pixels"] + second["pixels"]
    assert [dot["image"] for dot in pooled["dark_dots"]] == ["a", "b"]
    assert pooled["dark_dots"][0]["probability"] > pooled["dark_dots"][1]["probability"]


# Bad input


def test_misuse_is_refused():
    image, flat = ground(), np.zeros((160, 200))
    truth, label = np.zeros((160, 200), bool), np.full((160, 200), FOV, np.uint8)
    table = lesion_table(image, truth, None, flat, 0.5)
    part = false_positive_breakdown(flat, 0.5, label, image)
    for call, message in [
        (lambda: lesion_table(image[:-1], truth, None, flat, 0.5), "160 x 200"),
        (lambda: lesion_table(image.astype(float), truth, None, flat, 0.5), "float64"),
        (lambda: lesion_table(image, label, None, flat, 0.5), "boolean"),
        (lambda: lesion_table(image, truth, None, flat, 1.5), "threshold is 1.5"),
        (lambda: lesion_table(image, truth, None, flat + 2, 0.5), "leave"),
        (lambda: lesion_table(image, truth, None, flat, 0.5, truth[1:]), "shape"),
        (lambda: by_group(table, "colour", [0, 1]), "colour"),
        (lambda: by_group(table, "area", [0, 0]), "increase"),
        (lambda: by_group(table, "area", [0]), "increase"),
        (lambda: wilson(0.5, 0), "0 cases"),
        (lambda: wilson(1.5, 3), "1.5"),
        (lambda: false_positive_breakdown(flat, 0.5, truth, image), "uint8 bits"),
        (lambda: false_positive_breakdown(flat, 0.5, label[1:], image), "shape"),
        (lambda: false_positive_breakdown(flat, -1, label, image), "threshold is -1"),
        (lambda: vessels(image, truth[1:]), "159 x 200"),
        (lambda: pooled_breakdown({}), "0 thresholds"),
        (lambda: pooled_breakdown({"a": part, "b": part | {"threshold": 0.1}}), "2 thresholds"),
    ]:
        with pytest.raises(MaaError, match=message):
            call()
