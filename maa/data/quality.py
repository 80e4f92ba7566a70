"""Whether a photograph can be trusted to show microaneurysms: measures, and what is said when one is out of range.

A system gives a map of anything that it is shown.  Each measure here looks for one way in which the map would mislead: no
retina, a photograph out of focus, too dark, over-exposed, in flare, squashed, of two eyes, or compressed until its blocks show;
one more, too few pixels a degree, is the factor by which it is resized.  The limits lie between what photographs of IDRiD, of one
camera and one clinic, measure as they are and what copies of them measure that were spoiled on purpose: ``python
book/make/quality.py IDRID`` measures both on all of them, and what the spoiling costs in average precision.  Explained in ch:yours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from maa.data.field import SQUASHED, proportion

#: Below this `Quality.colour` it is unlike IDRiD: retinas 0.36 to 0.70, phantoms from 0.46; a cat at most 0.28, an astronaut 0.19.
#: Retinas of other cameras, lamps and diseases are there too, so no more can be said of it.
RETINA_COLOUR = 0.30
#: Above this `Quality.unevenness` it is so, too: retinas 0.02 to 0.14; a cup of coffee, as orange as a retina, 0.29.
RETINA_EVEN = 0.20
#: Below this `Quality.colour`, and above this `Quality.unevenness`, white light shows no retina: the sky, a flower, a patchwork.
NO_COLOUR, NO_EVEN = 0.05, 0.35
#: Below this `Quality.focus` it is out of focus: as they are 0.47 to 1.23; blurred by a Gaussian of 4 pixels, which costs
#: more than a third of the average precision, 0.37 to 0.41; of 6 pixels 0.33 to 0.35.  A blur of 2 pixels (0.45 to 0.50) is
#: let pass, and so are
#: copies of a fifth of the width, brought back to scale (from 0.46): that is what `COARSE` is for.
FOCUS = 0.44
#: Below this `Quality.brightness` it is too dark: as they are 33 to 118; half the light (19 to 44) and a quarter
#: (9 to 22) do no harm yet, an eighth (4 to 10) costs more than a third of the average precision.
DARK = 20.0
#: Above this `Quality.glare` it is over-exposed: as they are at most 0.001, with two and a half times the light 0.02 to 0.31.
GLARE = 0.05
#: Above this `Quality.flare` there is flare: phantoms and some retinas as they are 0.00 to 0.05, with white light over a fifth of the width 0.17 to 0.22.
FLARE = 0.15
#: Above this `Quality.second` another eye is in the frame: one eye 0.00, two eyes from 0.80.
SECOND = 0.3
#: What fills as much of the box around it is a strip of data and no eye, whatever its colour: a disc fills 0.79, one that is cut off on two sides some 0.9.
_RECTANGLE = 0.95
#: Above this `Quality.blocks` it is strongly compressed: as they are, JPEGs themselves, 2.1 to 3.7; compressed again at a
#: quality of 20, which costs more than half of the average precision, from 12.6.  A quality of 30 (2.3 to 6.1) costs a third
#: and cannot be told from photographs as they are.
BLOCKS = 5.0
#: Above this factor of resizing a photograph holds too few pixels for the smallest lesions, whatever is done to it: a lesion
#: of 8 pixels of IDRiD's is then less than 3 wide.  Our choice.
COARSE = 3.0
# Side of the small copy on which colour is judged, and the rim of the field that is left out, as a share of a side.
_COLOUR_SIDE = 400
_RIM = 0.03


@dataclass(frozen=True)
class Quality:
    """What `measure` finds in a photograph.

    Attributes
    ----------
    colour : float
        Median over the field of (red - green) / (the largest channel): a retina is orange.
    unevenness : float
        Spread over the field of red's share of the three channels, between the 16th and 84th percentiles: a retina is
        orange everywhere.
    focus : float
        Contrast of dark structures of 2 to 4 pixels of IDRiD's over that of structures twice as wide: vessels and
        lesions with sharp edges have both.
    brightness : float, 0 to 255
        Median of the green channel, in which microaneurysms are seen.
    glare : float, 0 to 1
        Share of the field in which green is saturated: white, or at the one level, from 150 on, above which nothing is.
    flare : float, 0 to 1
        Share of the field that is much brighter and paler than its median.
    second : float
        Area outside the field that has the brightness and the colour of what is inside and is no rectangle, in fields.
    proportion : float
        Width over height of the field where it is an ellipse (`maa.data.field.proportion`), else 1.
    blocks : float
        How much larger steps between pixels are at the borders of JPEG's blocks of 8 than elsewhere; 1 without compression.
    """

    colour: float
    unevenness: float
    focus: float
    brightness: float
    glare: float
    flare: float
    second: float
    proportion: float
    blocks: float


def measure(image: np.ndarray, fov: np.ndarray, factor: float = 1.0) -> Quality:
    """Measure a photograph.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
    fov : ndarray, shape (H, W), bool
        Field of view; at least one pixel of it.
    factor : float
        By which the photograph is resized to reach IDRiD's scale (`maa.segmentation.resize_factor`).

    Returns
    -------
    Quality
    """
    green = image[..., 1]
    seen = green[::4, ::4][fov[::4, ::4]] if fov[::4, ::4].any() else green[fov]
    colour, unevenness = _colour(image, fov)
    flare, second = _elsewhere(image, fov)
    return Quality(
        colour=colour,
        unevenness=unevenness,
        focus=_focus(green, fov, factor),
        brightness=float(np.median(seen)),
        glare=_saturated(seen),
        flare=flare,
        second=second,
        proportion=proportion(fov),
        blocks=max(_blocks(green[::4], fov[::4]), _blocks(green[:, ::4].T, fov[:, ::4].T)),
    )


def warnings(quality: Quality, factor: float = 1.0) -> tuple[str, ...]:
    """What is to be said of a photograph, in sentences; none for a good one.

    Parameters
    ----------
    quality : Quality
    factor : float
        As in `measure`.
    """
    dark, coarse = quality.brightness < DARK, factor > COARSE
    # Light that saturates the channels takes the colour of a retina, too; the dark leaves too little of it; and flare is uneven.
    judged, flare = quality.glare <= GLARE and not dark, quality.flare > FLARE
    if judged and (quality.colour < NO_COLOUR or (quality.unevenness > NO_EVEN and not flare)):
        return (
            "This does not have the colours of a retina: it is not orange throughout, so what is marked in it means nothing.",
        )
    shape = f"{quality.proportion:.2f} times as wide as high"
    sentences = {
        "Unusual colours: they are unlike those of the photographs that the networks learned from, so expect more mistakes (and if "
        "it shows no retina, what is marked in it means nothing).": judged
        and (quality.colour < RETINA_COLOUR or quality.unevenness > RETINA_EVEN),
        f"Squashed: the field of view is an ellipse, {shape}, so lesions have another shape and size than they should; give the "
        "picture its proportions back.": abs(np.log(quality.proportion)) > SQUASHED,
        "More than one field of view: only one of them was searched; cut the picture in pieces, one eye each.": quality.second > SECOND,
        f"Flare: {quality.flare:.0%} of the field is pale and bright with stray light, in which lesions are hard to see.": flare
        and quality.glare <= GLARE,
        "Too dark: the least contrast, of which microaneurysms consist, is lost in the camera's noise.": dark,
        f"Over-exposed: {quality.glare:.0%} of the field is saturated, and no lesion can be seen there.": quality.glare > GLARE,
        # Neither focus nor blocks can be told from a few grey levels, nor focus from a few pixels.
        "Out of focus: small lesions are blurred away, so fewer are found than there are.": quality.focus < FOCUS
        and not (dark or coarse),
        "Strongly compressed: the blocks of the JPEG hide small lesions and look like some.": quality.blocks > BLOCKS and not dark,
        f"Too few pixels: enlarged {factor:.1f} times to reach the scale of the training photographs, it cannot show small "
        "lesions.": coarse,
    }  # fmt: skip
    return tuple(sentence for sentence, so in sentences.items() if so)


def _colour(image: np.ndarray, fov: np.ndarray) -> tuple[float, float]:
    """The measures `Quality.colour` and `Quality.unevenness`, on a small copy without the field's rim."""
    step = max(1, round(max(fov.shape) / _COLOUR_SIDE))
    small = np.asarray(Image.fromarray(image).reduce(step)).astype(np.float32)
    inside = _shrunk(fov, (small.shape[1], small.shape[0]))
    pixels = small[inside if inside.any() else ...].reshape(-1, 3)
    true = pixels[:, 0] < 250  # a saturated red is less red than it was
    pixels = pixels[true] if true.mean() > 0.01 else pixels
    orange = (pixels[:, 0] - pixels[:, 1]) / np.maximum(pixels.max(axis=1), 1)
    low, high = np.percentile(pixels[:, 0] / (pixels.sum(axis=1) + 1), [16, 84])
    return float(np.median(orange)), float(high - low)


