"""What a fundus photograph is: an image, its field of view, and the lesions drawn on it.

Everything that enters the book passes through `read_image` and `read_mask`, so the rest of the package knows one kind of image
only: (H, W, 3) uint8 in RGB, upright.  Explained in ch:retina.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from maa.data.field import BLACK
from maa.data.files import check_size, damaged, decode, eight_bits
from maa.errors import MaaError

LESIONS = {"MA": "microaneurysms", "HE": "haemorrhages", "EX": "hard exudates", "SE": "soft exudates", "OD": "optic disc"}
_GREY_SPREAD = 4  # channels that differ by no more than this, almost everywhere, carry no colour
_COLOURLESS = "{} is greyscale: use the colour photograph that it was made from."


@dataclass(frozen=True, eq=False)
class Fundus:
    """A fundus photograph with its annotation; a ValueError when the arrays do not fit together.  Explained in ch:retina.

    Attributes
    ----------
    name : str
        Identifier, for example ``"IDRiD_45"``.
    image : ndarray, shape (H, W, 3), uint8
        RGB, 0 to 255, at native resolution.
    fov : ndarray, shape (H, W), bool
        The field of view: True where the camera saw the retina.
    lesions : mapping from str to ndarray, shape (H, W), bool
        Annotated pixels by kind (see `LESIONS`).  An absent kind means that nothing of that kind was annotated.
    diseased : bool
        Whether the photograph comes from the annotated (diseased) set, and not from a patient graded free of retinopathy.
    split : {"train", "validation", "test"}
    """

    name: str
    image: np.ndarray
    fov: np.ndarray
    lesions: Mapping[str, np.ndarray]
    diseased: bool
    split: str

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"{self.name}: image must be (H, W, 3) uint8, not {self.image.shape} {self.image.dtype}")
        for label, mask in {"fov": self.fov, **self.lesions}.items():
            if mask.shape != self.shape or mask.dtype != bool:
                raise ValueError(f"{self.name}: {label} must be {self.shape} bool, not {mask.shape} {mask.dtype}")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.image.shape[:2]
        return height, width

    @property
    def ma(self) -> np.ndarray:
        """Annotated microaneurysm pixels, shape (H, W), bool; all False when there are none."""
        found = self.lesions.get("MA")
        return np.zeros(self.shape, bool) if found is None else found


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a colour fundus photograph of any ordinary file format.  Explained in ch:retina.

    The EXIF rotation is applied; CMYK, YCbCr and palette colours become RGB; 16-bit channels are scaled to 8 bits (65535
    becomes 255), not clipped; transparent parts become black, as the surround of the field of view is.  A greyscale photograph
    is refused: microaneurysms are told from pigment and dust by their colour, and every network here is trained on colour.

    Returns an ndarray, shape (H, W, 3), uint8, RGB, 0 to 255; a MaaError when the file cannot be decoded (see
    `maa.data.decode`, which has the formats and the limits) or has no colour.
    """
    return read_photograph(path)[0]


