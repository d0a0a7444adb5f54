"""The best samples by a column: DataComp's threshold, found from counts, the same for every order of the batches."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import beam_curator as bc
from beam_curator.errors import CurationError, UsageError
from beam_curator.rules.top import LEVELS, Search, Top, digit_counts, keep_top, top_count, top_fraction, values_of
from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.transforms.keep_top import keep_top_of
from tests.eager import eager
from tests.examples import examples

NUMBERS = st.one_of(
    st.floats(-1, 1, width=32),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 0.25, 0.25, 1e-300, -1e-300, 4097.0]),
)


def thresholds_of(tables, *tops):
    """The thresholds, from the counts of each table by itself."""
    values = [values_of(table, tops) for table in tables]
    search = Search()
    for top in tops:
        for _ in range(LEVELS):
            search = search.after(
                top, sum((digit_counts(one, search) for one in values), start=type(digit_counts(values[0], search))())
            )
    return search.thresholds


def table_of(**columns):
    n = len(next(iter(columns.values())))
    fixed = {"status": pa.array(["kept"] * n), "reason": pa.nulls(n, pa.string()), "caption": pa.array(["x"] * n)}
    return pa.table({**fixed, **{name: pa.array(values, pa.float64()) for name, values in columns.items()}})


def datacomps(values, fraction):
    """Finds the threshold as DataComp's baselines do: `-np.sort(-all_vals)[int(len(all_vals) * fraction)]`."""
    return -np.sort(-np.array(values))[int(len(values) * fraction)]


@examples(200)
@given(st.lists(NUMBERS, min_size=1, max_size=40), st.floats(0.01, 0.99), st.integers(1, 50), st.integers(1, 5))
def test_the_threshold_is_that_of_a_sort(values, fraction, count, pieces):
    tables = [table_of(similarity=values[start::pieces]) for start in range(pieces) if values[start::pieces]]
    assert thresholds_of(tables, Top("similarity", fraction=fraction)) == (datacomps(values, fraction),)
    best = sorted(values, reverse=True)[count - 1] if count <= len(values) else float("-inf")
    assert thresholds_of(tables, Top("similarity", count=count)) == (best,)


def test_the_next_one_counts_what_is_left():
    random = np.random.default_rng(0)
    similarity, aesthetic = random.normal(size=500), random.normal(size=500)
    first, second = thresholds_of(
        [table_of(similarity=similarity, aesthetic=aesthetic)],
        Top("similarity", fraction=0.3),
        Top("aesthetic", count=20),
    )
    left = aesthetic[similarity >= datacomps(similarity, 0.3)]
    assert (first, second) == (datacomps(similarity, 0.3), np.sort(left)[-20])


def batch_of(number, table):
    return SampleBatch(ShardRange(Shard("a.tar", 10), number, number + 1, number, False), table, part="there")


@pytest.mark.slow
def test_the_transform_keeps_the_same_for_every_order_of_batches():
    random = np.random.default_rng(1)
    similarity = random.normal(size=120).astype(np.float32)
    tables = []
    for start in range(0, 120, 10):
        table = table_of(similarity=similarity[start : start + 10])
        table = table.set_column(3, "similarity", pa.array(similarity[start : start + 10], pa.float32()))
        status = ["dropped" if index == 3 else "kept" for index in range(10)]
        tables.append(table.set_column(0, "status", [status]))
    nothing = pa.table(
        {**table_of(similarity=[0.1]).to_pydict(), "similarity": pa.nulls(1, pa.float32()), "caption": [""]}
    )
    batches = [batch_of(number, table) for number, table in enumerate([*tables, nothing.cast(tables[0].schema)])]
    forward = eager(bc.KeepTop("similarity=0.3", "5 similarity"), batches)
    backward = eager(bc.KeepTop("similarity=0.3", "5 similarity"), batches[::-1])
    plain = keep_top_of(batches, (top_fraction("similarity=0.3"), top_count("5 similarity")))
    assert [(one.rows, one.judged) for one in plain] == [(one.rows, one.judged) for one in forward]
    by_range = {batch.range.start: batch.rows.to_pylist() for batch in forward}
    assert by_range == {batch.range.start: batch.rows.to_pylist() for batch in backward}
    came = np.delete(similarity, np.arange(3, 120, 10))
    kept = [row["similarity"] for rows in by_range.values() for row in rows if row["status"] == "kept"]
    assert sorted(kept) == sorted(came)[-5:]
    reasons = {row["reason"] for rows in by_range.values() for row in rows}
    top, best = str(datacomps(came, 0.3)), str(np.sort(came)[-5])
    assert reasons == {None, "no caption", f"similarity < {top!s} (top 0.3)", f"similarity < {best!s} (best 5)"}
    tallies = forward[0].judged
    assert list(tallies) == [f"similarity < {top!s} (top 0.3)", f"similarity < {best!s} (best 5)"]


def test_one_that_is_given_twice_is_told_once_with_all_that_it_drops():
    kept, tallies = keep_top(table_of(similarity=[1, 2, 3]), (Top("similarity", count=1),) * 2, (3.0, 3.0))
    assert [row["status"] for row in kept.to_pylist()] == ["dropped", "dropped", "kept"]
    assert {name: tally.dropped for name, tally in tallies.items()} == {"similarity < 3.0 (best 1)": 2}


@pytest.mark.parametrize(
    "text", ["similarity", "similarity=0", "similarity=1.5", "similarity=x", "=0.3", "similarity=nan"]
)
def test_what_is_no_fraction_is_refused(text):
    with pytest.raises(UsageError, match="write COLUMN=FRACTION with a fraction above 0"):
        top_fraction(text)


@pytest.mark.parametrize("text", ["aesthetic", "0 aesthetic", "-5 aesthetic", "5.5 aesthetic", "aesthetic 5"])
def test_what_is_no_number_of_samples_is_refused(text):
    with pytest.raises(UsageError, match="write N COLUMN with a whole number above 0"):
        top_count(text)


def test_a_column_may_have_any_name_and_a_number_any_size():
    assert top_fraction(" json.a=b c = 0.3") == Top("json.a=b c", fraction=0.3)
    assert top_count("10 json.order by ") == Top("json.order by", count=10)
    assert top_count(f"{10**20} aesthetic") == Top("aesthetic", count=10**20)


def test_a_column_that_is_not_there_or_holds_texts_is_refused():
    with pytest.raises(
        CurationError, match=r'--keep_top beauty=0\.5 wants a column "beauty" that .* there are caption, '
    ):
        values_of(table_of(similarity=[1]), (Top("beauty", fraction=0.5),))
    with pytest.raises(CurationError, match="--keep_best 5 caption wants numbers, and the column caption holds texts"):
        values_of(table_of(similarity=[1]), (Top("caption", count=5),))


@pytest.mark.parametrize("given", ["similarity", 0.3, ("similarity", 0.3)])
def test_a_transform_says_how_it_is_written(given):
    with pytest.raises(UsageError, match=r"KeepTop\(.*write 'COLUMN=FRACTION' or 'N COLUMN'"):
        bc.KeepTop(given)
