"""Whole jobs on tars as people make them: keys that come back, links, what macOS adds, several images, dots."""

import io
import json
import pathlib
import re
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from beam_curator.commands import curate_images, verify_output
from beam_curator.sources.findings import REPACK
from beam_curator.sources.sample_images import SEVERAL
from tests.integration.integration_content import content
from tests.tars import COMPRESSORS, Entry, tar_bytes

FLAGS = ["--clip_model", "tiny-untrained", "--min_aesthetic", "0", "--max_nsfw", "2", "--report", "false"]


def image(seed, format="JPEG", size=72):
    levels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).resize((size, size)).save(file, format)
    return file.getvalue()


@pytest.fixture
def run(tmp_path, capsys):
    """Curates a tar; gives the output directory, what was printed, the manifest, and what verify_output printed."""

    def curated(data, *flags, name="in.tar", verified=0):
        if not (tmp_path / name).exists():  # written again, it would be another shard
            (tmp_path / name).write_bytes(data)
        output = tmp_path / "out"
        capsys.readouterr()
        assert curate_images.main(["--input", str(tmp_path / name), "--output", str(output), *FLAGS, *flags]) == 0
        printed = capsys.readouterr().out
        assert verify_output.main([str(output)]) == verified
        told = capsys.readouterr().out
        return output, printed, json.loads((output / "manifest.json").read_text()), told

    return curated


def ledger(output):
    return pd.read_parquet(output / "samples").sort_values("offset")


def members(output):
    """The samples' own members in all output shards: by key in the input, extension and bytes."""
    found = {}
    for path in sorted(pathlib.Path(output).glob("*.tar")):
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        keys = {
            name.split(".")[0]: json.loads(data)["input_key"] for name, data in files.items() if "curation.json" in name
        }
        for name, data in files.items():
            key, extension = name.split(".", 1)
            if extension not in ("clip.npy", "curation.json"):
                found.setdefault(keys[key], {})[extension] = data
    return found


IMAGES = {f"{i:04d}": image(i) for i in range(6)}
CAPTIONS = {key: f"caption of {key}".encode() for key in IMAGES}
APART = [*((f"{key}.jpg", data) for key, data in IMAGES.items()), *((f"{k}.txt", t) for k, t in CAPTIONS.items())]
JOINED = {key: {"jpg": IMAGES[key], "txt": CAPTIONS[key]} for key in IMAGES}


@pytest.mark.parametrize("range_mb", ["64", "0.004"])
def test_captions_that_stand_apart_from_their_images_are_told_in_ledger_summary_manifest_and_verify(run, range_mb):
    output, printed, manifest, told = run(tar_bytes(APART), "--range_mb", range_mb, verified=1)
    (found,) = manifest["returning_keys"]
    assert (found["samples"], found["first"]) == (6, "0000")
    assert "members stand apart from their samples: in 6 samples" in printed
    assert "add --group_by_key" in printed
    assert REPACK in printed
    assert "all as promised" not in told
    assert "1 difference" in told
    assert "in 6 samples the key stood before" in told
    rows = ledger(output)
    assert rows["same_key"].tolist() == [2] * 12
    assert rows["status"].tolist() == ["kept"] * 6 + ["failed"] * 6
    assert rows["reason"][rows["status"] == "failed"].str.contains("--group_by_key").all()


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_grouped_by_key_no_caption_is_lost_and_bytes_are_those_of_the_input(run, compression, tmp_path):
    data = tar_bytes(APART)
    packed = COMPRESSORS[compression](data) if compression else data
    output, printed, manifest, told = run(packed, "--group_by_key", "--range_mb", "0.004", "--samples_per_shard", "4")
    assert "all as promised" in told
    assert "6 kept + 0 dropped + 0 failed = 6 seen" in printed
    assert manifest["returning_keys"] == []
    assert members(output) == JOINED
    assert ledger(output)["caption"].tolist() == [text.decode() for text in CAPTIONS.values()]
    assert len(list((output / "scores").iterdir())) > 1
    before = content(output)
    _, printed, _, _ = run(packed, "--group_by_key", "--range_mb", "0.004", "--samples_per_shard", "4")
    assert "scored 0 images (6 had been scored before)" in printed
    assert content(output) == before


