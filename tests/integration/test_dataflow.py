"""What Dataflow is sent: the job request and the pipeline that the SDK builds, up to the point where they would go out.

Uploads and the submission are caught; everything before them is Beam's own code.
"""

import dataclasses
import json
import logging
import pathlib
import runpy
import sys

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.common_urns import resource_hints
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from apache_beam.runners.dataflow.internal import apiclient
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.api_core.exceptions import Forbidden
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import dataflow_v1beta3 as dataflow

from beam_curator.commands import curate_images, runner_checks
from beam_curator.commands.failures import as_job_error
from beam_curator.errors import JobError
from examples import make_demo_shards

IMAGE = "us-central1-docker.pkg.dev/project/images/beam-curator:1"
GPU = "type:nvidia-l4;count:1;install-nvidia-driver"
SCORING = ("ReadRanges", "EmbedImages", "Score aesthetic", "Score nsfw", "WriteScores")
ACCELERATOR = resource_hints.ACCELERATOR.urn
MIN_RAM = resource_hints.MIN_RAM_BYTES.urn


@dataclasses.dataclass
class Launch:
    """What one launch has sent: submitted jobs, and staged files."""

    submitted: list
    staged: dict

    @property
    def environment(self):
        (job,) = self.submitted
        return job.proto.environment

    @property
    def pool(self):
        (pool,) = self.environment.worker_pools
        return pool

    @property
    def pipeline(self):
        """The pipeline as it was uploaded."""
        (content,) = [content for name, content in self.staged.items() if name.endswith("/pipeline.pb")]
        return beam_runner_api_pb2.Pipeline.FromString(content)


