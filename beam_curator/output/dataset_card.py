"""The dataset card of an output directory, README.md: what `load_dataset` of Hugging Face takes its data and types
from, and what people want to know first. The same selection gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beam_curator.images import IMAGE_EXTENSIONS
from beam_curator.output.side_files import CARD_MARK

_TEXTS = ("txt", "text", "transcript")
_OBJECTS = ("json", "jsn")
_INTEGERS = ("cls", "cls2", "index", "inx", "id")
_READ_OTHERWISE = ("ten", "tb", "mp", "msg", "npz", "cbor", "pth", "npy", "gz", "bz2", "xz", "zst", "lz4", "zip")
"""Endings that `load_dataset` decodes to something that has no type of its own, or decompresses: left out."""


def dataset_card(manifest: Mapping[str, Any], members: Mapping[str, int], embedding: str) -> str:
    """The card of a finished selection.

    Args:
      manifest: what it says of itself.
      members: of how many kept samples each extension is a member.
      embedding: the extension of the embedding that was added.
    """
    front = ["---", *_configs(bool(members)), *_features(members, embedding), "---"]
    return "\n".join([*front, "", CARD_MARK, "", *_text(manifest, members), ""])


def _configs(has_tars: bool) -> Iterator[str]:
    """Yields the lines that name the data files, all of one kind: `load_dataset` reads all of a directory's
    configurations in one way."""
    yield "configs:"
    yield "- config_name: default"
    yield f"  data_files: {json.dumps('[0-9]*.tar' if has_tars else 'samples/*.parquet')}"


def _features(members: Mapping[str, int], embedding: str) -> Iterator[str]:
    """The types of what is in the tars: by them samples may have different members, and values that come late."""
    if not members:
        return
    yield "dataset_info:"
    yield "- config_name: default"
    yield "  features:"
    for name in ("__key__", "__url__", *members):
        told = _type_of(name, embedding)
        if told is not None:
            yield f"  - name: {json.dumps(name)}"
            yield f"    {told}"


def _type_of(extension: str, embedding: str) -> str | None:
    last = extension.rsplit(".", 1)[-1]
    if extension == embedding:
        return "sequence: float16"
    if last in IMAGE_EXTENSIONS:
        return "dtype: image"
    if last in _READ_OTHERWISE:
        return None
    if last in _OBJECTS:
        return "dtype: json"
    if last in _INTEGERS:
        return "dtype: int64"
    return "dtype: string" if last in _TEXTS or extension.startswith("__") else "dtype: binary"


def _text(manifest: Mapping[str, Any], members: Mapping[str, int]) -> Iterator[str]:
    counts, software = manifest["counts"], manifest["software"]
    yield "# Curated images"
    yield ""
    yield (
        f"{counts['kept']:,} images that Beam Curator {software.get('beam-curator', '')} kept of {counts['seen']:,}: "
        "WebDataset tars with their own members bit for bit, embeddings and scores; `samples/` has a row for every "
        "image of the input, also for those that were dropped or failed, with the reason."
    )
    yield from _how_to_load(bool(members))
    yield from _table("What became of the input", ("", "samples"), _counted(manifest))
    yield from _table("Models", ("step", "model", "sha256"), _models(manifest["models"]))
    counted = [(f"`{name}`", f"{count:,}") for name, count in members.items()]
    yield from _table("Members", ("extension", "samples"), counted)


def _how_to_load(has_tars: bool) -> Iterator[str]:
    yield from ("", "```python", "from datasets import load_dataset", "")
    if has_tars:
        yield 'images = load_dataset("DIRECTORY", split="train", streaming=True)'
        yield 'rows = load_dataset("parquet", data_files="DIRECTORY/[0-9]*.parquet", split="train")'
    yield 'ledger = load_dataset("parquet", data_files="DIRECTORY/samples/*.parquet", split="train")'
    yield 'scores = load_dataset("parquet", data_files="DIRECTORY/scores/*.parquet", split="train")  # with embeddings'
    yield "```"


def _counted(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = manifest["counts"]
    told = [("seen", counts["seen"]), ("**kept**", counts["kept"])]
    told += [(f"dropped: {_plain(name)}", count) for name, count in counts["dropped_by_rule"].items()]
    told += [(f"failed: {_plain(name)}", count) for name, count in counts["failed_by_reason"].items()]
    return [(name, f"{count:,}") for name, count in told]


def _models(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    found = []
    for step, model in sorted(models.items()):
        notes = [*([] if model.get("trained", True) else ["untrained"]), *(model.get("notes") or ())]
        name = _plain(str(model.get("name")) + (f" ({', '.join(notes)})" if notes else ""))
        found.append((_plain(step), name, model.get("sha256") or ""))
    return found


def _plain(text: str) -> str:
    """Escapes text for a cell of a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", f"## {title}", "")
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"
