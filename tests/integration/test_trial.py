"""A trial before the run: its scores are kept, and the job afterwards gives what it gives without one."""

import json

from tests.integration.integration_content import content


def test_a_trial_is_told_and_its_scores_are_kept(finished, curate, tmp_path):
    out = tmp_path / "new"
    code, told, err = curate(out, "--dry_run", "--trial", "20", "--price_per_hour", "2")
    assert (code, err) == (0, "")
    parts = len(list((out / "scores").glob("*.parquet")))
    assert parts >= 1
    assert not (out / "samples").exists()
    assert f"{parts} of them scored already" in told
    assert "images/s a worker: a trial of" in told
    assert "at the given price" in told
    assert "Trial: " in told.splitlines()[0]
    before = {path.name: path.stat().st_mtime_ns for path in (out / "scores").iterdir()}
    code, told, _ = curate(out)
    assert code == 0
    assert "had been scored before" in told
    assert {name: (out / "scores" / name).stat().st_mtime_ns for name in before} == before
    assert content(out) == content(finished)
    code, told, _ = curate(out, "--dry_run", "--trial", "20", "--json")
    assert code == 0
    assert (json.loads(told)["left"]["ranges"], json.loads(told)["points"]) == (0, [])


def test_a_dry_run_of_a_job_that_overwrites_counts_nothing_as_scored(finished, curate):
    parts = len(list((finished / "scores").glob("*.parquet")))
    code, told, err = curate(finished, "--dry_run", "--overwrite", "--json")
    assert (code, err) == (0, "")
    assert (json.loads(told)["left"]["ranges"], json.loads(told)["left"]["scored"]) == (parts, 0)


def test_a_trial_that_could_tell_nothing_is_refused(finished, curate, tmp_path):
    for more, why in (
        (["--scores_from", str(finished)], "with --scores_from nothing is scored that could be tried"),
        (["--direct_running_mode", "multi_processing"], "leave --runner and --direct_running_mode out"),
    ):
        code, _, err = curate(tmp_path / "new", "--dry_run", "--trial", "20", *more)
        assert code == 2
        assert why in err
        assert not (tmp_path / "new" / "scores").exists()


def test_a_trial_never_touches_a_finished_output(finished, curate):
    min((finished / "scores").iterdir()).unlink()  # something is left to score
    before = content(finished)
    stays = "holds a finished job, which stays as it is: leave --trial out, and its last run says how fast it is"
    for more, why in (([], stays), (["--overwrite"], "leave one of them out")):
        code, _, err = curate(finished, "--dry_run", "--trial", "20", *more)
        assert code == 2
        assert why in err
    assert content(finished) == before
    manifest = json.loads((finished / "manifest.json").read_text())
    manifest["timings"]["phases"] = [one for one in manifest["timings"]["phases"] if one["phase"] != "scoring"]
    (finished / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = curate(finished, "--dry_run", "--trial", "20")
    assert (code, "its last run scored too few images to say how fast it is" in err) == (2, True)


def test_a_trial_of_what_is_scored_leaves_a_finished_output_as_it_is(finished, curate):
    before = (finished / "job.json").read_bytes()
    code, told, _ = curate(finished, "--dry_run", "--trial", "20", "--nsfw_model", "none")
    assert (code, "nothing is written" in told) == (0, True)
    assert (finished / "job.json").read_bytes() == before
