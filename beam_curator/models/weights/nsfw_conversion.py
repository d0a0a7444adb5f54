"""LAION's NSFW head as plain arrays, out of the TensorFlow SavedModel that it is published as.

Imported by what finds weights on the machine that launches a job, when a .zip is met; workers load the .npz.
"""

from __future__ import annotations

import io
import pathlib
import struct
import zlib
from collections.abc import Mapping

import numpy as np

from beam_curator.errors import CurationError
from beam_curator.models.weights.saved_model import SavedModel, read_saved_model

_LAYERS = 4
# The graph fills the lookup table of each categorical column from two constants: its strings, and their indices.
_STRINGS_OF_COLUMN = {180: 12, 316: 14, 413: 16, 440: 18, 644: 20}
_ZIP64, _UNIX, _DATE = 45, 3, 0x21  # of a member of a zip: the version that reads it, where it was made, 1980-01-01
_IN_EXTRA = (0xFFFFFFFF, 0xFFFFFFFF)  # both sizes are in the extra field
_TEXT_BYTES = 9  # at least so many for each string: of the published head, none is longer


def as_npz(path: str | pathlib.Path) -> bytes:
    """The head in a zipped SavedModel as an .npz file: `norm.mean`, `norm.variance`, `linear_{1..4}.weight` [out, in]
    and `.bias`, float32, and `vocabulary.COLUMN`, the bytes of the strings in the order of their indices, from 1.

    Nothing is compressed, and no header is left to `zipfile`, so that the same head gives the same bytes with every
    version of zlib and of Python.

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
    return _stored({f"{name}.npy": _npy(array) for name, array in arrays.items()})


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _stored(members: Mapping[str, bytes]) -> bytes:
    """A zip of these members as `numpy.savez` makes it on Python 3.11 and later: before, its headers differ."""
    whole, directory = bytearray(), bytearray()
    for name, data in members.items():
        path, size, crc = name.encode("ascii"), len(data), zlib.crc32(data)
        about = struct.pack("<4HL", 0, 0, 0, _DATE, crc)
        central = struct.pack("<4s4B", b"PK\1\2", _ZIP64, _UNIX, _ZIP64, 0) + about
        central += struct.pack("<2L5H2L", size, size, len(path), 0, 0, 0, 0, 0o600 << 16, len(whole))
        directory += central + path
        local = struct.pack("<4s2B", b"PK\3\4", _ZIP64, 0) + about + struct.pack("<2L2H", *_IN_EXTRA, len(path), 20)
        whole += local + path + struct.pack("<2H2Q", 1, 16, size, size) + data
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(whole), 0)
    return bytes(whole + directory + end)


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
