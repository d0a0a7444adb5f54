"""Things that stand in a scene."""

import math

import numpy as np

from examples.demo_shards.canvas import Canvas
from examples.demo_shards.colours import BLACK, RGB, WHITE, jitter, mix
from examples.demo_shards.light import Light, shade
from examples.demo_shards.pen import Pen


def conifers(canvas: Canvas, colour: RGB, base: float, height: float, count: int, gap: float = 0.0) -> None:
    """A row of conifers standing around `base`; none within `gap` of the middle of the picture."""
    rng = canvas.rng

    def draw(pen: Pen) -> None:
        for x in rng.uniform(-0.02, 1.02, count):
            if abs(x - 0.5) < gap:
                continue
            tall = height * rng.uniform(0.6, 1.15)
            foot = base + rng.uniform(-0.02, 0.03)
            half = tall * 0.2 / canvas.aspect
            pen.box(x - half * 0.1, foot - tall * 0.2, x + half * 0.1, foot)
            for layer in range(5):
                top = foot - tall * (1 - layer * 0.16)
                low = foot - tall * (0.70 - layer * 0.155)
                wide = half * (0.36 + layer * 0.16)
                pen.polygon((x, top), (x + wide, low), (x + wide * 0.3, low - tall * 0.03), (x - wide, low))

    canvas.shapes(colour, draw)
    canvas.shapes(colour, lambda pen: pen.box(0, base + 0.02, 1, base + 1))


def broad_tree(canvas: Canvas, light: Light, x: float, foot: float, tall: float, leaves: RGB) -> None:
    """A tree with a forked trunk and a crown of ever smaller and brighter leaves, lit from above."""
    rng, squeeze = canvas.rng, 1 / canvas.aspect

    def trunk(pen: Pen) -> None:
        half, fork = 0.03 * tall * squeeze, foot - tall * 0.6
        pen.polygon((x - half, foot), (x + half, foot), (x + half * 0.5, fork), (x - half * 0.5, fork))
        for lean in (-0.16, 0.14):
            pen.stroke(x, foot - tall * 0.35, x + lean * tall * squeeze, foot - tall * 0.7, 0.022 * tall)

    def crown(pen: Pen, count: int, size: float, reach: float, lift: float) -> None:
        angles, distances = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count)) * reach
        for angle, distance in zip(angles, distances, strict=True):
            across, up = (
                0.33 * distance * math.cos(angle) - lift,
                0.66 + 0.27 * distance * math.sin(angle) + lift,
            )
            pen.ellipse(x + across * tall * squeeze, foot - up * tall, size * tall, size * tall * 0.8)

    canvas.shapes(shade(canvas, light, (74, 54, 40)), trunk)
    dark, bright = shade(canvas, light, mix(leaves, (0, 20, 10), 0.6)), shade(canvas, light, leaves)
    canvas.shapes(dark, lambda pen: crown(pen, 40, 0.09, 1.0, 0.0))
    canvas.shapes(mix(dark, bright, 0.5), lambda pen: crown(pen, 150, 0.024, 1.1, 0.02))
    canvas.shapes(bright, lambda pen: crown(pen, 130, 0.02, 0.95, 0.045))
    canvas.shapes(mix(bright, light.sun, 0.35), lambda pen: crown(pen, 90, 0.013, 0.75, 0.075))


def person(pen: Pen, x: float, foot: float, tall: float, stride: float, arm: float) -> None:
    """A standing or walking silhouette; `stride` and `arm` are offsets of the feet and of a hand."""
    s = tall / pen.aspect
    hip, shoulder = foot - 0.47 * tall, foot - 0.82 * tall
    pen.ellipse(x, foot - 0.92 * tall, 0.062 * tall, 0.078 * tall)
    pen.box(x - 0.022 * s, shoulder - 0.05 * tall, x + 0.022 * s, shoulder + 0.02 * tall)
    pen.polygon(
        (x - 0.115 * s, shoulder + 0.015 * tall),
        (x - 0.06 * s, shoulder - 0.012 * tall),
        (x + 0.06 * s, shoulder - 0.012 * tall),
        (x + 0.115 * s, shoulder + 0.015 * tall),
        (x + 0.085 * s, hip),
        (x - 0.085 * s, hip),
    )
    for side in (-1, 1):
        step = x + side * (0.04 + stride) * s
        pen.polygon(
            (x + side * 0.005 * s, hip - 0.01 * tall),
            (x + side * 0.09 * s, hip - 0.01 * tall),
            (step + side * 0.03 * s, foot),
            (step - side * 0.035 * s, foot),
        )
        reach = arm if side == 1 else 0.02
        elbow = (x + side * (0.13 + reach * 0.6) * s, shoulder + 0.19 * tall)
        hand = (x + side * (0.12 + reach) * s, hip + (0.03 - 1.2 * reach) * tall)
        pen.stroke(x + side * 0.095 * s, shoulder + 0.03 * tall, *elbow, 0.042 * tall)
        pen.stroke(*elbow, *hand, 0.036 * tall)


