"""The collector passes over what is loaded, once, and still finds garbage that is made afterwards."""

import gc
import weakref

import pytest

from beam_curator import garbage
from beam_curator.garbage import spare_what_is_loaded


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
    assert loaded > garbage.MANY_OBJECTS
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


def test_what_is_loaded_later_is_passed_over_later(monkeypatch):
    spare_what_is_loaded()
    more = [[] for _ in range(garbage.MANY_OBJECTS + 1)]
    count = gc.get_freeze_count()
    spare_what_is_loaded()
    assert gc.get_freeze_count() > count + len(more)


def test_a_process_with_few_objects_is_left_alone(monkeypatch):
    monkeypatch.setattr(garbage, "MANY_OBJECTS", 1 << 40)
    spare_what_is_loaded()
    assert gc.get_freeze_count() == 0
