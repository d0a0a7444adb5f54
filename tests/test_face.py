"""The public names: where they come from, and what importing them costs."""

import re
import subprocess
import sys

import pytest

import beam_curator as bc


def test_each_name_of_the_face_is_there_once_and_comes_from_its_home():
    assert sorted(bc.__all__) == sorted(bc._HOME_OF)
    assert set(bc.__all__) <= set(dir(bc))
    for name in bc.__all__:
        assert getattr(bc, name) is not None


def test_the_docstring_has_each_name_where_a_reader_looks_for_it():
    named = re.findall(r"`(\w+)`", bc.__doc__)
    assert sorted(named) == sorted(bc.__all__)


def test_the_package_is_run_as_its_command():
    done = subprocess.run(
        [sys.executable, "-m", "beam_curator", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"beam-curator {bc.__version__}\n"


def test_plumbing_is_imported_from_its_room():
    for name in ("Checkpoint", "PlanRanges", "ReadRanges", "ScoreRanges", "WriteScores", "ShardError", "match_shards"):
        assert not hasattr(bc, name)


def test_what_is_no_name_of_the_face_is_said():
    with pytest.raises(AttributeError, match="no_such_name"):
        bc.no_such_name  # noqa: B018


def loaded_after(code):
    """Lists the heavy libraries that are loaded after these statements."""
    shown = f"import sys\n{code}\nprint(*(m for m in ('torch', 'apache_beam', 'open_clip', 'PIL') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_the_package_and_its_command_load_no_heavy_library_before_they_need_it():
    assert loaded_after("import beam_curator") == []
    assert loaded_after("from beam_curator.commands import main\nmain.main(['--help'])") == []
    assert loaded_after("from beam_curator.commands import main\nmain.main(['--version'])") == []
