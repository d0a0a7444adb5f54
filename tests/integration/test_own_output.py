"""A job writes to a directory of its own, one job at a time, and never where it reads: command and library."""

import dataclasses
import gzip
import json
import os
import shutil
import signal

import apache_beam as beam
import pytest

import beam_curator as bc
from beam_curator.commands import curate_images, verify_output
from beam_curator.errors import CurationError, UsageError
from beam_curator.output import lease, owner
from beam_curator.output.job_input import match_shards
from beam_curator.transforms.checkpointing import Checkpoint
from beam_curator.transforms.planning import PlanRanges
from beam_curator.transforms.reading import ReadRanges
from beam_curator.transforms.scoring import ScoreRanges
from examples import embed_images, filter_with_rule
from tests.integration.integration_content import content, ledger
from tests.integration.processes import wait_until

TINY = ["--clip_model", "tiny-untrained", "--min_aesthetic", "0", "--report", "false"]


@pytest.fixture
def data(raw, tmp_path):
    """A directory with shards in raw/."""
    (tmp_path / "data" / "raw").mkdir(parents=True)
    for tar in sorted(raw.glob("*.tar"))[:2]:
        shutil.copy(tar, tmp_path / "data" / "raw")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def curated(raw, tmp_path_factory):
    """As `data`, with a job's output in curated/, and `link` beside it, which is the same."""
    data = tmp_path_factory.mktemp("curated") / "data"
    (data / "raw").mkdir(parents=True)
    for tar in sorted(raw.glob("*.tar"))[:2]:
        shutil.copy(tar, data / "raw")
    (data.parent / "link").symlink_to(data)
    assert curate_images.main(["--input", str(data / "raw"), "--output", str(data / "curated"), *TINY]) == 0
    return data


def write_shards(patterns, output, *rules, read_output=None, **settings):
    """A pipeline of the library, from its input to its output; `read_output` is what reading is told of it."""
    handler = bc.ClipModelHandler("tiny-untrained")
    with beam.Pipeline() as pipeline:
        (
            pipeline
            | bc.ReadSamples(patterns if isinstance(patterns, list) else str(patterns), output=read_output)
            | bc.EmbedImages(handler)
            | bc.ScoreAesthetic("untrained")
            | bc.Select(*(rules or [bc.AtLeast("aesthetic", 0.0)]))
            | bc.WriteShards(str(output), **settings)
        )


def one_line(told, *wanted):
    (line,) = told.strip().splitlines()
    for text in wanted:
        assert text in line


# never where it reads


def refuses(run, directory, *wanted):
    """Building or running raises one line, and nothing in the directory changes."""
    before = content(directory)
    with pytest.raises(CurationError) as raised:
        run()
    one_line(str(raised.value), *wanted)
    assert content(directory) == before


@pytest.mark.parametrize("spelling", ["{data}/raw", "{data}/raw/", "{data}/../data/raw", "raw", "./raw", "{data}/link"])
def test_a_pipeline_that_would_write_to_its_input_is_refused_where_it_is_built(data, monkeypatch, spelling):
    (data / "link").symlink_to(data / "raw")
    monkeypatch.chdir(data)
    output = spelling.format(data=data)
    refuses(lambda: write_shards(data / "raw" / "*.tar", output), data, "00000.tar is input, and lies in", output)


def test_input_that_is_known_only_where_the_pipeline_runs_is_refused_there(data):
    write_shards(data / "raw" / "*.tar", data / "out")
    shards = match_shards([str(data / "out")])

    def run():
        with beam.Pipeline() as pipeline:
            (
                pipeline
                | beam.Create(shards)
                | PlanRanges()
                | ReadRanges()
                | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
                | bc.ScoreAesthetic("untrained")
                | bc.WriteShards(str(data / "out"))
            )

    refuses(run, data / "out", "00000.tar is input, and lies in the output directory")


@pytest.mark.parametrize("main", [curate_images.main, filter_with_rule.main, embed_images.main])
def test_commands_refuse_their_input_as_output(data, capsys, main):
    before = content(data)
    assert main(["--input", str(data / "raw" / "*.tar"), "--output", str(data / "raw"), *TINY]) == 2
    one_line(capsys.readouterr().err, str(data / "raw"))
    assert content(data) == before


