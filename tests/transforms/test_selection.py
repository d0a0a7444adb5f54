"""Rules: on columns as on rows, the first one that rejects gives the reason, a raising one fails the row."""

import contextlib
import functools
import re

import numpy as np
import pandas
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_curator import rows
from beam_curator.errors import CurationError, UsageError
from beam_curator.rules.column_rules import AspectRatioAtMost, AtLeast, Below, Between
from beam_curator.rules.judging import judge
from beam_curator.rules.missed_columns import check_users_rule
from beam_curator.rules.names import rule_name
from beam_curator.rules.selecting import select
from beam_curator.transforms.selection import Select
from tests.eager import eager
from tests.examples import examples

SCORES = st.one_of(
    st.floats(0, 10, width=32),
    st.sampled_from([4.1, 5.0, 0.1, float("nan"), 16777217.0]).map(lambda x: float(np.float32(x))),
)
SIDES = st.sampled_from([1, 2, 3, 100, 199, 200, 201, 65_535, 2**31 - 1])
THRESHOLDS = st.sampled_from([0.1, 3, 4.1, 5.0, 5, 200, 0])


def rows_of(scores, sides=None, statuses=None):
    n = len(scores)
    sides = sides or [(10, 10)] * n
    return pa.table(
        {
            "key": [str(i) for i in range(n)],
            "status": pa.array(statuses or ["kept"] * n, pa.string()),
            "reason": pa.array([None] * n, pa.string()),
            "width": pa.array([w for w, _ in sides], pa.int32()),
            "height": pa.array([h for _, h in sides], pa.int32()),
            "aesthetic": pa.array(scores, pa.float32()),
        }
    )


def outcome(table):
    return list(zip(table["status"].to_pylist(), table["reason"].to_pylist(), strict=True))


@examples(150)
@given(st.lists(st.tuples(SCORES, SIDES, SIDES), min_size=1, max_size=20), THRESHOLDS, THRESHOLDS)
@example([(float(np.float32(4.1)), 3, 1)], 4.1, 3)
def test_built_in_rules_on_columns_equal_them_on_single_rows(values, low, high):
    table = rows_of([score for score, *_ in values], [(w, h) for _, w, h in values])
    built_in = [
        AtLeast("aesthetic", low),
        Below("aesthetic", high),
        Between("aesthetic", min(low, high), max(low, high)),
        AtLeast("width", low),
        Between("height", min(low, high), max(low, high)),
        AspectRatioAtMost(max(1, low)),
    ]
    for rule in built_in:
        kept = [bool(rule(row)) for row in table.to_pylist()]
        expected = [("kept", None) if keep else ("dropped", rule.name) for keep in kept]
        assert outcome(select(table, [rule])) == expected


@pytest.mark.parametrize(
    ("rule", "kept", "name"),
    [
        (AtLeast("aesthetic", 5), [False, True, True], "aesthetic < 5"),
        (Below("aesthetic", 5), [True, False, False], "aesthetic >= 5"),
        (Between("aesthetic", 4.5, 5), [False, True, False], "aesthetic outside 4.5..5"),
        (AspectRatioAtMost(2), [True, True, True], "aspect_ratio > 2"),
    ],
)
def test_a_rule_keeps_its_own_limit_as_it_says(rule, kept, name):
    assert rule.name == name
    table = select(rows_of([4, 5, 6], [(10, 20), (20, 10), (10, 10)]), [rule])
    assert [status == "kept" for status, _ in outcome(table)] == kept


def test_a_long_image_is_dropped_whichever_side_is_the_longer():
    table = select(rows_of([1, 1, 1], [(10, 21), (21, 10), (20, 10)]), [AspectRatioAtMost(2)])
    assert table["status"].to_pylist() == ["dropped", "dropped", "kept"]


def test_the_first_rule_that_rejects_gives_the_reason():
    table = select(rows_of([1, 6, 9]), [AtLeast("aesthetic", 5), Below("aesthetic", 8), AtLeast("aesthetic", 7)])
    assert table["reason"].to_pylist() == ["aesthetic < 5", "aesthetic < 7", "aesthetic >= 8"]


