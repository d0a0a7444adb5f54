"""open_clip's plain vision transformers: what they are told by, and what is done to them on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer

_QUICK = 1.702
"""Of OpenAI's approximation of GELU: x sigmoid(1.702 x)."""


def is_plain(module: torch.nn.Module) -> bool:
    """Whether a tower is a row of pre-norm blocks of torch's attention and two linear layers, with a norm before it."""
    return (
        type(module) is VisionTransformer
        and module.attn_pool is None
        and isinstance(module.ln_pre, torch.nn.LayerNorm)
        and all(
            type(block) is ResidualAttentionBlock and type(block.attn) is torch.nn.MultiheadAttention
            for block in module.transformer.resblocks
        )
    )


def blocks_of(module: Any) -> Sequence[ResidualAttentionBlock]:
    """The blocks of a plain vision transformer, in order."""
    return list(module.transformer.resblocks)


def fold_quick_gelu(module: torch.nn.Module) -> None:
    """Puts one operation of torch's, SiLU, in place of the three of QuickGELU, each of which goes over a block's
    largest tensor; of a plain vision transformer, in place.

      x sigmoid(1.702 x) = SiLU(1.702 x) / 1.702:

    the factor goes into the weights of the layer before, its inverse into those of the layer after.
    """
    if not is_plain(module):
        return
    for block in blocks_of(module):
        if type(block.mlp.gelu) is not QuickGELU:
            continue
        block.mlp.c_fc.weight.data.mul_(_QUICK)
        block.mlp.c_fc.bias.data.mul_(_QUICK)
        block.mlp.c_proj.weight.data.div_(_QUICK)
        block.mlp.gelu = torch.nn.SiLU(inplace=True)


def pools_first_token(module: Any) -> bool:
    """Whether all that a plain vision transformer gives comes from the class token, the first of an image."""
    return module.pool_type == "tok" and not module.output_tokens


def skip_unused_tokens(module: Any) -> None:
    """Has the last block of a plain vision transformer compute the class token alone, if no other is used; in place.

    The others still are attended to. It saves five sixths of one block: of 24, 3.5 % of the work, of 12, 7 %.
    """
    if is_plain(module) and pools_first_token(module):
        module.transformer.resblocks[-1] = FirstTokenBlock(module.transformer.resblocks[-1])


class FirstTokenBlock(torch.nn.Module):
    """[n, tokens, width] -> [n, 1, width]: what a block makes of the first token."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self._block = block

    def forward(self, tokens: torch.Tensor, attn_mask: None = None) -> torch.Tensor:
        block = self._block
        normed = block.ln_1(tokens)
        first = tokens[:, :1] + block.ls_1(block.attention(normed[:, :1], normed, normed, attn_mask))
        return first + block.ls_2(block.mlp(block.ln_2(first)))


def cast_between(module: Any, dtype: torch.dtype) -> None:
    """Hooks on a plain vision transformer: half precision into each product, fp32 into each norm and sum."""
    module.conv1.register_forward_pre_hook(lambda _module, inputs: (inputs[0].to(dtype),))
    module.ln_pre.register_forward_pre_hook(lambda _module, inputs: (inputs[0].float(),))
    for block in blocks_of(module):
        for norm in (block.ln_1, block.ln_2):
            norm.register_forward_hook(lambda _module, _inputs, output: output.to(dtype))
