"""A scorer on a worker: when it is loaded, what becomes of what it raises and gives, and which of several images
decides."""

import asyncio
import pickle
import threading

import numpy as np
import pytest

from beam_curator.errors import CurationError, JobError
from beam_curator.models.scorers.calls import Answers, LoadedScorer, with_worst
from beam_curator.models.scorers.scorer import Column, Scorer
from tests.patience import HANG_SECONDS


class Own(Scorer):
    """A scorer that notes its calls; `score` makes the answer of a batch."""

    def __init__(self, score, *columns, name="own", parallel=False):
        self.name, self.needs, self.parallel = name, "caption", parallel
        self.columns = columns or (Column(name),)
        self.loads, self.calls, self._score = 0, [], score

    columns = ()

    def load(self):
        self.loads += 1

    def __call__(self, batch):
        self.calls.append(list(batch))
        return self._score(batch)


def answers_of(score, items, *columns):
    return LoadedScorer(Own(score, *columns))(items)


def lengths(batch):
    return [float(len(one)) for one in batch]


def as_list(values):
    return [None if isinstance(value, float) and np.isnan(value) else value for value in list(map(plain, values))]


def plain(value):
    return value.item() if isinstance(value, np.generic) else value


def test_what_is_masked_is_no_value():
    masked = np.ma.masked_array([1.0, 2.0, 3.0], mask=[False, True, False])
    found = answers_of(lambda batch: masked, ["a", "b", "c"])
    assert (as_list(found.values["own"]), found.failures) == ([1, None, 3], {})
    assert type(found.values["own"]) is np.ndarray


def test_its_answers_say_what_it_computed_in_once_it_is_loaded():
    scorer = Own(lengths)
    scorer.load = lambda: setattr(scorer, "precision", "fp16")
    assert LoadedScorer(scorer)(["a", "b"]).precision == "fp16"
    raising = Own(lambda batch: [1.0] if len(batch) == 1 else 1 / 0)
    raising.precision = "bf16"
    assert LoadedScorer(raising)(["a", "b"]).precision == "bf16"  # also where it is called one by one
    scorer.load = lambda: setattr(scorer, "precision", np.float16)
    with pytest.raises(JobError, match=r"scorer own: precision=.*: give text, such as 'fp32', or None"):
        LoadedScorer(scorer)(["a"])


def test_it_is_loaded_by_its_first_call_and_by_no_other():
    scorer = Own(lengths)
    loaded = LoadedScorer(scorer)
    assert scorer.loads == 0
    for _ in range(2):
        assert loaded(["a", "bc"]).values["own"].tolist() == [1, 2]
    assert scorer.loads == 1


