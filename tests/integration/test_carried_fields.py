"""Fields of samples' metadata in whole jobs: from a sample's `.json` to rules, ledger and output."""

import hashlib
import io
import json
import shutil
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from beam_curator.commands import curation, parsing, verify_output
from beam_curator.commands.options import CurationOptions
from tests.integration.integration_content import content, ledger
from tests.tars import tar_bytes

FLAGS = (
    *("--clip_model", "tiny-untrained", "--min_aesthetic", "none", "--max_nsfw", "none", "--samples_per_shard", "4"),
    *("--report", "false"),
)


def picture(seed):
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (40, 48, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def shard(path, first, records):
    entries = []
    for index, record in enumerate(records, first):
        image = picture(index)
        said = {"url": f"http://a.org/{index}", "sha256": hashlib.sha256(image).hexdigest(), **record}
        entries += [(f"{index:04d}.png", image), (f"{index:04d}.json", json.dumps(said).encode())]
    path.write_bytes(tar_bytes(entries))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two shards that agree on types, and a third that does not."""
    directory = tmp_path_factory.mktemp("fields")
    shard(directory / "a.tar", 0, [{"n": index, "similarity": 0.2 + index / 20, "only_a": True} for index in range(5)])
    shard(directory / "b.tar", 5, [{"n": index, "similarity": 1} for index in range(3)])
    shard(directory / "c.tar", 8, [{"n": "eight", "tags": ["x"]}, {"n": 1.0}])
    return directory


@pytest.fixture
def run(curate, shards, tmp_path):
    """Runs the job on some of the shards; gives the exit code, and what was printed."""

    def of(names, output, *more):
        inputs = [word for name in names for word in ("--input", str(shards / f"{name}.tar"))]
        code, out, err = curate(output, *inputs, *FLAGS, *more, base=[])
        return code, out + err

    return of


def fields_in(directory):
    """The fields that the ledger has, by column."""
    table = pq.read_table(directory / "samples").sort_by([("shard", "ascending"), ("offset", "ascending")])
    return {name: table[name].to_pylist() for name in table.schema.names if name.startswith(("json_", "url_"))}


def test_a_shard_that_joins_a_finished_job_may_change_a_type_as_if_all_had_been_there(run, tmp_path):
    grown, at_once = tmp_path / "grown", tmp_path / "at_once"
    assert run("ab", grown)[0] == 0
    assert fields_in(grown)["json_n"] == [0, 1, 2, 3, 4, 0, 1, 2]
    code, told = run("abc", grown)
    assert (code, run("abc", at_once)[0]) == (0, 0)
    assert content(grown) == content(at_once)
    assert fields_in(grown)["json_n"] == ["0", "1", "2", "3", "4", "0", "1", "2", "eight", "1"]
    assert fields_in(grown)["json_only_a"] == [True] * 5 + [None] * 5
    assert "text, since values of several kinds were met: json.n (integers and fractions and texts)" in told
    assert "json.sha256 is that of the stored image in all 10 samples that say one" in told
    kept = pq.read_table(grown / "00000.parquet")
    assert kept["json_url"].to_pylist() == [f"http://a.org/{index}" for index in range(4)]
    assert kept.schema.field("json_url").metadata[b"role"] == b"carried"
    assert verify_output.main([str(grown)]) == 0


def test_fields_of_shards_that_were_scored_without_are_read_again_and_nothing_is_embedded(run, tmp_path, capsys):
    late, at_once = tmp_path / "late", tmp_path / "at_once"
    assert run("ac", late, "--carry", "none")[0] == 0
    assert not fields_in(late)
    code, told = run("ac", late)
    assert (code, run("ac", at_once)[0]) == (0, 0)
    assert "scored 0 images (7 had been scored before)" in told
    assert "read the fields of 7 samples from their shards: none was embedded" in told
    assert "note: --carry all: what the last run did not carry is read from the shards again, embedding nothing" in told
    assert {name: one for name, one in content(late).items() if not name.startswith(("scores/", "fields/"))} == {
        name: one for name, one in content(at_once).items() if not name.startswith(("scores/", "fields/"))
    }
    code, told = run("ac", late, "--carry", "url")
    assert (code, "note: --carry" in told) == (0, False)
    assert list(fields_in(late)) == ["json_url", "url_domain"]
    assert verify_output.main([str(late)]) == 0
    shutil.copy(at_once / "00000.parquet", late / "00000.parquet")
    assert verify_output.main([str(late)]) == 1


def test_rules_lists_and_fractions_look_at_fields(run, tmp_path):
    output, good = tmp_path / "out", tmp_path / "urls.txt"
    good.write_text("".join(f"http://a.org/{index}\n" for index in (1, 3, 4, 5, 6, 9)))
    asked = ("--where", "json.similarity > 0.2 OR coalesce(json.nowhere, false)", "--allow", f"url={good}")
    asked = (*asked, "--keep_top", "json.similarity=0.75")
    assert run("abc", output, *asked)[0] == 0
    kept = [row["key"] for row in ledger(output) if row["status"] == "kept"]
    assert kept == ["0003", "0004", "0005", "0006"]
    code, told = run("abc", output, *asked, "--preview")
    assert (code, "4 stay, 0 come, 0 go" in told) == (0, True), told
    code, told = run("abc", output, "--where", "json.simlarity > 0.2")
    assert code == 2
    assert 'condition "json.simlarity > 0.2" wants json.simlarity, which no sample has: did you mean' in told
    code, told = run("abc", output, "--keep_top", "json.url=0.5")
    assert (code, "json.url=0.5 wants numbers, and the column json.url holds texts" in told) == (2, True), told
    code, told = run("abc", output, "--carry", "n", *asked)
    assert (code, "--carry n leaves out: add it" in told) == (2, True), told
    code, told = run("abc", tmp_path / "new", "--where", "json.simlarity > 0.2")
    assert (code, "which no sample has: did you mean json.similarity? (scores are kept)" in told) == (1, True), told


def test_a_template_takes_no_fields_from_what_stands_for_other_shards_may_join(run, shards, tmp_path):
    assert run("ab", tmp_path / "out")[0] == 0
    inputs = [word for name in "ab" for word in ("--input", str(shards / f"{name}.tar"))]

    def known(*more):
        argv = [*inputs, *FLAGS, "--output", str(tmp_path / "out"), "--where", "json.n > 2", *more]
        options, _ = parsing.parse("beam-curator curate", "", argv)
        return curation.prepare(options.view_as(CurationOptions), time.time()).selection.fields.found

    assert known().types["json.n"] == "integer"
    assert known("--template_location", "gs://bucket/template") is None
