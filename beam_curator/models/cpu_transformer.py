"""A plain vision transformer as a CPU computes it fastest: weights laid out once, activations within the products.

torch lays out the weights of half-precision products anew in every call, and computes an activation in passes of its
own over the largest tensor of a block. Here oneDNN's layout is made when the model is loaded, and the activation is
computed where a product's rows still are in the processor's cache.

What an image's neighbours in a pass are changes no bit of its embedding: oneDNN sums each row in an order that does not
depend on the others.

The operations are those that torch.compile itself puts in place when it freezes a model for the CPU
(`torch._inductor.fx_passes.mkldnn_fusion`), without its minutes of compiling and a C++ compiler. They have no public
names: `runs_here` says whether this torch has them.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch.nn import functional as F

from beam_curator.models.plain_transformer import blocks_of, is_plain, pools_first_token
from beam_curator.models.precision import cpu_multiplies_in_tiles

TOKENS_A_PASS = 2048
"""About so many go through a block together: enough to fill the products, and what is between them stays in the
cache."""

BYTES_A_PASS_OF_TILES = 40 << 20
"""Where products are computed in AMX's tiles, fetching a block's weights is what counts: there as many tokens go
through it as have a tensor of this size between its two linear layers. Larger ones are not kept when they are freed
(`allocation.py`)."""

# (attribute, algorithm) of `_linear_pointwise`.
_NONE = ("none", "")
_GELU = {"none": ("gelu", "none"), "tanh": ("gelu", "tanh")}
_SILU = ("swish", "")


def runs_here(module: Any, dtype: torch.dtype) -> bool:
    """Whether `pack` takes a module on this machine: a plain vision transformer, an x86 processor that computes in this
    type, and a torch with oneDNN."""
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and (dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
        and is_plain(module)
        and not module.output_tokens
        and all(_activation(block.mlp.gelu) for block in blocks_of(module))
    )


def images_a_pass(module: Any, dtype: torch.dtype) -> int:
    """How many images have about as many tokens as go through a block together, in a type: a power of two, which
    divides the usual batch sizes."""
    tokens_a_pass = TOKENS_A_PASS
    if dtype == torch.bfloat16 and cpu_multiplies_in_tiles():
        tokens_a_pass = BYTES_A_PASS_OF_TILES // (dtype.itemsize * blocks_of(module)[0].mlp.c_fc.out_features)
    return 1 << max(0, round(tokens_a_pass / len(module.positional_embedding)).bit_length() - 1)


def pack(module: Any) -> torch.nn.Module:
    """Puts packed layers in place of those of a plain vision transformer that `runs_here`; in place, and what is
    returned holds it.

    Norms, with their hooks, and sums are as they were. Of the last block, only tokens that are used are computed.
    """
    module.conv1 = PackedPatches(module.conv1)
    for index, block in enumerate(blocks_of(module)):
        module.transformer.resblocks[index] = PackedBlock(block)
    if pools_first_token(module):
        module.transformer.resblocks[-1].first_token_only = True
    if module.proj is None:
        return module
    projection, module.proj = module.proj, None
    return torch.nn.Sequential(module, PackedLinear(projection.data.T, None))


class PackedLinear(torch.nn.Module):
    """[..., in] -> [..., out]: a linear layer whose weights are laid out for oneDNN, and what follows it."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: tuple[str, str] = _NONE) -> None:
        """Takes weight [out, in], bias [out]."""
        super().__init__()
        # Not a parameter: nothing of torch's but this operation reads oneDNN's layout.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
        self._bias = None if bias is None else bias.detach()
        self._activation, self._algorithm = activation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(
            inputs, self._weight, self._bias, self._activation, [], self._algorithm
        )


class PackedPatches(torch.nn.Module):
    """float32 [n, 3, side, side] -> float32 [n, width, grid, grid]: a convolution whose patches do not overlap.

    Pixels that make no whole patch are left out, as the convolution leaves them.
    """

    def __init__(self, convolution: torch.nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight
        self._patch, self._dtype = weight.shape[-1], weight.dtype
        self._linear = PackedLinear(weight.flatten(1), convolution.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grid = images.shape[-1] // self._patch
        used = images[..., : grid * self._patch, : grid * self._patch].to(self._dtype)
        patches = used.unflatten(3, (grid, self._patch)).unflatten(2, (grid, self._patch))
        embedded = self._linear(patches.permute(0, 2, 4, 1, 3, 5).reshape(len(images), grid * grid, -1))
        return embedded.float().transpose(1, 2).unflatten(2, (grid, grid))


class PackedBlock(torch.nn.Module):
    """float32 [n, tokens, width] -> the same: a pre-norm block with attention and two linear layers.

    Attributes:
      first_token_only: whether the first token is all that it gives: [n, 1, width].
    """

    def __init__(self, block: Any) -> None:
        """Takes an `open_clip.transformer.ResidualAttentionBlock`."""
        super().__init__()
        attention, mlp = block.attn, block.mlp
        self.first_token_only = False
        self.ln_1, self.ls_1, self.ln_2, self.ls_2 = block.ln_1, block.ls_1, block.ln_2, block.ls_2
        self._heads, self._width = attention.num_heads, attention.embed_dim
        self._queries, self._keys_and_values = (
            PackedLinear(weight, bias)
            for weight, bias in zip(
                attention.in_proj_weight.split([self._width, 2 * self._width]),
                attention.in_proj_bias.split([self._width, 2 * self._width]),
                strict=True,
            )
        )
        self._attended = PackedLinear(attention.out_proj.weight, attention.out_proj.bias)
        activation = _activation(mlp.gelu)
        assert activation is not None
        self._widened = PackedLinear(mlp.c_fc.weight, mlp.c_fc.bias, activation)
        self._narrowed = PackedLinear(mlp.c_proj.weight, mlp.c_proj.bias)

    def forward(self, tokens: torch.Tensor, attn_mask: None = None) -> torch.Tensor:
        assert attn_mask is None
        used = slice(0, 1) if self.first_token_only else slice(None)
        normed = self.ln_1(tokens)
        tokens = tokens[:, used] + self.ls_1(self._attention(normed[:, used], normed))
        return tokens.add_(self.ls_2(self._narrowed(self._widened(self.ln_2(tokens)))))

    def _attention(self, to: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        queries = self._by_head(self._queries(to))
        keys, values = (self._by_head(part) for part in self._keys_and_values(tokens).split(self._width, -1))
        mixed = (_attention_of_one if self.first_token_only else F.scaled_dot_product_attention)(queries, keys, values)
        return self._attended(mixed.transpose(1, 2).flatten(2))

    def _by_head(self, tokens: torch.Tensor) -> torch.Tensor:
        """[n, tokens, width] -> [n, heads, tokens, width of a head]"""
        return tokens.unflatten(2, (self._heads, -1)).transpose(1, 2)


def _attention_of_one(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`F.scaled_dot_product_attention` for a single query, [n, heads, 1, width of a head], by products of numbers:
    those of matrix and vector are summed in an order that depends on where in memory they begin."""
    scores = (queries.float() * keys.float()).sum(-1, keepdim=True)
    weights = torch.softmax(scores * queries.shape[-1] ** -0.5, dim=2)
    return (weights * values.float()).sum(2, keepdim=True).to(queries.dtype)


def _activation(layer: torch.nn.Module) -> tuple[str, str] | None:
    """What the product before a layer does in its place; None if it cannot."""
    if type(layer) is torch.nn.GELU:
        return _GELU[layer.approximate]
    return _SILU if type(layer) is torch.nn.SiLU else None
