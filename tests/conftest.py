"""Shares settings and fixtures among the tests."""

import gc
import io
import pathlib
import sys

import pytest
from apache_beam.runners.worker import statecache
from hypothesis import HealthCheck, settings
from PIL import Image

from beam_curator import process_tuning
from beam_curator.commands import progress_line
from beam_curator.commands.quick_building import remember_what_beam_asks_again
from beam_curator.storage import retrying
from tests.warm_python import WarmPython

# No test is judged by the clock: not by hypothesis's, nor by lines of progress of a job that takes long.
# Nor by what is drawn: a run has the examples of the one before. `--hypothesis-profile new` draws others.
settings.register_profile("new", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False)
settings.register_profile("project", settings.get_profile("new"), derandomize=True, database=None)
settings.register_profile("quick", settings.get_profile("project"), max_examples=20)
progress_line.LOG_EVERY_SECONDS = 24 * 3600
settings.load_profile("project")
remember_what_beam_asks_again()
# Beam weighs a side input by walking through every module that can be reached from it, for each bundle: a tenth of a
# second a job. Nothing here fills its cache.
statecache.get_deep_size = lambda *_: 1000

SLOW_FOLDERS = ("integration", "buckets", "benchmarks", "ecosystem", "engines")
"""Of whole jobs, servers and measurements: all that is in them is `slow`."""


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """`python` and `beam-curator` that start at once."""
    python = WarmPython(tmp_path_factory.mktemp("programs") / "bin")
    yield python
    python.close()


MOST_DATA_BYTES = 12 << 30
"""More than any test takes, which is 3 GB, and less than most machines have."""


def pytest_configure(config):
    """Bounds memory, so that what asks for more than there is fails with its traceback, and not as the kernel's choice
    of a victim.

    It holds for the processes that tests start as well, but for Java's and CUDA's, which reserve what they do not take.
    """
    asked = config.getoption("markexpr").replace("not engines", "")
    if sys.platform != "linux" or process_tuning.has_gpu() or "engines" in asked:
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (soft, hard, MOST_DATA_BYTES) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))


def _is_in_slow_folder(path):
    return path.relative_to(pathlib.Path(__file__).parent).parts[:1] in [(name,) for name in SLOW_FOLDERS]


def pytest_ignore_collect(collection_path, config):
    """Leaves slow folders unimported where no slow test is asked for: what they import takes as long as some hundred
    fast tests."""
    if config.getoption("markexpr") == "not slow" and _is_in_slow_folder(collection_path):
        return True
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        if _is_in_slow_folder(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """While modules are imported there is no garbage, and looking for some takes a fifth of that time; afterwards there
    may be, but not of what is loaded."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def waits(monkeypatch):
    """Collects how long we would have waited before storage was asked again, in seconds; it waits no time."""
    seconds = []
    monkeypatch.setattr(retrying.CLOCK, "sleep", seconds.append)
    return seconds


SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared():
    """The directory with real shards, weights and golden scores beside the project root."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: real shards, weights and golden scores are not part of the project")
    return SHARED


@pytest.fixture(scope="session")
def small_jpeg():
    """The bytes of a small image."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((48, 32)).convert("RGB").save(file, "JPEG")
    return file.getvalue()
