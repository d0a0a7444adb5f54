"""Photograph-like scenes. Each is one composition; chance moves its parts and picks its light."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from examples.demo_shards.canvas import Canvas
from examples.demo_shards.colours import BLACK, RGB, WHITE, gradient, jitter, mix
from examples.demo_shards.light import DAY, DUSK, GOLDEN, GREY, MORNING, SUNSET, Light, draw_sky, draw_sun, shade
from examples.demo_shards.pen import Pen
from examples.demo_shards.textures import ridge
from examples.demo_shards.things import (
    balloon,
    blossom,
    broad_tree,
    buildings,
    conifers,
    person,
    piece_of_fruit,
    sailing_boat,
)


def _sunset_hills(canvas: Canvas, light: Light) -> None:
    draw_sky(canvas, light, 0.72, canvas.pick(0.2, 0.6))
    draw_sun(canvas, light, canvas.pick(0.2, 0.8), canvas.pick(0.42, 0.56), 0.045)
    green = jitter(canvas.rng, (92, 110, 60), 24)
    for step, distance in enumerate((0.75, 0.5, 0.25, 0.0)):
        line = ridge(canvas.rng, canvas.width, 0.6 + 0.1 * step, 0.08, 2 + step, 0.36)
        far = shade(canvas, light, green, distance)
        canvas.land(line, far, mix(far, BLACK, 0.25), relief=0.05 + 0.12 * step, zoom=1 + 0.3 * step)


def _mountain_lake(canvas: Canvas, light: Light) -> None:
    horizon = canvas.pick(0.6, 0.7)
    draw_sky(canvas, light, horizon, canvas.pick(0.1, 0.6))
    far = ridge(canvas.rng, canvas.width, horizon - 0.28, 0.24, 4, 0.5, peaks=True)
    rock = shade(canvas, light, (104, 108, 120), 0.35)
    canvas.land(far, rock, mix(rock, light.haze, 0.4), relief=0.8, zoom=1.6)
    canvas.snow(far, 0.3, mix(light.cloud, WHITE, 0.4))
    shore = ridge(canvas.rng, canvas.width, horizon - 0.06, 0.07, 4, 0.5)
    forest = shade(canvas, light, (48, 82, 58), 0.2)
    canvas.land(shore, forest, mix(forest, BLACK, 0.4), relief=0.45, zoom=0.6)
    canvas.water(horizon, shade(canvas, light, (40, 92, 112)), 0.3, 0.66)
    if canvas.pick(0, 1) < 0.5:
        conifers(canvas, shade(canvas, light, (24, 42, 34)), 1.0, 0.42, 9, gap=0.22)


def _seaside(canvas: Canvas, light: Light) -> None:
    horizon, x = canvas.pick(0.42, 0.56), canvas.pick(0.25, 0.75)
    draw_sky(canvas, light, horizon, canvas.pick(0.2, 0.8))
    draw_sun(canvas, light, x, horizon - canvas.pick(0.1, 0.3), 0.04)
    canvas.water(horizon, shade(canvas, light, (24, 112, 140)), 0.6, 0.4)
    canvas.glitter(x, horizon, mix(light.sun, WHITE, 0.3))
    sand = shade(canvas, light, (226, 200, 152))
    beach = ridge(canvas.rng, canvas.width, 0.86, 0.05, 1, 0.25)
    canvas.land(beach - 0.016, (238, 244, 244), (238, 244, 244), relief=0.3)
    canvas.land(beach, mix(sand, (60, 50, 40), 0.35), sand, relief=0.25, zoom=0.7)
    if canvas.pick(0, 1) < 0.6:
        boat, size = canvas.pick(0.15, 0.85), canvas.pick(0.06, 0.12)
        sailing_boat(canvas, boat, horizon + 0.04, size)


def _meadow(canvas: Canvas, light: Light) -> None:
    draw_sky(canvas, light, 0.6, canvas.pick(0.3, 0.8))
    grass = jitter(canvas.rng, (112, 150, 62), 20)
    hills = ridge(canvas.rng, canvas.width, 0.56, 0.06, 3, 0.4)
    canvas.land(hills, shade(canvas, light, grass, 0.55), shade(canvas, light, grass, 0.3), relief=0.2)
    field = ridge(canvas.rng, canvas.width, 0.68, 0.03, 2, 0.3)
    canvas.land(
        field,
        shade(canvas, light, grass, 0.15),
        shade(canvas, light, mix(grass, (30, 60, 10), 0.45)),
        relief=0.5,
        zoom=0.4,
    )
    flowers = jitter(canvas.rng, (236, 200, 80), 60)

    def blossoms(pen: Pen) -> None:
        for depth, x in zip(canvas.rng.uniform(0, 1, 260) ** 0.7, canvas.rng.uniform(0, 1, 260), strict=True):
            size = 0.0015 + 0.007 * depth
            pen.ellipse(x, 0.72 + 0.28 * depth, size, size * 0.7)

    canvas.shapes(mix((0, 0, 10), flowers, light.land), blossoms)
    leaves = jitter(canvas.rng, [(86, 130, 50), (176, 120, 44), (120, 150, 60)][int(canvas.rng.integers(3))], 16)
    for x in canvas.rng.permutation([0.2, 0.5, 0.8])[: int(canvas.rng.integers(1, 4))]:
        size = canvas.pick(0.35, 0.6)
        broad_tree(canvas, light, x + canvas.pick(-0.1, 0.1), 0.66 + size * 0.22, size, leaves)


def _city(canvas: Canvas, light: Light) -> None:
    horizon = canvas.pick(0.7, 0.78)
    draw_sky(canvas, light, horizon, canvas.pick(0.1, 0.5))
    lit_windows = 0.6 if light.land < 0.6 else 0.06
    for distance in (0.6, 0.3, 0.0):
        wall = shade(canvas, light, jitter(canvas.rng, (104, 106, 118), 12), distance)
        buildings(canvas, wall, horizon, 0.38 + 0.25 * distance, lit_windows * (1 - distance))
    canvas.water(horizon, shade(canvas, light, (34, 50, 78)), 0.35, 0.72)


def _people(canvas: Canvas, light: Light) -> None:
    draw_sky(canvas, light, 0.85, canvas.pick(0.2, 0.7))
    draw_sun(canvas, light, canvas.pick(0.3, 0.7), canvas.pick(0.45, 0.6), 0.07)
    line = ridge(canvas.rng, canvas.width, 0.8, 0.04, 2, 0.3)
    ground = mix(shade(canvas, light, (50, 40, 44)), (8, 6, 14), 0.6)
    canvas.land(line, ground, mix(ground, BLACK, 0.4), relief=0.2, zoom=0.6)
    count = int(canvas.rng.integers(2, 5))
    middle = canvas.pick(0.4, 0.6)

    def draw(pen: Pen) -> None:
        for place in range(count):
            x = middle + (place - (count - 1) / 2) * 0.2 / canvas.aspect
            tall = 0.44 * canvas.pick(0.72, 1.0)
            foot = float(line[int(np.clip(x, 0, 0.999) * canvas.width)]) + 0.015
            person(pen, x, foot, tall, canvas.pick(0.0, 0.1), canvas.pick(0.0, 0.1))

    canvas.shapes(mix(ground, BLACK, 0.3), draw)


def _night(canvas: Canvas, light: Light) -> None:
    rng = canvas.rng
    canvas.sky(
        {
            0: jitter(rng, (6, 10, 30), 6),
            0.6: jitter(rng, (20, 34, 74), 12),
            1: jitter(rng, (60, 84, 120), 18),
        }
    )
    canvas.clouds((92, 84, 128), (50, 40, 86), 0.45, 0.95, stretch=0.8)
    for colour, count, size in (((190, 200, 230), 320, 0.0012), (WHITE, 60, 0.0026)):
        stars = rng.uniform(0, 1, (count, 2))
        canvas.dots(colour, stars, size)
    moon, radius = (canvas.pick(0.2, 0.8), canvas.pick(0.15, 0.4)), canvas.pick(0.04, 0.09)
    canvas.glow(*moon, 0.4, (170, 186, 220), 0.6)
    canvas.ball(*moon, radius, (226, 226, 214), light=(-0.5, -0.2))
    line = ridge(rng, canvas.width, 0.82, 0.06, 3, 0.4)
    canvas.land(line, (22, 34, 54), (8, 12, 20), relief=0.15)
    conifers(canvas, (6, 10, 16), 0.95, 0.26, 34)


def _flowers(canvas: Canvas, light: Light) -> None:
    rng = canvas.rng
    leaf = jitter(rng, (70, 110, 56), 20)
    canvas.sky({0: mix(leaf, light.haze, 0.35), 1: mix(leaf, (8, 24, 10), 0.55)})
    for _ in range(14):
        canvas.glow(
            canvas.pick(0, 1),
            canvas.pick(0, 1),
            canvas.pick(0.1, 0.3),
            jitter(rng, mix(leaf, light.sun, 0.5), 30),
            0.5,
        )
    petal = jitter(
        rng,
        [(226, 74, 92), (246, 186, 60), (168, 104, 206), (244, 240, 236), (240, 130, 170)][int(rng.integers(5))],
        14,
    )
    count = int(rng.integers(2, 6))
    for place in rng.permutation(count):
        x, y = (place + 0.5 + canvas.pick(-0.2, 0.2)) / count, canvas.pick(0.3, 0.6)
        blossom(canvas, x, y, canvas.pick(0.13, 0.2), petal)


def _dunes(canvas: Canvas, light: Light) -> None:
    draw_sky(canvas, light, 0.55, canvas.pick(0, 0.25))
    draw_sun(canvas, light, canvas.pick(0.1, 0.9), canvas.pick(0.2, 0.35), 0.035)
    sand = jitter(canvas.rng, (228, 168, 98), 16)
    for step, distance in enumerate((0.45, 0.25, 0.1, 0.0)):
        line = ridge(canvas.rng, canvas.width, 0.5 + 0.13 * step, 0.09, 2 + step // 2, 0.12)
        lit = mix(shade(canvas, light, sand, distance), light.sun, 0.12)
        shadow = mix(lit, (70, 30, 40), 0.55)
        # A dune's lee side is in shadow: the steeper it falls to the right, the further down.
        fall = np.clip(np.gradient(line, 1 / canvas.width), 0, None) / canvas.aspect
        canvas.land(line, shadow, mix(shadow, (40, 16, 24), 0.3), relief=0.05)
        canvas.land(line + 0.9 * fall, lit, mix(lit, (96, 40, 30), 0.35), relief=0.06 + 0.05 * step, zoom=0.8)


def _misty_forest(canvas: Canvas, light: Light) -> None:
    draw_sky(canvas, light, 1.0, 0.0)
    for step, distance in enumerate((0.85, 0.65, 0.42, 0.18, 0.0)):
        base = 0.5 + 0.13 * step
        conifers(canvas, shade(canvas, light, (30, 58, 50), distance), base, 0.16 + 0.09 * step, 46 - 7 * step)
        if distance:
            canvas.mist(base - 0.08, base + 0.1, light.haze)


def _balloons(canvas: Canvas, light: Light) -> None:
    rng = canvas.rng
    draw_sky(canvas, light, 0.8, canvas.pick(0.2, 0.7))
    hills = ridge(rng, canvas.width, 0.84, 0.06, 3, 0.4)
    green = shade(canvas, light, (96, 124, 70), 0.3)
    canvas.land(hills, green, mix(green, BLACK, 0.3), relief=0.4)
    paints: list[RGB] = [
        (214, 54, 48),
        (246, 190, 60),
        (40, 110, 176),
        (246, 242, 232),
        (60, 150, 110),
        (140, 70, 150),
    ]
    for size in sorted(rng.uniform(0.04, 0.17, int(rng.integers(2, 7)))):
        x, y = canvas.pick(0.08, 0.92), canvas.pick(0.15, 0.6)
        colours = tuple(paints[i] for i in rng.permutation(len(paints))[: int(rng.integers(2, 4))])
        balloon(canvas, x, y, float(size), colours)


def _fruit(canvas: Canvas, light: Light) -> None:
    rng = canvas.rng
    wall, table = jitter(rng, (156, 160, 158), 30), jitter(rng, (156, 112, 78), 20)
    canvas.sky({0: mix(wall, BLACK, 0.3), 0.6: wall, 1: wall})
    canvas.glow(0.15, 0.1, 0.9, light.sun, 0.5)
    edge = canvas.pick(0.55, 0.65)
    top, rows = int(edge * canvas.height), canvas.height - int(edge * canvas.height)
    wood = gradient(canvas.width, rows, {0: mix(table, BLACK, 0.3), 1: table})
    grain = canvas.texture("rough", rows, zoom=1.5, stretch=9)
    wood.paste(mix(table, (30, 12, 4), 0.6), (0, 0), grain.point(lambda v: max(0, min(190, (140 - v) * 3))))
    canvas.image.paste(wood, (0, top))
    skins: list[RGB] = [(226, 110, 30), (196, 36, 40), (126, 168, 52), (240, 200, 60), (112, 44, 92)]
    count = int(rng.integers(3, 7))
    spots = sorted((canvas.pick(0.62, 0.84), (i + 0.5 + canvas.pick(-0.2, 0.2)) / count) for i in range(count))
    for y, x in spots:
        piece_of_fruit(canvas, x, y, canvas.pick(0.1, 0.16), jitter(rng, skins[int(rng.integers(5))], 14), table)


@dataclass(frozen=True)
class Scene:
    """A composition, what its caption says, and the lights that suit it."""

    draw: Callable[[Canvas, Light], None]
    captions: tuple[str, ...]
    lights: tuple[Light, ...]


SCENES: dict[str, Scene] = {
    "hills": Scene(_sunset_hills, ("rolling hills", "a hazy valley"), (SUNSET, GOLDEN, DUSK, MORNING)),
    "lake": Scene(_mountain_lake, ("a mountain lake", "snowy peaks over a lake"), (DAY, MORNING, GOLDEN, GREY)),
    "sea": Scene(_seaside, ("a sandy beach by the sea", "waves on the shore"), (DAY, MORNING, SUNSET, GOLDEN)),
    "meadow": Scene(_meadow, ("trees in a flowering meadow", "a green field"), (DAY, MORNING, GOLDEN, GREY)),
    "city": Scene(_city, ("a city skyline over a river", "tall buildings by the water"), (DUSK, SUNSET, DAY, GREY)),
    "people": Scene(_people, ("friends on a hill", "silhouettes of people walking"), (SUNSET, GOLDEN, DUSK)),
    "night": Scene(_night, ("the moon over a forest", "a starry sky above pines"), (DUSK,)),
    "flowers": Scene(_flowers, ("flowers in a garden", "close-up of blossoms"), (DAY, MORNING, GOLDEN)),
    "dunes": Scene(_dunes, ("sand dunes in the desert",), (DAY, GOLDEN, SUNSET)),
    "forest": Scene(_misty_forest, ("a pine forest in the mist", "fog between fir trees"), (GREY, MORNING, GOLDEN)),
    "balloons": Scene(_balloons, ("hot air balloons over hills",), (DAY, MORNING, GOLDEN)),
    "fruit": Scene(_fruit, ("fruit on a wooden table", "a still life with apples and oranges"), (DAY, GOLDEN)),
}


def draw_scene(kind: str, width: int, height: int, rng: np.random.Generator) -> tuple[Image.Image, str]:
    """A picture of this kind, and its caption."""
    scene = SCENES[kind]
    light = scene.lights[int(rng.integers(len(scene.lights)))]
    canvas = Canvas(width, height, rng)
    scene.draw(canvas, light)
    caption = f"{scene.captions[int(rng.integers(len(scene.captions)))]} {light.name}"
    return canvas.develop(grain=float(rng.uniform(3, 8)), vignette=float(rng.uniform(0.1, 0.4))), caption
