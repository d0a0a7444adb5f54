"""Checks a finished output against its input: `beam-curator verify`, from a checkout.

python -m pipelines.verify_output curated
"""

import sys

from beam_curator.commands.main import run_as_process

if __name__ == "__main__":
    sys.exit(run_as_process("beam_curator.commands.verify"))
