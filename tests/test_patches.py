"""Tests of maa.patches: the store of photographs, gathers, and which pixels a pool holds."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from maa import patches
from maa.errors import MaaError
from maa.fundus import Fundus, halve
from maa.normalise import normalise
from maa.patches import FOV, GUARD, MA, MARGIN, OTHER, RIM
from maa.patches import build_stacks, dilate, gather_scales, healthy_pixels, healthy_source, ma_pixels, rim_pixels
from maa.patches import stack_photograph


class Plain:
    """A record around a photograph; counts how often it is read, or fails."""

    def __init__(self, fundus, error=None):
        self.fundus, self.error, self.loads = fundus, error, 0

    def load(self):
        self.loads += 1
        if self.error:
            raise self.error
        return self.fundus


# --- the store ------------------------------------------------------------------------------------


def test_a_stack_holds_every_photograph_normalised_and_padded(drawn_records, drawn_stacks):
    for index, record in enumerate(drawn_records):
        image = normalise(record.fundus.image, record.fundus.fov)
        for stack, expected in zip(drawn_stacks, (image, halve(image))):
            padded = stack.image(index)
            assert np.array_equal(padded[MARGIN:-MARGIN, MARGIN:-MARGIN], expected)
            padded = padded.copy()
            padded[MARGIN:-MARGIN, MARGIN:-MARGIN] = 128
            assert (padded == 128).all()
    fine, coarse = drawn_stacks
    assert len(fine) == len(coarse) == 5 and (fine.scale, coarse.scale) == (1.0, 0.5)
    assert fine.names == tuple(f"drawn_{i}" for i in range(5)) and list(fine.diseased) == [True] * 3 + [False] * 2


def test_labels_say_field_of_view_microaneurysm_and_other_at_both_scales(drawn_records, drawn_stacks):
    for index, record in enumerate(drawn_records):
        fundus = record.fundus
        masks = {FOV: fundus.fov, MA: fundus.ma, OTHER: fundus.lesions.get("HE", np.zeros_like(fundus.fov))}
        for stack, scaled in zip(drawn_stacks, (lambda mask: mask, halve)):
            for bit, mask in masks.items():
                assert np.array_equal((stack.label(index) & bit) > 0, scaled(mask))


@pytest.mark.parametrize("kind", ["HE", "EX", "SE"])
def test_every_other_lesion_counts_as_other_and_the_optic_disc_does_not(kind, tmp_path):
    rng = np.random.default_rng(0)
    lesion, disc = rng.random((40, 50)) < 0.1, rng.random((40, 50)) < 0.1
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    fundus = Fundus("a", image, np.ones((40, 50), bool), {kind: lesion, "OD": disc}, True, "train")
    label = build_stacks([Plain(fundus)], tmp_path / "s")[0].label(0)
    assert np.array_equal((label & OTHER) > 0, lesion) and not (label & MA).any()


@pytest.mark.parametrize("size", [1, 2, 44, 45, 2 * MARGIN])
def test_gather_equals_slicing_on_photographs_of_different_sizes_borders_included(drawn_stacks, size):
    rng = np.random.default_rng(size)
    for stack in drawn_stacks:
        index = rng.integers(len(stack), size=60)
        where = np.stack([index, *(rng.integers(0, stack.shapes[index].T))], axis=1)
        corners = [(i, r, c) for i, (h, w) in enumerate(stack.shapes) for r in (0, h - 1) for c in (0, w - 1)]
        where = np.concatenate([where, corners]).astype(np.int32)
        gathered = stack.gather(where, size)
        assert gathered.shape == (len(where), size, size, 3) and gathered.dtype == np.uint8
        for patch, (i, row, column) in zip(gathered, where):
            top, left = row + MARGIN - size // 2, column + MARGIN - size // 2
            assert np.array_equal(patch, stack.image(i)[top : top + size, left : left + size])


def test_the_centre_of_a_patch_is_its_pixel(drawn_records, drawn_stacks):
    where = ma_pixels(drawn_stacks[0])
    centre = drawn_stacks[0].gather(where, 45)[:, 22, 22]
    for value, (i, row, column) in zip(centre, where):
        assert (value == normalised(drawn_records, i)[row, column]).all()


def normalised(records, index, cache={}):
    if index not in cache:
        cache[index] = normalise(records[index].fundus.image, records[index].fundus.fov)
    return cache[index]


def test_gathering_nothing_gives_nothing(drawn_stacks):
    assert drawn_stacks[0].gather(np.empty((0, 3), np.int32), 45).shape == (0, 45, 45, 3)


def test_gather_scales_looks_at_the_same_place_twice(drawn_stacks):
    where = np.array([[0, 0, 0], [2, 148, 180], [4, 77, 38], [1, 31, 30]])
    both = gather_scales(drawn_stacks, where, 45)
    assert both.shape == (4, 2, 45, 45, 3)
    for pair, (i, row, column) in zip(both, where):
        assert np.array_equal(pair[0], drawn_stacks[0].gather(np.array([[i, row, column]]), 45)[0])
        assert np.array_equal(pair[1], drawn_stacks[1].gather(np.array([[i, row // 2, column // 2]]), 45)[0])


def test_one_photograph_in_memory_is_the_photograph_of_the_store(drawn_records, drawn_stacks):
    fundus = drawn_records[2].fundus
    for single, stack in zip(stack_photograph(fundus.image, fundus.fov, "one"), drawn_stacks):
        assert np.array_equal(single.image(0), stack.image(2))
        assert np.array_equal(single.label(0), stack.label(2) & FOV)
        assert single.names == ("one",) and single.scale == stack.scale


# --- preparing it once, whole or not at all -----------------------------------------------------------


def test_a_second_call_reads_no_photograph(drawn_records, tmp_path):
    records = [Plain(record.fundus) for record in drawn_records[:2]]
    first = build_stacks(records, tmp_path / "stack")
    again = build_stacks([Plain(None, RuntimeError("read again"))] * 2, tmp_path / "stack")
    assert [record.loads for record in records] == [1, 1]
    for a, b in zip(first, again):
        assert np.array_equal(a.pixels, b.pixels) and np.array_equal(a.labels, b.labels) and a.names == b.names
        assert isinstance(b.pixels, np.memmap)


@pytest.mark.parametrize("error", [MaaError("truncated"), KeyboardInterrupt()])
def test_an_interrupted_preparation_leaves_nothing_and_the_next_one_works(drawn_records, tmp_path, error):
    good = Plain(drawn_records[0].fundus)
    with pytest.raises(type(error)):
        build_stacks([good, Plain(None, error)], tmp_path / "stack")
    assert os.listdir(tmp_path) == []
    assert len(build_stacks([good], tmp_path / "stack")[0]) == 1
    assert os.listdir(tmp_path) == ["stack"]


def test_no_photographs_is_an_error_in_one_sentence(tmp_path):
    with pytest.raises(MaaError, match="no photographs"):
        build_stacks([], tmp_path / "stack")
    assert os.listdir(tmp_path) == []


# --- the pools ------------------------------------------------------------------------------------


def annotated(records, kind):
    return {i: r.fundus.lesions[kind] & r.fundus.fov for i, r in enumerate(records) if kind in r.fundus.lesions}


def test_ma_pool_is_every_annotated_pixel_inside_the_field_of_view_once(drawn_records, drawn_stacks):
    masks = annotated(drawn_records, "MA")
    expected = np.concatenate([np.insert(np.argwhere(mask), 0, i, axis=1) for i, mask in masks.items()])
    found = ma_pixels(drawn_stacks[0])
    assert found.dtype == np.int32 and np.array_equal(found, expected)
    outside = sum((r.fundus.ma & ~r.fundus.fov).sum() for r in drawn_records)
    assert outside > 0 and len(found) == sum(r.fundus.ma.sum() for r in drawn_records) - outside


def test_ma_pool_at_half_scale_is_that_of_the_halved_masks(drawn_records, drawn_stacks):
    expected = [
        np.insert(np.argwhere(halve(r.fundus.ma) & halve(r.fundus.fov)), 0, i, axis=1)
        for i, r in enumerate(drawn_records)
        if r.fundus.diseased
    ]
    assert np.array_equal(ma_pixels(drawn_stacks[1]), np.concatenate(expected))


def test_rim_lies_around_microaneurysms_and_on_no_lesion(drawn_records, drawn_stacks):
    found = rim_pixels(drawn_stacks[0])
    expected = []
    for i, record in enumerate(drawn_records[:3]):
        fundus = record.fundus
        distance = ndimage.distance_transform_edt(~fundus.ma)
        ring = (distance > RIM[0]) & (distance <= RIM[1]) & fundus.fov & ~fundus.ma & ~fundus.lesions["HE"]
        expected.append(np.insert(np.argwhere(ring), 0, i, axis=1))
    assert len(found) > 1000 and np.array_equal(found, np.concatenate(expected))


def test_healthy_pool_comes_from_healthy_patients_only_evenly_and_seeded(drawn_records, drawn_stacks):
    stack = drawn_stacks[0]
    pool = healthy_pixels(stack, 40_001, np.random.default_rng(1))
    assert healthy_source(stack) == "healthy patients"
    assert pool.shape == (40_001, 3) and pool.dtype == np.int32
    assert np.array_equal(pool, healthy_pixels(stack, 40_001, np.random.default_rng(1)))
    assert not np.array_equal(pool, healthy_pixels(stack, 40_001, np.random.default_rng(2)))
    counts = np.bincount(pool[:, 0], minlength=5)
    assert list(counts[:3]) == [0, 0, 0] and abs(counts[3] - counts[4]) <= 1
    for index in (3, 4):
        drawn = pool[pool[:, 0] == index]
        fov = drawn_records[index].fundus.fov
        assert fov[drawn[:, 1], drawn[:, 2]].all()
        # Even over the field: the mean of 20,000 draws lies within a pixel of the centroid, the spread too.
        inside = np.argwhere(fov)
        assert np.abs(drawn[:, 1:].mean(0) - inside.mean(0)).max() < 1
        assert np.abs(drawn[:, 1:].std(0) - inside.std(0)).max() < 1


def lesion_in_a_corner(size=400):
    """A diseased photograph with one microaneurysm and one exudate, seen everywhere."""
    ma, exudate = np.zeros((size, size), bool), np.zeros((size, size), bool)
    ma[60:66, 50:58] = True
    exudate[size * 5 // 6, 20] = True
    image = np.random.default_rng(0).integers(60, 120, (size, size, 3), np.uint8)
    return Plain(Fundus("corner", image, np.ones((size, size), bool), {"MA": ma, "EX": exudate}, True, "train"))


@pytest.mark.parametrize("level", [0, 1], ids=["1x", "0.5x"])
def test_without_healthy_patients_the_pool_keeps_away_from_all_that_is_annotated(tmp_path, level):
    stack = build_stacks([lesion_in_a_corner()], tmp_path / "s")[level]
    assert healthy_source(stack) == "far from lesions"
    pool = healthy_pixels(stack, 30_000, np.random.default_rng(0))
    assert len(pool) == 30_000
    distance = ndimage.distance_transform_edt(stack.label(0) == FOV)
    reached = distance[pool[:, 1], pool[:, 2]]
    # The guard is kept to the diagonal of a block of the reduced copy.
    guard = GUARD * stack.scale
    assert guard - 12 < reached.min() < guard + 12
    assert (np.isin(np.argwhere(distance > guard + 24) @ (1, 10_000), pool[:, 1:] @ (1, 10_000))).mean() > 0.1


def test_where_no_ground_is_healthy_the_error_says_so(tmp_path):
    everywhere = lesion_in_a_corner(120)
    stack = build_stacks([everywhere], tmp_path / "s")[0]
    stack_label = np.asarray(stack.label(0))
    assert ((stack_label & MA) > 0).any()
    with pytest.raises(MaaError, match="healthy"):
        healthy_pixels(stack, 100, np.random.default_rng(0))


def test_a_healthy_patient_with_a_lesion_mask_of_another_kind_gives_no_lesion_pixel(tmp_path):
    fundus = lesion_in_a_corner(200).fundus
    marked = Fundus("h", fundus.image, fundus.fov, {"HE": fundus.ma}, False, "train")
    pool = healthy_pixels(build_stacks([Plain(marked)], tmp_path / "s")[0], 60_000, np.random.default_rng(0))
    assert not fundus.ma[pool[:, 1], pool[:, 2]].any()


# --- dilate -----------------------------------------------------------------------------------------


masks = hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.booleans())


@given(masks, st.integers(0, 9))
def test_dilate_is_all_within_the_radius(mask, radius):
    expected = ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask
    before = mask.copy()
    assert np.array_equal(dilate(mask, radius), expected)
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("radius", [1, 2, 12])
def test_dilate_equals_binary_dilation_by_a_disc(radius):
    mask = ndimage.gaussian_filter(np.random.default_rng(radius).normal(size=(90, 110)), 4) > 0.1
    reach = np.arange(-radius, radius + 1)
    disc = np.hypot(*np.meshgrid(reach, reach)) <= radius
    assert np.array_equal(dilate(mask, radius), ndimage.binary_dilation(mask, disc))


def test_the_pools_hold_for_labels_that_are_read_only(drawn_stacks):
    assert not drawn_stacks[0].labels.flags.writeable
    assert len(patches.rim_pixels(drawn_stacks[1])) > 0
