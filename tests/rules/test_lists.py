"""Lists of samples: read from each kind of file, and joined in parts, the same for any number of these."""

import dataclasses
import os

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator.errors import UsageError
from beam_curator.rules.lists import ListFile, ids_of, in_buckets
from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.sources.list_files import entries_of, list_file
from beam_curator.transforms.listed import found_in_lists, keep_listed, without_listed
from tests.eager import eager


@beam.ptransform_fn
def dropping(batches, lists):
    return without_listed(batches, lists, found_in_lists(batches, lists))


UIDS = [f"{number:032x}" for number in (1, 2**64 + 5, 2**127)]


def write(folder, name):
    path = folder / name
    if name.endswith("npy"):
        np.save(path, np.array([(int(uid[:16], 16), int(uid[16:], 16)) for uid in UIDS], "u8,u8"))
    elif name.endswith("parquet"):
        pq.write_table(pa.table({"x": [1, 2, 3], "uid": UIDS}), path)
    elif name.endswith("csv"):
        path.write_text("x,uid\n" + "".join(f"1,{uid}\n" for uid in UIDS))
    else:
        path.write_text("\n".join(uid.upper() for uid in UIDS) + "\n\n")
    return str(path)


@pytest.mark.parametrize("name", ["a.npy", "a.parquet", "a.csv", "a.txt"])
def test_each_kind_of_file_gives_its_entries(tmp_path, name):
    path = write(tmp_path, name)
    text = f"uid={path}" if name == "a.txt" else path
    listed = list_file("--block", text, allows=False)
    assert (listed.path, listed.column, listed.name) == (path, "uid", f"uid is in {name}")
    assert [entry for piece in entries_of(listed) for entry in piece] == UIDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{tmp}/a.txt",
            "the file does not say what it lists: give COLUMN=FILE, .* sample_id, uid, key, sha256, phash, url",
        ),
        ("{tmp}/none.txt", "--block .*none.txt: cannot be read: "),
        ("caption={tmp}/a.txt", "a list is of sample_id, uid, key, sha256, phash, url, not of caption"),
        ("sha256={tmp}/a.parquet", "cannot be read: it has no column sha256: there are x, uid"),
        ("key={tmp}/a.npy", "an array of u8,u8 holds uids, not key"),
        ("{tmp}/numbers.npy", "neither u8,u8 nor texts"),
        ("{tmp}/broken.parquet", "cannot be read: "),
        ("{tmp}/keys.parquet", "cannot be read: its column key holds int64: write it as text"),
        ("{tmp}/a.jsonl", "a list is Parquet, CSV, npy, or text with an entry on each line, not .jsonl"),
        ("key={tmp}/utf16.txt", "it is text in UTF-16: write it in UTF-8"),
        ("key=", "--block key=: names no file: give COLUMN=FILE"),
        ("phash={tmp}/a.txt", "is no phash, which has 16 hex digits"),
        ("sha256={tmp}/a.txt", "is no sha256, which has 64 hex digits"),
        ("key={tmp}/pipe", "it is a pipe or a device, and a list is read more than once: write it to a file"),
    ],
)
def test_what_is_no_list_is_refused_in_one_line(tmp_path, text, message):
    for name in ("a.txt", "a.npy", "a.parquet"):
        write(tmp_path, name)
    np.save(tmp_path / "numbers.npy", np.arange(3))
    (tmp_path / "broken.parquet").write_text("no")
    (tmp_path / "a.jsonl").write_text('{"key": "a"}')
    (tmp_path / "utf16.txt").write_text("a", encoding="utf-16")
    os.mkfifo(tmp_path / "pipe")
    pq.write_table(pa.table({"key": [12]}), tmp_path / "keys.parquet")
    with pytest.raises(UsageError, match=message) as refused:
        list_file("--block", text.format(tmp=tmp_path), allows=False)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "content"), [("a.csv", "key\r\n0012\r\n\r\n海\r\n"), ("a.txt", "0012\r\n\r\n海\r\n")])
def test_files_of_windows_give_the_same_entries(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8-sig"))
    listed = list_file("--allow", f"key={path}", allows=True)
    assert [entry for piece in entries_of(listed) for entry in piece if entry] == ["0012", "海"]


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.npy", "a.parquet"])
def test_a_list_without_an_entry_may_block_and_not_allow(tmp_path, name):
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, np.array([], "u8,u8"))
    elif name.endswith("parquet"):
        pq.write_table(pa.table({"uid": pa.array([], pa.string())}), path)
    else:
        path.write_text("uid\n" if name.endswith("csv") else "\n")
    assert not any(entries_of(list_file("--block", f"uid={path}", allows=False)))
    with pytest.raises(UsageError, match=r"--allow uid=.*: holds not one entry: every sample would be dropped"):
        list_file("--allow", f"uid={path}", allows=True)


def test_an_entry_and_a_sample_fall_in_the_same_part():
    ids = ids_of([str(number) for number in range(1000)])
    assert sorted(index for _, chosen in in_buckets(ids, 7) for index in chosen) == [*range(1000)]
    of = {index: bucket for bucket, chosen in in_buckets(ids, 7) for index in chosen.tolist()}
    assert {bucket for bucket, _ in in_buckets(ids[[5]], 7)} == {of[5]}
    assert len(set(of.values())) == 7


def batch_of(number, keys, sha256):
    table = pa.table(
        {
            "status": pa.array(["kept"] * (len(keys) - 1) + ["failed"]),
            "reason": pa.array([None] * (len(keys) - 1) + ["cut"], pa.string()),
            "key": keys,
            "sha256": pa.array(sha256, pa.string()),
        }
    )
    return SampleBatch(ShardRange(Shard("a.tar", 10), number, number + 1, number, False), table, part="there")


@pytest.mark.parametrize("entries", [0, 50_000_000])
def test_samples_stay_or_go_by_lists_of_any_number_of_parts(tmp_path, entries):
    (tmp_path / "good.txt").write_text("\n".join(f"k{number}" for number in range(0, 40, 2)))
    (tmp_path / "bad.txt").write_text("\n".join(f"h{number}" for number in range(0, 40, 5)))
    lists = [
        ListFile(str(tmp_path / "good.txt"), "key", True, entries),
        ListFile(str(tmp_path / "bad.txt"), "sha256", False, entries),
    ]
    batches = []
    for start in range(0, 40, 8):
        numbers = range(start, start + 8)
        batches.append(batch_of(start, [f"k{n}" for n in numbers], [None if n == 12 else f"h{n}" for n in numbers]))
    kept = eager(dropping(lists), batches)
    assert [(one.rows, one.judged) for one in keep_listed(batches, lists)] == [(one.rows, one.judged) for one in kept]
    found = {row["key"]: row["reason"] or row["status"] for batch in kept for row in batch.rows.to_pylist()}
    expected = {}
    for n in range(40):
        odd, fifth = n % 2 == 1, n % 5 == 0
        expected[f"k{n}"] = "key is not in good.txt" if odd else "sha256 is in bad.txt" if fifth else "kept"
        if n % 8 == 7:
            expected[f"k{n}"] = "cut"
    assert found == expected
    assert (
        dataclasses.replace(lists[0], entries=0).buckets < dataclasses.replace(lists[0], entries=10**8).buckets == 100
    )
