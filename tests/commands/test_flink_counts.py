"""What a Flink cluster counts of a job, out of the answers of its REST interface."""

import json

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.commands import flink_counts, progress_elsewhere
from beam_curator.commands.flink_counts import flink_counts as counted

ACCUMULATOR = {
    "name": "__metricscontainers",
    "type": "MetricsAccumulator",
    "value": json.dumps(
        {
            "metrics": {
                "attempted": [
                    {"urn": "beam:metric:user:sum_int64:v1", "type": "beam:metrics:sum_int64:v1", "payload": payload,
                     "labels": {"NAMESPACE": namespace, "PTRANSFORM": step, "NAME": name}}
                    for payload, namespace, step, name in [
                        ("2gc=", "beam_curator", "a", "samples_scored"),
                        ("Ag==", "beam_curator", "b", "samples_scored"),
                        ("BQ==", "somebody's", "b", "samples_scored"),
                        ("CA==", "beam_curator", "c", "shards_planned"),
                    ]
                ]
                + [{"urn": "beam:metric:pardo_execution_time:start_bundle_msecs:v1", "payload": "AA==", "labels": {}}]
            }
        }
    ),
}  # fmt: skip
"""As Flink 1.19 gave it, of Beam 2.77."""
CLUSTER = PipelineOptions(["--runner", "FlinkRunner", "--flink_master", "jobs:8081"])


class Job:
    """The result of running a pipeline."""

    _job_id = "BeamApp-me-1127_b3c6"


def answering(monkeypatch, names, accumulators):
    answers = {
        "jobs/overview": {"jobs": [{"jid": f"number{n}", "name": name} for n, name in enumerate(names)]},
        "jobs/number1/accumulators": {"job-accumulators": [], "user-task-accumulators": accumulators},
    }
    monkeypatch.setattr(
        flink_counts, "_asked", lambda master, path: answers[path] if master == "http://jobs:8081" else None
    )


def test_our_counters_are_summed_over_the_steps_of_our_job(monkeypatch):
    answering(monkeypatch, ["other", "BeamApp-me-1127"], [{"name": "x", "value": "no JSON"}, ACCUMULATOR])
    assert counted(CLUSTER, Job()) == {"samples_scored": 988, "shards_planned": 8}


@pytest.mark.parametrize("names", [[], ["other"], ["BeamApp-me-1127", "BeamApp-me-1127"]])
def test_a_job_that_is_not_found_for_sure_counts_nothing(monkeypatch, names):
    answering(monkeypatch, names, [ACCUMULATOR])
    assert counted(CLUSTER, Job()) == {}


def test_a_job_that_has_begun_counts_nothing_yet(monkeypatch):
    answering(monkeypatch, ["other", "BeamApp-me-1127"], [])
    assert counted(CLUSTER, Job()) == {}


@pytest.mark.parametrize("master", ["[local]", "[auto]"])
def test_flink_inside_the_job_server_has_no_address_to_ask(monkeypatch, master):
    monkeypatch.setattr(flink_counts, "_asked", lambda *_: pytest.fail("asked"))
    assert counted(PipelineOptions(["--flink_master", master]), Job()) == {}


@pytest.mark.parametrize("fault", [OSError("refused"), ValueError("no JSON"), KeyError("jobs")])
def test_where_the_cluster_cannot_be_asked_beams_counts_are_shown(monkeypatch, fault):
    def asked(*_):
        raise fault

    monkeypatch.setattr(flink_counts, "_asked", asked)
    monkeypatch.setattr(progress_elsewhere, "counts_of", lambda result: {"samples_written": 7})
    assert progress_elsewhere._counts_on("FlinkRunner", CLUSTER, Job()) == {"samples_written": 7}
