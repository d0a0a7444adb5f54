"""The picture at an index: its subject, size and format follow from the seed and the index alone."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from examples.demo_shards.graphics import GRAPHICS
from examples.demo_shards.scenes import SCENES, draw_scene

_KINDS = (*SCENES, *GRAPHICS, "text")
_PHOTO_SIZES = (
    *((640, 480), (480, 640), (512, 512), (600, 400), (400, 600), (480, 360), (360, 480), (448, 336)),
    *((1024, 768), (960, 320), (800, 600), (720, 240), (256, 256), (320, 240), (128, 128), (48, 48)),
)
_GRAPHIC_SIZES = (
    (400, 300),
    (300, 400),
    (256, 256),
    (384, 384),
    (480, 160),
    (200, 150),
    (128, 128),
    (48, 48),
)
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
# Lossless noise and grain take megabytes: larger photographs are never PNG, as on the web.
_LARGEST_PNG_PHOTO = 260 * 260


@dataclass(frozen=True)
class Subject:
    """A thing that is to be drawn, known before it is."""

    kind: str
    width: int
    height: int
    format: str

    @property
    def is_photo(self) -> bool:
        """Whether it is drawn to look photographed."""
        return self.kind in SCENES

    @property
    def suffix(self) -> str:
        """The extension that belongs to the format."""
        return _SUFFIXES[self.format]


@dataclass(frozen=True)
class Picture:
    """A drawn subject, upright, RGB, and the caption that fits it."""

    subject: Subject
    image: Image.Image
    caption: str


def choose_subject(seed: int, index: int) -> Subject:
    """The subject at an index; every run of `len(_KINDS)` of them has every kind."""
    turn, place = divmod(index, len(_KINDS))
    kind = _KINDS[int(np.random.default_rng([seed, turn]).permutation(len(_KINDS))[place])]
    rng = np.random.default_rng([seed, index, 1])
    photo = kind in SCENES
    sizes = _PHOTO_SIZES if photo else _GRAPHIC_SIZES
    width, height = sizes[int(rng.integers(len(sizes)))]
    if kind == "noise":
        width, height = width // 2, height // 2
    shares = (0.8, 0.04, 0.16) if photo else (0.4, 0.4, 0.2)
    chosen = str(rng.choice(["JPEG", "PNG", "WEBP"], p=shares))
    if chosen == "PNG" and photo and width * height > _LARGEST_PNG_PHOTO:
        chosen = "JPEG"
    return Subject(kind, width, height, chosen)


def choose_showpiece(index: int, image_format: str) -> Subject:
    """An oblong photograph of a common size, for what is to be seen on one: a rotation, transparency."""
    return Subject(list(SCENES)[index % len(SCENES)], 480, 360, image_format)


def draw(subject: Subject, seed: int, index: int) -> Picture:
    """Draw the subject at an index."""
    rng = np.random.default_rng([seed, index, 2])
    if subject.is_photo:
        return Picture(subject, *draw_scene(subject.kind, subject.width, subject.height, rng))
    return Picture(subject, *GRAPHICS[subject.kind](subject.width, subject.height, rng))


def encode(image: Image.Image, image_format: str, quality: int = 88, exif: Image.Exif | None = None) -> bytes:
    """The image as a file of this format."""
    file = io.BytesIO()
    if image_format == "PNG":
        image.save(file, "PNG", compress_level=4)
    elif image_format == "WEBP":
        image.save(file, "WEBP", quality=quality, method=1)
    else:
        image.save(file, "JPEG", quality=quality, exif=exif or Image.Exif())
    return file.getvalue()


def encode_picture(picture: Picture, seed: int, index: int) -> bytes:
    """The picture in its subject's format, at a quality that varies as it does on the web."""
    quality = int(np.random.default_rng([seed, index, 3]).choice([70, 80, 86, 90, 93]))
    return encode(picture.image, picture.subject.format, quality)
