"""Tests of maa.data.files: files from anybody are decoded to the right picture, or refused in one sentence."""

import io
import os
import socket
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, TiffImagePlugin

from maa.data import decode, read_image, read_mask, read_photograph
from maa.data import files as picture_files
from maa.errors import MaaError

pytestmark = pytest.mark.slow


def photograph(height=60, width=90, seed=0):
    """Colour with a structure in each channel, so that no turn and no exchange of planes goes unnoticed."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 60, width)[None, :, None] + np.linspace(0, 20, height)[:, None, None]
    return (np.array([170, 90, 40]) + ramp * [0.5, 1, 0.2] + rng.normal(0, 2, (height, width, 1))).clip(0, 255).astype(np.uint8)


def refused(path, text):
    """The reason for which a file is refused: one sentence with its name."""
    with pytest.raises(MaaError, match=text) as error:
        read_image(path)
    message = str(error.value)
    assert str(path) in message and message.endswith(".") and "\n" not in message
    return message


def exif(*entries):
    """EXIF with entries of a tag, type, count and little-endian value."""
    where, table, blob = 8 + 2 + 12 * len(entries) + 4, b"", b""
    for tag, kind, count, value in entries:
        if len(value) > 4:
            value, blob = struct.pack("<I", where + len(blob)), blob + value
        table += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0) + blob


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(image, *chunks, **options):
    """A PNG file with further chunks behind its header."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", **options)
    content = buffer.getvalue()
    return content[:33] + b"".join(chunk(*each) for each in chunks) + content[33:]


# --- metadata -------------------------------------------------------------------------------------

TURNED = [
    pytest.param((0x0112, 3, 1, struct.pack("<H", 6)), id="as the standard has it"),
    pytest.param((0x0112, 8, 1, struct.pack("<h", 6)), id="signed"),
    pytest.param((0x0112, 9, 1, struct.pack("<i", 6)), id="signed and long"),
    pytest.param((0x0112, 1, 1, b"\6"), id="a byte"),
    pytest.param((0x0112, 2, 2, b"6\0"), id="text"),
    pytest.param((0x0112, 5, 1, struct.pack("<II", 6, 1)), id="rational"),
    pytest.param((0x0112, 12, 1, struct.pack("<d", 6)), id="floating point"),
]
FAULTS = [
    pytest.param((), id="no fault"),
    pytest.param(((0x011A, 10, 1, struct.pack("<ii", -1, 0)),), id="signed rational over zero"),
    pytest.param(((0x011A, 5, 1, struct.pack("<II", 0, 0)),), id="zero over zero"),
    pytest.param(((0x9003, 7, 20, bytes(range(20))),), id="bytes for a date"),
    pytest.param(((0x8769, 4, 1, struct.pack("<I", 2**31)),), id="further EXIF beyond the end"),
    pytest.param(((0x8825, 2, 4, b"gps\0"),), id="text for a place"),
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("orientation", TURNED)
def test_a_photograph_is_turned_whatever_else_its_metadata_hold(tmp_path, orientation, fault):
    upright = photograph()
    for kind in ("JPEG", "PNG", "WEBP"):
        path = tmp_path / f"a.{kind.lower()}"
        options = {} if kind == "PNG" else {"quality": 95}
        Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(path, kind, exif=exif(orientation, *fault), **options)
        read = read_image(path)
        assert read.shape == upright.shape and np.abs(read.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("value", [b"0\0", b"x\0", b"9\0", b"-6\0"])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, value):
    upright = photograph()
    Image.fromarray(upright).save(tmp_path / "a.png", exif=exif((0x0112, 2, len(value), value)))
    assert np.array_equal(read_image(tmp_path / "a.png"), upright)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind, value", [("H", 6), ("s", "6")])
def test_a_tiff_is_turned_once(tmp_path, compression, kind, value):
    upright = photograph()
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.ascontiguousarray(np.rot90(upright)),
        photometric="rgb",
        compression=compression,
        extratags=[(274, kind, 0 if kind == "s" else 1, value, True)],
    )
    assert np.array_equal(read_image(tmp_path / "a.tif"), upright)