def test_a_directory_that_holds_the_input_deeper_down_is_refused(data, capsys):
    before = content(data)
    assert curate_images.main(["--input", str(data / "raw" / "*.tar"), "--output", str(data), *TINY]) == 2
    one_line(capsys.readouterr().err, "is not empty and holds no job")
    assert content(data) == before
    refuses(lambda: write_shards(data / "raw" / "*.tar", data), data, "lies in the output directory")


# only to its own directory


@pytest.mark.parametrize("name", ["notes.txt", "samples/x.parquet", "_tmp/notes.txt", "00000.tar"])
def test_a_directory_with_files_of_others_is_refused_by_all_that_write(data, tmp_path, capsys, name):
    output = tmp_path / "theirs"
    (output / name).parent.mkdir(parents=True)
    (output / name).write_bytes(b"theirs")
    wanted = "is not empty and holds no job of Beam Curator"
    refuses(lambda: write_shards(data / "raw" / "*.tar", output), output, wanted)
    for main in (curate_images.main, filter_with_rule.main, embed_images.main):
        for more in ([], ["--overwrite"]):
            assert main(["--input", str(data / "raw"), "--output", str(output), *TINY, *more]) == 2
            one_line(capsys.readouterr().err, wanted)
    assert content(output).keys() == {name}


def test_the_output_of_another_job_is_refused_by_pipelines(finished, raw, data):
    refuses(lambda: write_shards(raw, finished), finished, "another job's output", "give another directory")
    code = embed_images.main(["--input", str(raw), "--output", str(finished), *TINY, "--range_mb", "0.5"])
    assert code == 2
    write_shards(data / "raw", data / "out")
    refuses(lambda: write_shards(data / "raw" / "00000.tar", data / "out"), data / "out", "another job's", "00001.tar")


def test_files_that_no_job_wrote_stay_whatever_they_are_called(finished, raw, curate):
    tar = min(raw.glob("*.tar"))
    theirs = {
        "samples/x.parquet": b"mine",
        "scores/y-0123456789-00000.parquet": b"mine",
        "plans/z-0123456789.json": b"{}",
        "00090.tar": tar.read_bytes(),
        "00090.parquet": b"mine",
        "00091_stats.json": b'{"count": 3}',
    }
    for name, written in theirs.items():
        (finished / name).parent.mkdir(exist_ok=True)
        (finished / name).write_bytes(written)
    for more in (["--min_aesthetic", "8"], ["--overwrite"]):
        assert curate(finished, *more)[0] == 0
        assert {name: (finished / name).read_bytes() for name in theirs} == theirs


def test_a_file_that_no_job_wrote_is_not_overwritten_by_an_output_shard(finished, raw, curate):
    theirs = min(raw.glob("*.tar")).read_bytes()
    shards = len(list(finished.glob("*.tar")))
    (finished / f"{shards:05d}.tar").write_bytes(theirs)
    before = content(finished)
    code, _, err = curate(finished, "--samples_per_shard", "5")
    assert code == 1
    one_line(err, f"{shards:05d}.tar stands where an output shard goes", "move it away")
    assert content(finished) == before
    (finished / f"{shards:05d}.tar").unlink()
    assert curate(finished, "--samples_per_shard", "5")[0] == 0


def test_a_file_that_somebody_put_in_the_place_of_an_output_shard_stays(finished, raw, curate):
    theirs = {".tar": min(raw.glob("*.tar")).read_bytes(), ".json": b'{"count": 3}'}
    for name in ("00000.tar", "00001.tar", "00000.parquet", "00001_stats.json"):
        ours = (finished / name).read_bytes()
        (finished / name).write_bytes(theirs.get((finished / name).suffix, b"mine"))
        before = content(finished)
        code, _, err = curate(finished, "--min_aesthetic", "1")
        assert code == 1
        one_line(err, f"{name} stands where an output shard goes", "no job of Beam Curator wrote it", "move it away")
        assert content(finished) == before
        (finished / name).write_bytes(ours)
    (finished / name).unlink()
    assert curate(finished, "--min_aesthetic", "1")[0] == 0
    assert verify_output.main([str(finished)]) == 0


