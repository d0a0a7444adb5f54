"""Folders and lists of images: what is in them, how they are cut, and what is said of what is not there."""

import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator.errors import UsageError
from beam_curator.output.job_input import match_input
from beam_curator.reading import Reading
from beam_curator.samples import Shard
from beam_curator.sources import image_lists, listed_files, parquet_claims
from beam_curator.sources.keys import unique_keys
from beam_curator.sources.listing import Entry, packed, unpacked
from beam_curator.sources.ranges import plan_ranges, read_range
from beam_curator.sources.shard_identity import root_of
from beam_curator.sources.tar.names import split_name
from beam_curator.sources.told_places import told_place

JPEG, PNG = b"\xff\xd8\xff" + bytes(50), b"\x89PNG\r\n\x1a\n" + bytes(70)


def read(pattern, reading=None, input_format="auto", range_bytes=1 << 30):
    reading = reading or Reading()
    matched = match_input([str(pattern)], input_format=input_format, reading=reading)
    ranges = [one for shard in matched.shards for one in plan_ranges(shard, range_bytes, None, reading)]
    return matched, [sample for one in ranges for sample in read_range(one).samples]


def members(sample):
    return {name: bytes(member.data) for name, member in sample.members.items()}


def write(path, data=JPEG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    write(root / "a" / "x.jpg")
    write(root / "a" / "x.png", PNG)
    write(root / "a" / "y y.v2.JPG", PNG)
    write(root / "b" / "x.jpg")
    write(root / "a" / "x.txt", "naïve".encode())
    write(root / "b" / "x.jpg.json", b'{"a": 1}')
    write(root / "readme.md", b"")
    write(root / ".hidden" / "z.jpg")
    return root


def test_each_image_of_a_folder_is_a_sample_with_the_files_beside_it(folder):
    _, samples = read(folder)
    assert {s.key: list(s.members) for s in samples} == {
        "a/x_jpg": ["jpg", "txt"],
        "a/x_png": ["png", "txt"],
        "a/y y_v2": ["png"],  # called for what it is
        "b/x": ["jpg", "json"],
    }
    assert members(samples[-1]) == {"jpg": JPEG, "json": b'{"a": 1}'}
    assert all(split_name(f"{s.key}.jpg") == (s.key, "jpg") for s in samples)


def test_metadata_of_imagefolder_gives_captions_and_fields(folder):
    rows = [{"file_name": "a/x.jpg", "text": "a cat", "label": 3}, {"file_name": "gone.jpg", "text": "?"}]
    write(folder / "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())
    write(folder / "b" / "metadata.csv", b"file_name,caption,width\nx.jpg,a dog,12\n")
    _, samples = read(folder)
    found = {s.key: s for s in samples}
    assert members(found["a/x_jpg"]) == {
        "jpg": JPEG,
        "txt": "naïve".encode(),  # the file beside it, bit for bit
        "metadata.txt": b"a cat",
        "json": b'{"label": 3}',
    }
    assert members(found["b/x"])["txt"] == b"a dog"
    assert members(found["b/x"])["metadata.json"] == b'{"width": 12}'
    assert found["gone"].failure == "the metadata names it, and there is no such file"


def test_rows_of_metadata_that_stand_for_no_sample_are_counted_and_what_they_name_is_one(folder):
    rows = [
        {"file_name": "a/x.jpg", "text": "first"},
        {"file_name": "a/x.jpg", "text": "last"},
        {"file_name": None, "text": "no name"},
        {"text": "no column"},
        {"file_name": "a/blob", "text": "no extension"},
        {"file_name": "../up.jpg", "text": "outside"},
    ]
    write(folder / "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())
    write(folder / "a" / "blob", PNG)
    matched, samples = read(folder)
    found = {s.key: s for s in samples}
    assert members(found["a/x_jpg"])["metadata.txt"] == b"last"
    assert members(found["a/blob"]) == {"png": PNG, "txt": b"no extension"}
    assert found["up"].failure == "the metadata names it, and it is outside the folder"
    entries = [one for shard in matched.shards for one in unpacked(shard.listing)]
    assert [kind for one in entries for kind in one.passed_over] == [
        "file that is no image (.md)",
        "row of metadata that names no file",
        "row of metadata that names no file",
        "row of metadata whose file a later row names",
    ]


def test_files_beside_an_image_belong_to_it_in_capitals_too(tmp_path):
    for name, data in [("IMG.JPG", JPEG), ("IMG.TXT", b"a"), ("b.jpg", JPEG), ("b.Json", b"{}"), ("b.txt", b"small")]:
        write(tmp_path / name, data)
    write(tmp_path / "b.TXT", b"large")
    _, samples = read(tmp_path)
    assert {s.key: members(s) for s in samples} == {
        "IMG": {"jpg": JPEG, "txt": b"a"},
        "b": {"jpg": JPEG, "txt": b"small", "json": b"{}"},
    }


def test_pipes_and_devices_are_waited_for_by_nobody(tmp_path):
    write(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    write(tmp_path / "list.txt", b"a.jpg\npipe.jpg\n/dev/zero\n")
    failure = "a pipe, socket or device, not a file"
    assert {s.key: s.failure for s in read(tmp_path, input_format="folder")[1]} == {"a": None, "pipe": failure}
    assert {s.key: s.failure for s in read(tmp_path / "list.txt")[1]} == {
        "a": None,
        "pipe": failure,
        "dev/zero": failure,
    }
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(
        UsageError, match=r"list.csv: is not a file, but a pipe, socket or device: write it into a file"
    ):
        read(tmp_path / "list.csv")


def test_links_are_followed_and_outputs_of_jobs_left_out(folder, tmp_path):
    blobs = tmp_path / "blobs"
    write(blobs / "f00d")
    (folder / "c").mkdir()
    (folder / "c" / "linked.jpg").symlink_to("../../blobs/f00d")
    (folder / "c" / "loop").symlink_to("..")
    write(folder / "out" / "job.json", b"{}")
    write(folder / "out" / "z.jpg")
    _, samples = read(folder)
    assert [s.key for s in samples] == ["a/x_jpg", "a/x_png", "a/y y_v2", "b/x", "c/linked"]


@pytest.mark.slow
def test_a_file_that_is_added_changes_the_shard_that_it_is_in_and_no_other(tmp_path):
    for index in range(4000):
        write(tmp_path / f"{index:05d}.png", PNG)
    before = {one.url: one.generation for one in read(tmp_path)[0].found}
    assert 2 <= len(before) <= 12
    write(tmp_path / "02000b.png", PNG)
    after = {one.url: one.generation for one in read(tmp_path)[0].found}
    same = set(before.items()) & set(after.items())
    assert len(same) >= len(before) - 1
    assert len(after) - len(same) <= 2
    entries = [one for shard in read(tmp_path)[0].shards for one in unpacked(shard.listing)]
    assert sorted(one.name for one in entries) == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.slow
def test_a_folder_under_another_name_is_the_same_shards_and_marks_in_names_mislead_nobody(tmp_path):
    for index in range(3000):
        write(tmp_path / "photos" / f"{index:05d}#1.png", PNG)
    before = match_input([str(tmp_path / "photos")]).found
    assert len(before) > 1
    (tmp_path / "photos").rename(tmp_path / "my#photos")
    after = match_input([str(tmp_path / "my#photos")], known=before).found
    assert [(one.url, one.label) for one in after] == [(one.url, one.label) for one in before]
    assert {root_of(one) for one in after} == {str(tmp_path / "my#photos")}
    pq.write_table(pa.table({"image": [JPEG]}), tmp_path / "x#1.parquet")
    assert [root_of(one) for one in match_input([str(tmp_path / "x#1.parquet")]).found] == [None]


def test_a_shard_of_files_is_cut_into_ranges_by_their_sizes(folder):
    matched, _ = read(folder)
    (shard,) = matched.shards
    ranges = list(plan_ranges(shard, 150))
    assert [(one.start, one.end) for one in ranges] == [(0, 2), (2, 4)]


LISTS = {
    "list.csv": b'image_path,caption,similarity\na/x.jpg,"a fox, red",0.25\n/nowhere/q.jpg,,1\na/x.jpg,again,\n',
    "list.tsv": b"image_path\tcaption\tsimilarity\na/x.jpg\ta fox, red\t0.25\n/nowhere/q.jpg\t\t1\na/x.jpg\tagain\t\n",
    "list.jsonl": b"\n".join(
        json.dumps(dict(zip(("image_path", "caption", "similarity"), row, strict=True))).encode()
        for row in [("a/x.jpg", "a fox, red", 0.25), ("/nowhere/q.jpg", None, 1), ("a/x.jpg", "again", None)]
    ),
}


def parquet_list():
    sink = pa.BufferOutputStream()
    rows = [json.loads(line) for line in LISTS["list.jsonl"].splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("name", [*LISTS, "list.parquet"])
def test_a_list_gives_captions_and_fields_and_each_row_is_accounted_for(folder, name):
    write(folder / name, LISTS[name] if name in LISTS else parquet_list())
    _, samples = read(folder / name)
    assert sorted((s.key, s.failure) for s in samples) == [
        ("a/x_jpg", None),
        ("a/x_jpg~2", None),
        ("nowhere/q", "no such file"),
    ]
    first = next(s for s in samples if s.key == "a/x_jpg")
    found = members(first)
    assert (found["jpg"], found["txt"]) == (JPEG, b"a fox, red")
    assert json.loads(found["json"]) == {"image_path": "a/x.jpg", "similarity": 0.25}


@pytest.mark.parametrize(
    ("name", "content", "captions"),
    [
        ("l.csv", b"path,text,n\na/x.jpg,007,1\na/x.png,1.50,2\nb/x.jpg,words,3\n", ["007", "1.50", "words"]),
        (
            "l.jsonl",
            b'{"path":"a/x.jpg","text":7}\n{"path":"a/x.png","text":"w"}\n{"path":"b/x.jpg"}\n',
            ["7", "w", None],
        ),
        ("l.csv", b"path,caption,text\na/x.jpg,,a\na/x.png,,b\nb/x.jpg,,1\n", ["a", "b", "1"]),
    ],
    ids=["numbers-as-written", "numbers-of-json", "empty-column"],
)
def test_a_caption_is_what_is_written_also_where_it_is_a_number(folder, name, content, captions):
    write(folder / name, content)
    _, samples = read(folder / name)
    texts = {s.key: members(s).get("txt") for s in samples}
    assert [texts[key] and texts[key].decode() for key in ("a/x_jpg", "a/x_png", "b/x")] == captions
    fields = [json.loads(members(s).get("json", b"{}")) for s in samples]
    assert all("text" not in one for one in fields)
    assert all(isinstance(one.get("n", 1), int) for one in fields)


def test_a_caption_that_is_no_text_stays_a_field(folder):
    write(folder / "l.jsonl", b'{"path":"a/x.jpg","caption":["a","b"]}\n{"path":"a/x.png","caption":"c"}\n')
    found = {s.key: members(s) for s in read(folder / "l.jsonl")[1]}
    assert json.loads(found["a/x_jpg"]["json"])["caption"] == ["a", "b"]
    assert (found["a/x_png"]["txt"], json.loads(found["a/x_png"]["json"])) == (b"c", {"path": "a/x.png"})


def test_lists_as_office_programs_and_shells_write_them(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = [
        "\ufeffpath,caption,,",
        '"a/x.jpg","say ""hi"",\r\nthere",,',
        "~/photos/a/x.png,b,,",
        " b/x.jpg ,c,,",
        "num,d,,",
    ]
    write(folder / "l.csv", "\r\n".join([*rows, "", ""]).encode())
    found = {s.key: s for s in read(folder / "l.csv")[1]}
    assert {key: s.failure for key, s in found.items()} == {
        "a/x": None,
        "~/photos/a/x": None,
        "b/x": None,
        "num": "no such file",
    }
    assert members(found["a/x"])["txt"] == b'say "hi",\r\nthere'
    assert json.loads(members(found["b/x"])["json"]) == {"path": " b/x.jpg "}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("HTTP://Host/A.jpg", "http://Host/A.jpg"),
        ("S3://Box/a.jpg", "s3://Box/a.jpg"),
        ("/a.jpg", "/a.jpg"),
        ("b/a.jpg", "gs://box/b/a.jpg"),
    ],
)
def test_a_path_of_a_list_is_beside_it_unless_it_says_more(given, meant):
    assert image_lists.beside("gs://box/list.csv", given) == meant


def test_text_names_one_file_a_line(folder):
    write(folder / "list.txt", f"# mine\na/x.jpg\n\n{folder}/b/x.jpg\nfile://{folder}/a/x.png\n".encode())
    _, samples = read(folder / "list.txt")
    assert sorted(next(iter(members(s).values())) for s in samples) == [PNG, JPEG, JPEG]
    assert all(set(s.members) <= {"jpg", "png"} for s in samples)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.csv", b"a,b\n1,2\n", "has no column of paths or urls: give --image_column; its columns are a, b"),
        ("l.csv", b"path\n", "the list names nothing"),
        ("l.csv", b"path\nx.jpg,y\n", "cannot be read as a list: row 2 has more cells than the 1 columns"),
        ("l.csv", b"path,a,path\nx.jpg,1,y.jpg\n", "cannot be read as a list: two columns are called 'path'"),
        (
            "l.csv",
            b"path;a\nx.jpg;1\n",
            "paths or urls: separate them by commas, not by semicolons; its columns are path;a",
        ),
        ("l.csv", b"path\ta\nx.jpg\t1\n", "separate them by commas, not by tabs, or call it .tsv; its columns are"),
        ("l.csv", b"x.jpg,a\ny.jpg,b\n", "write their names into its first line; its columns are x.jpg, a"),
        ("l.jsonl", b'{"path": 5}\n', "its column path holds no path and no url: give --image_column"),
        ("l.txt", "x.jpg".encode("utf-16"), "cannot be read as a list: it is text in UTF-16: write it in UTF-8"),
        ("l.txt", b"\xfe\xfd\x00", "cannot be read as a list: line 1 is not UTF-8: write it in UTF-8"),
        (
            "l.csv",
            "path\nä.jpg\n".encode("latin-1"),
            "cannot be read as a list: line 2 is not UTF-8: write it in UTF-8",
        ),
        ("l.jsonl", b"[1]\n", "cannot be read as a list: line 1 is no JSON object"),
        ("l.jsonl", b'{"path": "x.jpg"}\n{"pa\n', "cannot be read as a list: line 2 is no JSON: Unterminated string"),
        (
            "l.jsonl",
            b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
            "line 1 is no JSON: lists and objects are nested more",
        ),
        ("l.txt", b"raw/00000.tar\n", "names tar shards, such as raw/00000.tar, and no images: give it as @"),
        ("l.txt", b"raw/0.parquet\n", "names Parquet files, such as raw/0.parquet, and no images: give it as @"),
        ("l.txt", b"raw/0.mds\n", "names MDS shards, such as raw/0.mds, and no images: give it as @"),
        ("l.txt", b"/tmp\n# all\n/usr/\n", "names folders, such as /tmp, and no images: give it as @"),
        ("l.txt", b"some words\nand more\n", "is no list of images: of the 2 files that it names, such as some words"),
    ],
)
def test_what_is_no_list_is_one_line(tmp_path, name, content, said):
    write(tmp_path / name, content)
    with pytest.raises(UsageError, match=re.escape(said)):
        read(tmp_path / name)


def test_a_list_of_images_may_name_what_is_called_otherwise(folder):
    write(folder / "list.txt", b"a/x.jpg\nnot_there.parquet\n")
    _, samples = read(folder / "list.txt")
    assert sorted(str(one.failure) for one in samples) == ["None", "no such file"]


@pytest.mark.parametrize("pattern", ["a/*.jpg", "a/x.jpg"])
def test_images_by_their_own_names_are_one_line_that_says_what_to_give(folder, pattern):
    with pytest.raises(UsageError, match=re.escape(f"names 1 image: give the folder, --input {folder}/a/, or write")):
        match_input([f"{folder}/{pattern}"])


@pytest.mark.parametrize(
    ("shard", "told"),
    [
        ("raw/a.tar", "at byte 1,024 of raw/a.tar"),
        ("raw/#1.tar.gz", "at byte 1,024 of raw/#1.tar.gz"),
        ("raw/a.parquet", "in row 1,024 of raw/a.parquet"),
        ("photos#cats/1.jpg", "in photos"),
        ("photos#", "in photos"),
    ],
)
def test_a_sample_is_told_by_what_its_shard_is(shard, told):
    assert told_place(shard, 1024) == told


def test_a_mixture_is_one_line_and_says_what_to_do(folder, tmp_path):
    write(tmp_path / "list.csv", b"path\nx.jpg\n")
    write(tmp_path / "tars" / "a.tar", b"")
    patterns = [str(folder), str(tmp_path / "list.csv"), str(tmp_path / "tars")]
    with pytest.raises(
        UsageError, match=r"--input names a folder of images .* and a list .* and tars .*--input_format"
    ):
        match_input(patterns)


def test_what_is_not_there_is_no_kind_of_input(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    matched = match_input([str(folder), str(tmp_path / "gone"), str(tmp_path / "empty")])
    assert {one.format for one in matched.found} == {"folder"}
    assert [one.reason for one in matched.missing] == ["there is no such folder", "no image among the 0 files in it"]
    with pytest.raises(UsageError, match=r"gone/ \(there is no such folder\)"):
        match_input([f"{tmp_path}/gone/"], input_format="folder")
    with pytest.raises(UsageError, match=r"tar shard or a Parquet file, and no image\).*a folder of images or a list"):
        match_input([str(tmp_path / "empty")])


@pytest.mark.parametrize(
    ("files", "format"),
    [
        (["00000.tar", "00000.parquet", "00000/a.jpg"], ""),
        (["00000.parquet", "00000/a.jpg"], "folder"),
        (["data/train-0.parquet", "data/a.jpg"], "parquet"),
        (["snapshots/1/data/00000.tar"], ""),
    ],
    ids=["tars-of-img2dataset", "files-of-img2dataset", "hugging-face", "tars-below"],
)
def test_a_directory_is_told_by_what_is_in_it(tmp_path, files, format):
    for name in files:
        image = "train" in name
        table = pa.table({"image": [JPEG]}) if image else pa.table({"url": ["http://u"]})
        write(tmp_path / name)
        if name.endswith("parquet"):
            pq.write_table(table, tmp_path / name)
    assert {one.format for one in match_input([str(tmp_path)]).found} == {format}


def test_large_files_of_unknown_size_are_read_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(listed_files, "FIRST_BYTES", 1000)
    monkeypatch.setattr(listed_files, "MAX_FILE_BYTES", 5000)
    asked = []
    read_at_most = listed_files.open_files.read_at_most
    monkeypatch.setattr(
        listed_files.open_files, "read_at_most", lambda file, most: asked.append(most) or read_at_most(file, most)
    )
    sizes = [10, 3000, 1000, 6000, 20]
    for index, size in enumerate(sizes):
        write(tmp_path / f"{index}.jpg", bytes(size))
    entries = [Entry(str(index), str(index), f"{tmp_path}/{index}.jpg") for index in range(5)]
    known = Entry("5", "5", f"{tmp_path}/1.jpg", size_bytes=3000)
    shard = Shard("list", 0, "1", format="list", listing=packed([*entries, known]))
    records = list(listed_files.ListedSource().read(shard, range(6)))
    found = [len(record.members["jpg"]) if record.members else record.failure for record in records]
    assert found == [10, 3000, 1000, "file of more than 5000 bytes", 20, 3000]
    assert sorted(asked) == [1001] * 5 + [5001] * 3  # the two that are larger, once more; the one whose size is known


def test_a_list_of_few_bytes_that_stand_for_many_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_claims, "MAX_EXPANSION_BYTES", 1 << 20)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), pa.array(["x" * 100_000]))
    pq.write_table(
        pa.table({"path": [f"{index}.jpg" for index in range(200)], "caption": texts}), tmp_path / "a.parquet"
    )
    with pytest.raises(
        UsageError, match=r"a\.parquet: cannot be read as a list: it expands to 1048576 bytes more than"
    ):
        read(tmp_path / "a.parquet", input_format="list")


def test_keys_are_unique_and_have_no_dots_in_their_last_part():
    names = ["a.b.jpg", "a_b.jpg", "s3://b/c.jpg?x=1.2", "../up/d", "x/.e", "a.b.jpg", "a_b_jpg"]
    keys = unique_keys(names)
    assert keys == ["a_b_jpg", "a_b_jpg~2", "b/c", "up/d", "x/_e", "a_b_jpg~3", "a_b_jpg~4"]
    assert all("." not in key.rpartition("/")[2] for key in keys)
