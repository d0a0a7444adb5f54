"""The end of a job: the balance is checked, and the manifest is written."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import time
from collections.abc import Mapping
from typing import Any

from beam_curator import json_text
from beam_curator.field_tally import FieldsFound
from beam_curator.identities import told_models
from beam_curator.output import strays
from beam_curator.output.added_members import embedding_extension
from beam_curator.output.belonging import OF_RANGES, written_by_jobs
from beam_curator.output.dataset_card import dataset_card
from beam_curator.output.edge_store import EDGES_DIRECTORY, edge_files, remove_unfinished
from beam_curator.output.outcomes import Summary, check_balance, recounted
from beam_curator.output.report_files import remove_report
from beam_curator.output.side_files import remove_side_files, sizes_when_full, write_side_files
from beam_curator.output.totals import LedgerTotal, WrittenTotal
from beam_curator.phases import phases_told, sum_spans
from beam_curator.reading import DEFAULT_READING
from beam_curator.storage import clearing, files, urls

MANIFEST = "manifest.json"
_SOFTWARE = ("beam-curator", "apache-beam", "numpy", "open_clip_torch", "pillow", "pyarrow", "torch")


def finish(
    output: str, seen: Summary, parts: LedgerTotal, written: WrittenTotal, job: Mapping[str, Any]
) -> dict[str, Any]:
    """Checks the balance, writes manifest.json and what is beside it, and gives the manifest. What an earlier selection
    left is removed already.

    The manifest of a job that changed nothing stays as it is, timings included.

    Raises:
      JobError: when the ledger does not balance.
    """
    check_balance(seen, parts.summary, written.samples)
    manifest = _manifest(recounted(seen, parts.summary), parts, written, job)
    standing = read_manifest(output)
    same = standing is not None and _without_timings(standing) == _without_timings(manifest)
    card = dataset_card(manifest, dict(sorted(written.members.items())), embedding_extension(parts.models))
    write_side_files(output, sizes_when_full(written.samples, job["samples_per_shard"]), card)
    if standing is not None and same:
        manifest = standing
    else:
        files.write_bytes(output, MANIFEST, json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")
    remove_unfinished(output)
    clearing.remove_temporaries(output)
    return manifest


def _manifest(summary: Summary, parts: LedgerTotal, written: WrittenTotal, job: Mapping[str, Any]) -> dict[str, Any]:
    started = float(job.get("started", time.time()))
    finished = time.time()
    spans = sum_spans([summary.spans, written.spans])
    return {
        "software": software_versions(),
        "models": told_models(parts.models),
        **_selection(summary, job),
        "counts": counts_of(summary),
        "rules": rules_of(summary),
        "broken_shards": broken_shards_of(summary),
        **told_of(summary),
        "reading": reading_of(parts),
        "output": {"shards": written.shards, "bytes": written.bytes},
        **({"ledger": {"ranges_per_file": parts.ranges_per_file}} if parts.ranges_per_file > 1 else {}),
        "timings": {
            "started": _utc(started),
            "finished": _utc(finished),
            "seconds": round(finished - started, 3),
            "batch_reductions": summary.batch_reductions,
            "phases": phases_told(spans, started, finished, compares=bool(job.get("flags", {}).get("duplicates"))),
        },
    }


def _selection(summary: Summary, job: Mapping[str, Any]) -> dict[str, Any]:
    """Gathers what tells one selection from another."""
    return {
        "flags": dict(job.get("flags", {})),
        "input": dict(job.get("input", {})),
        "samples_per_shard": job["samples_per_shard"],
        "outcomes": outcomes_of(summary),
    }


def outcomes_of(summary: Summary) -> str:
    """`outcomes` of the manifest: 32 hex digits, which differ if any sample has another outcome."""
    return f"{summary.outcomes:032x}"


def withdraw_manifest(seen: Summary, output: str, job: Mapping[str, Any]) -> Summary:
    """Removes manifest and report of an earlier selection that this one is about to replace; gives `seen` back.

    A directory has a manifest only while it holds what the manifest says: so it goes before the first file of the
    selection does, and not before all is selected and found good. Doing it again changes nothing, also when this
    selection is finished.

    Args:
      seen: the outcomes of all samples.
      output: the output directory.
      job: what this job's manifest is going to say of it.

    Raises:
      StorageError: when it cannot be removed, after retries.
    """
    standing = read_manifest(output)
    if standing is not None and any(standing.get(name) != value for name, value in _selection(seen, job).items()):
        files.delete([urls.join(output, MANIFEST)])
        remove_report(output)
        remove_side_files(output)
    return seen


def counts_of(summary: Summary) -> dict[str, Any]:
    """`counts` of the manifest: samples by what became of them."""
    return {
        "seen": summary.seen,
        "kept": summary.kept,
        "dropped": summary.dropped,
        "failed": summary.failed,
        "dropped_by_rule": dict(sorted(summary.dropped_by.items())),
        "failed_by_reason": dict(sorted(summary.failed_by.items())),
    }


def rules_of(summary: Summary) -> list[dict[str, Any]]:
    """Describes each rule for the manifest, in their order: how many samples it dropped of those that came to it, and
    how many it would drop alone; null for a rule of the user, which is not asked about samples that are dropped."""
    return [{"rule": name, "dropped": one.dropped, "alone": one.alone} for name, one in summary.judged.items()]


def broken_shards_of(summary: Summary) -> list[dict[str, Any]]:
    """`broken_shards` of the manifest: the shards that could not be read to their end."""
    return [
        {
            "shard": error.url,
            "offset": error.offset,
            "reason": error.reason,
            "unread_bytes": summary.losses.unread_bytes.get(error.url, 0),
            "lost_samples": summary.losses.lost_in(error.url, summary.seen),
        }
        for error in sorted(summary.errors, key=lambda error: (error.url, error.offset))
    ]


def told_of(summary: Summary) -> dict[str, Any]:
    """Describes for the manifest: entries that belong to no sample, samples with several images, keys that come back
    within a shard, names with dots that may have made one sample of several, samples without a hash, and fields of the
    samples' metadata."""
    passed_over = dict(sorted(summary.passed_over.items()))
    unhashed = {name: count for name in ("unhashed", "unedited") if (count := getattr(summary, name))}
    fields = {"fields": fields_of(summary)} if summary.fields != FieldsFound() else {}
    told = {"passed_over": passed_over, "several_images": summary.several_images, **unhashed, **fields}
    return {**told, **summary.findings_by_kind()}


