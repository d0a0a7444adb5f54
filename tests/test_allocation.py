"""What was freed is there again, without a page fault for every 4 KB of it."""

import platform
import subprocess
import sys

import pytest

from beam_curator import process_tuning
from beam_curator.transforms.embedding import ClipModelHandler

IN_A_PROCESS = """
import resource, sys, threading
from beam_curator.process_tuning import keep_freed_memory

def fill(times):
    for _ in range(times):
        [bytearray(24_000_000) for _ in range(4)]

def measure():
    fill(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fill(10)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

if sys.argv[1] == "kept":
    assert keep_freed_memory()
thread = threading.Thread(target=measure)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone has these settings")
def test_memory_that_a_thread_freed_is_used_again():
    def page_faults(way):
        ran = subprocess.run([sys.executable, "-c", IN_A_PROCESS, way], capture_output=True, text=True, check=True)
        return int(ran.stdout)

    assert page_faults("not kept") > 50_000  # 23,438 pages of 4 KB, ten times, less what stays
    assert page_faults("kept") < 5_000


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(process_tuning, "ctypes", None)
    assert not process_tuning.keep_freed_memory()


def test_it_is_done_where_a_model_is_loaded(monkeypatch):
    called = []
    monkeypatch.setattr("beam_curator.models.encoders.clip.keep_freed_memory", lambda: called.append(True))
    ClipModelHandler("tiny-untrained", device="cpu").load_model().get().load()
    assert called == [True]
