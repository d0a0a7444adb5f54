"""Scorers that need pixels: whatever thread brings which picture first, each call holds the same ones."""

import io
import random
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from beam_curator.errors import JobError
from beam_curator.identities import ModelIdentity
from beam_curator.images import decode
from beam_curator.models.scorers import pictures as picture_scoring
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.decoding import scores_of_images
from beam_curator.models.scorers.pictures import PictureScoring, rgb
from beam_curator.models.scorers.scorer import Column, Scorer
from tests.patience import HANG_SECONDS


class Seen(Scorer):
    """A scorer whose answer for a picture depends on all that come in the same call, so that another grouping shows."""

    needs = "pixels"

    def __init__(self, name="seen", batch_size=3, side=None, parallel=False, worse="lower", fails_on=()):
        self.name, self.batch_size, self.side, self.parallel = name, batch_size, side, parallel
        self.calls, self._worse, self._fails_on = [], worse, fails_on

    @property
    def columns(self):
        return (Column(self.name, worse=self._worse),)

    @property
    def identity(self):
        return ModelIdentity(self.name)

    def __call__(self, batch):
        levels = [int(picture[0, 0, 0]) for picture in batch]
        if set(levels) & set(self._fails_on):
            raise ValueError("cannot be seen")
        self.calls.append(levels)
        self.shapes = [picture.shape for picture in batch]
        return [level + sum(levels) / 1000 for level in levels]


def grey(level, size=(5, 4)):
    return Image.new("RGB", size, (level, 0, 0))


def as_list(values):
    return [None if np.isnan(value) else round(float(value), 3) for value in values]


def scored(scorers, images, order=None, samples=None, more_of=()):
    scoring = PictureScoring([LoadedScorer(scorer) for scorer in scorers], len(images))
    for place in order or range(len(images)):
        scoring(place, images[place])
    return scoring.answers(len(images) if samples is None else samples, more_of)


def test_a_call_holds_so_many_neighbours_and_the_last_one_the_rest():
    scorer = Seen(batch_size=3)
    (answers,) = scored([scorer], [grey(level) for level in range(1, 8)])
    assert scorer.calls == [[1, 2, 3], [4, 5, 6], [7]]
    assert as_list(answers.values["seen"]) == [1.006, 2.006, 3.006, 4.015, 5.015, 6.015, 7.007]


@pytest.mark.parametrize("seed", range(5))
def test_in_whatever_order_pictures_come_the_calls_are_the_same(seed):
    images = [grey(level) for level in range(1, 12)]
    due = scored([Seen(batch_size=4), Seen("other", 3)], images)
    first, other = Seen(batch_size=4), Seen("other", 3)
    found = scored([first, other], images, random.Random(seed).sample(range(11), 11))
    assert sorted(first.calls) == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]]
    assert sorted(other.calls) == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11]]
    for one, same in zip(found, due, strict=True):
        for name, values in one.values.items():
            np.testing.assert_array_equal(values, same.values[name])


@pytest.mark.parametrize("parallel", [False, True])
def test_from_several_threads_they_are_the_same_as_well(parallel):
    images = [grey(level % 250 + 1) for level in range(101)]
    (due,) = scored([Seen(batch_size=4)], images)
    scorer = Seen(batch_size=4, parallel=parallel)
    scoring = PictureScoring([LoadedScorer(scorer)], len(images))
    together = threading.Barrier(8)

    def bring(places):
        together.wait(HANG_SECONDS)
        for place in places:
            scoring(place, images[place])

    order = random.Random(7).sample(range(101), 101)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(bring, order[start::8]) for start in range(8)]:
            done.result()
    (found,) = scoring.answers(len(images), ())
    np.testing.assert_array_equal(found.values["seen"], due.values["seen"])
    assert sorted(map(len, scorer.calls)) == [1] + [4] * 25


def test_what_is_no_picture_is_in_no_call_and_has_no_value():
    scorer = Seen(batch_size=2)
    (answers,) = scored([scorer], [grey(1), None, None, None, grey(5)], order=[4, 1, 0, 3, 2])
    assert sorted(scorer.calls) == [[1], [5]]
    assert as_list(answers.values["seen"]) == [1.001, None, None, None, 5.005]
    assert answers.failures == {}


def test_a_picture_that_a_scorer_raises_on_fails_for_it_alone():
    (fails, other) = scored([Seen(fails_on={2}), Seen("other")], [grey(1), grey(2), grey(3)])
    assert as_list(fails.values["seen"]) == [1.001, None, 3.003]  # each by itself
    assert fails.failures == {1: "scorer seen raised ValueError: cannot be seen"}
    assert as_list(other.values["other"]) == [1.006, 2.006, 3.006]
    assert other.failures == {}


