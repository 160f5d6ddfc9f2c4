"""Characters of alphabets that do not exist: each class a set of strokes, each drawing a variation of it.

Written characters are made of a few strokes that start on or near each other (Lake, Salakhutdinov and
Tenenbaum, Human-level concept learning through probabilistic program induction, Science 350, 2015); only
that idea is taken. A stroke is a clamped B-spline. Part of the classes are letters of the font inside
Pillow (Aileron, CC0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.interpolate import BSpline

SIDE = 64
CANVAS = 2 * SIDE
"""Strokes are drawn at twice the size and then reduced, which smooths their edges."""
SAMPLES = 18
FONT_SHARE = 0.15
VARIANT_SHARE = 0.3
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&@#%?!$€£§ÆØßþðµ¥¿"

Points = NDArray[np.float64]
Ink = NDArray[np.uint8]

_TURNS = np.array([[[-1, 0], [0, 1]], [[1, 0], [0, -1]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]], np.float64)


@dataclass(frozen=True)
class Stroke:
    """Control points [k, 2] in the unit square, and the degree of the spline (1 is a polyline)."""

    points: Points
    degree: int


@dataclass(frozen=True)
class Glyph:
    """One class: strokes of our own, or a letter of the font where `letter` is not empty."""

    strokes: tuple[Stroke, ...] = ()
    letter: str = ""


@dataclass(frozen=True)
class Hand:
    """How one drawer writes: the transformation of the whole, the shake of points, the pen's width in px."""

    matrix: Points
    shift: Points
    shake: float
    pen: int


def random_glyphs(count: int, rng: np.random.Generator) -> list[Glyph]:
    """New classes, all different: letters of the font, strokes at random, and near relatives of those."""
    letters = rng.choice(list(LETTERS), min(round(FONT_SHARE * count), len(LETTERS)), replace=False)
    glyphs = [Glyph(letter=str(letter)) for letter in letters]
    written: list[Glyph] = []
    while len(glyphs) + len(written) < count:
        related = written and rng.random() < VARIANT_SHARE
        written.append(variant(written[rng.integers(len(written))], rng) if related else random_glyph(rng))
    return glyphs + written


def random_glyph(rng: np.random.Generator) -> Glyph:
    """A new class of one to five strokes."""
    strokes: list[Stroke] = []
    for _ in range(rng.choice([1, 2, 3, 4, 5], p=[0.2, 0.33, 0.25, 0.14, 0.08])):
        strokes.append(_random_stroke(rng, strokes))
    return Glyph(tuple(_centred(strokes)))


def variant(glyph: Glyph, rng: np.random.Generator) -> Glyph:
    """Another class that is easily mistaken for this one: mirrored, turned, or one stroke more or other."""
    if rng.random() < 0.4:
        turn = _TURNS[rng.integers(len(_TURNS))]
        return Glyph(tuple(Stroke(stroke.points @ turn, stroke.degree) for stroke in glyph.strokes))
    kept = [stroke for i, stroke in enumerate(glyph.strokes) if i or rng.random() < 0.6]
    shifted = [Stroke(stroke.points + 0.5, stroke.degree) for stroke in kept]
    return Glyph(tuple(_centred([*shifted, _random_stroke(rng, shifted)])))


def random_hand(rng: np.random.Generator) -> Hand:
    """A drawer and the mood of the moment."""
    turn, shear = rng.normal(0, 0.13), rng.normal(0, 0.15)
    width, height = rng.uniform(0.55, 0.85) * np.exp(rng.normal(0, 0.12, 2))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = rotation @ np.array([[width, shear * height], [0, height]])
    return Hand(matrix, rng.normal(0, 0.05, 2), rng.uniform(0.01, 0.05), int(rng.integers(2, 8)))


def draw(glyph: Glyph, rng: np.random.Generator, hand: Hand | None = None) -> Ink:
    """One drawing of the class by `hand` (a random one): [64, 64] uint8, 255 where there is ink."""
    hand = hand or random_hand(rng)
    canvas = _printed(glyph.letter, hand, rng) if glyph.letter else _written(glyph, hand, rng)
    return np.asarray(canvas.reduce(2), np.uint8)