def test_links_are_real_files_in_the_output_and_what_is_passed_over_is_counted(run):
    data = tar_bytes(
        [
            ("photos/0000.jpg", IMAGES["0000"]),
            ("photos/._0000.jpg", b"apple"),
            ("photos/0000.txt", b"a"),
            ("photos/._0000.txt", b"apple"),
            Entry("photos/0001.jpg", type=tarfile.LNKTYPE, link="photos/0000.jpg"),
            ("photos/0001.txt", b"b"),
            Entry("photos/0002.jpg", type=tarfile.SYMTYPE, link="0000.jpg"),
            Entry("photos/0003.jpg", type=tarfile.LNKTYPE, link="gone.jpg"),
            ("photos/.DS_Store", b"finder"),
            ("README", b"text"),
        ]
    )
    output, printed, manifest, told = run(data, "--range_mb", "0.001")
    assert manifest["passed_over"] == {
        "AppleDouble file": 2,
        "dot file": 1,
        "hard link": 1,
        "name without a dot": 1,
        "symbolic link": 1,
    }
    assert "passed over, as members of no sample: 2 x AppleDouble file, 1 x dot file, 1 x hard link, " in printed
    assert members(output) == {
        "photos/0000": {"jpg": IMAGES["0000"], "txt": b"a"},
        "photos/0001": {"jpg": IMAGES["0000"], "txt": b"b"},
    }
    assert "all as promised: 2 samples" in told


SEVERAL_IMAGES = [
    ("a.left.jpg", IMAGES["0000"]),
    ("a.right.jpg", IMAGES["0001"]),
    ("b.jpg", IMAGES["0002"]),
    ("b.seg.png", image(9, "PNG")),
    ("c.jpg", IMAGES["0003"]),
    ("c.txt", b"one"),
]


def test_samples_with_several_images_fail_in_one_line_that_counts_them_and_names_the_flags(run):
    output, printed, manifest, _ = run(tar_bytes(SEVERAL_IMAGES))
    assert re.search(rf"^ +2  {re.escape(SEVERAL)}$", printed, re.MULTILINE)
    assert manifest["several_images"] == 2
    rows = ledger(output)
    assert rows["images"].tolist() == [2, 2, 1]
    assert rows["image"].fillna("").tolist() == ["", "", "jpg"]


def test_the_first_image_is_scored_where_that_is_asked_for_and_the_ledger_says_which(run):
    output, printed, manifest, told = run(tar_bytes(SEVERAL_IMAGES), "--several_images", "first")
    assert "2 samples with several images: only the first was scored (--several_images first)" in printed
    assert ledger(output)["image"].tolist() == ["left.jpg", "jpg", "jpg"]
    assert manifest["reading"]["several_images"] == "first"
    assert "all as promised" in told


def test_of_all_images_the_worst_score_decides(run, tmp_path):
    output, printed, _, told = run(tar_bytes(SEVERAL_IMAGES), "--several_images", "all")
    assert "all as promised" in told
    assert "2 samples with several images: all were scored, and the worst score decided" in printed
    rows = ledger(output)
    singles = [(f"{name.replace('.', '-')}.{name.rsplit('.', 1)[-1]}", data) for name, data in SEVERAL_IMAGES[:5]]
    (tmp_path / "singles.tar").write_bytes(tar_bytes(singles))
    alone = tmp_path / "alone"
    assert curate_images.main(["--input", str(tmp_path / "singles.tar"), "--output", str(alone), *FLAGS]) == 0
    left, right, plain, seg, single = ledger(alone)[["aesthetic", "nsfw"]].to_numpy().tolist()
    assert rows[["aesthetic", "nsfw"]].to_numpy().tolist() == [
        [min(left[0], right[0]), max(left[1], right[1])],
        [min(plain[0], seg[0]), max(plain[1], seg[1])],
        single,
    ]