def bomb(size):
    return zlib.compress(bytes(size), 9)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("chunks", [
    [(b"iTXt", b"Comment\0\1\0\0\0" + bomb(5_000_000))],
    [(b"zTXt", b"Comment\0\0" + bomb(5_000_000))],
    [(b"tEXt", b"Comment\0" + bytes([65]) * 900_000)] * 80,
    [(b"iCCP", b"profile\0\0" + zlib.compress(PROFILE + bytes(1_200_000)))],
    [(b"eXIf", b"II*\0" + struct.pack("<I", 2**31))],
    [(b"tIME", b"")],
])  # fmt: skip
def test_large_and_faulty_metadata_of_a_png_do_not_cost_the_picture(tmp_path, chunks):
    image = photograph()
    (tmp_path / "a.png").write_bytes(png_with(image, *chunks))
    assert np.array_equal(read_image(tmp_path / "a.png"), image)


def test_a_png_is_turned_and_transparent_also_where_its_metadata_are_left_out(tmp_path):
    upright = photograph()
    laid = np.dstack([np.rot90(upright), np.full((90, 60), 255, np.uint8)])
    laid[:5, :, 3] = 0
    turned = exif((0x0112, 3, 1, struct.pack("<H", 6)))[6:]
    (tmp_path / "a.png").write_bytes(png_with(laid, (b"zTXt", b"Comment\0\0" + bomb(5_000_000)), exif=turned))
    read = read_image(tmp_path / "a.png")
    assert read.shape == upright.shape and np.array_equal(read[:, :-5], upright[:, :-5]) and not read[:, -5:].any()


# --- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending, kind, options", [
    ("jfif", "JPEG", {"quality": 95}), ("jpe", "JPEG", {"quality": 95}), ("ppm", "PPM", {}), ("jp2", "JPEG2000", {}),
    ("bmp", "BMP", {}), ("webp", "WEBP", {"lossless": True}), ("tif", "TIFF", {"compression": "tiff_lzw"}),
    ("tif", "TIFF", {"compression": "jpeg", "quality": 95}), ("jpg", "PNG", {}),
])  # fmt: skip
def test_ordinary_formats_are_read_whatever_the_file_is_called(tmp_path, ending, kind, options):
    image = photograph()
    Image.fromarray(image).save(tmp_path / f"a.{ending}", kind, **options)
    assert np.abs(read_image(tmp_path / f"a.{ending}").astype(int) - image).mean() < 4


