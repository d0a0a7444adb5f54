"""Colours, and what is made of nothing else."""

import numpy as np
from PIL import Image

RGB = tuple[int, int, int]
Stops = dict[float, RGB]

WHITE: RGB = (255, 255, 255)
BLACK: RGB = (0, 0, 0)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """The colour `share` of the way from `first` to `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def jitter(rng: np.random.Generator, colour: RGB, amount: int = 14) -> RGB:
    """A colour near `colour`, so that two pictures of one kind are never in the same paint."""
    red, green, blue = (int(c) for c in np.clip(colour + rng.integers(-amount, amount + 1, 3), 0, 255))
    return red, green, blue


def gradient(width: int, height: int, stops: Stops) -> Image.Image:
    """A vertical gradient; the stops are at fractions of the height."""
    rows = np.linspace(0, 1, height)
    places = list(stops)
    bands = [np.interp(rows, places, [colour[band] for colour in stops.values()]) for band in range(3)]
    column = np.stack(bands, axis=-1)[:, None].round().astype(np.uint8)
    return Image.fromarray(column).resize((width, height), Image.Resampling.NEAREST)
