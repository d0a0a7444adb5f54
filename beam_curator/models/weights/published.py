"""The weights of the heads as their authors publish them."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Protocol

from beam_curator.models.weights import transfer
from beam_curator.models.weights.weights_file import WeightsFile, verify
from beam_curator.storage import urls


class FetchableWeights(Protocol):
    """Weights that somebody publishes: how they are looked for in a directory, and how they get there."""

    @property
    def filename(self) -> str:
        """The name of the file, for messages where it is missing."""
        ...

    @property
    def fetch_arguments(self) -> str:
        """The arguments of the command that fetches these weights."""
        ...

    def find(self, directory: str, thorough: bool = True) -> WeightsFile | None:
        """The verified file in a local directory or a bucket's folder, or None if it is not there.

        Args:
          directory: where to look.
          thorough: whether to read even large files in buckets from end to end.

        Raises:
          CurationError: the directory cannot be read, or the file there is another.
        """
        ...

    def fetch(self, directory: str) -> WeightsFile:
        """Downloads the file, verifies it, and puts it into a local directory or a bucket's folder.

        Raises:
          CurationError: it could not be had, or is not the right one; nothing is left behind.
        """
        ...


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
    """A file of weights as its authors publish it.

    Attributes:
      name: what a user calls it.
      filename: as published, and as looked for.
      url: where its authors keep it.
      sha256: of the file, in hex.
      size_bytes: of the file.
      licence: SPDX identifier.
      source: who made it, where it is described.
    """

    name: str
    filename: str
    url: str
    sha256: str
    size_bytes: int
    licence: str
    source: str
    fetch_arguments: str = ""

    def find(self, directory: str, thorough: bool = True) -> WeightsFile | None:
        """Finds the weights as FetchableWeights.find says; these files are small enough to be read always."""
        path = urls.join(directory, self.filename)
        if not transfer.is_file(path):
            return None
        verify(self.name, path, self.sha256)
        return WeightsFile(pathlib.PurePath(self.filename).stem, path, self.sha256)

    def fetch(self, directory: str) -> WeightsFile:
        """Fetches the weights as FetchableWeights.fetch says."""
        transfer.put(directory, self._download)
        path = urls.join(directory, self.filename)
        return WeightsFile(pathlib.PurePath(self.filename).stem, path, self.sha256)

    def _download(self, directory: pathlib.Path) -> list[pathlib.Path]:
        target = directory / self.filename
        transfer.download(self.url, target, self.sha256, self.size_bytes)
        return [target]


AESTHETIC_V2 = PublishedWeights(
    name="aesthetic-v2",
    filename="sac+logos+ava1-l14-linearMSE.pth",
    url="https://raw.githubusercontent.com/christophschuhmann/improved-aesthetic-predictor/main/"
    "sac%2Blogos%2Bava1-l14-linearMSE.pth",
    sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
    size_bytes=3714759,
    licence="Apache-2.0",
    source="Christoph Schuhmann, https://github.com/christophschuhmann/improved-aesthetic-predictor",
)
AESTHETIC_V1 = PublishedWeights(
    name="aesthetic-v1",
    filename="sa_0_4_vit_l_14_linear.pth",
    url="https://raw.githubusercontent.com/LAION-AI/aesthetic-predictor/main/sa_0_4_vit_l_14_linear.pth",
    sha256="2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
    size_bytes=4071,
    licence="MIT",
    source="LAION, https://github.com/LAION-AI/aesthetic-predictor",
)
NSFW_LAION_ZIP = PublishedWeights(
    name="nsfw-laion",
    filename="clip_autokeras_binary_nsfw.zip",
    url="https://raw.githubusercontent.com/LAION-AI/CLIP-based-NSFW-Detector/main/clip_autokeras_binary_nsfw.zip",
    sha256="905520bb0336accc73ee282c605d926aef90cf14248889d44b9cee50eef71f8a",
    size_bytes=1094585,
    licence="MIT",
    source="LAION, https://github.com/LAION-AI/CLIP-based-NSFW-Detector",
)

HEADS = (AESTHETIC_V2, AESTHETIC_V1, NSFW_LAION_ZIP)
"""All heads that were made for OpenAI's CLIP ViT-L/14."""
