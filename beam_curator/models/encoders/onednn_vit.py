"""A plain vision transformer as a CPU computes it fastest: weights laid out once, activations within the products.

torch lays out the weights of half-precision products anew in every call, and computes an activation in passes of its
own over the largest tensor of a block. Here oneDNN's layout is made when the model is loaded, and the activation is
computed where a product's rows still are in the processor's cache.

What an image's neighbours in a pass are changes no bit of its embedding: oneDNN sums each row in an order that does not
depend on the others. On processors without AVX-512 that holds for products of enough rows (`LEAST_ROWS`): smaller ones
are filled up.

The operations are those that torch.compile itself puts in place when it freezes a model for the CPU
(`torch._inductor.fx_passes.mkldnn_fusion`), without its minutes of compiling and a C++ compiler. They have no public
names: `runs_here` says whether this torch has them.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from beam_curator.models.encoders.precision import cpu_multiplies_in_tiles
from beam_curator.models.encoders.vit_blocks import rewrite_blocks
from beam_curator.models.encoders.vit_rewrites import blocks_of, is_plain

TOKENS_A_PASS = 2048
"""About so many go through a block together: enough to fill the products, and what is between them stays in the
cache."""

BYTES_A_PASS_OF_TILES = 40 << 20
"""The size of the tensor between a block's two linear layers for as many tokens as go through it together, where
products are computed in AMX's tiles and fetching a block's weights is what counts. Larger ones are not kept when they
are freed (`process_tuning`)."""

ROWS_OF_TILES = 128
"""With AMX, oneDNN multiplies tokens in whole numbers of this a tenth to a fifth faster than others."""

_ROWS_IN_CACHE = 128
"""So many tokens are added and normed at a time."""

LEAST_ROWS = 128
"""Without AVX-512, oneDNN sums the rows of a product in another order when there are fewer than about 90 of them."""

# (attribute, algorithm) of `_linear_pointwise`.
_NONE = ("none", "")
_GELU = {"none": ("gelu", "none"), "tanh": ("gelu", "tanh")}
_SILU = ("swish", "")


def runs_here(module: Any, dtype: torch.dtype) -> bool:
    """Tells whether `pack` takes a module on this machine: a plain vision transformer, an x86 processor that computes
    in this type, and a torch with oneDNN."""
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
    """Says how many images have about as many tokens as go through a block together, in a type: a power of two, which
    divides the usual batch sizes."""
    tokens_a_pass = TOKENS_A_PASS
    if _is_in_tiles(dtype):
        tokens_a_pass = BYTES_A_PASS_OF_TILES // (dtype.itemsize * blocks_of(module)[0].mlp.c_fc.out_features)
    return 1 << max(0, round(tokens_a_pass / len(module.positional_embedding)).bit_length() - 1)


def pack(module: Any, mean: Sequence[float], std: Sequence[float]) -> torch.nn.Module:
    """Puts packed layers in place of those of a plain vision transformer that `runs_here`; in place, and what is
    returned holds it.

    Norms and sums are computed in fp32, as they were. Of the last block, only tokens that are used are computed.

    Returns:
      uint8 [n, height, width, 3] -> [n, dim]: it normalises levels itself, by `mean` and `std` of each RGB channel.
    """
    module.conv1, dtype = PackedPatches(module.conv1, mean, std), module.conv1.weight.dtype
    rewrite_blocks(module, PackedSteps(ROWS_OF_TILES if _is_in_tiles(dtype) else 1))
    if module.proj is None:
        return module
    projection, module.proj = module.proj, None
    return torch.nn.Sequential(module, PackedLinear(projection.data.T, None))


class PackedSteps:
    """`vit_blocks.Steps` on the CPU, by products whose weights are laid out for oneDNN."""

    def __init__(self, whole: int = 1) -> None:
        self.whole = whole

    def linear(
        self, weight: torch.Tensor, bias: torch.Tensor | None, activation: torch.nn.Module | None = None
    ) -> PackedLinear:
        """Makes a packed layer, with the activation within the product."""
        within = _NONE if activation is None else _activation(activation)
        assert within is not None, "runs_here has seen to it"
        return PackedLinear(weight, bias, within)

    def add_and_norm(
        self, rows: torch.Tensor, added: torch.Tensor | None, norm: torch.nn.LayerNorm, dtype: torch.dtype
    ) -> torch.Tensor:
        """A few rows at a time: between the steps they stay in the cache."""
        return _add_and_norm(rows, added, norm, dtype)

    def attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Attends by torch's fused attention. Where tokens are few, it takes a quarter less time for queries that lie
        close."""
        return F.scaled_dot_product_attention(queries.contiguous(), keys, values)


