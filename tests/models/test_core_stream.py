"""Images through a model on the CPU, by each core for itself: shares, neighbours, failures."""

import io
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from beam_curator.errors import JobError
from beam_curator.models.encoders import onednn_vit
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.device_model import MOST_IMAGES_A_CPU_PASS
from tests.models.core_streams import packed, stream_of
from tests.models.recording_model import RecordingModel, embeddings_alone, held_up, images, picture
from tests.patience import HANG_SECONDS

ROOT = pathlib.Path(__file__).resolve().parents[2]


def photographs(count: int) -> list[bytes]:
    """JPEGs of noise, some of which are damaged."""
    noise = np.random.default_rng(0).integers(0, 256, (count, 64, 80, 3), dtype=np.uint8)
    encoded = []
    for levels in noise:
        Image.fromarray(levels).save(buffer := io.BytesIO(), "JPEG")
        encoded.append(buffer.getvalue())
    return [jpeg if index % 7 else jpeg[:300] for index, jpeg in enumerate(encoded)]


@pytest.mark.slow
def test_every_list_gets_its_rows_in_order_whoever_embeds_them():
    stream = stream_of(RecordingModel(batch_size=4), threads=3)
    counts = (30, 1, 9, 64)
    futures = [stream.submit(images(*range(count))) for count in counts]
    expected = embeddings_alone(*range(64))
    for count, future in zip(counts, futures, strict=True):
        assert np.abs(future.result(HANG_SECONDS).embeddings - expected[:count]).max() < 1e-3


def test_each_thread_computes_alone_and_all_of_them_work():
    seen, both = set(), threading.Barrier(2)

    def decode(data):
        both.wait(HANG_SECONDS)  # no one passes alone
        seen.add((threading.current_thread().name, torch.get_num_threads()))
        return picture(data)

    stream_of(packed(8), decode).submit(images(*range(16))).result(HANG_SECONDS)
    assert len(seen) == 2
    assert {threads for _, threads in seen} == {1}


