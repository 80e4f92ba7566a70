"""Tests of maa.inference: seamless maps, fusion by the formula, candidates and their refinement."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from maa.data import gather_scales, halve
from maa.inference import (
    FULL_SCALE,
    SEPARATION,
    TILE,
    Hypotheses,
    dense_map,
    fuse,
    hypotheses,
    refine,
    score_hypotheses,
    score_patches,
    to_map,
    upsample,
)
from maa.inference.maps import log_odds
from maa.models import HGN, PRN

levels = st.integers(0, FULL_SCALE)


def map_arrays(count):
    return hnp.arrays(np.uint16, st.tuples(st.just(count), st.integers(1, 8), st.integers(1, 8)), elements=levels)


@pytest.fixture(scope="module")
def hgn(seasoned):
    torch.manual_seed(4)
    model = seasoned(HGN(3))
    with torch.no_grad():
        model.head.bias.zero_()  # lesions are not rare here: the maps use their whole range
    return model


# --- dense maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [23, 63, 149])
def test_tiles_join_without_seams(hgn, float32, tile):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (127, 150, 3), np.uint8)
    fov = np.ones((127, 150), bool)
    whole = dense_map(hgn, image, fov, tile=1000)
    tiled = dense_map(hgn, image, fov, tile)
    assert whole.dtype == np.uint16 and whole.shape == (127, 150) and whole.std() > 500
    assert np.abs(whole.astype(int) - tiled).max() <= 2


def test_a_map_is_zero_outside_the_field_of_view_and_the_same_inside(hgn, float32):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (90, 77, 3), np.uint8)
    fov = rng.random((90, 77)) < 0.5
    masked = dense_map(hgn, image, fov)
    assert (masked[~fov] == 0).all()
    assert np.array_equal(masked[fov], dense_map(hgn, image, np.ones_like(fov))[fov])


def test_only_the_field_of_view_is_computed_and_no_tile_is_larger_than_a_tile(hgn, monkeypatch):
    """What bounds the memory of a photograph of twelve megapixels, or of any."""
    seen = []
    dense = hgn.dense
    monkeypatch.setattr(hgn, "dense", lambda tile: seen.append(tuple(tile.shape)) or dense(tile))
    fov = np.zeros((100, 130), bool)
    fov[40:50, 70:90] = True  # the second row of tiles; the third column
    fov[99, 129] = True  # the partial tile in the corner
    dense_map(hgn, np.full((100, 130, 3), 128, np.uint8), fov, tile=32)
    assert seen == [(1, 10 + 44, 20 + 44, 3), (1, 1 + 44, 1 + 44, 3)]
    seen.clear()
    dense_map(hgn, np.full((20, TILE + 5, 3), 128, np.uint8), np.ones((20, TILE + 5), bool))
    assert seen == [(1, 20 + 44, TILE + 44, 3), (1, 20 + 44, 5 + 44, 3)]


def test_no_field_of_view_is_no_work(hgn, monkeypatch):
    monkeypatch.setattr(hgn, "dense", None)
    assert not dense_map(hgn, np.zeros((50, 60, 3), np.uint8), np.zeros((50, 60), bool)).any()


def test_to_map_rounds_and_keeps_the_ends():
    assert list(to_map(np.array([0, 1, 0.5, 1 / FULL_SCALE, 0.4 / FULL_SCALE, 0.6 / FULL_SCALE], np.float32))) == [
        0,
        FULL_SCALE,
        32768,
        1,
        0,
        1,
    ]


# --- the grid of the two scales -----------------------------------------------------------------------


def centre_of(map_):
    return np.array(ndimage.center_of_mass(map_.astype(float)))


@pytest.mark.parametrize("row, column, side", [(20, 30, 2), (21, 30, 2), (20, 31, 3), (33, 17, 5)])
def test_a_dot_that_is_halved_and_doubled_keeps_its_place(row, column, side):
    image = np.zeros((61, 67), np.uint8)
    image[row : row + side, column : column + side] = 200
    small = halve(image).astype(np.uint16) * 256
    assert small.shape == (31, 34)
    large = upsample(small, image.shape)
    assert large.shape == image.shape
    # A dot of an odd side covers one block by half, which moves its centre by half a pixel of that row at most.
    assert centre_of(large) == pytest.approx(centre_of(image), abs=0.5 / side + 0.01 if side % 2 else 0.01)


@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=levels), st.booleans(), st.booleans())
@settings(max_examples=40)
def test_double_is_bilinear_on_the_grid_of_halve(small, odd_rows, odd_columns):
    shape = (2 * small.shape[0] - odd_rows, 2 * small.shape[1] - odd_columns)
    rows, columns = ((np.arange(size) + 0.5) / 2 - 0.5 for size in shape)
    exact = ndimage.map_coordinates(
        small.astype(np.float64), np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest"
    )
    doubled = upsample(small, shape)
    assert doubled.dtype == np.uint16 and doubled.shape == shape
    assert np.abs(doubled - exact).max() <= 0.51


def test_double_leaves_a_constant_alone_up_to_the_largest_value():
    assert (upsample(np.full((4, 5), FULL_SCALE, np.uint16), (7, 10)) == FULL_SCALE).all()


# --- fusion -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how, formula",
    [
        ("geometric", lambda stack: np.exp(np.log(np.maximum(stack, 1e-300)).mean(axis=0))),
        ("arithmetic", lambda stack: stack.mean(axis=0)),
        ("maximum", lambda stack: stack.max(axis=0)),
    ],
)
@given(maps=st.integers(1, 4).flatmap(map_arrays))
@settings(max_examples=40)
def test_fuse_is_its_formula(how, formula, maps):
    fused = fuse(list(maps), how)
    expected = formula(maps.astype(np.float64))
    assert fused.dtype == np.uint16
    assert np.abs(fused - expected).max() <= 0.5 + 1e-6
    assert (fused >= maps.min(axis=0)).all() and (fused <= maps.max(axis=0)).all()


def test_the_geometric_mean_is_the_default_and_one_scale_can_veto():
    high, zero = np.full((2, 2), FULL_SCALE, np.uint16), np.zeros((2, 2), np.uint16)
    assert (fuse([high, zero]) == 0).all() and (fuse([high, high]) == FULL_SCALE).all()
    assert (fuse([high, np.full((2, 2), 16384, np.uint16)]) == 32768).all()


def test_fuse_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="median"):
        fuse([np.zeros((2, 2), np.uint16)], "median")


# --- hypotheses -------------------------------------------------------------------------------------


def blobs(shape, *spots):
    """Gaussian blobs of (row, column, sigma, height)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    total = np.zeros(shape)
    for row, column, sigma, height in spots:
        total = np.maximum(total, height * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2)))
    return to_map(total)


