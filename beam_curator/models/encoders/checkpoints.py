"""Weights of encoders as they lie in files; no file is unpickled as code."""

from __future__ import annotations

import textwrap
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from beam_curator.errors import UsageError
from beam_curator.first_few import listed

if TYPE_CHECKING:
    import torch

OPENAI_BUFFERS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""The buffers that OpenAI's TorchScript archives hold beside the weights, and nobody else's: their models compute
QuickGELU."""


def require_checkpoint(model: str, checkpoint: str | None) -> str:
    """The path of a model's checkpoint.

    Raises:
      UsageError: there is none.
    """
    if checkpoint is None or not Path(checkpoint).is_file():
        lack = "none was given" if checkpoint is None else f"there is no file {checkpoint}"
        raise UsageError(f"model '{model}' needs a checkpoint, and {lack}: give a local path")
    return checkpoint


def is_torchscript(checkpoint: str) -> bool:
    """Tells whether a file is an archive of `torch.jit.save`, as OpenAI published its weights."""
    if not zipfile.is_zipfile(checkpoint):
        return False
    with zipfile.ZipFile(checkpoint) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(checkpoint: str) -> dict[str, torch.Tensor]:
    """Tensors of what `torch.load(weights_only=True)` refuses; `torch.jit.load` runs no Python pickle.

    Raises:
      UsageError: the archive is damaged.
    """
    import torch

    try:
        return dict(torch.jit.load(checkpoint, map_location="cpu").state_dict())
    except RuntimeError as error:
        raise UsageError(f"checkpoint {checkpoint} is a damaged TorchScript archive: {in_one_line(error)}") from error


def does_not_fit(checkpoint: str, model: str, error: Exception) -> UsageError:
    """The error for a file whose tensors are not those of a model."""
    return UsageError(f"checkpoint {checkpoint} does not fit model '{model}': {in_one_line(error)}")


def in_one_line(error: Exception) -> str:
    """The first findings of a many-line torch error, or the first sentence of any other."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    findings = lines[1:] if lines[0].startswith("Error(s) in loading state_dict") and lines[1:] else lines[:1]
    return listed([textwrap.shorten(finding, 200, placeholder=" ...") for finding in findings], 2, "; ")
