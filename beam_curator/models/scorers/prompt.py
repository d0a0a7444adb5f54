"""Zero-shot scores from text, on embeddings: how much more an image is like one text than like others."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beam_curator.errors import CurationError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.text_vectors import TextEncoder
from beam_curator.models.heads.head import scored_in_pieces
from beam_curator.models.scorers.scorer import TAKEN_COLUMNS, Scorer
from beam_curator.models.weights.weights_file import WeightsFile

SYNTAX = "NAME=TEXT|OTHER TEXT"
_EXAMPLE = "watermark=a photo with a watermark|a clean photo"


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A question that is asked of each image, in texts.

    Attributes:
      name: of the score's column.
      texts: two or more; the score is the probability of the first among them.
    """

    name: str
    texts: tuple[str, ...]


def parse_prompt(text: str) -> Prompt:
    r"""The prompt that is written as `NAME=TEXT|OTHER TEXT`: `watermark=a photo with a watermark|a clean photo`.

    White space around the name and the texts is left out, and within a text is one space, as tokenizers have it. `\|`
    is a bar within a text.

    Raises:
      UsageError: there is no name that the column can have, there are fewer than two texts, one is empty or is twice
        there.
    """

    def wrong(why: str) -> UsageError:
        return UsageError(f"--prompt {' '.join(text.split())}: {why}; write it as {SYNTAX}, such as '{_EXAMPLE}'")

    name, is_there, rest = text.partition("=")
    name = name.strip()
    if not is_there:
        raise wrong("no = after the name of the score")
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise wrong(f"{name!r} is no name for a score: take lower-case letters, digits and _, a letter first")
    if name in TAKEN_COLUMNS:
        raise wrong(f'"{name}" is a column that every ledger has: take another name')
    texts = tuple(" ".join(part.replace(r"\|", "|").split()) for part in re.split(r"(?<!\\)\|", rest))
    if len(texts) < 2:
        raise wrong("one text alone has nothing that it is compared with")
    if "" in texts:
        raise wrong("a text is empty")
    if twice := [one for one, count in Counter(texts).items() if count > 1]:
        raise wrong(f"the text {twice[0]!r} comes twice")
    return Prompt(name, texts)


@dataclasses.dataclass(frozen=True, eq=False)
class PromptScorer(Scorer):
    """Gives the probability of a prompt's first text: softmax(logit_scale * cosines) over its texts.

    The cosines are those of the image's embedding and the texts' vectors. Models that were trained with a sigmoid of
    each text alone (SigLIP) are asked in the same way: their bias is the same for all texts, and falls out.

    Attributes:
      name: of the column.
      texts: two or more; the first is the one that is asked for.
      vectors: float32 [texts, dim], L2-normalised.
      logit_scale: what the model multiplies cosines with.
      encoder: the model of texts and images, for people: `ViT-L-14-quickgelu/openai`.
      sha256: of its weights, in hex; None where it has none.
      trained: whether scores mean anything.
      source: where its weights come from, for people.
    """

    name: str
    texts: tuple[str, ...]
    vectors: NDArray[np.float32] = dataclasses.field(repr=False)
    logit_scale: float
    encoder: str
    sha256: str | None = None
    trained: bool = True
    source: str | None = None
    parallel = True

    @property
    def dim(self) -> int:
        """Length of the embeddings that it takes."""
        return self.vectors.shape[1]

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the column: with other texts, or other weights, it is another model."""
        return _identity(Prompt(self.name, self.texts), self.encoder, self.sha256, self.trained)

    def __call__(self, embeddings: NDArray[np.float16]) -> NDArray[np.float32]:
        """Scores embeddings.

        Computed in float64 and rounded once, so that a score depends neither on the processor nor on other rows.

        Args:
          embeddings: float16 [n, dim], L2-normalised.

        Returns:
          float32 [n], 0 to 1.

        Raises:
          CurationError: the embeddings have another width: they come from another model.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise CurationError(
                f"prompt {self.name}: embeddings of shape {embeddings.shape}, but {self.encoder} gives [n, {self.dim}]"
            )
        return scored_in_pieces(self._score, embeddings, self.name, self.dim)

    def _score(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        rows = embeddings.astype(np.float64)
        lengths = np.maximum(np.sqrt(np.einsum("nd,nd->n", rows, rows)), np.finfo(np.float64).tiny)
        logits = self.logit_scale * (rows @ self.vectors.T.astype(np.float64)) / lengths[:, None]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (odds[:, 0] / odds.sum(axis=1)).astype(np.float32)


def _identity(prompt: Prompt, encoder: str, sha256: str | None, trained: bool) -> ModelIdentity:
    return ModelIdentity(f"{asked_as(prompt)} ({encoder})", sha256, trained)


def asked_as(prompt: Prompt) -> str:
    """Makes the beginning of a prompt scorer's identity, whatever encodes it: no two prompts are written alike."""
    texts = " | ".join(text.replace("|", r"\|") for text in prompt.texts)
    return f"prompt {prompt.name}: {texts}"


def prompt_scorers(
    prompts: Sequence[str | Prompt], model: str, weights: WeightsFile | None, pretrained_tag: str | None
) -> list[PromptScorer]:
    """The scorers of prompts. The text tower of the model is loaded here, once, for texts that were not encoded before;
    workers get vectors.

    Args:
      prompts: as `parse_prompt` reads them.
      model: the open_clip architecture that embeds the images, or "tiny-untrained".
      weights: its weights; None for "tiny-untrained".
      pretrained_tag: the open_clip tag that they were published under; None for a checkpoint of unknown origin.

    Raises:
      UsageError: for what `parse_prompt` refuses, a name that comes twice, a text that is too long for the model, and
        where the text tower or its tokenizer cannot be had.
    """
    parsed = [parse_prompt(one) if isinstance(one, str) else one for one in prompts]
    if twice := [name for name, count in Counter(prompt.name for prompt in parsed).items() if count > 1]:
        raise UsageError(f"--prompt {twice[0]} comes twice: give each its own name")
    encoder = TextEncoder(model, weights, pretrained_tag)
    encoded = [encoder.encode(one.texts) for one in parsed]
    return [
        PromptScorer(
            name=one.name,
            texts=one.texts,
            vectors=of.vectors,
            logit_scale=of.logit_scale,
            encoder=weights.name if weights else model,
            sha256=weights.model_sha256 if weights else None,
            trained=weights is not None,
            source=weights.path if weights else None,
        )
        for one, of in zip(parsed, encoded, strict=True)
    ]
