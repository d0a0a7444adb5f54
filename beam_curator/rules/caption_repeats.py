"""Captions that many samples share, such as "image for" or a shop's slogan: they say nothing of their picture."""

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
    """Drops samples whose caption comes too often in the whole input.

    Every sample counts that has a caption, kept or not, so that other rules make no difference. Captions are the same
    if they are without whitespace around them and with each run of whitespace in them as one space, as COYO-700M has
    it; capitals count.

    Attributes:
      most: how often a caption may come, 1 or more.
    """

    most: int

    @property
    def name(self) -> str:
        """The reason in the ledger for what it drops."""
        return f"caption_repeats > {self.most}"


def caption_ids(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a caption, by their indices: int64 [m], and the ids of these captions: S16 [m]."""
    texts = [" ".join(caption.split()) if caption else "" for caption in table["caption"].to_pylist()]
    indices = np.array([index for index, text in enumerate(texts) if text], np.int64)
    return indices, ids_of([texts[index] for index in indices])


def repeated(ids: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """Which captions come more often than that in all of these together: bool, in the shape of each.

    Args:
      ids: S16, of several ranges.
      most: how often is not too often.
    """
    if not ids:
        return []
    _, place, count = np.unique(np.concatenate(ids), return_inverse=True, return_counts=True)
    return np.split((count > most)[place.ravel()], np.cumsum([len(one) for one in ids])[:-1])


def drop_repeated(table: pa.Table, rule: CaptionRepeats, found: np.ndarray) -> tuple[pa.Table, dict[str, RuleTally]]:
    """The rows with those dropped whose caption comes too often, and how the rule fared.

    Args:
      table: n rows.
      rule: the rule.
      found: int64, the indices of the rows with such captions.
    """
    status = np.asarray(table["status"].to_pylist(), dtype=object)
    reason = np.asarray(table["reason"].to_pylist(), dtype=object)
    comes_often = np.zeros(len(table), bool)
    comes_often[found] = True
    undecided = status == rows.KEPT
    dropped = undecided & comes_often
    tally = RuleTally(
        int(undecided.sum()), dropped=int(dropped.sum()), alone=int((comes_often & (status != rows.FAILED)).sum())
    )
    status[dropped], reason[dropped] = rows.DROPPED, rule.name
    return rows.with_column(rows.with_column(table, "status", status), "reason", reason), {rule.name: tally}
