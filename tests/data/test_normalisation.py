"""Tests of maa.data.normalisation: what stays of a photograph, and what must not."""

import numpy as np
import pytest

from maa.data import BACKGROUND_SIGMA, CONTRAST_LEVELS, normalise


def disc(shape, row, column, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column) <= radius


@pytest.fixture(scope="module")
def retina():
    """Texture of a known spread (12, 8 and 6 grey levels): image, field of view."""
    rng = np.random.default_rng(0)
    shape = (301, 403)
    image = np.array([150.0, 90.0, 50.0]) + rng.normal(0, [12, 8, 6], (*shape, 3))
    fov = disc(shape, 150, 200, 145)
    return np.where(fov[..., None], image, 2).clip(0, 255).astype(np.uint8), fov


def test_outside_the_field_of_view_all_is_exactly_128(retina):
    normalised = normalise(*retina)
    assert normalised.dtype == np.uint8 and normalised.shape == retina[0].shape
    assert (normalised[~retina[1]] == 128).all()
    assert (normalised[retina[1]] != 128).mean() > 0.5


def test_what_lies_outside_the_field_of_view_has_no_say(retina):
    image, fov = retina
    dusty = image.copy()
    dusty[~fov] = np.random.default_rng(1).integers(0, 256, ((~fov).sum(), 3))
    assert np.array_equal(normalise(image, fov), normalise(dusty, fov))


def test_every_channel_has_the_same_centre_and_spread(retina):
    values = normalise(*retina)[retina[1]].astype(float)
    assert np.abs(values.mean(0) - 128).max() < 1
    assert values.std(0) / CONTRAST_LEVELS == pytest.approx(1, abs=0.08)


def test_sloping_light_is_gone():
    """Away from the border by twice the width of the background, where a slope is its own mean."""
    rng = np.random.default_rng(2)
    light = np.linspace(60, 150, 640)[:, None]
    image = (light + rng.normal(0, 5, (200, 640, 3))).clip(0, 255).astype(np.uint8)
    green = normalise(image, np.ones((200, 640), bool))[..., 1].astype(float)
    left, right = slice(160, 220), slice(420, 480)
    assert image[:, left, 1].mean() < image[:, right, 1].mean() - 30  # six units of spread
    assert abs(green[:, left].mean() - green[:, right].mean()) < 0.1 * CONTRAST_LEVELS


@pytest.mark.parametrize("gain, offset", [(0.5, 10), (1.3, 0), (0.8, 40)])
def test_brightness_and_contrast_of_the_camera_do_not_matter(retina, gain, offset):
    image, fov = retina
    other = (image * gain + offset).round().astype(np.uint8)
    difference = normalise(image, fov)[fov].astype(int) - normalise(other, fov)[fov]
    # At half the contrast a whole grey level is a third of the blue channel's spread: rounding alone moves 0.1 of it.
    assert np.abs(difference).mean() < 0.15 * CONTRAST_LEVELS and abs(difference.mean()) < 0.8


def test_a_dark_dot_stays_where_it_is_and_stays_dark(retina):
    image, fov = retina
    image = image.copy()
    dot = disc(fov.shape, 97, 231, 5)
    image[dot, 1] -= 32  # four standard deviations
    depth = 128 - normalise(image, fov)[..., 1].astype(float)
    assert depth[dot].mean() == pytest.approx(4 * CONTRAST_LEVELS, rel=0.2)
    heavy = np.where(depth > 2.5 * CONTRAST_LEVELS, depth, 0) * disc(fov.shape, 97, 231, 15)
    assert np.average(np.nonzero(heavy)[0], weights=heavy[heavy > 0]) == pytest.approx(97, abs=0.3)
    assert np.average(np.nonzero(heavy)[1], weights=heavy[heavy > 0]) == pytest.approx(231, abs=0.3)


def test_the_background_is_the_masked_gaussian_mean_of_the_definition():
    """Against scipy at full size; the reduced copy may differ by the little that smoothing hides."""
    from scipy import ndimage

    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:203, :250]
    plane = 120 + 30 * np.sin(rows / 60) + 20 * np.cos(columns / 80) + rng.normal(0, 5, rows.shape)
    image = np.repeat(plane[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)
    fov = disc(plane.shape, 100, 120, 99)

    def blur(array):
        return ndimage.gaussian_filter(array, BACKGROUND_SIGMA, mode="constant", truncate=3)

    difference = image[..., 0] - blur(image[..., 0] * fov.astype(float)) / np.maximum(blur(fov.astype(float)), 1e-9)
    low, high = np.percentile(difference[fov], [16, 84])
    expected = (128 + CONTRAST_LEVELS * difference / ((high - low) / 2)).clip(0, 255)
    off = normalise(image, fov)[..., 0][fov].astype(float) - expected[fov]
    assert np.abs(off).max() < 3 and abs(off.mean()) < 0.5


def test_a_flat_photograph_is_all_background_and_its_rounding_noise_is_not_amplified():
    image = np.full((80, 90, 3), 100, np.uint8)
    image[::2] += 1
    normalised = normalise(image, np.ones((80, 90), bool)).astype(int)
    assert np.abs(normalised - 128).max() <= CONTRAST_LEVELS


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (8, 8), (65, 17)])
def test_any_size_is_normalised(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert normalise(image, np.ones(shape, bool)).shape == image.shape


def test_extremes_are_clipped_not_wrapped(retina):
    image, fov = retina
    image = image.copy()
    image[150, 200] = 255
    image[150, 210] = 0
    normalised = normalise(image, fov)
    assert (normalised[150, 200] == 255).all() and (normalised[150, 210, :2] == 0).all()
