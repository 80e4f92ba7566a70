"""Anatomy: where disc and macula lie, and how vessels grow."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from maa.phantom.config import PhantomConfig

VEIN, ARTERY = 0, 1
_Lengths = TypeVar("_Lengths", float, np.ndarray)


@dataclass(frozen=True)
class Eye:
    """Where things are, in degrees: the fovea is the origin, x towards the disc, y downwards."""

    disc: tuple[float, float]
    disc_radii: tuple[float, float]
    centre: tuple[float, float]  # of the photograph
    side: int  # +1: the disc is on the right of the photograph
    shape: tuple[int, int]
    scale: float  # pixels per degree
    aperture: float  # degrees

    def pixels(self, x: _Lengths, y: _Lengths) -> tuple[_Lengths, _Lengths]:
        """Row and column of a point given in degrees."""
        height, width = self.shape
        row = (y - self.centre[1]) * self.scale + (height - 1) / 2
        return row, self.side * (x - self.centre[0]) * self.scale + (width - 1) / 2

    def degrees(self, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
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


def place_eye(rng: Generator, config: PhantomConfig) -> Eye:
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
    return Eye(disc, radii, centre, side, config.shape, config.pixels_per_degree, config.aperture)


_STEP = 0.22  # degrees between the points of a vessel's axis
_THINNEST = 0.035  # degrees: radius at which branches end, 2.4 pixels in IDRiD


def _murray(parent: float, share: float) -> tuple[float, float, float, float]:
    """Radii of the two daughters of a vessel, the smaller `share` (0 to 0.79) of its parent's, and their angles from its course.

    Murray's law (C. D. Murray, PNAS 12:207, 1926; J. Gen. Physiol. 9:835, 1926): the cubes of the radii add up, and each
    daughter leaves at the angle (radians) that minimises the work of the junction.
    """
    minor = share * parent
    major = (parent**3 - minor**3) ** (1 / 3)

    def angle(own: float, other: float) -> float:
        cosine = (parent**4 + own**4 - other**4) / (2 * parent**2 * own**2)
        return math.acos(min(1.0, max(-1.0, cosine)))

    return major, minor, angle(major, minor), angle(minor, major)


def _arcade(eye: Eye, sign: int, opening: float, wobble: np.ndarray) -> np.ndarray:
    """Axis of a temporal arcade: up (or down) from the disc, then around the macula."""
    distance = eye.disc[0]
    t = np.linspace(0.0, 2.6, 400)
    rise = opening * distance * (1.0 - np.exp(-2.4 * t)) ** 0.62 * (1.0 + 0.04 * t)
    waves = sum(a * np.sin(2 * math.pi * (f * t + p)) for a, f, p in wobble) * np.minimum(1, 3 * t)
    x, y = eye.disc[0] - distance * t, eye.disc[1] + sign * (rise + waves)
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    even = np.arange(0, length[-1], _STEP)
    return np.column_stack([np.interp(even, length, x), np.interp(even, length, y)])


def grow_vessels(rng: Generator, eye: Eye) -> list[tuple[int, np.ndarray]]:
    """Grow arteries and veins from the disc: the kind and the axis of each, shape (n, 3): x, y and radius, in degrees."""
    distance, (disc_x, disc_y) = eye.disc[0], eye.disc
    # (kind, x, y, heading, radius, guide or None, whether it serves the macula)
    sprouts: deque[tuple[int, float, float, float, float, np.ndarray | None, bool]] = deque()
    calibre = rng.normal(1.0, 0.08)
    for sign in (-1, 1):
        opening = rng.uniform(0.50, 0.72)
        order = rng.permutation([-1, 1])
        for kind in (VEIN, ARTERY):
            radius = calibre * (rng.uniform(0.21, 0.27) if kind == VEIN else rng.uniform(0.15, 0.19))
            own = opening + 0.045 * order[kind] + rng.normal(0, 0.01)
            wobble = np.column_stack([rng.normal(0, [0.22, 0.16, 0.07]), [0.7, 1.7, 4.0], rng.random(3)])
            guide = _arcade(eye, sign, own, wobble) + rng.normal(0, 0.25, 2) * [1, 0.5]
            sprouts.append((kind, guide[0, 0], guide[0, 1], sign * math.pi / 2, radius, guide, False))
            for _ in range(2):
                heading = sign * rng.uniform(0.1, 1.15)
                start = (disc_x + rng.normal(0, 0.3), disc_y + sign * abs(rng.normal(0.3, 0.3)))
                sprouts.append((kind, *start, heading, radius * rng.uniform(0.4, 0.7), None, False))
    for _ in range(rng.integers(2, 5)):  # small vessels that leave the disc towards the fovea
        heading = math.pi + rng.uniform(-0.7, 0.7)
        kind = int(rng.integers(2))
        sprouts.append((kind, disc_x, disc_y, heading, rng.uniform(0.05, 0.09), None, True))

    vessels: list[tuple[int, np.ndarray]] = []
    taken: dict[tuple[int, int, int], int] = {}
    reach = eye.aperture / 2 + 1.5
    while sprouts and len(vessels) < 3000:
        kind, x, y, heading, radius, trunk, macular = sprouts.popleft()
        points = [(x, y, radius)]
        wait = rng.exponential(1.5) + (1.2 if trunk is None else 0.8)
        drift, travelled = 0.0, 0.0
        bends = rng.standard_normal(220)
        ripple = (rng.uniform(1.2, 3.2), rng.uniform(0, 2 * math.pi), abs(rng.normal(0, 0.09)))
        for index in range(200 if trunk is None else len(trunk) - 1):
            if trunk is not None:
                ahead = trunk[index + 1]
                heading = math.atan2(ahead[1] - y, ahead[0] - x)
                x, y = float(ahead[0]), float(ahead[1])
            else:
                # Inside the arcades blood runs towards the fovea, outside away from the disc.
                goal = math.atan2(-y, -x) if macular else math.atan2(y - disc_y, x - disc_x)
                turn = math.remainder(goal - heading, 2 * math.pi)
                drift = 0.80 * drift + 0.022 * bends[index]
                wave = 0.9 * math.sin(ripple[0] * travelled + ripple[1])
                heading += drift + 0.035 * turn + ripple[2] * wave
                x += _STEP * math.cos(heading)
                y += _STEP * math.sin(heading)
            # An artery never crosses an artery, nor a vein a vein.
            cell = (kind, round(x / 0.3), round(y / 0.3))
            if trunk is None and travelled > 1.0 and taken.get(cell, len(vessels)) != len(vessels):
                break
            taken[cell] = len(vessels)
            if trunk is None:
                radius *= 0.988
            points.append((x, y, radius))
            travelled += _STEP
            wait -= _STEP
            gone = math.hypot(x - eye.centre[0], y - eye.centre[1]) > reach and travelled > distance / 2
            avascular = math.hypot(x, y) < 1.3 and radius < 0.12  # the fovea has no vessels
            if radius < _THINNEST or gone or avascular:
                break
            if wait <= 0 and math.hypot(x - disc_x, y - disc_y) > 0.7 * eye.disc_radii[0]:
                wait = rng.exponential(1.2 + 10.0 * radius) + 0.8
                share = rng.uniform(0.40, 0.72) if trunk is None else rng.uniform(0.28, 0.62)
                major, minor, major_angle, minor_angle = _murray(radius, share)
                if minor >= _THINNEST:
                    side = 1 if rng.random() < 0.5 else -1
                    inward = trunk is not None and math.sin(math.atan2(-y, -x) - heading) * side > 0
                    sprouts.append((kind, x, y, heading + side * minor_angle, minor, None, macular or inward))
                    radius = major
                    if trunk is None:
                        heading -= side * major_angle
        if len(points) > 3:
            path = np.array(points)
            if trunk is None:  # vessels taper off where they dive out of focus
                end = min(len(path), 12 + int(150 * path[-1, 2]))
                path[-end:, 2] *= np.linspace(1.0, min(1.0, 0.6 * _THINNEST / path[-1, 2]), end)
            vessels.append((kind, path))
    return vessels


def window_around(
    shape: tuple[int, int], rows: tuple[float, ...], columns: tuple[float, ...], reach: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray] | None:
    """The box `reach` pixels around points, and its rows and columns as open grids; None where it is outside the photograph."""
    (top, bottom), (left, right) = (
        (int(max(0, min(at) - reach)), int(min(side, max(at) + reach + 2))) for at, side in zip((rows, columns), shape)
    )
    if top >= bottom or left >= right:
        return None
    y, x = np.arange(top, bottom, dtype=np.float32)[:, None], np.arange(left, right, dtype=np.float32)[None, :]
    return (slice(top, bottom), slice(left, right)), y, x


def draw_vessels(vessels: list[tuple[int, np.ndarray]], eye: Eye) -> tuple[np.ndarray, np.ndarray]:
    """Depth of blood in veins and arteries (2, H, W), the light reflex (H, W), all 0 to about 1.

    A vessel is a chain of short capsules, each with the profile of a cylinder: as much blood as the light passes through.
    """
    depth, reflex = np.zeros((2, *eye.shape), np.float32), np.zeros(eye.shape, np.float32)
    for kind, path in vessels:
        rows, columns = eye.pixels(path[:, 0], path[:, 1])
        for (r0, c0, a), (r1, c1, b) in pairwise(zip(rows, columns, path[:, 2] * eye.scale)):
            window = window_around(eye.shape, (r0, r1), (c0, c1), max(a, b) + 1.0)
            if window is None:
                continue
            box, y, x = window
            y, x = y - np.float32(r0), x - np.float32(c0)
            dy, dx = np.float32(r1 - r0), np.float32(c1 - c0)
            along = np.clip((y * dy + x * dx) / (dy * dy + dx * dx), 0, 1)
            off = (y - along * dy) ** 2 + (x - along * dx) ** 2
            radius = max(0.5 * (a + b), 0.7)
            inside = np.maximum(1 - off / np.float32(radius * radius), 0)
            degrees = radius / eye.scale
            strength = np.float32((degrees / 0.24) ** 0.6)
            np.maximum(depth[kind][box], strength * inside ** np.float32(0.45), out=depth[kind][box])
            if degrees > 0.07:
                shine = np.float32((0.55 if kind == ARTERY else 0.22) * min(1.0, (degrees - 0.07) / 0.08))
                np.maximum(reflex[box], shine * np.exp(-off / np.float32((0.30 * radius) ** 2)), out=reflex[box])
    return depth, reflex
