"""The phantom: synthetic fundus photographs whose ground truth is exact.

The book has to run where IDRiD is not, so it carries a patient of its own making.  A phantom is
drawn the way a photograph comes about: a tissue with a disc, a fovea and a vascular tree; lesions,
and everything that is mistaken for them; light that reaches the retina unevenly; optics that blur;
a sensor that adds noise; and JPEG compression at IDRiD's quality.  Blood and pigment absorb, so the
tissue is described by its optical density, channel by channel, and contrasts multiply with the
light as they do in a real eye.

Where the constants come from
-----------------------------
Lesion sizes, contrasts and counts, the amplitude of the texture, the camera's colours and the JPEG
tables were measured on the 54 segmentation training photographs of IDRiD and on ten of its healthy
ones.  A lesion is a connected region (eight neighbours) of a mask; its contrast is the mean inside
the mask minus the median of the ring 6 to 16 pixels away from it that no lesion of any kind
touches, relative to that median.  `lesion_statistics` and `texture_statistics` are those very
measurements, so that a phantom and a photograph can be put side by side.

Lengths are in degrees of visual angle.  IDRiD's field of view, 50 degrees by the camera's data
sheet, is 3420 pixels wide: 68.4 pixels per degree.

Explained in chapter 1.
"""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage, special

from maa.errors import MaaError
from maa.fundus import Fundus

IDRID_PIXELS_PER_DEGREE = 68.4
"""Width of IDRiD's field of view, 3420 pixels, over the 50 degrees of its camera's data sheet."""

CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class LesionModel:
    """Size, contrast and number of one kind of lesion, as measured on IDRiD.

    Attributes
    ----------
    log_area : tuple of float
        Mean and standard deviation of ln(area in square degrees).
    log_contrast : tuple of float
        Mean and standard deviation of ln(|relative contrast in green|), mean over the mask.
    density : float
        Mean number per square degree within 10 degrees of the centre of the photograph.
    log_density_spread : float
        Standard deviation, between patients, of ln(density).
    colour : tuple of float
        Contrast in red, green and blue as a multiple of the contrast in green; negative is darker.
    softness : float
        Width of the blurred border, in degrees (sigma of the Gaussian).
    """

    log_area: tuple[float, float]
    log_contrast: tuple[float, float]
    density: float
    log_density_spread: float
    colour: tuple[float, float, float]
    softness: float


def _square_degrees(log_pixels: float) -> float:
    return log_pixels - 2.0 * math.log(IDRID_PIXELS_PER_DEGREE)


# Quantiles 5/25/50/75/95 % on IDRiD, in pixels:        area               green contrast, %
#   MA (2,394 lesions)                       80/148/235/377/682       -19/-12/-9.6/-7.3/-4.3
#   HE (1,377)                            304/737/1485/3615/13669     -21/-13/-10/-7.6/-4.6
#   EX                                      47/105/218/548/2260        +5/+8/+12/+17/+31
#   SE                                 2329/4745/8490/12310/32513      +9/+11/+15/+23/+43
LESION_MODELS = {
    "MA": LesionModel(
        (_square_degrees(5.457), 0.673), (math.log(0.096), 0.33), 0.031, 0.96, (-0.27, -1.0, -0.5), 0.048
    ),
    "HE": LesionModel(
        (_square_degrees(7.30), 1.00), (math.log(0.090), 0.38), 0.0148, 1.0, (-0.30, -1.0, -0.2), 0.065
    ),
    "EX": LesionModel(
        (_square_degrees(5.55), 1.00), (math.log(0.117), 0.53), 0.178, 1.2, (0.35, 1.0, 1.2), 0.045
    ),
    "SE": LesionModel(
        (_square_degrees(8.80), 0.60), (math.log(0.150), 0.45), 0.0012, 1.0, (0.25, 1.0, 1.3), 0.32
    ),
}
"""What was measured on IDRiD, by kind of lesion."""

MASK_LEVEL = 0.4
"""IDRiD's outlines of microaneurysms run where the contrast has fallen to 0.4 of its peak."""

JPEG_QUALITY = 50
"""IDRiD's quantisation tables are the standard's own, unscaled, which is quality 50; 4:2:0 chroma."""

# Amplitude, in grey levels, of noise whose grain is 2^k pixels (sensor) or as many pixels of an
# IDRiD photograph (tissue): a non-negative least-squares fit to the robust standard deviation of
# differences of Gaussians at sigma 1 to 64 pixels, which in IDRiD is nearly the same (0.8 to 1.5)
# at every scale.  Sensor noise is the same in the three channels: what differs, JPEG removed.
_SENSOR_GRAIN = {1: 4.5, 4: 0.8, 8: 0.9}
_TISSUE_GRAIN = {8: 1.9, 16: 1.3, 32: 2.6, 128: 5.0}

_VEIN, _ARTERY = 0, 1
_SPLITS = {"train": "a. Training Set", "test": "b. Testing Set"}
_MASK_FOLDERS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
    "OD": "5. Optic Disc",
}


