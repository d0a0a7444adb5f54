"""A scorer: what gives one column or several of every sample."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.field_names import URL_DOMAIN
from beam_curator.identities import ModelIdentity, fault_of
from beam_curator.made_with import check_takes, made_with

Needs = Literal["embedding", "pixels", "caption", "row", "embedding+caption"]
"""What a scorer is called with."""

NEEDS: tuple[Needs, ...] = ("embedding", "pixels", "caption", "row", "embedding+caption")

ON_EMBEDDINGS: tuple[Needs, ...] = ("embedding", "embedding+caption")
"""What is computed from embeddings."""

ColumnType = Literal["number", "flag", "text"]
"""What a column holds: float32, true or false, or text; each with null where there is nothing."""

Worse = Literal["lower", "higher"]
"""Which values speak against an image."""

_NAME = re.compile("[a-z][a-z0-9_]{0,62}")


@dataclasses.dataclass(frozen=True)
class Column:
    """One column that a scorer gives.

    Attributes:
      name: in ledger, rules and `KEY.curation.json`: lower-case letters, digits and "_".
      type: what it holds.
      worse: which values speak against an image, "lower" or "higher": the worst decides for a sample all of whose
        images are scored (`Reading.several_images` "all"). Of text, that of its first image is taken.
    """

    name: str
    type: ColumnType = "number"
    worse: Worse = "lower"


@dataclasses.dataclass(frozen=True)
class EmbeddedCaptions:
    """What a scorer is called with that needs "embedding+caption"; a slice of it is one as well.

    Attributes:
      embeddings: float16 [n, dim], L2-normalised, of images.
      captions: n texts, none of them empty.
      texts: float16 [n, dim], L2-normalised, of these, where they are known.
    """

    embeddings: np.ndarray
    captions: Sequence[str]
    texts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, place: slice) -> EmbeddedCaptions:
        texts = None if self.texts is None else self.texts[place]
        return EmbeddedCaptions(self.embeddings[place], self.captions[place], texts)


class Scorer(Protocol):
    """What scores samples. Subclass it and set `name`, or write a class with all of these attributes.

    It is pickled on its way to the workers, and loaded there, once a process, by the first batch that comes.

    Attributes:
      name: of the scorer, and of its column where it has one.
      needs: what it is called with:
        "embedding": float16 [n, dim], L2-normalised, of the samples that have one;
        "pixels": a list of n pictures, uint8 [height, width, 3], upright RGB, decoded once for all;
        "caption": a list of n texts, of the samples that have one;
        "row": a list of n mappings, a sample's facts (the ledger's columns before scores);
        "embedding+caption": `EmbeddedCaptions` of n samples that have both.
      side: with "pixels", what the longer side of a picture is at most: larger ones are resized; None for full size.
      batch_size: with "pixels", the most pictures in one call.
      parallel: whether it may be called from several threads at once, on pixels and on stored embeddings.
      source: where its weights come from, for people.
      precision: after `load`, what its network computes in ("fp32", "bf16", "fp16"), where `identity` leaves that open
        by the precision "auto": values of different precision are told apart then, as embeddings are.
    """

    name: str
    needs: Needs = "embedding"
    side: int | None = None
    batch_size: int = 16
    parallel: bool = False
    source: str | None = None
    precision: str | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        check_takes(cls, Scorer, args, kwargs)
        scorer = super().__new__(cls)
        object.__setattr__(scorer, "_made_with", made_with(cls, args, kwargs))
        return scorer

    @property
    def columns(self) -> Sequence[Column]:
        """What it gives; one column of numbers under its own name, unless it says otherwise."""
        return (Column(self.name),)

    @property
    def identity(self) -> ModelIdentity:
        """What gives the values: scores of another identity are computed anew. Its name is the class's own, and the
        arguments that it was made with are noted, unless it says otherwise: then mend it whenever the scores change."""
        given = getattr(self, "_made_with", "")  # none of what was made around `__new__`
        notes = (f"made with {given}",) if given else ()
        return ModelIdentity(f"{type(self).__module__}:{type(self).__qualname__}", notes=notes)

    def load(self) -> None:
        """Gets ready, on the worker: reads weights, takes the device."""
        return  # an empty body would be abstract, and a scorer may have nothing to load

    def __call__(self, batch: Any) -> Any:
        """Scores a batch of n.

        Returns:
          n values in the order of the batch, or with several columns a mapping from each one's name to n values. None,
          or a number that is NaN, where there is no value.

        Raises:
          Exception: anything. The batch is then scored one by one, and what raises alone fails the sample, with its
          message.
        """
        raise NotImplementedError


TEXT_EMBEDDING = "text_embedding"
"""The scorer that embeds captions, and the column that holds what it gives."""


class VectorScorer(Scorer):
    """A scorer of ours that gives a vector of each sample in place of columns: they stay beside the rows, as embeddings
    do. It needs captions.

    Attributes:
      dim: length of a vector.
    """

    dim: int

    @property
    def columns(self) -> Sequence[Column]:
        return ()


def check_scorer(scorer: Any, what: str = "") -> None:
    """Raises UsageError for what is no scorer, in one line; `what` says how the user named it."""
    if isinstance(scorer, type):
        raise UsageError(
            f"{what or 'scorer'}: {scorer.__qualname__} is a class: give an object of it, {scorer.__qualname__}(...)"
        )
    named = what or f"scorer {type(scorer).__module__}:{type(scorer).__qualname__}"
    try:
        _check(scorer, named)
    except UsageError:
        raise
    except Exception as error:  # its attributes may be properties, which are the user's code
        raise UsageError(f"{named}: is no Scorer: {type(error).__name__}: {error}") from error


def _check(scorer: Any, named: str) -> None:
    lacking = [name for name in ("name", "needs", "columns", "identity", "load") if not hasattr(scorer, name)]
    if lacking or not callable(scorer):
        raise UsageError(f"{named}: is no Scorer: it has no {lacking[0] if lacking else '__call__'}")
    _check_name(named, "name", scorer.name)
    if scorer.needs not in NEEDS:
        raise UsageError(f"{named}: needs={scorer.needs!r}: it is one of {', '.join(NEEDS)}")
    if not isinstance(scorer.identity, ModelIdentity):
        raise UsageError(f"{named}: identity={scorer.identity!r} is no ModelIdentity")
    if (fault := fault_of(scorer.identity)) is not None:
        raise UsageError(f"{named}: identity: {fault}")
    if not scorer.columns and not isinstance(scorer, VectorScorer):
        raise UsageError(f"{named}: columns: a scorer gives one column at least")
    for column in scorer.columns:
        _check_column(column, named)
    if scorer.needs == "pixels":
        _check_pixels(scorer, named)


def _check_column(column: Any, named: str) -> None:
    if not isinstance(column, Column):
        raise UsageError(f"{named}: columns: {column!r} is no Column, such as Column('warmth', 'number')")
    _check_name(named, "column", column.name)
    if column.name in TAKEN_COLUMNS:
        raise UsageError(f'{named}: the column "{column.name}" is one that every ledger has: take another name')
    if column.type not in rows.SCORE_TYPES:
        raise UsageError(f"{named}: column {column.name}: type={column.type!r}: {', '.join(rows.SCORE_TYPES)}")
    if column.worse not in ("lower", "higher"):
        raise UsageError(f"{named}: column {column.name}: worse={column.worse!r}: lower, higher")


def _check_pixels(scorer: Any, named: str) -> None:
    for attribute, value in (("side", getattr(scorer, "side", 1)), ("batch_size", getattr(scorer, "batch_size", 1))):
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not whole and not (attribute == "side" and value is None):
            raise UsageError(f"{named}: {attribute}={value!r}: a whole number of 1 or more")


_OF_PARTS = ("embedding", "more_embeddings", "members", "headers_crc32", "extents")

_OF_OUTPUT = ("input_key", "uid", "json", URL_DOMAIN, "caption_repeats", "text_embedding")

TAKEN_COLUMNS = frozenset({*rows.NEW_SCHEMA.names, *rows.OUTCOME.names, *_OF_PARTS, *_OF_OUTPUT})
"""What no scorer may call a column of its own."""


def _check_name(named: str, what: str, name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{named}: {what}={name!r}: lower-case letters, digits and _, beginning with a letter")


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> Sequence[Column]: ...


def check_scorers(scorers: Sequence[_Named]) -> None:
    """Raises UsageError where two of these give the same column, or have the same name."""
    owners: dict[str, str] = {}
    names = [scorer.name for scorer in scorers]
    for scorer in scorers:
        if names.count(scorer.name) > 1:
            raise UsageError(f"two scorers are called {scorer.name}: give one of them another name")
        for column in scorer.columns:
            if column.name in owners:
                raise UsageError(f'both {owners[column.name]} and {scorer.name} give the column "{column.name}"')
            owners[column.name] = scorer.name


def values_by_column(scorer: Scorer, given: Any) -> Mapping[str, Any]:
    """What a call gave, by column."""
    columns = scorer.columns
    return {columns[0].name: given} if len(columns) == 1 and not isinstance(given, Mapping) else given
