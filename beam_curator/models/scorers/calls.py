"""A scorer on a worker: loaded once, called in batches, and its answers checked. No Beam in it."""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from beam_curator import progress
from beam_curator.device_errors import DeviceLostError, is_lost, wants_memory
from beam_curator.errors import CurationError, JobError
from beam_curator.models.scorers.scorer import Column, Scorer, VectorScorer, values_by_column


@dataclasses.dataclass
class Answers:
    """The answers of a scorer for n items.

    Attributes:
      values: n values by column: float32 [n], NaN for no value; or a list of n flags or texts, None for no value. For a
        `VectorScorer`, under its name, float16 [n, dim], zeros for no value.
      failures: why the scorer failed on items, by their index.
      precision: `Scorer.precision` while it computed these; None if it has none, or was never called.
    """

    values: dict[str, Any]
    failures: dict[int, str]
    precision: str | None = None

    @classmethod
    def none(cls, columns: Sequence[Column], count: int) -> Answers:
        """Makes the answers that say nothing of so many items."""
        return cls({column.name: _nothing(column, count) for column in columns}, {})

    @classmethod
    def none_of(cls, scorer: Scorer, count: int) -> Answers:
        """Makes the answers that say nothing of so many items, by a scorer of any kind."""
        if isinstance(scorer, VectorScorer):
            return cls({scorer.name: np.zeros((count, scorer.dim), np.float16)}, {})
        return cls.none(scorer.columns, count)

    def put(self, indices: Sequence[int], answers: Answers) -> None:
        """Takes over the answers of some of the items, which have these indices here."""
        for name, values in answers.values.items():
            if isinstance(values, np.ndarray):
                self.values[name][list(indices)] = values
            else:
                for index, value in zip(indices, values, strict=True):
                    self.values[name][index] = value
        self.failures |= {indices[index]: why for index, why in answers.failures.items()}
        self.precision = answers.precision or self.precision


def _nothing(column: Column, count: int) -> Any:
    return np.full(count, np.nan, np.float32) if column.type == "number" else [None] * count