@pytest.mark.parametrize("content, text", [
    (bytes(128) + b"DICM" + bytes(50), "DICOM file: export"), (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC picture: save it as JPEG"),
    (b"\0\0\0\x18ftypavif", "AVIF"), (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
    (b"%PDF-1.7\n", "PDF"), (b"8BPS\0\1", "Photoshop"), (b"PK\3\4", "archive: unpack"), (b"", "not an image"),
])  # fmt: skip
def test_what_is_kept_beside_photographs_is_named_with_what_to_do(tmp_path, content, text):
    (tmp_path / "a.jpg").write_bytes(content)
    refused(tmp_path / "a.jpg", text)


def test_jpeg_2000_of_sixteen_bits_that_are_hardly_used_is_refused_and_others_are_not(tmp_path, monkeypatch):
    """Pillow leaves the upper 8 of them, and writes colours of 8 bits only: 16 are pretended here."""
    Image.fromarray(photograph()).save(tmp_path / "bright.jp2", "JPEG2000")
    Image.fromarray(photograph() // np.uint8(8)).save(tmp_path / "dark.jp2", "JPEG2000")
    assert read_image(tmp_path / "dark.jp2").max() < 40
    monkeypatch.setattr(picture_files, "_jpeg_2000_bits", lambda file: 16)
    refused(tmp_path / "dark.jp2", "uses less than 15 of its 16 bits a channel: save it as TIFF or PNG")
    assert read_image(tmp_path / "bright.jp2").max() > 200


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_bits_of_jpeg_2000_are_those_of_its_header(tmp_path, bits):
    Image.fromarray(photograph()).save(tmp_path / "a.jp2", "JPEG2000")
    data = bytearray((tmp_path / "a.jp2").read_bytes())
    at = data.find(b"\xff\x4f\xff\x51") + 42
    assert data[at : at + 9] == bytes([7, 1, 1] * 3)
    data[at] = bits - 1
    assert picture_files._jpeg_2000_bits(io.BytesIO(data)) == bits
    assert picture_files._jpeg_2000_bits(io.BytesIO(data[:at])) == 8


def test_libtiff_prints_nothing_of_its_own(tmp_path, capfd):
    Image.fromarray(photograph()).save(tmp_path / "a.tif", "TIFF", compression="tiff_lzw")
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:200] + bytes(len(whole) // 2) + whole[200 + len(whole) // 2 :])
    refused(tmp_path / "a.tif", "damaged")
    assert capfd.readouterr() == ("", "")


def test_dicom_is_known_without_an_ending(tmp_path):
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(50))
    (tmp_path / "short").write_bytes(b"DICM")
    os.mkfifo(tmp_path / "pipe")
    names = ("IM0001", "short", "pipe", "none", ".")
    assert [name for name in names if picture_files.is_dicom(tmp_path / name)] == ["IM0001"]


@pytest.mark.parametrize("kind", ["EPS", "ICO", "TGA", "PCX", "SGI", "IM", "PDF", "DDS"])
def test_no_other_decoder_is_ever_started(tmp_path, kind, monkeypatch):
    Image.init()
    Image.fromarray(photograph()).save(tmp_path / "a.jpg", kind)
    if kind in Image.OPEN:
        monkeypatch.setitem(Image.OPEN, kind, (lambda *_: pytest.fail("opened"), None))
    refused(tmp_path / "a.jpg", "not an image")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(tmp_path / "pipe.jpg", "not a regular file")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.jpg"))
        refused(tmp_path / "s.jpg", "not a regular file")
    (tmp_path / "device.jpg").symlink_to(os.devnull)
    refused(tmp_path / "device.jpg", "not a regular file")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    refused(tmp_path / "loop.jpg", "cannot be opened")
    (tmp_path / "broken.jpg").symlink_to("nothing.jpg")
    refused(tmp_path / "broken.jpg", "link to a file that does not exist")
    refused(tmp_path / ("a" * 300), "cannot be opened")
    refused(f"{tmp_path}/a\0b.jpg", "cannot be opened")


# --- limits ---------------------------------------------------------------------------------------


def declared(width, height, kind):
    """A small file whose header declares a large picture."""
    if kind == "PNG":
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", bomb(2**20)) + chunk(b"IEND", b"")
    if kind == "BMP":
        return struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    if kind == "PPM":
        return f"P6 {width} {height} 255\n".encode()
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, kind)
    content = buffer.getvalue()
    if kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        return content[:at] + struct.pack(">HH", min(height, 65535), min(width, 65535)) + content[at + 4 :]
    file = io.BytesIO()
    tifffile.imwrite(file, shape=(16, 16, 3), dtype=np.uint8, photometric="rgb")
    content = bytearray(file.getvalue())
    for tag, value in ((256, width), (257, height)):
        at = content.index(struct.pack("<HH", tag, 4))
        content[at + 8 : at + 12] = struct.pack("<I", value)
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "JPEG", "TIFF"])
@pytest.mark.parametrize("size", [(40_000, 40_000), (1, 100_000)])
def test_size_is_judged_by_the_header(tmp_path, kind, size, monkeypatch):
    monkeypatch.setattr(picture_files, "_load", lambda _: pytest.fail("decoded"))
    monkeypatch.setattr(picture_files, "MAX_SIDE", 65_000)  # what a JPEG can declare is no more than 65,535
    (tmp_path / "a").write_bytes(declared(*size, kind))
    refused(tmp_path / "a", "scale it down")


