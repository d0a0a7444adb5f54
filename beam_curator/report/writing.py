"""The report of a finished job as files in its output directory: the page, and its figures."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from beam_curator.errors import StorageError, UsageError
from beam_curator.output.manifest import MANIFEST, read_manifest
from beam_curator.output.report_files import FIGURES, GENERATOR, PAGE, check_own_report
from beam_curator.report.figures import Counted, Figures, figures_from, figures_of
from beam_curator.report.ledger_files import files_of_ledger
from beam_curator.report.rendering import render
from beam_curator.report.thumbnails import LOST, thumbnails
from beam_curator.storage import clearing, files, urls


@dataclasses.dataclass(frozen=True)
class Written:
    """A report that is written.

    Attributes:
      page: the url of the page.
      page_bytes: its size.
      figures: the url of the same figures as JSON.
      counts: "seen", "kept", "dropped" and "failed" samples.
      pictures: how many samples are shown.
      lost: of how many of these the picture is not, by why: their images were there when they were scored.
    """

    page: str
    page_bytes: int
    figures: str
    counts: Mapping[str, Any]
    pictures: int
    lost: Mapping[str, int]


def write_report(output: str, input_root: str | None = None) -> Written:
    """Makes the report of the finished job in an output directory.

    The same ledger, input, software and timings give the same bytes. A file that is as it would be is not written
    again.

    Args:
      output: the directory, local or in a bucket.
      input_root: where the input is now, if it was moved: what stands for the deepest directory that held all of it.

    Raises:
      UsageError: when no job was finished there, or another's file stands in the place of one of the report's.
      StorageError: when something cannot be read or written.
      JobError: when the ledger is another than the manifest tells of.
    """
    output = output.rstrip("/") or output
    manifest = checked_job(output)
    return _written(output, figures_of(files_of_ledger(output), manifest), input_root)


def write_counted(output: str, counted: Counted) -> Written:
    """Writes the report as `write_report` does, from passes over the ledger that were made already."""
    return _written(output, figures_from(counted, files_of_ledger(output), checked_job(output)))


def checked_job(output: str) -> Mapping[str, Any]:
    """The manifest of a finished job whose report may be written.

    Raises:
      UsageError: when no job was finished there, or another's file stands in the place of one of the report's.
      StorageError: when something cannot be read.
    """
    manifest = finished_manifest(output)
    check_own_report(output)
    return manifest


def _written(output: str, figures: Figures, input_root: str | None = None) -> Written:
    pictures = thumbnails(output, figures.wanted, input_root)
    content = {
        FIGURES: json.dumps({"generator": GENERATOR, **figures.as_json}, indent=1, sort_keys=True).encode() + b"\n",
        PAGE: render(figures.as_json, pictures).encode(),
    }
    for name, data in content.items():
        _write(output, name, data)
    clearing.remove_temporaries(output, names=list(content))  # of another job, which may be at work there, nothing
    page, told = (urls.join(output, name) for name in (PAGE, FIGURES))
    lost = collections.Counter(picture.why for picture in pictures if picture.why in LOST)
    return Written(page, len(content[PAGE]), told, figures.as_json["counts"], len(pictures), dict(lost.most_common()))


def finished_manifest(output: str) -> Mapping[str, Any]:
    """Reads the manifest of the job in an output directory.

    Raises:
      UsageError: when no job was finished there.
    """
    try:
        manifest = read_manifest(output)
    except StorageError as error:
        raise UsageError(f"{output} cannot be read: {error}") from error
    if not isinstance(manifest, Mapping) or not isinstance(manifest.get("counts"), Mapping):
        raise UsageError(f"{output} holds no finished job ({MANIFEST} is written last): run the job to its end first")
    strange = next(_strange_in(manifest), None)
    if strange is not None:
        raise UsageError(f"{urls.join(output, MANIFEST)} is none that Beam Curator wrote: look at its {strange!r}")
    return manifest


_COUNTED = {"seen": int, "kept": int, "dropped": int, "failed": int, "dropped_by_rule": dict, "failed_by_reason": dict}
_HELD = {
    **dict.fromkeys(("counts", "flags", "models", "timings", "input", "output", "software", "passed_over"), dict),
    **dict.fromkeys(("rules", "broken_shards"), list),
}


def _strange_in(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names of what a manifest holds of another kind than ours do."""
    counts = manifest["counts"]
    yield from (name for name, kind in _COUNTED.items() if not isinstance(counts.get(name), kind))
    for name, kind in _HELD.items():
        held = manifest.get(name)
        ones = held if isinstance(held, list) else ()
        if not (held is None or isinstance(held, kind)) or not all(isinstance(one, Mapping) for one in ones):
            yield name


def _write(output: str, name: str, content: bytes) -> None:
    url = urls.join(output, name)
    if not (files.exists(url) and files.read_bytes(url) == content):
        files.write_bytes(output, name, content)
