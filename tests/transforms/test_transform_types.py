"""What Beam's users count on of each transform: its types are checked, it shows what it does, and it has a hash."""

import apache_beam as beam
import pytest
from apache_beam.io.filesystem import FileMetadata
from apache_beam.options.pipeline_options import PipelineOptions, TypeOptions
from apache_beam.transforms.display import DisplayData
from apache_beam.typehints.decorators import TypeCheckError

import beam_curator as bc
from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.heads import UNTRAINED_HEAD, HeadScorer
from beam_curator.reading import Reading
from beam_curator.samples import Sample
from beam_curator.transforms.checkpointing import Checkpoint, WriteScores
from beam_curator.transforms.planning import MatchShards, PlanRanges, ShardsOfFiles
from beam_curator.transforms.reading import ReadRanges, ReadSamples
from beam_curator.transforms.scoring import EncoderUnavailable, ScoreRanges

ALL_REQUIRED = ["--type_check_strictness", "ALL_REQUIRED"]


def handler():
    return bc.ClipModelHandler("tiny-untrained", device="cpu")


def scoring():
    return ScoreRanges(handler(), bc.ScoreAesthetic("untrained"))


def brightness():
    return bc.Score(HeadScorer("brightness", list, ModelIdentity("brightness 1"), source="heads/brightness.npz"))


STEPS = {
    "PlanRanges": PlanRanges,
    "ReadRanges": ReadRanges,
    "ReadSamples": ReadSamples,
    "ShardsOfFiles": ShardsOfFiles,
    "EmbedImages": lambda: bc.EmbedImages(handler()),
    "Score brightness": brightness,
    "Score aesthetic": lambda: bc.ScoreAesthetic("untrained"),
    "Score nsfw": lambda: bc.ScoreNsfw("untrained"),
    "ScoreRanges": scoring,
    "EncoderUnavailable": lambda: EncoderUnavailable(ModelIdentity("tiny"), "gone"),
    "Checkpoint": lambda: Checkpoint("out", scoring()),
    "WriteScores": lambda: WriteScores("out"),
    "Select": lambda: bc.Select(bc.AtLeast("aesthetic", 5)),
    "KeepTop": lambda: bc.KeepTop("aesthetic=0.5"),
    "DropDuplicates": lambda: bc.DropDuplicates("out"),
    "FindDuplicates": bc.FindDuplicates,
    "WriteShards": lambda: bc.WriteShards("out"),
    "ExplodeSamples": bc.ExplodeSamples,
    "BatchSamples": bc.BatchSamples,
}


@pytest.mark.parametrize("flags", [[], ALL_REQUIRED], ids=["by default", "ALL_REQUIRED"])
@pytest.mark.parametrize("name", STEPS)
def test_what_a_step_does_not_take_is_refused_when_the_pipeline_is_built(name, flags):
    pipeline = beam.Pipeline(options=PipelineOptions(flags))
    with pytest.raises(TypeCheckError, match=f"Input type hint violation at {name}: expected .*, got <class 'int'>"):
        pipeline | beam.Create([1]).with_output_types(int) | STEPS[name]()


def test_what_the_next_step_does_not_take_is_refused():
    samples = beam.Pipeline() | ReadSamples("a.tar")
    with pytest.raises(TypeCheckError, match=r"expected <class 'beam_curator.samples.Sample'>"):
        samples | bc.BatchSamples()
    with pytest.raises(TypeCheckError, match=r"applied to a PCollection of type .*SampleBatch"):
        samples | "Length" >> beam.Map(len).with_input_types(str)


def untyped(pipeline):
    """The full labels of the steps whose output has no type of its own."""
    found, due = [], [pipeline._root_transform()]
    while due:
        step = due.pop()
        due += step.parts
        found += [step.full_label for output in step.outputs.values() if str(output.element_type) == "Any"]
    return found


@pytest.mark.slow
def test_a_whole_job_builds_where_beam_requires_all_types(tmp_path):
    pipeline = beam.Pipeline(options=PipelineOptions(ALL_REQUIRED))
    batches = (
        pipeline
        | bc.MatchShards("a.tar")
        | bc.ReadSamples()
        | bc.EmbedImages(handler())
        | bc.ScoreAesthetic("untrained")
        | bc.ScoreNsfw("untrained")
        | bc.ExplodeSamples()
        | bc.BatchSamples()
        | bc.Select(bc.AtLeast("aesthetic", 5))
        | bc.DropDuplicates(str(tmp_path / "library"))
    )
    vectors = pipeline | beam.Create([("a", [1.0])]).with_output_types(tuple[str, list[float]])
    ranks = pipeline | "Ranks" >> beam.Create([("a", 1)]).with_output_types(tuple[str, int])
    ranks | bc.KeepOne(vectors | bc.FindDuplicates())
    written = batches | bc.WriteShards(str(tmp_path / "library"))
    assert str(written.element_type) == "Dict[<class 'str'>, Any]"
    ranges = pipeline | "Again" >> bc.MatchShards("a.tar") | PlanRanges(64, str(tmp_path / "job"))
    ranges | Checkpoint(str(tmp_path / "job"), scoring()) | "Write" >> bc.WriteShards(str(tmp_path / "job"))
    assert pipeline.options.view_as(TypeOptions).type_check_strictness == "ALL_REQUIRED"
    assert untyped(pipeline) == []


