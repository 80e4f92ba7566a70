"""Picture files: which are read, how much memory that may take, and how they are decoded.

A file may come from anybody.  So the formats that are decoded are named here, whatever the file is called; only regular files are
opened, since a pipe never ends; and size and pages are judged by the header, before a pixel is decoded.  What else goes wrong in
a decoder is one sentence with the file's name.
"""

from __future__ import annotations

import ctypes
import io
import logging
import math
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import ExifTags, Image, ImageFile, MpoImagePlugin, TiffImagePlugin, UnidentifiedImageError

from maa.errors import MaaError

#: What Pillow may decode: no format that starts another program, as EPS does.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "PPM", "JPEG2000", "WEBP", "GIF")
#: Pixels of the largest picture that is decoded: reading one takes at most 3 GB of memory, whatever its format.
MAX_PIXELS = 120_000_000
#: Pixels of its longer side.
MAX_SIDE = 65_535
#: Bytes of the largest file that is opened.
MAX_BYTES = 2**30
_MOST_PAGES = 100
_MOST_TEXT = 16 * 2**20  # bytes of a picture that is written out as text, which takes a second a megabyte
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_Tag = ExifTags.Base
_SEVERAL = "{} holds {} pictures: save the one that is meant as a file of its own."
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Files that people keep beside photographs, by how they begin: what they are, and what to do with them.
_FOREIGN = {
    rb"(?s).{128}DICM": "a DICOM file: export the photograph from the viewer as JPEG, PNG or TIFF.",
    rb"(?s).{4}ftyp(hei|hev|mif1|msf1)": "a HEIC picture: save it as JPEG, which a phone's camera does when set to the most compatible format.",
    rb"(?s).{4}ftypavi": "an AVIF picture: save it as JPEG or PNG.",
    rb"%!|\xc5\xd0\xd3\xc6|%PDF": "not an image but a PostScript or PDF document: save the photograph in it as JPEG, PNG or TIFF.",
    rb"8BPS": "a Photoshop document: save it as TIFF or PNG.",
    rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b": "not an image but an archive: unpack it first.",
}
_limit = threading.RLock()
# What Pillow logs of a faulty file would stand on the screen beside our sentence; who wants it adds a handler.
logging.getLogger("PIL").addHandler(logging.NullHandler())
# So would what libtiff, inside of Pillow, prints past all of Python; where it cannot be reached, as in a Pillow without it, it does.
with suppress(AttributeError, OSError):
    _libtiff = ctypes.CDLL(Image.core.__file__)  # type: ignore[attr-defined]  # it is there, undocumented
    _libtiff.TIFFSetErrorHandler(None)
    _libtiff.TIFFSetWarningHandler(None)


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture as it was decoded, upright.

    Attributes
    ----------
    picture : Image
        Of 8 bits a channel where it has colour; grey ones may have more.
    format : str
        One of `FORMATS`, or "MPO", a JPEG with further pictures.
    notes : tuple of str
        Sentences: what was done and has to be known.
    """

    picture: Image.Image
    format: str
    notes: tuple[str, ...]


def decode(path: str | os.PathLike[str]) -> Decoded:
    """Decode a picture file completely.

    Of a file with smaller copies of its picture the full size is read; three grey pages that a program marked as colour channels
    are put together; channels of 16 bits are brought to 8, by their own range where they end at 8, 10, 12 or 14 bits.  Faulty
    metadata do not matter.

    Raises
    ------
    MaaError
        When the file is missing, not a regular file, not of one of the `FORMATS`, damaged, beyond `MAX_PIXELS`, `MAX_SIDE` or
        `MAX_BYTES`, or holds several pictures of which none is the obvious one.
    """
    with _regular(path) as file:
        head = file.read(132)
        try:
            try:
                return _decoded(path, file)
            except (MaaError, MemoryError):
                raise
            except Exception:
                # Metadata, such as a colour profile beyond Pillow's limits, must not cost the picture.
                if not head.startswith(_PNG):
                    raise
                return _decoded(path, _without_metadata(file))
        except UnidentifiedImageError:
            raise MaaError(_unidentified(path, head, file)) from None
        except MaaError:
            raise
        except MemoryError:
            raise MaaError(f"There is too little memory to read {path}: close other programs or scale it down first.") from None
        except Exception as error:  # decoders fail in every way there is on a file that is made to
            raise MaaError(damaged(path, error)) from None


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of DICOM, whose names often have no ending; False for what is no regular file or cannot be read."""
    with suppress(OSError, ValueError):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read(132)[128:] == b"DICM"
    return False


