"""Counts what passes over the ledger meet: in bounded size, merged in any order and grouping with the same result."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Accumulator:
    """Counts, small when they are pickled: in the smallest type that holds them, compressed."""

    def settle(self) -> None:
        """Counts what is gathered so far; called before it is pickled."""

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return {name: _Packed.of(value) for name, value in self.__dict__.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: one.array if isinstance(one, _Packed) else one for name, one in state.items()})


_LEAST_BYTES = 1 << 10


class _Packed(NamedTuple):
    """An array of whole numbers.

    Attributes:
      dtype: its own type.
      narrow: the type of its bytes.
      shape: its shape.
      data: its bytes, compressed.
    """

    dtype: str
    narrow: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, value: Any) -> Any:
        """The value packed, where it is an array of counts or flags; else the value itself."""
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biu" or value.nbytes < _LEAST_BYTES:
            return value
        is_flags = value.dtype.kind == "b"
        narrow = value.dtype if is_flags or value.min() < 0 else np.min_scalar_type(int(value.max()))
        if narrow == value.dtype and not is_flags:
            return value
        data = zlib.compress(value.astype(narrow).tobytes(), 1)
        return cls(value.dtype.str, np.dtype(narrow).str, value.shape, data)

    @property
    def array(self) -> NDArray[Any]:
        """The array as it was."""
        narrow = np.frombuffer(zlib.decompress(self.data), self.narrow).reshape(self.shape)
        return narrow.astype(self.dtype)
