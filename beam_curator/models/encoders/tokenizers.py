"""Finds what turns texts into a model's tokens: it comes with open_clip, is fetched from the hub, or stands beside the
weights."""

from __future__ import annotations

import pathlib
from typing import Any

from beam_curator.errors import UsageError
from beam_curator.models.encoders.checkpoints import in_one_line

TOKENIZERS = "tokenizers"
"""The directory beside weights that holds tokenizers, each in one of its own."""


def tokenizer_of(model: str, weights: str | None) -> Any:
    """open_clip's tokenizer of a model. Most come with open_clip; those of SigLIP and others are read from
    `tokenizers/ORGANISATION--NAME/` beside the weights, else from the hub's cache, else fetched from the hub.

    Args:
      model: an open_clip architecture.
      weights: local path of the model's weights; None where nobody knows it.

    Raises:
      UsageError: it cannot be had, or is another model's.
    """
    import open_clip

    config = open_clip.get_model_config(model).get("text_cfg") or {}
    hub_name = config.get("hf_tokenizer_name") or ""
    place = _place(hub_name, weights)
    try:
        if place is None or not place.is_dir():
            return open_clip.get_tokenizer(model)
        found = open_clip.factory.HFTokenizer(
            str(place),
            context_length=config.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=config.get("tokenizer_mode"),
            **config.get("tokenizer_kwargs", {}),
        )
    except Exception as error:  # of transformers, of the hub, of the network
        where = f" into {place}" if place else f" into {TOKENIZERS}/{_directory(hub_name)} beside the weights"
        raise UsageError(
            f"model '{model}' reads texts with the tokenizer {hub_name} of the Hugging Face hub, which cannot be had "
            f"here ({in_one_line(error)}): `pip install transformers sentencepiece`, and without a network put its "
            f"files (tokenizer.json, tokenizer_config.json, special_tokens_map.json){where}; or take a model that "
            "comes with its tokenizer, such as ViT-L-14-quickgelu"
        ) from error
    if len(found.tokenizer) > config.get("vocab_size", len(found.tokenizer)):
        raise UsageError(
            f"{place} holds a tokenizer of {len(found.tokenizer):,} tokens, and model '{model}' knows "
            f"{config['vocab_size']:,}: put the files of {hub_name} there"
        )
    return found


def _place(hub_name: str, weights: str | None) -> pathlib.Path | None:
    return pathlib.Path(weights).parent / TOKENIZERS / _directory(hub_name) if hub_name and weights else None


def _directory(hub_name: str) -> str:
    return hub_name.replace("/", "--")
