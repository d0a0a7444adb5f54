"""Several selections of one scoring, each in a directory of its own, without a copy of the scores."""

import json
import os
import shutil

import pytest

from beam_curator.commands import verify_output
from beam_curator.errors import UsageError
from beam_curator.output import lease, owner, scores_from
from beam_curator.output.job_file import Job
from beam_curator.storage import files
from tests.integration.integration_content import content, ledger

_OTHER = ["--min_aesthetic", "4", "--max_nsfw", "none", "--where", "json.width >= 100", "--keep_top", "aesthetic=0.8"]
_OF_ONE = ("scores/", "columns/", "fields/", "edges/", "job.json", "manifest.json", "report.")


def selected(directory):
    """Gives what a selection made: shards, ledger, plans; and what its manifest says of it."""
    files = {name: told for name, told in content(directory).items() if not name.startswith(_OF_ONE)}
    manifest = json.loads((directory / "manifest.json").read_text())
    return files, manifest["counts"], manifest["rules"], manifest["models"]


def test_another_selection_takes_the_scores_where_they_are(finished, curate, tmp_path, capsys):
    one, new = content(finished), tmp_path / "new"
    code, told, err = curate(new, "--scores_from", str(finished), *_OTHER, "--duplicates", "exact,perceptual,semantic")
    assert (code, err, "scored 0 images" in told) == (0, "", True)
    assert content(finished) == one
    assert not any((new / name).exists() for name in ("scores", "columns", "fields"))
    assert verify_output.main([str(new)]) == 0

    code, told, _ = curate(new, "--scores_from", str(finished), *_OTHER, "--max_caption_repeats", "2", "--preview")
    assert (code, "caption_repeats > 2" in told, "beside the selection that stands" in told) == (0, True, True)
    before = {row["sample_id"] for row in ledger(new) if row["status"] == "kept"}
    assert curate(new, "--scores_from", os.path.relpath(finished), *_OTHER)[0] == 0
    assert before < {row["sample_id"] for row in ledger(new) if row["status"] == "kept"}
    code, told, _ = curate(tmp_path / "third", "--against", str(new), "--duplicates", "semantic", *_OTHER)
    assert (code, "duplicate: semantic" in told) == (0, True)

    assert curate(finished, *_OTHER)[0] == 0
    assert selected(new) == selected(finished)
    within = shutil.copytree(new, finished / "within")  # as earlier releases allowed
    assert curate(within, "--scores_from", str(finished), *_OTHER)[0] == 0

    code, _, err = curate(new, *_OTHER)
    assert (code, f"has no scores of its own: give --scores_from {finished} again" in err) == (2, True)
    code, _, err = curate(tmp_path / "fourth", "--scores_from", str(new), *_OTHER)
    assert (code, f"has no scores of its own: give --scores_from {finished}" in err) == (2, True)
    capsys.readouterr()
    shutil.rmtree(finished)
    assert verify_output.main([str(new)]) == 2
    assert f"has its scores in {finished}, where there is no job any more" in capsys.readouterr().err
    code, _, err = curate(new, "--scores_from", str(finished), *_OTHER)
    assert (code, len(err.splitlines()), "holds no finished job" in err) == (2, 1, True)


def test_scores_that_are_not_those_that_are_needed_are_refused(finished, curate, raw, tmp_path, monkeypatch):
    more = shutil.copy(raw / "00000.tar", tmp_path / "more.tar")
    new = tmp_path / "new"
    for asked, output, told in (
        ([], finished, "is the output itself: leave it out"),
        ([], finished / "small", f"lies in {finished}, the output of another job: give a directory beside it"),
        (["--input", str(more)], new, "has no scores of 1 of the 4 shards of --input, first "),
        (["--clip_model", "ViT-B-32"], new, ""),
        (["--image_measures"], new, "has no image_measures (image measures "),
        (
            ["--preset", "datacomp-clip-l14-30"],
            new,
            "has no similarity (similarity (tiny-untrained), precision auto, untrained",
        ),
        (["--similarity", "--preview"], new, "run its own command with what asks for that first"),
        (["--similarity", "--dry_run"], new, "run its own command with what asks for that first"),
        (["--prompt", "a=x|y"], new, "has no a (prompt a: x | y"),
        (["--group_by_key"], new, "its job read samples with no --group_by_key, this command says --group_by_key"),
        (["--caption_from", "json:caption"], new, "this command says --caption_from json:caption: give its flags"),
        (["--where", "similarity > 0.3"], new, "--similarity gives it"),
        (["--keep_best", "5", "no_such"], new, '--keep_best 5 no_such wants a column "no_such"'),
    ):
        code, _, err = curate(output, "--scores_from", str(finished), *asked)
        assert (code, len(err.splitlines()), told in err) == (2, 1, True), err
    assert not new.exists()
    code, _, err = curate(finished / "samples" / "own")
    assert (code, f"lies in {finished}, the output of another job" in err) == (2, True), err
    with monkeypatch.context() as bucket:
        bucket.setattr(scores_from, "read_job", lambda _: Job([], 1.0))
        bucket.setattr(scores_from, "read_manifest", lambda _: {})
        bucket.setattr(lease, "read", lambda _: None)
        bucket.setattr(files, "exists", lambda _: False)
        with pytest.raises(UsageError, match="--output gs://b/out/small lies in --scores_from gs://b/out: give"):
            scores_from.scoring_job("gs://b/out", "gs://b/out/small")
    with lease.held(lease.Claim(str(finished), "theirs", owner.this_process())):
        code, _, err = curate(new, "--scores_from", str(finished))
        assert (code, "is being written: " in err) == (2, True)
    (finished / "manifest.json").unlink()
    code, _, err = curate(new, "--scores_from", str(finished))
    assert (code, "holds no finished job (manifest.json is written last)" in err) == (2, True)


def test_columns_of_an_earlier_run_and_other_fields_are_found(finished, curate, tmp_path):
    assert curate(finished, "--caption_measures", "--carry", "url,width")[0] == 0
    assert curate(finished, "--carry", "url")[0] == 0
    new = tmp_path / "new"
    code, told, err = curate(new, "--scores_from", str(finished), "--caption_measures", "--carry", "url,nothere")
    assert (code, err, "NOTE: --carry nothere: no sample has such a field" in told) == (0, "", True)
    for part in sorted((finished / "columns" / "caption_measures").iterdir())[-1:]:
        part.unlink()
    code, _, err = curate(new, "--scores_from", str(finished), "--caption_measures")
    assert (code, len(err.splitlines()), "has no caption_measures (" in err) == (2, 1, True)


def test_a_directory_with_scores_keeps_to_them(finished, curate, tmp_path):
    other = shutil.copytree(finished, tmp_path / "other")
    code, _, err = curate(finished, "--scores_from", str(other))
    assert (code, "has scores of its own: leave --scores_from out" in err) == (2, True)


def test_a_job_that_fails_says_whose_scores_are_kept(finished, curate, tmp_path, monkeypatch):
    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("beam_curator.output.output_shard._write_tar", full_disk)
    code, _, err = curate(tmp_path / "new", "--scores_from", str(finished))
    assert (code, f"No space left on device; what is scored is kept in {finished}: run" in err) == (1, True), err
