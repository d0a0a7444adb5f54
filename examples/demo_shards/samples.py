"""Makes one demo sample: an image with its caption and metadata, and whatever is planted in it."""

import json
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from examples.demo_shards.pictures import Picture, choose_showpiece, choose_subject, draw, encode, encode_picture
from examples.demo_shards.planting import DemoSize, Plant, Planted

_ORIENTATION = 0x0112  # the EXIF tag
_TURN_CLOCKWISE = 6


@dataclass(frozen=True)
class DemoSample:
    """A key and its members by extension, the image first."""

    key: str
    members: dict[str, bytes]


def build_sample(demo: DemoSize, index: int, plant: Plant | None) -> DemoSample:
    """The sample at an index: always the same for the same demo."""
    source = index if plant is None or plant.original is None else plant.original
    if plant is None or plant.planted in (Planted.EXACT_DUPLICATE, Planted.NEAR_DUPLICATE):
        subject = choose_subject(demo.seed, source)
    else:
        subject = choose_showpiece(index, "PNG" if plant.planted is Planted.RGBA_PNG else "JPEG")
    picture = draw(subject, demo.seed, source)
    image = encode_picture(picture, demo.seed, source)
    if plant is not None:
        picture, image = _planted_image(plant.planted, picture, image, index)

    subject = picture.subject
    key = sample_key(demo, index, plant)
    about = {
        "key": key,
        "url": f"https://images.example/{demo.seed}/{index:06d}.{subject.suffix}",
        "caption": picture.caption,
        "kind": subject.kind,
        "width": subject.width,
        "height": subject.height,
    }
    if plant is not None:
        about["planted"] = plant.planted.value
        if plant.original is not None:
            about["original"] = sample_key(demo, plant.original, None)
    members = {subject.suffix: image, "json": json.dumps(about).encode(), "txt": picture.caption.encode()}
    if plant is not None and plant.planted is Planted.NO_IMAGE:
        del members[subject.suffix]
    return DemoSample(key, members)


def sample_key(demo: DemoSize, index: int, plant: Plant | None) -> str:
    """A key as img2dataset makes them: five digits of shard, four of place."""
    shard, place = divmod(index, demo.samples_per_shard)
    folder = "album/" if plant is not None and plant.planted is Planted.SUBFOLDER_KEY else ""
    return f"{folder}{shard:05d}{place:04d}"


def _planted_image(planted: Planted, picture: Picture, image: bytes, index: int) -> tuple[Picture, bytes]:
    """The picture as its metadata shall describe it, and the file."""
    upright = picture.image
    if planted is Planted.NEAR_DUPLICATE:
        return _near_copy(picture, index)
    if planted is Planted.CUT_IMAGE:
        image = image[: len(image) * 2 // 5]
    elif planted is Planted.GARBAGE_IMAGE:
        image = np.random.default_rng(index).bytes(24_000)
    elif planted is Planted.EMPTY_IMAGE:
        image = b""
    elif planted is Planted.MISNAMED_PNG:
        image = encode(upright, "PNG")
    elif planted is Planted.RGBA_PNG:
        image = encode(_with_round_alpha(upright), "PNG")
    elif planted is Planted.GREY_JPEG:
        image = encode(upright.convert("L"), "JPEG")
    elif planted is Planted.CMYK_JPEG:
        image = encode(upright.convert("CMYK"), "JPEG")
    elif planted is Planted.EXIF_ROTATED:
        exif = Image.Exif()
        exif[_ORIENTATION] = _TURN_CLOCKWISE
        image = encode(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)
    return picture, image


def _near_copy(picture: Picture, index: int) -> tuple[Picture, bytes]:
    """The picture again as other sites would serve it: compressed harder, or a little smaller, or both."""
    quality, scale = [(45, 1.0), (82, 0.9), (60, 0.75)][index % 3]
    width, height = (round(side * scale) for side in picture.image.size)
    image = picture.image.resize((width, height), Image.Resampling.LANCZOS)
    subject = replace(picture.subject, width=width, height=height, format="JPEG")
    return Picture(subject, image, picture.caption), encode(image, "JPEG", quality)


def _with_round_alpha(image: Image.Image) -> Image.Image:
    alpha = Image.radial_gradient("L").resize(image.size).point(lambda v: min(255, max(0, (230 - v) * 3)))
    image = image.copy()
    image.putalpha(alpha)
    return image