def test_what_an_earlier_selection_left_is_removed(finished, curate):
    names = {path.name for path in finished.glob("0*")}
    assert curate(finished, "--samples_per_shard", "1000")[0] == 0
    assert {path.name for path in finished.glob("0*")} == {name for name in names if name.startswith("00000")}


# never what it wrote


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("{data}/*/*.tar", "{data}/curated"),
        ("*/*.tar", "{data}/curated/"),
        ("{data}/**/*.tar", "./curated"),
        ("{data}/**", "curated"),
        ("./*/*.tar", "raw/../curated"),
        ("{data}/../link/*/*.tar", "{data}/curated"),
        ("{data}/*/*.tar", "{data}/../link/curated"),
    ],
)
def test_the_output_is_no_input_however_it_is_spelled(curated, monkeypatch, pattern, output):
    monkeypatch.chdir(curated)
    seen = manifest(curated / "curated")["counts"]["seen"]
    (curated / "curated" / "manifest.json").unlink()
    argv = ["--input", pattern.format(data=curated), "--output", output.format(data=curated), *TINY]
    assert curate_images.main(argv) == 0
    assert manifest(curated / "curated")["counts"]["seen"] == seen


def test_a_new_output_is_no_input_of_later_runs(data, monkeypatch):
    monkeypatch.chdir(data)
    seen = []
    for _ in range(3):
        assert curate_images.main(["--input", "./*/*.tar", "--output", "raw/../curated", *TINY]) == 0
        seen.append(manifest(data / "curated")["counts"]["seen"])
    assert seen == [seen[0]] * 3
    assert verify_output.main(["curated"]) == 0


@pytest.mark.parametrize("pattern", ["{data}/*/*.tar", "**/*.tar"])
def test_a_pipeline_that_is_told_of_its_output_does_not_read_it(data, monkeypatch, pattern):
    monkeypatch.chdir(data)
    seen = []
    for _ in range(2):
        spelled = "curated" if pattern.startswith("*") else data / "curated"
        write_shards(pattern.format(data=data), spelled, read_output=str(data / "curated"))
        seen.append(manifest(data / "curated")["counts"]["seen"])
    assert seen == [seen[0]] * 2
    assert verify_output.main([str(data / "curated")]) == 0
    before = content(data)
    with pytest.raises(CurationError, match=r"ReadSamples\(\.\.\., output=\".*curated\"\) or MatchShards"):
        write_shards(data / "*" / "*.tar", data / "curated")
    shutil.copy(data / "raw" / "00000.tar", data / "curated" / "more.tar")
    with pytest.raises(CurationError, match=r"more\.tar, which lies in"):
        write_shards(data / "*" / "*.tar", data / "curated", read_output=str(data / "curated"))
    (data / "curated" / "more.tar").unlink()
    assert content(data) == before


def test_the_output_of_another_job_is_input_only_where_it_is_named(data, capsys):
    flags = ["--input", str(data / "*" / "*.tar"), *TINY]
    assert curate_images.main([*flags, "--output", str(data / "first")]) == 0
    kept = manifest(data / "first")["counts"]["kept"]
    capsys.readouterr()
    assert curate_images.main([*flags, "--output", str(data / "second")]) == 2
    one_line(capsys.readouterr().err, "first/00000.tar", "output of another job", "--input of its own")
    assert curate_images.main([*flags, "--input", str(data / "first"), "--output", str(data / "second")]) == 0
    assert curate_images.main(["--input", str(data / "first"), "--output", str(data / "third"), *TINY]) == 0
    assert manifest(data / "third")["counts"]["seen"] == kept


def test_files_in_the_output_that_no_job_wrote_are_not_left_out_in_silence(data, capsys):
    argv = ["--input", str(data / "*" / "*.tar"), "--output", str(data / "out"), *TINY]
    assert curate_images.main(argv) == 0
    for name in ("more.tar", "00007.tar"):
        shutil.copy(data / "raw" / "00000.tar", data / "out" / name)
        capsys.readouterr()
        assert curate_images.main(argv) == 2
        one_line(capsys.readouterr().err, name, "lies in --output")
        (data / "out" / name).unlink()


