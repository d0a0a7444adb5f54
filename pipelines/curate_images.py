"""The main job: `beam-curator curate`, from a checkout.

python -m pipelines.curate_images --input 'raw/*.tar' --output curated --min_aesthetic 5.0 --max_nsfw 0.5
"""

import sys

from beam_curator.commands.curate_images import main

if __name__ == "__main__":
    sys.exit(main())
