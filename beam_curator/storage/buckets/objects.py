"""An object as a file: read in requests that fit what is asked for, written so that it is published whole."""

from __future__ import annotations

import io
from typing import Any

from beam_curator.storage.buckets.bucket import PART_BYTES, Bucket, Upload

FIRST_WINDOW_BYTES = 64 << 10
LAST_WINDOW_BYTES = 16 << 20
NEAR_BYTES = 1 << 20
"""A gap up to this is cheaper to read than to begin another request after."""


class ObjectReader(io.RawIOBase):
    """Reads an object by byte ranges; opening it asks nothing.

    A read that is larger than the window is one request for exactly its bytes. A smaller one fetches a window, which
    grows from 64 KiB to 16 MiB while reads follow each other closely, and starts anew after a leap: hopping over large
    members costs little for each, hopping over small ones becomes a sequential read in large pieces.

    Args:
      bucket: where it is.
      url: which object.
      size_bytes: its size, if that is known; it saves the request that finds its end.
      read_ahead: False for one who asks for all that it wants itself.
    """

    def __init__(self, bucket: Bucket, url: str, size_bytes: int | None = None, read_ahead: bool = True) -> None:
        super().__init__()
        self._bucket, self._url, self._size_bytes, self._read_ahead = bucket, url, size_bytes, read_ahead
        self._position = 0
        self._window, self._window_start, self._window_bytes = b"", 0, FIRST_WINDOW_BYTES // 2

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = max(0, (self._end() if base is None else base) + offset)
        return self._position

    def _end(self) -> int:
        if self._size_bytes is None:
            found = self._bucket.metadata(self._url)
            if found is None:
                raise FileNotFoundError(f"{self._url} is gone")
            self._size_bytes = found.size_in_bytes
        return self._size_bytes

    def read(self, size: int | None = -1) -> bytes:
        wanted = None if size is None or size < 0 else size
        data = self._from_window(wanted)
        if wanted is not None and len(data) == wanted:
            return data
        more = self._fetched(None if wanted is None else wanted - len(data))
        return data + more if data else more

    def _from_window(self, wanted: int | None) -> bytes:
        begin = self._position - self._window_start
        if not 0 <= begin < len(self._window):
            return b""
        data = self._window[begin:] if wanted is None else self._window[begin : begin + wanted]
        self._position += len(data)
        return data

    def _fetched(self, wanted: int | None) -> bytes:
        """The bytes from the position on, which the window does not hold."""
        if self._size_bytes is not None and self._position >= self._size_bytes:
            return b""
        ahead = self._next_window_bytes() if self._read_ahead and wanted is not None else 0
        fetched = self._request(None if wanted is None else max(wanted, ahead))
        self._window_start = self._position
        if wanted is not None and ahead > wanted:
            self._window = fetched
            return self._from_window(wanted)
        self._position += len(fetched)
        self._window, self._window_start = b"", self._position
        return fetched

    def _next_window_bytes(self) -> int:
        leap = self._position - (self._window_start + len(self._window))
        near = 0 <= leap <= NEAR_BYTES
        self._window_bytes = min(2 * self._window_bytes, LAST_WINDOW_BYTES) if near else FIRST_WINDOW_BYTES
        return self._window_bytes

    def _request(self, length: int | None) -> bytes:
        end = None if length is None else self._position + length
        if end is not None and self._size_bytes is not None:
            end = min(end, self._size_bytes)
        return self._bucket.read(self._url, self._position, end)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class ObjectWriter(io.RawIOBase):
    """Writes an object that appears when it is published; neither closing nor dropping the file does that."""

    def __init__(self, bucket: Bucket, url: str) -> None:
        super().__init__()
        self._bucket, self._url = bucket, url
        self._pending = bytearray()
        self._upload: Upload | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pending += data
        while len(self._pending) > PART_BYTES:  # not at exactly as many: the last part is not empty
            if self._upload is None:
                self._upload = self._bucket.begin_upload(self._url)
            self._upload.send(bytes(self._pending[:PART_BYTES]))
            del self._pending[:PART_BYTES]
        return memoryview(data).nbytes

    def publish(self) -> None:
        """Makes what was written the object of this name."""
        if self._upload is None:
            self._bucket.put(self._url, bytes(self._pending))
        else:
            self._upload.finish(bytes(self._pending))

    def abort(self) -> None:
        """Gives up, whatever was sent."""
        self._pending.clear()
        if self._upload is not None:
            self._upload.abort()