def test_rows_that_are_dropped_or_failed_already_stay_as_they_are_and_no_rule_sees_them():
    table = rows_of([1, 1, 1], statuses=["dropped", "failed", "kept"])
    seen = []
    selected = select(table, [lambda row: seen.append(row["key"]) or True, AtLeast("aesthetic", 5)])
    assert outcome(selected) == [("dropped", None), ("failed", None), ("dropped", "aesthetic < 5")]
    assert seen == ["2"]


def test_failed_rows_without_a_score_do_not_trouble_the_others():
    table = rows_of(
        [None, 6.0, None], sides=[(None, None), (10, 10), (None, None)], statuses=["failed", "kept", "failed"]
    )
    selected = select(table, [AtLeast("aesthetic", 5), AspectRatioAtMost(2), AtLeast("width", 5)])
    assert selected["status"].to_pylist() == ["failed", "kept", "failed"]


def high_enough(row):
    return row["aesthetic"] > 5


def higher_than(row, limit):
    return row["aesthetic"] > limit


LAMBDA = lambda row: np.bool_(row["aesthetic"] > 5)  # noqa: E731


class Named:
    name = "too plain"

    def __call__(self, row):
        return row["aesthetic"] > 5


class Unnamed:
    def __call__(self, row):
        return row["aesthetic"] > 5


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (high_enough, "high_enough"),
        (Named(), "too plain"),
        (Unnamed(), "Unnamed"),
        (functools.partial(high_enough), "high_enough"),
        (functools.partial(higher_than, limit=5), "higher_than(limit=5)"),
        (LAMBDA, f"lambda in test_selection.py, line {LAMBDA.__code__.co_firstlineno}"),
    ],
)
def test_a_rule_of_the_user_is_a_function_or_an_object_and_its_name_is_the_reason(rule, reason):
    assert rule_name(rule) == reason
    assert outcome(select(rows_of([4, 6]), [rule])) == [("dropped", reason), ("kept", None)]


def test_a_rule_that_raises_fails_that_row_with_its_message_and_no_other():
    def picky(row):
        if row["key"] == "1":
            raise ValueError("no such thing")
        return True

    assert outcome(select(rows_of([1, 2, 3]), [picky])) == [
        ("kept", None),
        ("failed", "rule picky raised ValueError: no such thing"),
        ("kept", None),
    ]


def test_a_message_that_no_utf8_can_hold_is_still_a_reason():
    def picky(row):
        raise OSError("cannot open caf\udce9, nor \ud800")

    ((status, reason),) = outcome(select(rows_of([1]), [picky]))
    assert status == "failed"
    assert reason.startswith("rule picky raised OSError: cannot open caf")


def test_a_rule_on_an_unknown_column_names_it_and_those_that_there_are():
    with pytest.raises(CurationError, match=r'wants a column "beauty" .* there are key, width, height, aesthetic'):
        select(rows_of([1]), [AtLeast("beauty", 1)])


def test_no_rule_keeps_all_and_no_rows_are_no_trouble():
    assert outcome(select(rows_of([1, 2]), [])) == [("kept", None)] * 2
    assert outcome(select(rows_of([]), [AtLeast("aesthetic", 1), high_enough])) == []


def test_what_cannot_be_called_is_refused_when_the_pipeline_is_built():
    with pytest.raises(CurationError, match=r"0\.5 is not a rule"):
        Select(AtLeast("aesthetic", 1), 0.5)


def test_the_transform_gives_each_batch_with_its_rows_selected():
    from beam_curator.samples import SampleBatch, Shard, ShardRange

    batch = SampleBatch(ShardRange(Shard("a.tar", 9), 0, 9, 0, last=True), rows_of([4, 6]))
    (selected,) = eager(Select(AtLeast("aesthetic", 5)), [batch])
    assert selected.rows["status"].to_pylist() == ["dropped", "kept"]
    assert rows.status_is(batch.rows, "kept").all()


NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AtLeast("aesthetic", NAN), "AtLeast: minimum=nan is not a finite number"),
        (lambda: AtLeast("aesthetic", np.float32("nan")), "AtLeast: minimum=.*nan.* is not a finite number"),
        (lambda: AtLeast("aesthetic", "5"), "AtLeast: minimum='5' is not a finite number"),
        (lambda: AtLeast("aesthetic", None), "AtLeast: minimum=None is not a finite number"),
        (lambda: AtLeast("aesthetic", True), "AtLeast: minimum=True is not a finite number"),
        (lambda: AtLeast("width", -1), "AtLeast: minimum=-1: width is never below 0"),
        (lambda: AtLeast(5, "aesthetic"), "AtLeast: column=5 is not the name of a column"),
        (lambda: Below("nsfw", NAN), "Below: limit=nan is not a finite number"),
        (lambda: Below("nsfw", float("inf")), "Below: limit=inf is not a finite number"),
        (lambda: Between("aesthetic", 1, NAN), "Between: maximum=nan is not a finite number"),
        (lambda: Between("aesthetic", 6, 5), "Between: minimum=6 is above maximum=5"),
        (lambda: AspectRatioAtMost(NAN), "AspectRatioAtMost: maximum=nan is not a finite number"),
        (lambda: AspectRatioAtMost(0.5), "AspectRatioAtMost: maximum=0.5 is below 1"),
    ],
)
def test_a_limit_that_can_only_be_a_mistake_is_refused_where_the_rule_is_made(make, message):
    with pytest.raises(CurationError, match=f"^{message}"):
        make()


def test_numbers_of_numpy_are_limits_too():
    assert outcome(select(rows_of([4, 6]), [AtLeast("aesthetic", np.float32(5)), Below("width", np.int64(11))])) == [
        ("dropped", "aesthetic < 5"),
        ("kept", None),
    ]


def test_a_rule_of_ours_on_a_column_of_text_says_so():
    with pytest.raises(CurationError, match=r'"key >= 5" compares numbers, and the column "key" holds texts'):
        select(rows_of([1]), [Below("key", 5)])


async def asynchronous(row):
    return True


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (np.True_, "kept"),
        (np.array([True]), "kept"),
        (1, "kept"),
        (re.search("a", "cat"), "kept"),
        (np.False_, "dropped"),
        (None, "dropped"),
        ("", "dropped"),
        (0.0, "dropped"),
        (NAN, "failed"),
        (np.float32("nan"), "failed"),
        (np.datetime64("NaT"), "failed"),
        (pandas.NA, "failed"),
        (pandas.NaT, "failed"),
        (np.array([]), "failed"),
        (np.array([True, False]), "failed"),
        (high_enough, "failed"),
        ((x for x in [1]), "failed"),
        (asynchronous({}), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_answer_is_true_or_false_and_what_is_neither_fails_the_row(answer, status):
    table, tallies = judge(rows_of([1]), [Answering(answer)])
    assert table["status"].to_pylist() == [status]
    assert tallies["answering"].failed == (status == "failed")
    assert tallies["answering"].none == (answer is None)


class Answering:
    name = "answering"

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, row):
        return self.answer


def test_a_row_says_which_columns_there_are_where_a_rule_asks_for_another():
    def rule(row):
        return row["beauty"] > 1

    table, tallies = judge(rows_of([1, 2]), [rule])
    (reason, _) = table["reason"].to_pylist()
    assert reason.startswith(
        "rule rule raised KeyError: 'beauty', a column that the samples do not have: there are key"
    )
    assert tallies["rule"].never_answered


class Tenth:
    def __init__(self):
        self.asked = 0

    def __call__(self, row):
        self.asked += 1
        return self.asked % 10 == 0 and row["no_such"]


def wrapped(row):
    try:
        return row["widht"] > 3
    except KeyError as error:
        raise ValueError("no width") from error


