"""The blocks of a plain vision transformer said step by step, so that each device computes the steps its own way.

open_clip's block leaves to torch what lies between products: a norm, its cast, the sum that runs through the layers,
each a pass over all tokens. Here a block gives what it adds to the next one, which adds and norms in one step:

    tokens, fp32 ──(+ what is added)──> norm ──> queries, keys, values ──> attention ──> product ──┐
       └──(+ what is added) <──────────────────────────────────────────────────────────────────────┘
    tokens, fp32 ──(+ what is added)──> norm ──> product, activation ──> product ──> what the next block adds

Norms and sums are computed in fp32, products in the type of their weights. Of the last block only tokens that are used
are computed. `Steps` are what devices differ in: those of `torch_steps` and `onednn_vit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.nn import functional as F


class Steps(Protocol):
    """Computes the steps of a block on a kind of device.

    Attributes:
      whole: in whole numbers of how many tokens products are fastest.
    """

    whole: int

    def linear(
        self, weight: torch.Tensor, bias: torch.Tensor | None, activation: torch.nn.Module | None = None
    ) -> torch.nn.Module:
        """[..., in] -> [..., out], of weight [out, in] and bias [out], with the activation after it."""
        ...

    def add_and_norm(
        self, rows: torch.Tensor, added: torch.Tensor | None, norm: torch.nn.LayerNorm, dtype: torch.dtype
    ) -> torch.Tensor:
        """Adds [m, width] to the first m of some rows, float32 [n, width], in place, and gives all rows normed, in a
        type."""
        ...

    def attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Attends: all three are [n, heads, tokens, width of a head], and so is the result."""
        ...


def rewrite_blocks(module: Any, steps: Steps) -> None:
    """Has a plain vision transformer (`vit_rewrites.is_plain`) take its blocks step by step; in place. Its blocks are
    given fp32 tokens."""
    blocks = [Block(block, steps) for block in module.transformer.resblocks]
    module.transformer = Transformer(blocks, pools_first_token(module), steps.whole)


def blocks_in(module: Any) -> list[Block]:
    """The blocks of a rewritten vision transformer, in order; none of another module."""
    transformer = getattr(module, "transformer", None)
    if not isinstance(transformer, Transformer):
        return []
    return [block for block in transformer.blocks if isinstance(block, Block)]


def pools_first_token(module: Any) -> bool:
    """Tells whether all that a plain vision transformer gives comes from the class token, the first of an image."""
    return module.pool_type == "tok" and not module.output_tokens


_MOST_PADDING = 8
"""At most one token in so many is there to make the number whole."""


class Transformer(torch.nn.Module):
    """float32 [n, tokens, width] -> the same, or [n, 1, width]: a row of blocks. What it is given it overwrites."""

    def __init__(self, blocks: Sequence[Block], first_token_only: bool, whole: int) -> None:
        """Takes the blocks, whether the last of them is to give the first token alone, and in whole numbers of how many
        tokens products are fastest."""
        super().__init__()
        self.blocks = torch.nn.ModuleList(blocks)
        self._first_token_only, self._whole = first_token_only, whole

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        images = tokens.shape[:2]
        rows, added = self._padded(tokens.flatten(0, 1)), None
        *others, last = self.blocks
        for block in others:
            added = block(rows, added, images)
        if self._first_token_only:
            return last.first_token(rows, added, images)[:, None]  # type: ignore[operator]
        added = last(rows, added, images)
        return rows.add_(added)[: images.numel()].unflatten(0, images)

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        missing = -len(rows) % self._whole
        return F.pad(rows, (0, 0, 0, missing)) if 0 < missing <= len(rows) // _MOST_PADDING else rows


class Block(torch.nn.Module):
    """A pre-norm block with attention and two linear layers.

    It works on float32 [rows, width], in place: the tokens of n images, one image after the other; those after the last
    image are nobody's. What it is to add to them at its end it gives to the next block, which adds it where it first
    reads them.
    """

    def __init__(self, block: Any, steps: Steps) -> None:
        """Takes an `open_clip.transformer.ResidualAttentionBlock`."""
        super().__init__()
        attention, mlp = block.attn, block.mlp
        self.ln_1, self.ls_1, self.ln_2, self.ls_2 = block.ln_1, block.ls_1, block.ln_2, block.ls_2
        self._steps = steps
        self._heads, self._width = attention.num_heads, attention.embed_dim
        self._dtype = attention.in_proj_weight.dtype
        widths = [self._width, 2 * self._width]
        weights, biases = attention.in_proj_weight.data.split(widths), attention.in_proj_bias.data.split(widths)
        self._queries, self._keys_and_values = map(steps.linear, weights, biases)
        self._attended = steps.linear(attention.out_proj.weight.data, attention.out_proj.bias.data)
        self._widened = steps.linear(mlp.c_fc.weight.data, mlp.c_fc.bias.data, mlp.gelu)
        self._narrowed = steps.linear(mlp.c_proj.weight.data, mlp.c_proj.bias.data)

    def forward(self, rows: torch.Tensor, added: torch.Tensor | None, images: torch.Size) -> torch.Tensor:
        """Takes what the block before adds to the rows, [rows, width], and (n, tokens of an image); gives what is to be
        added to the rows."""
        normed = self._steps.add_and_norm(rows, added, self.ln_1, self._dtype)
        queries, keys, values = self._by_head(self._queries(normed), *self._keys_and_values_of(normed), images=images)
        mixed = self._steps.attend(queries, keys, values).transpose(1, 2)
        attended = self.ls_1(self._attended(mixed.reshape(images.numel(), -1)))
        return self._mlp(self._steps.add_and_norm(rows, attended, self.ln_2, self._dtype))

    def first_token(self, rows: torch.Tensor, added: torch.Tensor | None, images: torch.Size) -> torch.Tensor:
        """float32 [n, width]: what the block makes of each image's first token."""
        normed = self._steps.add_and_norm(rows, added, self.ln_1, self._dtype)
        keys, values = self._by_head(*self._keys_and_values_of(normed), images=images)
        first, normed_first = (part[: images.numel()].unflatten(0, images)[:, 0] for part in (rows, normed))
        (queries,) = self._by_head(self._queries(normed_first), images=torch.Size((len(first), 1)))
        mixed = attention_of_one(queries, keys, values).flatten(1)
        first = first.contiguous()
        normed_first = self._steps.add_and_norm(first, self.ls_1(self._attended(mixed)), self.ln_2, self._dtype)
        return first.add_(self._mlp(normed_first))

    def _mlp(self, normed: torch.Tensor) -> torch.Tensor:
        return self.ls_2(self._narrowed(self._widened(normed)))

    def _keys_and_values_of(self, normed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self._keys_and_values(normed).split(self._width, -1)
        return keys, values

    def _by_head(self, *parts: torch.Tensor, images: torch.Size) -> list[torch.Tensor]:
        """[rows, width] -> [n, heads, tokens, width of a head], each"""
        used = images.numel()
        return [part[:used].unflatten(0, images).unflatten(2, (self._heads, -1)).transpose(1, 2) for part in parts]


def attention_of_one(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`F.scaled_dot_product_attention` for a single query, [n, heads, 1, width of a head], by products of numbers: on
    the CPU those of matrix and vector are summed in an order that depends on where in memory they begin; on CUDA,
    cuDNN's attention gives a single query other last bits each time."""
    scores = (queries.float() * keys.float()).sum(-1, keepdim=True)
    weights = torch.softmax(scores * queries.shape[-1] ** -0.5, dim=2)
    return (weights * values.float()).sum(2, keepdim=True).to(queries.dtype)
