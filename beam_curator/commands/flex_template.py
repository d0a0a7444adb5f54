"""The metadata of the Flex Template, made from the flags of the main job.

python -m pipelines.flex_template > flex_template/metadata.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, WorkerOptions

from beam_curator.commands import parsing, running
from beam_curator.commands.options import CurationOptions

REQUIRED = ("input", "output")
LEFT_OUT = ("help", "no_wait")
"""A template never waits."""
BEAMS = {
    "sdk_container_image": WorkerOptions,
    "disk_size_gb": WorkerOptions,
    "number_of_worker_harness_threads": DebugOptions,
    "dataflow_service_options": GoogleCloudOptions,
}
"""Beam's flags that most launches need and that have no flag of gcloud's own; the service passes others as well."""


def metadata() -> dict[str, Any]:
    """Makes the file that tells Dataflow the template's parameters, which it shows and checks."""
    ours = [_parameter(action) for action in _actions(CurationOptions) if action.dest not in LEFT_OUT]
    beams = [
        _parameter(action) for name, options in BEAMS.items() for action in _actions(options) if action.dest == name
    ]
    return {
        "name": "Beam Curator",
        "description": "Curates image training sets: WebDataset shards in, scored and filtered shards out.",
        "streaming": False,
        "parameters": ours + beams,
    }


def _actions(options: Any) -> Sequence[argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    options._add_argparse_args(parser)
    return parser._actions


def _parameter(action: argparse.Action) -> dict[str, Any]:
    formatter = argparse.HelpFormatter(prog="")
    described: dict[str, Any] = {
        "name": action.dest,
        "label": action.dest.replace("_", " "),
        "helpText": formatter._expand_help(action) if action.help else action.dest,
        "isOptional": action.dest not in REQUIRED,
        **_type(action),
    }
    if action.default is not None and action.default is not argparse.SUPPRESS:
        default = action.default
        described["defaultValue"] = str(default).lower() if isinstance(default, bool) else str(default)
    return described


def _type(action: argparse.Action) -> dict[str, Any]:
    if isinstance(action.default, bool):
        return {"paramType": "BOOLEAN"}
    if action.choices:
        return {"paramType": "ENUM", "enumOptions": [{"value": str(choice)} for choice in action.choices]}
    return {"paramType": "TEXT"}


def run(argv: Sequence[str]) -> int:
    """Prints the metadata."""
    parsing.Parser(prog="flex_template", description=__doc__).parse_args(argv)
    print(json.dumps(metadata(), indent=2))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 2 for bad usage."""
    return running.exit_code("flex_template", run, argv)


if __name__ == "__main__":
    sys.exit(main())