def provided(row):
    try:
        return row["beauty"] > 3
    except KeyError:
        return row.get("no_such") is None


def provided_and_raising(row):
    try:
        return row["beauty"] > 3
    except KeyError:
        pass
    return {"a caption of some sample": True}[row["caption"]]


def halves(row):
    """A loop whose end depends on the value."""
    side = 4096
    while side > row["width"]:
        with contextlib.suppress(Exception):
            side = max(side // 2, 1)
    return row["aesthetic"] > 3


TYPES = {**rows.types_of(rows.NEW_SCHEMA), "aesthetic": "number"}


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (lambda row: row["width"] > 3 and row["aesthetik"] > 3, 'a column "aesthetik" .*: did you mean aesthetic?'),
        (lambda row: len(row["caption"].split()) > 0 and row["similarity"], ".*: --similarity gives it"),
        (lambda row: row["json.url"].split("/") and row["beauty"], 'a column "beauty"'),
        (wrapped, 'a column "widht" .*: did you mean width?'),
        (provided, None),
        (provided_and_raising, None),
        (lambda row: row["json.url"].startswith("https") and row["json.n"] > 3, None),
        (lambda row: {}["no key of a row"], None),
        (Tenth(), None),
        (halves, None),
    ],
    ids=[
        "a slip",
        "a score",
        "after a field",
        "in another error",
        "provided for",
        "provided for, and another error",
        "fields",
        "its own",
        "later",
        "loop",
    ],
)
def test_a_rule_of_the_user_on_a_column_that_no_row_has_is_found_by_a_trial(rule, told):
    if told is None:
        check_users_rule(rule, TYPES, None, ("all",))
    else:
        with pytest.raises(UsageError, match=f'rule ".*" wants {told}'):
            check_users_rule(rule, TYPES, None, ("all",))
    assert getattr(rule, "asked", 0) == 0  # a copy was tried


def test_a_trial_knows_fields_where_a_finished_job_says_them():
    check_users_rule(lambda row: row["json.url"], TYPES, {"json.url": "text"}, ("all",))
    for there, carry, told in (
        ({"json.url": "text"}, ("all",), "json.ulr, which no sample has: did you mean json.url?"),
        ({}, ("all",), "json.ulr, which no sample has: they have no fields"),
        (None, ("caption",), "json.ulr, which --carry caption leaves out: add it"),
        ({}, (), "json.ulr, which --carry none leaves out: add it"),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            check_users_rule(lambda row: row["json.ulr"], TYPES, there, carry)


def test_each_rule_is_tallied_for_the_samples_that_came_to_it_and_by_its_number_where_names_repeat():
    rules = [AtLeast("aesthetic", 5), lambda row: row["aesthetic"] < 8, lambda row: None]
    _, tallies = judge(rows_of([4, 6, 7, 9]), rules)
    assert {name: (tally.samples, tally.none) for name, tally in tallies.items()} == {
        "aesthetic < 5": (4, 0),
        f"{rule_name(rules[1])} (rule 2)": (3, 0),
        f"{rule_name(rules[2])} (rule 3)": (2, 2),
    }


def test_rules_may_be_text_and_what_is_none_fails_no_row():
    assert outcome(select(rows_of([1, 6]), ["aesthetic >= 5"])) == outcome(
        select(rows_of([1, 6]), [AtLeast("aesthetic", 5)])
    )
    for wrong in ("aesthetic >= 5", AtLeast("aesthetic", 5), 3, None):
        with pytest.raises(UsageError, match="give a list of rules"):
            select(rows_of([1]), wrong)
    with pytest.raises(UsageError, match=r"rules\[1\]=3 is not a rule"):
        select(rows_of([1]), ["aesthetic >= 5", 3])
    for table, what in (([], "a list"), (pa.table({"width": [1]}), "a Table without status")):
        with pytest.raises(UsageError, match=rf"give batch\.rows, not {what}"):
            select(table, [])
