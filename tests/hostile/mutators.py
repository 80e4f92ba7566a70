"""Files that nobody should meet, and everybody does: made from a seed, each under a name that says what was done to it."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw

SUFFIXES = ("jpg", "jpeg", "png", "tif", "tiff", "bmp", "webp", "jfif", "ppm", "jp2")
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000", "ICO", "TGA", "PCX", "SGI", "DDS", "EPS", "PDF")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
SIZES = ((1, 1), (1, 500), (500, 1), (2, 2), (3, 3), (7, 5), (31, 33), (64, 64), (97, 61), (20000, 1), (130, 128))
PLAIN = (
    b"", b"\0", b"\0" * 5000, b"\xff" * 5000, b"\xff\xd8", b"\xff\xd8\xff\xe1\xff\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*\0\0\0\x08",
    b"BM", b"RIFF\0\0\0\0WEBPVP8 ", b"GIF89a", b"P6\n9999999 9999999\n255\n", b"P6 -1 -1 255\n", b"%PDF-1.7\n", b"PK\3\4" + b"\0" * 50,
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n(planted) (w) file\nshowpage\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"<!doctype html><title>404</title>", b"version https://git-lfs.github.com/spec/v1\nsize 1\n", b"\x00\x00\x00\x18ftypheic", b"\0" * 128 + b"DICM",
    b"../.git/annex/objects/x", "\ufeffname;grade\n".encode("utf-16"),
)  # fmt: skip
NAMES = (
    b"M\xfcller", b"new\nline", b"esc\x1b[31mred", b"-rf", b"--out", b"=1+1", b"+a", b"@b", b"CON", b"nul.left", b"con", b"a:b?", b'quo"te', b"it's",
    b"<b>x", b"tab\there", b"trailing ", b"trailing.", b" leading", b"~", b"%s%n", b"$(id)", b"a;b|c&d", b"100%", b"#?", b"\\", b"a\\nb",
    "\u202egpj".encode(), "e\u0301".encode(), "é".encode(), "Иванов".encode(), "眼底".encode(), "👁".encode(), "عين".encode(), "ตา".encode(),
    b"x" * 244, "眼".encode() * 81, b"\xff" * 240, b"A", b"a", b"photograph_2", b"photograph", b"index", b"lesions",
)  # fmt: skip


def retina(rng, size=(96, 96)):
    """A round orange field with dark dots, on black."""
    picture = Image.new("RGB", size)
    pen, (width, height) = ImageDraw.Draw(picture), size
    pen.ellipse((0.03 * width, 0.03 * height, 0.97 * width, 0.97 * height), fill=(180, 90, 40))
    for x, y in rng.uniform(0.3, 0.7, (4, 2)) * size:
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(90, 20, 15))
    return picture


def encoded(picture, kind, **options):
    """A picture as a file of some format, in a mode that this format can hold."""
    for mode in (picture.mode, "RGB", "L"):
        try:
            picture.convert(mode).save(file := io.BytesIO(), kind, **options)
            return file.getvalue()
        except (OSError, ValueError, KeyError, struct.error):
            continue
    return b""


def changed(rng, data, places):
    data = bytearray(data)
    for place in rng.integers(0, max(1, min(places, len(data))), rng.integers(1, 8)):
        data[place : place + 1] = bytes([rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])])
    return bytes(data)


def cut(rng, data):
    first, last = sorted(rng.integers(0, len(data) + 1, 2))
    return [data[:first], data[:first] + data[last:], data[:last] + data[first:], data[first:]][rng.integers(4)]


def oversized(rng, kind, data):
    """The size in the header is not that of the picture, and its checksum is right."""
    big = [0, 1, 97, 65535, 30000, 2**31 - 1, 2**32 - 1][rng.integers(7)], [0, 96, 65535, 2**31 - 1][rng.integers(4)]
    if kind == "PNG":
        header = b"IHDR" + struct.pack(">II", *big) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    if kind == "BMP":
        return data[:18] + struct.pack("<II", *big) + data[26:]
    if kind == "JPEG":
        place = data.find(b"\xff\xc0") + 5
        return data[:place] + struct.pack(">HH", *(min(65535, side) for side in big)) + data[place + 4 :]
    if kind == "TIFF":  # every entry of the first directory is fair game
        start = struct.unpack("<I", data[4:8])[0]
        entry = start + 2 + 12 * int(rng.integers(struct.unpack("<H", data[start : start + 2])[0]))
        return data[: entry + 4] + struct.pack("<II", *big) + data[entry + 12 :]
    return changed(rng, data, 32)


def exif(rng):
    """A JPEG, turned more often than not, whose EXIF block says what it should not: any tag, type, count and place."""
    some = lambda *values: int(rng.choice([0, 1, 26, 40, *values]))
    tags = rng.choice([0x112, 0x11A, 0x11B, 0x128, 0x8769, 0x8825, 0x10F, 0x9003, 0xA002, 0x9C9B], 4, replace=False)
    entries = [
        (int(tag), int(rng.integers(0, 15)), some(2, 255, 2**31, 2**32 - 1), some(9, 60, 65535, 2**32 - 1)) for tag in tags
    ]
    entries += [(0x112, 3, 1, int(rng.integers(0, 10)))] * (rng.random() < 0.7)
    block = (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    )
    return encoded(retina(rng), "JPEG", exif=b"Exif\0\0" + block + bytes(rng.integers(0, 256, rng.integers(0, 99), np.uint8)))


def content(rng):
    """What was done, and the bytes of one file."""
    kind = FORMATS[rng.integers(8)]
    whole = encoded(retina(rng), kind)
    match rng.integers(10):
        case 0:
            return "plain", PLAIN[rng.integers(len(PLAIN))]
        case 1:
            return "noise", bytes(rng.integers(0, 256, rng.integers(1, 4000), np.uint8))
        case 2:
            return f"cut_{kind}", cut(rng, whole)
        case 3:
            return f"header_{kind}", changed(rng, whole, 64)
        case 4:
            return f"bytes_{kind}", changed(rng, whole, len(whole))
        case 5:
            kind = ("PNG", "BMP", "JPEG", "TIFF")[rng.integers(4)]
            return f"size_{kind}", oversized(rng, kind, encoded(retina(rng), kind))
        case 6:
            return "exif", exif(rng)
        case 7:
            kind = FORMATS[rng.integers(len(FORMATS))]
            return f"format_{kind}", encoded(retina(rng), kind)
        case 8:
            mode, size = MODES[rng.integers(len(MODES))], SIZES[rng.integers(len(SIZES))]
            level = int(rng.choice([0, 1, 127, 255]))
            picture = retina(rng, size) if rng.random() < 0.7 else Image.new("RGB", size, (level,) * 3)
            try:
                picture = picture.convert(mode)
            except ValueError:  # by way of grey, as Pillow demands
                picture = picture.convert("L").convert(mode)
            return f"mode_{mode}_{size[0]}x{size[1]}".replace(";", ""), encoded(
                picture, ("PNG", "TIFF", "JPEG", "WEBP")[rng.integers(4)]
            )
        case _:
            return f"joined_{kind}", cut(rng, whole) + encoded(retina(rng), FORMATS[rng.integers(8)])


def write(folder, number, seed=0):
    """Write so many files of random content, one of ten under a name from `NAMES`."""
    rng = np.random.default_rng(seed)
    for place in range(number):
        what, data = content(rng)
        turn, place_of_name = divmod(place // 10, len(NAMES))
        name = f"{place:04}_{what}".encode() if place % 10 else NAMES[place_of_name] + b"_%d" % turn * (turn > 0)
        name = name[:249] + b"." + SUFFIXES[rng.integers(len(SUFFIXES))].encode()
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(data)


def kinds(folder):
    """What stands in a folder of photographs and is no file, or none that can be read.  Returns the names of what is to be complained of."""
    os.mkfifo(folder / "fifo.jpg")
    (folder / "folder.jpg").mkdir()
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "loop_a.jpg").symlink_to("loop_b.jpg")
    (folder / "loop_b.jpg").symlink_to("loop_a.jpg")
    (folder / "nowhere.jpg").symlink_to("never fetched")
    (folder / "up.jpg").symlink_to("..")
    return {"loop_a", "loop_b", "nowhere", "fifo", "device"}
