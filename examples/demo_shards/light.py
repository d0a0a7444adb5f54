"""Times of day, and the sky and sun that go with them."""

from dataclasses import dataclass

from examples.demo_shards.canvas import Canvas
from examples.demo_shards.colours import RGB, WHITE, Stops, jitter, mix


@dataclass(frozen=True)
class Light:
    """A time of day: the colours of the sky, the sun and far haze, and how bright the land is."""

    name: str
    sky: Stops
    sun: RGB
    haze: RGB
    cloud: RGB
    land: float


DAY = Light(
    "on a clear day",
    {0: (42, 108, 190), 0.45: (120, 178, 226), 0.75: (205, 226, 238)},
    (255, 250, 225),
    (178, 205, 226),
    (250, 251, 253),
    1.0,
)
MORNING = Light(
    "in the morning",
    {0: (96, 144, 198), 0.4: (186, 205, 220), 0.75: (250, 226, 190)},
    (255, 238, 200),
    (214, 212, 210),
    (255, 244, 230),
    0.9,
)
GOLDEN = Light(
    "in golden light",
    {0: (72, 98, 150), 0.35: (190, 160, 150), 0.6: (250, 196, 120), 0.8: (255, 226, 160)},
    (255, 240, 190),
    (240, 190, 130),
    (255, 214, 160),
    0.72,
)
SUNSET = Light(
    "at sunset",
    {0: (44, 40, 92), 0.3: (138, 66, 112), 0.52: (236, 106, 84), 0.75: (255, 196, 104)},
    (255, 226, 150),
    (226, 120, 96),
    (255, 150, 110),
    0.5,
)
DUSK = Light(
    "at dusk",
    {0: (16, 22, 58), 0.4: (48, 60, 118), 0.65: (150, 104, 140), 0.85: (232, 158, 128)},
    (255, 214, 170),
    (110, 96, 136),
    (150, 112, 150),
    0.35,
)
GREY = Light(
    "under a grey sky",
    {0: (134, 146, 160), 0.5: (178, 188, 196), 0.8: (214, 220, 222)},
    (236, 238, 238),
    (188, 196, 202),
    (228, 232, 236),
    0.8,
)


def shade(canvas: Canvas, light: Light, colour: RGB, distance: float = 0.0) -> RGB:
    """A colour of the land in this light, faded into haze by distance (0 near, 1 lost)."""
    seen = mix((0, 0, 10), jitter(canvas.rng, colour, 10), light.land)
    return mix(seen, light.haze, distance)


def draw_sky(canvas: Canvas, light: Light, horizon: float, cover: float) -> None:
    """The whole sky, its horizon at this height, and clouds where `cover` asks for them."""
    canvas.sky({place * horizon / 0.75: jitter(canvas.rng, colour, 7) for place, colour in light.sky.items()})
    if cover > 0.05:
        canvas.clouds(light.cloud, mix(light.sky[0], light.haze, 0.6), cover, horizon)


def draw_sun(canvas: Canvas, light: Light, x: float, y: float, radius: float) -> None:
    """A sun in the light's colour, with its glow."""
    canvas.glow(x, y, 0.75, light.sun, 0.55)
    canvas.glow(x, y, 0.2, light.sun, 0.85)
    canvas.shapes(mix(light.sun, WHITE, 0.6), lambda pen: pen.ellipse(x, y, radius, radius))
