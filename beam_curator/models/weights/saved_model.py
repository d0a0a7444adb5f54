"""Reads the weights and constants of a zipped TensorFlow SavedModel, without TensorFlow.

Two formats are read, each no further than a score head needs: the checkpoint (`variables.index`, a table
in LevelDB's format, over the raw values in `variables.data-00000-of-00001`) and the graph
(`saved_model.pb`, a protocol buffer). Formats:
https://github.com/google/leveldb/blob/main/doc/table_format.md,
https://protobuf.dev/programming-guides/encoding/ and, for the messages, tensor_bundle, saved_model and
meta_graph.proto in https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/protobuf and graph,
node_def, attr_value and tensor.proto in its neighbour `framework`.

The checksums inside (CRC32C) are not checked: the zip has its own, and the file is verified by sha256.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from beam_curator.errors import CurationError

#: No member of a score head's SavedModel comes near this: the graph of the NSFW head is 4 MB.
MAX_MEMBER_BYTES = 16 << 20
#: Nor have their checkpoints more variables; a damaged table may point at the same block again and again.
MAX_VARIABLES = 4096
#: A vocabulary of float16 numbers cannot have more entries.
MAX_STRINGS = 1 << 16

_TABLE_MAGIC = 0xDB4775248B80FB57  # Ends every LevelDB table, little-endian.
_FOOTER_BYTES = 48
_DT_FLOAT, _DT_STRING, _DT_INT64 = 1, 7, 9  # DataType in types.proto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf wire types


class SavedModelError(CurationError):
    """The bytes are not a SavedModel that can be read here."""


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
    for count, (key, value) in enumerate(_table_entries(memoryview(index))):
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
    fields = {number: value for number, value in _fields(header) if isinstance(value, int)}
    if fields.get(1, 0) != 1 or fields.get(2, 0) != 0:
        raise SavedModelError("the checkpoint is not one little-endian shard")


def _variable(entry: memoryview, data: bytes) -> npt.NDArray[np.float32] | None:
    # BundleEntryProto: dtype = 1, shape = 2, shard_id = 3, offset = 4, size = 5.
    numbers = {number: value for number, value in _fields(entry) if isinstance(value, int)}
    if numbers.get(1) != _DT_FLOAT:
        return None  # Counters and the object graph: not weights.
    shape: tuple[int, ...] = ()
    for number, value in _fields(entry):
        if number == 2:
            shape = _shape(_as_bytes(value))
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
    for node in _nested(memoryview(graph), 2, 2, 1):
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
    for number, value in _fields(node):
        if number == 1:
            name = bytes(_as_bytes(value)).decode("utf-8", "replace")
        elif number == 2:
            is_constant = _as_bytes(value) == b"Const"
        elif number == 5:
            attributes.append(_as_bytes(value))
    for attribute in attributes if is_constant else []:
        if any(key == b"value" for key in _nested(attribute, 1)):
            for tensor in _nested(attribute, 2, 8):
                return name, tensor
    return name, None


def _tensor(tensor: memoryview) -> tuple[int, tuple[int, ...], memoryview, list[bytes]]:
    # TensorProto: dtype = 1, tensor_shape = 2, tensor_content = 4, string_val = 8.
    dtype, shape, content, strings = 0, tuple[int, ...](), memoryview(b""), list[bytes]()
    for number, value in _fields(tensor):
        if number == 1 and isinstance(value, int):
            dtype = value
        elif number == 2:
            shape = _shape(_as_bytes(value))
        elif number == 4:
            content = _as_bytes(value)
        elif number == 8:
            if len(strings) == MAX_STRINGS:
                raise SavedModelError(f"a constant has more than {MAX_STRINGS} strings")
            strings.append(bytes(_as_bytes(value)))
    return dtype, shape, content, strings


def _shape(message: memoryview) -> tuple[int, ...]:
    # TensorShapeProto: dim = 2, with size = 1. Zero sizes are left out on the wire.
    shape: list[int] = []
    for dim in _nested(message, 2):
        size = next((value for number, value in _fields(dim) if number == 1), 0)
        if not isinstance(size, int) or size > MAX_MEMBER_BYTES or len(shape) == 4:
            raise SavedModelError(f"a shape of more than 4 dimensions, or of size {size}")
        shape.append(size)
    return tuple(shape)


# --- LevelDB's table: a footer points to the index block, which points to the data blocks.


def _table_entries(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    if len(table) < _FOOTER_BYTES or int.from_bytes(table[-8:], "little") != _TABLE_MAGIC:
        raise SavedModelError("variables.index does not end as a LevelDB table does")
    footer = table[-_FOOTER_BYTES:-8]
    _, _, at = _block_handle(footer, 0)  # The metaindex, which TensorFlow leaves empty.
    offset, size, _ = _block_handle(footer, at)
    for _, handle in _block_entries(_block(table, offset, size)):
        offset, size, _ = _block_handle(handle, 0)
        yield from _block_entries(_block(table, offset, size))


def _block_handle(data: memoryview, at: int) -> tuple[int, int, int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _block(table: memoryview, offset: int, size: int) -> memoryview:
    # One byte after a block says how it is compressed; four more are its checksum.
    if offset + size + 5 > len(table) - _FOOTER_BYTES:
        raise SavedModelError(f"a block at {offset}+{size} lies outside variables.index ({len(table)} bytes)")
    if table[offset + size] != 0:
        raise SavedModelError("variables.index has compressed blocks, which TensorFlow does not write")
    return table[offset : offset + size]


def _block_entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    if len(block) < 4:
        raise SavedModelError("a block of variables.index is cut short")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts  # The restart points serve seeking only.
    if end < 0:
        raise SavedModelError(f"a block of {len(block)} bytes cannot have {restarts} restart points")
    entries, key, at = block[:end], b"", 0
    while at < end:
        shared, at = _varint(entries, at)
        unshared, at = _varint(entries, at)
        value_bytes, at = _varint(entries, at)
        if shared > len(key) or at + unshared + value_bytes > end:
            raise SavedModelError("an entry of variables.index reaches beyond its block")
        key = key[:shared] + bytes(entries[at : at + unshared])
        at += unshared
        yield key, entries[at : at + value_bytes]
        at += value_bytes


# --- The wire format of protocol buffers.


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields (field number, value); a value is an int, or the bytes of a string, message or fixed number."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, at = _varint(message, at)
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise SavedModelError(f"a protocol buffer has wire type {wire_type}, which does not exist")
        if at + size > end:
            raise SavedModelError("a protocol buffer's field reaches beyond its message")
        yield number, message[at : at + size]
        at += size


def _nested(message: memoryview, *numbers: int) -> Iterator[memoryview]:
    """Yields every value that is reached by the field numbers, one within the other."""
    for number, value in _fields(message):
        if number == numbers[0]:
            inner = _as_bytes(value)
            if len(numbers) == 1:
                yield inner
            else:
                yield from _nested(inner, *numbers[1:])


def _as_bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise SavedModelError("a protocol buffer has a number where a message belongs")
    return value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Reads seven bits a byte, least first, at most ten bytes: returns the number and where it ends."""
    number = 0
    for i, byte in enumerate(data[at : at + 10]):
        number |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return number, at + i + 1
    raise SavedModelError("a number does not end where it should")