@pytest.mark.parametrize(("worse", "expected"), [("lower", 1), ("higher", 9)])
def test_of_other_images_of_a_sample_the_worst_decides(worse, expected):
    images = [grey(5), grey(7), grey(9), grey(1)]
    (answers,) = scored([Seen(batch_size=1, worse=worse)], images, samples=2, more_of=[0, 0])
    assert [round(value) for value in answers.values["seen"].tolist()] == [expected, 7]


def test_a_batch_without_pictures_has_no_values():
    scorer = Seen()
    (answers,) = scored([scorer], [])
    assert answers.values["seen"].shape == (0,)
    assert scorer.calls == []


@pytest.mark.parametrize(
    ("size", "side", "shape"),
    [
        ((200, 100), 50, (25, 50, 3)),
        ((100, 200), 50, (50, 25, 3)),
        ((1000, 1), 50, (1, 50, 3)),
        ((50, 20), 50, (20, 50, 3)),
        ((10, 20), 50, (20, 10, 3)),
        ((200, 100), None, (100, 200, 3)),
    ],
)
def test_the_longer_side_is_at_most_what_the_scorer_asks_for(size, side, shape):
    scorer = Seen(side=side)
    scored([scorer], [grey(9, size)])
    assert scorer.shapes == [shape]


def test_scorers_of_two_sides_each_have_theirs():
    small, large, full = Seen("small", side=10), Seen("large", side=20), Seen("full")
    scored([small, large, full], [grey(9, (40, 40))])
    assert [scorer.shapes for scorer in (small, large, full)] == [[(10, 10, 3)], [(20, 20, 3)], [(40, 40, 3)]]


@pytest.mark.parametrize("side", [None, 8])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr"])
def test_pictures_of_any_mode_are_rgb(mode, side):
    picture = rgb(Image.new("RGB", (16, 12), (255, 255, 255)).convert(mode), side)
    assert (picture.dtype, picture.ndim, picture.shape[2]) == (np.uint8, 3, 3)
    assert picture.min() >= 250


def test_a_picture_there_is_no_memory_for_fails_its_sample_and_says_so(monkeypatch):
    real = picture_scoring.np.asarray

    def asarray(image, *args, **kwargs):
        if isinstance(image, Image.Image) and image.size == (7, 7):
            raise MemoryError
        return real(image, *args, **kwargs)

    monkeypatch.setattr(picture_scoring.np, "asarray", asarray)
    (answers,) = scored([Seen(batch_size=2)], [grey(1), grey(2, (7, 7))])
    assert as_list(answers.values["seen"]) == [1.001, None]
    assert list(answers.failures) == [1]
    assert answers.failures[1].startswith("seen: ")


def encoded(image, format="PNG"):
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def test_images_are_decoded_and_what_is_none_is_left_out():
    images = [encoded(grey(1)), b"no image", None, encoded(grey(4))]
    (answers,) = scores_of_images(images, [LoadedScorer(Seen())], 4)
    assert as_list(answers.values["seen"]) == [1.001, None, None, 4.004]
    assert answers.failures == {}


def test_an_error_that_concerns_the_job_comes_out_of_the_threads():
    class Wrong(Seen):
        def __call__(self, batch):
            return [1.0] * (len(batch) + 1)

    with pytest.raises(JobError, match="gave 2 values of seen for 1 samples"):
        scores_of_images([encoded(grey(1))], [LoadedScorer(Wrong())], 1)


class Mean(Scorer):
    """The mean level of each picture."""

    name, needs, side = "mean", "pixels", 64

    def __call__(self, batch):
        return [picture.mean() for picture in batch]


def test_real_images_are_scored_the_same_by_threads_and_one_after_the_other(shared):
    images = []
    for path in sorted((shared / "data").glob("*.tar")):
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.name.lower().endswith((".jpg", ".png", ".webp"))]
            images += [tar.extractfile(member).read() for member in members[:10]]
    assert len(images) > 10
    scorer = LoadedScorer(Mean())
    (found,) = scores_of_images(images, [scorer], len(images))
    due = [scorer([rgb(decode(image)[0], 64)]).values["mean"][0] for image in images]
    np.testing.assert_array_equal(found.values["mean"], due)
    assert len(set(found.values["mean"].tolist())) > 5
    assert found.failures == {}
