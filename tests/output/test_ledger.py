"""The ledger: counts that balance, and messages that say when they do not."""

import collections
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator import rows
from beam_curator.errors import JobError, StorageError
from beam_curator.output import ledger
from beam_curator.output.many_ranges import tables_of
from beam_curator.output.outcomes import Summary, SummaryTotal, check_balance, recount, recounted, summarize
from beam_curator.output.standing_ledger import StandingLedger
from beam_curator.phases import Span
from beam_curator.samples import Sample, SampleBatch, Shard, ShardError, ShardRange
from beam_curator.storage import files

RANGE = ShardRange(Shard("a.tar", 9), 0, 9, 0, last=True)


def batch_of(outcomes, errors=()):
    table = rows.from_samples(RANGE, [Sample(str(i), i, 1, {}) for i in range(len(outcomes))], [None] * len(outcomes))
    table = rows.with_column(table, "status", [status for status, _ in outcomes])
    return SampleBatch(RANGE, rows.with_column(table, "reason", [reason for _, reason in outcomes]), errors=errors)


OUTCOMES = st.lists(
    st.one_of(
        st.just(("kept", None)),
        st.sampled_from(["aesthetic < 5", "nsfw >= 0.5"]).map(lambda why: ("dropped", why)),
        st.sampled_from(["truncated image: 3 bytes", "truncated image: 4 bytes", "no image"]).map(
            lambda w: ("failed", w)
        ),
    ),
    max_size=30,
)


@pytest.mark.parametrize("name", [ledger.ledger_name(RANGE), ledger.name_of_many(0)])
def test_a_standing_ledger_that_is_damaged_is_told_by_its_name(tmp_path, name):
    files.write_bytes(str(tmp_path), name, b"PAR1 no")
    with pytest.raises(StorageError, match=rf"{tmp_path / name} is damaged \(.*\): remove it, and run its job again"):
        StandingLedger(str(tmp_path)).kept(RANGE)
    with pytest.raises(StorageError, match=r" is damaged \("):
        list(tables_of(str(tmp_path / name)))


def test_a_ledger_with_a_text_that_is_none_any_more_is_told_by_its_name(tmp_path):
    file = tmp_path / "one.parquet"
    pq.write_table(pa.table({"key": ["a key of a sample"]}), file, compression="none", use_dictionary=False)
    assert ledger.read_table(str(file)).num_rows == 1
    file.write_bytes(file.read_bytes().replace(b"a key", b"a \xeeey"))
    with pytest.raises(StorageError, match=rf"{file} is damaged \(.*\): remove it, and run its job again"):
        ledger.read_table(str(file))


@given(OUTCOMES, st.integers(0, 30))
def test_the_number_of_outcomes_is_that_of_the_values_however_arrow_holds_them(outcomes, cut):
    batch = batch_of(outcomes)
    pieces = pa.concat_tables([batch.rows.slice(cut), batch.rows]).slice(max(len(outcomes) - cut, 0))
    assert summarize(batch.replace(rows=pieces)).outcomes == summarize(batch).outcomes


@given(st.lists(st.sampled_from(["", "a", "ab", None]), min_size=1, max_size=4), st.integers(0, 3))
def test_the_number_of_outcomes_changes_with_any_reason(reasons, at):
    others = [*reasons]
    others[at % len(reasons)] = "b"
    numbers = [summarize(batch_of([("dropped", why) for why in told])).outcomes for told in (reasons, others)]
    assert numbers[0] != numbers[1]
    moved = [summarize(batch_of([("dropped", why) for why in told])).outcomes for told in (["ab", "c"], ["a", "bc"])]
    assert moved[0] != moved[1]


def sum_of(summaries):
    total = SummaryTotal()
    for one in summaries:
        total.add(one)
    return total.summary


@given(st.lists(OUTCOMES, max_size=5))
def test_the_sum_of_summaries_is_the_summary_of_all_and_balances(batches):
    total = sum_of(summarize(batch_of(outcomes)) for outcomes in batches)
    together = [outcome for outcomes in batches for outcome in outcomes]
    assert total == summarize(batch_of(together))
    assert total.seen == len(together) == total.kept + total.dropped + total.failed
    assert total.dropped_by == collections.Counter(why for status, why in together if status == "dropped")
    assert sum_of([total, Summary()]) == total
    check_balance(total, total, written=total.kept)


@given(OUTCOMES)
def test_the_ledger_counts_what_was_seen_and_tells_when_it_was_written(outcomes):
    batch = batch_of(outcomes).replace(batch_reductions=2, spans={"scoring": Span(1, 2, 3)})
    seen, again = summarize(batch), recount(batch.rows, {"writing": Span(4, 5)})
    check_balance(seen, again, seen.kept)
    found = recounted(seen, again)
    assert found == seen
    assert found.outcomes == seen.outcomes
    assert found.spans == {"scoring": Span(1, 2, 3), "writing": Span(4, 5)}


def test_failures_are_counted_without_their_detail_and_rules_by_their_whole_name():
    summary = summarize(
        batch_of([("failed", "truncated image: 3"), ("failed", "truncated image: 4"), ("dropped", "mine: a < 1")])
    )
    assert summary.failed_by == {"truncated image": 2}
    assert summary.dropped_by == {"mine: a < 1": 1}


