"""Writes what other tools read beside the tars, `sizes.json` and a dataset card, and looks after indices that others
made.

open_clip takes the number of samples from `sizes.json`, DataComp's resharder as well; `load_dataset` of Hugging Face
takes what is data, and its types, from the card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from beam_curator import json_text
from beam_curator.errors import JobError
from beam_curator.output.placing import shard_name
from beam_curator.storage import directories, files, urls

SIZES, CARD = "sizes.json", "README.md"

CARD_MARK = "<!-- Beam Curator writes this file anew with each selection; without this line it is yours, and stays. -->"

_OUTPUT_TAR = re.compile(r"\d{5,}\.tar")
_OF_OTHERS = re.compile(r"\d{5,}(\.tar)?\.(idx|index)|__len__|index\.json|shardindex\.json")
_NV_META = ".nv-meta"


def sizes_of(samples: Mapping[int, int]) -> bytes:
    """Encodes the number of samples of each tar as webdataset's and open_clip's `sizes.json`.

    Args:
      samples: of each output shard, by its index.
    """
    return json.dumps({f"{shard_name(index)}.tar": samples[index] for index in sorted(samples)}, indent=1).encode()


def sizes_when_full(samples: int, samples_per_shard: int) -> bytes:
    """The same where all output shards but the last are full."""
    shards = -(-samples // samples_per_shard)
    return sizes_of({index: min(samples_per_shard, samples - index * samples_per_shard) for index in range(shards)})


def write_side_files(output: str, sizes: bytes, card: str) -> None:
    """Writes both, where they are not there already. A card without our mark is somebody's own, and stays.

    Raises:
      StorageError: when one cannot be written, after retries.
    """
    _write(output, SIZES, sizes)
    standing = _content(output, CARD)
    if standing is None or is_card(standing):
        _write(output, CARD, card.encode())


def _write(output: str, name: str, content: bytes) -> None:
    if _content(output, name) != content:
        files.write_bytes(output, name, content)


def _content(output: str, name: str) -> bytes | None:
    url = urls.join(output, name)
    return files.read_bytes(url) if files.exists(url) else None


def check_side_files(output: str) -> None:
    """Raises JobError where a file stands in the place of `sizes.json` that says something else than sizes of our tars:
    others would read it as such."""
    standing = _content(output, SIZES)
    if standing is not None and not is_sizes(standing):
        raise JobError(
            f"{urls.join(output, SIZES)} stands where the sizes of output shards go, and says something else: move it "
            "away, and run the same command again"
        )


def remove_side_files(output: str) -> None:
    """Removes those of ours, which tell of a selection that is going to be replaced.

    Raises:
      StorageError: when one cannot be removed, after retries.
    """
    files.delete([urls.join(output, name) for name in side_file_names(output)])


def side_file_names(output: str) -> set[str]:
    """The names of those of ours that stand there.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    ours = {SIZES: is_sizes, CARD: is_card}
    found = {name: _content(output, name) for name in ours}
    return {name for name, content in found.items() if content is not None and ours[name](content)}


def is_card(content: bytes) -> bool:
    """Tells whether a README.md is a card that we wrote."""
    return CARD_MARK.encode() in content


def is_sizes(content: bytes) -> bool:
    """Tells whether a sizes.json has sizes of tars that are named as ours are."""
    try:
        told = json_text.loads(content)
    except ValueError:
        return False
    return isinstance(told, dict) and all(_OUTPUT_TAR.fullmatch(name) and type(told[name]) is int for name in told)


def is_of_others(name: str) -> bool:
    """Tells whether a file of an output directory is called as an index that another tool makes of the tars: Energon's
    `.nv-meta/` and `.tar.idx`, DALI's `.idx`, wids' `index.json`, WebDataset's `__len__`."""
    return name.startswith(f"{_NV_META}/") or _OF_OTHERS.fullmatch(name) is not None


def stale_side_files(output: str, manifest: str) -> list[str]:
    """The indices of others that are older than the selection that stands, by their names.

    Args:
      output: the directory.
      manifest: the name of its manifest, which is written when a selection is finished.

    Raises:
      StorageError: when the directory cannot be listed, after retries.
    """
    found = directories.list_files(output)
    made = max((one.last_updated_in_seconds or 0 for one in found if one.path.endswith(f"/{manifest}")), default=0)
    beside = [one for one in found if is_of_others(one.path.rpartition("/")[2])]
    old = [one.path.rpartition("/")[2] for one in beside if (one.last_updated_in_seconds or 0) < made]
    meta = directories.list_files(urls.join(output, _NV_META))
    if any((one.last_updated_in_seconds or 0) < made for one in meta):
        old.append(_NV_META)
    return sorted(old)


def notes_on(stale: Sequence[str]) -> list[str]:
    """Tells the user in one line of indices that are older than the selection."""
    if not stale:
        return []
    first = ", ".join(stale[:3]) + (f" and {len(stale) - 3:,} more" if len(stale) > 3 else "")
    return [
        f"{first}: another tool made this of an earlier selection, not of the tars that stand there now: make it anew, "
        "or remove it"
    ]
