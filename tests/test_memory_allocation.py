"""What was freed stays with the process, and is there again without a page fault for every 4 KB of it."""

import platform
import subprocess
import sys

import pytest

from beam_curator import process_tuning
from beam_curator.transforms.clip_handler import ClipModelHandler

IN_A_PROCESS = """
import sys, threading
import psutil
from beam_curator.process_tuning import keep_freed_memory, turn_on

def fill(times):
    for _ in range(times):
        [bytearray(24_000_000) for _ in range(4)]

def measure():
    before = psutil.Process().memory_info().rss
    fill(12)
    print(psutil.Process().memory_info().rss - before)

if sys.argv[1] == "kept":
    turn_on()
assert keep_freed_memory() == (sys.argv[1] == "kept")
thread = threading.Thread(target=measure)
thread.start()
thread.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone has these settings")
def test_memory_that_a_thread_freed_is_used_again():
    def bytes_left(way):
        ran = subprocess.run([sys.executable, "-c", IN_A_PROCESS, way], capture_output=True, text=True, check=True)
        return int(ran.stdout)

    assert bytes_left("not kept") < 60_000_000  # two of four: the kernel has the others
    assert 90_000_000 < bytes_left("kept") < 120_000_000  # all four, and each time the same


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(process_tuning, "_on", True)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(process_tuning, "ctypes", None)
    assert not process_tuning.keep_freed_memory()


@pytest.mark.slow
def test_it_is_done_where_a_model_is_loaded(monkeypatch):
    called = []
    monkeypatch.setattr("beam_curator.models.encoders.clip.keep_freed_memory", lambda: called.append(True))
    ClipModelHandler("tiny-untrained", device="cpu").load_model().get().load()
    assert called == [True]
