"""What the engines need is asked for by name, and built again when it has changed."""

import pytest

from tests.engines import engine_parts


@pytest.mark.parametrize("program", engine_parts.INSTALL)
def test_a_program_that_is_missing_is_an_error_that_says_what_to_install(program, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engine_parts.MissingToolError, match=f"{program} is not on the PATH: install "):
        engine_parts.require(program)


def test_a_part_is_built_once_for_each_key(monkeypatch, tmp_path):
    monkeypatch.setattr(engine_parts, "ENGINES", tmp_path)
    built = []
    for key in ("1", "1", "2", "1"):
        engine_parts.built_once("jars", key, lambda key=key: built.append(key))
    assert built == ["1", "2", "1"]


def test_a_build_that_fails_is_tried_again(monkeypatch, tmp_path):
    monkeypatch.setattr(engine_parts, "ENGINES", tmp_path)
    engine_parts.built_once("jars", "1", lambda: None)
    with pytest.raises(AssertionError, match="false failed"):
        engine_parts.built_once("jars", "2", lambda: engine_parts.run(["false"]))
    built = []
    engine_parts.built_once("jars", "2", lambda: built.append("2"))
    assert built == ["2"]
