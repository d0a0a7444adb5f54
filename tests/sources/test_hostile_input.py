"""What images, captions, names and rules can do at worst, and what becomes of it."""

import io
import json
import os
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.images import ImageError, PictureHashes, decode, pictures
from beam_curator.images.pictures import PixelBudget
from beam_curator.output.job_input import match_shards
from beam_curator.output.outcomes import reason_kind
from beam_curator.rules.selecting import select
from beam_curator.samples import Member, Sample
from beam_curator.sources.tar import captions
from beam_curator.sources.tar.captions import MAX_CAPTION_BYTES, MAX_JSON_BYTES, caption_of
from tests.patience import HANG_SECONDS


def encoded(image, format_name, **options):
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def tiff_with_tile(width, height):
    """A picture of one pixel, in one tile."""
    data = zlib.compress(bytes(1 << 16))
    tags = ((256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (277, 1), (322, width), (323, height), (324, 8))
    tags = (*tags, (325, len(data)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_a_tile_that_is_larger_than_its_picture_may_be_is_refused_before_it_is_decoded():
    with pytest.raises(ImageError, match="image with a tile of 30000x30000 pixels"):
        decode(tiff_with_tile(30_000, 30_000))
    assert decode(tiff_with_tile(256, 256))[1].width == 1


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_compression_is_refused_because_its_damage_gives_other_pixels_every_time(compression):
    data = encoded(Image.linear_gradient("L").convert("1"), "TIFF", compression=compression)
    with pytest.raises(ImageError, match="TIFF with fax compression"):
        decode(data)


def test_threads_together_decode_no_more_pixels_at_a_time_than_the_budget(monkeypatch):
    budget = PixelBudget(1000)
    monkeypatch.setattr(pictures, "_BUDGET", budget)
    taken = []

    def note(_image):
        taken.append(budget._taken)
        time.sleep(0.002)
        return PictureHashes("", "", 0, "", "", None)

    monkeypatch.setattr(pictures, "picture_hashes", note)
    sizes = [(20, 20), (50, 40), (10, 10), (30, 30), (20, 20), (1, 1)] * 5
    files = [encoded(Image.new("L", size), "BMP") for size in sizes]
    threads = [threading.Thread(target=decode, args=(data,)) for data in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)
        assert not thread.is_alive()
    assert len(taken) == len(files)
    assert set(taken) <= {2000, *range(1001)}  # more than the budget only for one that is larger, alone
    assert budget._taken == 0


def test_a_failure_gives_its_pixels_back_to_the_budget(monkeypatch):
    budget = PixelBudget(10)
    monkeypatch.setattr(pictures, "_BUDGET", budget)
    with pytest.raises(ImageError):
        decode(encoded(Image.effect_noise((90, 90), 50), "PNG")[:2000])
    assert budget._taken == 0


def test_transparency_is_the_same_whether_the_picture_had_to_be_converted_or_not():
    levels = np.random.default_rng(0).integers(0, 255, (9, 7, 4), dtype=np.uint8)
    rgba = Image.fromarray(levels)
    pixels = np.asarray(decode(encoded(rgba, "PNG"))[0])
    expected = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    assert np.abs(pixels.astype(int) - np.asarray(expected)).max() <= 1


def sample(**members):
    return Sample("k", 0, 0, {name: Member(name, 0, len(data), data) for name, data in members.items()})


def test_json_that_would_take_much_memory_is_not_parsed(monkeypatch):
    caption = json.dumps({"caption": "c", "more": "x" * MAX_JSON_BYTES}).encode()
    assert caption_of(sample(json=caption[: MAX_JSON_BYTES - 2] + b'"}')) == "c"
    monkeypatch.setattr(captions.json_text, "loads", lambda text: pytest.fail("it was parsed"))
    assert caption_of(sample(json=caption)) is None


@pytest.mark.parametrize("name", ["txt", "json"])
def test_a_caption_is_never_longer_than_its_limit(name):
    long = "é" * MAX_CAPTION_BYTES
    data = long.encode() if name == "txt" else json.dumps({"caption": long}).encode()
    assert caption_of(sample(**{name: data})) == "é" * (MAX_CAPTION_BYTES // 2)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ('repeated member "jpg"', "repeated member"),
        ('repeated member "a: "b" \x1b[2J\n"', "repeated member"),
        ('truncated shard: member "jpg" is cut', "truncated shard"),
        ("image of 30000x3 pixels is over the limit of 5 pixels", "image of N pixels is over the limit of N pixels"),
        ("sample of 9 bytes is over the limit of 8", "sample of N bytes is over the limit of N"),
        ("rule v2_rule raised ValueError: 17 is odd", "rule v2_rule raised ValueError"),
    ],
)
def test_failures_are_counted_by_kinds_that_no_shard_can_invent(reason, kind):
    assert reason_kind(rows.FAILED, reason) == kind
    assert reason_kind(rows.DROPPED, "aesthetic < 5") == "aesthetic < 5"


@pytest.mark.parametrize("name", [b"caf\xe9.tar", b"a\nb.tar", b"\x1b[31m.tar"])
def test_a_shard_whose_name_cannot_be_shown_is_refused_by_name_before_any_work(tmp_path, name):
    try:
        open(os.path.join(os.fsencode(tmp_path), name), "wb").close()  # noqa: PTH118, PTH123 (a name of bytes)
    except OSError:
        pytest.skip("this file system refuses such names itself")
    with pytest.raises(UsageError, match="not UTF-8, or holds control characters: rename '") as refused:
        match_shards([str(tmp_path)])
    assert str(refused.value).isprintable()


def test_a_pipe_that_is_named_like_a_shard_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(UsageError, match=r"a\.tar is not a file"):
        match_shards([str(tmp_path)])


def test_directories_that_are_named_like_shards_and_links_to_nowhere_are_named(tmp_path):
    (tmp_path / "a.tar").mkdir()
    (tmp_path / "b\n.tar").symlink_to("nowhere")
    (tmp_path / "c.tar").write_bytes(b"")
    with pytest.raises(
        UsageError,
        match=r"2 names are missing .*a\.tar \(a directory, not a file\), .*b\\n\.tar' \(a link to nothing\)",
    ) as refused:
        match_shards([str(tmp_path)])
    assert str(refused.value).isprintable()
    assert [shard.url for shard in match_shards([str(tmp_path)], allow_missing=True)] == [str(tmp_path / "c.tar")]


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class NeitherTrueNorFalse:
    def __bool__(self):
        raise TypeError("ask again")


def raises(error):
    def rule(row):
        raise error

    return rule


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (raises(ValueError("no")), "rule rule raised ValueError: no"),
        (raises(SystemExit(3)), "rule rule raised SystemExit: 3"),
        (raises(RecursionError()), "rule rule raised RecursionError: "),
        (raises(MemoryError()), "rule rule raised MemoryError: "),
        (raises(UnspeakableError()), "rule rule raised UnspeakableError: (no message)"),
        (lambda row: NeitherTrueNorFalse(), "raised TypeError: ask again"),
        (lambda row: np.array([True, False]), "raised ValueError: The truth value"),
        (lambda row: row["no such column"], "raised KeyError: 'no such column'"),
        (lambda row, more: True, "raised TypeError: "),
        (lambda row: row.clear() or row["key"], "raised KeyError: 'key'"),
    ],
)
def test_whatever_a_rule_raises_fails_its_row_and_the_others_go_on(rule, reason):
    table = rows.from_dicts([{"sample_id": "1", "status": rows.KEPT, "reason": None, "key": "a"}])
    table = select(table, [rule, lambda row: True])
    assert table["status"].to_pylist() == [rows.FAILED]
    assert reason in table["reason"].to_pylist()[0]
