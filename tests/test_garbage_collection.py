"""The collector passes over what is loaded, once, and still finds garbage that is made afterwards."""

import gc
import pickle
import weakref

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator import process_tuning
from beam_curator.commands import running
from beam_curator.process_tuning import spare_what_is_loaded
from beam_curator.reading import DEFAULT_READING
from beam_curator.transforms.clip_handler import ClipModelHandler
from beam_curator.transforms.planning import _match_again
from beam_curator.transforms.writing import _WriteShards


class Node:
    """Something that can refer to itself."""


@pytest.fixture(autouse=True)
def unfrozen(monkeypatch):
    monkeypatch.setattr(process_tuning, "_on", True)
    gc.unfreeze()
    yield
    gc.unfreeze()


def circle():
    node = Node()
    node.itself = node
    return weakref.ref(node)


@pytest.mark.slow
def test_what_is_loaded_is_passed_over_and_garbage_goes_before():
    before = circle()
    loaded = len(gc.get_objects())
    assert loaded > process_tuning.MANY_OBJECTS
    spare_what_is_loaded()
    assert before() is None
    assert gc.get_freeze_count() > 0.5 * loaded
    assert len(gc.get_objects()) < 0.1 * loaded


@pytest.mark.slow
def test_it_is_done_once():
    spare_what_is_loaded()
    count = gc.get_freeze_count()
    kept = circle()
    spare_what_is_loaded()
    assert gc.get_freeze_count() <= count
    gc.collect()
    assert kept() is None


@pytest.mark.slow
def test_what_is_loaded_later_is_passed_over_later():
    spare_what_is_loaded()
    more = [[] for _ in range(process_tuning.MANY_OBJECTS + 1)]
    count = gc.get_freeze_count()
    spare_what_is_loaded()
    assert gc.get_freeze_count() > count + len(more)


def test_a_process_with_few_objects_is_left_alone(monkeypatch):
    monkeypatch.setattr(process_tuning, "MANY_OBJECTS", 1 << 40)
    spare_what_is_loaded()
    assert gc.get_freeze_count() == 0


def launch_a_job():
    running.run_pipeline(PipelineOptions([]), lambda pipeline: pipeline | beam.Create([1]), 1, "out")


def load_a_model():
    ClipModelHandler("tiny-untrained", device="cpu").load_model().get()


def begin_to_write_shards():
    writer = _WriteShards("out")
    writer.setup()
    writer.teardown()


@pytest.mark.slow
@pytest.mark.parametrize("begin", [launch_a_job, load_a_model, begin_to_write_shards])
def test_it_is_done_where_much_has_been_loaded_and_much_is_to_be_made(begin):
    begin()
    assert gc.get_freeze_count() > process_tuning.MANY_OBJECTS


@pytest.mark.parametrize("begin", [launch_a_job, load_a_model, begin_to_write_shards])
def test_a_library_leaves_the_process_of_its_user_alone(begin, monkeypatch):
    monkeypatch.setattr(process_tuning, "_on", False)
    begin()
    assert gc.get_freeze_count() == 0
    assert not process_tuning.is_on()


def set_up(writer):
    writer.setup()
    writer.teardown()


@pytest.mark.parametrize(
    ("make", "begin"),
    [
        (lambda: ClipModelHandler("tiny-untrained", device="cpu"), ClipModelHandler.load_model),
        (lambda: _WriteShards("out"), set_up),
    ],
)
@pytest.mark.parametrize("launcher", [pytest.param(True, marks=pytest.mark.slow), False])
def test_the_switch_travels_to_workers_with_the_steps(make, begin, launcher, monkeypatch):
    monkeypatch.setattr(process_tuning, "_on", launcher)
    sent = pickle.dumps(make())
    monkeypatch.setattr(process_tuning, "_on", False)  # as it is in a process that begins
    begin(pickle.loads(sent))
    assert process_tuning.is_on() == launcher


def test_a_command_that_is_the_process_turns_it_on_and_one_that_is_called_does_not(monkeypatch):
    monkeypatch.setattr(process_tuning, "_on", False)
    seen = []

    def command(_argv):
        seen.append(process_tuning.is_on())
        return 0

    assert running.exit_code("beam-curator", command, []) == 0
    assert running.exit_code("beam-curator", command, None) == 0
    assert seen == [False, True]


def test_the_collector_waits_where_it_may_be_told_to_and_goes_on_whatever_is_raised(monkeypatch):
    @process_tuning.collector_paused()
    def fails():
        assert not gc.isenabled()
        with process_tuning.collector_paused():
            pass
        assert not gc.isenabled()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert gc.isenabled()
    monkeypatch.setattr(process_tuning, "_on", False)
    with process_tuning.collector_paused():
        assert gc.isenabled()


def test_a_collector_that_a_program_has_turned_off_stays_off():
    gc.disable()
    try:
        with process_tuning.collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_it_waits_while_shards_are_matched_once_more_by_a_worker_of_a_command(monkeypatch, tmp_path):
    (tmp_path / "0.tar").write_bytes(b"")
    seen = []

    def known():
        seen.append(gc.isenabled())
        return ()

    for tuned in (True, False):
        monkeypatch.setattr(process_tuning, "_on", False)  # as it is in a process that begins
        (shard,) = _match_again([str(tmp_path / "0.tar")], False, None, None, known, ("auto", DEFAULT_READING), tuned)
        assert shard.url == str(tmp_path / "0.tar")
    assert seen == [False, True]
    assert gc.isenabled()
