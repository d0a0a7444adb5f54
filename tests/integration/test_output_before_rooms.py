"""An output directory that an earlier release made, whose models were told in words, goes on with its scores."""

import json
import pathlib
import shutil

import pyarrow.parquet as pq
import pytest

from beam_curator import rows
from beam_curator.commands import curate_images, verify_output, write_report
from tests.integration.integration_content import content

MADE_BEFORE = pathlib.Path(__file__).resolve().parents[1] / "data" / "output_before_rooms"
FLAGS = [
    *("--input", "raw/*.tar", "--output", "out", "--clip_model", "tiny-untrained", "--range_mb", "0.008"),
    *("--aesthetic_model", "untrained", "--nsfw_model", "untrained", "--samples_per_shard", "4"),
    *("--min_aesthetic", "0.1", "--max_nsfw", "1", "--min_width", "44", "--report", "false"),
]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A copy of the old directory and its input, elsewhere and with new times of change, as the working directory."""
    shutil.copytree(MADE_BEFORE, tmp_path / "job", copy_function=shutil.copyfile)
    monkeypatch.chdir(tmp_path / "job")
    return tmp_path / "job"


def without_versions(directory):
    """Gives what stands there; of the manifest and job.json what versions and places of this machine do not change."""
    found = content(directory)
    for name in ("manifest.json", "job.json"):
        found.pop(name)
    manifest = json.loads((directory / "manifest.json").read_text())
    return found, {key: value for key, value in manifest.items() if key not in ("software", "timings")}


def scores(directory):
    return {name: digest for name, digest in content(directory).items() if name.startswith(("scores/", "plans/"))}


def ledger_of(directory):
    """The ledger, told without the order of its columns, and without ids, which that release made otherwise."""
    tables = [pq.read_table(path) for path in sorted((directory / "samples").glob("*.parquet"))]
    named = [[name for name in table.schema.names if name not in ("uid", "sample_id")] for table in tables]
    return [row for table, names in zip(tables, named, strict=True) for row in table.select(names).to_pylist()]


def test_it_resumes_scores_nothing_and_selects_the_same(job, capsys):
    before, rows_before = scores(job / "out"), ledger_of(job / "out")
    assert curate_images.main(FLAGS) == 0
    said = capsys.readouterr()
    assert "scored 0 images (11 had been scored before)" in said.out
    assert "scored again" not in said.err
    assert "--carry none spares that" in said.err
    assert "computed" not in said.err
    assert scores(job / "out") == before
    assert ledger_of(job / "out") == rows_before
    assert verify_output.main(["out"]) == 0
    assert not (job / "out" / "columns").exists()


def test_what_it_is_told_of_its_models_is_what_a_new_job_tells(job):
    assert curate_images.main(FLAGS) == 0
    assert curate_images.main([*FLAGS, "--output", "new"]) == 0
    models = [json.loads((job / name / "manifest.json").read_text())["models"] for name in ("out", "new")]
    assert models[0]["embedding"].pop("precision") == "auto"  # which one, such a release did not say
    assert models[1]["embedding"].pop("precision") in ("fp32", "bf16")
    assert models[0] == models[1]


def test_another_head_is_computed_from_its_embeddings(job, capsys, shared):
    v2 = ["--aesthetic_model", "v2", "--model_dir", str(shared / "models"), "--accept_other_encoder"]
    before = scores(job / "out")
    assert curate_images.main([*FLAGS, *v2]) == 0
    said = capsys.readouterr()
    assert "computed from the stored embeddings; no image is read" in said.err
    assert "scored 0 images (11 had been scored before)" in said.out
    assert scores(job / "out") == before
    assert verify_output.main(["out"]) == 0


def test_what_is_missing_of_it_is_written_again_bit_for_bit(job, capsys):
    assert curate_images.main(FLAGS) == 0
    capsys.readouterr()
    before = without_versions(job / "out")
    for name in ("00001.tar", "00000_stats.json", "samples/a-9619d3a830-00001.parquet"):
        (job / "out" / name).unlink()
    assert curate_images.main(FLAGS) == 0
    assert "scored 0 images (11 had been scored before)" in capsys.readouterr().out
    assert without_versions(job / "out") == before


def test_what_its_scores_do_not_have_is_told_before_any_work(job, capsys):
    before = content(job / "out")
    (job / "texture_rule.py").write_text("def smooth(row): return row['width'] > 3 and row['texture'] < 9\n")
    for flags, told in (
        (
            ["--where", "texture < 9"],
            'condition "texture < 9" wants a column "texture" that scores of an earlier release',
        ),
        (
            ["--keep_top", "texture=0.5"],
            '--keep_top or --keep_best of texture wants a column "texture" that scores of an earlier release',
        ),
        (["--rule", "texture_rule:smooth"], 'rule "smooth" wants a column "texture" that scores of an earlier release'),
        (["--output", "new", "--scores_from", "out"], "first, or go without fields: --carry none"),
    ):
        code, err = curate_images.main([*FLAGS, *flags]), capsys.readouterr().err
        assert (code, len(err.splitlines()), told in err) == (2, 1, True), err
    assert (content(job / "out"), (job / "new").exists()) == (before, False)
    assert curate_images.main([*FLAGS, "--output", "new", "--scores_from", "out", "--carry", "none"]) == 0


def test_a_shard_that_joins_it_has_the_facts_of_today_and_the_rest_stays_without(job, capsys):
    before = ledger_of(job / "out")
    shutil.copy(job / "raw" / "b.tar", job / "raw" / "c.tar")
    assert curate_images.main([*FLAGS, "--samples_per_shard", "5"]) == 0
    assert verify_output.main(["out"]) == 0, capsys.readouterr().out
    columns = {path.name[0]: pq.read_schema(path).names for path in (job / "out" / "samples").glob("*.parquet")}
    facts = ["phash", *rows.OPTIONAL_FACTS.names, "caption"]
    assert [name for name in columns["c"] if name in facts] == facts
    assert [name for name in columns["b"] if name in facts] == ["phash", "caption"]
    told = [row for path in (job / "out" / "samples").glob("c-*") for row in pq.read_table(path).to_pylist()]
    assert all((row["width"] is None) == (row["phash256"] is None) == (row["texture"] is None) for row in told)
    places = ("output_shard", "output_key")
    without = [{key: row[key] for key in row if key not in places} for row in before]
    assert [{key: row[key] for key in without[0]} for row in ledger_of(job / "out")[: len(before)]] == without
    beside = [pq.read_table(path) for path in sorted((job / "out").glob("0*.parquet"))]
    assert any(
        table["texture"].null_count not in (0, len(table)) for table in beside if "texture" in table.schema.names
    )
    assert "texture" not in beside[0].schema.names


def test_a_fact_that_only_ledger_or_part_has_is_a_difference(job, capsys):
    shutil.copy(job / "raw" / "b.tar", job / "raw" / "c.tar")
    assert curate_images.main(FLAGS) == 0
    joined, old = (next((job / "out" / "samples").glob(f"{name}-*00000.parquet")) for name in "cb")
    whole = pq.read_table(joined)
    pq.write_table(whole.drop_columns(["texture"]), joined)
    assert verify_output.main(["out"]) == 1
    assert "has no column texture, which scores/c-" in capsys.readouterr().out
    table = pq.read_table(old)
    pq.write_table(whole, joined)
    pq.write_table(rows.with_column(table, "texture", [9] * len(table)), old)
    assert verify_output.main(["out"]) == 1
    assert "has a column texture, which scores/b-" in capsys.readouterr().out


def test_it_has_a_report_before_it_is_run_again(job, capsys):
    assert write_report.main(["out"]) == 0, capsys.readouterr().err
    figures = json.loads((job / "out" / "report.json").read_text())
    assert "untrained" in json.dumps(figures)