@dataclass(frozen=True)
class PhantomConfig:
    """What is drawn, and at which scale.  Explained in chapter 1.

    Attributes
    ----------
    size : int
        Width of the photograph in pixels, at least 64.
    field_degrees : float
        Angle that the width spans; `pixels_per_degree` is ``size / field_degrees``.  IDRiD's scale
        is 68.4, so ``PhantomConfig(size=1368)`` draws lesions of IDRiD's size in pixels.
    height : int or None
        Height in pixels; None means a square photograph.
    aperture_degrees : float or None
        Diameter of the circular field of view; None means 97 % of the width.
    disc_fovea_degrees : float
        Distance from the fovea to the centre of the disc: 15.5 degrees on average (Rohrschneider,
        IOVS 2004).  The disc scales with it.  IDRiD's photographs measure about 19 of their
        nominal degrees.
    lesion_density : float
        Multiplies the number of lesions per area measured on IDRiD; 0 means none.
    unlabelled : float
        Share, 0 to 1, of the microaneurysms that are drawn in the photograph and left out of the
        mask, as real annotations leave some out.  Everything else stays the same to the byte: the
        same seed with ``unlabelled=0`` gives the full truth.
    lookalikes : float
        Multiplies the number of structures that are mistaken for microaneurysms and are no lesion:
        pigment spots, dust on the lens, vessel stubs.
    """

    size: int = 1024
    field_degrees: float = 20.0
    height: int | None = None
    aperture_degrees: float | None = None
    disc_fovea_degrees: float = 15.5
    lesion_density: float = 1.0
    unlabelled: float = 0.0
    lookalikes: float = 1.0

    def __post_init__(self) -> None:
        def demand(holds: bool, name: str, wanted: str) -> None:
            if not holds:
                value = getattr(self, name)
                raise MaaError(f"The phantom's {name} is {value!r}; choose {wanted}.")

        demand(64 <= self.size <= 8192, "size", "64 to 8192 pixels")
        demand(1.0 <= self.field_degrees <= 120.0, "field_degrees", "1 to 120 degrees")
        demand(self.height is None or 64 <= self.height <= 8192, "height", "64 to 8192 pixels, or None")
        demand(
            self.aperture_degrees is None or self.aperture_degrees > 0.5, "aperture_degrees", "more than 0.5, or None"
        )
        demand(8.0 <= self.disc_fovea_degrees <= 25.0, "disc_fovea_degrees", "8 to 25 degrees")
        demand(0.0 <= self.lesion_density <= 50.0, "lesion_density", "0 to 50")
        demand(0.0 <= self.unlabelled <= 1.0, "unlabelled", "a share from 0 to 1")
        demand(0.0 <= self.lookalikes <= 50.0, "lookalikes", "0 to 50")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.size if self.height is None else self.height, self.size)

    @property
    def pixels_per_degree(self) -> float:
        """Scale of the photograph; IDRiD's is 68.4."""
        return self.size / self.field_degrees

    @property
    def aperture(self) -> float:
        """Diameter of the field of view, in degrees."""
        return 0.97 * self.field_degrees if self.aperture_degrees is None else self.aperture_degrees


IDRID_FRAME = PhantomConfig(
    size=4288,
    height=2848,
    field_degrees=4288 / IDRID_PIXELS_PER_DEGREE,
    aperture_degrees=50.0,
    disc_fovea_degrees=19.3,
)
"""A phantom in the frame of an IDRiD photograph: 4288 x 2848 pixels, 50 degrees, cut off above and below."""


def make_phantom(
    seed: int,
    diseased: bool = True,
    config: PhantomConfig = PhantomConfig(),
    name: str | None = None,
    split: str = "train",
) -> Fundus:
    """Draw one synthetic fundus photograph.  Explained in chapter 1.

    Parameters
    ----------
    seed : int
        Non-negative; the same seed and configuration give the same bytes.
    diseased : bool
        False draws a healthy patient: the optic disc is the only entry of ``lesions``.
    config : PhantomConfig
    name : str or None
        Identifier; None means ``"phantom_<seed>"``.
    split : {"train", "validation", "test"}

    Returns
    -------
    Fundus
        ``image`` (H, W, 3) uint8 has been through JPEG and back.  ``lesions`` holds the annotated
        masks of the kinds present, without the share ``config.unlabelled`` of the microaneurysms.

    Raises
    ------
    MaaError
        ``seed`` is negative.
    """
    jpeg, fov, lesions = _photograph(_stream(seed), diseased, config)
    with Image.open(io.BytesIO(jpeg)) as photograph:
        image = np.array(photograph)
    return Fundus(
        name=f"phantom_{seed}" if name is None else name,
        image=image,
        fov=fov,
        lesions=lesions,
        diseased=diseased,
        split=split,
    )


