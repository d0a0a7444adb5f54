"""A batch of samples that somebody has in memory: written as a shard first, so that its bytes are in storage."""

from __future__ import annotations

import collections
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from webdataset.writer import TarWriter

from beam_curator.errors import UsageError, first_line
from beam_curator.given_paths import named
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import SampleBatch
from beam_curator.sources import matching
from beam_curator.sources.sample_batches import read_batch
from beam_curator.sources.shard_identity import identify
from beam_curator.sources.tar.names import split_name, why_passed_over
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.storage import clearing, files

KEY = "__key__"


def batch_of(
    samples: Iterable[Mapping[str, Any]], shard: str | os.PathLike[str], reading: Reading = DEFAULT_READING
) -> SampleBatch:
    """Makes a batch of these samples, with their bytes, which goes through every transform as one that was read.

    Bytes stay put and references travel, so that bytes need a place: they are written as a tar, which is the batch's
    shard from then on. The same samples are always the same tar; where it stands already, it is left alone.

    Args:
      samples: as webdataset has them, at least one: `{"__key__": "a", "jpg": bytes, "txt": "a red fox"}`. What is not
        bytes is encoded as `webdataset.TarWriter` does; other names that begin with `_` are left out.
      shard: the path or bucket url of the tar.
      reading: how its members become samples.

    Raises:
      UsageError: for samples that a shard cannot hold one by one, and for a file there that holds something else.
      StorageError: when the tar cannot be written or read, after retries.
    """
    listed = _checked(samples)
    if not isinstance(reading, Reading):
        raise UsageError(f"reading={reading!r} is no Reading: give one, such as Reading(carry=())")
    url = named(shard, "shard")
    tar = _tar_of(listed)
    directory, slash, name = url.rpartition("/")
    if not files.exists(url):
        files.write_bytes(directory or slash or ".", name, tar)
        clearing.remove_temporary_directory(directory or slash or ".")
    elif files.read_bytes(url) != tar:
        raise UsageError(f"{url} is there already, and holds something else: name another place for these samples")
    (found,) = identify(matching.find([url]).files)
    (range,) = plan_ranges(found.shard, 1 << 62, None, reading)
    batch = read_batch(range)
    if len(batch) != len(listed):
        raise UsageError(
            f"{url}: of {len(listed)} samples {len(batch)} come out again: give them plainer keys and names"
        )
    return batch


def _checked(samples: Any) -> list[Mapping[str, Any]]:
    """The samples as a list.

    Raises:
      UsageError: for samples that would not come out of a shard as they went in.
    """
    if isinstance(samples, (str, bytes, Mapping)) or not isinstance(samples, Iterable):
        raise UsageError('samples: give a list of them, such as [{"__key__": "a", "jpg": bytes}]')
    listed = list(samples)
    if not listed:
        raise UsageError("samples: a batch needs one sample at least")
    keys: collections.Counter[str] = collections.Counter()
    for index, sample in enumerate(listed):
        if not isinstance(sample, Mapping):
            raise UsageError(f'samples[{index}] is no mapping: give one, such as {{"__key__": "a", "jpg": bytes}}')
        key = sample.get(KEY)
        if not isinstance(key, str) or not key:
            raise UsageError(f'samples[{index}] has no "{KEY}", a text that names it')
        wrong = next((name for name in sample if not isinstance(name, str) or not name or "\0" in name), None)
        if wrong is not None:
            raise UsageError(f'samples[{index}] "{key}": {wrong!r} is no extension: give text, as "jpg"')
        names = _members(sample)
        if "\0" in key:
            raise UsageError(f"samples[{index}]: the key {key!r} has a NUL, where a name in a tar ends")
        if not names:
            raise UsageError(f'samples[{index}] "{key}" has no members: give its bytes by extension, as "jpg"')
        for name in names:
            parts = split_name(f"{key}.{name}")
            if parts is None:
                raise UsageError(f'samples[{index}]: "{key}.{name}" would be passed over: {why_passed_over(key)}')
            if parts[0] != key:
                raise UsageError(f'samples[{index}]: the key "{key}" has a dot in its last part: it would end there')
        if len({name.lower() for name in names}) < len(names):
            raise UsageError(f'samples[{index}] "{key}" repeats an extension: {", ".join(names)}')
        keys[key] += 1
    repeated = [key for key, count in keys.items() if count > 1]
    if repeated:
        raise UsageError(f'samples: {keys[repeated[0]]} of them have the key "{repeated[0]}": a key names one')
    return listed


def _members(sample: Mapping[str, Any]) -> list[str]:
    return [name for name in sample if not name.startswith("_")]


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def _tar_of(samples: Sequence[Mapping[str, Any]]) -> bytes:
    """The tar of these samples: of the same ones the same bytes."""
    content = io.BytesIO()
    with TarWriter(content, user="", group="", mtime=0, format="PAX_FORMAT") as writer:
        for index, sample in enumerate(samples):
            try:
                writer.write({KEY: sample[KEY], **{name: _plain(sample[name]) for name in _members(sample)}})
            except Exception as error:  # its encoders raise what they like
                raise UsageError(
                    f'samples[{index}] "{sample[KEY]}" cannot be encoded: {type(error).__name__}: {first_line(error)}'
                ) from error
    return content.getvalue()
