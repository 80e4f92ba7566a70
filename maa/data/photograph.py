"""What a fundus photograph is: an image, its field of view, and the lesions drawn on it.

Everything that enters the book passes through `read_image` and `read_mask`, so the rest of the package knows one kind of image
only: (H, W, 3) uint8 in RGB, upright.  Explained in ch:retina.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from maa.data.field import BLACK
from maa.errors import MaaError

LESIONS = {"MA": "microaneurysms", "HE": "haemorrhages", "EX": "hard exudates", "SE": "soft exudates", "OD": "optic disc"}
MAX_PIXELS = 400_000_000
_GREY_SPREAD = 4  # channels that differ by no more than this, almost everywhere, carry no colour
_COLOURLESS = "{} is greyscale: use the colour photograph that it was made from."
_opening = threading.Lock()


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

    Returns an ndarray, shape (H, W, 3), uint8, RGB, 0 to 255; a MaaError when the file is missing, not an image, truncated,
    without colour or larger than `MAX_PIXELS`.
    """
    picture = _open(path)
    if picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith(("I", "F")):
        raise MaaError(_COLOURLESS.format(path))
    if picture.mode in ("P", "RGBA", "RGBa", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    image = np.array(picture.convert("RGB"))
    step = max(1, max(image.shape[:2]) // 512)
    sparse = image[::step, ::step].astype(np.int16)
    if image.max() >= BLACK and np.percentile(sparse.max(axis=2) - sparse.min(axis=2), 99) <= _GREY_SPREAD:
        raise MaaError(_COLOURLESS.format(path))
    return image


def read_mask(path: str | os.PathLike[str], shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Read an annotation mask of any ordinary file format.  Explained in ch:retina.

    A pixel is annotated when its colour is not black (and not fully transparent), whatever the format: 1-bit, grey of 8 or 16
    bits, palette, RGB or RGBA.  IDRiD's own masks are palette images whose lesion colour is a red that becomes 76 in grey, so
    comparing with 255 would lose them.  In a JPEG, which rings around every edge, a pixel counts from half of full brightness.

    Returns an ndarray, shape (H, W), bool; a MaaError when the file is missing, not an image, truncated, or has not the height
    and width `shape` of its photograph.
    """
    picture = _open(path)
    if shape is not None and (picture.height, picture.width) != tuple(shape[:2]):
        raise MaaError(
            f"The mask {path} has {picture.width} x {picture.height} pixels but its photograph has "
            f"{shape[1]} x {shape[0]}: use the mask that was drawn on this photograph."
        )
    if picture.mode == "P":
        # Whether an entry of the palette is black is looked up once, not at every pixel.
        colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        coloured = np.zeros(256, bool)
        coloured[: len(colours)] = colours.any(axis=1)
        return np.take(coloured, np.asarray(picture))
    black = 127 if picture.format == "JPEG" else 0
    if picture.mode in ("PA", "CMYK", "YCbCr", "LAB", "HSV"):
        picture = picture.convert("RGBA" if picture.mode == "PA" else "RGB")
    bands = dict(zip(picture.getbands(), picture.split(), strict=True))
    alpha = bands.pop("A", bands.pop("a", None))
    marked = np.zeros((picture.height, picture.width), bool)
    for band in bands.values():
        marked |= np.asarray(band) > black
    return marked if alpha is None else marked & (np.asarray(alpha) > 0)


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


def _open(path: str | os.PathLike[str]) -> Image.Image:
    """Decode a file completely, upright, with every failure turned into a `MaaError`."""
    path = Path(path)
    if not path.exists():
        raise MaaError(f"{path} does not exist: check the path.")
    if path.is_dir():
        raise MaaError(f"{path} is a folder: name an image file.")
    try:
        # Pillow warns, then refuses, at sizes that montages of the retina reach; the limit below is ours.  Files are read by
        # several threads, hence the lock.
        with _opening:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                picture: Image.Image = Image.open(path)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        if picture.width * picture.height > MAX_PIXELS:
            raise MaaError(
                f"{path} has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:,}: scale it down first."
            )
        kind = picture.format
        with picture:
            picture.load()
            picture = ImageOps.exif_transpose(picture)
    except UnidentifiedImageError:
        raise MaaError(f"{path} is not an image, or is cut short at its very start: use JPEG, PNG or TIFF.") from None
    except PermissionError:
        raise MaaError(f"{path} may not be read by this user: change its permissions.") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MaaError(f"{path} is damaged or cut short ({str(error).rstrip('.')}): copy or download it again.") from None
    picture.format = kind  # exif_transpose may return a copy, which forgets its format
    return picture
