"""Reads the weights and constants of a zipped TensorFlow SavedModel, without TensorFlow.

Two formats are read, each no further than a score head needs: the checkpoint (`variables.index`, a table in LevelDB's
format, over the raw values in `variables.data-00000-of-00001`) and the graph (`saved_model.pb`, a protocol buffer). The
messages are those of tensor_bundle, saved_model and meta_graph.proto in
https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/protobuf and of graph, node_def, attr_value and
tensor.proto in its neighbour `framework`.

The checksums inside (CRC32C) are not checked: the zip has its own, and the file is verified by sha256.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import zipfile
import zlib

import numpy as np
import numpy.typing as npt

from beam_curator.errors import CurationError
from beam_curator.models.weights.saved_model_table import table_entries
from beam_curator.models.weights.saved_model_wire import SavedModelError, as_bytes, fields, nested

MAX_MEMBER_BYTES = 16 << 20
"""No member of a score head's SavedModel comes near this: the graph of the NSFW head is 4 MB."""

MAX_VARIABLES = 4096
"""Nor have their checkpoints more variables; a damaged table may point at the same block again and again."""

MAX_STRINGS = 1 << 16
"""A vocabulary of float16 numbers cannot have more entries."""

_DT_FLOAT, _DT_STRING, _DT_INT64 = 1, 7, 9  # DataType in types.proto


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """The arrays and constants that were read of a SavedModel.

    Attributes:
      variables: float32 arrays by key in the checkpoint, e.g.
        `layer_with_weights-2/kernel/.ATTRIBUTES/VARIABLE_VALUE`.
      strings: the string constants of the graph by node name, in their order.
      integers: the int64 vector constants of the graph by node name.
    """

    variables: dict[str, npt.NDArray[np.float32]]
    strings: dict[str, list[bytes]]
    integers: dict[str, npt.NDArray[np.int64]]


