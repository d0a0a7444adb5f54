"""The job as Beam YAML: the example, and rows for the transforms that Beam YAML brings."""

import json
import pathlib

import apache_beam as beam
import pytest
import yaml
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

import beam_curator as bc
from beam_curator.commands import verify_output
from tests.integration.integration_content import ledger

pytest.importorskip("jsonschema", reason="the extra `yaml` is not installed")
from apache_beam.yaml import main as yaml_main
from apache_beam.yaml.yaml_transform import expand_pipeline

ROOT = pathlib.Path(__file__).parents[2]
PROVIDER = ROOT / "beam_curator" / "transforms" / "beam_curator_provider.yaml"


def test_the_example_is_the_job(raw, tmp_path):
    variables = {"input": f"{raw}/*.tar", "output": str(tmp_path / "out")}
    yaml_main.run(
        [f"--yaml_pipeline_file={ROOT / 'examples' / 'curate.yaml'}", f"--jinja_variables={json.dumps(variables)}"]
    )
    rows = ledger(tmp_path / "out")
    assert {"kept", "dropped", "failed"} == {row["status"] for row in rows}
    reasons = {row["reason"] for row in rows if row["status"] == "dropped"}
    assert reasons <= {"width outside 64..4096", "aspect_ratio > 3", "aesthetic < 5", "nsfw >= 0.6"}
    assert len(reasons) > 1
    assert verify_output.main([str(tmp_path / "out")]) == 0


def run(*transforms):
    spec = {
        "pipeline": {"type": "chain", "transforms": list(transforms)},
        "providers": [{"include": str(PROVIDER)}],
    }
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        expand_pipeline(pipeline, yaml.safe_dump(spec))


def scored(raw):
    return [
        {"type": "ReadSamples", "config": {"patterns": f"{raw}/*.tar"}},
        {"type": "EmbedImages", "config": {"model": "tiny-untrained", "batch_size": 8}},
        {"type": "ScoreAesthetic", "config": {"weights": "untrained"}},
    ]


def test_rows_go_on_to_what_beam_yaml_brings(raw, finished_once, tmp_path):
    run(
        *scored(raw),
        {"type": "ExplodeSamples"},
        {"type": "Filter", "config": {"language": "python", "keep": "width is not None and width > 100"}},
        {"type": "MapToFields", "config": {"fields": {"key": "key", "score": "aesthetic", "side": "width"}}},
        {"type": "WriteToJson", "config": {"path": str(tmp_path / "wide")}},
    )
    lines = [json.loads(line) for path in tmp_path.glob("wide*") for line in path.read_text().splitlines()]
    wide = {(row["key"], row["width"]) for row in ledger(finished_once) if row["width"] and row["width"] > 100}
    assert {(line["key"], line["side"]) for line in lines} == wide
    assert all(0 < line["score"] < 11 for line in lines)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"type": "Select", "config": {"rules": ["aesthetic > 5"]}}, "there is no > for a column"),
        ({"type": "Select", "config": {"rules": [5]}}, "5 is not text such as aesthetic >= 5"),
        ({"type": "KeepTop", "config": {"top": 0.3}}, "KeepTop(0.3): write 'COLUMN=FRACTION' or 'N COLUMN'"),
        ({"type": "EmbedImages", "config": {"model": "no-such-model"}}, "no-such-model"),
        ({"type": "WriteShards", "config": {"output": "o", "samples_per_shard": 0}}, "samples_per_shard=0"),
    ],
)
def test_what_is_wrong_in_it_is_said_with_its_step(raw, step, message):
    with pytest.raises(ValueError, match="Invalid transform specification") as caught:
        run(*scored(raw), step)
    assert message in str(caught.value)


def test_captions_and_the_best_are_chosen_by_names_too(raw, tmp_path):
    output = str(tmp_path / "out")
    embedded = [{"type": "ReadSamples", "config": {"patterns": f"{raw}/*.tar"}}]
    for step in ("EmbedImages", "ScoreSimilarity"):
        embedded.append({"type": step, "config": {"model": "tiny-untrained"}})
    run(
        *embedded,
        {"type": "KeepTop", "config": {"top": ["similarity=0.5", "3 width"], "output": output}},
        {"type": "WriteShards", "config": {"output": output}},
    )
    kept = [row["similarity"] for row in ledger(tmp_path / "out") if row["status"] == "kept"]
    assert len(kept) >= 3
    assert None not in kept


def test_rows_have_a_schema(raw):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        samples = (
            pipeline
            | bc.ReadSamples(f"{raw}/*.tar")
            | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
            | bc.ScoreNsfw("untrained")
            | bc.ExplodeSamples(as_rows=True)
        )
        names = [name for name, _ in samples.element_type._fields]
        assert {"key", "status", "width", "caption", "nsfw"} <= set(names)
        assert "embedding" not in names
        groups = samples | beam.Filter(is_scored) | beam.GroupBy("status").aggregate_field("nsfw", max, "most")
        groups | beam.combiners.ToList() | beam.Map(check_groups)


def is_scored(row):
    return row.nsfw is not None


def check_groups(groups):
    (group,) = groups
    assert group.status == "kept"
    assert 0 < group.most < 1
