"""open_clip's plain vision transformers: what they are told by, and what is folded into their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from open_clip.transformer import LayerNorm, LayerNormFp32, QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from beam_curator.images import Preparation

_QUICK = 1.702
"""The factor in OpenAI's approximation of GELU: x sigmoid(1.702 x)."""


def is_plain(module: torch.nn.Module) -> bool:
    """Tells whether a tower is a row of pre-norm blocks of torch's attention and two linear layers, with a norm before
    it, on square patches that lie side by side.

    What is rewritten is read from weights, so that nothing else may have a say: no hook, and no layer in the place of
    one of open_clip's (of LoRA, quantised, without a bias).
    """
    return (
        type(module) is VisionTransformer
        and module.attn_pool is None
        and _is_patches(module.conv1)
        and _is_norm(module.ln_pre)
        and all(map(_is_plain_block, module.transformer.resblocks))
        and not any(map(_is_watched, module.modules()))
    )


def _is_patches(layer: Any) -> bool:
    return type(layer) is FoldedPatches or (
        type(layer) is torch.nn.Conv2d
        and layer.kernel_size == layer.stride
        and layer.kernel_size[0] == layer.kernel_size[1]
        and layer.padding in (0, (0, 0), "valid")
        and layer.dilation == (1, 1)
        and layer.groups == 1
    )


def _is_plain_block(block: Any) -> bool:
    return (
        type(block) is ResidualAttentionBlock
        and _is_norm(block.ln_1)
        and _is_plain_attention(block.attn)
        and _is_norm(block.ln_2)
        and [name for name, _ in block.mlp.named_children()] == ["c_fc", "gelu", "c_proj"]
        and all(
            type(layer) is torch.nn.Linear and layer.bias is not None for layer in (block.mlp.c_fc, block.mlp.c_proj)
        )
    )


def _is_plain_attention(attention: Any) -> bool:
    return (
        type(attention) is torch.nn.MultiheadAttention
        and attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and type(attention.out_proj) is NonDynamicallyQuantizableLinear
        and attention.out_proj.bias is not None
    )


def _is_norm(layer: Any) -> bool:
    return (
        type(layer) in (torch.nn.LayerNorm, LayerNorm, LayerNormFp32)
        and layer.weight is not None
        and layer.bias is not None
    )


def _is_watched(part: torch.nn.Module) -> bool:
    return bool(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part))


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


_MIDDLE = 128
"""The middle of the levels of a pixel. (level - 128) / 128 is a number of its own for every level, in bf16 and in
fp16."""


def fold_preparation(module: Any, preparation: Preparation) -> bool:
    """Has a plain vision transformer take uint8 pixels [n, height, width, 3]: the mean and deviation of each channel go
    into its first layer; in place, before its weights are cast. False for another module, which stays as it is.

      w ((x / 255 - mean) / std) = (128 / 255) w / std ((x - 128) / 128) + w (128 / 255 - mean) / std

    In half precision nothing of a pixel is rounded then, and little of the shift, since means are near the middle.
    """
    if not is_plain(module):
        return False
    module.conv1 = FoldedPatches(module.conv1, preparation)
    return True


class FoldedPatches(torch.nn.Module):
    """uint8 [n, height, width, 3] -> float32 [n, width of a token, rows, columns]: a convolution of prepared pixels."""

    def __init__(self, convolution: torch.nn.Conv2d, preparation: Preparation) -> None:
        super().__init__()
        weight = convolution.weight.data.double()
        channels = (torch.tensor(values, dtype=torch.float64) for values in (preparation.mean, preparation.std))
        mean, std = (values.view(1, 3, 1, 1) for values in channels)
        shift = (weight * (_MIDDLE / 255 - mean) / std).sum((1, 2, 3))
        before = 0 if convolution.bias is None else convolution.bias.data.double()
        kernel, stride = convolution.kernel_size, convolution.stride
        self.convolution = torch.nn.Conv2d(
            weight.shape[1], weight.shape[0], (kernel[0], kernel[1]), (stride[0], stride[1])
        )
        dtype = convolution.weight.dtype
        self.convolution.weight.data = (weight * (_MIDDLE / 255) / std).to(dtype)
        self.convolution.bias = torch.nn.Parameter((before + shift).to(dtype))
        self.convolution.requires_grad_(False)

    @property
    def weight(self) -> torch.Tensor:
        """The weight of the convolution in whose place this layer is."""
        return self.convolution.weight

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        levels = pixels.permute(0, 3, 1, 2).to(self.convolution.weight.dtype)
        return self.convolution(levels.sub_(_MIDDLE).div_(_MIDDLE)).float()


class CastPatches(torch.nn.Module):
    """[n, 3, height, width] -> float32 [n, width of a token, rows, columns]: a convolution in the type of its
    weights."""

    def __init__(self, convolution: torch.nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    @property
    def weight(self) -> torch.Tensor:
        """The weight of the convolution in whose place this layer is."""
        return self.convolution.weight

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        return self.convolution(prepared.to(self.weight.dtype)).float()
