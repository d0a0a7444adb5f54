"""Asks a Flink cluster what it counts of a job while it runs: Beam's job server has no answer before the end."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections import Counter
from typing import Any

from apache_beam.coders import VarIntCoder
from apache_beam.metrics import monitoring_infos
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions
from apache_beam.runners.portability.flink_runner import MAGIC_HOST_NAMES, FlinkRunner
from apache_beam.runners.runner import PipelineResult

from beam_curator.transforms.metrics import NAMESPACE

_ACCUMULATOR = "__metricscontainers"
"""The accumulator in which Beam's Flink runner keeps the metrics of a job, which Flink gathers from all tasks every few
seconds."""
_TIMEOUT_SECONDS = 10


def flink_counts(options: PipelineOptions, result: PipelineResult) -> Counter[str]:
    """Asks the JobManager of a session cluster, by its REST interface, for our counters of a job, by name; none where
    `--flink_master` names no cluster, or the job is not found there.

    Raises:
      OSError, ValueError, KeyError: where the cluster does not answer, or says something else.
    """
    master = FlinkRunner.add_http_scheme(options.view_as(FlinkRunnerOptions).flink_master)
    if master in MAGIC_HOST_NAMES:
        return Counter()
    known = _job_of(_asked(master, "jobs/overview"), getattr(result, "_job_id", ""))
    if known is None:
        return Counter()
    return _counters(_asked(master, f"jobs/{known}/accumulators"))


def _asked(master: str, path: str) -> Any:
    with urllib.request.urlopen(f"{master.rstrip('/')}/{path}", timeout=_TIMEOUT_SECONDS) as answer:
        return json.load(answer)


def _job_of(overview: Any, invocation: str) -> str | None:
    """Flink's number of the job that Beam's job server calls NAME_UUID, and Flink by its name alone."""
    name, _, _ = invocation.rpartition("_")
    named = [job["jid"] for job in overview["jobs"] if job["name"] == name]
    return named[0] if len(named) == 1 else None


def _counters(accumulators: Any) -> Counter[str]:
    """Sums our counters over the steps, from the text of Beam's accumulator: its monitoring infos as JSON."""
    counts: Counter[str] = Counter()
    for one in accumulators["user-task-accumulators"]:
        if one["name"] != _ACCUMULATOR:
            continue
        for info in json.loads(one["value"])["metrics"].get("attempted", ()):
            labels = info["labels"]
            if info["urn"] == monitoring_infos.USER_COUNTER_URN and labels["NAMESPACE"] == NAMESPACE:
                counts[labels["NAME"]] += VarIntCoder().decode(base64.b64decode(info["payload"]))
    return counts
