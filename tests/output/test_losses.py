"""What broken shards cost is counted, and said to be an estimate."""

import collections
import dataclasses

import pytest

from beam_curator.errors import JobError
from beam_curator.output.losses import MAX_EMPTY, Losses
from beam_curator.output.outcomes import Summary
from beam_curator.samples import Shard, ShardError, ShardRange


def range_of(url, size, samples=10, broken_at=None):
    shard = Shard(url, size)
    errors = [] if broken_at is None else [ShardError(url, broken_at, "damaged")]
    return Losses.of_range(ShardRange(shard, 0, size, 0, True), samples, errors)


def test_a_broken_shard_has_lost_at_least_one_sample_and_as_many_as_its_rest_would_hold():
    whole = range_of("a", 10_000)
    assert whole.lost_samples(10) == 0
    assert (whole + range_of("b", 5000, broken_at=5000)).lost_samples(15) == 1
    assert (whole + range_of("b", 10_000, broken_at=4000)).lost_samples(14) == 6
    assert range_of("b", 10_000, samples=0, broken_at=0).lost_samples(0) == 1
    assert (whole + whole).lost_samples(20) == 0


def test_the_sum_does_not_depend_on_the_order_and_remembers_a_few_empty_shards():
    parts = [range_of(f"{i}", 10, samples=0) for i in range(6)]
    total, reverse = Losses(), Losses()
    for part in parts:
        total, reverse = total + part, part + reverse
    assert [shard.url for shard in total.empty] == ["0", "1", "2", "3"][:MAX_EMPTY]
    assert total.empty == reverse.empty


def test_broken_shards_count_among_the_failed():
    losses = range_of("a", 90_000, samples=90) + range_of("b", 10_000, samples=0, broken_at=0)
    error = ShardError("b", 0, "not a tar header, but a JPEG image")
    summary = Summary(90, 88, failed_by=collections.Counter({"empty image": 2}), errors=(error,), losses=losses)
    summary.check_failed_fraction(0.12)
    with pytest.raises(JobError) as raised:
        summary.check_failed_fraction(0.11)
    assert str(raised.value).startswith(
        "2 of 90 samples failed and 1 broken shard lost about 10 more (an estimate; at least one each) (12.0%), over "
        "--max_failed_fraction 0.11: 2 x empty image, b: not a tar header, but a JPEG image. Scores are kept"
    )
    with pytest.raises(JobError, match="0 of 90 samples failed and 1 broken shard"):
        dataclasses.replace(summary, failed_by=collections.Counter()).check_failed_fraction(0.0)
    assert [losses.lost_in(url, 90) for url in ("a", "b")] == [1, 10]


@pytest.mark.parametrize("limit", [1.0, 0.5])
def test_under_any_limit_it_is_a_failure_that_not_one_sample_could_be_used(limit):
    failed = collections.Counter({"truncated image": 3, "empty image": 1})
    with pytest.raises(JobError) as raised:
        Summary(4, failed_by=failed).check_failed_fraction(limit)
    assert str(raised.value) == (
        "not one sample could be used: 4 of 4 samples failed: 3 x truncated image, 1 x empty image. Scores are kept: "
        "mend the input, and run the same command again"
    )
    Summary(5, 0, collections.Counter({"aesthetic < 5": 1}), failed_by=failed).check_failed_fraction(1.0)
    unseen = collections.Counter({"embedding is not finite": 4})
    with pytest.raises(JobError, match="mend the encoder or take another --precision, give --overwrite to embed anew,"):
        Summary(4, failed_by=unseen).check_failed_fraction(limit)
    gone = collections.Counter({"its host refuses connections": 4})
    with pytest.raises(JobError, match="give --overwrite to ask for all again, and run the same command again"):
        Summary(4, failed_by=gone).check_failed_fraction(limit)


def test_what_asks_for_some_rows_again_is_told_with_what_it_costs_the_others():
    gone = collections.Counter({"its host refuses connections": 4})
    with pytest.raises(JobError, match="--overwrite to ask for all again, which throws the scores away; or raise the"):
        Summary(10, 6, failed_by=gone).check_failed_fraction(0.1)
