"""Keeping apart what a job reads and what jobs write: patterns such as `D/*/*.tar` match the output in `D/curated`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apache_beam.io.filesystem import FileMetadata

from beam_curator.errors import UsageError
from beam_curator.output.belonging import OF_RANGES, output_shard_index, written_by_jobs
from beam_curator.output.report_files import REPORT_FILES
from beam_curator.output.side_files import CARD, SIZES
from beam_curator.sources import matching
from beam_curator.storage import files, urls
from beam_curator.storage.places import all_below, has_wildcard_directory
from beam_curator.storage.temporary_names import TEMPORARY

_OWN_NAMES = ("job.json", "manifest.json", SIZES, CARD, *REPORT_FILES)


def without_output(found: Sequence[FileMetadata], patterns: Sequence[str], output: str) -> list[FileMetadata]:
    """The files that patterns match, without those that jobs wrote to the output directory.

    Raises:
      UsageError: when others lie in it, when nothing else is matched, or when a pattern matches the output of another
        job, whose directory it does not name, beside files that are none.
      StorageError: when files cannot be read to tell.
    """
    inside = dict(all_below((file.path for file in found), output))
    stranger = next(_strangers(inside), None)
    if stranger is not None:
        raise UsageError(
            f"--input matches {stranger}, which lies in --output {output}: a job never writes where it reads: give "
            "another --output, or move that file"
        )
    outside = [file for file in found if file.path not in inside]
    if inside and not outside:
        raise UsageError(
            f"--input matches nothing but the output in --output {output}: a job never writes where it reads: give "
            "another --output"
        )
    _check_other_outputs(outside, patterns)
    return outside


def _strangers(inside: dict[str, str]) -> Iterator[str]:
    """Yields those files in an output directory that no job wrote, by what they are called there."""
    shards = [url for url, name in inside.items() if output_shard_index(name) is not None]
    own = set(written_by_jobs(shards))
    yield from (url for url in shards if url not in own)
    places = (TEMPORARY, *OF_RANGES)
    for url, name in inside.items():
        place = name.partition("/")[0]
        if url not in own and name not in _OWN_NAMES and not (place in places and not name.endswith(".tar")):
            yield url


def _check_other_outputs(found: Sequence[FileMetadata], patterns: Sequence[str]) -> None:
    """Raises UsageError when wildcards have taken in the output of another job beside what is no output."""
    named = {_directory(name) for name in matching.expand_patterns(patterns) if not has_wildcard_directory(name)}
    like_output = {
        _directory(file.path) for file in found if output_shard_index(file.path.rpartition("/")[2]) is not None
    }
    outputs = {place for place in like_output - named if files.exists(urls.join(place, "job.json"))}
    taken_in = [file.path for file in found if _directory(file.path) in outputs]
    if taken_in and len(taken_in) < len(found):
        place = _directory(taken_in[0])
        raise UsageError(
            f"--input matches {taken_in[0]} and others, which are the output of another job in {place}: give a pattern "
            f"that leaves it out; or, to curate that output too, name it in an --input of its own, {place}/"
        )


def _directory(path: str) -> str:
    return path.rpartition("/")[0]
