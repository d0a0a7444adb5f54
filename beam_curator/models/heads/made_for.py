"""Which encoder a score head was made for: on the embeddings of another one its scores look right and mean nothing.

What travels with embeddings is the identity of their model (`ClipModelHandler.identity`), in words; so it is told
from these words.
"""

from __future__ import annotations

import dataclasses
import re

OPENAI_VIT_L_14 = "OpenAI's CLIP ViT-L/14"
"""What the published heads were made for."""

MADE_FOR = "made for"
"""What the identity of a head that runs on another encoder says of it."""

_OPENAI_NAMES = frozenset({"ViT-L-14-quickgelu/openai", "ViT-L-14/openai"})
_IDENTITY = re.compile(
    r"(?P<model>[^,]+?)(?:, (?P<kind>weights|checkpoint) (?P<name>.+) sha256:[0-9a-f]{64})?(?: \(.*?\))?"
    r"(?:, precision .*)?"
)


@dataclasses.dataclass(frozen=True)
class MadeFor:
    """What a score head takes.

    Attributes:
      width: length of the embeddings that it takes; None for any.
      published: whether it is one of the heads that were made for `OPENAI_VIT_L_14`. Of other heads nobody knows what
        they were made for: what they run on becomes a part of their identity.
      accept_other: whether the user insists on another encoder.
    """

    width: int | None = None
    published: bool = False
    accept_other: bool = False

    def identity_on(self, identity: str, encoder: str | None) -> str:
        """The head's identity, with what it runs on where that matters: `encoder` is the identity of its model."""
        if self.width is None:
            return identity
        if not self.published:
            return f"{identity}, run on {encoder_name(encoder)}"
        if is_openai_vit_l_14(encoder):
            return identity
        return f"{identity}, {MADE_FOR} {OPENAI_VIT_L_14}, run on {encoder_name(encoder)}"

    def complaint(self, score: str, identity: str, encoder: str | None, width: int | None = None) -> str | None:
        """What is wrong with the head on this encoder, if anything is, in one line.

        Args:
          score: the head's column.
          identity: the head's.
          encoder: identity of the model that gives the embeddings.
          width: their length, if it is known.
        """
        head = f"the {score} head {identity.partition(' sha256:')[0]}"
        if self.width is not None and width is not None and width != self.width:
            return (
                f"{head} takes embeddings of {self.width} numbers, and {encoder_name(encoder)} gives {width}: take an "
                f"encoder that gives {self.width}, such as ViT-L-14-quickgelu, or another head"
            )
        if not self.published or self.accept_other or is_openai_vit_l_14(encoder):
            return None
        return (
            f"{head} was made for {OPENAI_VIT_L_14}, not for {encoder_name(encoder)}, on which its scores look right "
            "and mean nothing: take --clip_model ViT-L-14-quickgelu --clip_pretrained openai, or another head, or "
            "insist with --accept_other_encoder (in Python accept_other_encoder=True)"
        )


ANY_ENCODER = MadeFor()
"""What a head takes that says nothing of it."""


def encoder_name(encoder: str | None) -> str:
    """What people call the model of this identity: `ViT-L-14/laion2b_s32b_b82k`."""
    found = _IDENTITY.fullmatch(encoder or "")
    if found is None:
        return encoder or "an encoder without a name"
    own = " (a checkpoint of unknown origin)" if found["kind"] == "checkpoint" else ""
    return f"{found['name'] or found['model']}{own}"


def is_openai_vit_l_14(encoder: str | None) -> bool:
    """Whether the model of this identity is known to be OpenAI's CLIP ViT-L/14."""
    found = _IDENTITY.fullmatch(encoder or "")
    return found is not None and found["kind"] == "weights" and found["name"] in _OPENAI_NAMES