def sailing_boat(canvas: Canvas, x: float, waterline: float, size: float) -> None:
    """A boat with two sails, seen from the side."""
    s = size / canvas.aspect
    mast = waterline - size * 1.9

    def sails(pen: Pen) -> None:
        pen.polygon(
            (x + 0.06 * s, mast),
            (x + 0.06 * s, waterline - 0.3 * size),
            (x + 0.9 * s, waterline - 0.3 * size),
        )
        pen.polygon(
            (x - 0.06 * s, mast + 0.2 * size),
            (x - 0.06 * s, waterline - 0.3 * size),
            (x - 0.7 * s, waterline - 0.3 * size),
        )

    def hull(pen: Pen) -> None:
        pen.polygon(
            (x - s, waterline - 0.2 * size),
            (x + s, waterline - 0.2 * size),
            (x + 0.7 * s, waterline + 0.08 * size),
            (x - 0.75 * s, waterline + 0.08 * size),
        )

    canvas.shapes((246, 244, 238), sails)
    canvas.shapes(jitter(canvas.rng, (120, 46, 44), 40), hull)


def buildings(canvas: Canvas, wall: RGB, base: float, tallest: float, lit: float) -> None:
    """A row of towers up to `tallest`, with a share `lit` of their windows alight."""
    rng = canvas.rng
    x = -0.02
    towers = []
    while x < 1:
        wide = rng.uniform(0.06, 0.17) / canvas.aspect
        towers.append((x, base - tallest * rng.uniform(0.25, 1.0) ** 1.4, x + wide * 0.94))
        x += wide * rng.choice([0.94, 1.2, 1.6])
    lamp = mix(wall, (255, 214, 130), 0.8)
    glass = mix(wall, (10, 14, 30), 0.3)
    canvas.boxes(wall, [(left, top, right, base) for left, top, right in towers])
    for colour, share in ((glass, 1.0), (lamp, lit)):
        windows = [spot for tower in towers for spot in _windows(canvas, tower, base) if rng.random() < share]
        canvas.boxes(colour, windows)


def _windows(canvas: Canvas, tower: tuple[float, float, float], base: float) -> list[tuple[float, float, float, float]]:
    left, top, right = tower
    columns = max(int((right - left) * canvas.aspect / 0.022), 1)
    step = (right - left) / columns
    rows = max(int((base - top) / 0.03), 1)
    return [
        (left + (c + 0.25) * step, top + (r + 0.4) * 0.03, left + (c + 0.75) * step, top + (r + 0.85) * 0.03)
        for c in range(columns)
        for r in range(rows - 1)
    ]


def blossom(canvas: Canvas, x: float, y: float, radius: float, petal: RGB) -> None:
    """A flower on its stem, seen from the front, with two rings of petals."""
    turn, count = canvas.pick(0, 1), int(canvas.rng.integers(8, 14))
    stem = mix((60, 100, 40), (20, 50, 10), canvas.pick(0.2, 0.7))
    canvas.shapes(stem, lambda pen: pen.stroke(x, y, x + 0.03, 1.02, 0.014))

    def ring(pen: Pen, reach: float, width: float, phase: float) -> None:
        for step in range(count):
            a = 2 * math.pi * (step + turn + phase) / count
            along, across = (math.cos(a), math.sin(a)), (-math.sin(a), math.cos(a))
            outline = [
                (0.5 + 0.5 * math.cos(t), width * math.sin(t) * (0.6 + 0.4 * math.cos(t - 0.4)))
                for t in np.linspace(0, 2 * math.pi, 18)
            ]
            pen.polygon(
                *(
                    (
                        x + radius * reach * (u * along[0] + v * across[0]) / canvas.aspect,
                        y + radius * reach * (u * along[1] + v * across[1]),
                    )
                    for u, v in outline
                )
            )

    canvas.shapes(mix(petal, (40, 0, 30), 0.35), lambda pen: ring(pen, 1.0, 0.22, 0.5))
    canvas.shapes(petal, lambda pen: ring(pen, 0.94, 0.17, 0.0))
    canvas.shapes(mix(petal, WHITE, 0.35), lambda pen: ring(pen, 0.7, 0.07, 0.0))
    canvas.ball(x, y, radius * 0.27, (222, 160, 40))


def balloon(canvas: Canvas, x: float, y: float, size: float, colours: tuple[RGB, ...]) -> None:
    """A hot air balloon with its basket."""
    s = size / canvas.aspect
    basket = y + 1.75 * size

    def ropes(pen: Pen) -> None:
        for side in (-1, 1):
            pen.stroke(x + side * 0.6 * s, y + 0.75 * size, x + side * 0.14 * s, basket, 0.03 * size)

    canvas.shapes((70, 56, 48), ropes)
    canvas.shapes(
        mix(colours[0], (20, 10, 10), 0.35),
        lambda pen: pen.polygon(
            (x - 0.84 * s, y + 0.5 * size),
            (x + 0.84 * s, y + 0.5 * size),
            (x + 0.2 * s, y + 1.4 * size),
            (x - 0.2 * s, y + 1.4 * size),
        ),
    )
    canvas.striped_ball(x, y, size, colours, 8)
    canvas.shapes((110, 74, 44), lambda pen: pen.box(x - 0.17 * s, basket, x + 0.17 * s, basket + 0.24 * size))


def piece_of_fruit(canvas: Canvas, x: float, foot: float, radius: float, skin: RGB, table: RGB) -> None:
    """A round fruit with a stalk, and its shadow on the table."""
    s = radius / canvas.aspect
    shadow = mix(table, BLACK, 0.7)
    canvas.shapes(shadow, lambda pen: pen.ellipse(x + 0.35 * s, foot + radius * 0.9, radius * 1.15, radius * 0.28))
    canvas.ball(x, foot, radius, skin)
    canvas.shapes(
        (64, 44, 26),
        lambda pen: pen.stroke(x, foot - radius * 0.85, x + 0.12 * s, foot - radius * 1.22, radius * 0.1),
    )
