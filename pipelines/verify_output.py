"""Checks a finished output against its input: `beam-curator verify`, from a checkout.

python -m pipelines.verify_output curated
"""

from beam_curator.commands.main import end_as_process

if __name__ == "__main__":
    end_as_process("beam_curator.commands.verify")
