"""What the findings of a system are: which lesions it sees and misses, and what its false alarms lie on.

Lesions are sorted by what an eye would go by, their size and their contrast.  False alarms are sorted by what is
annotated where they lie, and by two things that nobody annotated: vessels, found here by a fixed rule, and dark dots
that look like a microaneurysm and may well be one that was not drawn.  The last can only be judged by eye, so their
places are given too.

Every photograph here is one that `maa.data.normalise` has made: 128 is the background, and `LEVELS` grey
levels are one unit of spread.  Lengths are pixels of IDRiD's scale (one pixel is about 4 micrometres).

Explained in ch:gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from scipy import ndimage, special

from maa.data.normalisation import CONTRAST_LEVELS
from maa.data.pools import dilate
from maa.data.stacks import EX, FOV, HE, LESION, MA, OD, SE
from maa.errors import MaaError
from maa.evaluation.intervals import Interval
from maa.evaluation.pixels import PROBABILITIES, checked_maps, first_level
from maa.evaluation.regions import components
from maa.evaluation.vesselness import green_channel, vessels
from maa.provenance import Json

#: A lesion is compared with the ground from so many to so many pixels outside it.  The first pixels are left out,
#: because nobody draws a border that exactly.
RING = (4, 12)
#: What a false alarm can lie on, and in this order: what a pixel is, is the first of these that holds.
CATEGORIES = ("haemorrhage", "hard exudate", "soft exudate", "rim", "disc", "vessel", "dark dot", "other")
#: Pixels at most so far outside an annotated microaneurysm belong to its rim: its border drawn too wide.
RIM_WIDTH = 3
#: A component of false alarms is a dark dot when its area, in pixels, lies in this range, ...
DOT_AREA = (20, 1200)
#: ... its contrast is at most this, in units of spread (nine in ten annotated microaneurysms of IDRiD are darker), ...
DOT_CONTRAST = -0.7
#: ... and its roundness (see `roundness`) is at least this.  Our choices, as those above.
DOT_ROUNDNESS = 0.5


def lesion_table(
    image: np.ndarray,
    truth: np.ndarray,
    fov: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    others: np.ndarray | None = None,
) -> pd.DataFrame:
    """Every annotated lesion of a photograph: how large and how dark it is, and how much of it was found.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        Normalised photograph.
    truth : (H, W) bool array
        Annotated lesion pixels.  Those outside the field of view are left out.
    fov : (H, W) bool array or None
        Field of view; None for the whole image.
    scores : (H, W) uint16 or float array
        Probability map, see `maa.evaluation.quantise`.
    threshold : float
        Probability in [0, 1] from which a pixel is called a lesion.
    others : (H, W) bool array, optional
        Other annotated lesions, which are no ground to compare a lesion with.

    Returns
    -------
    pandas.DataFrame
        One row a lesion (8-connected), in the order of `maa.evaluation.LesionScores.lesions`:

        row, column : float
            Centre.
        area : int
            Pixels.
        diameter : float
            Of the disc of that area, in pixels.
        contrast : float
            Mean green inside minus mean green of the ring from 4 to 12 pixels outside, in units of spread; negative
            is darker.  NaN when no ground is left in the ring.
        score : float
            The highest probability on the lesion, in [0, 1].
        found : bool
            Whether that reaches the threshold.  More lenient than the "peak" rule of `LesionScores`, for which the
            peak of the whole candidate has to lie on the lesion.
        found_share : float
            Share of the lesion's pixels at or above the threshold.

    Raises
    ------
    MaaError
        When shapes or types do not fit, or scores or threshold leave [0, 1].

    Notes
    -----
    `pandas.concat` joins the tables of several photographs.  Explained in ch:gain.
    """
    levels, truth, inside = checked_maps("the photograph", scores, truth, fov)
    green = green_channel(image, levels.shape)
    ground = ~truth if inside is None else inside & ~truth
    if others is not None:
        ground &= ~checked_maps("the photograph", levels, others)[1]
    truth = truth if inside is None else truth & inside
    pixels, lesion = components(truth)
    rows, columns = np.divmod(pixels, truth.shape[1])
    area = np.bincount(lesion)
    score = np.zeros(len(area), np.uint16)
    np.maximum.at(score, lesion, levels.ravel()[pixels])
    level = first_level(threshold)
    return pd.DataFrame(
        {
            "row": np.bincount(lesion, rows) / area,
            "column": np.bincount(lesion, columns) / area,
            "area": area,
            "diameter": np.sqrt(4 * area / np.pi),
            "contrast": _contrasts(green, ground, pixels, lesion, np.arange(len(area))),
            "score": PROBABILITIES[score],
            "found": score >= level,
            "found_share": np.bincount(lesion, levels.ravel()[pixels] >= level) / area,
        }
    )


def by_group(table: pd.DataFrame, column: str, edges: Sequence[float], confidence: float = 0.95) -> list[Json]:
    """Sensitivity and pixel recall of lesions in groups of size or contrast.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `lesion_table`; of several photographs after `pandas.concat`.
    column : str
        What to group by: "area", "diameter" or "contrast", for example.
    edges : (K + 1,) increasing sequence of float
        Borders of the groups; a group holds its lower border, the last one also its upper.  The outermost ones may be
        infinite.  Lesions beyond them, or without a value, are left out.
    confidence : float
        In (0, 1).

    Returns
    -------
    list of dict
        One for each group with a lesion, ready for JSON: "low" and "high" (None where infinite), "lesions", "found",
        "sensitivity" (share of the lesions found), "pixels", "found_pixels" and "recall" (share of the pixels
        found).  The two shares are dicts of "value", "low", "high" and "confidence" (see `wilson`).

    Raises
    ------
    MaaError
        When the column is unknown or the borders do not increase.

    Notes
    -----
    The pixels of a lesion are found together or not at all, so the interval of the recall counts lesions, not pixels:
    as many as would, at equal size, weigh as evenly, (sum of areas)^2 / sum of squared areas (Kish, "Survey
    Sampling", 1965).  Lesions of one photograph are taken for independent, which makes both intervals somewhat too
    narrow.  Explained in ch:gain.
    """
    if column not in table:
        raise MaaError(f"The table of lesions has no column {column!r}; choose one of {', '.join(table.columns)}.")
    borders = np.asarray(edges, float)
    if borders.ndim != 1 or len(borders) < 2 or not (np.diff(borders) > 0).all():
        raise MaaError("The borders of the groups must increase, and there must be two of them at least.")
    values = table[column].to_numpy(float)
    inside = (values >= borders[0]) & (values <= borders[-1])
    group = np.searchsorted(borders[1:-1], values[inside], side="right")
    area, found = (table[name].to_numpy(float)[inside] for name in ("area", "found"))
    found_pixels = np.rint(table["found_share"].to_numpy(float)[inside] * area)
    sums = [np.bincount(group, weights, len(borders) - 1) for weights in (None, found, area, area**2, found_pixels)]
    return [
        {
            "low": float(low) if np.isfinite(low) else None,
            "high": float(high) if np.isfinite(high) else None,
            "lesions": int(lesions),
            "found": int(hits),
            "sensitivity": asdict(wilson(hits / lesions, lesions, confidence)),
            "pixels": int(pixels),
            "found_pixels": int(hit_pixels),
            "recall": asdict(wilson(hit_pixels / pixels, pixels**2 / squares, confidence)),
        }
        for low, high, lesions, hits, pixels, squares, hit_pixels in zip(borders[:-1], borders[1:], *sums)
        if lesions
    ]


def wilson(share: float, number: int, confidence: float = 0.95) -> Interval:
    """Interval of a share of independent cases by Wilson's score, which behaves for few cases and near 0 and 1.

    Explained in ch:gain.

    Parameters
    ----------
    share : float
        In [0, 1].
    number : float
        Of cases, above 0; need not be whole.
    confidence : float
        In (0, 1).

    Returns
    -------
    Interval
        Within [0, 1].

    Raises
    ------
    MaaError
        When an argument leaves its range.

    References
    ----------
    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22(158), 1927.
    """
    if not (0 <= share <= 1 and number > 0 and 0 < confidence < 1):
        raise MaaError(
            f"No interval of a share of {share} among {number} cases at confidence {confidence}: "
            "the share lies in [0, 1], there is a case, and the confidence lies between 0 and 1."
        )
    z2 = special.ndtri((1 + confidence) / 2) ** 2 / number
    centre = (share + z2 / 2) / (1 + z2)
    reach = np.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    return Interval(float(share), float(max(centre - reach, 0)), float(min(centre + reach, 1)), confidence)


def false_positive_breakdown(scores: np.ndarray, threshold: float, label: np.ndarray, image: np.ndarray) -> Json:
    """What the false alarms of a map lie on, pixel by pixel and component by component.  Explained in ch:gain.

    A false pixel is one at or above the threshold, inside the field of view, that is not annotated as a
    microaneurysm.  A false component is an 8-connected component of the map there that touches no annotated
    microaneurysm at all.  A pixel belongs to the first of `CATEGORIES` that holds for it, a component to that of most
    of its pixels:

    haemorrhage, hard exudate, soft exudate, disc
        The pixel is annotated as such.
    rim
        It lies at most `RIM_WIDTH` pixels outside an annotated microaneurysm.
    vessel
        It lies on a vessel, as `vessels` finds them; nobody annotated them.
    dark dot
        It is none of these, nor are most pixels of its false component, and the component looks like an unlabelled
        lesion: see `DOT_AREA`, `DOT_CONTRAST` and `DOT_ROUNDNESS`.
    other
        Anything else.

    Parameters
    ----------
    scores : (H, W) uint16 or float array
        Probability map, see `maa.evaluation.quantise`.
    threshold : float
        Probability in [0, 1].
    label : (H, W) uint8 array
        Sum of the bits FOV, MA, HE, EX, SE and OD of `maa.data.stacks`.
    image : (H, W, 3) uint8 array
        Normalised photograph.

    Returns
    -------
    dict
        Ready for JSON.  "threshold"; "pixels" and "components", how many are false; "categories", by name a dict of
        "pixels", their "share" in [0, 1] of all false pixels, and "components"; "dark_dots", the false components of
        that category, the most probable first, each a dict of its centre "row" and "column", its "area" in pixels, its
        "contrast" in units of spread, its "roundness", and the highest "probability" in it.

    Raises
    ------
    MaaError
        When shapes or types do not fit, or scores or threshold leave [0, 1].
    """
    label = np.asarray(label)
    if label.dtype != np.uint8:
        raise MaaError(f"The label of the photograph is {label.dtype}; give the uint8 bits of maa.data.stacks.")
    annotated = (label & MA) > 0
    fov = (label & FOV) > 0
    levels, annotated, _ = checked_maps("the photograph", scores, annotated, fov)
    green = green_channel(image, levels.shape)
    pixels, component = components((levels >= first_level(threshold)) & fov)
    count = int(component.max(initial=-1)) + 1

    bits = label.ravel()[pixels]
    holds = [bits & bit > 0 for bit in (HE, EX, SE)]
    holds += [dilate(annotated & fov, RIM_WIDTH).ravel()[pixels], bits & OD > 0, vessels(image, fov).ravel()[pixels]]
    dot, other = CATEGORIES.index("dark dot"), CATEGORIES.index("other")
    category = np.select(holds, range(len(holds)), other)

    false_pixel = bits & MA == 0
    false_component = np.bincount(component, ~false_pixel, count) == 0
    votes = np.bincount(component * len(CATEGORIES) + category, minlength=count * len(CATEGORIES))
    kind = votes.reshape(count, len(CATEGORIES)).argmax(1)
    area, round_ = np.bincount(component, minlength=count), roundness(pixels, component, levels.shape[1])
    likely = np.flatnonzero(
        false_component & (kind == other) & (round_ >= DOT_ROUNDNESS) & (area >= DOT_AREA[0]) & (area <= DOT_AREA[1])
    )
    contrast = _contrasts(green, fov & ((label & LESION) == 0), pixels, component, likely)
    dark = contrast <= DOT_CONTRAST
    dots, contrast = likely[dark], contrast[dark]
    kind[dots] = dot
    category[(kind[component] == dot) & (category == other)] = dot

    in_pixels = np.bincount(category[false_pixel], minlength=len(CATEGORIES))
    in_components = np.bincount(kind[false_component], minlength=len(CATEGORIES))
    return {
        "threshold": float(threshold),
        **_counted(in_pixels, in_components),
        "dark_dots": _dots(levels, pixels, component, dots, area, contrast, round_),
    }


def pooled_breakdown(breakdowns: Mapping[str, Json]) -> Json:
    """The breakdowns of several photographs as one.  Explained in ch:gain.

    Parameters
    ----------
    breakdowns : dict of str to dict
        By photograph, as `false_positive_breakdown` gives them, all at one threshold.

    Returns
    -------
    dict
        The same form; the shares are of the false pixels of all photographs, and each of the "dark_dots" names its
        "image".

    Raises
    ------
    MaaError
        When there is none, or the thresholds differ.
    """
    thresholds = {part["threshold"] for part in breakdowns.values()}
    if len(thresholds) != 1:
        raise MaaError(f"Breakdowns at {len(thresholds)} thresholds cannot be pooled: give one or more, at one threshold.")
    sums = [
        np.sum([[part["categories"][name][what] for name in CATEGORIES] for part in breakdowns.values()], axis=0)
        for what in ("pixels", "components")
    ]
    dots = [{"image": name} | dot for name, part in breakdowns.items() for dot in part["dark_dots"]]
    return {"threshold": thresholds.pop(), **_counted(*sums), "dark_dots": sorted(dots, key=lambda dot: -dot["probability"])}


def roundness(pixels: np.ndarray, component: np.ndarray, width: int) -> np.ndarray:
    """How round each component is: its area over that of a disc as long as it is.  Explained in ch:gain.

    The length is that of an ellipse with the component's largest variance in any direction, so that an ellipse has
    the ratio of its axes, and anything hollow or crooked less.

    Parameters
    ----------
    pixels, component : (M,) integer arrays
        As `maa.evaluation.components` gives them.
    width : int
        Of the image.

    Returns
    -------
    (K,) float array
        In (0, 1], up to the grain of the pixels.
    """
    area = np.bincount(component)
    rows, columns = np.divmod(pixels, width)
    rows = rows - (np.bincount(component, rows) / area)[component]
    columns = columns - (np.bincount(component, columns) / area)[component]
    # A pixel is a square, whose own variance is 1/12.
    down, right = (np.bincount(component, axis**2) / area + 1 / 12 for axis in (rows, columns))
    both = np.bincount(component, rows * columns) / area
    largest = (down + right) / 2 + np.hypot((down - right) / 2, both)
    return area / (4 * np.pi * largest)  # a disc of radius r has the variance r^2 / 4


def _contrasts(
    green: np.ndarray, ground: np.ndarray, pixels: np.ndarray, component: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """Contrast of the chosen components against the ground in their rings, (len(chosen),), NaN without ground."""
    order = np.argsort(component, kind="stable")
    bounds = np.searchsorted(component[order], np.stack([chosen, chosen + 1]))
    contrasts = np.full(len(chosen), np.nan)
    for i, (start, stop) in enumerate(bounds.T):
        rows, columns = np.divmod(pixels[order[start:stop]], green.shape[1])
        top, left = max(rows.min() - RING[1], 0), max(columns.min() - RING[1], 0)
        box = (slice(top, rows.max() + RING[1] + 1), slice(left, columns.max() + RING[1] + 1))
        outside = np.ones(green[box].shape, bool)
        outside[rows - top, columns - left] = False
        away = ndimage.distance_transform_edt(outside)
        ring = (away >= RING[0]) & (away <= RING[1]) & ground[box]
        if ring.any():
            contrasts[i] = (green[rows, columns].mean() - green[box][ring].mean()) / CONTRAST_LEVELS
    return contrasts


def _counted(in_pixels: np.ndarray, in_components: np.ndarray) -> Json:
    total = int(in_pixels.sum())
    return {
        "pixels": total,
        "components": int(in_components.sum()),
        "categories": {
            name: {"pixels": int(p), "share": float(p / max(total, 1)), "components": int(c)}
            for name, p, c in zip(CATEGORIES, in_pixels, in_components)
        },
    }


def _dots(
    levels: np.ndarray,
    pixels: np.ndarray,
    component: np.ndarray,
    dots: np.ndarray,
    area: np.ndarray,
    contrast: np.ndarray,
    round_: np.ndarray,
) -> list[Json]:
    top = np.zeros(len(area), np.uint16)
    np.maximum.at(top, component, levels.ravel()[pixels])
    rows, columns = (
        np.bincount(component, axis, len(area)) / np.maximum(area, 1) for axis in np.divmod(pixels, levels.shape[1])
    )
    values = np.stack([rows[dots], columns[dots], area[dots], contrast, round_[dots], PROBABILITIES[top[dots]]], axis=1)
    names = ("row", "column", "area", "contrast", "roundness", "probability")
    table = [dict(zip(names, row)) | {"area": int(row[2])} for row in values.tolist()]
    return sorted(table, key=lambda dot: -dot["probability"])
