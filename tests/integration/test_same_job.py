"""The same shards are the same job, however they are spelled, touched, copied or moved; no score is lost in silence."""

import gzip
import json
import os
import pathlib
import re
import shutil
import tarfile

import pytest

from beam_curator.commands import curate_images, verify_output
from tests.integration.integration_content import content, ledger
from tests.tars import tar_bytes

TINY = ["--clip_model", "tiny-untrained", "--range_mb", "0.3", "--report", "false"]


@pytest.fixture(scope="module")
def fresh(raw, tmp_path_factory):
    """A directory with `raw/` (three shards, the last one compressed) and `link/`, which is the same."""
    first, second, third = sorted(raw.glob("*.tar"))
    directory = tmp_path_factory.mktemp("same_job") / "fresh"
    (directory / "raw").mkdir(parents=True)
    for tar in (first, second):
        shutil.copy(tar, directory / "raw")
    (directory / "raw" / f"{third.name}.gz").write_bytes(gzip.compress(third.read_bytes()))
    (directory / "link").symlink_to("raw")
    return directory


@pytest.fixture(scope="module")
def finished_place(fresh):
    """As `fresh`, with the output of a job over `raw` in `out/`, which ran where `place` is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_put(fresh))
        assert curate_images.main(["--input", "raw", "--output", str(fresh.parent / "place" / "out"), *TINY]) == 0
    return (fresh.parent / "place").rename(fresh.parent / "finished")


def _put(directory):
    """Copies it to the one path at which all jobs of these tests run."""
    place = directory.parent / "place"
    shutil.rmtree(place, ignore_errors=True)
    return pathlib.Path(shutil.copytree(directory, place, symlinks=True))


@pytest.fixture
def place(fresh, monkeypatch):
    """A directory to work in."""
    monkeypatch.chdir(_put(fresh))
    return pathlib.Path.cwd()


@pytest.fixture
def begun(finished_place, place):
    """As `place`, with the output of a job over `raw` in `out/`."""
    shutil.copytree(finished_place / "out", place / "out")
    return place


@pytest.fixture
def run(curate, place):
    """Runs the job; gives exit code, what it says before its work, and how many images it scored."""

    def run(*inputs, more=(), output="out"):
        base = [flag for text in inputs for flag in ("--input", text)]
        code, out, err = curate(place / output, *more, base=[*base, *TINY])
        scored = re.search(r"scored ([\d,]+) images", out)
        return code, err.removeprefix("beam-curator: "), int(scored[1].replace(",", "")) if scored else None

    return run


def test_a_touch_or_a_copy_of_the_input_scores_nothing_and_changes_no_byte(begun, run):
    before = content(begun / "out")
    for tar in (begun / "raw").iterdir():
        os.utime(tar, (1, 1))
    assert run("raw") == (0, "", 0)
    shutil.copytree(begun / "raw", begun / "copy")
    shutil.rmtree(begun / "raw")
    (begun / "copy").rename(begun / "raw")
    assert run("raw") == (0, "", 0)
    assert content(begun / "out") == before
    assert verify_output.main([str(begun / "out")]) == 0


def test_the_same_input_gives_the_same_bytes_whenever_it_was_written(begun, run):
    for tar in (begun / "raw").iterdir():
        os.utime(tar, (1, 1))
    assert run("raw", output="two")[0] == 0
    assert content(begun / "out") == content(begun / "two")


@pytest.mark.parametrize(
    "inputs",
    [
        ["./raw"],
        ["{place}/raw"],
        ["raw/*"],
        ["raw/*.tar", "{place}/raw/*.gz"],
        ["raw/{{00000..00001}}.tar", "raw/00002.tar.gz"],
        ["link"],
        ["link/../raw/"],
        ["raw", "link", "./raw/00000.tar"],
    ],
    ids=lambda inputs: " ".join(inputs),
)
def test_another_spelling_of_the_same_shards_is_the_same_job_and_the_same_bytes(begun, run, inputs):
    before, manifest = content(begun / "out"), (begun / "out" / "manifest.json").read_bytes()
    assert run(*(text.format(place=begun) for text in inputs)) == (0, "", 0)
    assert content(begun / "out") == before
    assert (begun / "out" / "manifest.json").read_bytes() == manifest
    assert {row["shard"] for row in ledger(begun / "out")} == {f"raw/{path.name}" for path in (begun / "raw").iterdir()}


def test_a_job_that_was_begun_in_another_directory_goes_on(begun, run, monkeypatch):
    before = content(begun / "out")
    (begun / "elsewhere").mkdir()
    monkeypatch.chdir(begun / "elsewhere")
    assert run("../raw") == (0, "", 0)
    assert content(begun / "out") == before
    assert run("../raw", more=["--min_aesthetic", "8"]) == (0, "", 0)


def test_moved_input_keeps_its_names_and_its_scores_and_says_so(begun, run):
    names = {row["shard"] for row in ledger(begun / "out")}
    (begun / "raw").rename(begun / "moved")
    code, err, scored = run("moved", more=["--min_aesthetic", "8"])
    assert (code, scored) == (0, 0)
    assert err == (
        "note: 3 of 3 shards have moved, first raw/00000.tar to moved/00000.tar: the ledger keeps the names, and the "
        "scores are used\n"
    )
    assert {row["shard"] for row in ledger(begun / "out")} == names
    assert run("moved", more=["--min_aesthetic", "8"]) == (0, "", 0)
    assert verify_output.main([str(begun / "out")]) == 0


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([], ["--group_by_key"], "this command says --group_by_key, the last run no --group_by_key"),
        (["--image_from", "jpg"], [], "this command says no --image_from, the last run --image_from jpg"),
        (
            ["--caption_from", "txt"],
            ["--caption_from", "json:a,txt", "--image_from", "jpg"],
            "this command says --image_from jpg --caption_from json:a,txt, "
            "the last run no --image_from --caption_from txt",
        ),
    ],
)
def test_a_flag_by_which_all_is_read_in_another_way_is_said_before_it_is_scored_again(place, run, first, second, said):
    samples = run("raw/00000.tar", more=first)[2]
    assert run("raw/00000.tar", more=first) == (0, "", 0)
    code, err, scored = run("raw/00000.tar", more=second)
    assert (code, scored) == (0, samples)
    assert err == f"note: {said}: all samples are read in another way, and scored again\n"
    assert run("raw/00000.tar", more=second) == (0, "", 0)


def test_another_policy_for_several_images_is_said_where_there_are_some(begun, run, small_jpeg):
    assert run("raw", more=["--several_images", "first"]) == (0, "", 0)
    members = [("a.jpg", b"no image"), ("a.png", b"no image"), ("b.jpg", small_jpeg)]
    (begun / "raw" / "00005.tar").write_bytes(tar_bytes(members))
    assert run("raw", more=["--several_images", "first"])[0] == 0
    code, err, scored = run("raw", more=["--several_images", "all"])
    assert (code, scored) == (0, 2)
    assert err == (
        "note: this command says --several_images all, the last run --several_images first: ranges of shards with any "
        "of the 1 sample with several images are scored again\n"
    )


def test_more_input_extends_the_job_and_leaves_what_a_fresh_run_would(place, run):
    assert run("raw/00000.tar")[0] == 0
    assert run("raw/00000.tar", "raw/00001.tar") == (0, "", 30)
    assert run("raw/00000.tar", "raw/00001.tar", output="fresh")[0] == 0
    assert content(place / "out") == content(place / "fresh")


def test_fewer_inputs_are_refused_while_they_are_there_or_leave_and_keep_their_scores(begun, run):
    before = content(begun / "out")
    code, err, _ = run("raw/*.tar")
    assert (code, len(err.splitlines())) == (2, 1)
    assert (
        f"--output {begun}/out holds a job of 3 shards (first raw/00000.tar), and --input leaves out 1 of them" in err
    )
    assert "--fewer_shards" in err
    assert "--overwrite" not in err
    assert content(begun / "out") == before
    code, err, scored = run("raw/*.tar", more=["--fewer_shards"])
    assert (code, scored) == (0, 0)
    assert err == (
        "note: 1 shard is no longer in the input, first raw/00002.tar.gz: out of the selection, scores are kept\n"
    )
    assert "raw/00002.tar.gz" not in {row["shard"] for row in ledger(begun / "out")}
    assert verify_output.main([str(begun / "out")]) == 0
    assert run("raw") == (0, "note: 1 shard is back in the input, first raw/00002.tar.gz: in the selection again\n", 0)
    assert content(begun / "out") == before


def test_other_shards_are_another_job_and_what_overwrite_costs_is_said(place, run):
    assert run("raw/00000.tar")[0] == 0
    before, parts = content(place / "out"), len(list((place / "out" / "scores").iterdir()))
    code, err, _ = run("raw/00001.tar")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "holds another job's output: none of its 1 shard (first raw/00000.tar) is among" in err
    assert f"--overwrite begins anew, and throws away the scores in {place}/out/scores ({parts} files)" in err
    assert content(place / "out") == before
    code, err, scored = run("raw/00001.tar", more=["--overwrite"])
    assert (code, scored) == (0, 30)
    assert err == f"note: --overwrite throws away the scores of 30 samples in {place}/out/scores\n"
    assert run("raw/00001.tar", output="fresh")[0] == 0
    assert content(place / "out") == content(place / "fresh")


def test_range_mb_is_that_of_the_directory_and_another_one_is_told(begun, run, curate):
    before = content(begun / "out")
    code, err, scored = run("raw", more=["--range_mb", "3"])
    assert (code, scored) == (0, 0)
    assert err == f"note: --range_mb is 0.3, with which {begun}/out was begun, not 3\n"
    assert content(begun / "out") == before
    assert curate(begun / "out", base=["--input", "raw", *TINY[:2], *TINY[-2:]])[::2] == (0, "")
    assert content(begun / "out") == before


def test_a_changed_shard_is_told_before_it_is_scored_again_also_with_its_old_size_and_times(begun, run, curate):
    tar = begun / "raw" / "00001.tar"
    times = tar.stat()
    data = bytearray(tar.read_bytes())
    data[700] ^= 1  # inside the first image
    tar.write_bytes(data)
    os.utime(tar, ns=(times.st_atime_ns, times.st_mtime_ns))
    said = "note: 1 of 3 shards has changed since the last run, first raw/00001.tar: what it holds is scored again"
    assert said in curate(begun / "out", "--dry_run", base=["--input", "raw", *TINY])[1]
    code, err, scored = run("raw")
    assert (code, err, scored) == (0, f"{said}\n", 30)
    assert run("raw") == (0, "", 0)


def test_scores_of_another_version_are_told_before_they_are_made_again(begun, run):
    job = json.loads((begun / "out" / "job.json").read_text())
    for name in ("shards", "given", "scoring_version"):  # as releases before this one wrote it
        del job[name]
    (begun / "out" / "job.json").write_text(json.dumps(job))
    for part in (begun / "out" / "scores").iterdir():
        part.write_bytes(b"of another version")
    parts = len(list((begun / "out" / "scores").iterdir()))
    code, err, scored = run("./raw")
    assert (code, scored) == (0, 88)
    assert f"({parts} files) are of another version of this software" in err
    assert "all is scored again" in err
    assert {row["shard"] for row in ledger(begun / "out")} == {f"raw/{path.name}" for path in (begun / "raw").iterdir()}


def test_an_edit_that_only_copying_notices_is_scored_again_by_the_next_run(place, run, monkeypatch):
    monkeypatch.setattr("beam_curator.sources.shard_identity.WHOLE_BYTES", 0)
    monkeypatch.setattr("beam_curator.sources.shard_identity.PIECE_BYTES", 1)
    (place / "raw" / "00002.tar.gz").unlink()
    assert run("raw", more=["--min_aesthetic", "-99", "--max_nsfw", "2"])[0] == 0
    tar = place / "raw" / "00001.tar"
    data = tar.read_bytes()
    header = tarfile.TarInfo.frombuf(data[:512], "utf-8", "strict")
    header.mtime += 1
    tar.write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + data[512:])
    selection = ["--min_aesthetic", "-99", "--max_nsfw", "2", "--samples_per_shard", "5"]
    code, err, _ = run("raw", more=selection)
    assert (code, "run the same command again to score it anew" in err) == (1, True), err
    code, err, scored = run("raw", more=selection)
    assert code == 0, err
    assert 0 < scored < 30
    assert run("raw", more=selection) == (0, "", 0)


def test_ids_are_those_of_a_copy_elsewhere_and_equal_shards_of_two_directories_have_their_own(place, run):
    shutil.copytree(place / "raw", place / "other" / "copy")
    assert run("raw/00000.tar", output="one")[0] == run("other/copy/00000.tar", output="two")[0] == 0
    one, two = ([row["sample_id"] for row in ledger(place / name)] for name in ("one", "two"))
    assert one == two
    assert all(re.fullmatch(r"00000\.tar:\d+:[0-9a-f]{8}", id) for id in one)
    duplicates = ["--duplicates", "exact"]
    assert run("raw/00000.tar", "other/copy/00000.tar", output="one", more=duplicates)[0] == 0
    rows = ledger(place / "one")
    assert {row["sample_id"] for row in rows if row["shard"] == "raw/00000.tar"} == set(one)
    assert len({row["sample_id"] for row in rows}) == len(rows) == 2 * len(one)
    assert {row["sample_id"] for row in rows if row["shard"] != "raw/00000.tar"} == {f"copy/{id}" for id in one}
    assert verify_output.main([str(place / "one")]) == 0
