"""A rule or a limit that can only be a mistake: told in one line, and the selection that stands is not touched."""

import re

import apache_beam as beam
import pytest

import beam_curator as bc
from tests.integration.integration_content import content, ledger

RULES = """
import numpy, beam_curator as bc

def no_column(row): return row["beauty"] > 3
def slip(row): return row["width"] > 3 and row["aesthetics"] > 3
def no_field(row): return row["json.widht"] > 3
def provided(row): return row.get("beauty", 3) >= 3 and int(row["sha256"], 16) >= 0
def no_return(row): row["aesthetic"] > 3
def raises(row): raise ValueError("never works")
def nan(row): return numpy.float32("nan")
def half(row): return 1 / max(0, row["width"] - 200)
def none_or_match(row): return None if row["width"] > 200 else True
def drops_all(row): return False
beauty = bc.AtLeast("beauty", 3)
percent = bc.Below("nsfw", 50)
made_wrong = lambda row: bc.AtLeast("aesthetic", float("nan"))(row)
"""


@pytest.fixture
def rules(tmp_path, monkeypatch):
    (tmp_path / "users_mistakes.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("no_return", "rule no_return gave None for each of the .* samples that came to it: is its return missing"),
        ("raises", "rule raises failed on each of .*: raised ValueError: never works"),
        ("nan", "rule nan failed on each of .*: gave nan: neither true nor false"),
        ("made_wrong", "failed on each of .*minimum=nan is not a finite number"),
    ],
)
def test_a_rule_that_never_answers_fails_the_job_and_the_standing_output_is_untouched(
    finished, curate, rules, rule, message
):
    before, manifest = content(finished), (finished / "manifest.json").read_bytes()
    code, out, err = curate(finished, "--rule", f"users_mistakes:{rule}")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert re.search(message, err), err
    assert "scores are kept: mend the rule" in err
    assert content(finished) == before
    assert (finished / "manifest.json").read_bytes() == manifest
    code, out, _ = curate(finished)
    assert (code, "scored 0 images" in out) == (0, True)
    assert content(finished) == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--max_nsfw", "nan"], "--max_nsfw: nan is not a finite number"),
        (["--min_aesthetic", "inf"], "--min_aesthetic: inf is not a finite number"),
        (["--max_aspect_ratio", "inf"], "inf is not a finite number"),
        (["--max_aspect_ratio", "nan"], "nan is not a finite number"),
        (["--max_failed_fraction", "nan"], "nan is not between 0 and 1"),
        (["--range_mb", "nan"], "nan is not a number above 0"),
        (["--min_width", "-1"], "-1 is below 0"),
        (
            ["--min_aesthetic", "50"],
            "50 would drop every sample: aesthetic values go from about 0 to 10",
        ),
        (["--max_nsfw", "50"], "--max_nsfw 50 would keep every sample: nsfw values go from 0 to 1"),
        (["--max_nsfw", "0"], "--max_nsfw 0 would drop every sample"),
        (["--min_width", "200000000"], "would drop every sample: width values go from 1 to 178,956,970"),
        (["--min_width", "100000", "--min_height", "100000"], "images of over 178,956,970 pixels fail"),
        (
            ["--rule", "users_mistakes:no_column"],
            'rule "no_column" wants a column "beauty" that the samples do not have: there are sample_id',
        ),
        (["--rule", "users_mistakes:slip"], "that the samples do not have: did you mean aesthetic?"),
        (["--rule", "users_mistakes:no_field"], "wants json.widht, which no sample has: did you mean json.width"),
        (
            ["--rule", "users_mistakes:no_field", "--carry", "none"],
            "wants json.widht, which --carry none leaves out: add it",
        ),
        (
            ["--rule", "users_mistakes:beauty"],
            'wants a column "beauty" that the samples do not have: there are sample_id',
        ),
        (["--rule", "users_mistakes:percent"], "--rule users_mistakes:percent would keep every sample"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_limit_that_can_only_be_a_mistake_is_bad_usage_before_any_work(finished, curate, rules, argv, message):
    before = content(finished)
    code, out, err = curate(finished, *argv)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
    assert content(finished) == before


@pytest.mark.parametrize("rule", ["half", "none_or_match", "provided"])
def test_a_rule_that_answers_for_some_is_no_mistake(finished, curate, rules, rule):
    assert curate(finished, "--rule", f"users_mistakes:{rule}")[0] == 0
    assert {row["status"] for row in ledger(finished)} == {"kept", "dropped", "failed"}


def test_a_selection_that_keeps_nothing_is_made_and_says_so(finished, curate, rules):
    code, out, _ = curate(finished, "--min_aesthetic", "-99", "--max_nsfw", "2", "--rule", "users_mistakes:drops_all")
    assert code == 0
    assert "NOTE: no sample is kept; most, " in out
    assert "for: drops_all" in out
    assert not list(finished.glob("*.tar"))


def test_too_many_failed_samples_leave_the_standing_output_as_it_was(finished, curate):
    before = content(finished)
    code, _, err = curate(finished, "--min_aesthetic", "8", "--max_failed_fraction", "0.01")
    assert (code, "samples failed" in err) == (1, True)
    assert content(finished) == before


def test_a_rule_that_was_edited_withdraws_the_manifest_though_the_flag_is_the_same(
    finished, curate, rules, monkeypatch
):
    import users_mistakes

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    flags = ["--rule", "users_mistakes:none_or_match"]
    assert curate(finished, *flags)[0] == 0
    monkeypatch.setattr(users_mistakes, "none_or_match", lambda row: row["width"] > 250)
    monkeypatch.setattr("beam_curator.output.output_shard._write_tar", full_disk)
    assert curate(finished, *flags)[0] == 1
    assert not (finished / "manifest.json").exists()


def test_a_job_of_the_library_keeps_what_stands_as_well(finished, raw):
    before = content(finished)
    with pytest.raises(Exception, match="rule mine gave None for each"), beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | bc.ReadSamples(str(raw), range_mb=0.5)
            | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
            | bc.ScoreAesthetic("untrained")
            | bc.ScoreNsfw("untrained")
            | bc.Select(mine)
            | bc.WriteShards(str(finished), 20)
        )
    selection = {name for name in before if not name.startswith("scores/")}
    after = content(finished)
    assert {name: after[name] for name in selection} == {name: before[name] for name in selection}


def mine(row):
    row["aesthetic"] > 3  # noqa: B015
