"""What travels together: nothing is lost, and no more waits than is told."""

import collections

from hypothesis import given
from hypothesis import strategies as st

from beam_curator.output.packing import Packing


@given(st.lists(st.integers(0, 5)), st.integers(1, 4), st.integers(1, 9))
def test_all_values_come_under_their_keys_in_their_order_and_no_more_wait_than_told(keys, together, most):
    packing = Packing(together, tuple, most)
    found, waiting = collections.defaultdict(list), 0
    for value, key in enumerate(keys):
        waiting += 1
        for of, pack in packing.add(key, value):
            assert 0 < len(pack) <= together
            found[of] += pack
            waiting -= len(pack)
        assert waiting < most
    for of, pack in packing.rest():
        found[of] += pack
    assert list(packing.rest()) == []
    assert found == {of: [value for value, key in enumerate(keys) if key == of] for of in set(keys)}


def test_a_key_goes_when_it_is_full_and_all_go_when_too_many_wait():
    packing = Packing(2, tuple, most=3)
    gone = [list(packing.add(key, value)) for value, key in enumerate("abacd")]
    assert gone == [[], [], [("a", (0, 2))], [], [("b", (1,)), ("c", (3,)), ("d", (4,))]]
    assert list(packing.rest()) == []
