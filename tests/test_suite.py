"""The suite keeps the order of the package: the tests of a room are in its folder, and no test imports a test."""

import pathlib
import re
import sys

import pytest

from beam_curator import process_tuning
from tests.conftest import MOST_DATA_BYTES

TESTS = pathlib.Path(__file__).parent
BESIDE_ROOMS = {"benchmarks", "buckets", "ecosystem", "engines", "integration"}
"""Of whole jobs, servers and other projects' tools."""


IMPORTED = re.compile(r"^\s*(?:from|import)\s+(tests\b[^\n(]*(?:\([^)]*\))?)", re.MULTILINE)
"""What is imported of the tests, of one file or several."""


def test_no_test_imports_a_test():
    found = [(path.name, name) for path in TESTS.rglob("*.py") for name in IMPORTED.findall(path.read_text())]
    assert len(found) > 100
    assert [(path, name) for path, name in found if re.search(r"\btest_", name)] == []


def test_the_folders_are_the_rooms():
    folders = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py") if path.parent != TESTS}
    rooms = {path.name for path in (TESTS.parent / "beam_curator").iterdir() if path.is_dir()}
    assert folders - rooms == BESIDE_ROOMS


@pytest.mark.skipif(sys.platform != "linux" or process_tuning.has_gpu(), reason="there is no such limit")
def test_what_asks_for_more_memory_than_there_is_fails_with_its_traceback():
    with pytest.raises(MemoryError):
        bytes(MOST_DATA_BYTES + 1)