def eight_bits(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring channels of 16 bits to 8: by their own range where they end at 8, 10, 12 or 14 bits, as those of many cameras do.

    Returns an ndarray of the same shape, uint8, and a note where the range was not that of 16 bits.
    """
    top = int(values.max())
    bits = next((bits for bits in (8, 10, 12, 14) if top < 2**bits), 16)
    if bits == 16:
        return (values >> 8).astype(np.uint8), ()
    table = np.arange(2**bits) * (255 / (2**bits - 1)) + 0.5
    return table.astype(np.uint8)[values], (f"Its channels of 16 bits end at {top:,}, so they were read as {bits} bits.",)


def upright(picture: Image.Image, orientation: object) -> Image.Image:
    """Turn a picture as the EXIF orientation says, of whatever type a camera wrote it; anything but 2 to 8 leaves it as it is."""
    if isinstance(orientation, tuple | list | bytes) and len(orientation) == 1:
        orientation = orientation[0]
    try:
        method = _TURNS.get(int(str(orientation).strip("\0 ").partition(".")[0]))
    except ValueError:
        method = None
    return picture if method is None else picture.transpose(method)


def orientation_of(picture: Image.Image) -> object:
    """The EXIF orientation of a picture, of whatever type; None where there is none or the metadata are faulty."""
    try:
        return picture.getexif().get(_Tag.Orientation)
    except Exception:  # Pillow raises many kinds of errors on faulty metadata, which must not cost the picture
        return None


def damaged(called: str | os.PathLike[str], error: Exception) -> str:
    """The sentence on a picture in which a decoder failed."""
    return f"{called} is damaged or cut short ({_reason(error)}): copy or download it again."


def check_size(called: str | os.PathLike[str], width: int, height: int) -> None:
    """Refuse a picture beyond `MAX_PIXELS` or `MAX_SIDE`."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise MaaError(
            f"{called} has {width} x {height} pixels, more than the {MAX_PIXELS:,} that can be read in 3 GB of memory, or than "
            f"{MAX_SIDE:,} on a side: scale it down first."
        )


def _regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file of no more than `MAX_BYTES`, open; a MaaError of anything else."""
    try:
        if os.path.isdir(path):
            raise MaaError(f"{path} is a folder: name an image file.")
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise MaaError(f"{path} is not a regular file but a pipe, a socket or a device: name an image file.")
        if found.st_size > MAX_BYTES:
            raise MaaError(f"{path} has {found.st_size:,} bytes, more than {MAX_BYTES:,}: scale the picture down first.")
        return open(path, "rb")
    except FileNotFoundError:
        fault = "is a link to a file that does not exist" if os.path.islink(path) else "does not exist"
        raise MaaError(f"{path} {fault}: check the path.") from None
    except PermissionError:
        raise MaaError(f"{path} may not be read by this user: change its permissions.") from None
    except (OSError, ValueError) as error:
        raise MaaError(f"{path} cannot be opened ({_reason(error)}): check the path.") from None


def _decoded(path: str | os.PathLike[str], file: BinaryIO) -> Decoded:
    picture = _page(file, 0)
    pages, notes = _pages(path, picture)
    planes = []
    for page in pages:
        plane, more = _loaded(path, file, page)
        planes.append(plane)
        notes += more
    if len(planes) == 1:
        return Decoded(planes[0], str(picture.format), notes)
    values = np.stack([np.asarray(plane) for plane in planes], axis=2)
    if values.dtype == np.uint16:
        values, more = eight_bits(values)
        notes += more
    return Decoded(Image.fromarray(values.astype(np.uint8)), str(picture.format), notes)


@contextmanager
def _unlimited() -> Iterator[None]:
    """Without Pillow's own limit, at which it warns and then refuses: montages of the retina reach it, and `MAX_PIXELS` is ours.

    The limit belongs to the whole process, and files are read by several threads, hence the lock.
    """
    with _limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _loaded(path: str | os.PathLike[str], file: BinaryIO, page: int) -> tuple[Image.Image, tuple[str, ...]]:
    """One page, decoded and upright, of 8 bits a channel where it has colour; and notes."""
    picture = _page(file, page)
    check_size(path, *picture.size)
    if picture.format == "PPM" and picture.tile[0][0] == "ppm":
        return _deep_ppm(picture, file)
    if picture.format == "PPM" and picture.tile[0][0] == "ppm_plain" and os.fstat(file.fileno()).st_size > _MOST_TEXT:
        raise MaaError(f"{path} has its pixels written out as text: save it as PNG or TIFF.")
    tags = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
    written = tags.get(_Tag.Orientation)
    deep = picture.mode in ("RGB", "RGBA") and all(";16" in _rawmode(tile) for tile in picture.tile)
    separate = tags.get(_Tag.PlanarConfiguration) == 2 and picture.tile[0][0] == "libtiff"
    _load(picture)
    if (
        picture.format == "JPEG2000"
        and picture.mode in ("RGB", "RGBA")
        and (bits := _jpeg_2000_bits(file)) > 8
        and _dark(picture)
    ):
        # Pillow leaves the upper 8 of so many bits, and the others are lost.
        raise MaaError(
            f"{path} uses less than {bits - 1} of its {bits} bits a channel: save it as TIFF or PNG, or with 8 bits a channel."
        )
    turn = orientation_of(picture)
    if tags:  # Pillow turns it, unless the number is not written as one
        turn = None if isinstance(written, int) else written
    if not deep or not _dark(picture):
        return upright(picture, turn), ()
    if separate:
        raise MaaError(f"{path} uses less than 15 of its 16 bits, in separate planes: save it with 8 bits a channel.")
    # Pillow keeps the upper byte of every channel.  In the other order of bytes it keeps the lower.
    other = _page(file, page)
    other.tile = [_with_rawmode(tile, _rawmode(tile)[:-1] + _OTHER_ORDER[_rawmode(tile)[-1]]) for tile in other.tile]
    _load(other)
    high, low = (np.asarray(part.convert("RGB")).astype(np.uint16) for part in (picture, other))
    colours, notes = eight_bits((high << 8) | low)
    combined = Image.fromarray(colours)
    if picture.mode == "RGBA":
        combined.putalpha(picture.getchannel("A"))
    return upright(combined, turn), notes


def _dark(picture: Image.Image) -> bool:
    """Whether the upper two bits of every channel are unused."""
    return max(int(np.asarray(picture.getchannel(name)).max()) for name in "RGB") < 2**6


def _jpeg_2000_bits(file: BinaryIO) -> int:
    """Bits of the first channel, by the codestream's header."""
    file.seek(0)
    head = file.read(2**16)
    at = head.find(b"\xff\x4f\xff\x51") + 42
    return (head[at] & 0x7F) + 1 if 42 <= at < len(head) else 8


