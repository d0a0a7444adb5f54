import errno

import apache_beam as beam
import numpy as np
import pytest

from beam_curator.errors import JobError
from beam_curator.transforms import spilling
from beam_curator.transforms.coders import SampleBatchCoder
from beam_curator.transforms.spilling import Spillable, SpillableCoder, SpillFile, fetched, left, spilled_to_disk
from tests.batches import MEMBERS, scored_batches
from tests.eager import eager
from tests.tars import tar_bytes

LARGE = bytes(range(256)) * 40


@pytest.mark.parametrize("in_memory_bytes", [0, 20_000, 1 << 20])
def test_bytes_are_found_again_by_their_place_in_any_order(in_memory_bytes):
    file = SpillFile(in_memory_bytes)
    data = [bytes([number]) * (1000 * number) for number in range(1, 30)]
    places = [file.put(one) for one in data]
    assert [file.get(place) for place in reversed(places)] == data[::-1]
    assert file.get(file.put(b"more")) == b"more"


def test_only_while_a_pipeline_of_this_process_runs_do_places_travel():
    assert left(LARGE) == LARGE
    with spilled_to_disk():
        place = left(LARGE)
        assert len(place) < 40
        assert fetched(place) == LARGE
        assert left(b"small") == b"small"
    with pytest.raises(RuntimeError, match="another process"):
        fetched(place)


def test_a_batch_is_the_same_behind_its_place(tmp_path):
    batch, coder = scored_batches(tmp_path, tar_bytes(MEMBERS))[0], SampleBatchCoder()
    with spilled_to_disk():
        encoded = coder.encode(batch)
        found = coder.decode(encoded)
    assert len(encoded) < 40 < len(coder.encode(batch))
    assert coder.encode(found) == coder.encode(batch)
    assert found.rows.equals(batch.rows)
    assert found.range == batch.range


def test_a_value_is_read_when_it_is_asked_for_and_passed_on_unread(monkeypatch):
    coder, read = SpillableCoder(), []
    with spilled_to_disk():
        encoded = coder.encode(Spillable(("range", np.arange(5000))))
        monkeypatch.setattr(spilling, "fetched", lambda place: read.append(place) or fetched(place))
        again = coder.decode(encoded)
        assert coder.encode(again) == encoded
        assert read == []
        assert again.value[1].tolist() == list(range(5000))
        assert read == [encoded]


def test_what_a_runner_groups_holds_places_not_values():
    spillable = beam.Map(lambda number: (number % 3, Spillable(np.full(4000, number))))
    told = beam.MapTuple(
        lambda rest, all: (rest, [len(one.encoded) for one in all], sum(one.value.sum() for one in all))
    )
    with spilled_to_disk():
        found = eager(spillable.with_output_types(tuple[int, Spillable]) | beam.GroupByKey() | told, [*range(40)])
    assert sorted((rest, total) for rest, _, total in found) == [(n, 4000 * sum(range(n, 40, 3))) for n in range(3)]
    assert sum(len(sizes) for _, sizes, _ in found) == 40
    assert max(max(sizes) for _, sizes, _ in found) < 40


def test_no_room_is_one_line_that_names_the_place_and_what_to_set(monkeypatch):
    class Full:
        def seek(self, *_):
            return 3 << 30

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    file = SpillFile()
    monkeypatch.setattr(file, "_file", Full())
    with pytest.raises(JobError, match=r"after 3\.2 GB: No space left on device: set TMPDIR") as raised:
        file.put(b"x")
    assert "\n" not in str(raised.value)