@pytest.fixture
def sent(monkeypatch):
    """Catches what is sent from now on; nothing leaves this machine."""
    launch = Launch([], {})

    def stage(self, folder, name, stream, *_, **__):
        is_path = isinstance(stream, str)
        launch.staged[f"{folder}/{name}"] = pathlib.Path(stream).read_bytes() if is_path else stream.read()

    def submit(self, job):
        launch.submitted.append(job)
        return dataflow.Job(id="2026-11-22_job", name=job.proto.name)

    # Input and output are local, as no bucket can be had here; a launch that says so is refused, by a test of its own.
    monkeypatch.setattr(runner_checks, "check_places", lambda places: None)
    monkeypatch.setattr(apiclient.DataflowApplicationClient, "stage_file_with_retry", stage)
    monkeypatch.setattr(apiclient.DataflowApplicationClient, "submit_job_description", submit)
    monkeypatch.setattr(GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled", lambda self, name: None)
    monkeypatch.setattr(logging.getLogger("apache_beam.runners"), "level", logging.NOTSET)
    return launch


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dataflow") / "raw"
    assert make_demo_shards.main(["--output", str(directory), "--shards", "2", "--samples_per_shard", "20"]) == 0
    return directory


@pytest.fixture
def flags(raw, tmp_path):
    """The flags of a launch that does not wait."""
    return [
        *("--input", str(raw), "--output", str(tmp_path / "out"), "--clip_model", "tiny-untrained", "--device", "cuda"),
        *("--runner", "DataflowRunner", "--project", "project-1", "--region", "us-central1", "--no_auth"),
        *("--temp_location", "gs://bucket/tmp", "--sdk_container_image", IMAGE, "--no_wait"),
    ]


def environments_of(pipeline):
    """Each transform with code of ours, and the environment that it asks for."""
    transforms = pipeline.components.transforms.values()
    return {
        transform.unique_name: pipeline.components.environments[transform.environment_id]
        for transform in transforms
        if transform.environment_id and not transform.subtransforms
    }


def pickled(pipeline):
    """The payloads with code, by the transform's name."""
    found = {}
    for transform in pipeline.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            found[transform.unique_name] = payload.do_fn.payload
    return found


def test_the_job_request_has_the_image_the_machines_and_the_service_options(sent, flags, capsys, tmp_path):
    more = [
        *("--machine_type", "g2-standard-8", "--disk_size_gb", "100", "--number_of_worker_harness_threads", "4"),
        *("--num_workers", "2", "--max_num_workers", "20", "--experiments", "no_use_multiple_sdk_containers"),
        *("--dataflow_service_options", f"worker_accelerator={GPU}"),
    ]
    assert curate_images.main([*flags, *more]) == 0
    pool, environment = sent.pool, sent.environment
    assert (pool.machine_type, pool.disk_size_gb, pool.num_threads_per_worker) == ("g2-standard-8", 100, 4)
    assert (pool.num_workers, pool.autoscaling_settings.max_num_workers) == (2, 20)
    assert [image.container_image for image in pool.sdk_harness_container_images] == [IMAGE]
    assert list(environment.service_options) == [f"worker_accelerator={GPU}"]
    assert "no_use_multiple_sdk_containers" in environment.experiments
    assert "use_multiple_sdk_containers" not in environment.experiments
    options = environment.sdk_pipeline_options["options"]
    assert options["device"] == "cuda"
    assert options["save_main_session"] is False
    said = capsys.readouterr()
    assert said.out == (
        "Beam Curator: submitted as Dataflow job 2026-11-22_job; "
        f"{tmp_path / 'out' / 'manifest.json'} will be there when the job is done\n"
    )
    assert (tmp_path / "out" / "job.json").exists()


def test_without_hints_there_is_one_environment(sent, flags):
    assert curate_images.main(flags) == 0
    assert not any(env.resource_hints for env in sent.pipeline.components.environments.values())
    assert len(sent.pool.sdk_harness_container_images) == 1


def test_the_accelerator_is_asked_for_by_scoring_and_by_nothing_else(sent, flags):
    assert curate_images.main([*flags, "--scoring_accelerator", GPU, "--scoring_min_ram", "30GB"]) == 0
    environments = environments_of(sent.pipeline)
    hinted = {name for name, environment in environments.items() if environment.resource_hints}
    on_the_device = ("Checkpoint/Score/", "Checkpoint/ScorePixels")
    assert hinted == {name for name in environments if name.startswith(on_the_device)}
    assert any(name.startswith("Checkpoint/ScorePixels") for name in hinted)
    for step in SCORING:
        assert any(step in name for name in hinted), step
    for step in (
        "MatchShards",
        "PlanRanges",
        "FindScored",
        "ScoreStored",
        "Select",
        "PlaceSamples",
        "WriteShard",
        "WriteManifest",
    ):
        assert any(step in name for name in set(environments) - hinted), step
    hints = {name: dict(environments[name].resource_hints) for name in hinted}
    assert all(found == {ACCELERATOR: GPU.encode(), MIN_RAM: b"30000000000"} for found in hints.values()), hints


def test_both_environments_have_the_same_image(sent, flags):
    assert curate_images.main([*flags, "--scoring_accelerator", GPU]) == 0
    images = list(sent.pool.sdk_harness_container_images)
    assert [image.container_image for image in images] == [IMAGE, IMAGE]
    assert len({image.environment_id for image in images}) == 2
    assert not sent.environment.service_options


def stages_of(pipeline):
    """The transforms of each stage that Beam's own optimizer fuses, which knows environments and shuffles."""
    _, stages = FnApiRunner().create_stages(pipeline)
    return [{transform.unique_name for transform in stage.transforms} for stage in stages]


@pytest.mark.parametrize("hints", [[], ["--scoring_accelerator", GPU]], ids=["plain", "hinted"])
def test_scoring_is_one_fused_stage_with_or_without_hints(sent, flags, hints):
    assert curate_images.main([*flags, *hints]) == 0
    stages = stages_of(sent.pipeline)
    (scoring,) = [stage for stage in stages if any("ReadRanges" in name for name in stage)]
    for step in SCORING:
        assert any(step in name for name in scoring), (step, scoring)
    assert not any("PlaceSamples" in name or "PlanRanges/Plan" in name for name in scoring)


def test_shuffles_are_where_the_architecture_draws_them_and_none_is_inside_scoring(sent, flags):
    assert curate_images.main([*flags, "--scoring_accelerator", GPU]) == 0
    shuffles = {
        name.split("/")[0] + "/" + name.split("/")[1]
        for name in (
            transform.unique_name
            for transform in sent.pipeline.components.transforms.values()
            if transform.spec.urn in ("beam:transform:group_by_key:v1", "beam:transform:reshuffle:v1")
        )
    }
    assert not [name for name in shuffles if name.startswith("Checkpoint")]
    assert "WriteShards/GroupByOutputShard" in shuffles
    assert any(name.startswith("PlanRanges/") for name in shuffles)


def test_what_is_pickled_is_small_and_needs_no_main_session(sent, flags):
    assert curate_images.main([*flags, "--scoring_accelerator", GPU]) == 0
    code = pickled(sent.pipeline)
    assert len(code) > 10
    assert max(map(len, code.values())) < 64 << 10, {name: len(content) for name, content in code.items()}
    assert sum(map(len, code.values())) < 512 << 10
    assert not [name for name, content in code.items() if b"__main__" in content]
    assert not [name for name in sent.staged if "pickled_main_session" in name]


def test_real_weights_are_not_pickled_either(sent, flags, shared):
    flags = [flag for flag in flags if flag not in ("--clip_model", "tiny-untrained")]
    heads = ["--clip_model", "tiny-untrained", "--aesthetic_model", "v2", "--nsfw_model", "laion"]
    heads.append("--accept_other_encoder")
    assert curate_images.main([*flags, *heads, "--model_dir", str(shared / "models")]) == 0
    assert max(map(len, pickled(sent.pipeline).values())) < 64 << 10


def test_a_template_launch_runs_the_file_and_ends_without_waiting(sent, flags, monkeypatch, tmp_path, capsys):
    """As the launcher of Flex Templates does: the file as a program, and --template_location."""
    template = [flag for flag in flags if flag != "--no_wait"] + ["--template_location", "gs://bucket/launch/job"]
    monkeypatch.setattr(sys, "argv", ["curate_images.py", *template, "--overwrite=true"])
    with pytest.raises(SystemExit) as raised:
        runpy.run_path(curate_images.__file__, run_name="__main__")
    assert raised.value.code == 0
    assert sent.submitted == []
    job = json.loads(sent.staged["gs://bucket/launch/job"])
    assert [pool["sdkHarnessContainerImages"][0]["containerImage"] for pool in job["environment"]["workerPools"]] == [
        IMAGE
    ]
    assert not [name for name, content in pickled(sent.pipeline).items() if b"__main__" in content]
    assert capsys.readouterr().out.startswith("Beam Curator: template gs://bucket/launch/job; ")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["--scoring_accelerator", GPU, "--dataflow_service_options", f"worker_accelerator={GPU}"],
            "--scoring_accelerator gives the GPU to scoring, worker_accelerator to all: give one of them",
        ),
        (["--scoring_min_ram", "30GB", "--flexrs_goal", "COST_OPTIMIZED"], "--flexrs_goal does not go with"),
        (["--scoring_accelerator", "nvidia-l4"], "nvidia-l4 is not like type:nvidia-l4;count:1"),
        (["--scoring_min_ram", "much"], "much is not like 30GB"),
        (
            ["--temp_location", "/tmp/dataflow"],
            "--temp_location /tmp/dataflow: Dataflow needs a place in a bucket: give",
        ),
        (
            ["--staging_location", "gs:///x"],
            "--staging_location gs:///x: Dataflow needs a place in a bucket: give gs://",
        ),
        (["--job_name", "Not A Name"], "Invalid job_name (Not A Name)"),
    ],
)
def test_what_dataflow_would_refuse_is_one_line_before_any_work(sent, flags, capsys, tmp_path, more, said):
    assert curate_images.main([*flags, *more]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not sent.submitted


def test_only_dataflow_jobs_outlive_their_launcher(flags, capsys):
    here = [flag for flag in flags if flag not in ("--runner", "DataflowRunner")]
    assert curate_images.main(here) == 2
    assert "--no_wait is for DataflowRunner: on others the job ends with this command" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        DefaultCredentialsError("Your default credentials were not found."),
        Forbidden("no permission on project-1"),
        DataflowRuntimeException(
            "Dataflow pipeline failed. State: FAILED, Error:\nWorkflow failed. Quota.", result=None
        ),
    ],
)
def test_what_dataflow_refuses_is_one_line(error):
    found = as_job_error(error, "gs://bucket/out")
    assert type(found) is JobError
    assert "\n" not in str(found)
    assert str(error).split()[-1] in str(found)
    assert str(found).endswith("run the same command again to resume")
