"""Tests of maa.data.quality: a warning for every photograph that was spoiled, and none for a good one."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from maa.data import field_of_view, quality, read_image
from maa.phantom import PhantomConfig, make_phantom
from maa.segmentation import resize_factor


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(7)


def warned(image, fov, factor=1.0):
    return [sentence.split(":")[0] for sentence in quality.warnings(quality.measure(image, fov, factor), factor)]


def blurred(image, sigma):
    return ndimage.gaussian_filter(image, (sigma, sigma, 0))


def compressed(image, level):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=level)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [128, 600, 1024])
def test_no_warning_of_a_phantom(seed, size):
    eye = make_phantom(seed, diseased=seed % 2 == 0, config=PhantomConfig(size=size))
    assert warned(eye.image, eye.fov) == []


def test_every_way_to_spoil_a_photograph_is_told_by_its_name(phantom):
    image, fov = phantom.image, phantom.fov
    assert warned(image, fov) == []
    assert warned(blurred(image, 6), fov) == ["Out of focus"]
    assert warned((image * 0.12).astype(np.uint8), fov) == ["Too dark"]
    assert warned(np.clip(image * 4.0, 0, 255).astype(np.uint8), fov) == ["Over-exposed"]
    assert warned(np.clip(image * 1.4, 0, 255).astype(np.uint8), fov) == [], "red alone may be saturated"
    assert warned(compressed(image, 8), fov) == ["Strongly compressed"]
    assert warned(image, fov, quality.COARSE + 0.1) == ["Too few pixels"]


def test_a_picture_without_a_retina_gets_that_warning_alone(phantom):
    rows, columns = np.ogrid[:400, :400]
    disc = np.hypot(rows - 200, columns - 200)[..., None] < 190
    blue = np.where(disc, (60, 90, 160), 0).astype(np.uint8)
    patchwork = np.where(disc & ((rows // 50 + columns // 50) % 2 == 0)[..., None], (200, 40, 10), blue).astype(np.uint8)
    for image in (blue, patchwork):
        assert warned(image, disc[..., 0]) == ["This does not have the colours of a retina"]


def test_pictures_of_other_things_and_a_retina_of_another_camera():
    data = pytest.importorskip("skimage.data")
    for picture in (data.astronaut(), data.chelsea(), data.coffee()):
        assert warned(picture, field_of_view(picture)) == ["This does not have the colours of a retina"]


def test_measures_hardly_depend_on_the_scale_at_which_a_photograph_comes(phantom):
    large = Image.fromarray(phantom.image).resize((2048, 2048), Image.Resampling.BICUBIC)
    fov = np.asarray(Image.fromarray(phantom.fov).resize((2048, 2048)))
    one, two = quality.measure(phantom.image, phantom.fov, 1.0), quality.measure(np.asarray(large), fov, 0.5)
    assert two.focus == pytest.approx(one.focus, rel=0.05)
    assert two.colour == pytest.approx(one.colour, rel=0.05) and two.brightness == pytest.approx(one.brightness, rel=0.05)


def test_blocks_are_found_whichever_pixel_they_begin_at(phantom):
    image, fov = compressed(phantom.image, 8), phantom.fov
    for start in (0, 3, 5):
        assert quality.measure(image[start:, start:], fov[start:, start:]).blocks > quality.BLOCKS


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (20, 20)])
def test_a_photograph_of_a_few_pixels_is_measured_without_error(shape):
    image = np.full((*shape, 3), (180, 90, 40), np.uint8)
    assert warned(image, np.ones(shape, bool)) == []


@pytest.mark.slow
def test_no_warning_of_real_photographs_and_one_of_each_spoiled_copy(real_idrid):
    files = sorted(real_idrid.rglob("*.jpg"))[::36]
    assert len(files) >= 3
    for file in files:
        image = read_image(file)
        fov = field_of_view(image)
        factor = resize_factor(fov)[0]
        assert warned(image, fov, factor) == [], file.name
        assert "Out of focus" in warned(blurred(image[::2, ::2], 3), fov[::2, ::2], 2.0), file.name
        assert "Too dark" in warned((image * 0.12).astype(np.uint8), fov, factor), file.name
        assert "Strongly compressed" in warned(compressed(image, 8), fov, factor), file.name
