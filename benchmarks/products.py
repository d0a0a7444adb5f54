"""Other drawings of things, each by rules of its own: a rule for near copies must not fit one way of drawing alone."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw

Rng = np.random.Generator
Colour = tuple[int, int, int]

_SIDE = 320


def _colour(rng: Rng, dullest: float = 0.3) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), *rng.uniform(dullest, 1, 2).tolist())
    return int(255 * red), int(255 * green), int(255 * blue)


def _on(ground: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (_SIDE, _SIDE), ground)
    return image, ImageDraw.Draw(image)


def _box(rng: Rng) -> tuple[float, float, float, float]:
    """Draws the place of a box in the middle."""
    wide, high = rng.integers(90, 260, 2).tolist()
    left, top = (_SIDE - wide) // 2, (_SIDE - high) // 2
    return left, top, left + wide, top + high


def shape(rng: Rng, ground: Colour = (255, 255, 255)) -> Image.Image:
    """Draws one filled shape, half of them with a label."""
    image, draw = _on(ground)
    box = _box(rng)
    left, top, right, bottom = box
    kind, fill = int(rng.integers(4)), _colour(rng)
    if kind == 0:
        draw.ellipse(box, fill=fill)
    elif kind == 1:
        draw.rectangle(box, fill=fill)
    elif kind == 2:
        draw.rounded_rectangle(box, radius=int(rng.integers(4, 40)), fill=fill)
    else:
        draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=fill)
    if rng.random() < 0.5:
        wide, high = (right - left) / 4, (bottom - top) / 3
        draw.rectangle((left + wide, top + high, right - wide, bottom - high), fill=_colour(rng))
    return image


def several_shapes(rng: Rng) -> Image.Image:
    """Two to five shapes, one over the other."""
    image, draw = _on((255, 255, 255))
    for _ in range(rng.integers(2, 6)):
        (left, right), (top, bottom) = np.sort(rng.uniform(45, 275, (2, 2)), axis=1).tolist()
        paint = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        paint((left, top, max(right, left + 8), max(bottom, top + 8)), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def outlined(rng: Rng) -> Image.Image:
    """A bottle, a box, a shoe or a lamp, of polygons in two colours."""
    image, draw = _on((255, 255, 255))
    scale, aspect = rng.uniform(0.7, 1.2), rng.uniform(0.75, 1.3)
    first, second = _colour(rng), _colour(rng)

    def polygon(fill: Colour, *points: tuple[float, float]) -> None:
        size = _SIDE * scale * 0.8
        draw.polygon([(_SIDE / 2 + (x - 0.5) * size * aspect, _SIDE / 2 + (y - 0.5) * size) for x, y in points], fill)

    def bar(fill: Colour, half: float, top: float, bottom: float) -> None:
        polygon(fill, (0.5 - half, top), (0.5 + half, top), (0.5 + half, bottom), (0.5 - half, bottom))

    a, b, c = rng.uniform(-0.03, 0.03, 3).tolist()
    kind = int(rng.integers(4))
    if kind == 0:
        bar(first, 0.06 + a, 0.05, 0.4)
        bar(first, 0.16 + b, 0.35 + c, 0.95)
        bar(second, 0.16 + b, 0.55, 0.8)
    elif kind == 1:
        polygon(first, (0.2 + a, 0.25), (0.65 + b, 0.25), (0.65 + b, 0.9), (0.2 + a, 0.9))
        polygon(second, (0.65 + b, 0.25), (0.8 + b, 0.13 + c), (0.8 + b, 0.78 + c), (0.65 + b, 0.9))
    elif kind == 2:
        polygon(
            first, (0.1, 0.5 + a), (0.3, 0.35), (0.4, 0.5 + b), (0.7, 0.6), (0.92, 0.68 + c), (0.93, 0.8), (0.08, 0.8)
        )
        polygon(second, (0.08, 0.8), (0.93, 0.8), (0.93, 0.86), (0.08, 0.86))
    else:
        polygon(first, (0.38 + a, 0.1), (0.62 - a, 0.1), (0.78 + b, 0.45), (0.22 - b, 0.45))
        bar(second, 0.02, 0.45, 0.85)
        bar(second, 0.22 + c, 0.85, 0.9)
    return image


def solid(rng: Rng) -> Image.Image:
    """A ball or a roll in soft light, with a shadow, on paper that is nearly white."""
    levels = np.full((_SIDE, _SIDE, 3), float(rng.integers(240, 256)))
    y, x = np.mgrid[0:_SIDE, 0:_SIDE]
    wide, high = rng.uniform(60, 130, 2).tolist()
    u, v = (x - _SIDE / 2) / wide, (y - _SIDE / 2) / high
    ball = rng.random() < 0.5
    inside = u**2 + v**2 < 1 if ball else (np.abs(u) < 0.6) & (np.abs(v) < 1)
    depth = np.sqrt(np.clip(1 - u**2 - v**2 if ball else 1 - (u / 0.6) ** 2, 0, 1))
    light = 0.35 + 0.65 * np.clip(0.6 * depth - 0.4 * u - 0.3 * v * ball, 0, 1)
    levels -= 90 * np.exp(-2 * ((u / 1.1) ** 2 + ((y - _SIDE / 2 - high) / 14) ** 2))[..., None]
    levels[inside] = (np.array(_colour(rng)) * light[..., None])[inside]
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def grey_box(rng: Rng) -> Image.Image:
    """A black, silver or white thing, with up to three parts."""
    image, draw = _on((255, 255, 255))
    left, top, right, bottom = _box(rng)
    draw.rounded_rectangle((left, top, right, bottom), int(rng.integers(2, 40)), (int(rng.integers(10, 230)),) * 3)
    for _ in range(rng.integers(0, 4)):
        (x0, x1), (y0, y1) = np.sort(rng.uniform(0.1, 0.9, (2, 2)), axis=1).tolist()
        part = (
            left + x0 * (right - left),
            top + y0 * (bottom - top),
            left + x1 * (right - left),
            top + y1 * (bottom - top),
        )
        draw.rectangle(part, fill=(int(rng.integers(10, 230)),) * 3)
    return image


def shirt(rng: Rng) -> Image.Image:
    """All of one cut, with a print."""
    image, draw = _on((255, 255, 255))
    half = [(0.44, -0.25), (0.36, -0.3), (0.2, -0.3), (0.0, -0.26)], [(0.45, -0.05), (0.25, -0.07), (0.25, 0.38)]
    right = [*half[0][2:0:-1], half[0][0], *half[1]]
    outline = [(x, y) for x, y in right] + [(-x, y) for x, y in reversed(right)]
    draw.polygon([(_SIDE * (0.5 + x), _SIDE * (0.5 + y)) for x, y in outline], fill=_colour(rng, 0.1))
    size = float(rng.uniform(12, 45))
    paint = draw.ellipse if rng.random() < 0.5 else draw.rectangle
    paint((_SIDE / 2 - size, 150 - size, _SIDE / 2 + size, 150 + size), fill=_colour(rng, 0.1))
    return image


PRODUCTS: Mapping[str, Callable[[Rng], Image.Image]] = {
    "shapes on white": shape,
    "shapes on a colour": lambda rng: shape(rng, _colour(rng)),
    "several shapes on white": several_shapes,
    "bottles, boxes, shoes, lamps": outlined,
    "balls and rolls in soft light": solid,
    "grey boxes": grey_box,
    "shirts of one cut": shirt,
}
"""Kinds of things; pictures of a kind are all different, but shirts may be nearly the same."""
