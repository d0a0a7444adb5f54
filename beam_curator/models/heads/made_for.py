"""Checks a score head against its encoder: on the embeddings of another one its scores look right and mean nothing."""

from __future__ import annotations

import dataclasses

from beam_curator.identities import ModelIdentity

OPENAI_VIT_L_14 = "OpenAI's CLIP ViT-L/14"
"""The model that the published heads were made for."""

MADE_FOR = "made for"
"""The beginning of the note of a published head that runs on another encoder."""

RUN_ON = "run on"

UNKNOWN_ORIGIN = "checkpoint of unknown origin"
"""The note of an encoder whose weights nobody knows by their sha256."""

_OPENAI_NAMES = frozenset({"ViT-L-14-quickgelu/openai", "ViT-L-14/openai"})


@dataclasses.dataclass(frozen=True)
class MadeFor:
    """The embeddings that a head takes.

    Attributes:
      width: length of an embedding; None for any.
      published: whether it is one of the published heads, which were trained on embeddings of `OPENAI_VIT_L_14`. For
        other heads this is not known; their identity notes the encoder that they run on.
      accept_other: whether the user wants it to score embeddings of another encoder nevertheless.
    """

    width: int | None = None
    published: bool = False
    accept_other: bool = False

    def identity_on(self, identity: ModelIdentity, encoder: ModelIdentity | None) -> ModelIdentity:
        """The head's identity, with what it runs on where that matters."""
        if self.width is None:
            return identity
        if not self.published:
            return identity.with_notes(f"{RUN_ON} {encoder_name(encoder)}")
        if is_openai_vit_l_14(encoder):
            return identity
        return identity.with_notes(f"{MADE_FOR} {OPENAI_VIT_L_14}, {RUN_ON} {encoder_name(encoder)}")

    def complaint(
        self, score: str, identity: ModelIdentity, encoder: ModelIdentity | None, width: int | None = None
    ) -> str | None:
        """Says in one line why the head cannot score the embeddings of this encoder; None if it can.

        Args:
          score: the head's column.
          identity: the head's.
          encoder: of the model that gives the embeddings.
          width: their length, if it is known.
        """
        head = f"the {score} head {identity.name}"
        if self.width is not None and width is not None and width != self.width:
            return (
                f"{head} takes embeddings of {self.width} numbers, and {encoder_name(encoder)} gives {width}: take an "
                f"encoder that gives {self.width}, such as ViT-L-14-quickgelu, or another head, or none"
            )
        if not self.published or self.accept_other or is_openai_vit_l_14(encoder):
            return None
        return (
            f"{head} was made for {OPENAI_VIT_L_14}, not for {encoder_name(encoder)}, on which its scores look right "
            "and mean nothing: take --clip_model ViT-L-14-quickgelu --clip_pretrained openai, or another head, or "
            "insist with --accept_other_encoder (in Python accept_other_encoder=True)"
        )


ANY_ENCODER = MadeFor()
"""The encoders that a head takes that says nothing of them."""


def encoder_name(encoder: ModelIdentity | None) -> str:
    """Names an encoder as people call it: `ViT-L-14/laion2b_s32b_b82k`."""
    if encoder is None:
        return "an encoder without a name"
    own = f" (a {UNKNOWN_ORIGIN})" if UNKNOWN_ORIGIN in encoder.notes else ""
    return f"{encoder.name}{own}"


def is_openai_vit_l_14(encoder: ModelIdentity | None) -> bool:
    """Tells whether an encoder is known to be OpenAI's CLIP ViT-L/14."""
    return encoder is not None and encoder.name in _OPENAI_NAMES and UNKNOWN_ORIGIN not in encoder.notes
