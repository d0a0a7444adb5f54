"""Images that attack or puzzle whoever decodes them."""

import struct
import zlib

import numpy as np
from PIL import ExifTags, Image

from tests.integration.hostile.parts import KEPT, Hostile, encoded, jpeg, picture
from tests.tars import tar_bytes


def png(width, height, bits=8, colour=2, body=b"", chunks=()):
    """A PNG written by hand: whatever it claims, with whatever inside."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def deflated_zeros(megabytes):
    """Zeros as deflate packs them, a thousand to one, made of one piece that repeats."""
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = zlib.adler32(bytes(megabytes << 20))
    return b"\x78\xda" + piece * megabytes + b"\x03\0" + struct.pack(">I", checksum)


def tiff_with_tile(side):
    """A picture of one pixel in a tile of side x side."""
    data = zlib.compress(bytes(1 << 16))
    tags = (
        (256, 1),
        (257, 1),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, side),
        (323, side),
        (324, 8),
        (325, len(data)),
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def images():
    """(extension, bytes, how the reason begins) of images by what is odd about them."""
    rgb, limit = picture(), "is over the limit of 178956970 pixels"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    small = rgb.quantize(16)
    loop = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0"  # its EXIF IFD is itself
    icc_bomb = png(1, 1, 8, 0, zlib.compress(b"\0\0"), [(b"iCCP", b"p\0\0" + deflated_zeros(50))])
    gif_bomb = b"GIF89a" + struct.pack("<HH", 65535, 65535) + encoded(small, "GIF")[10:]
    fax = encoded(rgb.convert("1"), "TIFF", compression="group4")
    thirty = f"image of 30000x30000 pixels {limit}"
    noise = np.random.default_rng(1).integers(0, 65535, (30, 40))
    good = {
        "lying-jpg-is-png": ("jpg", encoded(rgb, "PNG")),
        "lying-png-is-gif": ("png", encoded(small, "GIF")),
        "lying-webp-is-tiff": ("webp", encoded(rgb, "TIFF")),
        "lying-tiff-is-jpeg": ("tiff", jpeg()),
        "animated-gif": ("gif", encoded(small, "GIF", save_all=True, append_images=[small.rotate(90)])),
        "animated-png": ("png", encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(9)])),
        "animated-webp": ("webp", encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(9)])),
        "multi-page-tiff": ("tif", encoded(rgb, "TIFF", save_all=True, append_images=[rgb])),
        "one-pixel-jpeg": ("jpg", encoded(rgb.resize((1, 1)), "JPEG")),
        "one-pixel-png": ("png", encoded(rgb.resize((1, 1)), "PNG")),
        "one-pixel-gif": ("gif", encoded(small.resize((1, 1)), "GIF")),
        "line-60000-wide": ("png", encoded(Image.new("L", (60_000, 1), 7), "PNG")),
        "line-60000-high": ("png", encoded(Image.new("RGB", (1, 60_000), 7), "PNG")),
        "1-bit-png": ("png", encoded(rgb.convert("1"), "PNG")),
        "2-bit-png": ("png", encoded(rgb.quantize(4), "PNG", bits=2)),
        "4-bit-png": ("png", encoded(small, "PNG", bits=4)),
        "16-bit-png": ("png", encoded(Image.fromarray(noise.astype(np.uint16)), "PNG")),
        "16-bit-rgb-png": ("png", png(5, 4, 16, 2, zlib.compress((b"\0" + bytes(range(30))) * 4))),
        "16-bit-tiff": ("tiff", encoded(Image.fromarray(noise.astype(np.uint16)), "TIFF")),
        "32-bit-tiff": ("tiff", encoded(Image.fromarray(noise.astype(np.int32)), "TIFF")),
        "float-tiff": ("tiff", encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")),
        "cmyk-jpeg": ("jpg", encoded(rgb.convert("CMYK"), "JPEG")),
        "cmyk-tiff": ("tif", encoded(rgb.convert("CMYK"), "TIFF")),
        "lab-tiff": ("tif", encoded(rgb.convert("LAB"), "TIFF")),
        "transparent-png": ("png", encoded(Image.new("RGBA", (9, 9)), "PNG")),
        "exif-rotated": ("jpg", encoded(rgb, "JPEG", exif=exif)),
        "exif-broken": ("jpg", encoded(rgb, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")),
        "exif-garbage": ("jpg", encoded(rgb, "JPEG", exif=b"Exif\0\0" + b"\xab" * 3000)),
        "exif-loop": ("jpg", encoded(rgb, "JPEG", exif=loop)),
        "icc-garbage": ("jpg", encoded(rgb, "JPEG", icc_profile=b"not a profile" * 99)),
        "text-after-the-end": ("jpg", jpeg() + b"<?php system('id') ?>" * 9),
        "upper-case": ("JPG", jpeg()),
    }
    bad = {
        "1-bit-fax-tiff": ("tiff", fax, "TIFF with fax compression"),
        "no-bytes": ("jpg", b"", "empty image"),
        "one-byte": ("jpg", b"\xff", "not an image that can be decoded"),
        "cut-in-half": ("jpg", jpeg()[: len(jpeg()) // 2], "truncated image"),
        "cut-png": ("png", encoded(picture(size=(200, 200)), "PNG")[:3000], "truncated image"),
        "header-only": ("png", png(9, 9)[:33], ("truncated image", "damaged image")),
        "html": ("jpg", b"<html>Not found</html>", "not an image that can be decoded"),
        "svg": ("png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image that can be decoded"),
        "postscript": ("jpg", encoded(rgb, "EPS"), "not an image that can be decoded"),
        "zip": ("png", b"PK\3\4" + bytes(200), "not an image that can be decoded"),
        "icc-bomb": ("png", icc_bomb, KEPT),
        "bomb-header-only": ("png", png(30_000, 30_000, body=zlib.compress(b"")), thirty),
        "bomb": ("png", png(30_000, 30_000, 1, 0, deflated_zeros(108)), thirty),
        "bomb-gif": ("gif", gif_bomb, "image of 65535x65535"),
        "bomb-of-2-31": ("png", png((1 << 31) - 1, (1 << 31) - 1), "image of 2147483647x2147483647"),
        "tile-bomb": ("tif", tiff_with_tile(30_000), "image with a tile of 30000x30000 pixels"),
        "no-pixels": ("png", png(0, 7), ("image without pixels", "truncated image", "damaged image")),
    }
    return {name: (*found, KEPT) for name, found in good.items()} | bad


def image_shards():
    """Makes one shard with all the images, a good one before, between and after."""
    entries, rows = [], []
    for index, (name, (extension, data, why)) in enumerate(images().items()):
        entries += [(f"{name}.{extension}", data), (f"good-{index}.jpg", jpeg(index))]
        rows += [(name, why), (f"good-{index}", KEPT)]
    return {"images": Hostile(tar_bytes(entries), tuple(rows))}
