"""The stream of images through decoding and a model with a device of its own: packing, neighbours, failures."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from beam_curator.errors import JobError
from beam_curator.models.encoders.cuda_stream import DeviceStream, images_at_once
from beam_curator.models.encoders.device_model import MOST_IMAGES_A_PASS, DeviceModel
from tests.models.recording_model import RecordingModel, embeddings_alone, held_up, images, picture
from tests.patience import HANG_SECONDS


def stream_of(model: DeviceModel, decode=picture, threads: int = 2) -> DeviceStream:
    return DeviceStream(model, decode, ThreadPoolExecutor(threads))


def test_a_micro_batch_is_filled_from_as_many_lists_as_it_takes():
    model, go = RecordingModel(batch_size=4), threading.Event()
    stream = stream_of(model, held_up(go))
    lists = [images(1, 2, 3), images(4), images(5, 6), images(7, 8, 9)]
    futures = [stream.submit(one) for one in lists]
    go.set()
    got = np.concatenate([future.result(HANG_SECONDS).embeddings for future in futures])
    assert model.calls == [4, 4, 1]
    assert np.abs(got - embeddings_alone(*range(1, 10))).max() < 1e-3


def test_a_list_does_not_wait_for_the_next_one():
    stream = stream_of(RecordingModel(batch_size=64))
    assert stream.submit(images(1)).result(HANG_SECONDS).embeddings.any()


@pytest.mark.parametrize("seed", [1, 2])
def test_images_are_taken_as_they_are_decoded_and_their_order_changes_no_bit(seed):
    levels = [*range(1, 24)]
    model, go = RecordingModel(batch_size=12, equal_passes=True), {level: threading.Event() for level in levels}
    in_order = stream_of(model, threads=1).submit(images(*levels)).result(HANG_SECONDS)

    def decode(data):
        assert go[data[0]].wait(HANG_SECONDS)
        return picture(data)

    stream = stream_of(model, decode, threads=len(levels))  # all are being decoded at once
    futures = [stream.submit(images(*part)) for part in (levels[:9], levels[9:10], levels[10:])]
    for level in np.random.default_rng(seed).permutation(levels):
        go[level].set()
    got = np.concatenate([future.result(HANG_SECONDS).embeddings for future in futures])
    assert got.tobytes() == in_order.embeddings.tobytes()


def test_a_slow_image_does_not_stop_those_after_it():
    model, slow, embedded = RecordingModel(batch_size=2), threading.Event(), threading.Event()

    def decode(data):
        assert data != b"\x01" or slow.wait(HANG_SECONDS)
        return picture(data)

    stream = stream_of(model, decode)
    first = stream.submit(images(1, 2, 3, 4, 5), lambda rows, _: embedded.set() if 2 in rows else None)
    assert embedded.wait(HANG_SECONDS)  # those after the first, while it is being decoded
    assert not first.done()
    second = stream.submit(images(6, 7))
    slow.set()
    assert np.abs(first.result(HANG_SECONDS).embeddings - embeddings_alone(1, 2, 3, 4, 5)).max() < 1e-3
    assert np.abs(second.result(HANG_SECONDS).embeddings - embeddings_alone(6, 7)).max() < 1e-3


def test_bad_images_leave_no_holes_and_their_list_ends_all_the_same():
    model = RecordingModel(batch_size=2)
    got = stream_of(model).submit([b"\x01", b"", b"\x02", b"\x03", b""]).result(HANG_SECONDS)
    assert got.failures == [None, "empty image", None, None, "empty image"]
    assert model.calls == [2, 1]
    assert not got.embeddings[[1, 4]].any()
    assert np.abs(got.embeddings[[0, 2, 3]] - embeddings_alone(1, 2, 3)).max() < 1e-3


@pytest.mark.parametrize("at_once", [2, 3, 100])
def test_a_thread_that_decodes_several_images_at_a_time_changes_no_bit(at_once):
    lists = [[b"\x01", b"", b"\x02", b"\x03", b""], images(4, 5, 6, 7), images(8)]
    rows = {}
    for count in (1, at_once):
        pool = ThreadPoolExecutor(3)
        stream = DeviceStream(RecordingModel(3, equal_passes=True), picture, pool, images_at_once=count)
        got = [future.result(HANG_SECONDS) for future in [stream.submit(one) for one in lists]]
        assert got[0].failures == [None, "empty image", None, None, "empty image"]
        rows[count] = np.concatenate([one.embeddings for one in got]).tobytes()
    assert rows[1] == rows[at_once]


def test_two_passes_have_images_for_each_thread():
    for batch_size in (1, 16, 256):
        for threads in (1, 8, 26, 200):
            assert 1 <= images_at_once(batch_size, threads) <= max(1, 2 * batch_size // threads)
    assert images_at_once(256, 26) == 8


def test_callers_hear_of_each_image_once_as_it_comes():
    seen: list[int] = []
    stream = stream_of(RecordingModel(batch_size=2))
    stream.submit(images(1, 2, 3, 4, 5), lambda rows, _: seen.extend(rows)).result(HANG_SECONDS)
    assert sorted(seen) == [0, 1, 2, 3, 4]


def decoded_ahead() -> list[int]:
    """Counts for each call of a model how many images are decoded, or being decoded, that it has not been given
    before."""
    begun, ahead = [], []

    def decode(data):
        begun.append(data)
        return picture(data)

    model = RecordingModel(batch_size=3)
    run = model.run
    model.run = lambda pixels: (ahead.append(len(begun) - sum(model.calls)), run(pixels))[1]
    stream = stream_of(model, decode)
    futures = [stream.submit(images(*range(count))) for count in (20, 1, 30, 2, 7)]
    for future in futures:
        future.result(HANG_SECONDS)
    return ahead


def test_no_more_than_two_micro_batches_are_decoded_ahead_of_a_device():
    assert 3 < max(decoded_ahead()) <= 3 * 3 + 1


@pytest.mark.slow
def test_equal_passes_are_filled_up_with_blank_images_that_nobody_sees():
    model = RecordingModel(batch_size=4, equal_passes=True)
    got = stream_of(model).submit(images(1, 2, 3, 4, 5, 6)).result(HANG_SECONDS).embeddings
    assert model.passes == [4, 4]
    assert np.abs(got - embeddings_alone(1, 2, 3, 4, 5, 6)).max() < 1e-3


def test_want_of_memory_is_counted_for_the_list_that_met_it():
    model = RecordingModel(batch_size=8, equal_passes=True)
    model.most_at_once = 3
    stream = stream_of(model)
    first, second = (stream.submit(one).result(HANG_SECONDS) for one in (images(*range(10)), images(1, 2)))
    assert (first.batch_reductions, second.batch_reductions) == (2, 0)
    assert model.batch_size == 2
    assert set(model.passes[2:]) == {2}
    assert np.abs(first.embeddings - embeddings_alone(*range(10))).max() < 1e-3


@pytest.mark.parametrize("where", ["model", "decoding", "last image"])
def test_what_goes_wrong_reaches_every_list_in_the_stream_and_no_later_one(where):
    model, go = RecordingModel(batch_size=2), threading.Event()
    broken = [True]
    trigger = {"model": 1, "decoding": 3, "last image": 6}[where]

    def decode(data):
        assert go.wait(HANG_SECONDS)
        if broken[0] and where != "model" and data[0] == trigger:
            raise MemoryError("no room")
        return picture(data)

    if where == "model":
        model.most_at_once = 0
    stream = stream_of(model, decode)
    futures = [stream.submit(one) for one in (images(1, 2, 3), images(4, 5, 6))]
    go.set()
    expected = JobError if where == "model" else MemoryError
    with pytest.raises(expected):
        futures[1].result(HANG_SECONDS)
    broken[0], model.most_at_once = False, 1 << 30
    assert stream.submit(images(7)).result(HANG_SECONDS).embeddings.any()


@pytest.mark.slow
def test_finding_the_batch_size_halves_until_it_fits_and_is_no_shortage():
    # What __init__ does on CUDA; the CPU has no such errors to give.
    model = RecordingModel(batch_size=8)
    model.most_at_once = 3
    model._warm_up(compile=False)
    assert model.batch_size == 2
    assert MOST_IMAGES_A_PASS == 256
