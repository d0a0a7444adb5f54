"""Weights of a model's own shape and size, drawn at random: as fast as trained ones, and they need no download."""

import os
from pathlib import Path

import torch

from beam_curator.defaults import TINY_UNTRAINED


def random_checkpoint(cache: Path, model: str) -> Path | None:
    """A checkpoint of an open_clip architecture in the cache, made if it is not there; None for the tiny model.

    Args:
      cache: directory where benchmarks keep what they make.
      model: an open_clip architecture, or "tiny-untrained".
    """
    if model == TINY_UNTRAINED:
        return None
    path = cache / "weights" / f"{model}-random.pt"
    if not path.exists():
        import open_clip

        path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        whole = open_clip.create_model(model, pretrained_text=False)
        unfinished = path.with_suffix(f".{os.getpid()}")
        torch.save(whole.state_dict(), unfinished)
        unfinished.replace(path)
    return path
