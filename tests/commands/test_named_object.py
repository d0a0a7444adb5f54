"""Objects that flags name: whatever the flag, they are read, imported and refused in one way."""

import sys

import pytest

from beam_curator.commands.named_object import Values, is_named_object, made, named_object, values_apart
from beam_curator.errors import UsageError

SOURCE = """
class Reader:
    def __init__(self, side=3, *, names=()): self.side, self.names = side, names
reader = Reader(7)
class Space:
    Reader = Reader
"""


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    """A module of the user's in the directory where the command is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "users_readers.py").write_text(SOURCE)
    yield
    sys.modules.pop("users_readers", None)


def loaded(text):
    return named_object("--reader", text, "my_readers:Reader(side=4)").load(made)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("users_readers:Reader", 3),
        ("users_readers:Reader()", 3),
        ("users_readers:Reader(5)", 5),
        ("mine = users_readers:Space.Reader( side = 6 )", 6),
        ("users_readers:reader", 7),
    ],
)
def test_a_class_is_called_with_the_values_and_an_object_is_taken_as_it_is(text, side):
    assert loaded(text).side == side


def test_name_and_values_are_read_and_nothing_is_imported():
    given = named_object("--reader", "my own=no.such.module:a.b(1, x={'y': [2]})", "m:o")
    assert (given.name, given.module, given.path) == ("my own", "no.such.module", "a.b")
    assert given.values == Values((1,), {"x": {"y": [2]}})
    assert named_object("--reader", "m:o", "m:o").name is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("users_readers", "write it as .*, such as my_readers:Reader"),
        ("users_readers:Reader(open('x'))", "does not hold plain values"),
        ("users_readers:missing", "cannot be loaded: AttributeError: .*missing"),
        ("no_such_module:Reader", "cannot be loaded: ModuleNotFoundError"),
        ("users_readers:Reader(1, 2)", "cannot be loaded: TypeError"),
    ],
)
def test_what_cannot_be_loaded_is_one_error_that_names_the_flag(text, message):
    with pytest.raises(UsageError, match=r"^--reader users_readers|^--reader no_such_module") as refused:
        loaded(text)
    refused.match(message)
    assert "\n" not in str(refused.value)


def test_values_of_pairs_are_json_or_pythons_constants_and_else_text():
    what, values = values_apart("--reader", 'm:o a=True b=false c=None d=3 e="True" f=[1] g=x:y', "m:o")
    assert what == "m:o"
    assert values == Values((), {"a": True, "b": False, "c": None, "d": 3, "e": "True", "f": [1], "g": "x:y"})


def test_names_of_models_and_paths_are_no_named_objects():
    assert is_named_object("my_encoders:Encoder(side=3)")
    for text in ("ViT-L-14", "models/own.pt", "s3://bucket/own.pt", "EVA02-L-14-336"):
        assert not is_named_object(text)
