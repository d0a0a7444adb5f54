"""A bucket that misbehaves: a file system of Beam, over local directories, whose operations fail as they are told to.

`faulty://NAME/PATH` is PATH under `FaultyFileSystem.buckets[NAME]`. As buckets do, it has no directories, its files
appear when they are closed (in part, if writing them failed), and renaming is copying and deleting.
"""

import collections
import contextlib
import dataclasses
import errno
import io
import pathlib
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem

SCHEME = "faulty"
OPERATIONS = ("open", "read", "create", "write", "close", "rename", "delete", "list", "exists")

LAST_WAIT_SECONDS = 6.7
"""What comes after a wait this long is the last attempt: transient faults are over by then."""


class ServiceError(Exception):
    """An error as clients of buckets raise it: no OSError, but it has the status of the HTTP answer."""

    def __init__(self, code, message):
        super().__init__(f"{code} {message}")
        self.code = code


TRANSIENT: Sequence[Callable[[], Exception]] = (
    lambda: OSError(errno.EIO, "Input/output error"),
    lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    lambda: TimeoutError("the read timed out"),
    lambda: ServiceError(503, "Service Unavailable"),
    lambda: ServiceError(429, "Too Many Requests"),
    lambda: BeamIOError("the operation failed"),
)


@dataclasses.dataclass
class Outage:
    """A fault that stays: an operation on paths that match fails, from the `after`-th time on."""

    operation: str
    path: str
    error: Callable[[], Exception] = TRANSIENT[0]
    after: int = 0


class Faults:
    """The faults that are injected, and how often each was.

    Args:
      seed: of what is drawn.
      rates: operation to the chance that it fails, half of the time after it has taken effect.
      outages: faults that stay.
      short: the chance that a read gives less than asked for, though there is more.
      ends_early: the chance that a read gives nothing, though there is more.
      slow_seconds: how long an operation takes at most.
      calm_operations: for how many operations nothing passing happens after the last wait, in the thread that waited
        and in all together: as many as an attempt takes.
    """

    def __init__(
        self,
        seed: int = 0,
        rates: Mapping[str, float] | None = None,
        outages: Sequence[Outage] = (),
        short: float = 0.0,
        ends_early: float = 0.0,
        slow_seconds: float = 0.0,
        calm_operations: int = 400,
    ):
        self.rates, self.outages = dict(rates or {}), list(outages)
        self.short, self.ends_early, self.slow_seconds = short, ends_early, slow_seconds
        self._calm_operations = calm_operations
        self.injected: collections.Counter[str] = collections.Counter()
        self.waits: list[float] = []
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._met: collections.Counter[int] = collections.Counter()
        self._calm = 0  # shared by all threads: an attempt reads ahead in others
        self._of_thread = threading.local()  # and others may use it up, while the thread that has waited waits again

    def waited(self, seconds):
        """Takes the place of sleeping between attempts."""
        self.waits.append(seconds)
        if seconds >= LAST_WAIT_SECONDS:
            self._calm = self._of_thread.calm = self._calm_operations

    @contextlib.contextmanager
    def on(self, operation, path):
        """Around an operation: raises before it, after it, or not at all."""
        if self.slow_seconds:
            time.sleep(self._drawn() * self.slow_seconds)
        for index, outage in enumerate(self.outages):
            if outage.operation == operation and re.search(outage.path, path):
                self._met[index] += 1
                if self._met[index] > outage.after:
                    self.injected[operation] += 1
                    raise outage.error()
        self._calm = max(0, self._calm - 1)
        self._of_thread.calm = max(0, self._calm_in_this_thread() - 1)
        fails = not self._is_calm() and self._drawn() < self.rates.get(operation, 0.0)
        answer_is_lost = fails and self._drawn() < 0.5
        if fails and not answer_is_lost:
            raise self._transient(operation)
        yield
        if answer_is_lost:
            raise self._transient(operation)

    def size_given(self, size):
        """Draws how many bytes a read gives that was asked for as many."""
        if not self._is_calm() and self._drawn() < self.ends_early:
            self.injected["early end"] += 1
            return 0
        if size > 1 and self._drawn() < self.short:
            self.injected["short read"] += 1
            return 1 + int(self._drawn() * (size - 1))
        return size

    def _is_calm(self):
        return self._calm > 0 or self._calm_in_this_thread() > 0

    def _calm_in_this_thread(self):
        return getattr(self._of_thread, "calm", 0)

    def _transient(self, operation):
        self.injected[operation] += 1
        return TRANSIENT[int(self._drawn() * len(TRANSIENT))]()

    def _drawn(self):
        with self._lock:
            return self._random.random()