def test_nothing_but_the_output_is_no_input(finished, capsys):
    assert curate_images.main(["--input", str(finished), "--output", str(finished), *TINY]) == 2
    one_line(capsys.readouterr().err, "nothing but the output")


# one job at a time


@pytest.fixture
def elsewhere(monkeypatch):
    """The lease of a job of a process that lives."""

    def hold(output):
        there = owner.Owner("alice", "another-host", "another machine", 7, 1.0)
        return lease.acquire(lease.Claim(str(output), "theirs", there))

    return hold


def test_a_directory_in_use_is_refused_and_nothing_is_touched(finished, raw, curate, elsewhere, flags):
    elsewhere(finished)
    before = content(finished)
    for more in ([], ["--overwrite"]):
        code, out, err = curate(finished, "--min_aesthetic", "6", *more)
        assert (code, out) == (2, "")
        one_line(err, "is in use: alice on another-host (pid 7) has held it for", "last sign of life", "--take_over")
    assert content(finished) == before
    assert verify_output.main([str(finished)]) == 0
    assert curate(finished, "--min_aesthetic", "6", "--take_over")[0] == 0
    assert not (finished / "_tmp").exists()


def test_a_pipeline_waits_its_turn_too(data, elsewhere):
    elsewhere(data / "out")
    with pytest.raises(CurationError, match="is in use: alice on another-host"):
        write_shards(data / "raw", data / "out")
    assert not (data / "out" / "scores").exists()


def test_a_pipeline_takes_the_directory_over_where_it_is_told_to(data, elsewhere):
    elsewhere(data / "out")
    with pytest.raises(CurationError, match=r"at once with WriteShards\(\.\.\., take_over=True\)"):
        write_shards(data / "raw", data / "out")
    for _ in range(2):  # the second time there is nobody to take it from
        write_shards(data / "raw", data / "out", take_over=True)
        assert not (data / "out" / "_tmp").exists()
    assert verify_output.main([str(data / "out")]) == 0


def test_a_pipeline_does_not_take_back_what_another_job_took_over_after_it_was_built(data, elsewhere):
    elsewhere(data / "out")
    pipeline = beam.Pipeline()
    embedded = pipeline | bc.ReadSamples(str(data / "raw")) | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
    embedded | bc.WriteShards(str(data / "out"), take_over=True)
    assert lease.read(str(data / "out")).owner == owner.this_process()
    (data / "out" / "_tmp" / "lease.json").unlink()
    elsewhere(data / "out")
    with pytest.raises(CurationError, match="is in use"):
        pipeline.run()


def test_a_job_that_was_taken_over_writes_no_manifest(data, monkeypatch):
    def taken_over(output, *_):
        other = lease.Claim(output, "theirs", dataclasses.replace(owner.this_process(), machine="another"))
        lease.acquire(other, take_over=True)

    monkeypatch.setattr("beam_curator.transforms.writing.check_free", taken_over)
    with pytest.raises(CurationError, match=r"is in use|was taken over"):
        write_shards(data / "raw", data / "out")
    assert not (data / "out" / "manifest.json").exists()


def test_two_selections_started_together_leave_what_one_of_them_says(nursery, job, tmp_path, capsys):
    out = tmp_path / "out"
    first = nursery.start(*job, "--output", out)
    assert wait_until((out / "_tmp" / "lease.json").exists, first)
    os.kill(first.pid, signal.SIGSTOP)
    assert curate_images.main([*job, "--output", str(out), "--min_aesthetic", "8"]) == 2
    one_line(capsys.readouterr().err, "is in use", f"(pid {first.pid})", "wait for the end of that process")
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait() == 0
    assert verify_output.main([str(out)]) == 0
    assert sum(row["status"] == "kept" for row in ledger(out)) == manifest(out)["counts"]["kept"]


