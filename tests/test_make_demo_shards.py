import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from PIL import Image, ImageOps

from examples.demo_shards.planting import COUNTS, DemoSize, Planted
from examples.make_demo_shards import main

pytestmark = pytest.mark.slow


SHARDS, SAMPLES_PER_SHARD, SEED = 3, 24, 3
ARGUMENTS = [f"--shards={SHARDS}", f"--samples_per_shard={SAMPLES_PER_SHARD}", f"--seed={SEED}"]
READABLE = DemoSize(SHARDS, SAMPLES_PER_SHARD, SEED).readable
UNREADABLE = (Planted.CUT_IMAGE, Planted.GARBAGE_IMAGE, Planted.EMPTY_IMAGE, Planted.NO_IMAGE)
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


@dataclass
class Seen:
    """A sample as webdataset reads it."""

    key: str
    shard: str
    suffix: str | None
    image: bytes
    about: dict[str, Any]
    caption: str


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    output = tmp_path_factory.mktemp("demo") / "raw"
    assert main(["--output", str(output), *ARGUMENTS]) == 0
    return sorted(output.iterdir())


@pytest.fixture(scope="module")
def samples(shards: list[Path]) -> list[Seen]:
    return [sample for shard in shards for sample in _read(shard)]


def _read(shard: Path) -> Iterator[Seen]:
    for sample in wds.WebDataset(str(shard), shardshuffle=False, handler=wds.ignore_and_stop):
        suffix = next((suffix for suffix in FORMATS if suffix in sample), None)
        image = sample[suffix] if suffix else b""
        about = json.loads(sample["json"])
        yield Seen(sample["__key__"], shard.name, suffix, image, about, sample["txt"].decode())


def _planted(samples: list[Seen], planted: Planted) -> list[Seen]:
    return [sample for sample in samples if sample.about.get("planted") == planted.value]


def _only(samples: list[Seen], planted: Planted) -> Seen:
    (sample,) = _planted(samples, planted)
    return sample


def _open(sample: Seen) -> Image.Image:
    return Image.open(io.BytesIO(sample.image))


def test_the_same_seed_gives_the_same_bytes(shards: list[Path], tmp_path: Path) -> None:
    assert main(["--output", str(tmp_path), *ARGUMENTS]) == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["00000.tar", "00001.tar", "00002.tar"]
    for shard in shards:
        assert (tmp_path / shard.name).read_bytes() == shard.read_bytes()


def test_every_sample_before_the_cut_is_read_by_webdataset(samples: list[Seen]) -> None:
    per_shard = Counter(sample.shard for sample in samples)
    assert per_shard == {"00000.tar": 24, "00001.tar": 24, "00002.tar": READABLE - 48}
    assert len({sample.key for sample in samples}) == READABLE


def test_all_shards_but_the_last_are_whole_tars_and_the_last_is_cut_inside_an_image(
    shards: list[Path],
) -> None:
    for shard in shards[:-1]:
        with tarfile.open(shard) as tar:
            assert len(tar.getnames()) >= 3 * SAMPLES_PER_SHARD - 1
    members: list[tarfile.TarInfo] = []
    with tarfile.open(shards[-1]) as tar, pytest.raises(tarfile.ReadError, match="unexpected end of data"):
        members.extend(member for member in tar)
    last = members[-1]
    assert last.name.rpartition(".")[2] in FORMATS
    assert last.offset_data < shards[-1].stat().st_size < last.offset_data + last.size


