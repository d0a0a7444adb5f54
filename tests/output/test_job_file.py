"""job.json: written shard by shard as `json.dumps` would write all of it, and read back."""

import dataclasses
import json

import pytest

from beam_curator.errors import UsageError
from beam_curator.output.job_file import Job, read_job, write_job
from beam_curator.sources.shard_identity import KnownShard
from tests.output.job_files import SHARDS, STRANGE


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


@pytest.mark.parametrize("content", STRANGE)
def test_a_job_json_of_another_program_is_one_line(tmp_path, content):
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(UsageError, match=r"job\.json cannot be read"):
        read_job(str(tmp_path))


@pytest.mark.parametrize(("name", "value"), [("url", {"a": 1}), ("size_bytes", "5"), ("place", None), ("label", 3)])
def test_a_shard_in_a_damaged_job_json_is_told(tmp_path, name, value):
    write_job(str(tmp_path), Job(["a"], 64.0, shards=SHARDS))
    content = json.loads((tmp_path / "job.json").read_text())
    content["shards"][0][name] = value
    (tmp_path / "job.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"job\.json cannot be read"):
        read_job(str(tmp_path))
