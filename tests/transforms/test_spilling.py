import contextlib
import contextvars
import errno
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

import beam_curator as bc
from beam_curator.errors import JobError
from beam_curator.transforms import spilling
from beam_curator.transforms.coders import SampleBatchCoder
from beam_curator.transforms.spilling import (
    NOWHERE,
    Spillable,
    SpillableCoder,
    SpillFile,
    current,
    fetched,
    left,
    spilled_to_disk,
)
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
    with spilled_to_disk():
        name = current()
        place = left(LARGE, name)
        assert len(place) < 20
        assert fetched(place) == LARGE
        assert left(b"small", name) == b"small"
        assert left(LARGE, NOWHERE) == LARGE
    assert current() == NOWHERE
    assert left(LARGE, name) == LARGE
    with pytest.raises(RuntimeError, match="another process"):
        fetched(place)


def test_a_batch_is_the_same_behind_its_place(tmp_path):
    batch = scored_batches(tmp_path, tar_bytes(MEMBERS))[0]
    with spilled_to_disk():
        coder = SampleBatchCoder()
        encoded = coder.encode(batch)
        found = coder.decode(encoded)
    assert len(encoded) < 20 < len(coder.encode(batch))
    assert coder.encode(found) == coder.encode(batch)
    assert found.rows.equals(batch.rows)
    assert found.range == batch.range


def test_a_value_is_read_when_it_is_asked_for_and_passed_on_unread(monkeypatch):
    read = []
    with spilled_to_disk():
        coder = SpillableCoder()
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
        lambda rest, all: (rest, [len(one.encoded(NOWHERE)) for one in all], sum(one.value.sum() for one in all))
    )
    with spilled_to_disk():
        found = eager(spillable.with_output_types(tuple[int, Spillable]) | beam.GroupByKey() | told, [*range(40)])
    assert sorted((rest, total) for rest, _, total in found) == [(n, 4000 * sum(range(n, 40, 3))) for n in range(3)]
    assert sum(len(sizes) for _, sizes, _ in found) == 40
    assert max(max(sizes) for _, sizes, _ in found) < 20


def test_what_duplicates_are_told_by_waits_as_places_for_the_one_worker_that_tells_them(tmp_path):
    pipeline = beam.Pipeline()
    samples = pipeline | bc.ReadSamples(str(tmp_path / "*.tar"))
    samples | "Drop" >> bc.DropDuplicates(str(tmp_path / "out"), kinds=["exact"])
    (drop,) = (step for step in pipeline.transforms_stack[0].parts if step.full_label == "Drop")
    (gathered,) = (step.outputs[None] for step in drop.parts if step.full_label == "Drop/Gather")
    assert "SpillableCoder" in str(beam.coders.registry.get_coder(gathered.element_type))


def test_what_the_runner_groups_of_each_range_where_shards_are_written_waits_as_places(tmp_path):
    pipeline = beam.Pipeline()
    pipeline | bc.ReadSamples(str(tmp_path / "*.tar")) | "Write" >> bc.WriteShards(str(tmp_path / "out"))
    given = {}

    def look(steps):
        for step in steps:
            given.update({step.full_label.partition("/")[2]: output.element_type for output in step.outputs.values()})
            look(step.parts)

    look(pipeline.transforms_stack[0].parts)
    for step in ("PackCounts", "InGroup", "CountGroup", "JoinPieces/Pack", "OfRanges", "OfLedger", "ListDirectory"):
        assert "SpillableCoder" in str(beam.coders.registry.get_coder(given[step])), step


def test_a_value_is_written_once_however_often_it_is_encoded_and_its_size_asked_for():
    value = np.arange(5000)
    one = Spillable(value)
    with spilled_to_disk():
        coder = SpillableCoder()
        place = coder.encode(one)
        assert coder.estimate_size(one) == len(place) < 20
        assert coder.encode(one) == place
    assert one.value is value


def test_jobs_of_one_process_at_the_same_time_read_what_they_left_whichever_ends_first():
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    in_first, in_second = contextvars.Context(), contextvars.Context()
    for ends_first, ends_last in ((first, second), (second, first)):
        in_first.run(first.enter_context, spilled_to_disk())
        of_first = left(LARGE, in_first.run(current))
        in_second.run(second.enter_context, spilled_to_disk())
        of_second = left(LARGE[::-1], in_second.run(current))
        assert (fetched(of_first), fetched(of_second)) == (LARGE, LARGE[::-1])
        (in_first if ends_first is first else in_second).run(ends_first.close)
        assert fetched(of_second if ends_first is first else of_first) in (LARGE, LARGE[::-1])
        (in_second if ends_last is second else in_first).run(ends_last.close)


def test_a_pipeline_of_a_user_beside_a_job_in_this_process_leaves_nothing_in_its_file():
    sizes = beam.Map(lambda one: len(one[1].encoded(NOWHERE)))
    spillable = beam.Map(lambda number: (number, Spillable(np.full(4000, number))))
    user = spillable.with_output_types(tuple[int, Spillable]) | beam.Reshuffle() | sizes
    with spilled_to_disk(), ThreadPoolExecutor(1) as thread:
        assert min(thread.submit(eager, user, [1, 2]).result()) > 4000
        assert max(eager(user, [1, 2])) < 20


@pytest.mark.parametrize("size", [10, 100_000])
def test_no_room_is_one_line_that_names_the_place_and_what_to_set_for_all_that_use_the_file(monkeypatch, size):
    with spilled_to_disk():
        file, coder = spilling._files[current()], SpillableCoder()
        place = file.put(b"x")
        monkeypatch.setattr(file, "_file", Path("/dev/full").open("r+b"))  # noqa: SIM115  closed with it
        for using in (lambda: file.put(b"x" * size), lambda: file.put(b"x"), lambda: file.get(place)):
            with pytest.raises(JobError, match=r"after 0 B: No space left on device: set TMPDIR") as raised:
                using()
            assert "\n" not in str(raised.value)
    assert len(coder.encode(Spillable(LARGE))) > len(LARGE)


def test_no_directory_for_temporary_files_at_all_is_one_line_as_well(monkeypatch):
    file = SpillFile(in_memory_bytes=1)
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "_get_default_tempdir", _no_directory)
        patched.setattr(tempfile, "tempdir", None)
        with pytest.raises(JobError, match=r"No usable temporary directory found in .*: set TMPDIR"):
            file.put(LARGE)


def _no_directory(*_):
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