def test_errors_of_shards_are_gathered():
    error = ShardError("a.tar", 5, "truncated")
    assert sum_of([summarize(batch_of([], (error,))), summarize(batch_of([], (error,)))]).errors == (
        error,
        error,
    )


def test_halved_micro_batches_are_summed_and_survive_pickling():
    batches = [batch_of([]).replace(batch_reductions=count) for count in (2, 0, 1)]
    assert sum_of(summarize(pickle.loads(pickle.dumps(batch))) for batch in batches).batch_reductions == 3


SEEN = Summary(3, 1, collections.Counter({"x": 1}), collections.Counter({"y": 1}))


@pytest.mark.parametrize(
    ("seen", "written"),
    [
        (Summary(4, 1, SEEN.dropped_by, SEEN.failed_by), 1),
        (SEEN, 0),
        (SEEN, 2),
        (Summary(3, 1, collections.Counter({"z": 1}), SEEN.failed_by), 1),
        (Summary(3, 1, SEEN.dropped_by, collections.Counter({"z": 1})), 1),
    ],
)
def test_a_ledger_that_does_not_balance_ends_the_job_with_all_counts(seen, written):
    in_ledger = r"3 in the ledger \(1 kept, 1 dropped, 1 failed\)"
    counts = rf"{seen.seen} samples seen, {in_ledger}, {written} in output shards[.;]"
    with pytest.raises(JobError, match=counts):
        check_balance(seen, SEEN, written)


def test_reasons_that_differ_are_told_where_all_counts_agree():
    seen = Summary(3, 1, collections.Counter({"x": 1}), collections.Counter({"z": 1}))
    with pytest.raises(JobError, match=r"1 in output shards; of another number: y \(0 seen, 1 in the ledger\), z \(1 "):
        check_balance(seen, SEEN, 1)


def test_a_row_that_is_neither_kept_nor_dropped_nor_failed_does_not_balance():
    with pytest.raises(JobError, match="does not balance"):
        check_balance(Summary(2, 1), Summary(2, 1), 1)


def test_too_many_failures_end_the_job_and_the_message_names_the_worst_reasons():
    summary = Summary(10, 5, failed_by=collections.Counter({"no image": 1, "truncated image": 4}))
    summary.check_failed_fraction(0.5)
    with pytest.raises(JobError) as raised:
        summary.check_failed_fraction(0.49)
    assert "5 of 10 samples failed (50.0%), over --max_failed_fraction 0.49" in str(raised.value)
    assert "4 x truncated image, 1 x no image" in str(raised.value)


def test_no_samples_are_no_failures():
    Summary().check_failed_fraction(0.0)


def test_the_ledger_has_facts_then_scores_then_where_the_sample_went(tmp_path):
    table = rows.with_column(batch_of([("kept", None)]).rows, "aesthetic", [5.5])
    nulls = pa.nulls(1, pa.string())
    ledger.write_table(str(tmp_path), ledger.ledger_name(RANGE), ledger.ledger_table(table, nulls, nulls))
    names = pq.read_table(tmp_path / ledger.ledger_name(RANGE)).schema.names
    facts = [name for name in rows.SCHEMA.names if name not in ("span_bytes", "failure")]
    assert names == [*facts, "aesthetic", "duplicate_of", "output_shard", "output_key"]


def test_what_a_scorer_failed_on_is_told_by_the_reason_alone():
    table = rows.with_failures(batch_of([("kept", None)]).rows, {0: "warm: dark"}, of="warm")
    nulls = pa.nulls(1, pa.string())
    written = ledger.ledger_table(table, nulls, nulls)
    assert written["reason"].to_pylist() == ["warm: dark"]
    assert not [name for name in written.schema.names if "failure" in name]


def test_what_a_step_of_the_users_own_set_as_duplicate_of_stays():
    table = rows.with_column(batch_of([("dropped", "duplicate")]).rows, "duplicate_of", ["another"])
    nulls = pa.nulls(1, pa.string())
    assert ledger.ledger_table(table, nulls, nulls)["duplicate_of"].to_pylist() == ["another"]


def test_samples_that_competed_without_a_hash_are_counted_apart_from_those_that_lack_the_hashes_of_edits_alone():
    columns = {
        "sample_id": list("abcde"),
        "status": ["kept", "kept", "dropped", "dropped", "kept"],
        "reason": pa.nulls(5, pa.string()),
    }
    hashes = {"phash256": ["0", "0", "0", "0", None], "phash256_cropped": ["0", None, None, None, None]}
    looked_for = pa.table({**columns, "duplicate_kind": [None, None, "perceptual", None, None], **hashes})
    found = [recount(looked_for.drop_columns(names), {}) for names in ([], ["phash256_cropped"], [*hashes])]
    total = SummaryTotal()
    for one in found:
        total.add(one)
    assert [(one.unhashed, one.unedited) for one in [*found, total.summary]] == [(1, 2), (1, 3), (4, 0), (6, 5)]
    never = recount(looked_for.drop_columns(["duplicate_kind"]), {})
    assert (never.unhashed, never.unedited) == (0, 0)