def _deep_ppm(picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[Image.Image, tuple[str, ...]]:
    """A PPM file whose largest value is not 255, for which Pillow takes some seconds a million pixels."""
    offset, (_, most) = cast("tuple[int, tuple[str, int]]", picture.tile[0][2:])
    shape = (picture.height, picture.width, len(picture.getbands()))
    file.seek(offset)
    kind = np.dtype(">u2" if most > 255 else "u1")
    values = np.frombuffer(file.read(math.prod(shape) * kind.itemsize), kind).reshape(shape)
    if picture.mode != "RGB":
        return Image.fromarray(values[..., 0].astype(np.uint16)), ()
    if most > 255:
        colours, notes = eight_bits(values.astype(np.uint16))
        return Image.fromarray(colours), notes
    return Image.fromarray((np.arange(256) * (255 / most) + 0.5).clip(0, 255).astype(np.uint8)[values]), ()


def _page(file: BinaryIO, page: int) -> ImageFile.ImageFile:
    with _unlimited():
        picture = Image.open(file, formats=FORMATS)
        if page:
            picture.seek(page)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        tags = picture.tag_v2
        separate = tags.get(_Tag.PlanarConfiguration) == 2 and picture.tile[0][0] == "raw"
        if separate and set(tags.get(_Tag.BitsPerSample, ())) == {16}:
            # Pillow takes uncompressed planes of 16 bits for planes of 8.
            order = "L" if tags.prefix == b"II" else "B"
            picture.tile = [_with_rawmode(tile, f"{_rawmode(tile)[0]};16{order}") for tile in picture.tile]
    return picture


def _load(picture: ImageFile.ImageFile) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    with nullcontext() if limit is None or picture.width * picture.height <= limit else _unlimited():
        picture.load()


def _rawmode(tile: tuple[Any, ...]) -> str:
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _with_rawmode(tile: Any, rawmode: str) -> Any:
    arguments = (rawmode, *tile[3][1:]) if isinstance(tile[3], tuple) else rawmode
    return type(tile)((*tile[:3], arguments)) if type(tile) is tuple else tile._replace(args=arguments)


@dataclass(frozen=True)
class _Page:
    """What the header says of a page of a TIFF file."""

    number: int
    width: int
    height: int
    grey: bool
    reduced: bool
    elsewhere: bool  # whether it points to further pages, which Pillow does not read


def _pages(path: str | os.PathLike[str], picture: ImageFile.ImageFile) -> tuple[list[int], tuple[str, ...]]:
    """The page to read, or the three that are red, green and blue; and notes.  A MaaError where none is the obvious one."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return _tiff_pages(path, picture)
    if isinstance(picture, MpoImagePlugin.MpoImageFile):
        # What phones put behind the photograph, a preview or a map of brightness, is smaller; the other half of a stereo pair is not.
        size, count = picture.size, picture.n_frames
        try:
            for frame in range(1, min(count, _MOST_PAGES)):
                with _unlimited():
                    picture.seek(frame)
                if picture.size == size:
                    raise MaaError(_SEVERAL.format(path, count))
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError):
            pass  # there is no whole second picture
    elif getattr(picture, "is_animated", False):
        raise MaaError(_SEVERAL.format(path, "several"))
    return [0], ()


def _tiff_pages(path: str | os.PathLike[str], picture: TiffImagePlugin.TiffImageFile) -> tuple[list[int], tuple[str, ...]]:
    described = str(picture.tag_v2.get(_Tag.ImageDescription, ""))
    pages: list[_Page] = []
    for number in range(_MOST_PAGES + 1):
        try:
            with _unlimited():
                picture.seek(number)
        except EOFError:
            break
        except (SyntaxError, KeyError):
            pass  # a page of a kind that is not read has a size, too
        tags = picture.tag_v2
        width, height = (int(tags.get(tag, 0)) for tag in (_Tag.ImageWidth, _Tag.ImageLength))
        kind = int(tags.get(_Tag.NewSubfileType, 0))
        grey = tags.get(_Tag.SamplesPerPixel, 1) == 1 and tags.get(_Tag.PhotometricInterpretation) in (0, 1)
        if not kind & 4:  # a mask of transparency
            reduced = bool(kind & 1) or tags.get(_Tag.SubfileType) == 2
            pages.append(_Page(number, width, height, grey, reduced, _Tag.SubIFDs in tags))
    if len(pages) > _MOST_PAGES:
        raise MaaError(_SEVERAL.format(path, f"more than {_MOST_PAGES}"))
    whole = [page for page in pages if not page.reduced]
    if not whole and any(page.elsewhere for page in pages):
        raise MaaError(
            f"{path} shows only a reduced copy of its photograph, as raw files of cameras do: save it as JPEG, PNG or TIFF."
        )
    whole = whole or pages
    largest = max(whole, key=lambda page: page.width * page.height)
    rivals = [page for page in whole if 2 * page.width >= largest.width and 2 * page.height >= largest.height]
    if len(rivals) == 1:
        notes = (f"Page {largest.number + 1} of {len(pages)} was read, which is the largest.",) if largest.number else ()
        return [largest.number], notes
    channels = re.search(r"^channels=3\s*$", described, re.MULTILINE) or 'SizeC="3"' in described
    if channels and len(rivals) == 3 and all(page.grey for page in rivals) and len({(p.width, p.height) for p in rivals}) == 1:
        return [page.number for page in rivals], ("Its three grey pages were read as red, green and blue.",)
    raise MaaError(_SEVERAL.format(path, len(rivals)))


def _without_metadata(file: BinaryIO) -> BinaryIO:
    """A PNG file without the chunks that neither pixels nor their orientation need; cut short where its own structure is."""
    file.seek(8)
    parts = [_PNG]
    while len(header := file.read(8)) == 8:
        length, name = int.from_bytes(header[:4]), header[4:]
        if name[:1].isupper() or name in (b"tRNS", b"eXIf", b"acTL"):
            parts += [header, file.read(length + 4)]
        else:
            file.seek(length + 4, os.SEEK_CUR)
    return io.BytesIO(b"".join(parts))


def _unidentified(path: str | os.PathLike[str], head: bytes, file: BinaryIO) -> str:
    """The sentence on a file that none of the formats recognises."""
    for start, text in _FOREIGN.items():
        if re.match(start, head):
            return f"{path} is {text}"
    if head.startswith(_TIFF):
        try:
            file.seek(0)
            TiffImagePlugin.TiffImageFile(file)
        except Exception as error:
            if "unknown" in str(error):
                return f"{path} is a TIFF of a kind that is not read, such as one of floating point: save it as RGB of 8 or 16 bits."
            return damaged(path, error)
    return f"{path} is not an image, or is cut short at its very start: use JPEG, PNG or TIFF."


def _reason(error: Exception) -> str:
    """What an error says, as a part of a sentence."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")
