"""What decoders say beside their result is in the row, and not on the terminal."""

import io
import logging
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from beam_curator.images import ImageError, decode
from beam_curator.output.outcomes import reason_kind
from tests.images.image_files import encoded, picture, reason
from tests.images.tiff_files import patched, tiff

BAD_LZW = patched(encoded(picture(width=64, height=64), "TIFF", compression="tiff_lzw"), ImageWidth=80)
TOO_MANY_SAMPLES = tiff(4, 4, bytes(16), t277=60_000)
BAD_EXIF = encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0" + b"\7" * 40)
WARNED = "LZWDecode: Not enough data at scanline 0 (short 3072 bytes)"


def test_the_first_words_of_libtiff_are_told_with_the_reason_and_not_counted_by():
    told = reason(BAD_LZW)
    assert told == f"truncated image: {WARNED}"
    assert reason_kind("failed", told) == "truncated image"


def test_what_pillow_logs_is_told_with_the_reason_and_reaches_no_handler(caplog):
    assert "More samples per pixel than can be decoded: 60000" in reason(TOO_MANY_SAMPLES)
    assert not caplog.records


def test_nothing_reaches_stderr_from_many_threads_at_once(capfd):
    with ThreadPoolExecutor(8) as pool:
        for told in pool.map(reason, [BAD_LZW, TOO_MANY_SAMPLES] * 40):
            assert (WARNED in told) != ("samples per pixel" in told), "each thread is told its own picture's words"
        assert all(image.size == (320, 240) for image, _ in pool.map(decode, [BAD_EXIF] * 40))
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("error")
def test_a_warning_of_pillows_neither_shows_nor_fails_a_picture_even_where_warnings_are_errors():
    with pytest.raises(UserWarning):
        Image.open(io.BytesIO(BAD_EXIF)).getexif()
    assert decode(BAD_EXIF)[0].size == (320, 240)


def test_all_else_in_the_process_is_warned_and_told_as_before(capfd, caplog):
    reason(BAD_LZW)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(BAD_EXIF)).getexif()
        decode(BAD_EXIF)
    assert len(caught) == 1
    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(TOO_MANY_SAMPLES))
    assert "More samples per pixel" in caplog.text
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(BAD_LZW)).load()
    assert WARNED in capfd.readouterr().err


def test_a_process_that_only_decodes_says_nothing(tmp_path):
    for name, data in (("lzw", BAD_LZW), ("samples", TOO_MANY_SAMPLES), ("exif", BAD_EXIF)):
        (tmp_path / name).write_bytes(data)
    program = (
        "import pathlib, sys\n"
        "from beam_curator.images import ImageError, decode\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        print(decode(path.read_bytes())[1].format)\n"
        "    except ImageError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "jpeg"
    assert done.stdout.splitlines()[1] == f"truncated image: {WARNED}"


def test_a_reason_is_the_same_every_time():
    with pytest.raises(ImageError) as first, warnings.catch_warnings():
        decode(BAD_LZW)
    assert {reason(BAD_LZW) for _ in range(3)} == {str(first.value)}
