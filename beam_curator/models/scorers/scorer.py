"""`Scorer`: the protocol of what gives one or several score columns for each sample."""

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
"""The input of a scorer: see `Scorer.needs`."""

NEEDS: tuple[Needs, ...] = ("embedding", "pixels", "caption", "row", "embedding+caption")

ON_EMBEDDINGS: tuple[Needs, ...] = ("embedding", "embedding+caption")
"""The needs for which images have to be embedded."""

ColumnType = Literal["number", "flag", "text"]
"""The type of a column: float32, bool or text; null where there is no value."""

Worse = Literal["lower", "higher"]
"""Whether lower or higher values are the worse ones: see `Column.worse`."""

_NAME = re.compile("[a-z][a-z0-9_]{0,62}")


@dataclasses.dataclass(frozen=True)
class Column:
    """A column that a scorer gives.

    Attributes:
      name: name in ledger, rules and `KEY.curation.json`: lower-case letters, digits and "_".
      type: "number" (float32), "flag" (bool) or "text".
      worse: whether "lower" or "higher" values are the worse ones. Where all images of a sample are scored
        (`Reading.several_images` "all"), the sample gets its worst value; of text, that of its first image.
    """

    name: str
    type: ColumnType = "number"
    worse: Worse = "lower"


@dataclasses.dataclass(frozen=True)
class EmbeddedCaptions:
    """The argument of a scorer that needs "embedding+caption"; a slice of it is one as well.

    Attributes:
      embeddings: float16 [n, dim], L2-normalised, of the images.
      captions: n texts, none of them empty.
      texts: float16 [n, dim], L2-normalised, of the captions; None where they are not embedded.
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
    """Computes score columns. Derive from this class and set `name`, or write a class with all of these attributes.

    A scorer is pickled to be sent to workers; there `load` is called once in each process, before its first batch.

    Attributes:
      name: name of the scorer, and of its column if it has one.
      needs: what it computes from, and is called with:
        "embedding": float16 [n, dim], L2-normalised, of the samples that have one;
        "pixels": a list of n pictures, uint8 [height, width, 3], upright RGB, decoded once for all;
        "caption": a list of n texts, of the samples that have one;
        "row": a list of n mappings, a sample's facts (the ledger's columns before scores);
        "embedding+caption": `EmbeddedCaptions` of n samples that have both.
      side: with "pixels", the greatest length in pixels of a picture's longer side: larger ones are resized; None for
        full size.
      batch_size: with "pixels", the most pictures in one call.
      parallel: whether it may be called from several threads at once.
      source: where its weights come from, for people.
      precision: after `load`, the number format that its network computes in ("fp32", "bf16" or "fp16"), if the
        precision of `identity` is "auto": scores of different precision are then kept apart, as embeddings are.
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
        """The columns that it gives: by default one of numbers, with the scorer's name."""
        return (Column(self.name),)

    @property
    def identity(self) -> ModelIdentity:
        """Identity of the model: scores by another identity are computed anew. By default it is the name of the class
        with the arguments of its constructor. If you define it yourself, change it whenever the scores change."""
        given = getattr(self, "_made_with", "")  # none of what was made around `__new__`
        notes = (f"made with {given}",) if given else ()
        return ModelIdentity(f"{type(self).__module__}:{type(self).__qualname__}", notes=notes)

    def load(self) -> None:
        """Prepares for calls, on the worker: reads weights, moves them to the device."""
        return  # an empty body would be abstract, and a scorer may have nothing to load

    def __call__(self, batch: Any) -> Any:
        """Scores a batch.

        Args:
          batch: n of what `needs` names.

        Returns:
          n values in the order of the batch; with several columns, a mapping from each column's name to n values. None
          or NaN stand for no value.

        Raises:
          Exception: of any kind. The job then calls the scorer with one element at a time; samples for which it raises
            again fail with its message.
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
    """Raises UsageError if an object is no scorer; `what` is how the user named it, for the message."""
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
"""Names that no scorer may give to a column."""


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
    """The values of a call, by the name of their column."""
    columns = scorer.columns
    return {columns[0].name: given} if len(columns) == 1 and not isinstance(given, Mapping) else given
