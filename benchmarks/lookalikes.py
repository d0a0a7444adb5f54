"""Pictures by which rules for near copies are judged: edited copies, and different pictures that look alike."""

from __future__ import annotations

import importlib.util
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

Rng = np.random.Generator

_SUFFIXES = (".jpg", ".jpeg", ".png")
_PACKAGES = {"skimage": "data", "sklearn": "datasets/images"}
_LEAST_SIDE = 200
_NO_PHOTOGRAPHS = frozenset(
    f"{name}.png"
    for name in (
        *("cell", "chessboard_GRAY", "chessboard_RGB", "color", "horse", "logo"),
        *("microaneurysms", "page", "phantom", "text"),
    )
)
"""The pictures of scikit-image that are none of photographs: drawings, text, test patterns."""


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _watermark(image: Image.Image) -> Image.Image:
    """Half-transparent words across the lower right."""
    mark = Image.new("L", image.size)
    size = max(10, image.height // 14)
    draw = ImageDraw.Draw(mark)
    draw.text((image.width * 0.55, image.height * 0.88), "© example.org", fill=140, font=_font(size))
    return Image.composite(Image.new("RGB", image.size, "white"), image, mark)


def _cropped(image: Image.Image) -> Image.Image:
    """Without 1 % at each side: 2 % of the width and of the height."""
    x, y = image.width * 0.01, image.height * 0.01
    return image.crop((round(x), round(y), round(image.width - x), round(image.height - y)))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


EDITS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 30": lambda image: _jpeg(image, 30),
    "half size": lambda image: image.resize((max(1, image.width // 2), max(1, image.height // 2))),
    "224 x 224": lambda image: image.resize((224, 224)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "blur, 2 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "brightness x 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "watermark": _watermark,
    "2 % crop": _cropped,
}
"""The edits that pictures meet on the web."""


def photographs(directories: list[Path]) -> Iterator[tuple[str, Image.Image]]:
    """Photographs of packages that are installed (scikit-image, scikit-learn), and those in directories and tars."""
    for package, place in _PACKAGES.items():
        found = importlib.util.find_spec(package)
        if found is not None and found.origin:
            directories = [*directories, Path(found.origin).parent / place]
    for directory in directories:
        for path in sorted(directory.rglob("*")):
            if path.suffix == ".tar":
                yield from _of_tar(path)
            elif path.suffix.lower() in _SUFFIXES and path.name not in _NO_PHOTOGRAPHS:
                yield from _opened(path.name, path.read_bytes())


def _of_tar(path: Path) -> Iterator[tuple[str, Image.Image]]:
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and member.name.lower().endswith(_SUFFIXES):
                yield from _opened(member.name, file.read())


def _opened(name: str, content: bytes) -> Iterator[tuple[str, Image.Image]]:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    if min(image.size) >= _LEAST_SIDE:
        yield name, image


def product(rng: Rng) -> Image.Image:
    """A thing on white as shops show it: one of some shapes in some colours, with a part, a label and a shadow."""
    side = 500
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    width, height = rng.integers(140, 380, 2).tolist()
    left, top = (side - width) // 2 + int(rng.integers(-15, 16)), (side - height) // 2 + int(rng.integers(-15, 16))
    box = (left, top, left + width, top + height)
    colour, second = (tuple(rng.integers(20, 220, 3).tolist()) for _ in range(2))
    draw.ellipse((left, box[3] - 12, box[2], box[3] + 18), fill=(225, 225, 225))
    kind = int(rng.integers(6))
    if kind == 0:
        draw.rounded_rectangle(box, radius=int(rng.integers(5, 60)), fill=colour)
    elif kind == 1:
        draw.ellipse(box, fill=colour)
    elif kind == 2:  # a bottle
        neck = width // int(rng.integers(3, 6))
        draw.rounded_rectangle((left, top + height // 3, box[2], box[3]), radius=25, fill=colour)
        middle = left + width // 2
        draw.rectangle((middle - neck // 2, top, middle + neck // 2, top + height // 3 + 10), fill=second)
    elif kind == 3:  # a shirt
        arm = width // 4
        draw.rectangle((left + arm, top, box[2] - arm, box[3]), fill=colour)
        draw.polygon([(left, top + arm), (left + arm, top), (left + arm, top + 2 * arm)], fill=colour)
        draw.polygon([(box[2], top + arm), (box[2] - arm, top), (box[2] - arm, top + 2 * arm)], fill=colour)
    elif kind == 4:  # a table
        thick = max(8, height // 8)
        draw.rectangle((left, top, box[2], top + thick), fill=colour)
        draw.rectangle((left + 10, top, left + 10 + thick, box[3]), fill=second)
        draw.rectangle((box[2] - 10 - thick, top, box[2] - 10, box[3]), fill=second)
    else:
        points = [
            (left + width / 2 * (1 + r * np.cos(a)), top + height / 2 * (1 + r * np.sin(a)))
            for a, r in zip(np.linspace(0, 2 * np.pi, 9)[:-1], rng.uniform(0.5, 1, 8), strict=True)
        ]
        draw.polygon([(float(x), float(y)) for x, y in points], fill=colour)
    if rng.random() < 0.6:
        wide, high = rng.uniform(0.3, 0.8, 2)
        x, y = left + width * (1 - wide) / 2, top + height * (1 - high) / 2
        draw.rectangle((x, y, x + width * wide, y + height * high), fill=second)
        draw.text((x + 5, y + 5), words(rng, 2), fill="white", font=_font(int(rng.integers(14, 34))))
    return image


def words(rng: Rng, count: int) -> str:
    """Makes so many words of letters."""
    sizes = rng.integers(2, 10, count).tolist()
    return " ".join("".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), size)) for size in sizes)


def text_page(rng: Rng, width: int = 620, height: int = 877, size: int = 14, large: bool = False) -> Image.Image:
    """A page of text, all in one layout: a heading, a number, and justified lines of words; or a slide with few."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    margin = width // 10
    draw.text((margin, margin // 2), words(rng, 3).title(), fill="black", font=_font(2 * size))
    lines = range(margin + 2 * size, height - margin, round(1.5 * size))
    for place, y in enumerate(lines):
        if large and place % 2:
            continue
        x, end = margin, (width - margin if place % 9 != 8 else width // 2)
        while x < end:
            word = words(rng, 1)
            draw.text((x, y), word, fill="black", font=_font(size))
            x += round(draw.textlength(word + " ", font=_font(size)))
    draw.rectangle((width - margin, 0, width, height), fill="white")
    draw.text((width // 2, height - margin // 2), str(rng.integers(1, 999)), fill="black", font=_font(size))
    return image


def blank(rng: Rng) -> Image.Image:
    """Draws a page with nothing on it, 600 x 400: one shade, a little brighter at one side, and a scanner's grain."""
    width, height = 600, 400
    shade = 200 + 50 * rng.random()
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    levels = shade + (x * rng.uniform(-6, 6) + y * rng.uniform(-6, 6)) + rng.normal(0, 2, (height, width))
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB")


UNLIKE: Mapping[str, Callable[[Rng], Image.Image]] = {
    "products on white": product,
    "text pages": text_page,
    "slides": lambda rng: text_page(rng, 960, 540, 36, large=True),
    "blank pages": blank,
}
"""Kinds of pictures that look alike, and are different ones."""


def photograph_like(seed: int) -> Image.Image:
    """Smooth patches of many sizes, as photographs have them, quickly drawn: RGB, 480 x 360."""
    rng = np.random.default_rng(seed)
    levels = np.full((360, 480, 3), 128.0)
    for cells in (3, 6, 12, 24, 48):
        patches = Image.fromarray(rng.integers(0, 256, (cells * 3 // 4 + 1, cells, 3), dtype=np.uint8))
        levels += (np.asarray(patches.resize((480, 360), Image.Resampling.BICUBIC), float) - 128) * 1.5 / cells**0.5
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
