"""The Flex Template's metadata has every flag of the main job, and shows values that the flags take."""

import argparse
import json
import pathlib

from beam_curator.commands import flex_template
from beam_curator.commands.options import CurationOptions

METADATA = pathlib.Path(__file__).resolve().parents[2] / "flex_template" / "metadata.json"


def actions():
    parser = argparse.ArgumentParser(add_help=False)
    CurationOptions._add_argparse_args(parser)
    return {action.dest: action for action in parser._actions}


def parameters():
    return {parameter["name"]: parameter for parameter in json.loads(METADATA.read_text())["parameters"]}


def test_the_file_is_what_the_flags_give(capsys):
    assert flex_template.main([]) == 0
    assert METADATA.read_text() == capsys.readouterr().out, (
        "run: python -m pipelines.flex_template > flex_template/metadata.json"
    )


def test_every_flag_of_the_main_job_is_a_parameter_but_no_wait():
    assert set(actions()) - set(parameters()) == {"no_wait"}
    assert set(parameters()) - set(actions()) == set(flex_template.BEAMS)


def test_only_input_and_output_must_be_given():
    assert [name for name, parameter in parameters().items() if not parameter["isOptional"]] == ["input", "output"]


def test_each_default_is_a_value_that_the_flag_takes_and_means_the_same():
    defaults, known = CurationOptions([]).get_all_options(), actions()
    for name, parameter in parameters().items():
        if "defaultValue" in parameter and name in known:
            given = CurationOptions([f"--{name}={parameter['defaultValue']}"]).get_all_options()[name]
            assert given == defaults[name], name


def test_switches_take_true_and_false_as_launchers_give_them():
    switches = [name for name, parameter in parameters().items() if parameter["paramType"] == "BOOLEAN"]
    assert "overwrite" in switches
    for name in switches:
        for text, value in (("true", True), ("false", False)):
            assert CurationOptions([f"--{name}={text}"]).get_all_options()[name] is value, name
        assert CurationOptions([f"--{name}"]).get_all_options()[name] is True
