"""Reads the messages of a SavedModel: the wire format of protocol buffers, without their schemas. See
https://protobuf.dev/programming-guides/encoding/."""

from __future__ import annotations

from collections.abc import Iterator

from beam_curator.errors import CurationError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


class SavedModelError(CurationError):
    """The bytes are not a SavedModel that can be read here."""


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields (field number, value); a value is an int, or the bytes of a string, message or fixed number.

    Raises:
      SavedModelError: the bytes are no message.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, at = varint(message, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, at = varint(message, at)
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise SavedModelError(f"a protocol buffer has wire type {wire_type}, which does not exist")
        if at + size > end:
            raise SavedModelError("a protocol buffer's field reaches beyond its message")
        yield number, message[at : at + size]
        at += size


def nested(message: memoryview, *numbers: int) -> Iterator[memoryview]:
    """Yields every value that is reached by the field numbers, one within the other.

    Raises:
      SavedModelError: the bytes are no message, or have a number where one belongs.
    """
    for number, value in fields(message):
        if number == numbers[0]:
            inner = as_bytes(value)
            if len(numbers) == 1:
                yield inner
            else:
                yield from nested(inner, *numbers[1:])


def as_bytes(value: int | memoryview) -> memoryview:
    """The value of a field as bytes.

    Raises:
      SavedModelError: it is a number.
    """
    if isinstance(value, int):
        raise SavedModelError("a protocol buffer has a number where a message belongs")
    return value


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Reads seven bits a byte, least first, at most ten bytes, from offset `at`: returns the number and where it ends.

    Raises:
      SavedModelError: it does not end within ten bytes, or within the data.
    """
    number = 0
    for i, byte in enumerate(data[at : at + 10]):
        number |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return number, at + i + 1
    raise SavedModelError("a number does not end where it should")
