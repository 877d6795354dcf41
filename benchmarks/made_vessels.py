"""Made pictures like photographs of a retina: a bright disc on black, with branching vessels that are darker.

Vessels are 7 pixels wide at their origin and 1 pixel where they end; the thinner they are, the fainter. The light is
uneven, and soft streaks that are no vessels lie between them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SIDE = 560
RADIUS = 265
"""Of the bright disc, in pixels."""
FINER = 3
"""Vessels are drawn on a grid so many times as fine, so that their edges are smooth."""
TRUNKS = 8
WIDEST, NARROWEST = 7.0, 1.0
STEP = 2.0
"""Pixels between two points of a vessel's centre line."""
DARKEST, FAINTEST = 0.42, 0.16
"""Share of the light that the widest and the narrowest vessels take."""
COLOUR = (0.78, 0.42, 0.22)
ABSORBED = (0.55, 1.0, 0.75)
"""How strongly vessels darken red, green and blue."""
NOISE = 0.035


@dataclass(frozen=True)
class Vessel:
    """Where a vessel begins, and what it is like there."""

    y: float
    x: float
    angle: float
    width: float


@dataclass(frozen=True)
class Point:
    """One point of a centre line."""

    y: float
    x: float
    width: float


def made_photograph(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture [Y,X,3] and its label map [Y,X], in which vessels are 1."""
    head = np.array([SIDE / 2 + rng.uniform(-20, 20), SIDE / 2 + rng.choice([-1, 1]) * rng.uniform(120, 160)])
    points = list(_tree(head, rng))
    cover, darkness = _drawn(points, rng)
    disc = _distance(np.array([SIDE / 2, SIDE / 2])) < RADIUS
    light = _light(head, rng)
    colours = [light * c * (1 - a * darkness) for c, a in zip(COLOUR, ABSORBED, strict=True)]
    picture = np.stack(colours, axis=-1) * disc[..., None]
    picture = ndimage.gaussian_filter(picture, (0.7, 0.7, 0)) + rng.normal(0, NOISE, picture.shape)
    labels = (cover >= 0.5) & disc
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8), labels.astype(np.uint8)


def _tree(head: np.ndarray, rng: np.random.Generator) -> Iterator[Point]:
    """Yield the points of all vessels; trunks leave the head in all directions, branches are half as wide and more."""
    angles = (np.arange(TRUNKS) + rng.uniform(-0.3, 0.3, TRUNKS)) * 2 * math.pi / TRUNKS
    waiting = deque(Vessel(head[0], head[1], angle, rng.uniform(0.6, 1) * WIDEST) for angle in angles)
    while waiting:
        yield from _followed(waiting.popleft(), waiting, rng)


def _followed(vessel: Vessel, waiting: deque[Vessel], rng: np.random.Generator) -> Iterator[Point]:
    """Walk along a vessel to its end or the edge of the disc, and leave the branches that are met in ``waiting``."""
    y, x, angle, width = vessel.y, vessel.x, vessel.angle, vessel.width
    bend, until_branch = rng.normal(0, 0.01), rng.uniform(20, 70)
    while width >= NARROWEST and math.hypot(y - SIDE / 2, x - SIDE / 2) < RADIUS:
        yield Point(y, x, width)
        bend = 0.96 * bend + rng.normal(0, 0.0035)
        angle += bend
        y, x = y + STEP * math.sin(angle), x + STEP * math.cos(angle)
        width *= 0.997
        until_branch -= STEP
        if until_branch < 0:
            reorientation = rng.choice([-1, 1]) * rng.uniform(0.4, 1.0)
            waiting.append(Vessel(y, x, angle + reorientation, width * rng.uniform(0.45, 0.75)))
            angle, width, until_branch = angle - 0.2 * reorientation, width * 0.93, rng.uniform(20, 70)


def _drawn(points: list[Point], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of each pixel vessels cover, and how much of its light they take."""
    fine = np.zeros((SIDE * FINER, SIDE * FINER), np.float32)
    for point in points:
        share = (point.width - NARROWEST) / (WIDEST - NARROWEST)
        _stamp(fine, point, FAINTEST + (DARKEST - FAINTEST) * share)
    fine *= 1 + 0.3 * _smooth_noise(fine.shape, 60 * FINER, rng)
    blocks = fine.reshape(SIDE, FINER, SIDE, FINER)
    return (blocks > 0).mean((1, 3)), blocks.mean((1, 3))


def _stamp(fine: np.ndarray, point: Point, value: float) -> None:
    """Draw a disc as wide as the vessel at a point; what is darker there stays."""
    y, x, radius = point.y * FINER, point.x * FINER, point.width * FINER / 2
    reach = math.ceil(radius + 1)
    top, left = max(int(y) - reach, 0), max(int(x) - reach, 0)
    part = fine[top : int(y) + reach + 1, left : int(x) + reach + 1]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    np.maximum(part, value, out=part, where=(rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def _light(head: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the light without vessels: uneven, brighter at the head, darker at a spot, with soft streaks."""
    uneven = 1 + 0.22 * _smooth_noise((SIDE, SIDE), 110, rng)
    streaks = 0.05 * _smooth_noise((SIDE, SIDE), rng.uniform(3, 6), rng) + 0.04 * _smooth_noise((SIDE, SIDE), 2, rng)
    spot = SIDE - head + np.array([0, rng.uniform(-20, 20)])
    bright = 0.5 * np.exp(-((_distance(head) / 28) ** 4))
    dark = 0.35 * np.exp(-((_distance(spot) / 45) ** 2))
    return uneven * (1 + streaks + bright - dark) * (1 - 0.25 * (_distance(np.full(2, SIDE / 2)) / RADIUS) ** 2)


def _distance(centre: np.ndarray) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.hypot(rows - centre[0], columns - centre[1])


def _smooth_noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise of mean 0 and deviation 1 that is smooth over ``scale`` pixels."""
    factor = max(1, int(scale / 3))
    coarse = rng.normal(size=[-(-n // factor) + 4 for n in shape])
    coarse = ndimage.gaussian_filter(coarse, scale / factor)
    whole = ndimage.zoom(coarse, factor, order=1)[: shape[0], : shape[1]]
    return (whole - whole.mean()) / whole.std()
