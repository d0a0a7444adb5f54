"""What rules are called: the same in every run."""

import functools
import subprocess
import sys

import pytest

from beam_curator.rules.names import rule_name


def longer_than(row, *values, **named):
    return True


class Thing:
    pass


@pytest.mark.parametrize(
    ("values", "named", "name"),
    [
        ((4,), {}, "longer_than(4)"),
        (("four",), {"of": {"b": 1, "a": [2]}}, "longer_than('four', of={'b': 1, 'a': [2]})"),
        ((longer_than,), {}, "longer_than(longer_than)"),
        ((("x" * 50, "y" * 50),), {}, f"longer_than(('{'x' * 50}', ...)"),
    ],
)
def test_a_partial_is_called_by_its_function_and_its_arguments(values, named, name):
    assert rule_name(functools.partial(longer_than, *values, **named)) == name


def test_a_place_in_memory_is_no_part_of_a_name():
    name = rule_name(functools.partial(longer_than, Thing(), of=[object()]))
    assert "0x" not in name
    assert name.endswith("Thing object>, of=[<object object>])")


def test_a_name_that_the_user_sets_on_a_partial_or_a_lambda_goes_before():
    for rule in (functools.partial(longer_than, words=4), lambda row: True):
        rule.name = "too short"
        assert rule_name(rule) == "too short"


@pytest.mark.slow
def test_sets_are_told_in_the_same_order_in_every_process():
    code = (
        "import functools; from beam_curator.rules.names import rule_name; "
        "print(rule_name(functools.partial(len, {'a', 'b', 'c', 'd', 'e'})))"
    )
    run = functools.partial(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {run(env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)}).stdout for seed in range(3)}
    assert names == {"len({'a', 'b', 'c', 'd', 'e'})\n"}
