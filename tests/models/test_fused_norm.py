"""The kernel that adds and norms, run by Triton's interpreter on the CPU, against torch's own operations."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

# Triton reads TRITON_INTERPRET when it is imported: in a process of its own.
IN_A_PROCESS = """
import itertools, json
import torch
from beam_curator.models.encoders.fused_norm import add_and_norm, fused_add_and_norm

def differences(width, dtype, adds):
    generator = torch.Generator().manual_seed(width)
    rows = 1 + 3 * torch.randn(5, width, generator=generator)
    rows[0] *= 1e-3  # there eps counts
    added = torch.randn(5, width, generator=generator).to(dtype) if adds else None
    norm = torch.nn.LayerNorm(width).requires_grad_(False)
    norm.weight.normal_(generator=generator)
    norm.bias.normal_(generator=generator)
    sums, fused_sums = rows.clone(), rows.clone()
    normed, fused = add_and_norm(sums, added, norm, dtype), fused_add_and_norm(fused_sums, added, norm, dtype)
    assert fused.dtype == dtype
    assert torch.equal(rows, fused_sums) != adds
    apart = (fused.float() - normed.float()).abs() / normed.float().abs().clamp(min=1)
    return [str(dtype), float((fused_sums - sums).abs().max()), float(apart.max())]

cases = itertools.product((1024, 768, 1000), (torch.float32, torch.bfloat16), (True, False))
print(json.dumps([differences(*case) for case in cases]))
"""

LAST_PLACE = {"torch.float32": 1e-5, "torch.bfloat16": 2**-7}
"""What may be another, of numbers from 1 on: in fp32 the order of sums differs."""


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="Triton comes with torch for CUDA alone")
def test_the_kernel_adds_and_norms_as_torch_does():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS], capture_output=True, text=True, check=False, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    differences = json.loads(ran.stdout)
    assert len(differences) == 12
    for dtype, of_sums, of_norms in differences:
        assert of_sums == 0
        assert of_norms <= LAST_PLACE[dtype]
