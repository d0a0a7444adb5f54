"""verify_output: sound jobs pass, and whatever is spoiled in one is told."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from beam_curator.commands import curation, parsing, verify_output
from beam_curator.commands.options import CurationOptions
from beam_curator.output.ownership import claim_output
from tests.integration.damage import change_json, change_rows, change_tar, flip_byte
from tests.integration.spoiled_output import LEDGER, PART, SHARD, SPOILED, TAR, first


@pytest.fixture
def verify(capsys):
    """Runs the command; gives exit code, lines of output, and errors."""

    def run(*argv):
        capsys.readouterr()
        code = verify_output.main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


# sound jobs


def test_a_finished_job_is_as_promised_and_one_line_says_how_much_was_compared(finished, verify):
    code, lines, err = verify(finished)
    assert (code, err) == (0, "")
    (line,) = lines
    told = re.fullmatch(
        rf"{finished}: all as promised: (\d+) samples in 3 shards of the input, (\d+) output shards, "
        r"(\d+) members compared",
        line,
    )
    manifest = json.loads((finished / "manifest.json").read_text())
    samples, shards, members = map(int, told.groups())
    assert samples == manifest["counts"]["seen"]
    assert shards == manifest["output"]["shards"]
    assert members > 2 * manifest["counts"]["kept"]  # an image, a caption and metadata each


@pytest.mark.parametrize(
    "more",
    [
        ["--min_aesthetic", "8", "--samples_per_shard", "7"],
        ["--samples_per_shard", "1"],
        ["--min_aesthetic", "10"],
        ["--rule", "examples.filter_with_rule:caption_says_something"],
    ],
    ids=lambda more: more[0] + more[1][-5:],
)
def test_a_job_with_another_selection_is_as_promised(finished, curate, verify, more):
    assert curate(finished, *more)[0] == 0
    assert verify(finished)[0] == 0


def test_a_job_on_compressed_shards_is_as_promised(raw, tmp_path, curate, verify):
    (tmp_path / "raw").mkdir()
    for tar in raw.glob("*.tar"):
        (tmp_path / "raw" / f"{tar.name}.gz").write_bytes(gzip.compress(tar.read_bytes()))
    base = ["--input", str(tmp_path / "raw"), "--clip_model", "tiny-untrained", "--range_mb", "0.3", "--report=false"]
    assert curate(tmp_path / "other", base=base)[0] == 0
    assert verify(tmp_path / "other")[0] == 0


def test_a_job_on_the_output_of_a_job_is_as_promised(finished, tmp_path, curate, verify):
    base = ["--input", str(finished), "--clip_model", "tiny-untrained", "--min_aesthetic", "0", "--report=false"]
    assert curate(tmp_path / "again", base=base)[0] == 0
    assert verify(tmp_path / "again")[0] == 0


def test_input_that_was_moved_is_read_where_it_is_now(raw, finished, tmp_path, verify):
    moved = shutil.copytree(raw, tmp_path / "moved")
    assert verify(finished, "--input_root", moved)[0] == 0
    name = flip_byte(min(moved.glob("*.tar")), "000000001.jpg")
    code, lines, _ = verify(finished, "--input_root", moved)
    assert code == 1
    assert f"sha256 of {name.removesuffix('.jpg')!r} is" in lines[0]
    assert verify(finished)[0] == 0


# what is spoiled


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_spoiled_is_told(finished, verify, what):
    spoil, told = SPOILED[what]
    spoil(finished)
    code, lines, err = verify(finished)
    assert (code, err) == (1, "")
    assert any(re.match(told, line) for line in lines[:-1]), lines
    assert re.fullmatch(rf"{finished}: \d+ differences?(, the first 20 of which are shown: \d+ more)?", lines[-1])


@pytest.mark.parametrize(
    "what", ["a byte of an image", "a caption", "a file of somebody", "rows swapped", "ledger rows swapped", "a model"]
)
def test_what_is_spoiled_in_one_place_is_told_in_few_lines(finished, verify, what):
    SPOILED[what][0](finished)
    _, lines, _ = verify(finished)
    assert len(lines) <= 12, lines


def test_an_untouched_rewrite_of_each_file_is_no_difference(finished, verify):
    """The tests above spoil what they mean to spoil, and not by the way they write it."""
    for path in [first(finished, LEDGER), first(finished, PART), finished / f"{SHARD}.parquet"]:
        change_rows(path, lambda rows: rows)
    change_tar(finished / TAR, lambda members: members)
    change_json(finished / "manifest.json", lambda manifest: None)
    assert verify(finished)[0] == 0


def test_a_card_of_ones_own_and_one_of_another_release_are_no_difference(finished, verify):
    change_json(finished / "manifest.json", lambda manifest: manifest["software"].update({"beam-curator": "0.1.9"}))
    assert verify(finished)[0] == 0
    change_json(finished / "manifest.json", lambda manifest: manifest["software"].update({"beam-curator": "0.2.0"}))
    (finished / "README.md").write_text("# Of mine")
    assert verify(finished)[0] == 0


def test_only_the_first_differences_are_printed_and_all_are_counted(finished, verify):
    for number in range(30):
        (finished / f"stray-{number}").write_bytes(b"")
    code, lines, _ = verify(finished)
    assert code == 1
    assert len(lines) == 21
    assert lines[-1] == f"{finished}: 30 differences, the first 20 of which are shown: 10 more"


# the input


def test_input_that_changed_after_the_job_is_told(raw, finished, tmp_path, verify):
    moved = shutil.copytree(raw, tmp_path / "moved")
    tars = sorted(moved.glob("*.tar"))
    shutil.copy(tars[0], moved / "00009.tar")
    tars[1].unlink()
    code, lines, _ = verify(finished, "--input_root", moved)
    assert code == 1
    assert any(re.match(r"samples/00009-\w+-00000.parquet: cannot be read", line) for line in lines)
    assert any("should be in 000" in line for line in lines)


def test_input_that_is_not_there_any_more_is_one_line_that_says_what_to_do(finished, tmp_path, verify):
    code, lines, err = verify(finished, "--input_root", tmp_path / "nowhere")
    assert (code, lines) == (2, [])
    assert err.count("\n") == 1
    assert "say where it is with --input_root" in err


# no finished job


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("manifest.json", "holds no finished job (manifest.json is written last): run the job to its end first"),
        ("job.json", "has manifest.json, but job.json is gone, which says what was read: run the command again"),
    ],
)
def test_a_directory_without_a_finished_job_is_one_line_and_exit_code_2(finished, verify, missing, told):
    (finished / missing).unlink()
    code, lines, err = verify(finished)
    assert (code, lines, err) == (2, [], f"beam-curator: {finished} {told}\n")


@pytest.mark.parametrize("content", ["[1]", '"x"', "5", "{}", '{"samples_per_shard": 7'])
def test_a_manifest_that_is_none_is_one_line_and_exit_code_2(finished, verify, content):
    (finished / "manifest.json").write_text(content)
    code, lines, err = verify(finished)
    assert (code, lines, err.count("\n"), "holds no finished job" in err) == (2, [], 1, True)


def test_a_job_that_does_not_say_what_its_shards_are_is_one_line_and_exit_code_2(finished, verify):
    change_json(finished / "job.json", lambda job: job["shards"][0].pop("generation"))
    code, lines, err = verify(finished)
    assert (code, lines, err.count("\n")) == (2, [], 1)
    assert err.startswith(f"beam-curator: {finished}/job.json cannot be read (it is none that this release")


def test_a_directory_that_is_not_there_is_one_line_and_exit_code_2(tmp_path, verify):
    code, lines, err = verify(tmp_path / "none")
    assert (code, lines, err.count("\n")) == (2, [], 1)
    assert "holds no finished job" in err


def test_no_directory_at_all_is_one_line_and_exit_code_2(verify):
    code, lines, err = verify()
    assert (code, lines, err) == (2, [], "beam-curator: the following arguments are required: OUT (see --help)\n")


def test_what_libraries_do_when_the_interpreter_ends_does_not_change_the_answer(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import atexit, os\natexit.register(os.abort)\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "pipelines.verify_output", str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(f"beam-curator: {tmp_path} holds no finished job")


def test_a_run_that_was_killed_as_it_began_is_told_and_running_it_again_mends_it(
    finished, flags, curate, verify, raw, tmp_path
):
    shutil.copy(sorted(raw.glob("*.tar"))[0], tmp_path / "more.tar")
    argv = [*flags, "--input", str(tmp_path / "more.tar"), "--output", str(finished)]
    options, _ = parsing.parse("beam-curator curate", "", argv)
    later = curation.prepare(options.view_as(CurationOptions), time.time())
    claim_output(str(finished), later.job, overwrite=False)  # and here it is killed
    code, lines, err = verify(finished)
    assert (code, lines) == (2, [])
    assert "a later one, which reads other input (4 shards), did not reach its end: run that command again (or" in err
    assert len(err.strip().splitlines()) == 1
    assert curate(finished, "--fewer_shards")[0] == 0
    assert verify(finished)[0] == 0
