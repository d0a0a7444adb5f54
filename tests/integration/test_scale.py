"""Bytes stay put: what is fused, and that memory does not grow with the images."""

import subprocess
import sys
import tarfile

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image

import beam_curator as bc
from beam_curator.commands.options import CurationOptions
from beam_curator.commands.scorers_of_flags import scorers_of, scoring_of
from beam_curator.commands.steps_of_flags import resolve_defaults
from beam_curator.transforms.checkpointing import Checkpoint
from beam_curator.transforms.planning import PlanRanges

MIB = 1 << 20


def stages_of(build):
    """The fused stages that the runner makes of a pipeline: the names of the transforms in each."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    build(pipeline)
    _, stages = FnApiRunner().create_stages(pipeline.to_runner_api())
    return [[transform.unique_name for transform in stage.transforms] for stage in stages]


def stage_with(stages, name):
    (found,) = [stage for stage in stages if any(name in transform for transform in stage)]
    return found


def scoring():
    options = PipelineOptions(["--clip_model", "tiny-untrained"]).view_as(CurationOptions)
    resolve_defaults(options)
    return scoring_of(options, scorers_of(options))


def test_read_embed_score_and_write_scores_are_fused_in_one_stage(raw, tmp_path):
    stages = stages_of(
        lambda pipeline: (
            pipeline
            | bc.MatchShards([str(raw)])
            | PlanRanges()
            | Checkpoint(str(tmp_path), scoring())
            | bc.Select(bc.AtLeast("aesthetic", 5.0))
            | bc.WriteShards(str(tmp_path))
        )
    )
    stage = stage_with(stages, "ReadRanges")
    for step in ("FindScored", "EmbedImages/RunInference", "Score aesthetic", "Score nsfw", "Score/", "WriteScores"):
        assert any(step in transform for transform in stage), (step, stage)
    assert not any("PlaceSamples" in transform for transform in stage)


def test_composed_by_hand_the_scores_are_written_in_the_stage_that_read_the_images(raw, tmp_path):
    handler = bc.ClipModelHandler("tiny-untrained")
    stages = stages_of(
        lambda pipeline: (
            pipeline
            | bc.ReadSamples(str(raw))
            | bc.EmbedImages(handler)
            | bc.ScoreAesthetic("untrained")
            | bc.Select(bc.AtLeast("aesthetic", 5.0))
            | bc.WriteShards(str(tmp_path))
        )
    )
    stage = stage_with(stages, "ReadRanges")
    assert any("WriteShards/WriteScores" in transform for transform in stage)


def write_big_shard(path, size_bytes, seed):
    """A tar of uncompressed images: many bytes that decode fast."""
    rng = np.random.default_rng(seed)
    file = path.with_suffix(".bmp")
    Image.fromarray(rng.integers(0, 255, (1024, 1024, 3), dtype=np.uint8)).save(file)
    with tarfile.open(path, "w") as tar:
        for index in range(size_bytes // file.stat().st_size):
            tar.add(file, f"{seed:05d}{index:04d}.bmp", filter=lambda info: info)
    file.unlink()


# Not getrusage's ru_maxrss: on Linux a new program begins with that of the process that started it.
MEASURED_RUN = """
import pathlib, re, sys
from beam_curator.commands import curate_images
code = curate_images.main(sys.argv[1:])
print("peak_rss_kib", re.search("VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_two_gigabytes_of_images_pass_in_under_two_gigabytes_of_memory(tmp_path):
    (tmp_path / "raw").mkdir()
    for seed in range(4):
        write_big_shard(tmp_path / "raw" / f"{seed:05d}.tar", 512 * MIB, seed)
    total = sum(tar.stat().st_size for tar in (tmp_path / "raw").iterdir())
    assert total > 2_000_000_000
    flags = ["--clip_model", "tiny-untrained", "--min_aesthetic", "0", "--max_nsfw", "2"]
    run = subprocess.run(
        [sys.executable, "-c", MEASURED_RUN, "--input", f"{tmp_path}/raw", "--output", f"{tmp_path}/out", *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    written = sum(tar.stat().st_size for tar in (tmp_path / "out").glob("*.tar"))
    assert written > 2_000_000_000  # all of it went through, and out again
    peak_kib = int(run.stdout.split("peak_rss_kib")[1])
    assert peak_kib * 1024 < 2_000_000_000
    for tar in tmp_path.glob("*/*.tar"):
        tar.unlink()
