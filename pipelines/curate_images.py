"""The main job: `beam-curator curate`, from a checkout.

python -m pipelines.curate_images --input 'raw/*.tar' --output curated --min_aesthetic 5.0 --max_nsfw 0.5
"""

from beam_curator.commands.main import end_as_process

if __name__ == "__main__":
    end_as_process("beam_curator.commands.curate")