def fields_of(summary: Summary) -> dict[str, Any]:
    """Describes the fields of the samples' metadata for the manifest: the type of each column, and what was met."""
    told = summary.fields.as_json
    types = summary.fields.types
    columns = {name: {"type": types.get(name), **one} for name, one in told["columns"].items()}
    return {**told, "columns": columns}


def fields_in(manifest: Mapping[str, Any]) -> FieldsFound:
    """The inverse of `fields_of`, of a whole manifest."""
    told = manifest.get("fields") or {"columns": {}}
    columns = {
        name: {key: value for key, value in one.items() if key != "type"} for name, one in told["columns"].items()
    }
    return FieldsFound.read({**told, "columns": columns})


def reading_of(parts: LedgerTotal) -> Any:
    """Describes how the shards were read, as JSON has it; a list where a job of one's own reads them in several
    ways."""
    readings = parts.readings or [DEFAULT_READING]
    told = json_text.loads(json.dumps([dataclasses.asdict(reading) for reading in readings]))
    return told[0] if len(told) == 1 else told


def software_versions() -> dict[str, str]:
    """The versions of what shapes the output."""
    versions = {"python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def is_of_run(manifest: Mapping[str, Any], started: float) -> bool:
    """Tells whether a manifest was written by the run that began then, in seconds since 1970: one that changes nothing
    leaves the manifest of an earlier one."""
    return manifest["timings"].get("started") == _utc(started)


def _without_timings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in manifest.items() if name != "timings"}


def read_manifest(output: str) -> dict[str, Any] | None:
    """The manifest of a finished job, or None if there is none."""
    url = urls.join(output, MANIFEST)
    if not files.exists(url):
        return None
    try:
        manifest = json_text.loads(files.read_bytes(url))
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) else None


def remove_output(output: str) -> None:
    """Removes all that a job wrote, and nothing else."""
    files.delete([urls.join(output, MANIFEST)])
    for directory in (*OF_RANGES, strays.OUTPUT_SHARDS):
        strays.remove(output, strays.standing(output, directory, 0))
    files.delete(written_by_jobs(edge_files(output)))
    remove_report(output)
    remove_side_files(output)
    for directory in (*OF_RANGES, EDGES_DIRECTORY):
        clearing.remove_empty_directories(urls.join(output, directory))
    clearing.remove_temporaries(output)
