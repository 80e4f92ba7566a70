"""Lesions, and what looks like them."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from scipy import special

from maa.phantom.anatomy import Eye, window_around
from maa.phantom.config import LESION_MODELS, LesionModel, PhantomConfig, square_degrees


class Spots:
    """Draws blobs; `dark`, which add up, and `bright`, of which the brightest shows, are (3, H, W) optical densities."""

    def __init__(self, eye: Eye, blur: float) -> None:
        self.eye, self.blur = eye, blur
        self.dark = np.zeros((3, *eye.shape), np.float32)
        self.bright = np.zeros((3, *eye.shape), np.float32)

    def draw(
        self,
        rng: Generator,
        site: tuple[float, float],
        area: float,
        colour: np.ndarray,
        softness: float,
        elongation: float,
        angle: float,
        ragged: float,
        mask: np.ndarray | None = None,
    ) -> None:
        """Add one blob; `colour` is the mean change of optical density inside the outline.

        The outline is an ellipse of `area` square degrees, deformed by a few random harmonics; the density rises across it like
        a blurred edge.  It lies at 0.4 of the peak, since there IDRiD's outlines of microaneurysms run.
        """
        row, column = self.eye.pixels(*site)
        radius = math.sqrt(area / math.pi) * self.eye.scale
        sigma = max(math.sqrt(max((softness * self.eye.scale) ** 2 - self.blur**2, 0)), 0.3)
        reach = radius * math.sqrt(elongation) * (1 + 3 * ragged) + 3 * sigma + 2
        order = np.arange(2, 7)
        amplitude = rng.normal(0, ragged, 5) / (order - 1.0)
        phase = rng.uniform(0, 2 * math.pi, 5)
        window = window_around(self.eye.shape, (row,), (column,), reach)
        if window is None:
            return
        box, dy, dx = window
        dy, dx = dy - np.float32(row), dx - np.float32(column)
        cos, sin = math.cos(angle), math.sin(angle)
        long, short = (dx * cos + dy * sin) / math.sqrt(elongation), (dy * cos - dx * sin) * math.sqrt(elongation)
        polar = np.arctan2(short, long)
        outline = radius * (1 + sum(a * np.cos(n * polar + p) for n, a, p in zip(order, amplitude, phase)))
        outside = np.hypot(long, short) - outline  # signed distance to the outline, nearly
        inside = outside < 0
        shift = 0.253 * sigma  # where a blurred edge has fallen to 0.4
        profile = special.erfc((outside + shift) / (math.sqrt(2) * sigma)).astype(np.float32)
        mean = float(profile[inside].mean()) if inside.any() else float(profile.max())
        change = np.asarray(colour, np.float32)[:, None, None] * (profile / mean)
        if colour[1] < 0:
            self.dark[:, *box] -= change
        else:
            np.maximum(self.bright[:, *box], change, out=self.bright[:, *box])
        if mask is not None:
            mask[box] |= inside


def _random_site(
    rng: Generator, eye: Eye, foci: list[tuple[float, float]], clustering: float, spread: float
) -> tuple[float, float]:
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


def draw_lesions(
    rng: Generator, hidden: Generator, spots: Spots, eye: Eye, blood: np.ndarray, config: PhantomConfig
) -> dict[str, np.ndarray]:
    """Draw the lesions of a diseased patient; returns the annotated masks of the kinds present."""
    if config.lesion_density == 0:
        return {}
    masks = {kind: np.zeros(eye.shape, bool) for kind in LESION_MODELS}
    foci = [_random_site(rng, eye, [], 0, 0) for _ in range(4)]

    def number(model: LesionModel) -> int:
        spread = model.log_density_spread
        density = model.density * math.exp(rng.normal(-spread * spread / 2, spread))
        return int(rng.poisson(min(density, 8 * model.density) * eye.area * config.lesion_density))

    def size_and_colour(model: LesionModel) -> tuple[float, np.ndarray]:
        area = math.exp(rng.normal(*model.log_area))
        contrast = min(1.35 * math.exp(rng.normal(*model.log_contrast)), 0.6)  # the optics take the rest
        return area, contrast * np.array(model.colour)

    model = LESION_MODELS["SE"]
    for _ in range(number(model)):
        site = _random_site(rng, eye, foci, 0.3, 3.0)
        area, colour = size_and_colour(model)
        angle, elongation = rng.uniform(0, math.pi), rng.uniform(1.1, 2.2)
        spots.draw(rng, site, area, colour, model.softness, elongation, angle, 0.2, masks["SE"])

    model = LESION_MODELS["EX"]  # hard exudates come in clusters and rings
    clusters = [(*_random_site(rng, eye, foci, 0.5, 2.0), rng.uniform(0.3, 2.2)) for _ in range(5)]
    for _ in range(number(model)):
        cx, cy, ring = clusters[int(rng.integers(len(clusters)))]
        turn = rng.uniform(0, 2 * math.pi)
        away = abs(rng.normal(ring, 0.35 * ring + 0.1))
        x, y = cx + away * math.cos(turn), cy + away * math.sin(turn)
        area, colour = size_and_colour(model)
        pieces = min(40, 1 + int(area / 0.08))  # large ones are heaps of small ones
        heap = 0.55 * math.sqrt(area / math.pi)
        for _ in range(pieces):
            site = (x, y) if pieces == 1 else (x + rng.normal(0, heap), y + rng.normal(0, heap))
            shade = colour * rng.uniform(0.7, 1.2)
            angle, elongation = rng.uniform(0, math.pi), rng.uniform(1, 1.8)
            spots.draw(rng, site, area / pieces, shade, model.softness, elongation, angle, 0.2, masks["EX"])

    model = LESION_MODELS["HE"]  # dots, blots, and flames along the nerve fibres
    for _ in range(number(model)):
        x, y = _random_site(rng, eye, foci, 0.5, 2.5)
        area, colour = size_and_colour(model)
        flame = area > 0.3 and rng.random() < 0.5
        elongation = rng.uniform(2.0, 4.5) if flame else rng.uniform(1.0, 1.7)
        along_fibres = math.atan2(y - eye.disc[1], eye.side * (x - eye.disc[0]))
        angle = along_fibres if flame else rng.uniform(0, math.pi)
        spots.draw(rng, (x, y), area, colour, model.softness, elongation, angle, 0.2 if flame else 0.11, masks["HE"])

    model = LESION_MODELS["MA"]
    for _ in range(max(number(model), 3)):
        for _ in range(12):  # they sprout from capillaries: off the larger vessels, most of them
            site = _random_site(rng, eye, foci, 0.6, 2.5)
            row, column = (int(np.clip(at, 0, side - 1)) for at, side in zip(eye.pixels(*site), eye.shape))
            if blood[row, column] < 0.2:
                break
        area, colour = size_and_colour(model)
        colour = colour * (area / math.exp(model.log_area[0])) ** 0.15
        mask = masks["MA"] if hidden.random() >= config.unlabelled else None
        elongation, angle = rng.uniform(1.0, 1.35), rng.uniform(0, math.pi)
        spots.draw(rng, site, area, colour, model.softness, elongation, angle, 0.06, mask)
    return {kind: mask for kind, mask in masks.items() if mask.any()}


# Number per square degree; ln(area in pixels of IDRiD), mean and spread; contrast, from and to, and its colour; softness;
# elongation, from and to; largest angle; raggedness.
_LOOKALIKES = (
    # pigment: brown to black, as dark in red as in green
    (0.012, (5.6, 0.8), (0.03, 0.11), (-0.75, -1.0, -0.6), 0.06, (1, 1.8), math.pi, 0.15),
    # dust: grey, out of focus
    (0.006, (7.0, 0.6), (0.015, 0.05), (-1.0, -1.0, -1.0), 0.15, (1, 1.2), None, 0.03),
    # short pieces of vessels that come up and dive again
    (0.02, (5.6, 0.4), (0.03, 0.09), LESION_MODELS["MA"].colour, 0.05, (2.5, 6.0), math.pi, 0.1),
)


def draw_lookalikes(rng: Generator, spots: Spots, eye: Eye, config: PhantomConfig) -> None:
    """Pigment spots, dust on the lens and ends of vessels that dive: dark, small, and no lesion."""
    for density, (log_area, spread), contrast, colour, softness, elongation, turn, ragged in _LOOKALIKES:
        for _ in range(int(rng.poisson(density * eye.area * config.lookalikes * rng.gamma(1.5, 1 / 1.5)))):
            site = _random_site(rng, eye, [], 0, 0)
            area = math.exp(rng.normal(square_degrees(log_area), spread))
            shade = rng.uniform(*contrast) * np.array(colour)
            long, angle = rng.uniform(*elongation), rng.uniform(0, turn) if turn else 0.0
            spots.draw(rng, site, area, shade, softness, long, angle, ragged)
