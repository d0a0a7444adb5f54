"""LAION's NSFW head as plain arrays, out of the TensorFlow SavedModel that it is published as.

Imported by what finds weights on the machine that launches a job, when a .zip is met; workers load the .npz.
"""

from __future__ import annotations

import io
import pathlib

import numpy as np

from beam_curator.errors import CurationError
from beam_curator.models.weights.saved_model import SavedModel, read_saved_model

_LAYERS = 4
# The graph fills the lookup table of each categorical column from two constants: its strings, and their indices.
_STRINGS_OF_COLUMN = {180: 12, 316: 14, 413: 16, 440: 18, 644: 20}
_TEXT_BYTES = 9  # at least so many for each string: of the published head, none is longer


def as_npz(path: str | pathlib.Path) -> bytes:
    """The head in a zipped SavedModel as an .npz file: `norm.mean`, `norm.variance`, `linear_{1..4}.weight` [out, in]
    and `.bias`, float32, and `vocabulary.COLUMN`, the bytes of the strings in the order of their indices, from 1.

    Nothing is compressed, so that the same head gives the same bytes with every version of zlib.

    Raises:
      CurationError: the file cannot be read, or is not this head.
    """
    model = read_saved_model(path)
    arrays = {
        "norm.mean": _variable(model, "layer_with_weights-1/mean", path),
        "norm.variance": _variable(model, "layer_with_weights-1/variance", path),
    }
    for i in range(1, _LAYERS + 1):
        kernel = _variable(model, f"layer_with_weights-{i + 1}/kernel", path)
        arrays[f"linear_{i}.weight"] = np.ascontiguousarray(kernel.T)  # Keras keeps kernels as [in, out]
        arrays[f"linear_{i}.bias"] = _variable(model, f"layer_with_weights-{i + 1}/bias", path)
    vocabularies = {column: _vocabulary(model, column, path) for column in _STRINGS_OF_COLUMN}
    text_bytes = max([_TEXT_BYTES, *(len(text) for texts in vocabularies.values() for text in texts)])
    for column, texts in vocabularies.items():
        arrays[f"vocabulary.{column}"] = np.array(texts, f"S{text_bytes}")
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs take any keyword for one of its own
    return file.getvalue()


def _variable(model: SavedModel, name: str, path: str | pathlib.Path) -> np.ndarray:
    value = model.variables.get(f"{name}/.ATTRIBUTES/VARIABLE_VALUE")
    if value is None:
        raise CurationError(f"{path}: no variable {name!r}; this is not LAION's NSFW head for ViT-L/14")
    return value


def _vocabulary(model: SavedModel, column: int, path: str | pathlib.Path) -> list[bytes]:
    number = _STRINGS_OF_COLUMN[column]
    strings, indices = model.strings.get(f"Const_{number}"), model.integers.get(f"Const_{number + 1}")
    if strings is None or indices is None or not np.array_equal(indices, np.arange(1, len(strings) + 1)):
        raise CurationError(f"{path}: no vocabulary of column {column}; this is not LAION's NSFW head for ViT-L/14")
    return strings
