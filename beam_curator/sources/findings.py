"""Says in words what is suspected of shards whose samples may not be what they were meant to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator.first_few import counted
from beam_curator.samples import DOTTED_NAMES, REPEATED_KEYS, RETURNING_KEYS
from beam_curator.sources.told_places import told_place

REPACK = "mkdir X && tar -xf SHARD -C X && tar --sort=name -cf NEW.tar -C X ."


def describe(kind: str, findings: Sequence[Mapping[str, Any]]) -> str:
    """Sums up in one line all findings of a kind.

    Args:
      kind: one of `KINDS`.
      findings: one of each shard, at least one, as the manifest has it: shard, offset, first, samples.
    """
    samples, first = sum(finding["samples"] for finding in findings), findings[0]
    shards = f" of {len(findings):,} shards" if len(findings) > 1 else ""
    where = f"the first is {first['first']} {told_place(first['shard'], first['offset'])}"
    return _WORDS[kind](f"{counted(samples, 'sample')}{shards}", where, first["first"])


def _returning(samples: str, first: str, _: str) -> str:
    return (
        f"members stand apart from their samples: in {samples} the key stood before in the shard, and other "
        f"keys between ({first}). They are not joined: add --group_by_key, or repack by name: {REPACK}"
    )


def _repeated(samples: str, first: str, _: str) -> str:
    return f"keys are repeated: in {samples} the key stood before in the shard, with the same extensions ({first})"


def _dotted(samples: str, first: str, name: str) -> str:
    directory, slash, base = name.rpartition("/")
    stem, dot, extension = base.rpartition(".")
    renamed = f"{directory}{slash}{stem.replace('.', '_')}{dot}{extension}"
    return (
        f"names have dots: in {samples} several images differ only after the first dot, where a key ends ({first}). "
        f"If each is a sample of its own, repack without the inner dots, as {renamed}"
    )


_WORDS = {RETURNING_KEYS: _returning, REPEATED_KEYS: _repeated, DOTTED_NAMES: _dotted}
KINDS = tuple(_WORDS)