def test_as_much_is_planted_as_is_said(samples: list[Seen], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = Counter(sample.about["planted"] for sample in samples if "planted" in sample.about)
    assert found == {planted.value: count for planted, count in COUNTS.items()}

    assert main(["--output", str(tmp_path), "--shards=2", "--samples_per_shard=20"]) == 0
    told = capsys.readouterr().out
    assert told.count("\n") == 3
    assert "Wrote 2 shards with 40 samples (" in told
    assert "Planted: 6 exact duplicates, 5 near duplicates, 1 cut image," in told
    assert "00001.tar is cut inside an image: 2 of its samples are lost, 38 samples come before the cut" in told


def test_exact_duplicates_are_the_only_equal_images_and_some_are_across_shards(samples: list[Seen]) -> None:
    by_key = {sample.key: sample for sample in samples}
    duplicates = _planted(samples, Planted.EXACT_DUPLICATE)
    for duplicate in duplicates:
        original = by_key[duplicate.about["original"]]
        assert duplicate.image == original.image
        assert duplicate.about["url"] != original.about["url"]
    across = [d for d in duplicates if d.shard != by_key[d.about["original"]].shard]
    assert 0 < len(across) < len(duplicates)

    images = [sample.image for sample in samples if sample.image]
    assert len(images) - len(set(images)) == COUNTS[Planted.EXACT_DUPLICATE]


def test_near_duplicates_differ_in_bytes_and_look_the_same(samples: list[Seen]) -> None:
    by_key = {sample.key: sample for sample in samples}
    for duplicate in _planted(samples, Planted.NEAR_DUPLICATE):
        original = by_key[duplicate.about["original"]]
        assert duplicate.image != original.image
        small = [np.asarray(_open(s).convert("L").resize((32, 32)), dtype=int) for s in (duplicate, original)]
        assert np.abs(small[0] - small[1]).mean() < 4


def test_readable_images_decode_in_the_claimed_format_and_size(samples: list[Seen]) -> None:
    defects = {planted.value for planted in (*UNREADABLE, Planted.MISNAMED_PNG)}
    sound = [sample for sample in samples if sample.about.get("planted") not in defects]
    assert len(sound) == READABLE - len(defects)
    for sample in sound:
        with _open(sample) as image:
            assert sample.suffix
            assert image.format == FORMATS[sample.suffix]
            assert ImageOps.exif_transpose(image).size == (sample.about["width"], sample.about["height"])
    assert len({sample.about["kind"] for sample in sound}) == 17
    assert {sample.suffix for sample in sound} == set(FORMATS)


def test_captions_are_the_same_in_text_and_metadata(samples: list[Seen]) -> None:
    assert all(sample.caption == sample.about["caption"] != "" for sample in samples)
    assert all(sample.key == sample.about["key"] for sample in samples)


@pytest.mark.parametrize("planted", [Planted.CUT_IMAGE, Planted.GARBAGE_IMAGE])
def test_corrupt_images_do_not_decode(samples: list[Seen], planted: Planted) -> None:
    sample = _only(samples, planted)
    assert sample.suffix == "jpg"
    with pytest.raises(OSError, match=r"truncated|cannot identify"):
        _open(sample).load()


def test_one_image_is_empty_and_one_sample_has_none(samples: list[Seen]) -> None:
    empty, imageless = _only(samples, Planted.EMPTY_IMAGE), _only(samples, Planted.NO_IMAGE)
    assert (empty.suffix, empty.image) == ("jpg", b"")
    assert imageless.suffix is None


def test_unusual_images_are_what_they_are_called(samples: list[Seen]) -> None:
    misnamed = _only(samples, Planted.MISNAMED_PNG)
    assert (misnamed.suffix, _open(misnamed).format) == ("jpg", "PNG")
    modes = {Planted.RGBA_PNG: "RGBA", Planted.GREY_JPEG: "L", Planted.CMYK_JPEG: "CMYK"}
    assert {planted: _open(_only(samples, planted)).mode for planted in modes} == modes
    rotated = _open(_only(samples, Planted.EXIF_ROTATED))
    assert rotated.getexif()[0x0112] == 6
    assert rotated.height > rotated.width
    assert _only(samples, Planted.SUBFOLDER_KEY).key.startswith("album/")


def test_an_earlier_runs_shards_are_replaced(shards: list[Path], tmp_path: Path) -> None:
    for shard in shards:
        shutil.copy(shard, tmp_path)
    (tmp_path / "00003.tar").touch()  # as an early kill leaves it
    assert main(["--output", str(tmp_path), "--shards=2", "--samples_per_shard=20"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.tar", "00001.tar"]
    assert (tmp_path / "00000.tar").read_bytes() != shards[0].read_bytes()


@pytest.mark.parametrize("name", ["notes.txt", "00000.tar", "00000.parquet"])
def test_a_folder_with_other_files_is_refused_and_left_alone(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"mine" * 200)
    assert main(["--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"make_demo_shards: --output={tmp_path} holds {name}, which this program did not write: "
        "name an empty or a new folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--shards=1", "--shards=1: give 2 to 100000; the last one is written damaged"),
        (
            "--samples_per_shard=5",
            "--samples_per_shard=5: give 20 to 10000; with fewer there is no room for all that is planted",
        ),
        ("--seed=-1", "--seed=-1: give 0 or more"),
    ],
)
def test_a_wrong_number_is_one_line_and_writes_nothing(
    argument: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path / "raw"), argument]) == 2
    assert capsys.readouterr().err == f"make_demo_shards: {message}\n"
    assert not (tmp_path / "raw").exists()


def test_an_output_that_cannot_be_a_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert main(["--output", str(file)]) == 2
    assert main(["--output", str(file / "raw")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"make_demo_shards: --output={file} is a file: name a folder for the demo shards"
    assert second.startswith(f"make_demo_shards: cannot write to --output={file / 'raw'}: ")
