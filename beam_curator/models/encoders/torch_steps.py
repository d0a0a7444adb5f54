"""The steps of a vision transformer's blocks by torch's own layers, on any device."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from beam_curator.models.encoders.fused_norm import AddAndNorm, add_and_norm


class TorchSteps:
    """`vit_blocks.Steps` by torch.

    Args:
      adding: what adds and norms: `fused_norm.add_and_norm`, or the same in one kernel.
    """

    whole = 1

    def __init__(self, adding: AddAndNorm = add_and_norm) -> None:
        self._adding = adding

    def linear(
        self, weight: torch.Tensor, bias: torch.Tensor | None, activation: torch.nn.Module | None = None
    ) -> torch.nn.Module:
        """A linear layer of torch's, and the activation."""
        with torch.device("meta"):
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias is not None, dtype=weight.dtype)
        layer.weight = torch.nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            layer.bias = torch.nn.Parameter(bias, requires_grad=False)
        return layer if activation is None else torch.nn.Sequential(layer, activation)

    def add_and_norm(
        self, rows: torch.Tensor, added: torch.Tensor | None, norm: torch.nn.LayerNorm, dtype: torch.dtype
    ) -> torch.Tensor:
        """Adds to all rows at a time, and norms them."""
        return self._adding(rows, added, norm, dtype)

    def attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Attends by torch's fused attention."""
        return F.scaled_dot_product_attention(queries, keys, values)