def manifest(output):
    return json.loads((output / "manifest.json").read_text())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_is_killed_holds_up_nobody(nursery, job, tmp_path, number):
    out = tmp_path / "out"
    process = nursery.start(*job, "--output", out)
    assert wait_until((out / "_tmp" / "lease.json").exists, process)
    os.kill(process.pid, number)
    process.wait()
    if number == signal.SIGTERM:
        assert not (out / "_tmp" / "lease.json").exists()
    assert nursery.run(*job, "--output", out)[0] == 0
    assert not (out / "_tmp").exists()


# a pipeline's job is as a command's


def test_a_pipelines_manifest_tells_what_a_commands_does_and_its_output_is_verified(data, curate):
    def is_wide(row):
        return row["width"] > 100

    write_shards(data / "raw", data / "out", bc.AtLeast("aesthetic", 2.0), is_wide, samples_per_shard=7)
    told = manifest(data / "out")
    assert told["flags"]["input"] == [str(data / "raw")]
    assert told["flags"]["rules"] == ["aesthetic < 2", "is_wide"]
    assert (told["flags"]["samples_per_shard"], told["flags"]["range_mb"]) == (7, 64)
    assert told["flags"]["clip_model"] == "tiny-untrained"
    assert told["input"]["shards"] == 2
    assert told["input"]["bytes"] == sum(tar.stat().st_size for tar in (data / "raw").iterdir())
    assert told["timings"]["seconds"] > 0
    base = ["--input", str(data / "raw"), "--clip_model", "tiny-untrained", "--report", "false"]
    assert curate(data / "other", base=base)[0] == 0
    assert told.keys() == manifest(data / "other").keys()
    assert told["input"] == manifest(data / "other")["input"]
    assert verify_output.main([str(data / "out")]) == 0
    assert not (data / "out" / "_tmp").exists()
    before = content(data / "out")
    write_shards(data / "raw", data / "out", bc.AtLeast("aesthetic", 2.0), is_wide, samples_per_shard=7)
    assert content(data / "out") == before


def test_a_pipeline_that_keeps_no_plans_is_verified(data):
    tar = data / "raw" / "00001.tar"
    (data / "raw" / "00001.tar.gz").write_bytes(gzip.compress(tar.read_bytes()))
    tar.unlink()
    write_shards(data / "raw", data / "out")
    assert not (data / "out" / "plans").exists()
    assert verify_output.main([str(data / "out")]) == 0
    write_shards(data / "raw", data / "kept", read_output=str(data / "kept"))
    (plan,) = (data / "kept" / "plans").iterdir()
    assert verify_output.main([str(data / "kept")]) == 0
    plan.write_bytes(b"{}")
    assert verify_output.main([str(data / "kept")]) == 1


def test_a_pipeline_with_plans_and_a_checkpoint_claims_its_directory_too(data):
    scoring = ScoreRanges(bc.ClipModelHandler("tiny-untrained"), bc.ScoreAesthetic("untrained"))
    with beam.Pipeline() as pipeline:
        (
            pipeline
            | bc.MatchShards([str(data / "raw")])
            | PlanRanges(0.1, str(data / "out"))
            | Checkpoint(str(data / "out"), scoring)
            | bc.Select(bc.AtLeast("aesthetic", 3.0))
            | bc.WriteShards(str(data / "out"))
        )
    job = json.loads((data / "out" / "job.json").read_text())
    assert (job["range_mb"], job["encoder"]) == (0.1, scoring.encoder.as_json)
    assert job["scorers"] == [step.as_json for step in scoring.wanted.steps]
    assert list((data / "out" / "plans").iterdir())
    assert verify_output.main([str(data / "out")]) == 0


def test_a_pipeline_that_fails_gives_the_directory_back(data):
    def mistaken(row):
        return row["no_such_column"] > 1

    with pytest.raises(CurationError):
        write_shards(data / "raw", data / "out", mistaken)
    assert not (data / "out" / "_tmp").exists()
    write_shards(data / "raw", data / "out")
    assert verify_output.main([str(data / "out")]) == 0


def test_a_pipeline_refuses_where_it_is_built(data):
    pipeline = beam.Pipeline()
    batches = pipeline | bc.ReadSamples(str(data / "raw"))
    with pytest.raises(UsageError, match="lies in the output directory"):
        batches | bc.WriteShards(str(data / "raw"))
