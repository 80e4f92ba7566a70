"""Tests of maa.data.photograph: reading every file format, the field of view, halving."""

import struct
import time
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from maa.data import Fundus, field_of_view, halve, read_image, read_mask
from maa.data.field import proportion, squashed
from maa.errors import MaaError


def disc(shape, row, column, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column) <= radius


def retina(shape=(300, 440), row=150, column=215, radius=180, black=4, seed=0):
    """An orange disc with noise, cut off at the top and bottom as IDRiD's photographs are."""
    rng = np.random.default_rng(seed)
    image = np.full((*shape, 3), black, float)
    image[disc(shape, row, column, radius)] = (180, 95, 40)
    image += rng.normal(0, 3, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def one_sentence(error, path):
    text = str(error.value)
    return str(path) in text and text.endswith(".") and "\n" not in text


# --- Fundus ---------------------------------------------------------------------------------------


def test_fundus_without_annotation_has_an_empty_ma_mask():
    image = retina()
    fundus = Fundus("x", image, np.ones(image.shape[:2], bool), {}, False, "train")
    assert fundus.ma.shape == image.shape[:2] and fundus.ma.dtype == bool and not fundus.ma.any()


@pytest.mark.parametrize("bad", ["image", "fov", "mask"])
def test_fundus_refuses_arrays_that_do_not_fit(bad):
    image, fov, mask = retina(), np.ones((300, 440), bool), np.ones((300, 440), bool)
    if bad == "image":
        image = image.astype(float)
    if bad == "fov":
        fov = fov[:-1]
    if bad == "mask":
        mask = mask.astype(np.uint8)
    with pytest.raises(ValueError, match="must be"):
        Fundus("x", image, fov, {"MA": mask}, True, "train")


# --- read_image -----------------------------------------------------------------------------------


def test_rgb_png_is_read_unchanged(tmp_path):
    image = retina()
    Image.fromarray(image).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    upright = retina()
    upright[20:60, 200:220] = (250, 10, 10)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 4


def test_rgba_is_laid_on_black(tmp_path):
    image = retina()
    field = disc((300, 440), 150, 215, 180)
    image[~field] = 255  # what lies under transparent pixels is often white
    alpha = field[..., None].astype(np.uint8) * 255
    Image.fromarray(np.concatenate([image, alpha], axis=2)).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert np.array_equal(read[field], image[field]) and not read[~field].any()


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    image = retina()
    Image.fromarray(image).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - image).mean() < 4


def test_palette_becomes_rgb(tmp_path):
    image = retina()
    Image.fromarray(image).quantize(64).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.shape == image.shape and np.abs(read.astype(int) - image).mean() < 6


