"""The rule on captions that many samples share, such as a shop's slogan: they say nothing about the picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.rule_tally import RuleTally
from beam_curator.rules.lists import ids_of


@dataclasses.dataclass(frozen=True)
class CaptionRepeats:
    """Drops samples whose caption occurs too often in the whole input.

    Every sample that has a caption counts, kept or not, so that other rules do not change the counts. Captions are
    compared without whitespace around them and with each run of whitespace in them as one space, as COYO-700M does it;
    upper and lower case differ.

    Attributes:
      most: how often a caption may occur, 1 or more.
    """

    most: int

    @property
    def name(self) -> str:
        """The reason in the ledger for what it drops."""
        return f"caption_repeats > {self.most}"


CAPTION_REPEATS = "caption_repeats"
"""The column with how often a sample's caption occurs in the whole input; null for a sample without one."""


def caption_ids(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the m rows that have a caption, int64 [m], and the ids of these captions, S16 [m]."""
    texts = [" ".join(caption.split()) if caption else "" for caption in table["caption"].to_pylist()]
    indices = np.array([index for index, text in enumerate(texts) if text], np.int64)
    return indices, ids_of([texts[index] for index in indices])


def counts_of(ids: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Counts how often each caption occurs in several ranges together.

    Args:
      ids: for each range, S16 [m] of its captions.

    Returns:
      For each range, int64 [m].
    """
    if not ids:
        return []
    _, place, count = np.unique(np.concatenate(ids), return_inverse=True, return_counts=True)
    return np.split(count[place.ravel()], np.cumsum([len(one) for one in ids])[:-1])


def drop_repeated(
    table: pa.Table, rule: CaptionRepeats, repeated: np.ndarray, counts: np.ndarray
) -> tuple[pa.Table, dict[str, RuleTally]]:
    """The rows with the column `caption_repeats`, and those dropped whose caption occurs too often; and the rule's
    tally.

    Args:
      table: n rows.
      rule: how often is too often.
      repeated: int64 [m], indices of the rows whose caption occurs more than once.
      counts: int64 [m], how often each of these captions occurs.
    """
    has_caption = np.array([bool(text) and not text.isspace() for text in table["caption"].to_pylist()], bool)
    repeats = has_caption.astype(np.int64)
    repeats[repeated] = counts
    table = rows.with_column(
        table, CAPTION_REPEATS, pa.array(repeats, mask=~has_caption), pa.int64(), rows.OUTCOME_ROLE
    )
    status, reason = (np.asarray(table[name].to_pylist(), dtype=object) for name in ("status", "reason"))
    comes_often = repeats > rule.most
    undecided = status == rows.KEPT
    dropped = undecided & comes_often
    tally = RuleTally(
        int(undecided.sum()), dropped=int(dropped.sum()), alone=int((comes_often & (status != rows.FAILED)).sum())
    )
    status[dropped], reason[dropped] = rows.DROPPED, rule.name
    return rows.with_column(rows.with_column(table, "status", status), "reason", reason), {rule.name: tally}