class FaultyFileSystem(FileSystem):
    """Beam finds it by its scheme, because it is a subclass of FileSystem."""

    buckets: Mapping[str, pathlib.Path] = {}
    faults = Faults()

    @classmethod
    def scheme(cls):
        return SCHEME

    def has_dirs(self):
        return False

    def mkdirs(self, path):
        raise NotImplementedError("a bucket has no directories")

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        head, _, tail = path.rpartition("/")
        return head, tail

    def _local(self, path):
        name, _, rest = path.removeprefix(f"{SCHEME}://").partition("/")
        return self.buckets[name] / rest

    def _list(self, prefix):
        with self.faults.on("list", prefix):
            name = prefix.removeprefix(f"{SCHEME}://").partition("/")[0]
            root = self.buckets[name]
            found = [
                (f"{SCHEME}://{name}/{path.relative_to(root)}", path.stat())
                for path in sorted(root.rglob("*"))
                if path.is_file()
            ]
        return [FileMetadata(url, s.st_size, s.st_mtime) for url, s in found if url.startswith(prefix)]

    def open(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        assert compression_type == CompressionTypes.UNCOMPRESSED
        with self.faults.on("open", path):
            file = self._local(path).open("rb")
        return _Reader(self.faults, path, file)

    def create(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        assert compression_type == CompressionTypes.UNCOMPRESSED
        with self.faults.on("create", path):
            return _Writer(self.faults, path, self._local(path))

    def exists(self, path):
        with self.faults.on("exists", path):
            return self._local(path).is_file()

    def rename(self, sources, destinations):
        failed = {}
        for source, destination in zip(sources, destinations, strict=True):
            try:
                self._local(destination).parent.mkdir(parents=True, exist_ok=True)
                with self.faults.on("rename", destination):
                    shutil.copyfile(self._local(source), self._local(destination))
                self._local(source).unlink()
            except Exception as error:
                failed[(source, destination)] = error
        if failed:
            raise BeamIOError("Rename operation failed", failed)

    def delete(self, paths):
        failed = {}
        for path in paths:
            try:
                with self.faults.on("delete", path):
                    self._local(path).unlink()
            except Exception as error:
                failed[path] = error
        if failed:
            raise BeamIOError("Delete operation failed", failed)

    def size(self, path):
        return self.metadata(path).size_in_bytes

    def last_updated(self, path):
        return self.metadata(path).last_updated_in_seconds

    def metadata(self, path):
        with self.faults.on("exists", path):
            stat = self._local(path).stat()
        return FileMetadata(path, stat.st_size, stat.st_mtime)

    def checksum(self, path):
        raise NotImplementedError

    def copy(self, sources, destinations):
        raise NotImplementedError


class _Reader(io.RawIOBase):
    def __init__(self, faults, path, file):
        super().__init__()
        self._faults, self._path, self._file = faults, path, file

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        return self._file.seek(offset, whence)

    def tell(self):
        return self._file.tell()

    def read(self, size=-1):
        with self._faults.on("read", self._path):
            return self._file.read(size if size < 0 else self._faults.size_given(size))

    def close(self):
        super().close()
        self._file.close()


class _Writer(io.RawIOBase):
    def __init__(self, faults, path, target):
        super().__init__()
        self._faults, self._path, self._target = faults, path, target
        self._content = io.BytesIO()

    def writable(self):
        return True

    def write(self, data):
        self._content.write(memoryview(data)[: len(data) // 2])  # what is there if the rest fails
        with self._faults.on("write", self._path):
            self._content.write(memoryview(data)[len(data) // 2 :])
        return len(data)

    def close(self):
        if self.closed:
            return
        super().close()
        with self._faults.on("close", self._path):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._target.write_bytes(self._content.getvalue())