def test_a_file_of_many_bytes_is_not_opened(tmp_path, monkeypatch):
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    monkeypatch.setattr(picture_files, "MAX_BYTES", 100)
    refused(tmp_path / "a.png", "more than 100: scale")


def test_too_little_memory_is_a_sentence(tmp_path, monkeypatch):
    Image.fromarray(photograph()).save(tmp_path / "a.png")

    def fail(_):
        raise MemoryError

    monkeypatch.setattr(picture_files, "_load", fail)
    refused(tmp_path / "a.png", "too little memory")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError, struct.error, KeyError, AssertionError, OverflowError, zlib.error, RecursionError]
)
def test_whatever_a_decoder_raises_is_a_sentence(tmp_path, monkeypatch, error):
    Image.fromarray(photograph()).save(tmp_path / "a.jpg")

    def fail(_):
        raise error("made\nup")

    monkeypatch.setattr(picture_files, "_load", fail)
    assert "(made up)" in refused(tmp_path / "a.jpg", "damaged").replace("'", "").replace("\\n", " ")


# --- pages ----------------------------------------------------------------------------------------


def pages(path, *written):
    with tifffile.TiffWriter(path) as file:
        for pixels, options in written:
            file.write(pixels, **{"photometric": "rgb", "metadata": None} | options)


SMALL = {"subfiletype": 1}


@pytest.mark.parametrize(
    "order",
    ["thumbnail first", "unmarked thumbnail first", "pyramid", "mask of transparency behind", "kind that is not read behind"],
)
def test_the_full_size_page_is_read(tmp_path, order):
    image, path = photograph(), tmp_path / "a.tif"
    opaque = (np.ones((60, 90), bool), {"subfiletype": 4, "photometric": "minisblack"})
    written = {
        "thumbnail first": [(image[::4, ::4], SMALL), (image, {})],
        "unmarked thumbnail first": [(image[::4, ::4], {}), (image, {"compression": "zlib"})],
        "pyramid": [(image, {}), (image[::2, ::2], SMALL), (image[::4, ::4], SMALL)],
        "mask of transparency behind": [(image, {}), opaque],
        "kind that is not read behind": [(image, {}), (image[::4, ::4].astype(np.float32), {})],
    }[order]
    pages(path, *written)
    read, notes = read_photograph(path)
    assert np.array_equal(read, image)
    assert notes == (() if "first" not in order else ("Page 2 of 2 was read, which is the largest.",))


@pytest.mark.parametrize("shape", [(60, 90), (50, 80)])
def test_two_eyes_in_one_file_are_a_sentence(tmp_path, shape):
    pages(tmp_path / "a.tif", (photograph(), {}), (photograph(*shape, seed=1), {}))
    refused(tmp_path / "a.tif", "holds 2 pictures: save the one")
    with pytest.raises(MaaError, match="holds 2 pictures"):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_a_sentence(tmp_path, kind):
    one, two = (Image.fromarray(photograph(seed=seed)) for seed in (0, 1))
    one.save(tmp_path / "a", kind, save_all=True, append_images=[two])
    refused(tmp_path / "a", "several pictures")


@pytest.mark.parametrize("second, outcome", [((30, 45), "read"), ((60, 90), "refused")])
def test_what_a_phone_puts_behind_a_photograph_is_left_alone_and_a_stereo_pair_is_not(tmp_path, second, outcome):
    image, behind = photograph(), Image.fromarray(photograph(*second, seed=1))
    Image.fromarray(image).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[behind], quality=95)
    assert Image.open(tmp_path / "a.jpg").format == "MPO"
    if outcome == "read":
        assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - image).mean() < 4
    else:
        refused(tmp_path / "a.jpg", "holds 2 pictures")