@pytest.mark.slow
def test_whoever_else_computes_in_the_process_has_as_many_threads_as_before():
    # In a process of its own: what torch is told is told to all that begin afterwards.
    code = """
import threading, torch
from tests.models.core_streams import packed, stream_of
from tests.models.recording_model import images
from tests.patience import HANG_SECONDS
torch.set_num_threads(3)
stream_of(packed(2), threads=4).submit(images(*range(64))).result(HANG_SECONDS)
seen = [torch.get_num_threads()]
later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
later.start()
later.join()
print(seen)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ended.stdout == "[3, 3]\n", ended.stderr


@pytest.mark.slow
def test_passes_are_full_while_much_waits_and_smaller_at_the_end_so_that_all_threads_end_together():
    model, go = packed(16), threading.Event()
    stream = stream_of(model, held_up(go), threads=1)
    futures = [stream.submit(images(*range(count))) for count in (40, 24)]
    go.set()
    for future in futures:
        future.result(HANG_SECONDS)
    assert model.calls == [16, 16, 8, 16, 8]  # a pass ends with its list
    model, go = packed(16), threading.Event()
    stream = stream_of(model, held_up(go), threads=3)
    future = stream.submit(images(*range(50)))
    go.set()
    future.result(HANG_SECONDS)
    # Shares of a third of what waits, then the least, an eighth of a full pass.
    assert sorted(model.calls, reverse=True) == [16, 12, 8, 5, 3, 2, 2, 2]


def test_where_neighbours_matter_passes_hold_the_same_images_whatever_waits_and_works():
    for threads in (1, 3):
        model = RecordingModel(batch_size=4)
        model.neighbours_matter = True
        stream = stream_of(model, threads=threads)
        for future in [stream.submit(images(*range(count))) for count in (3, 1, 10)]:
            future.result(HANG_SECONDS)
        assert sorted(model.calls) == [1, 2, 3, 4, 4]


@pytest.mark.slow
def test_a_bad_image_costs_its_row_and_a_list_of_them_ends():
    stream = stream_of(packed(2))
    got = stream.submit([b"\x01", b"", b"\x02", b"\x03", b""]).result(HANG_SECONDS)
    assert got.failures == [None, "empty image", None, None, "empty image"]
    assert not got.embeddings[[1, 4]].any()
    assert np.abs(got.embeddings[[0, 2, 3]] - embeddings_alone(1, 2, 3)).max() < 1e-3
    assert stream.submit([b"", b"", b""]).result(HANG_SECONDS).failures == ["empty image"] * 3


def test_callers_hear_of_each_image_once_by_one_thread_at_a_time():
    seen: list[int] = []
    talking = threading.Lock()

    def heard(rows, _failed):
        assert talking.acquire(blocking=False)
        time.sleep(0.001)  # in which another thread, if it may, talks as well
        seen.extend(rows)
        talking.release()

    stream_of(packed(2), threads=4).submit(images(*range(40)), heard).result(HANG_SECONDS)
    assert sorted(seen) == list(range(40))


@pytest.mark.parametrize("where", ["model", "decoding"])
def test_what_goes_wrong_reaches_its_list_and_no_other(where):
    model = packed(2)

    def decode(data):
        if where == "decoding" and data[0] == 6:
            raise MemoryError("no room")
        return picture(data)

    if where == "model":
        model.most_at_once = 0
    stream = stream_of(model, decode)
    failing = stream.submit(images(*range(20)))
    with pytest.raises(JobError if where == "model" else MemoryError):
        failing.result(HANG_SECONDS)
    model.most_at_once = 1 << 30
    assert stream.submit(images(7)).result(HANG_SECONDS).embeddings.any()


def test_of_a_list_that_failed_nothing_more_is_decoded():
    decoded = []

    def decode(data):
        decoded.append(data[0])
        if len(decoded) == 1:
            raise MemoryError("no room")
        return picture(data)

    stream = stream_of(packed(4), decode, threads=1)
    failing = stream.submit(images(*range(100)))
    with pytest.raises(MemoryError):
        failing.result(HANG_SECONDS)
    stream.submit(images(200)).result(HANG_SECONDS)  # behind all that the one thread would still have decoded
    assert decoded == [0, 200]


@pytest.mark.slow
def test_want_of_memory_in_several_threads_at_once_halves_once():
    model, both = packed(8), threading.Barrier(2)
    forward = model._forward

    def limited(pixels):
        if len(pixels) > 4:
            both.wait(HANG_SECONDS)
        return forward(pixels)

    model._forward, model.most_at_once = limited, 4
    got = stream_of(model).submit(images(*range(32))).result(HANG_SECONDS)
    assert (model.batch_size, model.batch_reductions, got.batch_reductions) == (4, 1, 1)
    assert np.abs(got.embeddings - embeddings_alone(*range(32))).max() < 1e-3


def test_a_batch_size_is_no_more_than_a_limit():
    assert RecordingModel(batch_size=None).batch_size <= MOST_IMAGES_A_CPU_PASS
    assert RecordingModel(batch_size=512).batch_size <= MOST_IMAGES_A_CPU_PASS
    assert RecordingModel(batch_size=3).batch_size == 3


@pytest.mark.slow
def test_an_interpreter_that_ends_does_not_wait_for_what_is_left():
    # Half an hour of images; whoever waits for them hears of it.
    code = """
import threading, time
from tests.models.core_streams import packed, stream_of
from tests.models.recording_model import images, picture
begun = threading.Event()
def slow(data):
    begun.set()
    time.sleep(0.05)
    return picture(data)
future = stream_of(packed(2), slow).submit(images(*[1] * 36000))
def wait():
    print(type(future.exception()).__name__, flush=True)
threading.Thread(target=wait).start()
begun.wait()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_SECONDS, cwd=ROOT)
    assert (ended.stdout, ended.returncode) == ("RuntimeError\n", 0), ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["packed", "torch's own"])
def test_the_number_of_cores_changes_no_bit(layers, monkeypatch):
    if layers == "torch's own":
        monkeypatch.setattr(onednn_vit, "runs_here", lambda module, dtype: False)
    found = []
    for threads in (1, 2, 5):
        encoder = ClipEncoder(ClipSpec("tiny-untrained", device="cpu", batch_size=8, decode_threads=threads))
        found.append(encoder.encode(photographs(45)).embeddings)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


@pytest.mark.slow
def test_a_thread_that_another_one_halves_under_loses_no_image_of_equal_passes():
    model = RecordingModel(batch_size=8, equal_passes=True)
    on_device, taken = model._on_device, []

    def halved_meanwhile(pixels, size):
        taken.append(size)
        model.batch_size = 4
        return on_device(pixels, size)

    model._on_device = halved_meanwhile
    pixels = torch.from_numpy(np.stack([np.array(picture(data).pixels) for data in images(*range(10))]))
    assert np.abs(model.run(pixels).wait() - embeddings_alone(*range(10))).max() < 1e-3
    assert taken == [8, 4]
