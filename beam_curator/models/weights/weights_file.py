"""A file of weights that exists: what travels to workers, and is verified wherever it is read."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from beam_curator.errors import CurationError
from beam_curator.identities import ModelIdentity
from beam_curator.models.weights import transfer
from beam_curator.storage import urls

FETCH_COMMAND = "beam-curator models --model_dir"

# (local path, its stamp, sha256) that this process has read and found equal
_verified_files: set[tuple[str, tuple[int, ...], str]] = set()


def cache_dir() -> pathlib.Path:
    """Names the directory that keeps weights between runs: $BEAM_CURATOR_CACHE, or ~/.cache/beam_curator."""
    return pathlib.Path(urls.absolute(os.environ.get("BEAM_CURATOR_CACHE") or "~/.cache/beam_curator"))


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A file of weights that exists, and what it must hold. This is what travels to workers.

    Attributes:
      name: what it is, for people, e.g. `"sac+logos+ava1-l14-linearMSE"`.
      path: a local path, or one in a bucket.
      sha256: of its content, in hex.
      original_sha256: of the file that this one was converted from, by which the model is known; None where this is it.
    """

    name: str
    path: str
    sha256: str
    original_sha256: str | None = None

    @property
    def model_sha256(self) -> str:
        """The sha256 by which the model is known, the same in whichever of its files it is."""
        return self.original_sha256 or self.sha256

    @property
    def identity(self) -> ModelIdentity:
        """The identity of a head with these weights, for manifests and fingerprints."""
        return ModelIdentity(self.name, self.model_sha256)

    def local_path(self) -> pathlib.Path:
        """A local file with this content, verified once per process; from a bucket, a copy in the cache.

        A file of the same name in $BEAM_CURATOR_MODEL_DIR, as worker images have it, saves the copy.

        Raises:
          CurationError: the file is not there, or its content is another.
        """
        local = pathlib.Path(self.path)
        baked = self._in_image()
        if baked is not None:
            local = baked
        elif urls.is_remote(self.path):
            # Its own name, because the suffix tells the format; its sha256, so that none is mistaken.
            local = cache_dir() / self.sha256 / self.path.rsplit("/", 1)[-1]
            if not local.is_file():
                transfer.copy(self.path, local, self.sha256)
        elif not local.is_file():
            raise CurationError(
                f"weights {self.name}: no file {self.path} on this machine; put the weights in a bucket "
                f"or in the workers' image with `{FETCH_COMMAND} DIR`, and give --model_dir DIR"
            )
        verify(self.name, str(local), self.sha256)
        return local

    def _in_image(self) -> pathlib.Path | None:
        directory = os.environ.get("BEAM_CURATOR_MODEL_DIR")
        if not directory or pathlib.Path(self.path).is_file():
            return None
        baked = pathlib.Path(directory, self.path.rsplit("/", 1)[-1])
        return baked if baked.is_file() else None


def verify(name: str, path: str, sha256: str) -> None:
    """Raises CurationError unless the file's content has this sha256; a local one is read once as long as it stays."""
    if not urls.is_remote(path) and (path, _stamp(path), sha256) in _verified_files:
        return
    found = measured_sha256(path)
    if found != sha256:
        raise CurationError(
            f"weights {name}: {path} has sha256 {found}, expected {sha256}; delete it and fetch it again"
        )


def measured_sha256(path: str) -> str:
    """The sha256 of a file, local or in a bucket, in hex."""
    if urls.is_remote(path):
        return transfer.sha256_of(path)
    stamp = _stamp(path)  # taken before, so that a change while it is read is a change
    sha256 = transfer.sha256_of(path)
    _verified_files.add((path, stamp, sha256))
    return sha256


def _stamp(path: str) -> tuple[int, ...]:
    """Makes what changes when a local file is replaced or written again."""
    found = pathlib.Path(path).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
