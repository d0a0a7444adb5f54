"""Reads from the flags how to look for duplicates, and checks it before any work."""

from __future__ import annotations

from collections.abc import Sequence

from beam_curator.commands.options import CurationOptions
from beam_curator.duplicates.order import NEEDS
from beam_curator.duplicates.settings import DuplicateSettings, check_put_to_use, settings_of_flags
from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import Column
from beam_curator.output.against import check_against

_COMPUTED = {"aesthetic": "--aesthetic_model", "similarity": "--similarity"}
"""The flags that have scores computed."""


def duplicates_of(
    options: CurationOptions, columns: Sequence[Column], encoder: ModelIdentity | None
) -> DuplicateSettings | None:
    """Reads from the flags how to look for duplicates; None for not at all.

    Args:
      options: the flags.
      columns: the scores that there are going to be.
      encoder: what embeds.

    Raises:
      UsageError: for what cannot be meant, and for another output that cannot be compared with.
    """
    flags = options.get_all_options()
    settings = settings_of_flags(flags)
    if settings is None:
        return None
    check_put_to_use(settings.kinds, flags)
    needed = NEEDS.get(settings.keep)
    if needed and needed not in {column.name for column in columns if column.type != "text"}:
        raise UsageError(
            f"--keep {settings.keep}: this job has no score {needed} of numbers: have it computed "
            f"({_COMPUTED[needed]}), or keep by another order"
        )
    check_against(settings, options.output, encoder)
    return settings
