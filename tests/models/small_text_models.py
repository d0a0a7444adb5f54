"""Small architectures with a text tower that reads as many tokens as CLIP's, in open_clip's registry."""

import json
import pathlib

import open_clip
import torch

SMALL = "curator-test-text"
SIGLIP_LIKE = "curator-test-text-bias"
"""With what SigLIP's text tower has: sees the whole text, takes its last token, and has a bias of its logits."""

_VISION = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
_MODEL = {"embed_dim": 96, "vision_cfg": _VISION, "text_cfg": _TEXT}
_CONFIGS = {
    SMALL: _MODEL,
    f"{SMALL}-quickgelu": {**_MODEL, "quick_gelu": True},
    SIGLIP_LIKE: {
        **_MODEL,
        "custom_text": True,
        "init_logit_bias": -10,
        "text_cfg": {**_TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
    },
}


def add_small_text_models(folder: pathlib.Path) -> None:
    """Makes open_clip know them."""
    for name, config in _CONFIGS.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(config))
        open_clip.add_model_config(path)


def random_checkpoint(model: str, path: pathlib.Path, seed: int = 0) -> str:
    """Random weights of a model, as `torch.save` writes them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.save(open_clip.create_model(model, pretrained_text=False).state_dict(), path)
    return str(path)
