"""Pictures that no camera took: gradients, text, patterns, noise and flat colour."""

import textwrap
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from examples.demo_shards.colours import RGB, mix

_PHRASES = (
    "open daily from nine to five please mind the step fresh bread and coffee chapter one the train leaves "
    "platform four autumn sale half price summer concert in the park garden party welcome home thank you "
    "for reading quiet please lost and found museum of small things next exit keep left new arrivals"
)


def _colour(rng: np.random.Generator, low: int = 20, high: int = 236) -> RGB:
    red, green, blue = (int(v) for v in rng.integers(low, high, 3))
    return red, green, blue


def _gradient(width: int, height: int, rng: np.random.Generator) -> tuple[Image.Image, str]:
    across, down = np.linspace(-1, 1, width)[None], np.linspace(-1, 1, height)[:, None]
    round_one = rng.random() < 0.4
    if round_one:
        share = np.hypot(across - rng.uniform(-0.5, 0.5), down - rng.uniform(-0.5, 0.5)) / 1.6
    else:
        angle = rng.uniform(0, 2 * np.pi)
        share = (across * np.cos(angle) + down * np.sin(angle)) / 2.8 + 0.5
    colours = np.array([_colour(rng) for _ in range(3)])
    bands = [np.interp(share, [0, 0.5, 1], colours[:, band]) for band in range(3)]
    picture = Image.fromarray(np.stack(bands, axis=-1).astype(np.uint8))
    return picture, "a round colour gradient" if round_one else "a smooth colour gradient"


def _text(width: int, height: int, rng: np.random.Generator) -> tuple[Image.Image, str]:
    paper = _colour(rng, 190, 256) if rng.random() < 0.6 else _colour(rng, 10, 110)
    ink: RGB = (24, 24, 32) if sum(paper) > 380 else (244, 240, 228)
    picture = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(picture)
    margin, short = min(width, height) // 12, min(width, height)
    words = [str(word) for word in rng.choice(_PHRASES.split(), 80)]
    title = " ".join(words[: 2 + int(rng.integers(3))])

    accent = mix(_colour(rng), ink, 0.2)
    y = margin + _write(draw, title.upper(), margin, margin, width, short // 9, accent)
    draw.line((margin, y, width - margin, y), fill=accent, width=max(short // 90, 1))
    if short >= 100:
        size = max(short // 24, 9)
        _write(draw, " ".join(words) + ".", margin, y + size, width, size, ink, height - margin)
    return picture, f"a printed page that says {title}"


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    margin: int,
    top: int,
    width: int,
    size: int,
    ink: RGB,
    bottom: int | None = None,
) -> int:
    """Write wrapped lines, down to `bottom` at most; the height they take."""
    font = ImageFont.load_default(max(size, 7))
    letters = max(int((width - 2 * margin) / (max(size, 7) * 0.62)), 4)
    y = top
    for line in textwrap.wrap(text, letters):
        if bottom is not None and y + size > bottom:
            break
        draw.text((margin, y), line, font=font, fill=ink)
        y += round(max(size, 7) * 1.35)
    return y - top


def _pattern(width: int, height: int, rng: np.random.Generator) -> tuple[Image.Image, str]:
    cell = max(min(width, height) // int(rng.integers(4, 12)), 3)
    across, down = np.arange(width)[None], np.arange(height)[:, None]
    name = str(rng.choice(["checks", "stripes", "dots"]))
    if name == "checks":
        on = (across // cell + down // cell) % 2 == 0
    elif name == "stripes":
        on = ((across + down) // cell) % 2 == 0
    else:
        on = np.hypot(across % cell - cell / 2, down % cell - cell / 2) < cell * 0.33
    colours = np.array([_colour(rng), _colour(rng)], dtype=np.uint8)
    return Image.fromarray(colours[on.astype(int)]), f"a pattern of {name}"


def _noise(width: int, height: int, rng: np.random.Generator) -> tuple[Image.Image, str]:
    if rng.random() < 0.5:
        grey = rng.integers(0, 256, (height, width), dtype=np.uint8)
        return Image.fromarray(grey).convert("RGB"), "black and white static"
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)), "coloured noise"


def _flat(width: int, height: int, rng: np.random.Generator) -> tuple[Image.Image, str]:
    return Image.new("RGB", (width, height), _colour(rng, 0, 256)), "a plain coloured background"


GRAPHICS: dict[str, Callable[[int, int, np.random.Generator], tuple[Image.Image, str]]] = {
    "gradient": _gradient,
    "text": _text,
    "pattern": _pattern,
    "noise": _noise,
    "flat": _flat,
}
