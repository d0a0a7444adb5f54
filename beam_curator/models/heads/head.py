"""Reads embeddings and PyTorch weights for all score heads."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from beam_curator.errors import CurationError

#: Width of CLIP ViT-L/14 embeddings, the only ones that the published heads were trained on.
VIT_L_14_WIDTH = 768


ROWS_AT_ONCE = 512
"""The embeddings that a head computes on at a time, so that what it makes of them stays in the cache of a core."""


def scored_in_pieces(
    compute: Callable[[npt.NDArray[np.floating]], npt.NDArray[np.float32]],
    embeddings: npt.NDArray[np.floating],
    head_name: str,
    width: int = VIT_L_14_WIDTH,
) -> npt.NDArray[np.float32]:
    """Computes a head's scores of embeddings [n, width], `ROWS_AT_ONCE` at a time: float32 [n].

    The heads compute in float64 and round to float32 once, at the end: BLAS adds in an order that depends
    on the processor and on how many rows come together, and only so does a score not depend on either.

    Raises:
      CurationError: the embeddings have another width: they come from a CLIP model that the head was not
        trained on.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != width:
        raise CurationError(
            f"score head {head_name}: embeddings of shape {embeddings.shape}, but it was trained on "
            f"[n, {width}]; choose a CLIP model of that width (ViT-L-14), or another head"
        )
    pieces = [compute(embeddings[start : start + ROWS_AT_ONCE]) for start in range(0, len(embeddings), ROWS_AT_ONCE)]
    return np.concatenate(pieces) if pieces else np.empty(0, np.float32)


def sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Logistic function, in the form that cannot overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def read_state_dict(path: str | pathlib.Path) -> dict[str, npt.NDArray[np.float64]]:
    """Reads a PyTorch state dict as float64 arrays, without ever running code from the file.

    Raises:
      CurationError: the file is missing, is not a state dict of tensors, or would run code to be read.
    """
    import torch  # Slow to import (seconds), and only these files need it.

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Whatever torch says of a broken or malicious file, the cure is the same.
        reason = (str(error) or type(error).__name__).split("\n", 1)[0]
        raise CurationError(
            f"{path}: cannot be read as PyTorch weights ({reason}); give a state dict saved by torch.save"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise CurationError(f"{path}: holds a {type(content).__name__}, not a state dict of tensors")
    return {str(key): tensor.detach().to(torch.float64).numpy() for key, tensor in content.items()}


def check_arrays(
    arrays: dict[str, npt.NDArray[np.float64]], shapes: dict[str, tuple[int, ...]], path: str | pathlib.Path
) -> None:
    """Checks that the weights read from ``path`` are those that a head is made of.

    Raises:
      CurationError: an array is missing, has another shape, or holds a value that is not finite.
    """
    for key, shape in shapes.items():
        if key not in arrays:
            raise CurationError(f"{path}: no {key!r} among its weights; this is not a file of that head")
        if arrays[key].shape != shape:
            raise CurationError(f"{path}: {key!r} has shape {arrays[key].shape}, but that head's has {shape}")
        if not np.isfinite(arrays[key]).all():
            raise CurationError(f"{path}: {key!r} holds values that are not finite; fetch the file again")