def test_a_sample_of_which_one_image_cannot_be_judged_fails_where_all_are_asked_for(run):
    data = tar_bytes([("a.1.jpg", IMAGES["0000"]), ("a.2.jpg", IMAGES["0001"][:-300]), ("b.jpg", IMAGES["0002"])])
    output, _, _, told = run(data, "--several_images", "all")
    assert ledger(output)["reason"].fillna("").tolist() == ['truncated image: "2.jpg"', ""]
    assert "all as promised" in told


def test_names_with_dots_that_made_one_sample_of_many_are_hinted_at(run):
    data = tar_bytes([*((f"IMG.{i:04d}.jpg", IMAGES["0000"]) for i in range(4)), ("other.jpg", IMAGES["0001"])])
    _, printed, manifest, _ = run(data)
    assert manifest["dotted_names"] == [
        {"first": "IMG.0000.jpg", "offset": 0, "samples": 1, "shard": manifest["dotted_names"][0]["shard"]}
    ]
    assert "names have dots: in 1 sample several images differ only after the first dot" in printed
    assert "repack without the inner dots, as IMG_0000.jpg" in printed


def test_names_with_dots_that_made_one_sample_of_all_are_hinted_at_where_the_job_fails(tmp_path, capsys):
    (tmp_path / "in.tar").write_bytes(tar_bytes([(f"IMG.{i:04d}.jpg", IMAGES["0000"]) for i in range(4)]))
    argv = ["--input", str(tmp_path / "in.tar"), "--output", str(tmp_path / "out"), *FLAGS]
    assert curate_images.main(argv) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "not one sample could be used: 1 of 1 sample failed: 1 x several images in the sample" in line
    assert "names have dots: in 1 sample several images differ only after the first dot" in line
    assert "repack without the inner dots, as IMG_0000.jpg. Scores are kept" in line
    assert curate_images.main([*argv, "--several_images", "first"]) == 0


def test_image_and_caption_come_from_where_the_flags_say(run):
    data = tar_bytes(
        [
            ("a.jpg", IMAGES["0000"]),
            ("a.s.png", image(7, "PNG", 70)),
            ("a.txt", b"text"),
            ("a.json", b'{"alt": "x"}'),
        ]
    )
    output, _, manifest, told = run(data, "--image_from", "s.png", "--caption_from", "json:alt,txt")
    row = ledger(output).iloc[0]
    assert (row["image"], row["images"], row["width"], row["caption"]) == ("s.png", 2, 70, "x")
    assert manifest["flags"]["image_from"] == "s.png"
    assert "all as promised" in told
    output, printed, _, _ = run(data, "--image_from", "jpg")
    assert "scored 1 image in" in printed
    assert ledger(output).iloc[0][["image", "caption"]].tolist() == ["jpg", "text"]


def test_another_policy_scores_only_ranges_that_have_samples_with_several_images(run):
    data = tar_bytes([("a.jpg", IMAGES["0000"]), ("b.jpg", IMAGES["0001"]), *SEVERAL_IMAGES[2:4]])
    run(data, "--range_mb", "0.001")
    _, printed, _, _ = run(data, "--range_mb", "0.001", "--several_images", "first")
    assert re.search(r"scored [12] images? \([12] had been scored before\)", printed)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--several_images", "some"], "invalid choice: 'some'"),
        (["--image_from", "json:x"], "write extensions, such as jpg or left.png"),
        (["--caption_from", "json:"], "write extensions, such as txt or json:caption"),
        (["--caption_from", "txt,,cap"], "an extension is missing"),
    ],
)
def test_flags_that_mean_nothing_are_refused_in_one_line(flags, line, tmp_path, capsys):
    assert curate_images.main(["--input", "x.tar", "--output", str(tmp_path / "out"), *flags]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