def test_a_raw_file_of_a_camera_is_not_taken_for_its_thumbnail(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(photograph()[::4, ::4], photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        file.write(photograph()[..., 0], photometric="minisblack", metadata=None)
    refused(tmp_path / "a.tif", "only a reduced copy")


def test_pages_without_end_are_a_sentence(tmp_path):
    pages(tmp_path / "a.tif", *[(photograph(4, 4), SMALL)] * 120)
    refused(tmp_path / "a.tif", "more than 100 pictures")


@pytest.mark.parametrize("dtype, note", [(np.uint8, 1), (np.uint16, 1), ("12 bits", 2)])
@pytest.mark.parametrize("program", ["ImageJ", "OME"])
def test_three_grey_pages_that_are_marked_as_channels_are_a_colour_photograph(tmp_path, program, dtype, note):
    image = photograph()
    planes = np.moveaxis(image, 2, 0)
    planes = planes if dtype is np.uint8 else planes * np.uint16(257) if dtype is np.uint16 else planes * np.uint16(16)
    options = {"imagej": True, "metadata": {"axes": "CYX", "mode": "composite"}}
    if program == "OME":
        options = {"ome": True, "metadata": {"axes": "CYX"}, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(planes), **options)
    read, notes = read_photograph(tmp_path / "a.tif")
    assert np.abs(read.astype(int) - image).max() <= (1 if note == 2 else 0)
    assert "red, green and blue" in notes[0] and len(notes) == note


def test_three_grey_pages_without_a_mark_are_a_sentence(tmp_path):
    pages(tmp_path / "a.tif", *[(photograph(seed=seed)[..., 0], {"photometric": "minisblack"}) for seed in range(3)])
    refused(tmp_path / "a.tif", "holds 3 pictures")


# --- depth and planes -----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bits_are_scaled_by_the_range_that_they_use(tmp_path, compression, tile, order, bits):
    image = photograph()
    image[0, 0] = 255
    wide = (image.astype(float) / 255 * (2**bits - 1)).round().astype(np.uint16)
    options = {"photometric": "rgb", "compression": compression, "tile": tile, "byteorder": order}
    tifffile.imwrite(tmp_path / "a.tif", wide, **options)
    read, notes = read_photograph(tmp_path / "a.tif")
    assert np.abs(read.astype(int) - image).max() <= 1
    assert notes == (
        () if bits == 16 else (f"Its channels of 16 bits end at {2**bits - 1:,}, so they were read as {bits} bits.",)
    )


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [0, 12, 16])
def test_planes_are_not_read_as_interleaved(tmp_path, compression, tile, order, bits):
    image = photograph()
    image[0, 0] = 255
    wide = image if bits == 0 else (image.astype(float) / 255 * (2**bits - 1)).round().astype(np.uint16)
    options = {"planarconfig": "separate", "photometric": "rgb", "compression": compression, "tile": tile, "byteorder": order}
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(wide, 2, 0).copy(), **options)
    if bits == 12 and compression:
        refused(tmp_path / "a.tif", "separate planes")
    else:
        assert np.abs(read_image(tmp_path / "a.tif").astype(int) - image).max() <= 1


