"""Natural roughness: textures for surfaces, skylines for land."""

import functools
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.floating]
TextureName = Literal["smooth", "rough", "relief", "grain"]

TILE = 1024


def ridge(
    rng: np.random.Generator,
    width: int,
    top: float,
    rise: float,
    cells: int,
    rough: float,
    *,
    peaks: bool = False,
) -> FloatArray:
    """A skyline: float [width], as fractions of the picture's height, around `top` +- `rise`.

    `cells` is the number of large hills; `rough` is how much each octave of smaller ones adds; `peaks` makes
    them pointed.
    """
    line = np.zeros(width)
    amount, total = 1.0, 0.0
    while cells < width / 3 and amount > 0.02:
        points = rng.uniform(-1, 1, cells + 2)
        places = np.linspace(0, cells, width)
        left = places.astype(int)
        part = places - left
        if not peaks:
            part = part * part * (3 - 2 * part)
        line += amount * (points[left] * (1 - part) + points[left + 1] * part)
        total += amount
        amount, cells = amount * rough, cells * 2
    return top + rise * line / max(total, 1.0)


@functools.cache
def texture(name: TextureName) -> Image.Image:
    """A texture of mean 128 and deviation 48, two tiles square so that every crop of a tile's size exists."""
    values: FloatArray
    if name == "relief":
        rough = np.asarray(texture("rough").crop((0, 0, TILE, TILE))).astype(np.float32)
        values = np.roll(rough, 2, axis=1) - np.roll(rough, -2, axis=1)
    else:
        exponent = {"smooth": 1.75, "rough": 1.25, "grain": 0.25}[name]
        frequencies = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None])
        frequencies[0, 0] = 1
        white = np.random.default_rng(len(name)).standard_normal((TILE, TILE), dtype=np.float32)
        values = np.fft.irfft2(np.fft.rfft2(white) * frequencies**-exponent)
    values = (values - values.mean()) / values.std() * 48 + 128
    return Image.fromarray(np.tile(np.clip(values, 0, 255).astype(np.uint8), (2, 2)))
