"""Compares a new command with the job that stands in its output directory: what both have in common, and what is told
of the rest.

A directory is another job's where another encoder embedded, or where none of its shards is in the input. All else goes
on with the scores that are there: more shards, fewer, moved or changed ones, and other patterns for the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from beam_curator.errors import UsageError
from beam_curator.field_names import ALL, NONE
from beam_curator.first_few import counted
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.told_settings import flags_apart
from beam_curator.models.scorers.scorer import ON_EMBEDDINGS
from beam_curator.output.score_steps import ScoreStep
from beam_curator.reading import Reading
from beam_curator.sources.shard_identity import KnownShard

_LOOKED_FOR = 100
"""So many shards that are no longer matched are looked for, to tell those that are gone."""


class Parts(Protocol):
    """The score parts of a directory: whether there are any, and how many, which is asked for only where it is told."""

    def __bool__(self) -> bool: ...

    @property
    def count(self) -> int: ...


def loss(output: str, parts: Parts) -> str:
    """Says what --overwrite costs, wherever it is named."""
    if not parts:
        return "--overwrite begins anew (nothing is scored there yet)"
    files = counted(parts.count, "file")
    return f"--overwrite begins anew, and throws away the scores in {output}/scores ({files}), which a model computed"


def check_encoder(output: str, parts: Parts, was: ModelIdentity | None, now: ModelIdentity | None) -> None:
    """Raises UsageError where another encoder embedded what is in the directory. Other scorers are no other job."""
    if was is None or now is None or was == now:
        return
    apart = flags_apart(was, now)
    if apart is not None:
        raise UsageError(
            f"--output {output} holds another job's output: it was embedded with {apart[0]}, and this command says "
            f"{apart[1]}. Give {apart[0]}, or another directory; {loss(output, parts)}"
        )
    raise UsageError(
        f"--output {output} holds another job's output: its embeddings are of {was}, not of {now}. "
        f"Give another directory; {loss(output, parts)}"
    )


def scorer_notes(was: Sequence[ScoreStep], now: Sequence[ScoreStep]) -> list[str]:
    """Tells the user, a line each, of scorers that the standing job has not run."""
    before = {step.name: step for step in was}
    lines = []
    for step in now:
        known = before.get(step.name)
        if known is not None and step.gives(known):
            continue
        how = "from the shards again, embedding nothing" if step.needs == "pixels" else "from what is stored"
        how = "from the stored embeddings; no image is read" if step.needs in ON_EMBEDDINGS else how
        is_what = f"was {known.identity}, is {step.identity}" if known else f"is new, {step.identity}"
        lines.append(f"{step.name} {is_what}; what is not stored of it is computed {how}")
    return lines


def check_same_scores(output: str, was: str, now: str, parts: Parts) -> None:
    """Raises UsageError where a job would take scores from elsewhere than the one that stands in its directory did.

    Args:
      output: the directory.
      was, now: the output directories from which they were taken and are to be; "" for the job's own.
      parts: the score parts that the directory has.
    """
    if was and not now:
        raise UsageError(
            f"--output {output} has no scores of its own: give --scores_from {was} again, or another directory"
        )
    if now and parts:
        raise UsageError(f"--output {output} has scores of its own: leave --scores_from out, or give another directory")


def check_shards(
    output: str,
    parts: Parts,
    known: Sequence[KnownShard],
    found: Sequence[KnownShard],
    fewer_shards: bool,
    exists: Callable[[KnownShard], bool],
) -> None:
    """Raises UsageError for an input that has nothing of the standing job's, or leaves out what is still there.

    Args:
      output: the directory.
      parts: the score parts that it holds.
      known: the shards of the standing job.
      found: the shards of the input, under the urls of the standing job.
      fewer_shards: whether the user wants to leave some out.
      exists: whether a shard is still there.
    """
    here = {one.url for one in found}
    last = [one for one in known if one.matched]
    if known and not here & {one.url for one in known}:
        raise UsageError(
            f"--output {output} holds another job's output: none of its {_shards(known)} is among the {_shards(found)} "
            f"of --input. Give another directory, or all shards together; {loss(output, parts)}"
        )
    left_out = [one for one in last if one.url not in here]
    there = [one for one in left_out[:_LOOKED_FOR] if exists(one)]
    if there and not fewer_shards:
        raise UsageError(
            f"--output {output} holds a job of {_shards(last)}, and --input leaves out {len(left_out):,} of them, such "
            f"as {there[0].place}: give all of them, another directory, or --fewer_shards to leave them out of the "
            "selection and keep their scores"
        )


def notes(known: Sequence[KnownShard], found: Sequence[KnownShard]) -> list[str]:
    """Tells the user, a line each, how the input differs from that of the standing job, before the work begins.

    Args:
      known: the shards of the standing job.
      found: those of the input, under the same urls.
    """
    before = {one.url: one for one in known}
    here = {one.url for one in found}
    both = [(before[one.url], one) for one in found if one.url in before]
    changed = [now for was, now in both if was.generation and not was.same_content(now)]
    moved = [(was, now) for was, now in both if was.place != now.place and was.same_content(now)]
    left_out = [one for one in known if one.matched and one.url not in here]
    lines = []
    if changed:
        lines.append(
            f"{_of(changed, found)} changed since the last run, first {changed[0].path}: what it holds is scored again"
        )
    if moved:
        was, now = moved[0]
        from_to = (now.url, now.path) if now.url != now.path else (was.place, now.place)  # as the output moved as well
        lines.append(
            f"{_of(moved, found)} moved, first {' to '.join(from_to)}: the ledger keeps the names, and the scores are "
            "used"
        )
    back = [now for was, now in both if not was.matched]
    if back:
        lines.append(f"{_are(back)} back in the input, first {back[0].url}: in the selection again")
    if left_out:
        lines.append(
            f"{_are(left_out)} no longer in the input, first {left_out[0].url}: out of the selection, scores are kept"
        )
    return lines


def notes_of_reading(standing: Mapping[str, Any], now: Reading) -> list[str]:
    """Tells the user, a line each, of flags by which samples are read in another way than in the standing job.

    Args:
      standing: the manifest of the standing job.
      now: how the command reads its input.
    """
    before = standing.get("reading")
    if not isinstance(before, Mapping):
        return []  # a pipeline of the library that reads its inputs in several ways, or an early release
    several = int(standing.get("several_images") or 0)
    apart = ways_apart(before, now, several)
    if apart is None:
        return _notes_of_fields(before.get("carry") or (), now.carry)
    here, there = apart
    again = "all samples are read in another way, and scored again"
    if _changed(before, now) == [_SEVERAL_IMAGES]:
        again = f"ranges of shards with any of the {counted(several, 'sample')} with several images are scored again"
    return [f"this command says {here}, the last run {there}: {again}"]


def ways_apart(before: Mapping[str, Any], now: Reading, several_images: int) -> tuple[str, str] | None:
    """The flags by which samples are read in another way than before: those of now, and those of before; None where
    they are read in the same way.

    Args:
      before: the reading that a manifest tells.
      now: how a command reads its input.
      several_images: how many samples with several images were met.
    """
    changed = _changed(before, now)
    if not changed or (changed == [_SEVERAL_IMAGES] and not several_images):
        return None
    here, there = (" ".join(_flag(name, values.get(name)) for name in changed) for values in (now.identity, before))
    return here, there


def _changed(before: Mapping[str, Any], now: Reading) -> list[str]:
    """Names the settings of reading that are different now."""
    names = [*now.identity, *(name for name in _COLUMNS if before.get(name) and name not in now.identity)]
    return [name for name in names if before.get(name, now.identity.get(name)) != now.identity.get(name, "")]


_COLUMNS = ("image_column", "caption_column")


def _notes_of_fields(was: Sequence[str], now: Sequence[str]) -> list[str]:
    """Says that shards are read again for fields that the last run did not carry; nothing if it carried all of them."""
    if list(was) == [ALL] or set(now) <= set(was):
        return []
    return [
        f"--carry {','.join(now)}: what the last run did not carry is read from the shards again, embedding nothing; "
        f"--carry {','.join(was) or NONE} spares that"
    ]


_SEVERAL_IMAGES = "several_images"


def _flag(name: str, value: Any) -> str:
    if value is True:
        return f"--{name}"
    return f"--{name} {value if isinstance(value, str) else ','.join(value)}" if value else f"no --{name}"


def merged(known: Sequence[KnownShard], found: Sequence[KnownShard]) -> list[KnownShard]:
    """Makes the list of shards that job.json remembers after this run: those of the input, and those that are no longer
    in it."""
    here = {one.url for one in found}
    shards = [one.remembered(matched=True) for one in found]
    shards += (one.remembered(matched=False) for one in known if one.url not in here)
    shards.sort(key=lambda one: one.url)
    return shards


def _shards(some: Collection[KnownShard]) -> str:
    first = min(one.url for one in some)
    return f"{counted(len(some), 'shard')} (first {first})"


def _of(some: Collection[Any], all: Collection[KnownShard]) -> str:
    return f"{len(some):,} of {counted(len(all), 'shard')} {'have' if len(some) > 1 else 'has'}"


def _are(some: Collection[KnownShard]) -> str:
    return counted(len(some), "shard is", "shards are")
