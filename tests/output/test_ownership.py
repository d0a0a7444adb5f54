"""job.json: written shard by shard as `json.dumps` would write all of it, and read back."""

import dataclasses
import json

import pytest

from beam_curator.errors import UsageError
from beam_curator.output.job_file import Job, read_job, standing_job, write_job
from beam_curator.output.ownership import check_foreign, notes_before
from beam_curator.output.resuming import merged
from beam_curator.sources.shard_identity import KnownShard
from beam_curator.storage import directories

SHARDS = [
    KnownShard('é"a.tar', 5, "g\n", "p", path="elsewhere", label="a"),
    KnownShard("b", 6, "", "q", matched=False, format="parquet", listing="left out"),
]


def told(job):
    """Gives what the file holds, by the library alone."""
    content = {**dataclasses.asdict(job), "encoder": None, "scorers": []}
    del content["scores_from"]
    for shard in content["shards"]:
        del shard["path"], shard["listing"]
        if not shard["format"]:
            del shard["format"]
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_job_is_written_as_json_tells_it_and_read_again(tmp_path, count):
    job = Job(["a"], 64.0, given=['"shards": []'], shards=SHARDS[:count])
    write_job(str(tmp_path), job)
    assert (tmp_path / "job.json").read_text() == told(job)
    read = read_job(str(tmp_path))
    assert read.given == job.given
    due = [dataclasses.replace(shard, path="", listing="") for shard in SHARDS[:count]]
    assert list(read.shards) == due
    write_job(str(tmp_path), dataclasses.replace(job, range_mb=2.0))
    assert read_job(str(tmp_path)).range_mb == 2.0  # what was read last is another one


def test_where_a_shard_stands_under_its_url_both_are_one_text(tmp_path):
    url = "gs://b/a.tar"
    write_job(str(tmp_path), Job(["a"], 64.0, shards=[KnownShard(url, 5, "g", url)]))
    (read,) = read_job(str(tmp_path)).shards
    assert read.place is read.url


def test_a_job_remembers_also_what_is_gone_all_in_the_order_of_urls():
    known = [KnownShard(url, 1, "was", url) for url in "abd"]
    found = [KnownShard(url, 2, "is", url, path="here") for url in "bc"]
    told = [(one.url, one.generation, one.matched, one.path) for one in merged(known, found)]
    assert told == [("a", "was", False, ""), ("b", "is", True, ""), ("c", "is", True, ""), ("d", "was", False, "")]


@pytest.mark.parametrize("content", ['{"name": "x"}', "[1, 2]", '"x"', "3", "null", '{"models": 3}', "{", "\0"])
def test_a_job_json_of_another_program_is_one_line_and_no_reason_against_a_directory_below(tmp_path, content):
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(UsageError, match=r"job\.json cannot be read"):
        read_job(str(tmp_path))
    check_foreign(str(tmp_path / "below" / "out"))


@pytest.mark.parametrize(("name", "value"), [("url", {"a": 1}), ("size_bytes", "5"), ("place", None), ("label", 3)])
def test_a_shard_in_a_damaged_job_json_is_told(tmp_path, name, value):
    write_job(str(tmp_path), Job(["a"], 64.0, shards=SHARDS))
    content = json.loads((tmp_path / "job.json").read_text())
    content["shards"][0][name] = value
    (tmp_path / "job.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"job\.json cannot be read"):
        read_job(str(tmp_path))


def test_a_directory_below_that_of_a_job_is_refused_once_that_has_scored_anything(tmp_path):
    write_job(str(tmp_path), Job(["a"], 64.0, shards=SHARDS))
    below = str(tmp_path / "a" / ".." / "b")
    check_foreign(below)
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "a-0123456789-00000.parquet").touch()
    with pytest.raises(UsageError, match=f"lies in {tmp_path}, the output of another job"):
        check_foreign(below)


def test_before_a_job_begins_score_parts_are_not_counted(tmp_path, monkeypatch):
    write_job(str(tmp_path), Job(["a"], 64.0, shards=SHARDS))
    assert standing_job(str(tmp_path)) is None
    looked_at = []

    def parts(directory, below=False):
        for number in range(1_000_000):
            looked_at.append(number)
            yield f"a-0123456789-{number:05d}.parquet"

    monkeypatch.setattr(directories, "iter_files", parts)
    assert standing_job(str(tmp_path)) is not None
    assert notes_before(str(tmp_path), Job(["a"], 64.0, shards=SHARDS), None, overwrite=False) is not None
    assert len(looked_at) < 10


@pytest.mark.parametrize("output", ["file", "file/below/out", "nowhere", "nowhere/out"])
def test_an_output_in_whose_place_no_directory_can_be_is_refused_before_anything_is_written(tmp_path, output):
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    there = tmp_path / output.partition("/")[0]
    with pytest.raises(UsageError) as caught:
        check_foreign(str(tmp_path / output))
    assert str(caught.value) == f"--output {tmp_path / output}: {there} is no directory: give a new one"
