"""The flags of running elsewhere. Nothing heavy is imported here, as in `flags`."""

from __future__ import annotations

import argparse

from beam_curator.commands.flag_types import SWITCH, accelerator, min_ram


def add_running(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of running elsewhere."""
    group.add_argument(
        "--scoring_accelerator",
        type=accelerator,
        metavar="HINT",
        help="accelerator for the steps that score, and for no others, as a resource hint of the runner's; on Dataflow "
        "such as type:nvidia-l4;count:1;install-nvidia-driver",
    )
    group.add_argument(
        "--scoring_min_ram",
        type=min_ram,
        metavar="SIZE",
        help="memory that workers need for scoring, as a resource hint, such as 30GB",
    )
    group.add_argument(
        "--no_wait",
        **SWITCH,
        help="on Dataflow: submit the job, and do not wait for its end",
    )