SPOTS = [(20, 20, 3, 0.9), (20, 60, 2, 0.4), (60, 25, 5, 0.7), (70, 80, 3, 0.3), (0, 99, 3, 0.8)]


def test_one_candidate_for_each_separated_blob_at_its_top():
    found = hypotheses(blobs((90, 100), *SPOTS), 0.1)
    assert sorted(map(tuple, found.centres)) == sorted(spot[:2] for spot in SPOTS)
    assert found.centres.dtype == np.int32


def test_every_pixel_that_passes_belongs_to_the_nearest_candidate_and_no_other_pixel_does():
    fused = blobs((90, 100), *SPOTS)
    found = hypotheses(fused, 0.2)
    passing = fused >= round(0.2 * FULL_SCALE)
    assert np.array_equal(np.stack([found.rows, found.columns], axis=1), np.argwhere(passing))
    distances = np.hypot(found.rows[:, None] - found.centres[:, 0], found.columns[:, None] - found.centres[:, 1])
    chosen = distances[np.arange(len(found.owner)), found.owner]
    assert np.array_equal(chosen, distances.min(axis=1))
    assert set(found.owner) == set(range(len(found.centres)))


def test_the_threshold_decides_what_is_proposed():
    fused = blobs((90, 100), *SPOTS)
    counts = [len(hypotheses(fused, threshold).centres) for threshold in (0.1, 0.35, 0.5, 0.85, 0.95)]
    assert counts == [5, 4, 3, 1, 0]


def test_a_threshold_is_met_by_equality_and_zero_is_never_proposed():
    fused = np.zeros((30, 30), np.uint16)
    fused[10, 10] = round(0.3 * FULL_SCALE)
    assert len(hypotheses(fused, 0.3).rows) == 1
    assert len(hypotheses(fused, 0.30002).rows) == 0
    assert len(hypotheses(fused, 0.0).rows) == 1  # not the 899 zeros


def test_nothing_proposed_is_empty_in_every_part():
    found = hypotheses(np.zeros((40, 50), np.uint16), 0.1)
    assert found.centres.shape == (0, 2) and len(found.rows) == len(found.columns) == len(found.owner) == 0


def test_close_maxima_become_one_and_distant_ones_stay_two():
    near = hypotheses(blobs((60, 60), (30, 27, 1.5, 0.9), (30, 32, 1.5, 0.8)), 0.1)
    far = hypotheses(blobs((60, 60), (30, 20, 2, 0.9), (30, 40, 2, 0.8)), 0.1)
    assert len(near.centres) == 1 and tuple(near.centres[0])[0] == 30
    assert sorted(map(tuple, far.centres)) == [(30, 20), (30, 40)]


