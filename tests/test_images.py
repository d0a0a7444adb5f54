"""Decoding against Pillow and open_clip's own transform, on images made here."""

import functools
import hashlib
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile, ImageOps, PngImagePlugin

from beam_curator.images import IMAGE_EXTENSIONS, ImageError, ImageFacts, decode, perceptual_hash, preprocess

SIZE = 224
REASONS = {"empty image", "truncated image", "damaged image", "not an image that can be decoded"}


def scene(width: int = 320, height: int = 240, seed: int = 0) -> np.ndarray:
    """Something like a photograph: smooth shades, edges and noise; uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    shades = [np.sin(x / (20 + 9 * c + seed) + c) + np.cos(y / (15 + 7 * c) - seed) for c in range(3)]
    levels = 128 + 55 * np.stack(shades, -1) + random.normal(0, 8, (height, width, 3))
    levels[height // 3 : height // 2, width // 4 : width // 2] += 60
    return np.clip(levels, 0, 255).astype(np.uint8)


def picture(mode: str = "RGB", width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    return Image.fromarray(scene(width, height, seed)).convert(mode)


def with_alpha(mode: str = "RGBA") -> Image.Image:
    image = picture("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


def grey16() -> np.ndarray:
    return scene()[..., 0].astype(np.uint16) * 256 + scene(seed=1)[..., 0]


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
    return preprocess(decode(data)[0], size)


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
    "png, palette": encoded(picture().quantize(64), "PNG"),
    "png, 1-bit": encoded(picture("1"), "PNG"),
    "png, opaque alpha": encoded(picture("RGBA"), "PNG"),
    "webp": encoded(picture(), "WEBP"),
    "webp, lossless": encoded(picture(), "WEBP", lossless=True),
    "gif": encoded(picture().quantize(64), "GIF"),
    "gif, animated": encoded(
        picture().quantize(64), "GIF", save_all=True, append_images=[picture(seed=1).quantize(64)]
    ),
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


@pytest.mark.parametrize("name", SAME_AS_OPEN_CLIP)
def test_pixels_are_bit_equal_to_those_of_open_clips_transform(name):
    data = SAME_AS_OPEN_CLIP[name]
    expected = open_clip_levels(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(model_input(data), expected)


@pytest.mark.parametrize("size", [224, 336])
@pytest.mark.parametrize("shape", [(500, 333), (333, 500), (224, 225), (1001, 777), (1, 1), (3, 90)])
def test_pixels_are_bit_equal_at_odd_sizes(shape, size):
    data = encoded(picture(width=shape[0], height=shape[1]), "PNG")
    np.testing.assert_array_equal(model_input(data, size), open_clip_levels(Image.open(io.BytesIO(data)), size))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_would(orientation):
    data = with_orientation(picture(), orientation)
    image, facts = decode(data)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(upright))
    assert (facts.width, facts.height) == upright.size == ((320, 240) if orientation < 5 else (240, 320))
    # By design unlike open_clip, which sees the picture as it is stored: compared on the upright one.
    np.testing.assert_array_equal(preprocess(image, SIZE), open_clip_levels(upright))


@pytest.mark.parametrize("orientation", [6, 3])
@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_in_other_formats_than_jpeg(format_name, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(picture(), format_name, exif=exif, lossless=True)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(model_input(data), open_clip_levels(upright))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_leaves_the_image_as_it_is_stored():
    plain = encoded(picture(), "JPEG")
    for exif in (
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\7" * 40,
    ):
        data = encoded(picture(), "JPEG", exif=exif)
        assert exif in data
        np.testing.assert_array_equal(model_input(data), model_input(plain))


def test_orientation_survives_exif_that_cannot_be_written_again():
    exif = struct.pack("<2sHIH", b"II", 42, 8, 2)
    exif += struct.pack("<HHII", ExifTags.Base.Orientation, 3, 1, 6)
    exif += struct.pack("<HHII", ExifTags.IFD.Exif, 2, 4, 0x41414141)  # a pointer that is text
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0" + exif + b"\0\0\0\0")
    assert decode(data)[0].size == (240, 320)


def test_a_broken_colour_profile_is_ignored():
    for format_name in ("JPEG", "PNG", "WEBP", "TIFF"):
        plain = encoded(picture(), format_name)
        broken = encoded(picture(), format_name, icc_profile=b"not a profile" * 20)
        np.testing.assert_array_equal(model_input(broken), model_input(plain))


def over_white(image: Image.Image) -> Image.Image:
    """The definition, in float arithmetic."""
    rgba = np.asarray(image.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    return Image.fromarray(np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8))


TRANSPARENT = {
    "rgba png": encoded(with_alpha(), "PNG"),
    "grey and alpha png": encoded(with_alpha("LA"), "PNG"),
    "rgba webp": encoded(with_alpha(), "WEBP", lossless=True),
    "rgba tiff": encoded(with_alpha(), "TIFF"),
    "palette png, one transparent colour": encoded(picture().quantize(16), "PNG", transparency=3),
    "palette png, alpha for each colour": encoded(picture().quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
    "rgb png, one transparent colour": encoded(picture(), "PNG", transparency=tuple(scene()[7, 9].tolist())),
    "grey png, one transparent level": encoded(picture("L"), "PNG", transparency=128),
    "1-bit png, transparent black": encoded(picture("1"), "PNG", transparency=0),
    "gif": encoded(picture().quantize(16), "GIF", transparency=3),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_is_laid_over_white(name):
    # By design unlike open_clip, which shows the hidden colours: compared with its transform of the composite.
    stored = Image.open(io.BytesIO(TRANSPARENT[name]))
    stored.load()
    assert stored.has_transparency_data
    image, _ = decode(TRANSPARENT[name])
    assert image.mode == "RGB"
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(over_white(stored)))
    assert difference.max() <= 1  # integer against float rounding
    np.testing.assert_array_equal(preprocess(image, SIZE), open_clip_levels(image))


def test_a_fully_transparent_image_is_white():
    assert (model_input(encoded(Image.new("RGBA", (50, 40), (9, 8, 7, 0)), "PNG")) == 255).all()


def png16(color_type: int, rows: np.ndarray, **chunks: bytes) -> bytes:
    """A 16-bit PNG, written by hand where Pillow writes none; rows: uint16 [height, width, channels]."""
    height, width, _ = rows.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), *((k.encode(), v) for k, v in chunks.items())]
    parts += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


HIGH_BYTE = Image.fromarray((grey16() >> 8).astype(np.uint8))
SIXTEEN_BIT = {
    "png": encoded(Image.fromarray(grey16()), "PNG"),
    "tiff": encoded(Image.fromarray(grey16()), "TIFF"),
    "big-endian tiff": encoded(Image.fromarray(grey16().astype(">u2")), "TIFF"),
    "32-bit tiff": encoded(Image.fromarray(grey16().astype(np.int32)), "TIFF"),
    "pgm": encoded(Image.fromarray(grey16()), "PPM"),
}


@pytest.mark.parametrize("name", SIXTEEN_BIT)
def test_16_bit_grey_is_read_by_its_high_byte_where_open_clip_would_turn_it_white(name):
    data = SIXTEEN_BIT[name]
    image, _ = decode(data)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(HIGH_BYTE))
    np.testing.assert_array_equal(preprocess(image, SIZE), open_clip_levels(HIGH_BYTE))
    assert (open_clip_levels(Image.open(io.BytesIO(data))) == 255).mean() > 0.95


def test_16_bit_grey_and_colour_of_the_same_levels_look_the_same():
    rows = grey16()[..., None]
    np.testing.assert_array_equal(model_input(png16(0, rows)), model_input(png16(2, rows.repeat(3, axis=2))))


def test_the_transparent_level_of_a_16_bit_image_is_compared_in_16_bits():
    rows = np.full((8, 8, 1), 0x1234, np.uint16)
    rows[0] = 0x1235
    pixels = np.asarray(decode(png16(0, rows, tRNS=struct.pack(">H", 0x1234)))[0])
    assert (pixels[0] == 0x12).all()
    assert (pixels[1:] == 255).all()


def test_the_transparent_colour_of_a_16_bit_rgb_image_is_found():
    rows = np.full((8, 8, 3), 0x1234, np.uint16)
    rows[0] = 0x5678
    pixels = np.asarray(decode(png16(2, rows, tRNS=struct.pack(">HHH", 0x1234, 0x1234, 0x1234)))[0])
    assert (pixels[0] == 0x56).all()
    assert (pixels[1:] == 255).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 99.6, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[-1000.0, 0.0, 1000.0]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, np.inf, 1.0]], np.float32), [255, 255, 255]),
        (np.array([[np.nan, np.nan, -np.inf]], np.float32), [0, 0, 0]),
        (np.array([[-5.0, -5.0, -5.0]], np.float32), [0, 0, 0]),
        (np.array([[-1e-45, 0.0, 0.0]], np.float32), [0, 255, 255]),
        (np.array([[-3e38, 0.0, 3e38]], np.float32), [0, 128, 255]),
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),
        (np.array([[0, 256, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-(2**31), 0, 2**31 - 1]], np.int32), [0, 128, 255]),
        (np.array([[70000, 70000, 70000]], np.int32), [0, 0, 0]),
    ],
)
def test_32_bit_levels_are_scaled_by_their_range(values, expected):
    image, _ = decode(encoded(Image.fromarray(values), "TIFF"))
    assert image.mode == "L"
    assert np.asarray(image).ravel().tolist() == expected


def test_facts_are_those_of_the_file():
    data = encoded(picture(), "JPEG")
    _, facts = decode(data)
    assert (facts.width, facts.height, facts.format, facts.bytes) == (320, 240, "jpeg", len(data))
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert facts.phash == perceptual_hash(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("size", "drafted"), [((1000, 700), (500, 350)), ((3000, 2000), (375, 250)), ((400, 300), (400, 300))]
)
def test_a_jpeg_decoded_at_draft_scale_is_smaller_and_its_facts_are_those_of_the_whole(size, drafted):
    data = encoded(picture(width=size[0], height=size[1]), "JPEG")
    image, facts = decode(data, draft_side=SIZE)
    whole, expected = decode(data)
    assert image.size == drafted
    assert (facts.width, facts.height, facts.sha256) == (*size, expected.sha256)
    difference = np.abs(preprocess(image, SIZE).astype(int) - preprocess(whole, SIZE))
    assert difference.mean() < 2


def test_a_turned_jpeg_decoded_at_draft_scale_has_its_upright_size():
    data = with_orientation(picture(width=1000, height=700), 6)
    image, facts = decode(data, draft_side=SIZE)
    assert image.size == (350, 500)
    assert (facts.width, facts.height) == (700, 1000)


def test_draft_scale_is_for_jpegs_alone():
    data = encoded(picture(width=1000, height=700), "PNG")
    assert decode(data, draft_side=SIZE)[1] == decode(data)[1]


def test_bytes_may_be_any_buffer():
    data = encoded(picture(), "PNG")
    assert decode(memoryview(data))[1] == decode(bytearray(data))[1] == decode(data)[1]


def test_format_is_found_by_content():
    formats = {name.split(",")[0] for name in SAME_AS_OPEN_CLIP}
    assert {decode(data)[1].format for data in SAME_AS_OPEN_CLIP.values()} == formats
    assert {"jpg", "jpeg", "png", "webp", "gif", "tif", "tiff", "bmp"} <= IMAGE_EXTENSIONS
    assert all(extension == extension.lower().strip(".") for extension in IMAGE_EXTENSIONS)


def test_a_jpeg_with_more_pictures_inside_is_read_as_its_first():
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture(seed=1)])
    image, facts = decode(data)
    assert facts.format == "mpo"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))


def test_an_icon_is_read_and_a_large_picture_inside_it_is_found_out():
    small = encoded(picture(width=64, height=64), "ICO", sizes=[(64, 64)])
    assert decode(small)[1].format == "ico"
    large = encoded(picture(width=900, height=900), "PNG")
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(large), 22) + large
    assert reason(icon, max_pixels=10_000) == "image of 900x900 pixels is over the limit of 10000 pixels"


def test_perceptual_hash_is_the_formula():
    image = picture(width=180, height=150)  # larger ones are reduced first
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)).astype(float)
    f = np.zeros((8, 8))
    for u in range(8):
        for v in range(8):
            y, x = np.mgrid[0:32, 0:32]
            f[u, v] = (grey * np.cos(np.pi * u * (2 * y + 1) / 64) * np.cos(np.pi * v * (2 * x + 1) / 64)).sum()
    bits = "".join("1" if value > np.median(f) else "0" for value in f.ravel())
    assert perceptual_hash(image) == f"{int(bits, 2):016x}"


def test_perceptual_hash_of_this_scene_never_changes():
    assert perceptual_hash(picture()) == "d8c639b9c6c6a139"


def test_perceptual_hash_of_one_flat_colour_has_no_noise_in_it():
    hashes = {perceptual_hash(Image.new("RGB", (w, 77), (w, 40, 200))) for w in range(1, 250, 7)}
    assert hashes == {"8000000000000000"}


def test_perceptual_hash_is_near_for_copies_and_far_for_others():
    def distance(a: Image.Image, b: Image.Image) -> int:
        return bin(int(perceptual_hash(a), 16) ^ int(perceptual_hash(b), 16)).count("1")

    image = picture(width=640, height=480)
    copy = Image.open(io.BytesIO(encoded(image.resize((200, 150)), "JPEG", quality=50)))
    assert distance(image, copy) <= 6
    assert distance(image, image.convert("L")) == 0
    assert distance(image, image.transpose(Image.Transpose.ROTATE_90)) >= 20
    assert distance(image, Image.linear_gradient("L")) >= 20


@pytest.mark.parametrize("shape", [(3, 1000), (1000, 3), (1, 400), (5000, 100)])
def test_a_strip_is_cropped_before_it_is_resized_and_looks_the_same(shape):
    image = picture(width=shape[0], height=shape[1])
    difference = np.abs(preprocess(image, SIZE).astype(int) - open_clip_levels(image))
    assert difference.max() <= 2


def test_a_strip_of_one_pixel_takes_no_gigabytes():
    # Resized whole, as open_clip does, it would be 224 x 44 800 000 pixels: 30 GB.
    data = encoded(Image.new("L", (1, 200_000), 77), "PNG")
    assert (model_input(data) == 77).all()


def test_an_empty_file_is_named_so():
    assert reason(b"") == "empty image"


@pytest.mark.parametrize("data", [b"x", b"not an image" * 99, bytes(1000), b"<html></html>", b"<svg></svg>"])
def test_other_files_are_not_images(data):
    assert reason(data) == "not an image that can be decoded"


def test_formats_that_would_run_other_programs_are_refused():
    eps = encoded(picture(), "EPS")
    assert reason(eps) == "not an image that can be decoded"
    assert reason(b"%PDF-1.4\n" + eps) == "not an image that can be decoded"


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.filterwarnings("error")
def test_the_pixel_limit_is_checked_on_the_header_and_told_in_full():
    bomb = png_header(30000, 30000) + struct.pack(">I", 9) + b"IDAT" + bytes(13)
    assert reason(bomb) == "image of 30000x30000 pixels is over the limit of 178956970 pixels"
    # Between Pillow's warning and its error, and above its error: the limit is ours alone.
    assert reason(png_header(10000, 10000)[:-4] + bytes(4)) in REASONS
    assert reason(encoded(picture(), "PNG"), max_pixels=76_799) == (
        "image of 320x240 pixels is over the limit of 76799 pixels"
    )
    assert decode(encoded(picture(), "PNG"), max_pixels=76_800)[1].width == 320
    assert reason(png_header(0, 5) + bytes(20)) in {*REASONS, "image without pixels"}


@pytest.mark.filterwarnings("error")
def test_a_limit_above_pillows_own_is_kept_without_a_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(encoded(picture(), "PNG"))[1].width == 320


@pytest.mark.parametrize("name", ["jpeg", "jpeg, progressive", "png", "webp", "gif", "tiff", "bmp", "ppm", "tga"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_a_truncated_image_is_an_error_and_never_padded(name):
    data = SAME_AS_OPEN_CLIP[name]
    # The last bytes of some formats are markers, metadata or padding: all pixels may be there without them.
    for cut in [*range(1, 60), *np.linspace(60, len(data) * 0.98, 60).astype(int)]:
        assert reason(data[:cut]) in REASONS, cut
    assert reason(data[: len(data) // 2]) == "truncated image" or name == "webp"


def test_what_is_known_of_a_failed_image_is_its_size_and_sha256():
    with pytest.raises(ImageError) as caught:
        decode(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    assert caught.value.facts == ImageFacts(bytes=3, sha256=sha256)


def test_pillows_global_settings_stay_as_they_are():
    def settings_now() -> tuple[object, ...]:
        return (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK)

    before = settings_now()
    for data in [*SAME_AS_OPEN_CLIP.values(), png_header(30000, 30000), b""]:
        try:
            model_input(data)
        except ImageError:
            continue
    assert settings_now() == before == (89_478_485, False, 1_048_576)


def test_many_threads_decode_as_one_does():
    files = list(SAME_AS_OPEN_CLIP.values()) * 2
    with ThreadPoolExecutor(8) as pool:
        for got, data in zip(pool.map(model_input, files), files, strict=True):
            np.testing.assert_array_equal(got, model_input(data))


def pixels_or_reason(data: bytes) -> np.ndarray | str:
    try:
        return preprocess(decode(data, max_pixels=1_000_000)[0], 32)
    except ImageError as error:
        return str(error)


@functools.cache
def small_files() -> list[bytes]:
    image = picture(width=40, height=30)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return [
        encoded(image, "JPEG", exif=exif),
        encoded(image, "JPEG", progressive=True),
        encoded(image, "PNG"),
        encoded(image.quantize(16), "PNG", transparency=b"\x00\x80"),
        encoded(image, "WEBP"),
        encoded(image.quantize(16), "GIF", save_all=True, append_images=[image.quantize(8)]),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(image, "TIFF", compression="jpeg"),
        encoded(image, "BMP"),
        encoded(image, "ICO", sizes=[(32, 32)]),
        encoded(image, "TGA"),
        encoded(image, "JPEG2000"),
    ]


@settings(max_examples=400, deadline=None)
@given(
    index=st.integers(0, 11),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=6),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
@example(index=0, edits=[], keep=1.0)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_either_decode_or_give_an_image_error(index, edits, keep):
    data = bytearray(small_files()[index])
    for place, patch in edits:
        start = int(place * len(data))
        data[start : start + len(patch)] = patch
    outcome = pixels_or_reason(bytes(data[: int(keep * len(data))]))
    assert outcome if isinstance(outcome, str) else outcome.shape == (32, 32, 3)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(small_files()))
@pytest.mark.filterwarnings("ignore")
def test_garbage_behind_any_magic_number_gives_an_image_or_an_image_error(garbage, file):
    for data in (garbage, file[:12] + garbage):
        outcome = pixels_or_reason(data)
        assert outcome if isinstance(outcome, str) else outcome.shape == (32, 32, 3)
