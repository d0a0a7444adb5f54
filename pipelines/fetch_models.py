"""Fetches and verifies all weights: `beam-curator models`, from a checkout.

python -m pipelines.fetch_models --model_dir models
"""

import sys

from beam_curator.commands.fetch_models import main

if __name__ == "__main__":
    sys.exit(main())
