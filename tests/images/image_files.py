"""Image files for tests, made here, and what reads them."""

import functools
import io

import numpy as np
import open_clip
import pytest
from PIL import ExifTags, Image

from beam_curator.images import ImageError, Preparation, decode, preprocess

SIZE = 224


@functools.cache
def scene(width: int = 320, height: int = 240, seed: int = 0) -> np.ndarray:
    """Something like a photograph: smooth shades, edges and noise; uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    shades = [np.sin(x / (20 + 9 * c + seed) + c) + np.cos(y / (15 + 7 * c) - seed) for c in range(3)]
    levels = 128 + 55 * np.stack(shades, -1) + random.normal(0, 8, (height, width, 3))
    levels[height // 3 : height // 2, width // 4 : width // 2] += 60
    found = np.clip(levels, 0, 255).astype(np.uint8)
    found.flags.writeable = False
    return found


def picture(mode: str = "RGB", width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    return Image.fromarray(scene(width, height, seed)).convert(mode)


def with_alpha(mode: str = "RGBA") -> Image.Image:
    image = picture("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


def grey16() -> np.ndarray:
    return scene()[..., 0].astype(np.uint16) * 256 + scene(seed=1)[..., 0]


@functools.cache
def in_64_colours(seed: int = 0) -> Image.Image:
    return picture(seed=seed).quantize(64, Image.Quantize.FASTOCTREE)  # the others take a second


def encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def with_orientation(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(image, "JPEG", exif=exif)


def open_clip_levels(image: Image.Image, size: int = SIZE) -> np.ndarray:
    """uint8 [size, size, 3] as open_clip's inference transform has them before it divides by 255."""
    transform = open_clip.image_transform(size, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
    return (transform(image) * 255).round().byte().permute(1, 2, 0).numpy()


def model_input(data: bytes, size: int = SIZE) -> np.ndarray:
    return preprocess(decode(data)[0], Preparation(size))


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, **options)
    return str(caught.value)


SAME_AS_OPEN_CLIP = {
    "jpeg": encoded(picture(), "JPEG"),
    "jpeg, progressive": encoded(picture(), "JPEG", progressive=True),
    "jpeg, grey": encoded(picture("L"), "JPEG"),
    "jpeg, cmyk": encoded(picture("CMYK"), "JPEG"),
    "jpeg, upright": encoded(picture(width=240, height=331), "JPEG"),
    "jpeg, smaller than the crop": encoded(picture(width=90, height=61), "JPEG"),
    "jpeg, exactly the crop": encoded(picture(width=224, height=224), "JPEG"),
    "jpeg, 30 times as wide as high": encoded(picture(width=1200, height=40), "JPEG"),
    "png": encoded(picture(), "PNG"),
    "png, grey": encoded(picture("L"), "PNG"),
    "png, palette": encoded(in_64_colours(), "PNG"),
    "png, 1-bit": encoded(picture("1"), "PNG"),
    "png, opaque alpha": encoded(picture("RGBA"), "PNG"),
    "webp": encoded(picture(), "WEBP"),
    "webp, lossless": encoded(picture(), "WEBP", lossless=True),
    "gif": encoded(in_64_colours(), "GIF"),
    "gif, animated": encoded(in_64_colours(), "GIF", save_all=True, append_images=[in_64_colours(1)]),
    "tiff": encoded(picture(), "TIFF"),
    "tiff, lzw": encoded(picture(), "TIFF", compression="tiff_lzw"),
    "tiff, cmyk": encoded(picture("CMYK"), "TIFF"),
    "tiff, jpeg inside": encoded(picture(), "TIFF", compression="jpeg"),
    "tiff, lab": encoded(picture("LAB"), "TIFF"),
    "tiff, two pages": encoded(picture(), "TIFF", save_all=True, append_images=[picture(seed=1)]),
    "bmp": encoded(picture(), "BMP"),
    "jpeg2000": encoded(picture(), "JPEG2000"),
    "ppm": encoded(picture(), "PPM"),
    "tga": encoded(picture(), "TGA"),
    "pcx": encoded(picture(), "PCX"),
    "sgi": encoded(picture(), "SGI"),
    "dds": encoded(picture(), "DDS"),
    "dib": encoded(picture(), "DIB"),
}
