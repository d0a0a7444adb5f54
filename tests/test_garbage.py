"""The collector passes over what is loaded, once, and still finds garbage that is made afterwards."""

import gc
import weakref

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator import process_tuning
from beam_curator.commands import running
from beam_curator.process_tuning import spare_what_is_loaded
from beam_curator.transforms.embedding import ClipModelHandler
from beam_curator.transforms.writing import _WriteShards


class Node:
    """Something that can refer to itself."""


@pytest.fixture(autouse=True)
def unfrozen():
    gc.unfreeze()
    yield
    gc.unfreeze()


def circle():
    node = Node()
    node.itself = node
    return weakref.ref(node)


def test_what_is_loaded_is_passed_over_and_garbage_goes_before():
    before = circle()
    loaded = len(gc.get_objects())
    assert loaded > process_tuning.MANY_OBJECTS
    spare_what_is_loaded()
    assert before() is None
    assert gc.get_freeze_count() > 0.5 * loaded
    assert len(gc.get_objects()) < 0.1 * loaded


def test_it_is_done_once():
    spare_what_is_loaded()
    count = gc.get_freeze_count()
    kept = circle()
    spare_what_is_loaded()
    assert gc.get_freeze_count() <= count
    gc.collect()
    assert kept() is None


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


@pytest.mark.parametrize("begin", [launch_a_job, load_a_model, begin_to_write_shards])
def test_it_is_done_where_much_has_been_loaded_and_much_is_to_be_made(begin):
    begin()
    assert gc.get_freeze_count() > process_tuning.MANY_OBJECTS
