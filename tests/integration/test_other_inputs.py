"""Whole jobs on Parquet, folders and lists: as on tars, killed and resumed, copied bit for bit, and verified."""

import json
import os
import shutil
import signal
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import beam_curator as bc
from beam_curator.commands import verify_output
from tests.eager import eager
from tests.integration.integration_content import content, ledger
from tests.integration.processes import wait_until

TINY = [
    *("--clip_model", "tiny-untrained", "--min_aesthetic", "none", "--max_nsfw", "none"),
    "--samples_per_shard=7",
    "--report=false",
]
NOT_THERE = {"parquet": {"null in the column image"}, "folder": set(), "list": {"no such file"}}
"""Why a row of each kind of input fails that has no image at all."""


@pytest.fixture(scope="module")
def pictures(raw):
    """Name and bytes of images, each of which is there once; two of them are broken."""
    with tarfile.open(sorted(raw.glob("*.tar"))[0]) as tar:
        found = [
            (one.name, tar.extractfile(one).read())
            for one in tar
            if one.name.endswith((".jpg", ".png")) and one.size > 1000
        ]
    distinct = {data: name for name, data in reversed(found)}
    return [
        *((name, data) for data, name in list(distinct.items())[:22]),
        ("not.jpg", b"not an image"),
        ("empty.jpg", b""),
    ]


@pytest.fixture(scope="module")
def inputs(pictures, tmp_path_factory):
    """The same images as Parquet, as a folder, and as a list, by kind: what --input is given."""
    root = tmp_path_factory.mktemp("inputs")
    (root / "folder").mkdir()
    (root / "parquet").mkdir()
    rows = []
    for index, (name, data) in enumerate(pictures):
        name = f"{index % 3}/{index:02d} {name}"
        (root / "folder" / name).parent.mkdir(exist_ok=True)
        (root / "folder" / name).write_bytes(data)
        (root / "folder" / name).with_suffix(".txt").write_text(f"caption {index}")
        rows.append({"image": {"bytes": data, "path": name}, "text": f"caption {index}", "rating": index / 4})
    rows.append({"image": None, "text": "nothing", "rating": None})
    halves = [rows[:16], rows[16:]]
    for index, half in enumerate(halves):
        path = root / "parquet" / f"train-{index:05d}-of-00002.parquet"
        pq.write_table(pa.Table.from_pylist(half), path, row_group_size=3)
    lines = [f"folder/{row['image']['path']},{row['text']},{row['rating']}" for row in rows[:-1]]
    (root / "list.csv").write_text("\n".join(["path,text,rating", *lines, "folder/gone.jpg,gone,1"]) + "\n")
    places = {"parquet": root / "parquet", "folder": root / "folder", "list": root / "list.csv"}
    return {kind: ["--input", str(place), "--range_mb", "0.02", *TINY] for kind, place in places.items()}


