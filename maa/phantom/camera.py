"""The camera: light, grain, blur, and the photograph that comes of it."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from PIL import Image
from scipy import ndimage, special

from maa.data.idrid import IDRID_PIXELS_PER_DEGREE
from maa.phantom.anatomy import ARTERY, VEIN, Eye, draw_vessels, grow_vessels, place_eye
from maa.phantom.config import PhantomConfig
from maa.phantom.lesions import Spots, draw_lesions, draw_lookalikes

CHANNELS = ("red", "green", "blue")
JPEG_QUALITY = 50
# Amplitude, in grey levels, of noise whose grain is 2^k pixels (sensor) or as many pixels of an IDRiD photograph (tissue): a
# non-negative least-squares fit to the robust standard deviation of differences of Gaussians at sigma 1 to 64 pixels, which in
# IDRiD is nearly the same (0.8 to 1.5) at every scale.  Sensor noise is the same in all channels: what differs, JPEG removed.
_SENSOR_GRAIN = {1: 4.5, 4: 0.8, 8: 0.9}
_TISSUE_GRAIN = {8: 1.9, 16: 1.3, 32: 2.6, 128: 5.0}


def _grain(rng: Generator, shape: tuple[int, int], pitch: float) -> np.ndarray:
    """Smooth noise (H, W) float32 of unit variance at its knots, `pitch` pixels apart."""
    if pitch <= 1:
        return np.asarray(rng.standard_normal(shape, dtype=np.float32))
    knots = rng.standard_normal(tuple(math.ceil(side / pitch) + 3 for side in shape), dtype=np.float32)
    left, top = rng.random(2)
    return _enlarge(knots, shape, pitch, left, top)


def _enlarge(field: np.ndarray, shape: tuple[int, int], pitch: float, left: float = 0, top: float = 0) -> np.ndarray:
    """A field (h, w) computed at every `pitch`-th pixel, at all of them, (H, W) float32."""
    box = (left, top, left + shape[1] / pitch, top + shape[0] / pitch)
    coarse = Image.fromarray(np.ascontiguousarray(field, np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box))


def _noise(rng: Generator, shape: tuple[int, int], grain: dict[int, float], scale: float = 1.0) -> np.ndarray:
    """The sum of some grains, given by their amplitudes."""
    return sum((a * _grain(rng, shape, pitch * scale) for pitch, a in grain.items()), np.zeros(shape, np.float32))


def _blurred_disc(distance: np.ndarray, softness: float) -> np.ndarray:
    return np.asarray(0.5 * special.erfc(distance / (math.sqrt(2) * softness)), np.float32)


def _per_channel(red: float, green: float, blue: float) -> np.ndarray:
    return np.array([red, green, blue], np.float32)[:, None, None]


def _tissue(
    anatomy: Generator, vascular: Generator, texture: Generator, camera: Generator, eye: Eye
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Optical density in three channels (3, H, W), less is brighter; the disc (H, W) bool; the depth of blood (2, H, W)."""
    shape, scale = eye.shape, eye.scale
    step = max(4, int(scale / 8))  # slow fields are computed coarsely
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
    weights = ((0.8, 0.8), (1.0, 1.0), (0.9, 0.8))
    density = np.stack([_enlarge(weight * slow + other * macula, shape, step) for weight, other in weights])

    # Choroidal vessels: broad, out-of-focus ribbons, in some eyes only, and there in patches.
    visibility = anatomy.choice([0.0, 0.03, 0.09], p=[0.4, 0.4, 0.2])
    if visibility:
        ribbons = np.exp(-((_grain(texture, shape, 2.4 * scale) / 0.30) ** 2))
        ribbons += np.exp(-((_grain(texture, shape, 1.6 * scale) / 0.30) ** 2))
        ribbons *= visibility / (1 + np.exp(-2.5 * _grain(texture, shape, 6 * scale)))
        density -= ribbons * _per_channel(0.6, 0.8, 0.2)

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
    pale = np.float32(anatomy.uniform(0.7, 1.15))
    density -= (disc * pale * (1 - 0.18 * np.clip(across, -1, 1))) * _per_channel(0.20, 0.52, 0.55)
    density -= (cup * pale) * _per_channel(0.05, 0.17, 0.22)
    density += rim * (np.float32(anatomy.uniform(0, 0.16)) * _per_channel(0.8, 1.0, 0.9))

    blood, reflex = draw_vessels(grow_vessels(vascular, eye), eye)
    thin = 1 - 0.35 * disc  # over the bright disc vessels lie higher, and look thinner
    clarity = np.float32(vascular.uniform(0.8, 1.15))
    density += _per_channel(0.15, 0.50, 0.25) * (blood[VEIN] * thin * clarity)
    density += _per_channel(0.06, 0.40, 0.20) * (blood[ARTERY] * thin * clarity)
    density -= reflex * _per_channel(0.10, 0.30, 0.15)
    return density, off_disc < 0, blood


