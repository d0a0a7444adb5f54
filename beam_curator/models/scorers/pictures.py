"""Scorers that need pixels, on the pictures of one batch as they are decoded. No Beam in it.

A scorer's calls hold the same pictures whatever thread decodes which of them first: those of so many neighbours in the
batch. A call is made when the last of its pictures is there, by the thread that brought it.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from beam_curator.images import ImageError, reason_of
from beam_curator.models.scorers.calls import Answers, LoadedScorer, with_worst

Picture = NDArray[np.uint8]
"""uint8 [height, width, 3], upright RGB."""


@dataclasses.dataclass
class _Group:
    """Neighbours that go to a scorer in one call."""

    waiting: int
    pictures: dict[int, Picture] = dataclasses.field(default_factory=dict)


class PictureScoring:
    """Scores the pictures of one batch: call it with each picture as it is decoded."""

    def __init__(self, scorers: Sequence[LoadedScorer], count: int) -> None:
        """Takes the scorers, and the number of pictures, whose places are 0 to count - 1."""
        self._scorers, self._count = scorers, count
        self._lock = threading.Lock()
        self._answers = [Answers.none(one.scorer.columns, count) for one in scorers]
        self._groups = [self._new_groups(one) for one in scorers]

    def _new_groups(self, one: LoadedScorer) -> list[_Group]:
        size = max(1, one.scorer.batch_size)
        return [_Group(min(size, self._count - start)) for start in range(0, self._count, size)]

    def __call__(self, place: int, image: Image.Image | None) -> None:
        """Takes a picture, upright, of any mode; None where there is none that can be decoded.

        Raises:
          JobError: as `LoadedScorer`.
        """
        of_side: dict[int | None, Picture | None] = {}
        for index, one in enumerate(self._scorers):
            side = one.scorer.side
            try:
                if side not in of_side:
                    of_side[side] = None if image is None else rgb(image, side)
                picture = of_side[side]
            except ImageError as error:
                picture = None
                with self._lock:
                    self._answers[index].failures[place] = f"{one.scorer.name}: {error}"
            self._add(index, place, picture)

    def _add(self, index: int, place: int, picture: Picture | None) -> None:
        one = self._scorers[index]
        group = self._groups[index][place // max(1, one.scorer.batch_size)]
        with self._lock:
            group.waiting -= 1
            if picture is not None:
                group.pictures[place] = picture
            if group.waiting:
                return
            pictures, group.pictures = group.pictures, {}
        if pictures:
            places = sorted(pictures)
            answers = one([pictures[place] for place in places])
            with self._lock:
                self._answers[index].put(places, answers)

    def answers(self, samples: int, more_of: Sequence[int]) -> list[Answers]:
        """Gives what each scorer gave of the samples, once all pictures have come: of the first `samples` pictures,
        with the others as images of the samples `more_of`."""
        found = []
        for one, answers in zip(self._scorers, self._answers, strict=True):
            first, more = _cut(answers, 0, samples), _cut(answers, samples, self._count)
            found.append(with_worst(first, one.scorer.columns, more, more_of) if len(more_of) else first)
        return found


def _cut(answers: Answers, start: int, end: int) -> Answers:
    failures = {index - start: why for index, why in answers.failures.items() if start <= index < end}
    return Answers({name: values[start:end] for name, values in answers.values.items()}, failures, answers.precision)


def rgb(image: Image.Image, side: int | None) -> Picture:
    """An upright picture as a scorer has it, no longer than `side` (None: as it is), by a box of Pillow's reduction and
    its bicubic filter.

    Raises:
      ImageError: there is no memory for it.
    """
    try:
        if side is not None and max(image.size) > side:
            scale = side / max(image.size)
            width, height = (max(1, round(length * scale)) for length in image.size)
            smooth = image if image.mode not in ("1", "P") else image.convert("RGB")
            image = smooth.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return np.asarray(image.convert("RGB"))
    except MemoryError as error:
        raise ImageError(reason_of(error)) from error