class LoadedScorer:
    """A scorer that is loaded by its first call, and called by one thread at a time unless it is `parallel`.

    Pickled, it is a scorer that is not loaded.

    Attributes:
      scorer: what is called.
      texts: what embeds captions for it, where it needs that; else None.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        texts = getattr(scorer, "texts", None)
        self.texts = LoadedScorer(texts) if isinstance(texts, VectorScorer) else None
        self._lock, self._loaded = threading.Lock(), False

    def __reduce__(self) -> tuple[type[LoadedScorer], tuple[Scorer]]:
        return LoadedScorer, (self.scorer,)

    def __call__(self, items: Any) -> Answers:
        """Calls the scorer on n items, n at least 1: a sequence, or an array whose first dimension is n.

        Raises:
          JobError: when it answers with another number of values, cannot do with the memory that there is, or is not
            for these embeddings at all.
        """
        with self._lock:
            if not self._loaded:  # a worker with nothing to score loads nothing
                with progress.BOARD.loading(self.scorer.name):
                    _load(self.scorer)
                self._loaded = True
            if not getattr(self.scorer, "parallel", False):
                return self._answers(items)
        return self._answers(items)

    def _answers(self, items: Any) -> Answers:
        answers, precision = _answers(self.scorer, items), getattr(self.scorer, "precision", None)
        if precision is not None and not isinstance(precision, str):
            raise JobError(f"scorer {self.scorer.name}: precision={precision!r}: give text, such as 'fp32', or None")
        answers.precision = precision
        return answers


def _load(scorer: Scorer) -> None:
    try:
        scorer.load()
    except CurationError:
        raise
    except BaseException as error:
        _pass_on(error)
        _check_device(scorer, error)
        if wants_memory(error):
            raise JobError(
                f"scorer {scorer.name} does not fit in memory (load() raised {_said(error)}): free memory, or take a "
                "larger device or a smaller model"
            ) from error
        raise JobError(f"scorer {scorer.name}: load() raised {_said(error)}") from error


def _pass_on(error: BaseException) -> None:
    """Raises a user's Ctrl-C again, which comes to the main thread alone. All else is the scorer's own, among it what
    would end the program or cancels a task."""
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise error


def _check_device(scorer: Scorer, error: BaseException) -> None:
    """Raises DeviceLostError where the scorer raised because the GPU is lost: no sample is to fail for that."""
    torch = sys.modules.get("torch")  # a scorer that uses none loads none
    if torch is not None and torch.cuda.is_initialized() and is_lost("cuda"):
        look = "look into what the scorer does there"
        raise DeviceLostError.after(error, "cuda", f"scorer {scorer.name}", look) from error


def _answers(scorer: Scorer, items: Any) -> Answers:
    try:
        given = scorer(items)
    except CurationError:  # ours: it concerns the whole job
        raise
    except BaseException as error:
        _pass_on(error)
        _check_device(scorer, error)
        if len(items) == 1:
            return _failed(scorer, error)
        at_once = -(-len(items) // 2) if wants_memory(error) else 1
    else:
        at_once = len(items)
    if at_once < len(items):  # here the exception holds nothing any more of what was on the device
        return _in_pieces(scorer, items, at_once)
    if isinstance(scorer, VectorScorer):
        return Answers({scorer.name: given}, {})
    return _checked(scorer, values_by_column(scorer, given), len(items))


def _failed(scorer: Scorer, error: BaseException) -> Answers:
    """Makes the answer for one sample by itself on which the scorer raised."""
    if wants_memory(error):
        raise JobError(
            f"scorer {scorer.name}: not even one sample at a time fits in memory ({_said(error)}): free memory, or "
            "take a larger device"
        ) from error
    failed = Answers.none_of(scorer, 1)
    failed.failures[0] = f"scorer {scorer.name} raised {_said(error)}"
    return failed


def _in_pieces(scorer: Scorer, items: Any, at_once: int) -> Answers:
    """Calls the scorer with fewer items at a time: halves where memory was wanting, else one by one, to find what it
    raises on."""
    count = len(items)
    answers = Answers.none_of(scorer, count)
    for start in range(0, count, at_once):
        end = min(start + at_once, count)
        answers.put(range(start, end), _answers(scorer, items[start:end]))
    return answers


def _said(error: BaseException) -> str:
    try:
        text = str(error).strip().split("\n", 1)[0]
    except Exception:  # its __str__ is the user's code as well
        text = ""
    shown = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return shown.encode("utf-8", "backslashreplace").decode()


def _checked(scorer: Scorer, given: Any, count: int) -> Answers:
    if not isinstance(given, Mapping):
        raise JobError(f"scorer {scorer.name} gave a {type(given).__name__}: with several columns it gives a mapping")
    answers = Answers({}, {})
    for column in scorer.columns:
        if column.name not in given:
            raise JobError(f'scorer {scorer.name} gave no "{column.name}", which is among its columns')
        values = given[column.name]
        length = _length(values)
        if length != count:
            what = f"a {type(values).__name__}" if length is None else f"{length:,} values"
            raise JobError(f"scorer {scorer.name} gave {what} of {column.name} for {count:,} samples")
        shape = tuple(getattr(values, "shape", (count,)))
        if len(shape) != 1:
            raise JobError(
                f"scorer {scorer.name} gave an array of shape {shape} of {column.name}: it is to have one dimension, "
                f"({count},)"
            )
        answers.values[column.name] = _values(scorer, column, values, answers.failures)
    return answers


def _length(values: Any) -> int | None:
    """Counts values; None of what is no sequence of values."""
    if isinstance(values, (str, bytes, Mapping, Set)):  # a set has no order
        return None
    try:
        return len(values)
    except TypeError:  # an array without dimensions has a __len__ as well
        return None


def _values(scorer: Scorer, column: Column, values: Any, failures: dict[int, str]) -> Any:
    """The values as their column has them; notes what is none."""
    if column.type == "number" and isinstance(values, np.ndarray) and values.dtype.kind in "fiu" and values.ndim == 1:
        with np.errstate(over="ignore"):
            numbers = np.ma.filled(values.astype(np.float32), np.nan)  # what is masked is no value
        if not np.isinf(numbers).any():
            return numbers
        values = values.tolist()  # to be told one by one
    found = _nothing(column, len(values))
    for index, value in enumerate(values):
        try:
            plain = _PLAIN[column.type](value)
        except Exception:  # a value's conversion may be the user's code
            plainly = isinstance(value, (float, np.floating)) or (isinstance(value, str) and len(value) < 40)
            shown = str(value) if plainly else f"a {type(value).__name__}"
            failures.setdefault(index, f"scorer {scorer.name} gave what is no {column.type}: {shown} for {column.name}")
        else:
            found[index] = plain
    return found


_LARGEST = float(np.finfo(np.float32).max)


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, (str, bytes, complex, np.complexfloating)):
        raise TypeError(value)
    number = float(value)
    if abs(number) > _LARGEST:
        raise ValueError(value)
    return number


def _flag(value: Any) -> bool | None:
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    raise TypeError(value)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return None if value is None else value.encode("utf-8", "backslashreplace").decode()
    raise TypeError(value)


_PLAIN = {"number": _number, "flag": _flag, "text": _text}


def with_worst(answers: Answers, columns: Sequence[Column], more: Answers, more_of: Sequence[int]) -> Answers:
    """The answers of samples of which all images count: of each column the worst among a sample's images.

    Args:
      answers: of n first images.
      columns: what they hold.
      more: of m other images.
      more_of: the sample of each of these, m indices.
    """
    of = np.asarray(more_of, np.int64)
    for column in columns:
        values, others = answers.values[column.name], more.values[column.name]
        if column.type == "number":
            (np.fmin if column.worse == "lower" else np.fmax).at(values, of, others)
        elif column.type == "flag":
            for index, other in zip(of.tolist(), others, strict=True):
                if other is not None and (values[index] is None or other == (column.worse == "higher")):
                    values[index] = other
    for index, why in more.failures.items():
        answers.failures.setdefault(int(of[index]), why)
    return answers