def read_saved_model(path: str | pathlib.Path) -> SavedModel:
    """Reads a zip that holds one SavedModel, in whichever folder.

    Raises:
      CurationError: the file is not such a zip, is damaged, or is larger than any score head.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            variables = parse_variables(
                _member(archive, "variables/variables.index"),
                _member(archive, "variables/variables.data-00000-of-00001"),
            )
            strings, integers = parse_constants(_member(archive, "saved_model.pb"))
    except SavedModelError as error:
        raise CurationError(f"{path}: {error}; fetch the file again") from error
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError: encrypted, or a compression that this Python lacks (NotImplementedError).
        raise CurationError(f"{path}: cannot be read as a zip ({error}); fetch the file again") from error
    return SavedModel(variables, strings, integers)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    found = [i for i in archive.infolist() if i.filename == name or i.filename.endswith(f"/{name}")]
    if len(found) != 1:
        raise SavedModelError(f"{len(found)} members named {name} in the zip, not 1")
    if found[0].file_size > MAX_MEMBER_BYTES:
        raise SavedModelError(f"{name} has {found[0].file_size} bytes, more than {MAX_MEMBER_BYTES}")
    with archive.open(found[0]) as member:
        # The size in the directory may lie: never read more than it says.
        return member.read(found[0].file_size)


def parse_variables(index: bytes, data: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """Reads the float32 variables of a checkpoint in one shard.

    Args:
      index: content of `variables.index`.
      data: content of `variables.data-00000-of-00001`.

    Raises:
      SavedModelError: the bytes contradict the format, or each other.
    """
    variables = {}
    for count, (key, value) in enumerate(table_entries(memoryview(index))):
        if count > MAX_VARIABLES:
            raise SavedModelError(f"variables.index has more than {MAX_VARIABLES} entries")
        if key == b"":
            _check_header(value)
            continue
        array = _variable(value, data)
        if array is not None:
            variables[key.decode("utf-8", "replace")] = array
    return variables


def _check_header(header: memoryview) -> None:
    # BundleHeaderProto: num_shards = 1, endianness = 2 (0 is little).
    numbers = {number: value for number, value in fields(header) if isinstance(value, int)}
    if numbers.get(1, 0) != 1 or numbers.get(2, 0) != 0:
        raise SavedModelError("the checkpoint is not one little-endian shard")


def _variable(entry: memoryview, data: bytes) -> npt.NDArray[np.float32] | None:
    # BundleEntryProto: dtype = 1, shape = 2, shard_id = 3, offset = 4, size = 5.
    numbers = {number: value for number, value in fields(entry) if isinstance(value, int)}
    if numbers.get(1) != _DT_FLOAT:
        return None  # Counters and the object graph: not weights.
    shape: tuple[int, ...] = ()
    for number, value in fields(entry):
        if number == 2:
            shape = _shape(as_bytes(value))
    offset, size = numbers.get(4, 0), numbers.get(5, 0)
    fits = 0 < size == 4 * math.prod(shape) and offset + size <= len(data)
    if not fits or numbers.get(3, 0) != 0:
        raise SavedModelError(f"a variable of shape {shape} cannot be bytes {offset}+{size} of {len(data)}")
    return np.frombuffer(data, "<f4", math.prod(shape), offset).reshape(shape)


def parse_constants(graph: bytes) -> tuple[dict[str, list[bytes]], dict[str, npt.NDArray[np.int64]]]:
    """Reads the string vectors and the int64 vectors among the constants of the graph, by node name.

    Args:
      graph: content of `saved_model.pb`.

    Raises:
      SavedModelError: the bytes are not such a message.
    """
    strings: dict[str, list[bytes]] = {}
    integers: dict[str, npt.NDArray[np.int64]] = {}
    # SavedModel.meta_graphs = 2, MetaGraphDef.graph_def = 2, GraphDef.node = 1.
    for node in nested(memoryview(graph), 2, 2, 1):
        name, tensor = _constant(node)
        if tensor is None:
            continue
        dtype, shape, content, values = _tensor(tensor)
        if dtype == _DT_STRING and len(shape) == 1:
            if shape[0] != len(values):
                raise SavedModelError(f"constant {name} has {len(values)} strings, but its shape is {shape}")
            strings[name] = values
        elif dtype == _DT_INT64 and len(shape) == 1 and 0 < len(content) == 8 * shape[0]:
            integers[name] = np.frombuffer(content, "<i8")
    return strings, integers


def _constant(node: memoryview) -> tuple[str, memoryview | None]:
    # NodeDef: name = 1, op = 2, attr = 5: map of key = 1 to value = 2; AttrValue.tensor = 8.
    name, is_constant, attributes = "", False, list[memoryview]()
    for number, value in fields(node):
        if number == 1:
            name = bytes(as_bytes(value)).decode("utf-8", "replace")
        elif number == 2:
            is_constant = as_bytes(value) == b"Const"
        elif number == 5:
            attributes.append(as_bytes(value))
    for attribute in attributes if is_constant else []:
        if any(key == b"value" for key in nested(attribute, 1)):
            for tensor in nested(attribute, 2, 8):
                return name, tensor
    return name, None


def _tensor(tensor: memoryview) -> tuple[int, tuple[int, ...], memoryview, list[bytes]]:
    # TensorProto: dtype = 1, tensor_shape = 2, tensor_content = 4, string_val = 8.
    dtype, shape, content, strings = 0, tuple[int, ...](), memoryview(b""), list[bytes]()
    for number, value in fields(tensor):
        if number == 1 and isinstance(value, int):
            dtype = value
        elif number == 2:
            shape = _shape(as_bytes(value))
        elif number == 4:
            content = as_bytes(value)
        elif number == 8:
            if len(strings) == MAX_STRINGS:
                raise SavedModelError(f"a constant has more than {MAX_STRINGS} strings")
            strings.append(bytes(as_bytes(value)))
    return dtype, shape, content, strings


def _shape(message: memoryview) -> tuple[int, ...]:
    # TensorShapeProto: dim = 2, with size = 1. Zero sizes are left out on the wire.
    shape: list[int] = []
    for dim in nested(message, 2):
        size = next((value for number, value in fields(dim) if number == 1), 0)
        if not isinstance(size, int) or size > MAX_MEMBER_BYTES or len(shape) == 4:
            raise SavedModelError(f"a shape of more than 4 dimensions, or of size {size}")
        shape.append(size)
    return tuple(shape)
