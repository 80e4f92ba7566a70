"""Tests of maa.data.quality: a warning for every photograph that was spoiled, and none for a good one."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from maa.data import field_of_view, quality, read_image
from maa.phantom import PhantomConfig, make_phantom
from maa.segmentation import resize_factor

pytestmark = pytest.mark.slow


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


def test_pictures_of_other_things_are_warned_of_and_a_retina_of_another_camera_is_not():
    data = pytest.importorskip("skimage.data")
    for picture in (data.astronaut(), data.chelsea(), data.coffee()):
        assert set(warned(picture, field_of_view(picture))) & {"This does not have the colours of a retina", "Unusual colours"}


# --- each sentence, of what it must be said and of what it must not -------------------------------


def around(image, fov, level):
    noise = np.random.default_rng(0).normal(level, 2, (*fov.shape, 1)).clip(0, 255) * np.ones(3)
    return np.where(fov[..., None], image, noise).astype(np.uint8)


def light(image, fov, times, top=255):
    return (np.minimum(image * float(times), 255) * top / 255).astype(np.uint8)


def flared(image, fov, share, strength=0.6):
    across = (np.arange(fov.shape[1]) - np.flatnonzero(fov.any(axis=0))[0]) / fov.any(axis=0).sum()
    pale = strength * np.clip((share + 0.1 - across) / 0.1, 0, 1)[None, :, None] * fov[..., None]
    return (image + (255.0 - image) * pale).astype(np.uint8)


def cast(image, fov, *gains):
    return (image * np.array(gains)).clip(0, 255).astype(np.uint8)


def squeezed(image, fov, width, height):
    return np.asarray(Image.fromarray(image).resize((round(width * fov.shape[1]), round(height * fov.shape[0]))))


def doubled(image, fov, gap):
    return np.concatenate([image, np.zeros_like(image[:, :gap]), (image[:, ::-1] * 0.93).astype(np.uint8)], axis=1)


def pale_lesions(image, fov):
    """Exudates and scars over a tenth of the field."""
    spoiled, seen = image.copy(), np.argwhere(fov)
    spots = np.zeros(fov.shape, bool)
    spots[tuple(seen[np.random.default_rng(0).integers(len(seen), size=fov.sum() // 8000)].T)] = True
    spots = ndimage.binary_dilation(spots, iterations=16) & fov
    spoiled[spots] = (225, 190, 90) + np.random.default_rng(1).normal(0, 15, (spots.sum(), 1))
    return spoiled


def bleeding(image, fov):
    """Dark red blood over a third of the field."""
    spoiled = image.copy()
    below = np.arange(len(fov))[:, None] > 0.62 * len(fov)
    spoiled[fov & below] = (70, 14, 8)
    return spoiled


def smartphone(image, fov):
    """Paler, noisy, of another lamp, in a grey surround."""
    noise = np.random.default_rng(1).normal(0, 6, image.shape)
    return around((cast(image, fov, 0.85, 1.1, 1.15) * 0.8 + 25 + noise).clip(0, 255).astype(np.uint8), fov, 60)


def strip_of_data(image, fov):
    padded = np.pad(image, [(0, 120), (0, 0), (0, 0)])
    padded[-150:] = 205
    padded[-80:-60, 40:600:7] = 20
    return padded


def orange_strip(image, fov):
    """The same in the colours of the retina, at its side: as large as half of a second eye."""
    strip = np.empty((len(image), 300, 3), np.uint8)
    strip[:] = np.median(image[fov], axis=0)
    strip[40:600:7, 100:120] = 250
    return np.concatenate([image, strip], axis=1)


NO_RETINA, UNUSUAL = "This does not have the colours of a retina", "Unusual colours"
SQUASHED, SECOND, FLARE = "Squashed", "More than one field of view", "Flare"
TABLE = {
    # how it was spoiled: what must be said; nothing else may be
    "as it is": (lambda image, fov: image, set(), set()),
    "white surround": (lambda image, fov: around(image, fov, 252), set(), set()),
    "grey surround": (lambda image, fov: around(image, fov, 90), set(), set()),
    "haze": (lambda image, fov: (image * 0.5 + 40).astype(np.uint8), set(), {UNUSUAL}),
    "strip of data": (strip_of_data, set(), set()),
    "strip of data, orange": (orange_strip, set(), set()),
    "pale lesions": (pale_lesions, set(), {UNUSUAL}),
    "bleeding": (bleeding, set(), {UNUSUAL}),
    "smartphone": (smartphone, set(), {UNUSUAL, "Out of focus"}),
    "another lamp": (lambda image, fov: cast(image, fov, 0.75, 1.2, 1.2), {UNUSUAL}, set()),
    "less light": (lambda image, fov: light(image, fov, 0.5), set(), set()),
    "dark": (lambda image, fov: light(image, fov, 0.12), {"Too dark"}, set()),
    "almost black": (lambda image, fov: light(image, fov, 0.05), {"Too dark"}, set()),
    "more light": (lambda image, fov: light(image, fov, 1.4), set(), set()),
    "over-exposed": (lambda image, fov: light(image, fov, 3), {"Over-exposed"}, set()),
    "over-exposed, white at 229": (lambda image, fov: light(image, fov, 3, 229), {"Over-exposed"}, set()),
    "a third in flare": (lambda image, fov: flared(image, fov, 0.33), {FLARE}, {UNUSUAL}),
    "a little flare": (lambda image, fov: flared(image, fov, 0.02), set(), set()),
    "narrow": (lambda image, fov: squeezed(image, fov, 0.75, 1), {SQUASHED}, set()),
    "low": (lambda image, fov: squeezed(image, fov, 1, 0.85), {SQUASHED}, set()),
    "cut above and below": (lambda image, fov: image[150:-150], set(), set()),
    "cut at one side": (lambda image, fov: image[:, 250:], set(), set()),
    "two eyes": (lambda image, fov: doubled(image, fov, 30), {SECOND}, set()),
    "two eyes that touch": (lambda image, fov: doubled(image, fov, 0), {SECOND}, set()),
    "no red": (lambda image, fov: image[..., ::-1], {NO_RETINA}, set()),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
@pytest.mark.parametrize("seed", [0, 5])
def test_each_sentence_is_said_of_what_it_means_and_of_nothing_else(case, seed):
    spoil, must, may = TABLE[case]
    eye = make_phantom(seed, config=PhantomConfig(size=800))
    image = spoil(eye.image, eye.fov)
    sentences = set(warned(image, field_of_view(image)))
    assert must <= sentences <= must | may


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
