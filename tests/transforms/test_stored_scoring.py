"""Columns that ranges lack are computed for several ranges at a time, and come out in order, as when they are read."""

import threading
from types import SimpleNamespace

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from beam_curator import process_tuning
from beam_curator.errors import JobError
from beam_curator.models.scorers.scorer import Column, Scorer
from beam_curator.output.added_columns import read_range
from beam_curator.output.score_steps import ScoreStep, Wanted
from beam_curator.transforms import stored_scoring
from tests.batches import AESTHETIC, ENCODER, MEMBERS, scored_batches
from tests.patience import HANG_SECONDS
from tests.tars import tar_bytes

NOBODYS = SimpleNamespace(enter=lambda: None, leave=lambda: None, check=lambda url: None)


class Meets(Scorer):
    """Two calls of it go on at the same time, or none ends."""

    columns = (Column("meets"), Column("last", "text"))
    parallel = True

    def __init__(self, name="meets"):
        self.name, self._other = name, threading.Barrier(2, timeout=HANG_SECONDS)

    def __call__(self, embeddings):
        self._other.wait()
        return {"meets": embeddings[:, 0], "last": [None, *map(str, embeddings[1:, 1])]}


class Raises(Scorer):
    """The job cannot go on after its first call."""

    name = "raises"

    def __init__(self):
        self.calls = 0

    def __call__(self, embeddings):
        self.calls += 1
        raise JobError("no more")


@pytest.fixture
def ranges(tmp_path):
    """Four ranges that are scored."""
    batches = scored_batches(tmp_path, tar_bytes(MEMBERS * 2), 1)
    assert len(batches) >= 4
    return [batch.range for batch in batches][:4]


def scoring(tmp_path, scorer, monkeypatch, cores=2):
    """The step, ready for ranges."""
    monkeypatch.setattr(stored_scoring, "share_of_cores", lambda: cores)
    stored_scoring._threads.cache_clear()
    wanted = Wanted(ENCODER, (AESTHETIC, ScoreStep.of(scorer)))
    step = stored_scoring.ScoreStored(str(tmp_path / "scored"), wanted, [scorer], NOBODYS)
    step.setup()
    step.start_bundle()
    return step, wanted


def test_several_ranges_are_scored_at_a_time_and_come_out_in_order_as_they_are_read(tmp_path, ranges, monkeypatch):
    step, wanted = scoring(tmp_path, Meets(), monkeypatch)
    found = [one for range in ranges for one in step.process(range, None, 0)]
    found = [one.value for one in [*found, *step.finish_bundle()]]
    assert [batch.range for batch in found] == ranges
    for batch in found:
        read = read_range(str(tmp_path / "scored"), batch.range, wanted)
        assert read.lacking(wanted.steps) == []
        assert batch.rows.equals(read.batch.rows, check_metadata=True)
        assert "failed" not in batch.rows["status"].to_pylist()
        assert (batch.models, batch.part, batch.embeddings) == (read.batch.models, read.batch.part, None)


def test_nothing_goes_on_behind_a_range_that_ends_the_job(tmp_path, ranges, monkeypatch):
    scorer = Raises()
    step, _ = scoring(tmp_path, scorer, monkeypatch, cores=1)
    step.ahead = len(ranges)
    for range in ranges:
        assert list(step.process(range, None, 0)) == []
    with pytest.raises(JobError, match="no more"):
        list(step.finish_bundle())
    calls = scorer.calls
    stored_scoring._threads().submit(int).result()  # all that could be waiting has had its turn
    assert scorer.calls == calls


@pytest.mark.parametrize("tuned", [True, False])
def test_where_a_process_is_tuned_a_product_stays_in_its_thread(tmp_path, ranges, monkeypatch, tuned):
    monkeypatch.setattr(process_tuning, "_on", tuned)
    with threadpool_limits(2, "blas"):
        scoring(tmp_path, Meets(), monkeypatch)
        threads = {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
    assert threads == {1 if tuned else 2}
