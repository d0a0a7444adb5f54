"""Rows of no sample, on which a function is tried: how values compare is chosen, so that each of its ways is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from beam_curator import rows

_MOST_WAYS = 64
"""A function of more is tried on so many of them."""

_MOST_ANSWERS = 10_000


class NeverEnds(BaseException):
    """A function compares made-up values again and again: no `except Exception` of its own keeps it from ending."""


class Choices:
    """Answers comparisons, one after the other; each new one is answered with yes at first."""

    def __init__(self, answers: list[bool]) -> None:
        self._answers, self._asked = answers, 0

    def __call__(self, *_: Any) -> bool:
        """The next answer.

        Raises:
          NeverEnds: after very many, as in a loop that waits for another answer.
        """
        if self._asked == _MOST_ANSWERS:
            raise NeverEnds
        if self._asked == len(self._answers):
            self._answers.append(True)
        self._asked += 1
        return self._answers[self._asked - 1]


def all_choices() -> Iterator[Choices]:
    """Choices until each answer that was asked for has been yes and no, as long as they are not too many."""
    answers: list[bool] = []
    for _ in range(_MOST_WAYS):
        yield Choices(answers)
        while answers and not answers[-1]:
            answers.pop()
        if not answers:
            return
        answers[-1] = False


def _chooses(self: Any, *_: Any) -> bool:
    return self.choose()


class _Number(int):
    """A number that compares as is chosen, and counts as 1."""

    choose: Callable[..., bool]
    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _chooses
    __hash__ = int.__hash__


class _Text(str):
    """A text that compares, contains and begins as is chosen."""

    choose: Callable[..., bool]
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _chooses
    startswith = endswith = _chooses
    __hash__ = str.__hash__


_OF_TYPE: Mapping[str, str | int | None] = {"number": 1, "text": "text", "flag": 1, rows.NOTHING: None}
_FINE_HASHES = ("phash256", "phash256_cropped", "phash256_clipped")
_OF_COLUMN = {"sha256": "0" * 64, "phash": "0" * 16, **dict.fromkeys(_FINE_HASHES, "0" * 64), "format": "jpeg"}

GUESSES = (1, "text", None)
"""The values that are tried for a column of which nobody knows what it holds."""


class MadeUpRow(dict[str, Any]):
    """A row that remembers what was asked for.

    Attributes:
      guessed: whether a column was asked for that may be there.

    Args:
      types: the columns that are there, and what they hold, by the names of `rows.types_of`.
      may_be_there: whether another one may be.
      guess: its value.
      choose: how values compare.
    """

    def __init__(
        self, types: Mapping[str, str], may_be_there: Callable[[str], bool], guess: str | int | None, choose: Choices
    ) -> None:
        super().__init__({name: _made_up(_OF_COLUMN.get(name, _OF_TYPE[type]), choose) for name, type in types.items()})
        self.guessed = False
        self._missed: KeyError | None = None
        self._may_be_there, self._guess = may_be_there, _made_up(guess, choose)

    def __missing__(self, name: Any) -> Any:
        if self._may_be_there(str(name)):
            self.guessed = True
            return self._guess
        self._missed = KeyError(name)
        raise self._missed

    def missed_by(self, error: BaseException | None) -> str | None:
        """The column for want of which this was raised; None where it was raised for another reason."""
        while error is not None and error is not self._missed:
            error = error.__cause__ or error.__context__
        return None if error is None else str(error.args[0])


def _made_up(value: str | int | None, choose: Choices) -> Any:
    """A value that compares as is chosen; None stays."""
    if value is None:
        return None
    made = _Text(value) if isinstance(value, str) else _Number(value)
    made.choose = choose
    return made
