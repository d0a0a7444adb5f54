"""Writes flex_template/metadata.json: what Dataflow's console says of the flags.

python -m pipelines.flex_template
"""

import sys

from beam_curator.commands.flex_template import main

if __name__ == "__main__":
    sys.exit(main())
