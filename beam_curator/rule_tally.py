"""Counts of what each rule did, by which a rule that never answers is found before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from beam_curator.errors import JobError
from beam_curator.first_few import counted


@dataclasses.dataclass(frozen=True)
class RuleTally:
    """The tally of one rule on some samples.

    Attributes:
      samples: how many samples the rule was tried on: those that no earlier rule had dropped or failed.
      failed: on how many of them it raised an error, or returned something that is neither true nor false.
      none: for how many of them it returned None.
      example: the message of one failure: the first in alphabetical order, so that it is always the same one.
      dropped: how many of them it dropped.
      alone: how many samples it would drop if it were the only rule; None for a user's own rule, which is not called
        for samples that an earlier rule dropped.
    """

    samples: int = 0
    failed: int = 0
    none: int = 0
    example: str = ""
    dropped: int = 0
    alone: int | None = 0

    def __add__(self, other: RuleTally) -> RuleTally:
        example = min(filter(None, (self.example, other.example)), default="")
        return RuleTally(
            self.samples + other.samples,
            self.failed + other.failed,
            self.none + other.none,
            example,
            self.dropped + other.dropped,
            None if self.alone is None or other.alone is None else self.alone + other.alone,
        )

    @property
    def never_answered(self) -> bool:
        """Whether the rule answered for none of its samples. None for some of them may be how it says no."""
        return 0 < self.samples == self.failed + self.none


Tallies = Mapping[str, RuleTally]
"""The tally of each rule, by its name."""


def sum_tallies(tallies: Iterable[Tallies]) -> Tallies:
    """The tallies of all batches together."""
    total: dict[str, RuleTally] = {}
    for one in tallies:
        add_tallies(total, one)
    return total


def add_tallies(total: dict[str, RuleTally], one: Tallies) -> None:
    """Adds the tallies of a batch to others, in place."""
    for name, tally in one.items():
        total[name] = total.get(name, RuleTally()) + tally


def check_rules(tallies: Tallies) -> None:
    """Raises JobError for a rule that answered for none of the samples of the whole job."""
    for name, tally in tallies.items():
        if tally.never_answered:
            raise JobError(
                f"rule {name} {_fault(tally)}. The selection stands as it was, and scores are kept: mend the rule, "
                "and run the same command again"
            )


def _fault(tally: RuleTally) -> str:
    all = f"each of the {tally.samples:,} samples" if tally.samples > 1 else "the only sample"
    each = f"{all} that came to it"
    if not tally.failed:
        return (
            f"gave None for {each}: is its return missing? A rule returns True for what is kept, and False for what "
            "is not"
        )
    also_none = f" (or gave None: {counted(tally.none, 'time')})" if tally.none else ""
    return f"failed on {each}{also_none}: {tally.example}"
