"""Checks a finished output against its input: `beam-curator verify`, from a checkout.

python -m pipelines.verify_output curated
"""

import sys

from beam_curator.commands.verify_output import main

if __name__ == "__main__":
    sys.exit(main())