def _saturated(green: np.ndarray) -> float:
    """The measure `Quality.glare` of the pixels of a field; a converted copy may be saturated below 255."""
    ceiling = float(np.percentile(green, 99.9))
    return float(np.mean(green >= (min(ceiling - 2, 250) if ceiling >= 150 else 250)))


def _elsewhere(image: np.ndarray, fov: np.ndarray) -> tuple[float, float]:
    """The measures `Quality.flare` and `Quality.second`, on a small copy."""
    step = max(1, round(max(fov.shape) / _COLOUR_SIDE))
    small = np.asarray(Image.fromarray(image).reduce(step)).astype(np.float32)
    field = np.asarray(Image.fromarray(fov).resize(small.shape[1::-1], Image.Resampling.NEAREST))
    inside = _shrunk(fov, small.shape[1::-1])
    if not inside.any():
        return 0.0, 0.0
    green, brightest = small[..., 1], small.max(axis=2)
    orange = (small[..., 0] - green) / np.maximum(brightest, 1)
    usual = float(np.median(orange[inside]))
    pale = inside & (orange > -0.1) & (orange < 0.6 * usual) & (green > 1.3 * np.median(green[inside]))
    alike = (brightest > 0.4 * np.median(brightest[inside])) & (orange > 0.6 * usual) & (usual > NO_COLOUR)
    away = round(_RIM * _COLOUR_SIDE)
    alike &= ~ndimage.binary_dilation(field, iterations=away)
    alike = ndimage.binary_opening(alike, iterations=max(1, away // 3))
    labels, _ = ndimage.label(ndimage.binary_fill_holes(alike))
    regions = [labels[box] == number for number, box in enumerate(ndimage.find_objects(labels), start=1)]
    largest = max((int(region.sum()) for region in regions if region.mean() < _RECTANGLE), default=0)
    return float(pale.sum() / inside.sum()), largest / int(field.sum())


def _focus(green: np.ndarray, fov: np.ndarray, factor: float) -> float:
    """The measure `Quality.focus`, at half of IDRiD's scale; NaN where too little is left of the field."""
    height, width = green.shape
    size = (max(1, round(width * factor / 2)), max(1, round(height * factor / 2)))
    how = Image.Resampling.BOX if factor < 2 else Image.Resampling.BICUBIC
    half = np.asarray(Image.fromarray(green).resize(size, how)).astype(np.float32)
    inside = _shrunk(fov, size)
    if inside.sum() < 1000:
        return float("nan")
    fine, middle, coarse = (ndimage.gaussian_filter(half, sigma, truncate=3) for sigma in (1, 2, 4))
    narrow, wide = (np.percentile((b - a)[inside], 99) for a, b in ((fine, middle), (middle, coarse)))
    return float(narrow / wide) if wide > 0.5 else float("nan")  # less than half a grey level: nothing to be sharp


def _blocks(green: np.ndarray, fov: np.ndarray) -> float:
    """Across columns: the mean step at the most abrupt of the eight phases over that at the median phase."""
    steps = np.abs(np.diff(green.astype(np.int16), axis=1))
    inside = fov[:, 1:] & fov[:, :-1]
    if inside.shape[1] < 16 or not inside.any():
        return 1.0
    columns = np.stack([np.where(inside, steps, 0).sum(axis=0), inside.sum(axis=0)])
    phases = np.array([columns[:, phase::8].sum(axis=1) for phase in range(8)])
    mean = phases[:, 0] / np.maximum(phases[:, 1], 1)
    # A picture without any noise has no steps elsewhere, so an edge would stand for a block's.
    return float(mean.max() / max(np.median(mean), 0.05))


def _shrunk(fov: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The field of view at another size, without a rim, where the aperture's edge is seen."""
    factor = _COLOUR_SIDE / max(size)
    small = Image.fromarray(fov).resize([max(1, round(side * factor)) for side in size], Image.Resampling.NEAREST)
    depth = ndimage.distance_transform_edt(np.pad(np.asarray(small), 1))[1:-1, 1:-1]
    return np.asarray(Image.fromarray(depth > _RIM * _COLOUR_SIDE).resize(size, Image.Resampling.NEAREST))
