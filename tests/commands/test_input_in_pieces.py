"""What the local runner hands to a stage is what Beam hands over, in the pieces in which it waits."""

from types import SimpleNamespace

import pytest
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.worker.data_plane import ClosableOutputStream, InMemoryDataChannel

from beam_curator.commands.input_in_pieces import hand_over_in_pieces

hand_over_in_pieces()
SENT = fn_runner.BundleManager._send_input_to_worker


def _received(pieces):
    channel = InMemoryDataChannel()
    manager = SimpleNamespace(_worker_handler=SimpleNamespace(data_conn=channel))
    SENT(manager, "bundle", "read", pieces)
    return [one.data for one in channel.inverse().input_elements("bundle", [])]


def test_each_piece_comes_by_itself_and_in_order():
    assert _received([b"first", b"second", b"third"]) == [b"first", b"second", b"third"]


@pytest.mark.parametrize("pieces", [[], None])
def test_a_stage_without_input_is_sent_nothing(pieces):
    assert _received(pieces) == []


def test_a_worker_in_another_process_is_told_the_end_once():
    closed = []
    elsewhere = SimpleNamespace(output_stream=lambda *_: ClosableOutputStream(closed.append))
    SENT(SimpleNamespace(_worker_handler=SimpleNamespace(data_conn=elsewhere)), "bundle", "read", [b"one ", b"two"])
    assert closed == [b"one two"]


def test_beam_is_patched_once():
    hand_over_in_pieces()
    assert fn_runner.BundleManager._send_input_to_worker is SENT
    assert not hasattr(SENT.__wrapped__, "__wrapped__")