def images_of(output):
    """The bytes of all images in the output, with the captions beside them."""
    found = {}
    for path in sorted(output.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                found.setdefault(key, {})[extension] = tar.extractfile(member).read()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", NOT_THERE)
def test_a_job_is_killed_goes_on_and_gives_what_two_workers_give(nursery, inputs, pictures, tmp_path, kind):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    two = ["--direct_num_workers", "2", "--direct_running_mode", "multi_threading"]
    code, _, err = nursery.run(*inputs[kind], *two, "--output", undisturbed)
    assert (code, err) == (0, "")
    due = len(list((undisturbed / "scores").iterdir()))
    assert due > 4
    for wanted in (1, due // 2):
        process = nursery.start(*inputs[kind], "--output", out)
        wait_until(lambda wanted=wanted: len(list(out.glob("scores/*.parquet"))) >= wanted, process)
        process.send(signal.SIGKILL)
        process.wait()
    scored = {path.name: path.stat().st_ino for path in (out / "scores").iterdir()}
    code, _, err = nursery.run(*inputs[kind], "--output", out)
    assert (code, err) == (0, "")
    assert content(out) == content(undisturbed)
    assert scored.items() <= {path.name: path.stat().st_ino for path in (out / "scores").iterdir()}.items()
    assert verify_output.main([str(out)]) == 0
    rows = ledger(out)
    assert len(rows) == len(pictures) + (kind != "folder")
    assert len({(row["shard"], row["key"]) for row in rows}) == len(rows)
    kept = images_of(out)
    assert len(kept) == sum(row["status"] == "kept" for row in rows) >= 15
    reasons = {row["reason"] for row in rows if row["status"] == "failed"}
    assert {"not an image that can be decoded", "empty image"} <= reasons
    assert NOT_THERE[kind] <= reasons
    whole = {data: index for index, (_, data) in enumerate(pictures)}
    for members in kept.values():
        image = members.get("jpg") or members["png"]
        assert members["txt"].decode() == f"caption {whole[image]}"
        if kind != "folder":
            assert json.loads(members["json"])["rating"] == whole[image] / 4


def test_what_changed_after_it_was_scored_is_told_and_scored_anew(curate, inputs, tmp_path):
    root = tmp_path / "photos"
    base = ["--input", str(root), *TINY]
    source = inputs["folder"][1]
    for index, name in enumerate(["a.jpg", "b.jpg", "c.jpg"]):
        data = next(path for path in sorted(os.scandir(f"{source}/{index}"), key=lambda e: e.name) if "." in path.name)
        root.mkdir(exist_ok=True)
        (root / name).write_bytes(open(data.path, "rb").read())  # noqa: PTH123, SIM115
    assert curate(tmp_path / "out", base=base)[0] == 0
    stamp = (root / "b.jpg").stat()
    changed = bytearray((root / "b.jpg").read_bytes())
    changed[-1] ^= 1  # of the same size and time: nothing tells of it but its bytes
    (root / "b.jpg").write_bytes(changed)
    os.utime(root / "b.jpg", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert verify_output.main([str(tmp_path / "out")]) == 1
    code, _, err = curate(tmp_path / "out", "--samples_per_shard=2", base=base)
    assert code == 1
    assert "the shard has changed since it was scored" in err
    assert "run the same command again to score it anew" in err
    assert curate(tmp_path / "out", "--samples_per_shard=2", base=base)[0] == 0
    assert verify_output.main([str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("table", "flags", "said"),
    [
        ({"url": [1], "text": ["a"]}, (), "has no column of image bytes"),
        ({"url": [1], "text": ["a"]}, (), "its columns are url (int64), text (string)"),
        ({"url": ["https://localhost/a.jpg"]}, (), "or --input_format list to read what its column url names"),
        ({"x": [b"1"], "y": [b"2"]}, (), "has several columns that may be images, x, y: give --image_column"),
        ({"x": [b"1"]}, ("--image_column", "z"), "has no column z; its columns are x (binary)"),
        ({"x": pa.array([], pa.binary())}, (), "has no rows"),
    ],
    ids=["no-image", "columns", "urls", "several", "named", "empty"],
)
def test_parquet_without_images_is_one_line_before_any_work(curate, tmp_path, table, flags, said):
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    code, _, err = curate(tmp_path / "out", *flags, base=["--input", str(tmp_path / "a.parquet"), *TINY])
    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_left_out_is_refused_and_files_that_are_gone_are_not(curate, inputs, tmp_path):
    source = Path(inputs["folder"][1])
    for place in ("one", "two"):
        shutil.copytree(source / "0", tmp_path / place)
    both = [*("--input", str(tmp_path / "one"), "--input", str(tmp_path / "two")), *TINY]
    assert curate(tmp_path / "out", base=both)[0] == 0
    code, _, err = curate(tmp_path / "out", base=[*both[2:4], *TINY])
    assert code == 2
    assert f"leaves out 1 of them, such as {tmp_path}/one#" in err
    min((tmp_path / "one").glob("*.jpg")).unlink()
    code, out, _ = curate(tmp_path / "out", base=both)
    assert code == 0
    scored = sum(path.suffix != ".txt" for path in (tmp_path / "one").iterdir())
    assert f"scored {scored} images" in out  # those of the other folder are as they were


def test_the_library_reads_the_same(inputs, pictures):
    for kind in NOT_THERE:
        batches = eager(bc.ReadSamples(inputs[kind][1], 0.02, input_format=kind))
        keys = [key for batch in batches for key in batch.rows["key"].to_pylist()]
        assert len(set(keys)) == len(keys) == len(pictures) + (kind != "folder")


def test_flags_of_columns_do_not_go_with_tars(curate, raw, tmp_path):
    code, _, err = curate(tmp_path / "out", "--image_column", "jpg", base=["--input", str(raw), *TINY])
    assert code == 2
    assert "tars have no columns" in err


@pytest.mark.parametrize(("kind", "told"), [("parquet", "Parquet"), ("folder", "a folder"), ("list", "a list")])
def test_keys_of_what_is_no_tar_cannot_be_joined(curate, inputs, tmp_path, kind, told):
    code, _, err = curate(tmp_path / "out", "--group_by_key", base=inputs[kind])
    line = f"beam-curator: --group_by_key joins members of a tar, and this input is {told}: leave it out\n"
    assert (code, err) == (2, line)


def test_files_of_a_folder_that_are_no_images_are_counted_as_they_lie_there_now(curate, inputs, tmp_path):
    folder, out = shutil.copytree(inputs["folder"][1], tmp_path / "folder"), tmp_path / "out"
    base = ["--input", str(folder), *inputs["folder"][2:], "--report", "false"]
    (folder / "LICENSE").write_bytes(b"free")
    for more in ([], ["notes.pdf", "terms.pdf"]):
        for name in more:
            (folder / name).write_bytes(b"%PDF")
        code, told, _ = curate(out, base=base)
        assert (code, ("scored 0 images" in told) == bool(more)) == (0, True)
        passed_over = json.loads((out / "manifest.json").read_text())["passed_over"]
        pdf = {"file that is no image (.pdf)": len(more)} if more else {}
        assert passed_over == {**pdf, "file that is no image (no extension)": 1}
        assert verify_output.main([str(out)]) == 0
