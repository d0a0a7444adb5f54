"""`Facts`: what is known of a job from the transforms that a PCollection comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform

from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.output.score_steps import ScoreStep, Wanted


@dataclasses.dataclass(frozen=True)
class Facts:
    """The facts of a job that are known when its pipeline is built, from the transforms that it is made of.

    Attributes:
      patterns: patterns of the input, sorted; empty if `MatchShards` does not match it.
      range_mb: about how large ranges are, in MiB; None if `PlanRanges` does not cut them.
      rules: names of all rules, in the order in which they are tried.
      encoder: the encoder; None if nothing is embedded.
      steps: the scorers, in the order of the pipeline.
      flags: other settings, by the names of the command's flags.
      left_out: output directories that are no input, though patterns may match files in them.
      left: if rows come with only some of their columns, what the job wants of each range, by which the others are read
        again from score parts; else None.
    """

    patterns: Sequence[str] = ()
    range_mb: float | None = None
    rules: Sequence[str] = ()
    encoder: ModelIdentity | None = None
    steps: Sequence[ScoreStep] = ()
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    left_out: Sequence[str] = ()
    left: Wanted | None = None


def facts_of(collection: beam.pvalue.PValue) -> Facts:
    """The facts of all transforms upstream of a PCollection: each tells its own in a property `facts`."""
    patterns: list[str] = []
    rules: list[str] = []
    encoder: ModelIdentity | None = None
    steps: list[ScoreStep] = []
    flags: dict[str, Any] = {}
    range_mb: float | None = None
    left_out: list[str] = []
    left: Wanted | None = None
    for transform in transforms_before(collection):
        facts = getattr(transform, "facts", {})
        patterns += facts.get("patterns", ())
        rules += facts.get("rules", ())
        encoder = facts.get("encoder", encoder)
        steps += [step for step in facts.get("steps", ()) if step not in steps]
        flags |= facts.get("flags", {})
        range_mb = facts.get("range_mb", range_mb)
        left_out += facts.get("left_out", ())
        left = facts.get("left", left)
    return Facts(sorted(set(patterns)), range_mb, rules, encoder, steps, flags, sorted(set(left_out)), left)


def check_before_duplicates(batches: beam.pvalue.PValue, step: str) -> None:
    """Raises UsageError where duplicates are dropped before a step that may drop what stays in their place."""
    if "duplicates" in facts_of(batches).flags:
        raise UsageError(
            f"{step} comes after DropDuplicates, and would drop samples whose duplicates are gone already: let "
            "DropDuplicates, once, with all its kinds, be the last step before WriteShards"
        )


def transforms_before(collection: beam.pvalue.PValue) -> Iterator[Any]:
    """Yields all transforms that a PCollection depends on, each once; an earlier one first, a composite before its
    parts."""
    seen: set[int] = set()
    for applied in _applied_before(collection, seen):
        if applied.transform is not None:
            yield applied.transform


def _applied_before(collection: beam.pvalue.PValue, seen: set[int]) -> Iterator[AppliedPTransform]:
    producer = collection.producer
    if producer is None or id(producer) in seen:
        return
    seen.add(id(producer))
    for value in (*producer.inputs, *(side.pvalue for side in producer.side_inputs)):
        yield from _applied_before(value, seen)
    outer = []
    parent = producer.parent
    while parent is not None and id(parent) not in seen:
        seen.add(id(parent))
        outer.append(parent)
        parent = parent.parent
    yield from reversed(outer)
    yield producer
