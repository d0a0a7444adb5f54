"""Fetches and verifies all weights: `beam-curator models`, from a checkout.

python -m pipelines.fetch_models --model_dir models
"""

from beam_curator.commands.main import end_as_process

if __name__ == "__main__":
    end_as_process("beam_curator.commands.models")
