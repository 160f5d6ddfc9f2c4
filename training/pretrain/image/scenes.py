"""Coloured pictures without a camera: what teaches edges, textures, colours, parts and wholes.

Dead leaves and noise of a natural spectrum: Baradad, Wulff, Wang, Isola and Torralba, Learning to see by
looking at noise, NeurIPS 2021. Fractals of iterated function systems: Kataoka et al., Pre-training without
natural images, ACCV 2020. Crops of one photograph: Asano, Rupprecht and Vedaldi, A critical analysis of
self-supervision, ICLR 2020; the two photographs are those inside scikit-learn (CC BY).

Every maker gives a pair `[2, SIDE, SIDE, 3]` uint8 of the same thing: twice the same picture, of which the
views are cut later, or an object seen in two places.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 96
PHOTOGRAPHS = ("china.jpg", "flower.jpg")

Picture = NDArray[np.uint8]
Field = NDArray[np.float64]
Maker = Callable[[np.random.Generator], Picture]
Pencil = Callable[[ImageDraw.ImageDraw, tuple[int, int, int]], None]


def random_pair(rng: np.random.Generator) -> Picture:
    """Two pictures of one thing, of any kind."""
    maker = MAKERS[rng.choice(len(MAKERS), p=_SHARES)]
    return maker(rng)


def noise(rng: np.random.Generator) -> Picture:
    """Coloured noise with a power spectrum of 1 / f^a, drawn out in one direction: cloth, cloud, bark."""
    levels = np.stack([_spectral(rng) for _ in range(3)], axis=-1) @ rng.normal(0, 1, (3, 3))
    spread = rng.uniform(15, 60)
    return _bytes(rng.uniform(40, 215, 3) + spread * levels / (levels.std() + 1e-9))


def gabor(rng: np.random.Generator) -> Picture:
    """Stripes of one or two directions and two colours, bent by noise."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    wave = np.zeros((SIDE, SIDE))
    for _ in range(rng.integers(1, 3)):
        angle, frequency = rng.uniform(0, np.pi), 2 ** rng.uniform(1, 4.5)
        phase = frequency * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 0.6) * _spectral(rng)
        wave += np.sin(2 * np.pi * phase)
    mix = 1 / (1 + np.exp(-rng.uniform(1, 8) * wave))
    return _blend(mix, _plain(_colour(rng)), _plain(_colour(rng)))


def leaves(rng: np.random.Generator) -> Picture:
    """Shapes of all sizes falling on each other, the sizes by a power law, some of them with a texture."""
    page = Image.fromarray(background(rng))
    palette = [_colour(rng) for _ in range(rng.integers(3, 12))]
    texture = Image.fromarray(_texture(rng))
    for _ in range(rng.integers(10, 50)):
        size = SIDE * min(0.6, 0.05 * rng.random() ** -0.7)
        pencil = _shape(rng, rng.uniform(0, SIDE, 2), size)
        if rng.random() < 0.2:
            mask = Image.new("L", page.size)
            pencil(ImageDraw.Draw(mask), 255)  # type: ignore[arg-type]  # a grey page takes a number
            page.paste(texture, mask=mask)
        else:
            pencil(ImageDraw.Draw(page), palette[rng.integers(len(palette))])
    return np.asarray(page)


def fractal(rng: np.random.Generator) -> Picture:
    """The attractor of two to five random contractions, by the chaos game, over a background."""
    count = rng.integers(2, 6)
    maps = rng.uniform(-1, 1, (count, 2, 2))
    maps *= (rng.uniform(0.5, 0.95, count) / np.linalg.norm(maps, 2, axis=(1, 2)))[:, None, None]
    shifts = rng.uniform(-1, 1, (count, 2))
    points, trail = rng.uniform(-1, 1, (200, 2)), []
    for step in range(70):
        which = rng.integers(count, size=len(points))
        points = np.einsum("nij,nj->ni", maps[which], points) + shifts[which]
        if step >= 10:
            trail.append(points)
    density = _histogram(np.concatenate(trail))
    ink = _texture(rng) if rng.random() < 0.3 else _plain(_colour(rng))
    return _blend(density, background(rng), ink)


def photograph(rng: np.random.Generator) -> Picture:
    """A square part of a photograph."""
    pixels = _photographs()[rng.integers(len(PHOTOGRAPHS))]
    height, width, _ = pixels.shape
    side = int(2 ** rng.uniform(np.log2(40), np.log2(300)))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    part = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def background(rng: np.random.Generator) -> Picture:
    """What is behind: a plain colour, a gradient, sky over ground, a texture, part of a photograph."""
    kind = rng.choice(4, p=[0.2, 0.35, 0.2, 0.25])
    if kind == 0:
        return _plain(_colour(rng))
    if kind == 1:
        return _blend(_ramp(rng), _plain(_colour(rng)), _plain(_colour(rng)))
    return photograph(rng) if kind == 3 else _texture(rng)


def things(rng: np.random.Generator) -> Picture:
    """An object of a few coloured parts, seen twice: another place, pose, background; most colours kept."""
    parts = [_part(rng) for _ in range(rng.integers(2, 8))]
    colours = [_colour(rng) for _ in parts]
    return np.stack([_seen(parts, colours, rng) for _ in range(2)])


