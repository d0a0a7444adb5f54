"""Duplicates, checked without trusting the job: what went has a keeper that stays, and no two that stay are duplicates.

Hashes and embeddings are compared again, with other cells than the job's. No file of `edges/` is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

from beam_curator.duplicates.competitors import samples_of
from beam_curator.duplicates.settings import settings_of_flags
from beam_curator.errors import JobError, UsageError
from beam_curator.output.against import competitors_of_output
from beam_curator.output.ledger import LEDGER_DIRECTORY
from beam_curator.output.manifest import MANIFEST
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.output.stored_vectors import stored_vectors
from beam_curator.verification.differences import Difference
from beam_curator.verification.dropped_duplicates import DroppedDuplicates
from beam_curator.verification.finished import FinishedJob
from beam_curator.verification.kept_duplicates import KeptSamples
from beam_curator.verification.recorded import UNREADABLE

_TOLD = ("reason", "duplicate_of", "duplicate_kind", "duplicate_distance")


@dataclasses.dataclass(frozen=True)
class DuplicatesChecked:
    """Counts what was compared.

    Attributes:
      dropped: duplicates, each with its keeper.
      kept: kept samples of the job.
      sampled: how many different embeddings, spread evenly in the order of keepers, were compared with all others; None
        where all were.
    """

    dropped: int
    kept: int
    sampled: int | None


def check_duplicates(finished: FinishedJob) -> Generator[Difference, None, DuplicatesChecked | None]:
    """Checks what was promised of duplicates: yields what is not so; returns None if the job did not look for any, or
    if they cannot be checked."""
    try:
        settings = settings_of_flags(finished.manifest.get("flags") or {})
    except (UsageError, TypeError) as error:
        yield Difference(MANIFEST, f"does not say in one way what a duplicate is: {error}")
        return None
    if settings is None:
        return None
    try:
        own = competitors_of_output(finished.output, settings, _TOLD)
        others = [competitors_of_output(other, settings) for other in settings.against]
    except (*UNREADABLE, KeyError, JobError) as error:
        yield Difference(LEDGER_DIRECTORY, f"duplicates cannot be checked: {error}")
        return None
    if not sum(len(range.table) for range in own):
        return None
    samples = samples_of([*others, own], settings)
    with stored_vectors([range.part for range in samples.ranges], samples.sizes) as vectors:
        dropped, kept = DroppedDuplicates(samples, settings, vectors), KeptSamples(samples, settings, vectors)
        try:
            yield from dropped.reasons()
            yield from dropped.keepers()
            yield from kept.differences()
        except (*UNREADABLE, JobError) as error:
            yield Difference(SCORES_DIRECTORY, f"duplicates cannot be checked: {error}")
            return None
    went = samples.table["duplicate_of"].is_valid().to_numpy()[~samples.base]
    return DuplicatesChecked(int(went.sum()), int(samples.competes.sum()), kept.sampled)