def discs(shape, *spots):
    """Discs of (row, column, radius), saturated: flat on top."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.max([(np.hypot(rows - r, columns - c) <= radius) * FULL_SCALE for r, c, radius in spots], axis=0).astype(
        np.uint16
    )


@pytest.mark.parametrize("radius", [0, 1, 3, 8, 15])
def test_a_flat_saturated_top_is_one_candidate_inside_it(radius):
    fused = discs((60, 70), (30, 31, radius))
    found = hypotheses(fused, 0.1)
    assert len(found.centres) == 1 and found.centres.dtype == np.int32
    assert fused[tuple(found.centres[0])] == FULL_SCALE and np.hypot(*(found.centres[0] - (30, 31))) <= radius
    assert len(found.rows) == (fused > 0).sum() and not found.owner.any()


def test_a_whole_map_of_one_value_is_one_candidate():
    found = hypotheses(np.full((40, 50), FULL_SCALE, np.uint16), 0.1)
    assert len(found.centres) == 1 and len(found.rows) == 2000


@pytest.mark.parametrize("radius", [0, 3, 8])
def test_two_separate_tops_of_equal_height_are_two_candidates(radius):
    spots = [(30, 20, radius), (30, 48, radius)]
    found = hypotheses(discs((60, 70), *spots), 0.1)
    assert len(found.centres) == 2
    for row, column, _ in spots:  # one in each, which owns it
        owned = np.abs(found.columns - column) <= radius
        assert owned.any() and len(set(found.owner[owned])) == 1
        centre = found.centres[found.owner[owned][0]]
        assert np.hypot(*(centre - (row, column))) <= radius


def test_two_tops_on_common_ground_are_two_candidates():
    fused = discs((60, 70), (30, 20, 3), (30, 48, 3))
    fused[28:33, 20:49] = np.maximum(fused[28:33, 20:49], FULL_SCALE // 2)
    found = hypotheses(fused, 0.1)
    assert ndimage.label(fused)[1] == 1 and len(found.centres) == 2
    assert sorted(found.centres[:, 1] > 34) == [False, True]


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_candidates_of_a_rough_map_are_apart_and_pass(seed):
    rng = np.random.default_rng(seed)
    fused = to_map(
        np.clip(ndimage.gaussian_filter(rng.normal(0.3, 1.5, (70, 80)), 2), 0, 1).astype(np.float32) * 0.97
        + rng.random((70, 80), np.float32) * 0.02
    )
    found = hypotheses(fused, 0.3)
    rows, columns = found.centres.T
    assert (fused[rows, columns] >= round(0.3 * FULL_SCALE)).all()
    apart = np.maximum(np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns))
    apart[np.diag_indices(len(rows))] = SEPARATION + 1
    assert (apart >= SEPARATION).all()


# --- refinement -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_refine_is_its_formula(weight):
    fused = blobs((90, 100), *SPOTS)
    found = hypotheses(fused, 0.1)
    scores = np.random.default_rng(0).random(len(found.centres)).astype(np.float32)
    refined = refine(fused, found, scores, weight)
    expected = np.zeros(fused.shape)
    for row, column, owner in zip(found.rows, found.columns, found.owner):
        p, q = fused[row, column] / FULL_SCALE, float(scores[owner])
        # The odds of a mean of log-odds are the weighted geometric mean of the odds.
        odds = (p / (1 - p)) ** (1 - weight) * (q / (1 - q)) ** weight
        expected[row, column] = FULL_SCALE * odds / (1 + odds)
    assert refined.dtype == np.uint16 and np.abs(refined - expected).max() <= 0.6
    assert (refined[fused < round(0.1 * FULL_SCALE)] == 0).all()
    assert np.array_equal(fused, blobs((90, 100), *SPOTS))  # not changed in place


def test_a_candidate_that_is_refused_goes_and_its_neighbour_stays():
    fused = blobs((60, 60), (30, 15, 3, 0.9), (30, 45, 3, 0.9))
    found = hypotheses(fused, 0.1)
    scores = np.where(found.centres[:, 1] < 30, 0.0, 1.0)
    refined = refine(fused, found, scores, 0.5)
    assert 0 < refined[:, :30].max() < 0.02 * FULL_SCALE
    assert refined[30, 45] > fused[30, 45]


def test_without_weight_the_fused_map_stays_and_certainty_is_finite():
    fused = np.zeros((40, 40), np.uint16)
    fused[10, 10], fused[10, 30], fused[30, 20] = FULL_SCALE, 7000, 30000
    found = hypotheses(fused, 0.1)
    for certain in (0.0, 1.0):
        scores = np.full(3, certain, np.float32)
        assert np.abs(refine(fused, found, scores, 0.0).astype(int) - fused).max() <= 1
        alone = refine(fused, found, scores, 1.0)[found.rows, found.columns]
        assert np.abs(alone / FULL_SCALE - certain).max() < 1e-4


def test_two_sure_networks_still_differ():
    """Near one as near zero: a mean of probabilities would hardly tell these three apart."""
    fused = np.zeros((40, 80), np.uint16)
    fused[20, [10, 40, 70]] = round(0.99 * FULL_SCALE)
    found = hypotheses(fused, 0.1)
    refined = refine(fused, found, np.array([0.9, 0.99, 0.999]), 0.5)[20, [10, 40, 70]] / FULL_SCALE
    assert refined == pytest.approx([0.967, 0.99, 0.9968], abs=1e-3)


@pytest.mark.parametrize("weight", [0.25, 0.5, 1.0])
def test_a_candidate_that_is_moved_whole_keeps_its_outline(weight):
    """Its pixels all move by one step in log-odds, and one whom the network has nothing to say of does not move."""
    fused = blobs((90, 100), *SPOTS)
    found = hypotheses(fused, 0.1)
    peaks = fused[tuple(found.centres.T)] / FULL_SCALE
    scores = np.clip(peaks + np.where(np.arange(len(peaks)) % 2, 0.04, 0), 0, 0.99)
    refined = refine(fused, found, scores, weight, whole=True)
    where = found.rows, found.columns
    inside = (fused[where] < 0.98 * FULL_SCALE) & (refined[where] < 0.98 * FULL_SCALE)
    moved = log_odds(refined[where] / FULL_SCALE) - log_odds(fused[where] / FULL_SCALE)
    expected = weight * (log_odds(scores) - log_odds(peaks))
    assert moved[inside] == pytest.approx(expected[found.owner][inside], abs=1e-3)
    assert len(np.unique(expected.round(6))) > 2 and (moved[expected[found.owner] == 0] == pytest.approx(0, abs=1e-3))
    assert (np.count_nonzero(refined) == len(found.rows)) and refined.dtype == np.uint16
    # The other rule brings the rim of a candidate nearer to its centre.
    mixed = refine(fused, found, scores, weight)
    spread = [np.ptp(log_odds(map_[where][found.owner == 0] / FULL_SCALE)) for map_ in (mixed, refined)]
    assert spread[0] == pytest.approx((1 - weight) * spread[1], abs=0.05)


def test_refining_nothing_gives_nothing():
    empty = np.empty(0, np.int32)
    found = Hypotheses(np.empty((0, 2), np.int32), empty, empty, empty)
    for whole in (False, True):
        refined = refine(np.full((5, 5), 100, np.uint16), found, np.empty(0, np.float32), 0.5, whole)
        assert not refined.any()


# --- scoring ----------------------------------------------------------------------------------------


def test_patches_are_scored_in_their_order_whatever_the_batch(seasoned, drawn_stacks, float32):
    torch.manual_seed(0)
    prn = seasoned(PRN(2, 6))
    with torch.no_grad():
        prn.classifier.bias.zero_()
    rng = np.random.default_rng(0)
    index = rng.integers(5, size=23)
    where = np.stack([index, *rng.integers(0, drawn_stacks[0].shapes[index].T)], axis=1)
    probabilities, embeddings = score_patches(prn, drawn_stacks, where, batch=7)
    with torch.inference_mode():
        logits, expected = prn(torch.from_numpy(gather_scales(drawn_stacks, where, 45)))
    assert probabilities.dtype == np.float32 and probabilities.std() > 1e-4
    assert probabilities == pytest.approx(torch.sigmoid(logits).numpy(), abs=1e-5)
    assert embeddings == pytest.approx(expected.numpy(), abs=1e-5)
    chosen = where[where[:, 0] == where[0, 0]]
    assert score_hypotheses(prn, drawn_stacks, int(where[0, 0]), chosen[:, 1:]) == pytest.approx(
        probabilities[where[:, 0] == where[0, 0]], abs=1e-5
    )


def test_no_candidate_no_score(seasoned, drawn_stacks):
    prn = seasoned(PRN(2, 6))
    assert score_hypotheses(prn, drawn_stacks, 0, np.empty((0, 2), np.int32)).shape == (0,)
    assert score_patches(prn, drawn_stacks, np.empty((0, 3), np.int32))[1].shape == (0, 6)