def _part(rng: np.random.Generator) -> Field:
    """The outline [k, 2] of one part, about the object's middle."""
    angles = np.linspace(0, 2 * np.pi, rng.choice([3, 4, 5, 16, 16]), endpoint=False)
    outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.08, 0.6, 2)
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(outline @ rotation + rng.uniform(-0.5, 0.5, 2))


def _seen(parts: list[Field], colours: list[tuple[int, int, int]], rng: np.random.Generator) -> Picture:
    page = Image.fromarray(background(rng))
    mask = Image.new("L", page.size)
    turn = rng.normal(0, 0.2)
    pose = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    pose = pose * rng.uniform(0.35, 0.6) * SIDE * np.exp(rng.normal(0, 0.12, (1, 2)))
    centre = SIDE / 2 + rng.normal(0, 0.07 * SIDE, 2)
    body = Image.new("RGB", page.size)
    for outline, colour in zip(parts, colours, strict=True):
        points = (outline + rng.normal(0, 0.03, outline.shape)) @ pose.T + centre
        fill = colour if rng.random() < 0.7 else _colour(rng)
        corners = [tuple(point) for point in points.tolist()]
        ImageDraw.Draw(body).polygon(corners, fill=fill)
        ImageDraw.Draw(mask).polygon(corners, fill=255)
    shaded = np.asarray(body) * rng.uniform(0.8, 1.2) + rng.uniform(0, 25) * _spectral(rng)[..., None]
    page.paste(Image.fromarray(_bytes(shaded)), mask=mask)
    return np.asarray(page)


def _shape(rng: np.random.Generator, centre: Field, size: float) -> Pencil:
    """Draws an ellipse or a polygon of three to eight corners."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    if rng.random() < 0.4:
        angles = np.linspace(0, 2 * np.pi, 20)
    turn, radii = rng.uniform(0, np.pi), size * rng.uniform(0.3, 1, 2)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii @ rotation + centre
    return lambda page, fill: page.polygon([tuple(corner) for corner in corners.tolist()], fill=fill)


def _texture(rng: np.random.Generator) -> Picture:
    return (noise, gabor, photograph)[rng.integers(3)](rng)


def _spectral(rng: np.random.Generator) -> Field:
    """[SIDE, SIDE] noise, mean 0, deviation 1, amplitude falling as f^-a; isotropic or stretched."""
    y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    turn, stretch = rng.uniform(0, np.pi), 2 ** rng.uniform(-1.5, 1.5)
    along, across = x * np.cos(turn) + y * np.sin(turn), stretch * (y * np.cos(turn) - x * np.sin(turn))
    amplitude = (along**2 + across**2 + 1e-4) ** (-rng.uniform(0.5, 2.5) / 2)
    amplitude[0, 0] = 0
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(SIDE, SIDE))) * amplitude, s=(SIDE, SIDE))
    return np.asarray(field / field.std())


def _histogram(points: Field) -> Field:
    """How often each pixel was hit, on a logarithmic scale up to 1; the attractor fills the frame."""
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    places = ((points - low) / (high - low + 1e-6) * 0.9 + 0.05) * SIDE
    inside = places[((places >= 0) & (places < SIDE)).all(axis=1)].astype(np.int64)
    counts = np.bincount(inside[:, 0] * SIDE + inside[:, 1], minlength=SIDE * SIDE)
    return np.minimum(1.0, np.log1p(counts.reshape(SIDE, SIDE)) / 2.5)


def _ramp(rng: np.random.Generator) -> Field:
    """[SIDE, SIDE, 1] from 0 to 1: a horizon, sharp or soft, level or tilted."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    tilt = rng.normal(0, 0.3)
    height = y * np.cos(tilt) + x * np.sin(tilt) - rng.normal(0, 0.2)
    return np.asarray(1 / (1 + np.exp(-height * 2 ** rng.uniform(1, 7))))[..., None]


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Any colour, the pale and greyish ones more often."""
    colour = rng.uniform(0, 255, 3)
    colour = colour + rng.random() * (colour.mean() - colour)
    return tuple(int(value) for value in colour)  # type: ignore[return-value]


def _plain(colour: tuple[int, int, int]) -> Picture:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def _blend(mix: Field, first: Picture, second: Picture) -> Picture:
    weights = mix if mix.ndim == 3 else mix[..., None]
    return _bytes(first * (1 - weights) + second * weights)


def _bytes(values: Field) -> Picture:
    return np.clip(values, 0, 255).astype(np.uint8)


@cache
def _photographs() -> tuple[Picture, ...]:
    from sklearn.datasets import load_sample_image

    loaded: list[Any] = [load_sample_image(name) for name in PHOTOGRAPHS]
    return tuple(np.ascontiguousarray(pixels) for pixels in loaded)


def _twice(maker: Maker) -> Maker:
    return lambda rng: np.stack([maker(rng)] * 2)


MAKERS = (*map(_twice, (noise, gabor, leaves, fractal, photograph)), things)
_SHARES = (0.07, 0.05, 0.22, 0.13, 0.33, 0.2)
