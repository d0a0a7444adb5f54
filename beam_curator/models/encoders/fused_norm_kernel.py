"""The kernel of `fused_norm`, by Triton, which comes with torch for CUDA: imported where it is launched."""

import triton
import triton.language as tl


@triton.jit
def add_and_norm_kernel(  # type: ignore[no-untyped-def]
    rows,
    added,
    normed,
    weight,
    bias,
    width,
    eps,
    BLOCK: tl.constexpr,  # noqa: N803
    ADDS: tl.constexpr,  # noqa: N803
):
    """Program i adds row i of `added` to that of `rows`, in place, and writes its norm; all [n, width], lying close."""
    start = tl.program_id(0).to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    used = columns < width
    x = tl.load(rows + start + columns, mask=used, other=0.0)
    if ADDS:
        x += tl.load(added + start + columns, mask=used, other=0.0).to(tl.float32)
        tl.store(rows + start + columns, x, mask=used)
    mean = tl.sum(x, axis=0) / width
    centred = tl.where(used, x - mean, 0.0)
    variance = tl.sum(centred * centred, axis=0) / width
    scaled = centred / tl.sqrt(variance + eps)
    scaled = scaled * tl.load(weight + columns, mask=used, other=0.0) + tl.load(bias + columns, mask=used, other=0.0)
    tl.store(normed + start + columns, scaled.to(normed.dtype.element_ty), mask=used)
