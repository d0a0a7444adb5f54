"""The text tower of a CLIP model: texts in, L2-normalised vectors out, beside the image tower's embeddings."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beam_curator.defaults import TINY_UNTRAINED
from beam_curator.errors import UsageError
from beam_curator.models.encoders.checkpoints import (
    OPENAI_BUFFERS,
    does_not_fit,
    in_one_line,
    is_torchscript,
    read_torchscript,
    require_checkpoint,
)
from beam_curator.models.encoders.open_clip_tower import published
from beam_curator.models.encoders.precision import exact_products, sound_attention, torch_dtype
from beam_curator.models.encoders.tiny_untrained import TinyUntrained
from beam_curator.models.encoders.tokenizers import tokenizer_of

if TYPE_CHECKING:
    import torch

FP64 = "fp64"
"""The precision in which texts of prompts are encoded."""

_TINY_SEED = 20240301

_TINY_LOGIT_SCALE = 100.0
"""The scale that OpenAI's models were trained to, so that probabilities of the tiny one spread like theirs."""

SHORT_TEXTS = (16, 32, 48)
"""Tokens within which texts end that are read so far alone: most captions of the web within 16 or 32 of 77."""

_TEXT_MASK = "attn_mask"
"""A constant of the text tower, which archives of open_clip's own models hold beside the weights."""


@dataclass(frozen=True)
class TextTower:
    """A text encoder; of prompts in float64 on the CPU.

    In float64, because the order of float32 sums depends on the processor: rounded to float32 at the end, a text has
    the same vector on every machine that launches a job.

    Attributes:
      model: its open_clip architecture, or "tiny-untrained".
      logit_scale: what the model multiplies cosines with before a softmax; 100 of OpenAI's models.
      encode_tokens: int64 [n, context_length] -> float64 [n, dim].
      tokenise: texts, context_length -> int64 [n, context_length]; it has a `context_length` of its own.
      device: "cpu" or "cuda".
      precision: "fp64", "fp32", "bf16" or "fp16".
      encode_short: by a length, as `encode_tokens`, of texts that end within so many tokens, int64 [n, length]; none of
        a model whose vectors depend on what comes after a text's end.
    """

    model: str
    logit_scale: float
    encode_tokens: Callable[[torch.Tensor], torch.Tensor]
    tokenise: Any
    device: str = "cpu"
    precision: str = FP64
    encode_short: Mapping[int, Callable[[torch.Tensor], torch.Tensor]] = field(default_factory=dict)

    def encode(self, texts: Sequence[str], cut: bool = False) -> NDArray[np.float32]:
        """Encodes texts.

        Equal to open_clip's `encode_text(get_tokenizer(model)(texts), normalize=True)` within 1e-5; in fp16 within
        1e-3, in bf16 within 1e-2.

        Args:
          texts: n texts.
          cut: whether a text that is longer than the model reads is cut, as open_clip does, and not refused.

        Returns:
          float32 [n, dim], L2-normalised.

        Raises:
          UsageError: a text is longer than the model reads.
        """
        return self.encode_rows(self.tokenise(list(texts)) if cut else self._tokens(texts))

    def lengths(self, tokens: NDArray[np.int32]) -> NDArray[np.intp]:
        """Says how far each text has to be read: integers [n], of tokens [n, context_length]."""
        read = np.array([*sorted(self.encode_short), tokens.shape[1]])
        return read[np.searchsorted(read, tokens.argmax(axis=1) + 1)]  # a text's end has the greatest number

    def encode_rows(self, tokens: torch.Tensor | NDArray[np.int32], length: int | None = None) -> NDArray[np.float32]:
        """Encodes texts that are tokenised: integers [n, context_length] to float32 [n, dim], L2-normalised.

        Args:
          tokens: of n texts.
          length: how far they are read, as `lengths` has it for all of them; None to their end.
        """
        import torch

        encode = self.encode_short.get(length or 0, self.encode_tokens)
        is_half = self.precision in ("bf16", "fp16")
        half = torch.autocast(self.device, torch_dtype(self.precision) if is_half else None, enabled=is_half)
        sound, exact = sound_attention(self.device), exact_products(self.device, self.precision)
        with torch.inference_mode(), half, sound, exact:
            vectors = encode(torch.as_tensor(tokens[:, :length]).to(self.device, torch.int64))
        wide = vectors if vectors.dtype == torch.float64 else vectors.float()
        return torch.nn.functional.normalize(wide, dim=-1).to("cpu", torch.float32).numpy()

    def _tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 [n, context_length]; open_clip's tokenizers would cut a text that is longer, and say nothing."""
        context = self.tokenise.context_length
        try:
            # The last row is the padding: what of a text goes on beyond the context differs from it there.
            *long, padding = self.tokenise([*texts, ""], context_length=4 * context)
            tokens = self.tokenise(list(texts), context_length=context)
        except Exception as error:  # some tokenizers fetch data, or want another package, when they are called
            raise UsageError(
                f"model '{self.model}' cannot tokenise its texts on this machine: {in_one_line(error)}"
            ) from error
        for text, row in zip(texts, long, strict=True):
            if not row[context:].equal(padding[context:]):
                raise UsageError(
                    f"text '{text}' is longer than the {context} tokens that '{self.model}' reads: shorten it"
                )
        return tokens


