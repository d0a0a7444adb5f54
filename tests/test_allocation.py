"""What was freed is there again, without a page fault for every 4 KB of it."""

import platform
import subprocess
import sys

import pytest

from beam_curator import allocation
from beam_curator.embedding import ClipModelHandler

IN_A_PROCESS = """
import resource, sys, threading
from beam_curator.allocation import keep_freed_memory

def fill(times):
    for _ in range(times):
        bytearray(40_000_000)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fill(10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def measure():
    fill(1)
    print(faults())

if sys.argv[1] == "kept":
    assert keep_freed_memory()
measure()
thread = threading.Thread(target=measure)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone has these settings")
def test_memory_that_was_freed_is_used_again_on_every_thread():
    def page_faults(way):
        ran = subprocess.run([sys.executable, "-c", IN_A_PROCESS, way], capture_output=True, text=True, check=True)
        return [int(line) for line in ran.stdout.split()]

    assert min(page_faults("not kept")) > 10_000  # 9,766 pages, ten times
    assert max(page_faults("kept")) < 1_000


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocation, "ctypes", None)
    assert not allocation.keep_freed_memory()


def test_it_is_done_where_a_model_is_loaded(monkeypatch):
    called = []
    monkeypatch.setattr("beam_curator.models.clip.keep_freed_memory", lambda: called.append(True))
    ClipModelHandler("tiny-untrained", device="cpu").load_model().get().load()
    assert called == [True]