def write_dataset(
    out: str | os.PathLike,
    n_diseased: int,
    n_healthy: int,
    seed: int = 0,
    n_test: int | None = None,
    config: PhantomConfig = PhantomConfig(),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write phantoms in the folder layout of IDRiD's official release.  Explained in chapter 1.

    Parameters
    ----------
    out : path
        The folder to create; it may exist if it is empty.
    n_diseased, n_healthy : int
        Photographs in the segmentation training set (at least 1), and healthy ones in the grading
        set (0 or more).
    seed : int
        Seed of the whole set; photograph k draws from the k-th stream of it.
    n_test : int or None
        Photographs in the segmentation testing set; None means half of ``n_diseased``, as in IDRiD.
    config : PhantomConfig
    progress : callable or None
        Called as ``progress(done, total)`` after each photograph.

    Returns
    -------
    Path
        The folder written.

    Raises
    ------
    MaaError
        ``out`` is a file or a folder with something in it, or a count is out of range.
    """
    if n_diseased < 1 or n_healthy < 0 or (n_test is not None and n_test < 0):
        raise MaaError(
            f"A phantom data set of {n_diseased} diseased, {n_healthy} healthy and {n_test} test photographs"
            " cannot be written; ask for at least one diseased and no negative number."
        )
    out = Path(out).absolute()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise MaaError(f"{out} exists and is not an empty folder; choose another place for the phantoms.")
    n_test = round(n_diseased / 2) if n_test is None else n_test

    jobs = [(f"IDRiD_{i + 1:02d}", True, "train" if i < n_diseased else "test") for i in range(n_diseased + n_test)]
    first_healthy = max(138, len(jobs) + 1)  # IDRiD's own healthy photographs begin at 138
    jobs += [(f"IDRiD_{first_healthy + i:03d}", False, "train") for i in range(n_healthy)]

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise MaaError(f"The phantoms cannot be written to {out} ({error.strerror}); choose another place.") from error
    try:
        for done, ((name, diseased, split), stream) in enumerate(
            zip(jobs, _stream(seed).spawn(len(jobs))), start=1
        ):
            jpeg, _, lesions = _photograph(stream, diseased, config)
            section = "A. Segmentation" if diseased else "B. Disease Grading"
            _write_bytes(draft / section / "1. Original Images" / _SPLITS[split] / f"{name}.jpg", jpeg)
            if diseased:
                for kind, mask in lesions.items():
                    folder = draft / section / "2. All Segmentation Groundtruths" / _SPLITS[split] / _MASK_FOLDERS[kind]
                    _write_bytes(folder / f"{name}_{kind}.tif", _palette_tiff(mask))
            if progress is not None:
                progress(done, len(jobs))
        if n_healthy:
            labels = io.StringIO()
            rows = csv.writer(labels)
            rows.writerow(["Image name", "Retinopathy grade", "Risk of macular edema "])
            rows.writerows([name, 0, 0] for name, diseased, _ in jobs if not diseased)
            _write_bytes(
                draft / "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv",
                labels.getvalue().encode(),
            )
        draft.chmod(0o755)
        if out.is_dir():
            out.rmdir()
        os.replace(draft, out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return out


def lesion_statistics(photographs: Fundus | Iterable[Fundus], kinds: Iterable[str] = ("MA",)) -> pd.DataFrame:
    """Measure every lesion of real or synthetic photographs.  Explained in chapter 1.

    Parameters
    ----------
    photographs : Fundus or iterable of Fundus
    kinds : iterable of str
        Kinds of lesion, among "MA", "HE", "EX" and "SE".

    Returns
    -------
    DataFrame
        One row for each connected region (eight neighbours) of at least five pixels: ``name``,
        ``kind``, ``row`` and ``column`` of its centre in pixels, ``area`` in pixels, and for each
        channel ``surround_red`` (median, 0 to 255, of the ring 6 to 16 pixels away that no lesion
        touches) and ``contrast_red`` (mean inside minus surround, relative to the surround; NaN
        where the surround is darker than 5 grey levels).
    """
    measured = []
    for fundus in [photographs] if isinstance(photographs, Fundus) else photographs:
        lesions = {kind: mask for kind, mask in fundus.lesions.items() if kind != "OD"}
        excluded = ~fundus.fov
        for mask in lesions.values():
            excluded = excluded | mask
        for kind in kinds:
            if kind not in lesions:
                continue
            labels, _ = ndimage.label(lesions[kind], np.ones((3, 3)))
            for index, box in enumerate(ndimage.find_objects(labels), start=1):
                rows, columns = (slice(max(0, side.start - 18), side.stop + 18) for side in box)
                inside = labels[rows, columns] == index
                distance = ndimage.distance_transform_edt(~inside)
                ring = (distance > 6) & (distance <= 16) & ~excluded[rows, columns]
                if inside.sum() < 5 or ring.sum() < 30:
                    continue
                pixels = fundus.image[rows, columns].astype(np.float32)
                surround = np.median(pixels[ring], axis=0)
                change = pixels[inside].mean(axis=0) - surround
                centre = np.argwhere(inside).mean(axis=0)
                row = {"name": fundus.name, "kind": kind, "row": rows.start + centre[0]}
                row |= {"column": columns.start + centre[1], "area": int(inside.sum())}
                for channel, level, step in zip(CHANNELS, surround, change):
                    row[f"surround_{channel}"] = float(level)
                    row[f"contrast_{channel}"] = float(step / level) if level >= 5 else math.nan
                measured.append(row)
    columns = ["name", "kind", "row", "column", "area"]
    columns += [f"{what}_{channel}" for channel in CHANNELS for what in ("surround", "contrast")]
    return pd.DataFrame(measured, columns=columns)


def texture_statistics(photographs: Fundus | Iterable[Fundus]) -> pd.DataFrame:
    """Measure the texture at octaves of scale, in real or synthetic photographs.  Explained in chapter 1.

    Parameters
    ----------
    photographs : Fundus or iterable of Fundus

    Returns
    -------
    DataFrame
        One row for each photograph, channel and scale: ``name``, ``channel``, ``sigma`` in pixels
        and ``amplitude``, the robust standard deviation (1.4826 times the median absolute
        deviation), in grey levels, of the difference of Gaussians of ``sigma`` and ``2 * sigma``
        over the square of at most 1800 pixels inscribed in the field of view.
    """
    measured = []
    for fundus in [photographs] if isinstance(photographs, Fundus) else photographs:
        rows, columns = np.flatnonzero(fundus.fov.any(axis=1)), np.flatnonzero(fundus.fov.any(axis=0))
        middle = (int(rows.mean()), int(columns.mean()))
        half = min(900, int(0.35 * len(rows)), int(0.35 * len(columns)))
        square = tuple(slice(centre - half, centre + half) for centre in middle)
        for index, channel in enumerate(CHANNELS):
            finer = ndimage.gaussian_filter(fundus.image[square][..., index].astype(np.float32), 1)
            for sigma in (1, 2, 4, 8, 16, 32):
                coarser = ndimage.gaussian_filter(finer, math.sqrt(3) * sigma)
                band = (finer - coarser)[::2, ::2]
                amplitude = 1.4826 * float(np.median(np.abs(band - np.median(band))))
                measured.append((fundus.name, channel, sigma, amplitude))
                finer = coarser
    return pd.DataFrame(measured, columns=["name", "channel", "sigma", "amplitude"])


# ------------------------------------------------------------------------------------ the eye


def _stream(seed: int) -> np.random.SeedSequence:
    if seed < 0:
        raise MaaError(f"The phantom's seed is {seed}; choose 0 or a positive integer.")
    return np.random.SeedSequence(seed)


@dataclass(frozen=True)
class _Eye:
    """Where things are, in degrees: the fovea is the origin, x towards the disc, y downwards."""

    disc: tuple[float, float]
    disc_radii: tuple[float, float]
    centre: tuple[float, float]  # of the photograph
    side: int  # +1: the disc is on the right of the photograph
    shape: tuple[int, int]
    scale: float  # pixels per degree
    aperture: float  # degrees

    def pixels(self, x, y):
        """Row and column of a point given in degrees."""
        height, width = self.shape
        return (
            (y - self.centre[1]) * self.scale + (height - 1) / 2,
            self.side * (x - self.centre[0]) * self.scale + (width - 1) / 2,
        )

    def degrees(self, step: int = 1):
        """Open grids x (1, w) and y (h, 1) of every `step`-th pixel, in degrees."""
        height, width = self.shape
        row = (np.arange(0, height, step, dtype=np.float32) + (step - 1) / 2)[:, None]
        column = (np.arange(0, width, step, dtype=np.float32) + (step - 1) / 2)[None, :]
        y = (row - (height - 1) / 2) / self.scale + self.centre[1]
        x = self.side * (column - (width - 1) / 2) / self.scale + self.centre[0]
        return x.astype(np.float32), y.astype(np.float32)

    def visible(self, x: float, y: float, margin: float = 0.0) -> bool:
        """Whether a point lies in the photograph, `margin` degrees inside its border."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        half_height = self.shape[0] / (2 * self.scale)
        return math.hypot(dx, dy) < self.aperture / 2 - margin and abs(dy) < half_height - margin

    @property
    def area(self) -> float:
        """Retina in the photograph, in square degrees."""
        radius = self.aperture / 2
        half = min(radius, self.shape[0] / (2 * self.scale))
        return 2 * (half * math.sqrt(radius**2 - half**2) + radius**2 * math.asin(half / radius))


def _place_eye(rng: np.random.Generator, config: PhantomConfig) -> _Eye:
    distance = config.disc_fovea_degrees * rng.normal(1.0, 0.04)
    angle = math.radians(rng.normal(6.0, 3.0))  # the disc lies a little above the fovea
    disc = (distance * math.cos(angle), -distance * math.sin(angle))
    # In IDRiD the disc is 502 +- 50 pixels wide and 553 +- 56 high: 0.38 and 0.42 of the distance.
    width = config.disc_fovea_degrees * 0.38 * rng.normal(1.0, 0.07)
    radii = (width / 2, width / 2 * rng.normal(1.10, 0.05))
    room = config.aperture / distance
    if room > 2.0:  # a field of 50 degrees is centred between the fovea and the point midway
        along = rng.uniform(0.0, 0.35)
    elif room > 1.15:  # both the disc and the fovea fit in
        along = rng.uniform(0.44, 0.56)
    else:
        along = rng.uniform(-0.1, 0.95)
    jitter = rng.normal(0.0, 0.03 * config.aperture, 2)
    centre = (along * disc[0] + 0.4 * jitter[0], along * disc[1] + jitter[1])
    side = 1 if rng.random() < 0.5 else -1
    return _Eye(disc, radii, centre, side, config.shape, config.pixels_per_degree, config.aperture)


# ------------------------------------------------------------------------------------ the vessels


@dataclass(frozen=True)
class _Vessel:
    kind: int
    path: np.ndarray  # (n, 3): x, y, radius, in degrees


_STEP = 0.22  # degrees between the points of a vessel's axis
_THINNEST = 0.035  # degrees: radius at which branches end, 2.4 pixels in IDRiD


def _murray(parent: float, share: float) -> tuple[float, float, float, float]:
    """Radii and angles of the two daughters of a vessel.

    Murray's law (C. D. Murray, PNAS 12:207, 1926; J. Gen. Physiol. 9:835, 1926): the cubes of the
    radii add up, and each daughter leaves at the angle that minimises the work of the junction.

    Parameters
    ----------
    parent : float
        Radius of the parent.
    share : float
        Radius of the smaller daughter over that of the parent, 0 to 0.79.

    Returns
    -------
    major, minor, major_angle, minor_angle : float
        Radii in the parent's unit, angles in radians from the parent's direction.
    """
    minor = share * parent
    major = (parent**3 - minor**3) ** (1 / 3)

    def angle(own: float, other: float) -> float:
        cosine = (parent**4 + own**4 - other**4) / (2 * parent**2 * own**2)
        return math.acos(min(1.0, max(-1.0, cosine)))

    return major, minor, angle(major, minor), angle(minor, major)


def _arcade(eye: _Eye, sign: int, opening: float, wobble: np.ndarray) -> np.ndarray:
    """Axis of a temporal arcade: up (or down) from the disc, then around the macula."""
    distance = eye.disc[0]
    t = np.linspace(0.0, 2.6, 400)
    rise = opening * distance * (1.0 - np.exp(-2.4 * t)) ** 0.62 * (1.0 + 0.04 * t)
    waves = sum(a * np.sin(2 * math.pi * (f * t + p)) for a, f, p in wobble) * np.minimum(1, 3 * t)
    x, y = eye.disc[0] - distance * t, eye.disc[1] + sign * (rise + waves)
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    even = np.arange(0, length[-1], _STEP)
    return np.column_stack([np.interp(even, length, x), np.interp(even, length, y)])


def _grow_vessels(rng: np.random.Generator, eye: _Eye) -> list[_Vessel]:
    """Grow arteries and veins from the disc until they are too thin or out of the photograph."""
    distance, (disc_x, disc_y) = eye.disc[0], eye.disc
    # (kind, x, y, heading, radius, guide or None, whether it serves the macula)
    sprouts: deque = deque()
    calibre = rng.normal(1.0, 0.08)
    for sign in (-1, 1):
        opening = rng.uniform(0.50, 0.72)
        order = rng.permutation([-1, 1])
        for kind in (_VEIN, _ARTERY):
            radius = calibre * (rng.uniform(0.21, 0.27) if kind == _VEIN else rng.uniform(0.15, 0.19))
            own = opening + 0.045 * order[kind] + rng.normal(0, 0.01)
            wobble = np.column_stack([rng.normal(0, [0.22, 0.16, 0.07]), [0.7, 1.7, 4.0], rng.random(3)])
            guide = _arcade(eye, sign, own, wobble) + rng.normal(0, 0.25, 2) * [1, 0.5]
            sprouts.append((kind, *guide[0], sign * math.pi / 2, radius, guide, False))
            for _ in range(2):
                heading = sign * rng.uniform(0.1, 1.15)
                start = (disc_x + rng.normal(0, 0.3), disc_y + sign * abs(rng.normal(0.3, 0.3)))
                sprouts.append((kind, *start, heading, radius * rng.uniform(0.4, 0.7), None, False))
    for _ in range(rng.integers(2, 5)):  # small vessels that leave the disc towards the fovea
        heading = math.pi + rng.uniform(-0.7, 0.7)
        kind = int(rng.integers(2))
        sprouts.append((kind, disc_x, disc_y, heading, rng.uniform(0.05, 0.09), None, True))

    vessels, taken, reach = [], {}, eye.aperture / 2 + 1.5
    while sprouts and len(vessels) < 3000:
        kind, x, y, heading, radius, guide, macular = sprouts.popleft()
        path = [(x, y, radius)]
        wait = rng.exponential(1.5) + (1.2 if guide is None else 0.8)
        drift, travelled, index = 0.0, 0.0, 0
        bends = rng.standard_normal(220)
        ripple = (rng.uniform(1.2, 3.2), rng.uniform(0, 2 * math.pi), abs(rng.normal(0, 0.09)))
        limit = 200 if guide is None else len(guide) - 1
        for index in range(limit):
            if guide is not None:
                ahead = guide[min(index + 1, len(guide) - 1)]
                heading = math.atan2(ahead[1] - y, ahead[0] - x)
                x, y = float(ahead[0]), float(ahead[1])
            else:
                # Inside the arcades blood runs towards the fovea, outside away from the disc.
                if macular:
                    goal = math.atan2(-y, -x)
                else:
                    goal = math.atan2(y - disc_y, x - disc_x)
                turn = math.remainder(goal - heading, 2 * math.pi)
                drift = 0.80 * drift + 0.022 * bends[index]
                wave = 0.9 * math.sin(ripple[0] * travelled + ripple[1])
                heading += drift + 0.035 * turn + ripple[2] * wave
                x += _STEP * math.cos(heading)
                y += _STEP * math.sin(heading)
            # An artery never crosses an artery, nor a vein a vein.
            cell = (kind, round(x / 0.3), round(y / 0.3))
            if guide is None and travelled > 1.0 and taken.get(cell, len(vessels)) != len(vessels):
                break
            taken[cell] = len(vessels)
            if guide is None:
                radius *= 0.988
            path.append((x, y, radius))
            travelled += _STEP
            if radius < _THINNEST:
                break
            wait -= _STEP
            if math.hypot(x - eye.centre[0], y - eye.centre[1]) > reach and travelled > distance / 2:
                break
            if math.hypot(x, y) < 1.3 and radius < 0.12:  # the fovea has no vessels
                break
            if wait <= 0 and math.hypot(x - disc_x, y - disc_y) > 0.7 * eye.disc_radii[0]:
                wait = rng.exponential(1.2 + 10.0 * radius) + 0.8
                trunk = guide is not None
                major, minor, major_angle, minor_angle = _murray(
                    radius, rng.uniform(0.28, 0.62) if trunk else rng.uniform(0.40, 0.72)
                )
                if minor >= _THINNEST:
                    side = 1 if rng.random() < 0.5 else -1
                    inward = math.sin(math.atan2(-y, -x) - heading) * side > 0
                    sprouts.append((kind, x, y, heading + side * minor_angle, minor, None, macular or (trunk and inward)))
                    radius = major
                    if not trunk:
                        heading -= side * major_angle
        if len(path) > 3:
            path = np.array(path)
            if guide is None:  # vessels taper off where they dive out of focus
                end = min(len(path), 12 + int(150 * path[-1, 2]))
                path[-end:, 2] *= np.linspace(1.0, min(1.0, 0.6 * _THINNEST / path[-1, 2]), end)
            vessels.append(_Vessel(kind, path))
    return vessels


def _draw_vessels(vessels: list[_Vessel], eye: _Eye) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth of blood in veins and arteries (2, H, W), the light reflex (H, W), all 0 to about 1.

    A vessel is a chain of short capsules; each is drawn in its own bounding box, with the profile
    of a cylinder: as much blood as the light passes through.
    """
    height, width = eye.shape
    depth = np.zeros((2, height, width), np.float32)
    reflex = np.zeros((height, width), np.float32)
    for vessel in vessels:
        rows, columns = eye.pixels(vessel.path[:, 0], vessel.path[:, 1])
        radii = vessel.path[:, 2] * eye.scale
        for r0, c0, r1, c1, a, b in zip(rows[:-1], columns[:-1], rows[1:], columns[1:], radii[:-1], radii[1:]):
            reach = max(a, b) + 1.0
            top, bottom = int(max(0, min(r0, r1) - reach)), int(min(height, max(r0, r1) + reach + 2))
            left, right = int(max(0, min(c0, c1) - reach)), int(min(width, max(c0, c1) + reach + 2))
            if top >= bottom or left >= right:
                continue
            y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(r0)
            x = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(c0)
            dy, dx = np.float32(r1 - r0), np.float32(c1 - c0)
            along = np.clip((y * dy + x * dx) / (dy * dy + dx * dx), 0, 1)
            off = (y - along * dy) ** 2 + (x - along * dx) ** 2
            radius = max(0.5 * (a + b), 0.7)
            inside = np.maximum(1 - off / np.float32(radius * radius), 0)
            degrees = radius / eye.scale
            strength = np.float32((degrees / 0.24) ** 0.6)
            box = (slice(top, bottom), slice(left, right))
            np.maximum(depth[vessel.kind][box], strength * inside**np.float32(0.45), out=depth[vessel.kind][box])
            if degrees > 0.07:
                shine = np.float32((0.55 if vessel.kind == _ARTERY else 0.22) * min(1.0, (degrees - 0.07) / 0.08))
                np.maximum(reflex[box], shine * np.exp(-off / np.float32((0.30 * radius) ** 2)), out=reflex[box])
    return depth, reflex


# ------------------------------------------------------------------------------------ the lesions


class _Spots:
    """Draws blobs, each in its own bounding box; `dark` and `bright` are (3, H, W) optical densities.

    Blobs of blood add up.  Bright ones do not: exudate over exudate is no brighter than the brighter.
    """

    def __init__(self, eye: _Eye, blur: float):
        self.eye, self.blur = eye, blur
        self.dark = np.zeros((3, *eye.shape), np.float32)
        self.bright = np.zeros((3, *eye.shape), np.float32)

    def draw(self, rng, x, y, area, colour, softness, elongation=1.0, angle=0.0, ragged=0.06, mask=None):
        """Add one blob; `colour` is the mean change of optical density inside the outline.

        The outline is an ellipse of `area` square degrees, deformed by a few random harmonics; the
        density rises across it like a blurred edge, so that it passes `MASK_LEVEL` of its peak on
        the outline.
        """
        eye = self.eye
        row, column = eye.pixels(x, y)
        radius = math.sqrt(area / math.pi) * eye.scale
        sigma = max(math.sqrt(max((softness * eye.scale) ** 2 - self.blur**2, 0)), 0.3)
        reach = radius * math.sqrt(elongation) * (1 + 3 * ragged) + 3 * sigma + 2
        height, width = eye.shape
        top, bottom = int(max(0, row - reach)), int(min(height, row + reach + 2))
        left, right = int(max(0, column - reach)), int(min(width, column + reach + 2))
        order = np.arange(2, 7)
        amplitude = rng.normal(0, ragged, 5) / (order - 1.0)
        phase = rng.uniform(0, 2 * math.pi, 5)
        if top >= bottom or left >= right:
            return
        dy = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(row)
        dx = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(column)
        cos, sin = math.cos(angle), math.sin(angle)
        long, short = (dx * cos + dy * sin) / math.sqrt(elongation), (dy * cos - dx * sin) * math.sqrt(elongation)
        polar = np.arctan2(short, long)
        outline = radius * (1 + sum(a * np.cos(n * polar + p) for n, a, p in zip(order, amplitude, phase)))
        outside = np.hypot(long, short) - outline  # signed distance to the outline, nearly
        inside = outside < 0
        shift = 0.253 * sigma  # where a blurred edge has fallen to MASK_LEVEL
        profile = special.erfc((outside + shift) / (math.sqrt(2) * sigma)).astype(np.float32)
        mean = float(profile[inside].mean()) if inside.any() else float(profile.max())
        box = (slice(top, bottom), slice(left, right))
        change = np.asarray(colour, np.float32)[:, None, None] * (profile / mean)
        if colour[1] < 0:
            self.dark[(slice(None), *box)] -= change
        else:
            np.maximum(self.bright[(slice(None), *box)], change, out=self.bright[(slice(None), *box)])
        if mask is not None:
            mask[box] |= inside


def _random_site(rng, eye: _Eye, foci: list[tuple[float, float]], clustering: float, spread: float):
    """A point in the photograph and off the disc; near one of the foci with probability `clustering`."""
    for _ in range(200):
        if foci and rng.random() < clustering:
            fx, fy = foci[int(rng.integers(len(foci)))]
            x, y = fx + rng.normal(0, spread), fy + rng.normal(0, spread)
        else:
            radius = eye.aperture / 2 * math.sqrt(rng.random())
            turn = rng.uniform(0, 2 * math.pi)
            x, y = eye.centre[0] + radius * math.cos(turn), eye.centre[1] + radius * math.sin(turn)
        off_disc = math.hypot((x - eye.disc[0]) / eye.disc_radii[0], (y - eye.disc[1]) / eye.disc_radii[1]) > 1.15
        if off_disc and eye.visible(x, y, margin=min(0.4, eye.aperture / 20)):
            return x, y
    return eye.centre


def _number(rng, kind: str, eye: _Eye, config: PhantomConfig) -> int:
    model = LESION_MODELS[kind]
    spread = model.log_density_spread
    density = model.density * math.exp(rng.normal(-spread * spread / 2, spread))
    return int(rng.poisson(min(density, 8 * model.density) * eye.area * config.lesion_density))


def _draw_lesions(rng, hidden, spots: _Spots, eye: _Eye, blood: np.ndarray, config: PhantomConfig) -> dict[str, np.ndarray]:
    """Draw the lesions of a diseased patient; returns the annotated masks of the kinds present."""
    masks = {kind: np.zeros(eye.shape, bool) for kind in LESION_MODELS}
    if config.lesion_density == 0:
        return {}
    foci = [_random_site(rng, eye, [], 0, 0) for _ in range(4)]
    shown = np.zeros(eye.shape, bool)

    def size_and_colour(model: LesionModel):
        area = math.exp(rng.normal(*model.log_area))
        contrast = min(1.35 * math.exp(rng.normal(*model.log_contrast)), 0.6)  # the optics take the rest
        return area, contrast * np.array(model.colour)

    model = LESION_MODELS["SE"]
    for _ in range(_number(rng, "SE", eye, config)):
        x, y = _random_site(rng, eye, foci, 0.3, 3.0)
        area, colour = size_and_colour(model)
        angle, elongation = rng.uniform(0, math.pi), rng.uniform(1.1, 2.2)
        spots.draw(rng, x, y, area, colour, model.softness, elongation, angle, 0.2, masks["SE"])

    model = LESION_MODELS["EX"]  # hard exudates come in clusters and rings
    clusters = [(*_random_site(rng, eye, foci, 0.5, 2.0), rng.uniform(0.3, 2.2)) for _ in range(5)]
    for _ in range(_number(rng, "EX", eye, config)):
        cx, cy, ring = clusters[int(rng.integers(len(clusters)))]
        turn = rng.uniform(0, 2 * math.pi)
        away = abs(rng.normal(ring, 0.35 * ring + 0.1))
        x, y = cx + away * math.cos(turn), cy + away * math.sin(turn)
        area, colour = size_and_colour(model)
        pieces = min(40, 1 + int(area / 0.08))  # large ones are heaps of small ones
        heap = 0.55 * math.sqrt(area / math.pi)
        for _ in range(pieces):
            px, py = (x, y) if pieces == 1 else (x + rng.normal(0, heap), y + rng.normal(0, heap))
            shade = colour * rng.uniform(0.7, 1.2)
            angle, elongation = rng.uniform(0, math.pi), rng.uniform(1, 1.8)
            spots.draw(rng, px, py, area / pieces, shade, model.softness, elongation, angle, 0.2, masks["EX"])

    model = LESION_MODELS["HE"]  # dots, blots, and flames along the nerve fibres
    for _ in range(_number(rng, "HE", eye, config)):
        x, y = _random_site(rng, eye, foci, 0.5, 2.5)
        area, colour = size_and_colour(model)
        flame = area > 0.3 and rng.random() < 0.5
        elongation = rng.uniform(2.0, 4.5) if flame else rng.uniform(1.0, 1.7)
        along_fibres = math.atan2(y - eye.disc[1], eye.side * (x - eye.disc[0]))
        angle = along_fibres if flame else rng.uniform(0, math.pi)
        spots.draw(rng, x, y, area, colour, model.softness, elongation, angle, 0.2 if flame else 0.11, masks["HE"])

    model = LESION_MODELS["MA"]
    for _ in range(max(_number(rng, "MA", eye, config), 3)):
        for _ in range(12):  # they sprout from capillaries: off the larger vessels, most of them
            x, y = _random_site(rng, eye, foci, 0.6, 2.5)
            row, column = (int(np.clip(at, 0, side - 1)) for at, side in zip(eye.pixels(x, y), eye.shape))
            if blood[row, column] < 0.2:
                break
        area, colour = size_and_colour(model)
        colour = colour * (area / math.exp(model.log_area[0])) ** 0.15
        labelled = hidden.random() >= config.unlabelled
        spots.draw(
            rng, x, y, area, colour, model.softness, rng.uniform(1.0, 1.35), rng.uniform(0, math.pi), 0.06,
            masks["MA"] if labelled else shown,
        )  # fmt: skip
    return {kind: mask for kind, mask in masks.items() if mask.any()}


def _draw_lookalikes(rng, spots: _Spots, eye: _Eye, config: PhantomConfig) -> None:
    """Pigment spots, dust on the lens and ends of vessels that dive: dark, small, and no lesion."""

    def count(per_square_degree: float) -> int:
        return int(rng.poisson(per_square_degree * eye.area * config.lookalikes * rng.gamma(1.5, 1 / 1.5)))

    for _ in range(count(0.012)):  # pigment: brown to black, as dark in red as in green
        x, y = _random_site(rng, eye, [], 0, 0)
        area = math.exp(rng.normal(_square_degrees(5.6), 0.8))
        colour = -rng.uniform(0.03, 0.11) * np.array([0.75, 1.0, 0.6])
        spots.draw(rng, x, y, area, colour, 0.06, rng.uniform(1, 1.8), rng.uniform(0, math.pi), 0.15)
    for _ in range(count(0.006)):  # dust: grey, out of focus
        x, y = _random_site(rng, eye, [], 0, 0)
        area = math.exp(rng.normal(_square_degrees(7.0), 0.6))
        colour = -rng.uniform(0.015, 0.05) * np.ones(3)
        spots.draw(rng, x, y, area, colour, 0.15, rng.uniform(1, 1.2), 0.0, 0.03)
    for _ in range(count(0.02)):  # short pieces of vessels that come up and dive again
        x, y = _random_site(rng, eye, [], 0, 0)
        area = math.exp(rng.normal(_square_degrees(5.6), 0.4))
        colour = rng.uniform(0.03, 0.09) * np.array(LESION_MODELS["MA"].colour)
        spots.draw(rng, x, y, area, colour, 0.05, rng.uniform(2.5, 6.0), rng.uniform(0, math.pi), 0.1)


# ------------------------------------------------------------------------------------ light and camera


def _grain(rng, shape: tuple[int, int], pitch: float) -> np.ndarray:
    """Smooth noise (H, W) float32 of unit variance at its knots, `pitch` pixels apart."""
    if pitch <= 1:
        return rng.standard_normal(shape, dtype=np.float32)
    knots = tuple(math.ceil(side / pitch) + 3 for side in shape)
    coarse = Image.fromarray(rng.standard_normal(knots, dtype=np.float32))
    size = (shape[1], shape[0])
    left, top = rng.random(2)
    box = (left, top, left + shape[1] / pitch, top + shape[0] / pitch)
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC, box=box))


def _enlarge(field: np.ndarray, shape: tuple[int, int], step: int) -> np.ndarray:
    """A field computed at every `step`-th pixel, at all of them."""
    box = (0, 0, shape[1] / step, shape[0] / step)
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(field, np.float32)).resize(
            (shape[1], shape[0]), Image.Resampling.BICUBIC, box=box
        )
    )


def _blurred_disc(distance: np.ndarray, softness: float) -> np.ndarray:
    return (0.5 * special.erfc(distance / (math.sqrt(2) * softness))).astype(np.float32)


def _photograph(
    stream: np.random.SeedSequence, diseased: bool, config: PhantomConfig
) -> tuple[bytes, np.ndarray, dict[str, np.ndarray]]:
    """JPEG bytes, field of view (H, W) bool and annotated masks by kind."""
    streams = [np.random.Generator(np.random.PCG64(child)) for child in stream.spawn(7)]
    anatomy, vascular, texture, ill, mimic, camera, hidden = streams
    eye = _place_eye(anatomy, config)
    shape, scale = eye.shape, eye.scale
    native = scale / IDRID_PIXELS_PER_DEGREE  # 1 at IDRiD's own scale

    # Optical density in three channels, less is brighter; slow fields are computed coarsely.
    step = max(4, int(scale / 8))
    x, y = eye.degrees(step)
    dx, dy = x - eye.centre[0], y - eye.centre[1]
    tilt, bend = camera.normal(0, 0.10, 2), camera.normal(0, 0.05)
    reach = eye.aperture / 2
    slow = camera.uniform(0.15, 0.45) * ((dx * dx + dy * dy) / reach**2) ** 1.5 + bend * dx * dy / reach**2
    slow = slow + (tilt[0] * dx + tilt[1] * dy) / reach
    fibres = np.exp(-((x - eye.disc[0]) ** 2 + (y - eye.disc[1]) ** 2) / (2 * (0.33 * eye.disc[0]) ** 2))
    slow = slow - anatomy.uniform(0.05, 0.25) * fibres
    from_fovea = x * x + y * y
    macula = anatomy.uniform(0.12, 0.35) * np.exp(-from_fovea / (2 * (0.15 * eye.disc[0]) ** 2))
    macula = macula + anatomy.uniform(0.05, 0.22) * np.exp(-from_fovea / (2 * 0.75**2))
    density = np.stack(
        [_enlarge(weight * slow + other * macula, shape, step) for weight, other in ((0.8, 0.8), (1.0, 1.0), (0.9, 0.8))]
    )

    # Choroidal vessels: broad, out-of-focus ribbons, in some eyes only, and there in patches.
    visibility = anatomy.choice([0.0, 0.03, 0.09], p=[0.4, 0.4, 0.2])
    if visibility:
        ribbons = np.exp(-((_grain(texture, shape, 2.4 * scale) / 0.30) ** 2))
        ribbons += np.exp(-((_grain(texture, shape, 1.6 * scale) / 0.30) ** 2))
        ribbons *= visibility / (1 + np.exp(-2.5 * _grain(texture, shape, 6 * scale)))
        density -= ribbons * np.array([0.6, 0.8, 0.2], np.float32)[:, None, None]

    # The disc, its cup, and the rim of pigment around it.
    x, y = eye.degrees()
    tilted = anatomy.normal(0, 0.15)
    across = (x - eye.disc[0]) / np.float32(eye.disc_radii[0])
    down = (y - eye.disc[1]) / np.float32(eye.disc_radii[1])
    off_disc = np.hypot(across + tilted * down, down) - 1  # in units of the radius
    disc = _blurred_disc(off_disc, 0.055)
    cup_size = anatomy.uniform(0.35, 0.65)
    cup_at = anatomy.normal(0, 0.08, 2)
    cup = _blurred_disc(np.hypot(across - cup_at[0] + 0.1, down - cup_at[1]) - np.float32(cup_size), 0.10)
    rim = np.exp(-(((off_disc - 0.08) / 0.07) ** 2)) * np.clip(-across, 0, 1)
    pale = anatomy.uniform(0.7, 1.15)
    density -= (disc * np.float32(pale) * (1 - 0.18 * np.clip(across, -1, 1))) * np.array([0.20, 0.52, 0.55], np.float32)[:, None, None]
    density -= (cup * np.float32(pale)) * np.array([0.05, 0.17, 0.22], np.float32)[:, None, None]
    density += rim * (np.float32(anatomy.uniform(0, 0.16)) * np.array([0.8, 1.0, 0.9], np.float32)[:, None, None])
    lesions = {"OD": off_disc < 0}

    blood, reflex = _draw_vessels(_grow_vessels(vascular, eye), eye)
    thin = 1 - 0.35 * disc  # over the bright disc vessels lie higher, and look thinner
    clarity = np.float32(vascular.uniform(0.8, 1.15))
    for kind, absorption in ((_VEIN, (0.15, 0.50, 0.25)), (_ARTERY, (0.06, 0.40, 0.20))):
        load = blood[kind] * thin * clarity
        for channel in range(3):
            density[channel] += np.float32(absorption[channel]) * load
    density -= reflex * np.array([0.10, 0.30, 0.15], np.float32)[:, None, None]

    blur = float(camera.uniform(0.020, 0.042)) * scale
    spots = _Spots(eye, blur)
    _draw_lookalikes(mimic, spots, eye, config)
    if diseased:
        lesions = _draw_lesions(ill, hidden, spots, eye, blood.max(axis=0), config) | lesions
    density += spots.dark
    density -= spots.bright

    # Camera: colour, exposure, tissue texture in grey levels, blur, aperture, sensor noise, JPEG.
    red = camera.uniform(135, 210)
    green = red * camera.uniform(0.40, 0.56)
    blue = green * min(camera.lognormal(math.log(0.20), 0.8), 0.5)
    veil = camera.uniform(0, 10) * np.array([0.6, 0.9, 1.0])
    strength = texture.lognormal(math.log(0.56), 0.25)
    shared = sum(a * _grain(texture, shape, p * native) for p, a in _TISSUE_GRAIN.items())
    own = sum(a * _grain(texture, shape, p * native) for p, a in _TISSUE_GRAIN.items())
    rough = min(camera.lognormal(math.log(1.1), 0.25), 1.6)
    noise = sum(a * _grain(camera, shape, p) for p, a in _SENSOR_GRAIN.items()) * np.float32(rough)

    row = np.arange(shape[0], dtype=np.float32)[:, None] - (shape[0] - 1) / 2
    column = np.arange(shape[1], dtype=np.float32)[None, :] - (shape[1] - 1) / 2
    border = np.hypot(row, column) - np.float32(eye.aperture / 2 * scale)
    open_ = np.clip(0.5 - border / np.float32(max(0.05 * scale, 2.0)), 0, 1)
    image = np.empty((*shape, 3), np.uint8)
    for channel, level in enumerate((red, green, blue)):
        light = np.exp(-density[channel])
        light *= np.float32(level)
        mix = (0.85, 0.95, 0.2)[channel] * strength
        light += np.float32(0.88 * mix) * shared + np.float32((0.47, -0.47, 0.0)[channel] * mix) * own
        light = ndimage.gaussian_filter(light, blur, truncate=3.0) + np.float32(veil[channel])
        light = np.where(light > 200, 255 - 55 * np.exp((200 - light) / 55), light)  # the film's shoulder
        light += noise
        light *= open_
        image[..., channel] = np.clip(light + 0.5, 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    fov = border < 0
    for mask in lesions.values():
        mask &= fov
    return buffer.getvalue(), fov, {kind: mask for kind, mask in lesions.items() if mask.any()}


# ------------------------------------------------------------------------------------ files


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _palette_tiff(mask: np.ndarray) -> bytes:
    """A mask as IDRiD stores it: a palette image in which index 1, red, is the lesion."""
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0] + [0, 0, 0] * 254)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="tiff_lzw")
    return buffer.getvalue()