def load_text_tower(
    model: str, checkpoint: str | None, pretrained_tag: str | None, *, precision: str = FP64, device: str = "cpu"
) -> TextTower:
    """Builds a model's text tower with its weights; the image tower is freed.

    Args:
      model: an open_clip architecture, or "tiny-untrained", which takes no weights and means nothing.
      checkpoint: local path of the weights, the same file as for the image tower.
      pretrained_tag: the open_clip tag that the file was published under: it decides QuickGELU.
      precision: what it computes in: "fp64", "fp32", "bf16" or "fp16".
      device: "cpu" or "cuda".

    Raises:
      UsageError: unknown tag, a model without a text tower, a checkpoint that is absent, unreadable, or does not fit
        the model, or a tokenizer that cannot be had.
    """
    if model == TINY_UNTRAINED:
        tiny = _tiny_untrained()
        tiny = (tiny if precision == FP64 else tiny.float()).to(device)
        return TextTower(model, _TINY_LOGIT_SCALE, tiny, tokeniser_for(model, None), device, precision)
    _check_known(model)
    path = require_checkpoint(model, checkpoint)
    tokenise = tokeniser_for(model, path)
    whole = _loaded(model, path, pretrained_tag).eval()
    whole.visual = None  # before the copy in float64: it is most of the model
    whole = (whole.double() if precision == FP64 else whole.float()).to(device)
    short = {} if precision == FP64 else _reading_less(whole)
    return TextTower(model, whole.logit_scale.exp().item(), whole.encode_text, tokenise, device, precision, short)


def _reading_less(whole: Any) -> dict[int, Callable[[torch.Tensor], torch.Tensor]]:
    """`encode_text` of the first tokens alone, by their number, with the same weights; none where others matter: each
    token of OpenAI's text tower sees those before it alone, and the vector is that of the text's end."""
    from open_clip.model import CLIP

    if type(whole) is not CLIP or whole.attn_mask is None or whole.text_pool_type != "argmax":
        return {}
    context = len(whole.positional_embedding)
    return {length: _reading(whole, length).encode_text for length in SHORT_TEXTS if length < context}


def _reading(whole: Any, length: int) -> Any:
    import torch

    short = copy.copy(whole)
    places = torch.nn.Parameter(whole.positional_embedding.data[:length], requires_grad=False)
    short._parameters = {**whole._parameters, "positional_embedding": places}
    short._buffers = {**whole._buffers, "attn_mask": whole.attn_mask[:length, :length]}
    return short


def tokeniser_for(model: str, weights: str | None) -> Any:
    """Makes the tokeniser of a model's text tower: it turns texts into int64 [n, context_length], and has
    `context_length` as an attribute.

    Args:
      model: an open_clip architecture, or "tiny-untrained".
      weights: where its weights are: its tokenizer may stand beside them.

    Raises:
      UsageError: it cannot be had.
    """
    import open_clip

    return open_clip.SimpleTokenizer() if model == TINY_UNTRAINED else tokenizer_of(model, weights)


def check_text_half(model: str, weights: str | None) -> None:
    """Raises UsageError for a model without a text tower, or whose tokenizer cannot be had; reads no weights.

    Args:
      model: an open_clip architecture, or "tiny-untrained".
      weights: where its weights are: its tokenizer may stand beside them.
    """
    import open_clip

    if model == TINY_UNTRAINED:
        return
    _check_known(model)
    if (open_clip.get_model_config(model).get("text_cfg") or {}).get("hf_tokenizer_name"):
        tokenizer_of(model, weights)


def _check_known(model: str) -> None:
    import open_clip

    if model not in open_clip.list_models():
        raise UsageError(f"model '{model}' has no text tower that is known: take one of open_clip's for texts")


def _loaded(model: str, checkpoint: str, pretrained_tag: str | None) -> Any:
    """Loads both halves of a model in float32; built whole, because open_clip's own loading then converts every
    layout."""
    import open_clip
    import torch

    entry = published(model, pretrained_tag) if pretrained_tag is not None else {}
    archive = read_torchscript(checkpoint) if is_torchscript(checkpoint) else {}
    quick_gelu = not OPENAI_BUFFERS.isdisjoint(archive) or bool(entry.get("quick_gelu"))
    try:
        with torch.random.fork_rng(devices=[]), _no_random_weights_warning():
            whole = open_clip.create_model(model, force_quick_gelu=quick_gelu, pretrained_text=False)
    except (RuntimeError, OSError, ImportError, ValueError) as error:
        raise UsageError(f"model '{model}' cannot be built by open_clip: {in_one_line(error)}") from error
    try:
        if archive:
            no_weights = {*OPENAI_BUFFERS, _TEXT_MASK}
            whole.load_state_dict({name: value for name, value in archive.items() if name not in no_weights})
        else:
            open_clip.load_checkpoint(whole, checkpoint, weights_only=True)
    except Exception as error:  # what a wrong file raises depends on its format
        raise does_not_fit(checkpoint, model, error) from error
    return whole


@contextmanager
def _no_random_weights_warning() -> Iterator[None]:
    """Keeps open_clip from warning, on the root logger, of the missing weights that we load right after."""

    def is_wanted(record: logging.LogRecord) -> bool:
        return "No pretrained weights loaded" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(is_wanted)
    try:
        yield
    finally:
        root.removeFilter(is_wanted)


def _tiny_untrained() -> Any:
    """A text transformer of 2 layers, width 64, with seeded weights: all code paths are those of a real model."""
    import torch
    from open_clip.transformer import TextTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_TINY_SEED)
        return TextTransformer(width=64, heads=2, layers=2, output_dim=TinyUntrained.dim).double().eval()
