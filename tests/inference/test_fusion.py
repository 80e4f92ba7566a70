"""Fusion of maps: by hand, and by what must stay when its input is changed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maa.inference.fusion import fuse, mean_log_odds

WAYS = ("geometric", "arithmetic", "maximum")
few = settings(max_examples=30, deadline=None)
maps = st.integers(1, 4).flatmap(
    lambda n: st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
        lambda shape: st.lists(hnp.arrays(np.uint16, shape), min_size=n, max_size=n)
    )
)


def test_pixels_that_are_fused_by_hand():
    fine, coarse = np.array([[0, 100, 65535, 3, 40000]], np.uint16), np.array([[9, 400, 65535, 5, 10000]], np.uint16)
    assert fuse([fine, coarse]).tolist() == fuse([fine, coarse], "geometric").tolist() == [[0, 200, 65535, 4, 20000]]
    assert fuse([fine, coarse], "arithmetic").tolist() == [[5, 250, 65535, 4, 25000]]
    assert fuse([fine, coarse], "maximum").tolist() == [[9, 400, 65535, 5, 40000]]
    assert fuse([fine, coarse, coarse]).tolist() == [[0, round((100 * 400 * 400) ** (1 / 3)), 65535, 4, 15874]]
    with pytest.raises(ValueError, match="unknown fusion 'median'"):
        fuse([fine], "median")


@given(maps)
@few
def test_log_odds_are_averaged(several):
    expected = []
    for pixels in zip(*(map_.ravel().tolist() for map_ in several)):
        p = [min(max(level / 65535, 0.5 / 65535), 1 - 0.5 / 65535) for level in pixels]
        mean = sum(math.log(x / (1 - x)) for x in p) / len(p)
        expected.append(65535 / (1 + math.exp(-mean)) if any(pixels) else 0)
    fused = mean_log_odds(several)
    assert fused.dtype == np.uint16 and fused.shape == several[0].shape
    # In float32 a level near certainty is off by a few: the log-odds of 65534 / 65535 have but three digits there.
    np.testing.assert_allclose(fused.ravel(), expected, atol=3)


@given(maps)
@few
def test_one_map_and_equal_maps_stay_as_they_are(several):
    one = several[0]
    for how in WAYS:
        assert np.array_equal(fuse([one], how), one) and np.array_equal(fuse([one] * 3, how), one)
    assert np.abs(mean_log_odds([one, one]).astype(int) - one).max() <= 3


@given(maps)
@few
def test_the_order_of_the_maps_does_not_matter_and_the_result_lies_between_them(several):
    low, high = np.min(several, axis=0), np.max(several, axis=0)
    for how in WAYS:
        fused = fuse(several, how)
        assert fused.dtype == np.uint16 and np.array_equal(fused, fuse(several[::-1], how))
        assert (fused >= low).all() and (fused <= high).all()
    means = [fuse(several, how).astype(int) for how in WAYS]
    assert (means[0] <= means[1] + 1).all() and (means[1] <= means[2]).all()


@given(maps, st.integers(0, 3))
@few
def test_maps_turned_together_give_the_map_turned(several, turns):
    turned = [np.rot90(map_, turns) for map_ in several]
    for how in WAYS:
        assert np.array_equal(fuse(turned, how), np.rot90(fuse(several, how), turns))
    assert np.array_equal(mean_log_odds(turned), np.rot90(mean_log_odds(several), turns))


def test_what_no_network_saw_stays_zero():
    nothing, some = np.zeros((1, 3), np.uint16), np.array([[0, 1, 65535]], np.uint16)
    assert not fuse([nothing, some]).any() and not mean_log_odds([nothing] * 8).any()  # rounding would make it 1 from six on
    assert mean_log_odds([nothing, some])[0, 0] == 0 and (mean_log_odds([nothing, some])[0, 1:] > 0).all()
    assert mean_log_odds([nothing, some])[0, 2] == 32768  # as sure of it as against it