def test_a_png_of_twelve_bits_in_sixteen_is_scaled(tmp_path):
    image = photograph()
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image.astype(np.uint16) * 16)
    header = struct.pack(">IIBBBBB", 90, 60, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    read, notes = read_photograph(tmp_path / "a.png")
    assert np.abs(read.astype(int) - image).max() <= 1 and "read as 12 bits" in notes[0]


@pytest.mark.parametrize("most", [1, 100, 255, 1023, 4095, 65535])
def test_a_ppm_of_any_range_is_scaled(tmp_path, most):
    image = photograph()
    image[0, 0] = 255
    values = (image / 255 * most).round()
    kind = ">u2" if most > 255 else "u1"
    (tmp_path / "a.ppm").write_bytes(b"P6 90 60 %d\n" % most + values.astype(kind).tobytes())
    assert np.abs(read_image(tmp_path / "a.ppm") - values / most * 255).max() <= 1
    (tmp_path / "a.ppm").write_bytes((tmp_path / "a.ppm").read_bytes()[:-1])
    refused(tmp_path / "a.ppm", "cut short")


@pytest.mark.parametrize("most", [100, 4095])
def test_a_mask_of_any_range_is_read(tmp_path, most):
    mask = photograph()[..., 1] > 120
    kind = ">u2" if most > 255 else "u1"
    (tmp_path / "m.pgm").write_bytes(b"P5 90 60 %d\n" % most + (mask * most).astype(kind).tobytes())
    assert np.array_equal(read_mask(tmp_path / "m.pgm"), mask)


def test_a_ppm_of_text_is_read_where_that_takes_no_time(tmp_path, monkeypatch):
    image = photograph()
    (tmp_path / "a.ppm").write_text("P3 90 60 255\n" + " ".join(map(str, image.ravel())))
    assert np.array_equal(read_image(tmp_path / "a.ppm"), image)
    monkeypatch.setattr(picture_files, "_MOST_TEXT", 1000)
    refused(tmp_path / "a.ppm", "as text")


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.int16])
def test_a_tiff_of_a_kind_that_is_not_read_is_not_called_damaged(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", photograph().astype(dtype), photometric="rgb")
    message = refused(tmp_path / "a.tif", "TIFF of a kind that is not read")
    assert "damaged" not in message and "cut short" not in message


def test_a_colour_space_that_pillow_does_not_convert_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("conversion from LAB to RGB not supported")

    Image.new("LAB", (40, 30), (90, 20, 30)).save(tmp_path / "a.tif")
    monkeypatch.setattr(Image.Image, "convert", fail)
    refused(tmp_path / "a.tif", "colours of the kind LAB")


# --- alpha ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize("alpha, notes", [(0, 1), (1, 1), (128, 1), (255, 0)])
def test_a_channel_of_transparency_that_was_never_filled_is_left_out(tmp_path, ending, alpha, notes):
    image = photograph()
    options = {"lossless": True, "exact": True} if ending == "webp" else {}
    Image.fromarray(np.dstack([image, np.full((60, 90), alpha, np.uint8)])).save(tmp_path / f"a.{ending}", **options)
    read, found = read_photograph(tmp_path / f"a.{ending}")
    assert np.array_equal(read, image) and len(found) == notes


def test_a_mask_with_an_unfilled_channel_of_transparency_keeps_its_marks(tmp_path):
    mask = np.zeros((30, 40), np.uint8)
    mask[5:9, 7:12] = 255
    Image.fromarray(np.dstack([mask, mask, mask, mask * 0])).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask > 0)


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_a_transparent_entry_of_a_palette_marks_nothing(tmp_path, kind):
    mask = np.zeros((30, 40), np.uint8)
    mask[5:9, 7:12] = 1
    picture = Image.fromarray(mask, mode="P")
    picture.putpalette([255, 255, 255, 255, 0, 0])
    picture.save(tmp_path / "m", kind, transparency=0)
    assert np.array_equal(read_mask(tmp_path / "m"), mask > 0)


@pytest.mark.parametrize("kind, options", [
    ("GIF", {}), ("BMP", {}), ("PPM", {}), ("WEBP", {"lossless": True}), ("WEBP", {"quality": 60}), ("JPEG2000", {}),
    ("JPEG2000", {"irreversible": True, "quality_mode": "rates", "quality_layers": [40]}),
])  # fmt: skip
def test_masks_of_every_format_keep_their_shape(tmp_path, kind, options):
    rows, columns = np.ogrid[:120, :160]
    mask = np.hypot(rows - 60, columns - 80) <= 20
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "m", kind, **options)
    read = read_mask(tmp_path / "m", mask.shape)
    assert (read & mask).sum() / (read | mask).sum() > (0.95 if options else 0.999)


def test_the_decoders_library_is_left_as_it_was(tmp_path):
    limits = Image.MAX_IMAGE_PIXELS, TiffImagePlugin.READ_LIBTIFF
    Image.fromarray(photograph()).save(tmp_path / "a.tif")
    assert decode(tmp_path / "a.tif").format == "TIFF"
    assert (Image.MAX_IMAGE_PIXELS, TiffImagePlugin.READ_LIBTIFF) == limits