def test_threads_that_come_at_once_load_it_once_and_call_it_one_at_a_time():
    within, most, lock = [0], [0], threading.Lock()

    def score(batch):
        with lock:
            within[0] += 1
            most[0] = max(most[0], within[0])
        with lock:
            within[0] -= 1
        return lengths(batch)

    scorer = Own(score)
    loaded = LoadedScorer(scorer)
    threads = [threading.Thread(target=loaded, args=(["a"],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)
    assert (scorer.loads, len(scorer.calls), most[0]) == (1, 8, 1)


def test_a_parallel_one_is_called_by_several_threads_at_once():
    meeting = threading.Barrier(2)

    def meet(batch):
        meeting.wait(HANG_SECONDS)  # broken, and so an error, unless the other call is under way
        return lengths(batch)

    scorer = Own(meet, parallel=True)
    loaded = LoadedScorer(scorer)
    found = []
    threads = [threading.Thread(target=lambda: found.append(loaded(["abc"]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)
    assert [answers.failures for answers in found] == [{}, {}]
    assert scorer.loads == 1


class Travelling(Scorer):
    name = "travelling"

    def load(self):
        self.loaded = True

    def __call__(self, batch):
        return [float(self.loaded)] * len(batch)


def test_pickled_it_is_one_that_is_not_loaded():
    loaded = LoadedScorer(Travelling())
    loaded(["a"])
    assert pickle.loads(pickle.dumps(loaded))._loaded is False
    assert pickle.loads(pickle.dumps(loaded))(["a"]).values["travelling"].tolist() == [1]


@pytest.mark.parametrize("items", [["a", "bad", "ccc", "worse"], np.array(["a", "bad", "ccc", "worse"])])
def test_what_it_raises_on_is_found_one_by_one_and_fails_alone_with_its_message(items):
    def score(batch):
        for one in batch:
            if one in ("bad", "worse"):
                raise ValueError(f"{one} it is\nmore of it")
        return lengths(batch)

    scorer = Own(score)
    answers = LoadedScorer(scorer)(items)
    assert as_list(answers.values["own"]) == [1, None, 3, None]
    raised = "scorer own raised ValueError:"
    assert answers.failures == {1: f"{raised} bad it is", 3: f"{raised} worse it is"}
    assert [len(call) for call in scorer.calls] == [4, 1, 1, 1, 1]


def test_what_has_no_message_or_one_that_cannot_be_had_is_told_by_its_kind():
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    def mute(batch):
        raise MuteError

    def empty(batch):
        raise KeyError

    def odd(batch):
        raise OSError("caf\udce9")

    assert answers_of(mute, ["a"]).failures == {0: "scorer own raised MuteError"}
    assert answers_of(empty, ["a"]).failures == {0: "scorer own raised KeyError"}
    assert answers_of(odd, ["a"]).failures == {0: "scorer own raised OSError: caf\\udce9"}


@pytest.mark.parametrize("error", [OSError("no weights.pt"), SystemExit("no weights.pt")], ids=repr)
def test_what_load_raises_fails_the_job_and_says_which_scorer(error):
    class Absent(Own):
        def load(self):
            raise error

    with pytest.raises(JobError, match=rf"scorer own: load\(\) raised {type(error).__name__}: no weights.pt"):
        LoadedScorer(Absent(lengths))(["a"])


@pytest.mark.parametrize("error", [MemoryError("x"), RuntimeError("CUDA error: out of memory\nmore")], ids=repr)
def test_a_scorer_that_does_not_fit_says_what_to_do(error):
    class Large(Own):
        def load(self):
            raise error

    with pytest.raises(JobError) as caught:
        LoadedScorer(Large(lengths))(["a"])
    said = f"{type(error).__name__}: {error}".split("\n")[0]
    assert str(caught.value) == (
        f"scorer own does not fit in memory (load() raised {said}): free memory, or take a larger device or a smaller "
        "model"
    )


def test_a_scorer_that_would_end_the_program_fails_its_sample():
    def score(batch):
        if "bad" in batch:
            raise SystemExit(3)
        return lengths(batch)

    assert answers_of(score, ["a", "bad"]).failures == {1: "scorer own raised SystemExit: 3"}


def test_a_cancelled_task_fails_its_sample_and_the_users_interrupt_ends_the_program():
    def cancelled(batch):
        raise asyncio.CancelledError("too slow")

    def interrupted(batch):
        raise KeyboardInterrupt

    assert answers_of(cancelled, ["a"]).failures == {0: "scorer own raised CancelledError: too slow"}
    with pytest.raises(KeyboardInterrupt):
        answers_of(interrupted, ["a"])


def test_an_error_of_ours_concerns_the_whole_job():
    def ours(batch):
        raise CurationError("not for these embeddings")

    scorer = Own(ours)
    with pytest.raises(CurationError, match="not for these embeddings"):
        LoadedScorer(scorer)(["a", "b"])
    assert len(scorer.calls) == 1


class OutOfMemoryError(RuntimeError):
    """An error as torch's, which is not imported to tell it."""


@pytest.mark.parametrize("error", [MemoryError, OutOfMemoryError])
def test_where_memory_is_wanting_it_is_called_with_halves(error):
    def score(batch):
        if len(batch) > 2:
            raise error("no more")
        return lengths(batch)

    scorer = Own(score)
    answers = LoadedScorer(scorer)(["a", "bb", "ccc", "dddd", "eeeee", "f", "gg"])
    assert answers.values["own"].tolist() == [1, 2, 3, 4, 5, 1, 2]
    assert answers.failures == {}
    assert [len(call) for call in scorer.calls] == [7, 4, 2, 2, 3, 2, 1]


@pytest.mark.parametrize("error", [MemoryError, OutOfMemoryError])
def test_where_not_even_one_fits_the_job_fails_and_no_sample_is_blamed(error):
    def score(batch):
        raise error("no more")

    with pytest.raises(JobError, match=f"scorer own: not even one sample .* fits in memory .{error.__name__}: no more"):
        answers_of(score, ["a", "b"])


def test_what_raises_in_a_half_is_found_as_well():
    def score(batch):
        if len(batch) > 2:
            raise MemoryError
        if "bad" in batch:
            raise ValueError("bad")
        return lengths(batch)

    answers = answers_of(score, ["a", "bb", "ccc", "bad"])
    assert as_list(answers.values["own"]) == [1, 2, 3, None]
    assert answers.failures == {3: "scorer own raised ValueError: bad"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0], "scorer own gave 1 values of own for 2 samples"),
        (np.zeros(3), "scorer own gave 3 values of own for 2 samples"),
        (np.zeros(()), "scorer own gave a ndarray of own for 2 samples"),
        (7.0, "scorer own gave a float of own for 2 samples"),
        (None, "scorer own gave a NoneType of own for 2 samples"),
        ("ab", "scorer own gave a str of own for 2 samples"),
        ({"other": [1, 2]}, 'scorer own gave no "own", which is among its columns'),
        ({"own": {0: 1.0, 1: 2.0}}, "scorer own gave a dict of own for 2 samples"),
        ({1.0, 2.0}, "scorer own gave a set of own for 2 samples"),
        ((one for one in (1.0, 2.0)), "scorer own gave a generator of own for 2 samples"),
        (np.zeros((2, 1)), r"scorer own gave an array of shape \(2, 1\) of own: it is to have one dimension, \(2,\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_another_number_of_values_than_samples_fails_the_job(given, message):
    with pytest.raises(JobError, match=message):
        answers_of(lambda batch: given, ["a", "b"])


def test_with_several_columns_it_gives_a_mapping_of_them_all():
    columns = Column("words"), Column("loud", "flag"), Column("first", "text")

    def score(batch):
        return {"first": [one[0] for one in batch], "words": lengths(batch), "loud": [one == "AB" for one in batch]}

    answers = answers_of(score, ["AB", "c"], *columns)
    assert list(answers.values) == ["words", "loud", "first"]
    assert as_list(answers.values["words"]) == [2, 1]
    assert answers.values["loud"] == [True, False]
    assert answers.values["first"] == ["A", "c"]
    with pytest.raises(JobError, match='scorer own gave no "first", which is among its columns'):
        answers_of(lambda batch: {"words": [1], "loud": [True]}, ["a"], *columns)
    with pytest.raises(JobError, match="scorer own gave a list: with several columns it gives a mapping"):
        answers_of(lambda batch: [1], ["a"], *columns)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8])
def test_arrays_of_numbers_are_float32(dtype):
    values = answers_of(lambda batch: np.array([1, 0, 3], dtype), ["a"] * 3).values["own"]
    assert (values.dtype, values.tolist()) == (np.float32, [1, 0, 3])


@pytest.mark.parametrize("make", [list, np.array], ids=["list", "array"])
def test_nan_is_no_value_and_fails_nothing(make):
    answers = answers_of(lambda batch: make([1.5, float("nan")]), ["a", "b"])
    assert as_list(answers.values["own"]) == [1.5, None]
    assert answers.failures == {}


def test_none_is_no_value_of_any_type():
    columns = Column("number"), Column("flag", "flag"), Column("text", "text")
    answers = answers_of(lambda batch: {c.name: [None] for c in columns}, ["a"], *columns)
    assert [as_list(values) for values in answers.values.values()] == [[None]] * 3
    assert answers.failures == {}


@pytest.mark.parametrize("make", [list, np.array], ids=["list", "array"])
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e300, -1e300])
def test_what_is_no_finite_number_in_float32_fails_its_sample(make, value):
    answers = answers_of(lambda batch: make([1.5, value]), ["a", "b"])
    assert as_list(answers.values["own"]) == [1.5, None]
    assert answers.failures == {1: f"scorer own gave what is no number: {value} for own"}


@pytest.mark.parametrize(
    ("type", "good", "bad", "said"),
    [
        ("number", 2.5, "high", "gave what is no number: high for value"),
        ("number", np.float32(2.5), [1, 2], "gave what is no number: a list for value"),
        ("number", 2, np.zeros(2), "gave what is no number: a ndarray for value"),
        ("number", 2, 10**400, "gave what is no number: a int for value"),
        ("number", 2, np.complex128(7j), "gave what is no number: a complex128 for value"),
        ("flag", True, 1, "gave what is no flag: a int for value"),
        ("flag", np.bool_(True), "yes", "gave what is no flag: yes for value"),
        ("flag", False, float("nan"), "gave what is no flag: nan for value"),
        ("text", "red", 7, "gave what is no text: a int for value"),
        ("text", "", b"red", "gave what is no text: a bytes for value"),
    ],
)
def test_a_value_of_another_type_fails_its_sample_alone(type, good, bad, said):
    answers = answers_of(lambda batch: [good, bad], ["a", "b"], Column("value", type))
    assert as_list(answers.values["value"]) == [plain(good), None]
    assert answers.failures == {1: f"scorer own {said}"}


def test_text_that_is_no_utf8_can_be_written():
    answers = answers_of(lambda batch: ["caf\udce9"], ["a"], Column("text", "text"))
    assert answers.values["text"] == ["caf\\udce9"]


NAN = float("nan")


def answers(column, values, failures=None):
    held = np.array(values, np.float32) if column.type == "number" else list(values)
    return Answers({column.name: held}, dict(failures or {}))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (Column("x"), [0.25, 2.0, 7.0, None]),
        (Column("x", worse="higher"), [3.0, 2.0, 7.0, None]),
    ],
)
def test_of_numbers_the_worst_of_a_samples_images_is_the_samples(column, expected):
    first = answers(column, [1, 2, NAN, NAN])
    more = answers(column, [0.25, 3, 7, NAN, NAN])
    found = with_worst(first, [column], more, [0, 0, 2, 3, 1])
    assert as_list(found.values["x"]) == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (Column("x", "flag"), [False, False, False, True, None]),
        (Column("x", "flag", "higher"), [True, True, False, True, None]),
    ],
)
def test_of_flags_the_one_that_speaks_against_a_sample_is_the_samples(column, expected):
    first = answers(column, [True, False, None, True, None])
    more = answers(column, [False, True, False, None, None])
    assert with_worst(first, [column], more, [0, 1, 2, 3, 4]).values["x"] == expected


def test_of_texts_that_of_the_first_image_is_the_samples():
    column = Column("x", "text")
    found = with_worst(answers(column, ["red", None]), [column], answers(column, ["blue", "green"]), [0, 1])
    assert found.values["x"] == ["red", None]


def test_a_sample_fails_where_one_of_its_images_does_and_for_the_first_of_them():
    column = Column("x")
    first = answers(column, [1, NAN, 3], {1: "first"})
    more = answers(column, [NAN, NAN, NAN], {0: "second", 1: "third", 2: "fourth"})
    assert with_worst(first, [column], more, [1, 2, 2]).failures == {1: "first", 2: "third"}