def read_photograph(path: str | os.PathLike[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """What `read_image` reads, and notes: sentences on what was done and has to be known, such as which page was read."""
    decoded = decode(path)
    image, notes = rgb(decoded.picture, path)
    return image, decoded.notes + notes


def rgb(pixels: Image.Image | np.ndarray, called: str | os.PathLike[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """A colour photograph that is in memory, as `read_image` gives one.

    Parameters
    ----------
    pixels : Image or ndarray, shape (H, W, 3 or 4) or (3 or 4, H, W)
        A picture of any mode with colour, which is not turned; or red, green, blue and perhaps alpha, of uint8, of uint16 (brought to 8 bits as
        those of a file are), or floating point from 0 to 1.
    called : str or path-like
        What to call it in an error.

    Returns
    -------
    image : ndarray, shape (H, W, 3), uint8
    notes : tuple of str
        Sentences: what was done and has to be known.

    Raises
    ------
    MaaError
        When it is of another shape or type, beyond the limits of size, or has no colour.
    """
    picture, notes = (pixels, ()) if isinstance(pixels, Image.Image) else _picture(pixels, called)
    check_size(called, *picture.size)
    try:
        picture.load()  # one that Pillow opened is read only now
    except Exception as error:  # decoders fail in every way there is
        raise MaaError(damaged(called, error)) from None
    if picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith(("I", "F")):
        raise MaaError(_COLOURLESS.format(called))
    if picture.mode in ("P", "RGBA", "RGBa", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        alpha = np.asarray(picture.getchannel("A"))
        if alpha.min() < alpha.max():
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
        elif alpha.max() < 255:  # no part stands out, so the channel was never filled
            notes += ("It is equally transparent everywhere, so it was read as if it were not.",)
    try:
        image = np.array(picture.convert("RGB"))
    except ValueError:
        raise MaaError(f"{called} has colours of the kind {picture.mode}, which are not read: save it as RGB.") from None
    step = max(1, max(image.shape[:2]) // 512)
    sparse = image[::step, ::step].astype(np.int16)
    if image.max() >= BLACK and np.percentile(sparse.max(axis=2) - sparse.min(axis=2), 99) <= _GREY_SPREAD:
        raise MaaError(_COLOURLESS.format(called))
    return image, notes


def _picture(pixels: np.ndarray, called: str | os.PathLike[str]) -> tuple[Image.Image, tuple[str, ...]]:
    """An array as a picture of mode RGB or RGBA, and notes."""
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4) and pixels.shape[0] in (3, 4):
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.ndim == 2 or (pixels.ndim == 3 and 1 in (pixels.shape[0], pixels.shape[2])):
        raise MaaError(_COLOURLESS.format(called))
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or not pixels.size:
        raise MaaError(f"{called} has the shape {pixels.shape}: give one photograph, of shape (height, width, 3).")
    check_size(called, pixels.shape[1], pixels.shape[0])
    notes: tuple[str, ...] = ()
    if pixels.dtype == np.uint16:
        colours, notes = eight_bits(pixels[..., :3])
        pixels = np.concatenate([colours, (pixels[..., 3:] >> 8).astype(np.uint8)], axis=2)
    elif np.issubdtype(pixels.dtype, np.floating):
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # also where one is not a number
            raise MaaError(f"{called} has floating-point values outside 0 to 1: divide by the largest possible, or give uint8.")
        pixels = (pixels.astype(np.float32) * 255 + 0.5).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise MaaError(f"{called} has values of type {pixels.dtype}: give uint8, uint16, or floating point from 0 to 1.")
    return Image.fromarray(np.ascontiguousarray(pixels)), notes


def read_mask(path: str | os.PathLike[str], shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Read an annotation mask of any ordinary file format.  Explained in ch:retina.

    A pixel is annotated when its colour is not black (and not fully transparent), whatever the format: 1-bit, grey of 8 or 16
    bits, palette, RGB or RGBA.  IDRiD's own masks are palette images whose lesion colour is a red that becomes 76 in grey, so
    comparing with 255 would lose them.  In a JPEG, which rings around every edge, a pixel counts from half of full brightness,
    and so in a WebP or JPEG 2000 that is as bright.

    Returns an ndarray, shape (H, W), bool; a MaaError when the file cannot be decoded (see `maa.data.decode`), or has not the
    height and width `shape` of its photograph.
    """
    decoded = decode(path)
    picture = decoded.picture
    if shape is not None and (picture.height, picture.width) != tuple(shape[:2]):
        raise MaaError(
            f"The mask {path} has {picture.width} x {picture.height} pixels but its photograph has "
            f"{shape[1]} x {shape[0]}: use the mask that was drawn on this photograph."
        )
    if picture.mode == "P":
        # Whether an entry of the palette is black, or transparent, is looked up once, not at every pixel.
        colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        coloured = np.zeros(256, bool)
        coloured[: len(colours)] = colours.any(axis=1)
        transparency = picture.info.get("transparency", b"")
        clear = [transparency] if isinstance(transparency, int) else np.flatnonzero(np.frombuffer(transparency, np.uint8) == 0)
        coloured[clear] = False
        return np.take(coloured, np.asarray(picture))
    if picture.mode in ("PA", "CMYK", "YCbCr", "LAB", "HSV") or (
        "transparency" in picture.info and picture.mode in ("1", "L", "RGB")
    ):
        picture = picture.convert("RGBA" if picture.mode == "PA" or "transparency" in picture.info else "RGB")
    bands = dict(zip(picture.getbands(), picture.split(), strict=True))
    alpha = bands.pop("A", bands.pop("a", None))
    opaque = None if alpha is None else np.asarray(alpha) > 0
    values = [np.asarray(band) for band in bands.values()]
    rings = decoded.format in ("WEBP", "JPEG2000") and max(band.max() for band in values) > 127
    black = 127 if decoded.format in ("JPEG", "MPO") or rings else 0
    marked = np.zeros((picture.height, picture.width), bool)
    for band in values:
        marked |= band > black
    # Transparent everywhere, it is a mask without a mark where its colour is one, and one with an unfilled channel elsewhere.
    if opaque is None or (not opaque.any() and any(np.ptp(band) for band in values)):
        return marked
    return marked & opaque


def halve(array: np.ndarray) -> np.ndarray:
    """Scale down to one half by area.  Explained in ch:half.

    Every output pixel is the mean of a block of 2 x 2 input pixels, which neither aliases nor shifts the grid: output pixel
    (r, c) covers input rows 2r, 2r + 1 and columns 2c, 2c + 1.  An odd last row or column is averaged as if it were repeated.

    Of uint8, shape (H, W) or (H, W, 3), it is the mean, rounded (halves upwards); of bool, shape (H, W), True where at least half
    of the block is True; of any other dtype a ValueError.
    """
    array = np.asarray(array)
    if array.dtype == np.bool_:
        # Rounding halves upwards, the mean of zeros and ones is one from half coverage on.
        return halve(array.view(np.uint8)).view(np.bool_)
    if array.dtype != np.uint8:
        raise ValueError(f"halve takes uint8 or bool arrays, not {array.dtype}")
    return np.array(Image.fromarray(array).reduce(2))
