"""The phases of a job, in their order, and when each was worked on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

PLANNING = "planning"
SCORING = "scoring"
REUSING = "reading scores"
COMPARING = "comparing duplicates"
SELECTING = "selecting"
WRITING = "writing"
REPORTING = "writing the report"

PHASES = (PLANNING, REUSING, SCORING, SELECTING, COMPARING, WRITING, REPORTING)
"""The phases in their order; a job may leave some out."""

SELECTING_AND_COMPARING = f"{SELECTING} and {COMPARING}"
"""The name of both phases together in a manifest: workers do not tell where selecting ends."""


@dataclasses.dataclass(frozen=True)
class Span:
    """The time in which a phase was worked on, from the beginning of the first worker to the end of the last.

    Attributes:
      began, ended: seconds since 1970, by the clocks of the workers.
      samples: how many samples were worked on.
    """

    began: float
    ended: float
    samples: int = 0

    def __add__(self, other: Span) -> Span:
        return Span(min(self.began, other.began), max(self.ended, other.ended), self.samples + other.samples)


def sum_spans(found: Iterable[Mapping[str, Span]]) -> dict[str, Span]:
    """The spans of all together, by phase."""
    spans: dict[str, Span] = {}
    for one in found:
        add_spans(spans, one)
    return spans


def add_spans(spans: dict[str, Span], one: Mapping[str, Span]) -> None:
    """Adds spans to others, in place."""
    for phase, span in one.items():
        spans[phase] = spans[phase] + span if phase in spans else span


def phases_told(
    spans: Mapping[str, Span], started: float, finished: float, compares: bool = False
) -> list[dict[str, Any]]:
    """The timings of a manifest: of each phase its name and seconds, and its samples and samples per second if it has
    any.

    Two phases have no span of their own: planning lasts until the first range is read; selecting, and comparing where
    duplicates are looked for, lasts from the last score until the first row is written.

    Args:
      spans: the spans that workers recorded, by phase.
      started, finished: when the job was, in seconds since 1970.
      compares: whether the job looks for duplicates.
    """
    scored = [spans[phase] for phase in (REUSING, SCORING) if phase in spans]
    found = {phase: span for phase, span in spans.items() if phase != WRITING}
    if scored:
        found[PLANNING] = Span(started, min(span.began for span in scored))
    if scored and WRITING in spans:
        between = SELECTING_AND_COMPARING if compares else SELECTING
        found[between] = Span(max(span.ended for span in scored), spans[WRITING].began)
    if WRITING in spans:
        found[WRITING] = Span(spans[WRITING].began, finished, spans[WRITING].samples)
    order = [*PHASES[: PHASES.index(WRITING)], SELECTING_AND_COMPARING, WRITING]
    return [_told(phase, found[phase]) for phase in order if phase in found]


def _told(phase: str, span: Span) -> dict[str, Any]:
    seconds = round(max(0.0, span.ended - span.began), 3)
    told: dict[str, Any] = {"phase": phase, "seconds": seconds}
    if span.samples:
        told["samples"] = span.samples
        told["samples_per_second"] = round(span.samples / seconds, 3) if seconds else None
    return told
