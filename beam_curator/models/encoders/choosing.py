"""Finds the encoder that a name stands for."""

from __future__ import annotations

from typing import cast

from beam_curator.defaults import TIMM, TINY_UNTRAINED
from beam_curator.models.encoders.encoder import CLIP_MEMBER, Encoder, check_encoder, member_of
from beam_curator.models.encoders.open_clip_tower import OpenClipEncoder
from beam_curator.models.encoders.timm_tower import TimmEncoder
from beam_curator.models.encoders.tiny_untrained import TinyUntrained


def encoder_of(model: str | Encoder, checkpoint: str | None = None, pretrained_tag: str | None = None) -> Encoder:
    """The encoder of a name: an open_clip architecture, "timm:NAME" or `TINY_UNTRAINED`; or a user's own.

    Args:
      model: the name, or the encoder.
      checkpoint: local path of the weights of open_clip's and timm's.
      pretrained_tag: the open_clip tag that they were published under.

    Raises:
      UsageError: for what is neither. Names are looked up when the encoder is first asked something.
    """
    if not isinstance(model, str):
        check_encoder(model)
        return model
    if model == TINY_UNTRAINED:
        return TinyUntrained()
    # Cast, as what they know before loading is computed when it is asked for: nobody can set it, nor does.
    if model.startswith(TIMM):
        return cast(Encoder, TimmEncoder(model, checkpoint))
    return cast(Encoder, OpenClipEncoder(model, checkpoint, pretrained_tag))


def embedding_member(encoder: Encoder) -> str:
    """Names the part between `KEY.` and `.npy` for an encoder's embeddings: "clip" for open_clip's."""
    if isinstance(encoder, (OpenClipEncoder, TinyUntrained)):
        return CLIP_MEMBER
    return member_of(encoder.name.removeprefix(TIMM) if isinstance(encoder, TimmEncoder) else encoder.name)
