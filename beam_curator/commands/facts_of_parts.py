"""Rules on facts that score parts of an earlier release do not have: told before any work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.output.plans import PLANNING_THREADS
from beam_curator.output.score_parts import facts_in_part
from beam_curator.rules.missed_columns import check_users_rule
from beam_curator.rules.names import rule_name
from beam_curator.rules.rule import Rule, TableRule
from beam_curator.rules.top import Top
from beam_curator.samples import ShardRange
from beam_curator.storage.read_ahead import prefetched


def check_facts(
    directory: str,
    encoder: ModelIdentity,
    ranges: Callable[[], Iterable[ShardRange]],
    rules: Sequence[Rule],
    tops: Sequence[Top],
    columns: Mapping[str, str],
) -> None:
    """Raises UsageError for a rule on a fact that parts lack which are not scored anew. They are looked at only for a
    rule on one of the facts that some may lack.

    Args:
      directory: the output directory that has the scores.
      encoder: what embeds the images: what another one embedded is scored anew.
      ranges: gives those of the input.
      rules, tops: of the selection; nothing is to be said against them where parts have all facts.
      columns: what columns hold that rows of today have, by the names of `rows.types_of`.

    Raises:
      StorageError: when a part cannot be read, after retries.
    """
    wanted = {
        fact: told for fact in rows.OPTIONAL_FACTS.names if (told := next(_wanting(fact, rules, tops, columns), ""))
    }
    if not wanted:
        return

    def lacking(range: ShardRange) -> tuple[ShardRange, str | None]:
        there = facts_in_part(directory, range, encoder)
        return range, None if there is None else next((fact for fact in wanted if fact not in there), None)

    for one, fact in prefetched(lacking, ranges(), PLANNING_THREADS):
        if fact:
            raise UsageError(
                f'{wanted[fact]} wants a column "{fact}" that scores of an earlier release do not have, such as '
                f"those of {one.url}: leave it out, or have all scored anew with --overwrite"
            )


def _wanting(fact: str, rules: Sequence[Rule], tops: Sequence[Top], columns: Mapping[str, str]) -> Iterator[str]:
    """Yields, as messages name them, the rules and flags that can do nothing without a fact."""
    without = {name: type for name, type in columns.items() if name != fact}
    for rule in rules:
        told = rule.in_words if isinstance(rule, TableRule) else f'rule "{rule_name(rule)}"'
        if _is_refused(rule, columns):
            continue  # for a field of the samples' metadata, which others tell
        if _is_refused(rule, without):
            yield told
    for top in tops:
        if top.column == fact:
            yield f"--keep_top or --keep_best of {top.column}"


def _is_refused(rule: Rule, types: Mapping[str, str]) -> bool:
    with contextlib.suppress(UsageError):
        if isinstance(rule, TableRule):
            rule.check(types)
        else:
            check_users_rule(rule, types, None, ("all",))
        return False
    return True
