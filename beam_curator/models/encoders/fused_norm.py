"""The sum that runs through a transformer's layers, and the norm of it: by torch's operations, or in one kernel.

By torch's operations a sum, a norm and a cast each go over all tokens in fp32: a quarter of ViT-L/14's time on an H200.
One kernel reads what is added and the sum, and writes the new sum and its norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch.nn import functional as F

from beam_curator.device_errors import is_lost, wants_memory
from beam_curator.errors import first_line

AddAndNorm: TypeAlias = Callable[[torch.Tensor, "torch.Tensor | None", torch.nn.LayerNorm, torch.dtype], torch.Tensor]
"""`vit_blocks.Steps.add_and_norm`."""


def add_and_norm(
    rows: torch.Tensor, added: torch.Tensor | None, norm: torch.nn.LayerNorm, dtype: torch.dtype
) -> torch.Tensor:
    """Adds to rows and norms them by torch's operations, on any device."""
    if added is not None:
        rows[: len(added)].add_(added)
    return F.layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps).to(dtype)


def fused_add_and_norm(
    rows: torch.Tensor, added: torch.Tensor | None, norm: torch.nn.LayerNorm, dtype: torch.dtype
) -> torch.Tensor:
    """Adds to rows and norms them in one kernel of CUDA, a row for each program; there is as much to add as there are
    rows.

      rows += added;  norm(x) = (x - mean) / sqrt(variance + eps) weight + bias

    Raises:
      Exception: Triton cannot compile it on this machine (`why_not_fused` says why).
    """
    from beam_curator.models.encoders.fused_norm_kernel import add_and_norm_kernel

    # The kernel reads memory by place alone.
    assert rows.is_contiguous()
    assert added is None or (added.is_contiguous() and added.shape == rows.shape)
    normed = torch.empty(rows.shape, device=rows.device, dtype=dtype)
    width = rows.shape[1]
    block = 1 << (width - 1).bit_length()
    # Without a sum, the rows themselves stand in: the kernel does not read them a second time.
    add_and_norm_kernel[(len(rows),)](
        rows,
        rows if added is None else added,
        normed,
        norm.weight,
        norm.bias,
        width,
        norm.eps,
        BLOCK=block,
        ADDS=added is not None,
        num_warps=max(1, min(8, block // 256)),
    )
    return normed


def why_not_fused(device: str) -> str | None:
    """Says in one line why this machine cannot compile the kernel; None where it can."""
    try:
        with torch.inference_mode():
            rows = torch.zeros((1, 8), device=device)
            fused_add_and_norm(rows, rows.bfloat16(), torch.nn.LayerNorm(8, device=device), torch.bfloat16)
    except Exception as error:
        if is_lost(device) or wants_memory(error):
            raise
        return first_line(error)
    return None