def _expose(density: np.ndarray, blur: float, texture: Generator, camera: Generator, eye: Eye) -> tuple[bytes, np.ndarray]:
    """Colour, exposure, tissue texture in grey levels, blur, aperture, sensor noise: JPEG bytes, field of view (H, W) bool."""
    shape, scale = eye.shape, eye.scale
    red = camera.uniform(135, 210)
    green = red * camera.uniform(0.40, 0.56)
    blue = green * min(camera.lognormal(math.log(0.20), 0.8), 0.5)
    veil = camera.uniform(0, 10) * np.array([0.6, 0.9, 1.0])
    strength = texture.lognormal(math.log(0.56), 0.25)
    native = scale / IDRID_PIXELS_PER_DEGREE  # 1 at IDRiD's own scale
    shared, own = (_noise(texture, shape, _TISSUE_GRAIN, native) for _ in range(2))
    rough = min(camera.lognormal(math.log(1.1), 0.25), 1.6)
    noise = _noise(camera, shape, _SENSOR_GRAIN) * np.float32(rough)

    row = np.arange(shape[0], dtype=np.float32)[:, None] - (shape[0] - 1) / 2
    column = np.arange(shape[1], dtype=np.float32)[None, :] - (shape[1] - 1) / 2
    border = np.hypot(row, column) - np.float32(eye.aperture / 2 * scale)
    aperture = np.clip(0.5 - border / np.float32(max(0.05 * scale, 2.0)), 0, 1)
    image = np.empty((*shape, 3), np.uint8)
    for channel, level in enumerate((red, green, blue)):
        light = np.exp(-density[channel])
        light *= np.float32(level)
        mix = (0.85, 0.95, 0.2)[channel] * strength
        light += np.float32(0.88 * mix) * shared + np.float32((0.47, -0.47, 0.0)[channel] * mix) * own
        light = ndimage.gaussian_filter(light, blur, truncate=3.0) + np.float32(veil[channel])
        light = np.where(light > 200, 255 - 55 * np.exp((200 - light) / 55), light)  # the film's shoulder
        light += noise
        light *= aperture
        image[..., channel] = np.clip(light + 0.5, 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return buffer.getvalue(), border < 0


def take_photograph(
    stream: SeedSequence, diseased: bool, config: PhantomConfig
) -> tuple[bytes, np.ndarray, dict[str, np.ndarray]]:
    """JPEG bytes, field of view (H, W) bool and annotated masks by kind."""
    anatomy, vascular, texture, ill, mimic, camera, hidden = (Generator(PCG64(child)) for child in stream.spawn(7))
    eye = place_eye(anatomy, config)
    density, disc, blood = _tissue(anatomy, vascular, texture, camera, eye)
    lesions = {"OD": disc}
    blur = float(camera.uniform(0.020, 0.042)) * eye.scale
    spots = Spots(eye, blur)
    draw_lookalikes(mimic, spots, eye, config)
    if diseased:
        lesions = draw_lesions(ill, hidden, spots, eye, blood.max(axis=0), config) | lesions
    density += spots.dark
    density -= spots.bright
    jpeg, fov = _expose(density, blur, texture, camera, eye)
    seen = {kind: mask & fov for kind, mask in lesions.items()}
    return jpeg, fov, {kind: mask for kind, mask in seen.items() if mask.any()}
