"""The commands of the README and the docs: their flags are known to us or to Beam, and take the values given."""

import argparse
import itertools
import pathlib
import re
import shlex

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.commands import flex_template, main, parsing, running
from beam_curator.commands.dry_run_flags import split_off
from beam_curator.commands.options import CurationOptions
from beam_curator.commands.steps_of_flags import scoring_hints

ROOT = pathlib.Path(__file__).resolve().parents[1]


PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
LAUNCHES = ("-m pipelines.curate_images", "beam-curator curate")
"""What the main job is called by; its flags follow."""


def commands(*programs):
    """The commands of fenced blocks that have one of these in them, as words, with where they stand."""
    for path in PAGES:
        for language, block in re.findall(r"^```([^\n]*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
            if language not in ("", "bash"):
                continue
            for line in block.replace("\\\n", " ").splitlines():
                if any(program in line for program in programs):
                    command = line.split(" 2>&1")[0]  # what the shell does with what it prints is no flag
                    yield pytest.param(shlex.split(command, comments=True), id=f"{path.name}-{len(line)}")


def flags_of(words):
    """Takes the words after the name of the command; three dots stand for flags that were said before."""
    words = [word for word in words if word != "..."]
    if "beam-curator" in words:
        return words[words.index("beam-curator") + 2 :]
    return words[words.index("-m") + 2 :]


def known_parser():
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for options in dict.fromkeys(PipelineOptions.__subclasses__()):
        if options.__module__.startswith(("apache_beam.options", "beam_curator")):
            options._add_argparse_args(parser)
    return parser


@pytest.mark.slow
@pytest.mark.parametrize("words", list(commands(*LAUNCHES)))
def test_every_flag_of_a_launch_is_known_and_has_a_value_that_it_takes(words):
    argv = split_off(flags_of(words))[1]
    _, unknown = known_parser().parse_known_args(argv)
    assert unknown == []
    options, _ = parsing.parse("beam-curator", "", argv)
    scoring_hints(options.view_as(CurationOptions))
    running.waits(options)


def test_each_page_that_launches_the_job_is_looked_at():
    pages = {found.id.rpartition("-")[0] for found in commands(*LAUNCHES)}
    assert {"README.md", "dataflow.md", "flink.md", "first-pipeline.md", "thresholds.md"} <= pages


@pytest.mark.parametrize("words", list(commands("beam-curator verify", "beam-curator models", "beam-curator demo")))
def test_every_flag_of_the_other_commands_is_in_their_help(words, capsys):
    name = words[words.index("beam-curator") + 1]
    with pytest.raises(SystemExit):
        main.main([name, "--help"])
    known = capsys.readouterr().out
    assert [flag for flag in flags_of(words) if flag.startswith("--") and flag not in known] == []


def test_there_are_launches_for_each_way_to_ask_for_a_gpu():
    launches = [" ".join(found.values[0]) for found in commands("DataflowRunner")]
    for text in ("--scoring_accelerator", "worker_accelerator", "use_nvidia_mps"):
        assert any(text in launch for launch in launches), text


def test_parameters_of_the_template_are_in_its_metadata():
    (run,) = [found.values[0] for found in commands("flex-template run")]
    given = [word.partition("=")[0] for flag, word in itertools.pairwise(run) if flag == "--parameters"]
    assert len(given) >= 5
    assert set(given) <= {parameter["name"] for parameter in flex_template.metadata()["parameters"]}