class PackedLinear(torch.nn.Module):
    """[..., in] -> [..., out]: a linear layer whose weights are laid out for oneDNN, and what follows it."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: tuple[str, str] = _NONE) -> None:
        """Takes weight [out, in], bias [out]."""
        super().__init__()
        # Not a parameter: nothing of torch's but this operation reads oneDNN's layout.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
        self._bias = None if bias is None else bias.detach()
        self._activation, self._algorithm = activation
        self._least_rows = 1 if "AVX512" in torch.backends.cpu.get_cpu_capability() else LEAST_ROWS

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.shape[:-1].numel()
        if rows >= self._least_rows:
            return self._multiplied(inputs)
        filled = F.pad(inputs.flatten(0, -2), (0, 0, 0, self._least_rows - rows))
        return self._multiplied(filled)[:rows].unflatten(0, inputs.shape[:-1])

    def _multiplied(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(
            inputs, self._weight, self._bias, self._activation, [], self._algorithm
        )


class PackedPatches(torch.nn.Module):
    """uint8 [n, height, width, 3] -> float32 [n, width of a token, rows, columns]: levels of 0 to 1, less the mean,
    by the deviation, by a convolution whose patches do not overlap.

    Pixels that make no whole patch are left out, as the convolution leaves them.
    """

    def __init__(self, convolution: torch.nn.Conv2d, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        weight = convolution.weight
        self._patch, self._dtype = weight.shape[-1], weight.dtype
        self._mean, self._std = (torch.tensor(values).repeat_interleave(self._patch**2) for values in (mean, std))
        self._linear = PackedLinear(weight.flatten(1), convolution.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows, columns = images.shape[1] // self._patch, images.shape[2] // self._patch
        patches = torch.stack([self._normalised(image, rows, columns) for image in images])
        return self._linear(patches).float().transpose(1, 2).unflatten(2, (rows, columns))

    def _normalised(self, image: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """uint8 [height, width, 3] -> [rows * columns, 3 * patch * patch]. One image at a time, it stays in the
        cache."""
        used = image[: rows * self._patch, : columns * self._patch]
        patches = used.unflatten(1, (columns, self._patch)).unflatten(0, (rows, self._patch)).permute(0, 2, 4, 1, 3)
        levels = patches.reshape(rows * columns, -1).float().div_(255)  # laid out anew while they are bytes
        return levels.sub_(self._mean).div_(self._std).to(self._dtype)


def _add_and_norm(
    rows: torch.Tensor, added: torch.Tensor | None, norm: torch.nn.LayerNorm, dtype: torch.dtype
) -> torch.Tensor:
    normed = torch.empty_like(rows, dtype=dtype)
    for start in range(0, len(rows), _ROWS_IN_CACHE):
        some = rows[start : start + _ROWS_IN_CACHE]
        if added is not None:
            more = added[start : start + _ROWS_IN_CACHE]
            some[: len(more)].add_(more)
        normed[start : start + _ROWS_IN_CACHE] = F.layer_norm(
            some, norm.normalized_shape, norm.weight, norm.bias, norm.eps
        )
    return normed


def _is_in_tiles(dtype: torch.dtype) -> bool:
    return dtype == torch.bfloat16 and cpu_multiplies_in_tiles()


def _activation(layer: torch.nn.Module) -> tuple[str, str] | None:
    """Names what the product before a layer does in its place; None if it cannot."""
    if type(layer) is torch.nn.GELU:
        return _GELU[layer.approximate]
    return _SILU if type(layer) is torch.nn.SiLU else None
