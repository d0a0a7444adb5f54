"""The whole job from Python: `bc.curate` does what the command does."""

import dataclasses
import glob
import pathlib

import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

import beam_curator as bc
from beam_curator.commands import progress_line
from beam_curator.errors import JobError, UsageError
from tests.integration.integration_content import ledger


@pytest.fixture
def keywords(raw):
    """The flags of the finished job as keywords."""
    return {
        "input": raw,
        "clip_model": "tiny-untrained",
        "min_width": 64,
        "samples_per_shard": 20,
        "range_mb": 0.5,
        "report": False,
    }


@pytest.fixture
def often(monkeypatch):
    """Progress is shown so often that there is some of a short job."""
    monkeypatch.setattr(progress_line, "LOG_EVERY_SECONDS", 0.01)


def content(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in pathlib.Path(directory).rglob("*")
        if path.is_file() and path.name not in ("manifest.json", "job.json", "report.html", "report.json")
    }


def test_it_writes_the_same_bytes_as_the_command_and_says_nothing(
    keywords, finished_once, tmp_path, often, capfd, caplog
):
    result = bc.curate(output=tmp_path / "out", **keywords)
    said = capfd.readouterr()
    assert (said.out, said.err, caplog.records) == ("", "", [])
    assert content(tmp_path / "out") == content(finished_once)
    rows = ledger(tmp_path / "out")
    assert result.seen == len(rows) == result.kept + result.dropped + result.failed
    for status in ("kept", "dropped", "failed"):
        assert getattr(result, status) == sum(row["status"] == status for row in rows) > 0
    assert (result.scored, result.reused) == (len(rows), 0)
    assert sum(result.dropped_by_rule.values()) == result.dropped
    assert sum(result.failed_by_reason.values()) == result.failed
    assert pathlib.Path(result.manifest).exists()
    assert sorted(glob.glob(result.ledger)) == sorted(map(str, (tmp_path / "out" / "samples").iterdir()))  # noqa: PTH207
    assert list(result.shards) == sorted(map(str, (tmp_path / "out").glob("*.tar")))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.kept = 0


def test_what_the_command_wrote_is_selected_anew_with_a_rule_of_ones_own(keywords, finished):
    widest = 250
    result = bc.curate(
        output=str(finished),
        rules=[lambda row: row["width"] <= widest, "height >= 70"],
        **keywords,
    )
    assert (result.scored, result.reused) == (0, result.seen)
    assert any(name.startswith("lambda in test_calling.py") for name in result.dropped_by_rule)
    kept = [row for row in ledger(finished) if row["status"] == "kept"]
    assert len(kept) == result.kept > 0
    assert all(row["width"] <= widest and row["height"] >= 70 for row in kept)


def test_without_thresholds_no_score_decides_and_scores_are_written(keywords, finished):
    result = bc.curate(output=str(finished), min_aesthetic=None, max_nsfw=None, **keywords)
    assert list(result.dropped_by_rule) == ["width < 64"]
    kept = [row for row in ledger(finished) if row["status"] == "kept"]
    assert min(row["aesthetic"] for row in kept) < 5
    assert max(row["nsfw"] for row in kept) >= 0.5


def test_beams_options_and_runner_are_beams(keywords, finished_once, tmp_path):
    options = PipelineOptions(["--direct_num_workers=2", "--direct_running_mode=multi_threading"])
    bc.curate(output=tmp_path / "out", pipeline_options=options, runner="DirectRunner", **keywords)
    assert content(tmp_path / "out") == content(finished_once)
    assert options.view_as(DirectOptions).direct_num_workers == 2
    assert "output" not in options.get_all_options(drop_default=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_aesthetics": 5}, "unknown argument min_aesthetics: did you mean min_aesthetic?"),
        ({"direct_num_workers": 2}, "unknown argument direct_num_workers: Beam's options go to pipeline_options"),
        ({"min_aesthetic": "much"}, "min_aesthetic='much': 'much' is not a number"),
        ({"min_aesthetic": float("nan")}, "min_aesthetic=nan: nan is not a finite number"),
        ({"max_nsfw": [0.5]}, "max_nsfw=[0.5]: takes one value"),
        (
            {"model_dir": object},
            "model_dir=<class 'object'>: takes a text, a number or a path; an object of yours is named",
        ),
        ({"encoder": "ViT-L-14"}, "encoder='ViT-L-14': clip_model is the same argument: give one of them"),
        ({"samples_per_shard": 2.5}, "samples_per_shard=2.5: '2.5' is not a whole number"),
        ({"overwrite": 1}, "overwrite=1: 1 is neither true nor false"),
        ({"scores_from": ""}, "scores_from='': its value is empty"),
        ({"where": ["width > 1", ""]}, "where=['width > 1', '']: its value is empty"),
        ({"caption_from": []}, "caption_from=[]: its value is empty"),
        ({"several_images": "both"}, "several_images='both': invalid choice: 'both'"),
        ({"dry_run": True}, "dry_run: the command alone prints a plan"),
        ({"no_wait": True}, "no_wait: curate() gives what the job gave"),
        ({"min_aesthetic": 11}, "--min_aesthetic 11"),
        ({"encoder": 5, "clip_model": None}, "builtins.int is no encoder: its name is to be a str"),
        ({"scorers": [5]}, "scorers[0]: is no Scorer: it has no name"),
        ({"scorers": "my_scorers:Warmth"}, "scorers: give a list of scorers"),
        ({"scorers": None}, "scorers: give a list of scorers"),
        ({"rules": [5]}, "rules[0]=5 is not a rule"),
        ({"rules": ["my_rules:short"]}, 'rule "my_rules:short": write COLUMN >= NUMBER'),
        ({"rules": "my_rules:short"}, "rules: give a list of rules"),
        ({"rules": [bc.AtLeast("colour", 1)]}, 'rule "colour < 1" wants a column "colour"'),
        ({"input": "/nowhere/*.tar"}, "/nowhere/*.tar"),
        ({"runner": "NoSuchRunner"}, "--runner NoSuchRunner"),
        ({"pipeline_options": {"runner": "x"}}, "give an apache_beam.options.pipeline_options.PipelineOptions"),
        ({"pipeline_options": PipelineOptions(["--output=x"])}, "pipeline_options: output is an argument of curate()"),
        (
            {"pipeline_options": PipelineOptions(["--runner=DataflowRunner", "--template_location=gs://b/t"])},
            "template_location: curate() gives what the job gave",
        ),
    ],
)
def test_what_is_wrong_is_one_line_before_any_work(keywords, tmp_path, given, message):
    with pytest.raises(UsageError) as caught:
        bc.curate(**{**keywords, "output": tmp_path / "out", **given})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_job_that_fails_is_an_error_of_ours_and_can_be_resumed(keywords, tmp_path):
    with pytest.raises(JobError, match="over --max_failed_fraction 0"):
        bc.curate(output=tmp_path / "out", max_failed_fraction=0, **keywords)
    result = bc.curate(output=tmp_path / "out", max_failed_fraction=None, **keywords)
    assert (result.scored, result.reused) == (0, result.seen)


def test_progress_is_shown_when_asked_for(keywords, tmp_path, often, capfd):
    bc.curate(output=tmp_path / "out", show_progress=True, **keywords)
    assert "images/s" in capfd.readouterr().err
