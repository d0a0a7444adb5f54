"""The suite keeps the order of the package: the tests of a room are in its folder, and no test imports a test."""

import ast
import pathlib

TESTS = pathlib.Path(__file__).parent
BESIDE_ROOMS = {"benchmarks", "buckets", "ecosystem", "engines", "integration"}
"""Of whole jobs, servers and other projects' tools."""


def imported(path):
    """The modules that a file imports, and the names that it takes from them, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_no_test_imports_a_test():
    found = [(path.name, name) for path in TESTS.rglob("*.py") for name in imported(path) if name.startswith("tests.")]
    assert len(found) > 100
    assert [(path, name) for path, name in found if any(part.startswith("test_") for part in name.split("."))] == []


def test_the_folders_are_the_rooms():
    folders = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py") if path.parent != TESTS}
    rooms = {path.name for path in (TESTS.parent / "beam_curator").iterdir() if path.is_dir()}
    assert folders - rooms == BESIDE_ROOMS