def test_files_that_beam_matched_are_read_where_beam_requires_all_types():
    pipeline = beam.Pipeline(options=PipelineOptions(ALL_REQUIRED))
    found = pipeline | beam.Create([FileMetadata("a.tar", 3)]).with_output_types(FileMetadata)
    assert (found | bc.ReadSamples()).element_type is bc.SampleBatch


@pytest.mark.parametrize("name", [*STEPS, "MatchShards"])
def test_transforms_hash(name):
    make = {**STEPS, "MatchShards": lambda: MatchShards("a.tar")}[name]
    one, another = make(), make()
    assert {one: 1, another: 2}[one] == 1


def shown(transform):
    return {item.key: item.value for item in DisplayData.create_from(transform).items}


UNTRAINED = str(UNTRAINED_HEAD)
ENCODER = str(handler().identity)


@pytest.mark.parametrize(
    ("transform", "wanted"),
    [
        (MatchShards(["a.tar", "b"]), {"patterns": "a.tar, b", "allow_missing": False}),
        (PlanRanges(2, "out"), {"range_mb": 2, "plans": "out", "group_by_key": False, "several_images": "fail"}),
        (PlanRanges(reading=Reading(image_from=("jpg", "png"))), {"image_from": "jpg, png"}),
        (ReadSamples("a.tar", 2, caption_from="txt"), {"patterns": "a.tar", "range_mb": 2, "caption_from": "txt"}),
        (
            bc.EmbedImages(handler()),
            {"embedding model": ENCODER, "batch_size": "auto", "device": "cpu", "precision": "auto"},
        ),
        (brightness(), {"brightness model": "brightness 1", "source": "heads/brightness.npz"}),
        (bc.ScoreAesthetic("untrained"), {"columns": "aesthetic", "aesthetic model": UNTRAINED}),
        (scoring(), {"embedding model": ENCODER, "aesthetic model": UNTRAINED}),
        (Checkpoint("out", scoring()), {"output": "out", "embedding model": ENCODER, "aesthetic model": UNTRAINED}),
        (WriteScores("out"), {"output": "out"}),
        (bc.Select(bc.AtLeast("aesthetic", 5), len), {"drops 1": "aesthetic < 5", "drops 2": "len"}),
        (bc.WriteShards("out", 7), {"output": "out", "samples_per_shard": 7, "max_failed_fraction": 1.0}),
        (bc.BatchSamples(9), {"max_samples": 9}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_transform_shows_what_it_does(transform, wanted):
    assert shown(transform).items() >= wanted.items()


def test_what_a_transform_shows_reaches_the_runner():
    pipeline = beam.Pipeline()
    pipeline | bc.ReadSamples("a.tar") | bc.Select(bc.Below("nsfw", 0.5))
    steps = pipeline.to_runner_api().components.transforms.values()
    payloads = [data.payload for step in steps for data in step.display_data]
    assert any(b"nsfw >= 0.5" in payload for payload in payloads)
    assert any(b"a.tar" in payload for payload in payloads)


WHOLE_JOB = {
    "ReadSamples": (FileMetadata, bc.ReadSamples),
    "KeepTop": (bc.SampleBatch, lambda: bc.KeepTop("width=0.5")),
    "DropDuplicates": (bc.SampleBatch, lambda: bc.DropDuplicates("out")),
    "WriteShards": (bc.SampleBatch, lambda: bc.WriteShards("out")),
    "BatchSamples": (Sample, bc.BatchSamples),
}


@pytest.mark.parametrize("name", WHOLE_JOB)
def test_what_looks_at_a_whole_job_is_refused_windows(name):
    kind, make = WHOLE_JOB[name]
    windows = beam.WindowInto(beam.window.FixedWindows(60))
    given = beam.Pipeline() | beam.Create([]) | beam.Map(lambda one: one).with_output_types(kind) | windows
    with pytest.raises(UsageError, match=f"^{name} takes a whole job, in the global window, and is given FixedWindows"):
        given | make()
