"""Any bytes as an image: decoding and preprocessing give pixels or an ImageError, and the same ones in any memory.

python fuzz/fuzz_images.py -max_total_time=300 -max_len=16384 -rss_limit_mb=2048 -timeout=20

It wants `pip install atheris`, in any environment that has the project; flags are libFuzzer's. `check_image` is also
what tests/test_fuzz_regressions.py calls on the inputs in tests/fuzz_corpus, and mutate_images.py on mutants that it
draws without atheris.
"""

from __future__ import annotations

import hashlib
import io
import pathlib
import random
import struct
import sys
import tempfile
import zlib

if __name__ == "__main__":
    import atheris

    with atheris.instrument_imports(include=["beam_curator", "PIL"]):
        import beam_curator.images  # noqa: F401

import numpy as np
from PIL import ExifTags, Image, features

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from dirty_memory import dirty_memory

from beam_curator.images import ImageError, Preparation, decode, preprocess

MAX_PIXELS = 1 << 20
SIZE = 32
JUNK = (0x35, 0xCA)


def check_image(data: bytes) -> None:
    """Decodes these bytes as an image, twice, and asserts what is promised of any bytes at all."""
    checked_outcome(data)


def checked_outcome(data: bytes) -> tuple[object, ...]:
    """The `outcome` of these bytes, which is the same whatever stood in the memory before."""
    outcomes = []
    for junk in JUNK:
        with dirty_memory(junk):
            outcomes.append(outcome(data))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0], "a failure says why"
    return outcomes[0]


def outcome(data: bytes) -> tuple[object, ...]:
    """The reason of the failure; or the facts, and a hash of all pixels and those that the model sees."""
    try:
        image, facts = decode(data, MAX_PIXELS)
        pixels = preprocess(image, Preparation(SIZE))
    except ImageError as error:
        return (str(error),)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert facts.width
    assert facts.height
    assert facts.width * facts.height <= MAX_PIXELS or facts.format == "ico"
    assert facts.format
    assert facts.phash
    assert len(facts.phash) == 16
    return facts, hashlib.sha256(image.tobytes()).hexdigest() + pixels.tobytes().hex()


def with_png_checksums(data: bytes) -> bytes:
    """The bytes with the checksum of every PNG chunk set: so that what else is wrong is seen."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    chunks, position = bytearray(data), 8
    while position + 12 <= len(chunks):
        (length,) = struct.unpack_from(">I", chunks, position)
        end = position + 8 + length
        if end + 4 > len(chunks):
            break
        struct.pack_into(">I", chunks, end, zlib.crc32(chunks[position + 4 : end]))
        position = end + 4
    return bytes(chunks)


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutates bytes once more; most mutations are near the beginning, where the headers are."""
    choose = random.Random(seed)
    if choose.random() < 0.5 or len(data) < 64:
        data = atheris.Mutate(data, max_size)
    else:
        start = choose.randrange(min(len(data), 512))
        size = choose.choice((1, 2, 4, 16))
        patch = choose.choice(
            (choose.randbytes(size), b"\xff" * size, bytes(size), atheris.Mutate(data[start:][:size], size))
        )
        data = data[:start] + patch + data[start + size :]
    return with_png_checksums(data)[:max_size] if choose.random() < 0.8 else data[:max_size]


def seeds() -> list[bytes]:
    """A small picture in every format that is decoded."""
    picture = Image.radial_gradient("L").resize((24, 18)).convert("RGB")
    picture.paste((200, 30, 90), (3, 3, 12, 9))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    small = picture.quantize(8)
    kinds = [
        (picture, "JPEG", {"exif": exif}),
        (picture, "JPEG", {"progressive": True, "icc_profile": b"not a profile"}),
        (picture.convert("CMYK"), "JPEG", {}),
        (picture, "PNG", {"exif": exif}),
        (small, "PNG", {"transparency": b"\x00\x80"}),
        (picture.convert("1"), "PNG", {}),
        (picture.convert("I;16"), "PNG", {}),
        (picture, "PNG", {"save_all": True, "append_images": [picture.rotate(9)]}),
        (small, "GIF", {"save_all": True, "append_images": [small.rotate(90)]}),
        (picture, "WEBP", {}),
        (picture.convert("RGBA"), "WEBP", {"lossless": True, "exif": exif}),
        *((picture, "TIFF", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
        (picture.convert("1"), "TIFF", {"compression": "group4"}),
        (picture.convert("F"), "TIFF", {}),
        (picture, "TIFF", {"save_all": True, "append_images": [small]}),
        (picture, "BMP", {}),
        (small, "BMP", {}),
        (picture, "ICO", {"sizes": [(16, 16)]}),
        (picture, "ICO", {"sizes": [(16, 16)], "bitmap_format": "bmp"}),
        (picture, "MPO", {"save_all": True, "append_images": [picture]}),
        *((picture, name, {}) for name in ("JPEG2000", "PPM", "PCX", "SGI", "DDS", "DIB", "TGA")),
        (small, "TGA", {"compression": "tga_rle"}),
        *([(picture, "AVIF", {})] if features.check("avif") else []),
    ]
    return [encoded(*kind) for kind in kinds]


def encoded(image: Image.Image, format_name: str, options: dict[str, object]) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def main() -> None:
    """Fuzzes until a flag of libFuzzer's, or a failure, ends it."""
    with tempfile.TemporaryDirectory() as directory:
        known = pathlib.Path(__file__).parents[1] / "tests" / "fuzz_corpus" / "images"
        for index, seed in enumerate([*seeds(), *(path.read_bytes() for path in sorted(known.iterdir()))]):
            (pathlib.Path(directory) / f"seed{index}").write_bytes(seed)
        atheris.Setup([*sys.argv, directory], check_image, custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