def _random_stroke(rng: np.random.Generator, before: list[Stroke]) -> Stroke:
    """A line, corner, curve or loop, often starting where an earlier stroke passes."""
    start = rng.random(2)
    if before and rng.random() < 0.6:
        curve = _curve(before[rng.integers(len(before))])
        start = curve[(0, -1, rng.integers(len(curve)))[rng.integers(3)]]
    kind = rng.choice(["line", "corner", "curve", "loop"], p=[0.3, 0.15, 0.4, 0.15])
    if kind == "loop":
        return _loop(start, rng)
    count = {"line": 2, "corner": int(rng.integers(3, 5)), "curve": int(rng.integers(3, 7))}[kind]
    return Stroke(_walk(start, count, rng), 1 if kind == "corner" else min(3, count - 1))


def _walk(start: Points, count: int, rng: np.random.Generator) -> Points:
    """Control points that wander, turning mostly one way, and lean back into the square."""
    angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 1.0)
    length = rng.uniform(0.5, 1.3) / (count - 1) ** 0.6
    points = [start]
    for _ in range(count - 1):
        step = length * rng.uniform(0.6, 1.4) * np.array([math.cos(angle), math.sin(angle)])
        points.append(np.clip(points[-1] + step, -0.1, 1.1))
        angle += bend + rng.normal(0, 0.7)
    return np.array(points)


def _loop(start: Points, rng: np.random.Generator) -> Stroke:
    """An ellipse, or most of one."""
    radii = rng.uniform(0.06, 0.4, 2) if rng.random() < 0.5 else np.full(2, rng.uniform(0.05, 0.4))
    angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.choice([1.3, 1.7, 2.05]) * np.pi, 9)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii
    return Stroke(circle - circle[0] + start, 3)


def _centred(strokes: list[Stroke]) -> list[Stroke]:
    """The same strokes, their common frame moved to [-0.5, 0.5] without changing its proportions."""
    every = np.concatenate([stroke.points for stroke in strokes])
    low, high = every.min(axis=0), every.max(axis=0)
    size = max(float((high - low).max()), 0.2)
    return [Stroke((stroke.points - (low + high) / 2) / size, stroke.degree) for stroke in strokes]


def _written(glyph: Glyph, hand: Hand, rng: np.random.Generator) -> Image.Image:
    canvas = Image.new("L", (CANVAS, CANVAS))
    pencil = ImageDraw.Draw(canvas)
    for stroke in glyph.strokes:
        shaken = stroke.points + rng.normal(0, hand.shake, stroke.points.shape) + rng.normal(0, hand.shake, 2)
        placed = (shaken @ hand.matrix.T + hand.shift + 0.5) * CANVAS
        path = _curve(Stroke(placed, stroke.degree))
        pencil.line([tuple(point) for point in path.tolist()], fill=255, width=hand.pen)
    return canvas


def _curve(stroke: Stroke) -> Points:
    """Points [SAMPLES, 2] along the stroke."""
    return np.asarray(_basis(len(stroke.points), stroke.degree) @ stroke.points)


@cache
def _basis(count: int, degree: int) -> Points:
    """Clamped uniform B-spline: weights [SAMPLES, count] of the control points."""
    knots = np.concatenate([np.zeros(degree), np.linspace(0, 1, count - degree + 1), np.ones(degree)])
    at = np.linspace(0, 1 - 1e-9, SAMPLES)
    return np.asarray(BSpline.design_matrix(at, knots, degree).toarray())


def _printed(letter: str, hand: Hand, rng: np.random.Generator) -> Image.Image:
    """A letter of the font, put through the drawer's transformation, thickened or thinned."""
    page = Image.new("L", (CANVAS, CANVAS))
    middle = CANVAS / 2
    ImageDraw.Draw(page).text((middle, middle), letter, fill=255, font=_font(), anchor="mm")
    if rng.random() < 0.5:
        page = page.filter(ImageFilter.MaxFilter(3) if rng.random() < 0.5 else ImageFilter.MinFilter(3))
    inverse = np.linalg.inv(hand.matrix / 0.7)
    shift = middle - inverse @ (middle + hand.shift * CANVAS)
    rows = np.column_stack([inverse, shift]).ravel().tolist()
    return page.transform(page.size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)


@cache
def _font() -> Any:
    return ImageFont.load_default(size=0.8 * CANVAS)
