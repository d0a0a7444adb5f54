"""The weights of LAION's NSFW head: published as a SavedModel in a .zip, converted once to plain arrays in an .npz.

Whoever fetches or finds the .zip converts it, on the machine that launches a job; workers read the .npz alone. The head
is known by the sha256 of the .zip, in whichever file it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib

from beam_curator.models.weights import transfer
from beam_curator.models.weights.published import NSFW_LAION_ZIP, PublishedWeights
from beam_curator.models.weights.weights_file import WeightsFile, cache_dir, measured_sha256, verify
from beam_curator.storage import urls
from beam_curator.temporaries import temporary_directory

CONVERTED_SHA256 = "e59599fa9b098696e3da8bd7abe8a20704452d58e65e467fc9ef96cda6165991"
"""The sum of what the published .zip is converted to here."""

COMPRESSED_SHA256 = "1f7557be3105a38a02d961d7f422c5b02785c2935b249146b449fb5bf77bb118"
"""The sum of the same arrays in a compressed .npz, which is taken as well."""


@dataclasses.dataclass(frozen=True)
class NsfwWeights:
    """The published weights of the NSFW head, as FetchableWeights.

    Attributes:
      published: the .zip.
      sha256s: of the .npz files that hold the same; the first is what the .zip is converted to.
      filename: of the .npz.
    """

    published: PublishedWeights
    sha256s: tuple[str, ...]
    filename: str = "clip_autokeras_binary_nsfw.npz"
    fetch_arguments: str = ""

    def find(self, directory: str, thorough: bool = True) -> WeightsFile | None:
        """Finds the weights as FetchableWeights.find says. A .zip that is there alone is converted beside it, or else
        in the cache."""
        found = self._converted_in(directory)
        if found:
            return found
        zipped = self.published.find(directory, thorough)
        return self._converted_from(zipped, directory) if zipped else None

    def fetch(self, directory: str) -> WeightsFile:
        """Fetches the weights as FetchableWeights.fetch says. The .zip itself is not kept."""
        with temporary_directory("beam-curator-") as temporary:
            path = self._place(as_checked_npz(self.published.fetch(temporary), self.sha256s[0]), directory)
        return self._file(path, self.sha256s[0])

    def _converted_in(self, directory: str) -> WeightsFile | None:
        path = urls.join(directory, self.filename)
        if not transfer.is_file(path):
            return None
        sha256 = measured_sha256(path)
        if sha256 not in self.sha256s:
            verify(self.published.name, path, self.sha256s[0])
        return self._file(path, sha256)

    def _converted_from(self, zipped: WeightsFile, directory: str) -> WeightsFile:
        content = as_checked_npz(zipped, self.sha256s[0])
        try:
            return self._file(self._place(content, directory), self.sha256s[0])
        except transfer.TransferError:  # it may not be ours to write in
            cache = str(cache_dir())
            return self._converted_in(cache) or self._file(self._place(content, cache), self.sha256s[0])

    def _place(self, content: bytes, directory: str) -> str:
        transfer.put(directory, lambda local: [transfer.write(local / self.filename, content)])
        return urls.join(directory, self.filename)

    def _file(self, path: str, sha256: str) -> WeightsFile:
        return WeightsFile(pathlib.PurePath(self.filename).stem, path, sha256, self.published.sha256)


NSFW_LAION = NsfwWeights(NSFW_LAION_ZIP, (CONVERTED_SHA256, COMPRESSED_SHA256))


def as_checked_npz(zipped: WeightsFile, sha256: str | None = None) -> bytes:
    """A SavedModel as an .npz file.

    Raises:
      CurationError: it is not LAION's head, or what it is converted to has another sha256.
    """
    from beam_curator.models.weights.nsfw_conversion import as_npz  # here, since no worker is to read a SavedModel

    content = as_npz(zipped.local_path())
    if sha256 is not None:
        transfer.check_sha256(f"{zipped.path}, converted to .npz", sha256, hashlib.sha256(content).hexdigest())
    return content


def own_converted(own: WeightsFile) -> WeightsFile:
    """A head of the user's own as workers read it: a .zip is converted, into the cache, or in a bucket beside it.

    Raises:
      CurationError: the .zip is not LAION's head, or there is no place to write to.
    """
    if not own.path.lower().endswith(".zip"):
        known = own.sha256 in NSFW_LAION.sha256s
        return dataclasses.replace(own, original_sha256=NSFW_LAION.published.sha256) if known else own
    content = as_checked_npz(own)
    sha256 = hashlib.sha256(content).hexdigest()
    filename = f"{own.path.rsplit('/', 1)[-1][: -len('.zip')]}.npz"
    place = str(cache_dir() / own.sha256)
    if urls.is_remote(own.path):  # where workers on other machines reach it; not under a name that may be taken
        place, filename = own.path.rsplit("/", 1)[0], f"{own.sha256[:16]}-{filename}"
    path = urls.join(place, filename)
    if not transfer.is_file(path) or measured_sha256(path) != sha256:
        transfer.put(place, lambda local: [transfer.write(local / filename, content)])
    return WeightsFile(own.name, path, sha256, own.sha256)