def write_png_of_16_bits(path, values):
    """Pillow reads colour PNG of 16 bits a channel but cannot write it."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize("ending", ["tif", "png"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, ending):
    image = retina()
    wide = image.astype(np.uint16) * 257
    path = tmp_path / f"a.{ending}"
    if ending == "tif":
        tifffile.imwrite(path, wide, photometric="rgb")
    else:
        write_png_of_16_bits(path, wide)
    assert np.array_equal(read_image(path), image)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16", "RGB", "CMYK"])
def test_greyscale_is_refused_however_it_is_stored(tmp_path, mode):
    grey = Image.fromarray(retina()).convert("L")
    path = tmp_path / "a.tif"
    if mode == "I;16":
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(path)
    else:
        grey.convert("RGB" if mode == "CMYK" else mode).convert(mode).save(path)
    with pytest.raises(MaaError, match="greyscale") as error:
        read_image(path)
    assert one_sentence(error, path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_truncated_file_is_refused(tmp_path, share, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(retina()).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MaaError, match="cut short|not an image") as error:
        read_image(path)
    assert one_sentence(error, path)


@pytest.mark.parametrize("content", [b"", b"Image name,Retinopathy grade\n", bytes(5000)])
def test_file_that_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(MaaError, match="not an image") as error:
        read_image(path)
    assert one_sentence(error, path)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(MaaError, match="does not exist") as error:
        read_image(tmp_path / "absent.jpg")
    assert one_sentence(error, tmp_path / "absent.jpg")
    with pytest.raises(MaaError, match="folder") as error:
        read_image(tmp_path)
    assert one_sentence(error, tmp_path)


@pytest.mark.filterwarnings("error")
def test_large_photograph_passes_pillows_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 132,000 pixels: over twice the limit
    Image.fromarray(retina()).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (300, 440, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000  # the limit is put back for everybody else


def test_absurd_size_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("maa.data.files.MAX_PIXELS", 1000)
    path = tmp_path / "a.png"
    Image.fromarray(retina()).save(path)
    with pytest.raises(MaaError, match="440 x 300") as error:
        read_image(path)
    assert one_sentence(error, path)


# --- read_mask ------------------------------------------------------------------------------------


def save_mask(mask, path, style):
    """Write a mask as annotation tools do, one style each."""
    grey = mask.astype(np.uint8)
    if style == "palette":  # IDRiD's own: index 1 is a red that becomes 76 in grey
        picture = Image.fromarray(grey, mode="P")
        picture.putpalette([0, 0, 0, 255, 0, 0])
    elif style == "inverted palette":
        picture = Image.fromarray(1 - grey, mode="P")
        picture.putpalette([255, 255, 255, 0, 0, 0])
    elif style == "bilevel":
        picture = Image.fromarray(grey * 255).convert("1")
    elif style == "grey":
        picture = Image.fromarray(grey * 255)
    elif style == "faint grey":
        picture = Image.fromarray(grey)
    elif style == "16-bit grey":
        picture = Image.fromarray(grey.astype(np.uint16) * 300)
    elif style == "rgb":
        picture = Image.fromarray(np.stack([grey * 0, grey * 0, grey * 200], axis=2))
    elif style == "rgba":  # IDRiD's one RGBA mask is opaque everywhere
        picture = Image.fromarray(np.stack([grey * 255, grey * 0, grey * 0, grey * 0 + 255], 2))
    elif style == "white under transparency":
        white = np.full_like(grey, 255)
        picture = Image.fromarray(np.stack([white, white, white, grey * 255], axis=2))
    picture.save(path)


STYLES = [
    "palette",
    "inverted palette",
    "bilevel",
    "grey",
    "faint grey",
    "16-bit grey",
    "rgb",
    "rgba",
    "white under transparency",
]


@pytest.mark.parametrize("ending", ["tif", "png"])
@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=8, deadline=None)
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
def test_mask_survives_every_format(tmp_path_factory, mask, style, ending):
    path = tmp_path_factory.mktemp("mask") / f"m.{ending}"
    save_mask(mask, path, style)
    read = read_mask(path, mask.shape)
    assert read.dtype == bool and np.array_equal(read, mask)


def test_jpeg_mask_has_no_ringing(tmp_path):
    mask = disc((120, 160), 60, 80, 20)
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=60)
    assert overlap(read_mask(tmp_path / "m.jpg", mask.shape), mask) > 0.97


def test_mask_of_another_size_is_refused(tmp_path):
    path = tmp_path / "m.tif"
    save_mask(np.ones((30, 40), bool), path, "palette")
    assert read_mask(path).all()
    with pytest.raises(MaaError, match="40 x 30 pixels but its photograph has 30 x 40") as error:
        read_mask(path, (40, 30))
    assert one_sentence(error, path)


# --- field_of_view --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 0.15, 4])
@pytest.mark.parametrize("black", [0, 4, 25])
def test_field_is_found_at_any_size_and_black_level(scale, black):
    image = retina(black=black)
    truth = Image.fromarray(disc((300, 440), 150, 215, 180))
    size = (round(440 * scale), round(300 * scale))
    image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    truth = np.array(truth.resize(size))
    assert overlap(field_of_view(image), truth) > 0.98


def test_dust_and_flare_in_the_corners_stay_outside():
    image = retina((400, 500), 200, 240, 190)
    image[5:25, 5:30] = (90, 80, 70)  # a clump of dust in the corner
    image[195:203, 425:500] = (120, 110, 60)  # a streak of flare that touches the retina
    truth = disc((400, 500), 200, 240, 190)
    found = field_of_view(image)
    assert overlap(found, truth) > 0.99
    assert not found[5:25, 5:30].any() and not found[195:203, 440:].any()


def test_soft_border_is_placed_on_its_slope():
    rows, columns = np.ogrid[:400, :500]
    distance = np.hypot(rows - 200, columns - 250)
    glow = 1 / (1 + np.exp((distance - 180) / 5))
    image = (glow[..., None] * (180, 95, 40) + 5).astype(np.uint8)
    inside, outside = distance <= 168, distance > 194
    found = field_of_view(image)
    assert found[inside].all() and not found[outside].any()


def test_shaded_side_and_notch_do_not_bend_the_border():
    shape = (600, 800)
    image = retina(shape, 300, 400, 290, black=2).astype(float)
    image[:, :250] *= np.linspace(0.06, 1, 250)[None, :, None]  # the left side fades into the dark
    image[80:110, 600:640] = (180, 95, 40)  # the mark by which a camera tells up from down
    assert overlap(field_of_view(image.astype(np.uint8)), disc(shape, 300, 400, 290)) > 0.997


def test_dark_lesions_and_fovea_are_inside():
    image = retina()
    image[disc((300, 440), 150, 215, 25)] = 5
    assert field_of_view(image)[disc((300, 440), 150, 215, 25)].all()


def test_large_photograph_has_a_smooth_border():
    """Finer than the blocks of the reduced copy: the circle is fitted, and placed, exactly."""
    image = Image.fromarray(retina()).resize((1760, 1200), Image.Resampling.BICUBIC)
    assert overlap(field_of_view(np.array(image)), disc((1200, 1760), 601.5, 861.5, 720)) > 0.999


def test_rectangular_field_is_kept_as_it_is():
    image = retina((300, 440), 150, 215, 1000)
    image[:, :60] = image[:, 400:] = 3
    image[140:146, 400:] = (120, 110, 60)  # flare that touches it
    image[100:140, 100:140] = 4  # a large haemorrhage
    truth = np.zeros((300, 440), bool)
    truth[:, 60:400] = True
    assert overlap(field_of_view(image), truth) > 0.999


def test_elliptic_field_is_not_forced_into_a_circle():
    image = Image.fromarray(retina((400, 400), 200, 200, 150)).resize((440, 400))
    truth = Image.fromarray(disc((400, 400), 200, 200, 150)).resize((440, 400))
    assert overlap(field_of_view(np.array(image)), np.array(truth)) > 0.99


def test_without_a_dark_surround_the_whole_frame_is_the_field():
    image = retina((300, 440), 150, 215, 1000)
    image[100:110] = (110, 40, 20)  # a vessel is dark, but not as dark as a surround
    assert field_of_view(image).all()


@pytest.mark.parametrize("kind", ["black", "noisy black", "uniform", "white", "dust only"])
def test_no_retina_is_refused(kind):
    image = np.zeros((300, 440, 3), np.uint8)
    if kind == "noisy black":
        image[:] = np.random.default_rng(0).integers(0, 7, image.shape)
    if kind == "uniform":
        image[:] = (180, 95, 40)
    if kind == "white":
        image[:] = 255
    if kind == "dust only":
        image[10:40, 10:40] = (180, 95, 40)
    with pytest.raises(MaaError, match="No field of view was found in a.jpg") as error:
        field_of_view(image, "a.jpg")
    assert one_sentence(error, "a.jpg")


def test_a_nearly_black_file_without_a_retina_is_told_by_its_levels():
    """Twelve bits read as sixteen look like this."""
    image = np.random.default_rng(0).integers(0, 7, (300, 440, 3)).astype(np.uint8)
    with pytest.raises(MaaError, match=r"nearly black \(grey levels up to 6 of 255\)") as error:
        field_of_view(image, "a.png")
    assert one_sentence(error, "a.png")
    with pytest.raises(MaaError) as error:
        field_of_view(np.zeros((300, 440, 3), np.uint8), "a.png")
    assert "nearly" not in str(error.value)


def other_frames():
    """A retina in the frames of other cameras, by name: the picture, and its field of view."""
    shape, rng = (400, 560), np.random.default_rng(0)
    truth = disc(shape, 190, 280, 160)
    eye = retina(shape, 190, 280, 160)
    for level in (46, 90, 160, 252):
        noise = rng.normal(level, 2, (*shape, 1)).clip(0, 255) * np.ones(3)
        yield f"surround at {level}", np.where(truth[..., None], eye, noise).astype(np.uint8), truth
    yield "haze", (eye * 0.5 + 60).astype(np.uint8), truth
    yield "almost black", (eye * 0.05).astype(np.uint8), truth
    for level in (205, 255):
        strip = eye.copy()
        strip[345:] = level
        strip[365:380, 20:400:9] = 20
        strip[8:30, 8:120:5] = 235  # text
        hidden = truth.copy()
        hidden[345:] = False
        yield f"strip at {level}", strip, hidden
        frame = np.pad(eye, [(40, 60), (70, 50), (0, 0)], constant_values=level)
        yield f"frame at {level}", frame, np.pad(truth, [(40, 60), (70, 50)])
    below = eye.copy()
    below[330:] = below[:50] = 2  # cut by the camera, inside the frame
    cut = truth.copy()
    cut[330:] = cut[:50] = False
    yield "cut above and below", below, cut
    yield (
        "two eyes that touch",
        np.concatenate([eye[:, 120:441], eye[:, 120:441] // 8 * 7], axis=1),
        np.pad(truth[:, 120:441], [(0, 0), (0, 321)]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", list(other_frames()), ids=lambda case: case[0])
def test_the_disc_is_found_in_the_frames_of_other_cameras(case):
    _, image, truth = case
    found = field_of_view(image)
    assert overlap(found, truth) > 0.97 or overlap(found[:, ::-1], truth) > 0.97  # either of two eyes will do


@pytest.mark.parametrize("width", [0.75, 0.9, 1.15])
def test_the_proportion_of_a_squashed_field_is_measured_and_of_a_round_one_is_1(width):
    whole = disc((400, 400), 200, 200, 150)
    for fov in (whole, whole[80:320], whole[:, 90:]):
        assert proportion(fov) == pytest.approx(1, abs=0.02) and not squashed(fov)
        narrow = np.asarray(Image.fromarray(fov).resize((round(width * fov.shape[1]), fov.shape[0])))
        assert proportion(narrow) == pytest.approx(width, rel=0.03) and squashed(narrow)
    for other in (np.ones((300, 400), bool), np.pad(np.ones((200, 300), bool), 40), np.zeros((50, 50), bool)):
        assert proportion(other) == 1


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(row=st.integers(80, 220), column=st.integers(100, 340), radius=st.integers(90, 260))
def test_field_matches_any_disc_that_the_frame_cuts(row, column, radius):
    truth = disc((300, 440), row, column, radius)
    if (~truth).mean() < 0.03:  # next to no surround: taken for a frame without one
        return
    assert overlap(field_of_view(retina(row=row, column=column, radius=radius)), truth) > 0.96


def test_twelve_megapixels_are_fast():
    image = np.array(Image.fromarray(retina()).resize((4288, 2848)))
    start = time.process_time()
    field_of_view(image)
    assert time.process_time() - start < 1.5  # about 0.2 s; the margin is for slow machines


# --- halve ----------------------------------------------------------------------------------------

sides = st.integers(1, 17)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), height=sides, width=sides, colour=st.booleans())
def test_halve_is_the_rounded_mean_of_blocks(data, height, width, colour):
    shape = (height, width, 3) if colour else (height, width)
    image = data.draw(hnp.arrays(np.uint8, shape))
    edges = [(0, height % 2), (0, width % 2)] + [(0, 0)] * colour
    padded = np.pad(image, edges, mode="edge").astype(int)
    sums = sum(padded[i::2, j::2] for i in (0, 1) for j in (0, 1))
    half = halve(image)
    assert half.dtype == np.uint8
    assert np.array_equal(half, (sums + 2) // 4)


@settings(max_examples=40, deadline=None)
@given(image=hnp.arrays(np.uint8, (16, 24, 3)))
def test_halve_keeps_the_mean(image):
    assert abs(halve(image).mean() - image.mean()) <= 0.5


@settings(max_examples=40, deadline=None)
@given(mask=hnp.arrays(bool, (15, 22)))
def test_halved_mask_is_true_from_half_coverage(mask):
    padded = np.pad(mask, [(0, 1), (0, 0)], mode="edge").astype(int)
    covered = sum(padded[i::2, j::2] for i in (0, 1) for j in (0, 1))
    half = halve(mask)
    assert half.dtype == bool and np.array_equal(half, covered >= 2)


def test_halve_does_not_shift():
    mask = np.zeros((40, 40), bool)
    mask[10:20, 30:36] = True
    rows, columns = np.nonzero(halve(mask))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 9, 15, 17)


def test_halve_refuses_other_types():
    with pytest.raises(ValueError, match="float64"):
        halve(np.zeros((4, 4)))


# --- real photographs -----------------------------------------------------------------------------


@pytest.mark.parametrize("number, radius", [(1, 1703), (12, 1897), (54, 1703)])
def test_field_of_real_photographs(real_idrid, number, radius):
    """IDRiD's camera has two apertures (of 143 photographs, 2 have the wider one)."""
    folder = real_idrid / "A. Segmentation" / "1. Original Images" / "a. Training Set"
    image = read_image(folder / f"IDRiD_{number:02d}.jpg")
    field = field_of_view(image)
    rows, columns = np.nonzero(field)
    assert image.shape == (2848, 4288, 3)
    assert (columns.max() - columns.min()) / 2 == pytest.approx(radius, abs=4)
    assert rows.min() == 0 and rows.max() == 2847  # cut off at the top and bottom


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (20_000, 1), (3, 900)])
def test_a_line_of_pixels_has_no_circle_and_ends_in_a_field_or_a_sentence(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    try:
        assert field_of_view(noise).shape == shape
    except MaaError as error:
        assert "field of view" in str(error)
