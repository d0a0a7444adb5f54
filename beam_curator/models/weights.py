"""The published weights, by name, and how a file of weights is found.

On the machine that launches a job, ``resolve_clip``, ``resolve_aesthetic`` and ``resolve_nsfw`` turn the
user's choice into a ``WeightsFile``: from the model directory (local, or in a bucket), else the cache, else a
download that is verified before it is used. The ``WeightsFile`` travels to the workers, which fetch nothing
from the web: they read it where it is, and verify it again.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
import re
from typing import Protocol

from beam_curator.errors import CurationError, UsageError
from beam_curator.models import transfer

#: Weights in a bucket that are larger than this, and whose sha256 is on record, are left for the workers to
#: verify: a launcher far from the bucket would take minutes to read them.
LAUNCHER_READ_BYTES = 64 << 20

_CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".bin", ".pth")
_FETCH_COMMAND = "python -m pipelines.fetch_models --model_dir"

# (local path, its stamp, sha256) that this process has read and found equal
_verified_files: set[tuple[str, tuple[int, ...], str]] = set()


def cache_dir() -> pathlib.Path:
    """Where weights are kept between runs: $BEAM_CURATOR_CACHE, or ~/.cache/beam_curator."""
    return pathlib.Path(transfer.absolute(os.environ.get("BEAM_CURATOR_CACHE") or "~/.cache/beam_curator"))


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A file of weights that exists, and what it must hold. This is what travels to workers.

    Attributes:
      name: what it is, for people, e.g. ``"sac+logos+ava1-l14-linearMSE"``.
      path: a local path, or one in a bucket.
      sha256: of its content, in hex.
    """

    name: str
    path: str
    sha256: str

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
        elif transfer.is_remote(self.path):
            # Its own name, because the suffix tells the format; its sha256, so that none is mistaken.
            local = cache_dir() / self.sha256 / self.path.rsplit("/", 1)[-1]
            if not local.is_file():
                transfer.copy(self.path, local, self.sha256)
        elif not local.is_file():
            raise CurationError(
                f"weights {self.name}: no file {self.path} on this machine; put the weights in a bucket "
                f"or in the workers' image with `{_FETCH_COMMAND} DIR`, and give --model_dir DIR"
            )
        _verify(self.name, str(local), self.sha256)
        return local

    def _in_image(self) -> pathlib.Path | None:
        directory = os.environ.get("BEAM_CURATOR_MODEL_DIR")
        if not directory or pathlib.Path(self.path).is_file():
            return None
        baked = pathlib.Path(directory, self.path.rsplit("/", 1)[-1])
        return baked if baked.is_file() else None


def _verify(name: str, path: str, sha256: str) -> None:
    if not transfer.is_remote(path) and (path, _stamp(path), sha256) in _verified_files:
        return
    found = _measured_sha256(path)
    if found != sha256:
        raise CurationError(
            f"weights {name}: {path} has sha256 {found}, expected {sha256}; delete it and fetch it again"
        )


def _measured_sha256(path: str) -> str:
    if transfer.is_remote(path):
        return transfer.sha256_of(path)
    stamp = _stamp(path)  # taken before, so that a change while it is read is a change
    sha256 = transfer.sha256_of(path)
    _verified_files.add((path, stamp, sha256))
    return sha256


def _stamp(path: str) -> tuple[int, ...]:
    """What changes when a local file is replaced or written again."""
    found = pathlib.Path(path).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


class FetchableWeights(Protocol):
    """Weights that somebody publishes: how they are looked for in a directory, and how they get there."""

    @property
    def filename(self) -> str:
        """What to call the file where it is missing."""
        ...

    @property
    def fetch_arguments(self) -> str:
        """What to add to the command that fetches them."""
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
      converted: the same weights in another file, which is taken where this one is not.
    """

    name: str
    filename: str
    url: str
    sha256: str
    size_bytes: int
    licence: str
    source: str
    converted: PublishedWeights | None = None
    fetch_arguments: str = ""

    def find(self, directory: str, thorough: bool = True) -> WeightsFile | None:
        """See FetchableWeights.find; these files are small enough to be read always."""
        path = transfer.join(directory, self.filename)
        if transfer.is_file(path):
            _verify(self.name, path, self.sha256)
            return WeightsFile(pathlib.PurePath(self.filename).stem, path, self.sha256)
        return self.converted.find(directory, thorough) if self.converted else None

    def fetch(self, directory: str) -> WeightsFile:
        """See FetchableWeights.fetch."""
        transfer.put(directory, self._download)
        path = transfer.join(directory, self.filename)
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
NSFW_CONVERTED = PublishedWeights(
    name="nsfw-laion",
    filename="clip_autokeras_binary_nsfw.npz",
    url="",  # Nobody publishes it; it is the zip's weights and vocabularies as plain arrays.
    sha256="1f7557be3105a38a02d961d7f422c5b02785c2935b249146b449fb5bf77bb118",
    size_bytes=858544,
    licence="MIT",
    source="converted from LAION's clip_autokeras_binary_nsfw.zip",
)
NSFW_LAION = PublishedWeights(
    name="nsfw-laion",
    filename="clip_autokeras_binary_nsfw.zip",
    url="https://raw.githubusercontent.com/LAION-AI/CLIP-based-NSFW-Detector/main/clip_autokeras_binary_nsfw.zip",
    sha256="905520bb0336accc73ee282c605d926aef90cf14248889d44b9cee50eef71f8a",
    size_bytes=1094585,
    licence="MIT",
    source="LAION, https://github.com/LAION-AI/CLIP-based-NSFW-Detector",
    converted=NSFW_CONVERTED,
)


@dataclasses.dataclass(frozen=True)
class ClipWeights:
    """The weights that open_clip calls by a model's name and a pretrained tag.

    The file is kept as ``MODEL--TAG`` with its own suffix, and its sha256 beside it in a file of that name
    and ``.sha256``, in the format of ``sha256sum``. A file that was put there by hand, without that record, is
    taken as it is, unless it is the one whose sha256 its url tells.

    Attributes:
      model: as in ``open_clip.list_models()``.
      tag: as in ``open_clip.list_pretrained_tags_by_model(model)``.
      hub: ``organisation/name/file`` at the Hugging Face hub, with nothing after the last slash for the
        usual file; or "".
      url: of OpenAI's file, which has its sha256 in its path; or "".
    """

    model: str
    tag: str
    hub: str
    url: str

    @classmethod
    def named(cls, model: str, tag: str) -> ClipWeights:
        """Looks a model and tag up in open_clip.

        Raises:
          UsageError: open_clip does not know them; the message lists names that are near.
        """
        import open_clip  # Takes seconds to import.

        check_clip_model(model)
        config = open_clip.get_pretrained_cfg(model, tag)
        if not config:
            tags = open_clip.list_pretrained_tags_by_model(model)
            near = difflib.get_close_matches(tag, tags, n=5, cutoff=0.5) or tags
            raise UsageError(
                f"open_clip has no pretrained tag {tag!r} for {model}: "
                f"choose one of {', '.join(near) or '(none)'}, or give the path of a checkpoint"
            )
        canonical_tag = tag.lower().replace("-", "_")  # open_clip takes either spelling.
        return cls(model, canonical_tag, config.get("hf_hub", ""), config.get("url", ""))

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"{self.model}/{self.tag}"

    @property
    def filename(self) -> str:
        """The file's name without its suffix."""
        return f"{self.model}--{self.tag}".replace("/", "-")

    @property
    def fetch_arguments(self) -> str:
        """What to add to the command that fetches them."""
        return f" --clip_model {self.model} --clip_pretrained {self.tag}"

    def find(self, directory: str, thorough: bool = True) -> WeightsFile | None:
        """See FetchableWeights.find."""
        for suffix in _CHECKPOINT_SUFFIXES:
            path = transfer.join(directory, self.filename + suffix)
            if not transfer.is_file(path):
                continue
            sha256 = self._sha256_in_url if self.url.endswith(suffix) else None
            sha256 = sha256 or _recorded_sha256(path)
            if sha256 is None:
                sha256 = _measured_sha256(path)
            elif thorough or not transfer.is_remote(path) or transfer.size_of(path) <= LAUNCHER_READ_BYTES:
                _verify(self.name, path, sha256)
            return WeightsFile(self.name, path, sha256)
        return None

    def fetch(self, directory: str) -> WeightsFile:
        """See FetchableWeights.fetch."""
        transfer.put(directory, self._download)
        found = self.find(directory, thorough=False)
        if found is None:
            raise transfer.TransferError(f"{self.filename}: vanished from {directory} after it was written")
        return found

    def _download(self, directory: pathlib.Path) -> list[pathlib.Path]:
        failures = []
        for repo, filename in self._hub_files():
            target = directory / (self.filename + pathlib.PurePath(filename).suffix)
            try:
                sha256 = transfer.download_from_hub(repo, filename, target)
            except transfer.TransferError as error:
                failures.append(str(error))
                break  # A hub that cannot be reached has no other file either.
            if sha256:
                return [target, _record_sha256(target, sha256)]
            failures.append(f"{repo}/{filename}: no such file")
        if self._sha256_in_url:
            target = directory / (self.filename + pathlib.PurePosixPath(self.url).suffix)
            try:
                transfer.download(self.url, target, self._sha256_in_url)
            except transfer.TransferError as error:
                failures.append(str(error))
            else:
                return [target, _record_sha256(target, self._sha256_in_url)]
        raise transfer.TransferError("; ".join(failures) or f"{self.name}: published without a sha256 to verify it by")

    @property
    def _sha256_in_url(self) -> str | None:
        found = re.search("/([0-9a-f]{64})/", self.url)
        return found[1] if found else None

    def _hub_files(self) -> list[tuple[str, str]]:
        # A repository may have the weights as safetensors, as a pickle, or as both; open_clip names only one.
        if not self.hub:
            return []
        repo, _, filename = self.hub.rpartition("/")
        if not filename:
            return [(repo, "open_clip_model.safetensors"), (repo, "open_clip_pytorch_model.bin")]
        safe = str(pathlib.PurePosixPath(filename).with_suffix(".safetensors"))
        return [(repo, safe), (repo, filename)] if safe != filename else [(repo, filename)]


def _record_sha256(path: pathlib.Path, sha256: str) -> pathlib.Path:
    record = path.with_name(f"{path.name}.sha256")
    record.write_text(f"{sha256}  {path.name}\n")
    return record


def _recorded_sha256(path: str) -> str | None:
    record = f"{path}.sha256"
    if not transfer.is_file(record):
        return None
    sha256 = transfer.read_text(record)[:64].lower()
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise UsageError(f"{record}: does not begin with a sha256; delete it, or write it with sha256sum")
    return sha256


def check_clip_model(model: str) -> None:
    """Checks that open_clip knows an architecture.

    Raises:
      UsageError: it does not; the message lists names that are near.
    """
    import open_clip

    models = open_clip.list_models()
    if model not in models:
        near = difflib.get_close_matches(model, models, n=5, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "open_clip.list_models() lists those that it has"
        raise UsageError(f"open_clip has no model {model!r}; {hint}")


def resolve_clip(model: str, pretrained: str, model_dir: str | None, download: bool = True) -> WeightsFile:
    """Finds the weights of a CLIP model.

    Args:
      model: an open_clip model, e.g. ``"ViT-L-14-quickgelu"``.
      pretrained: an open_clip tag, e.g. ``"openai"``, or the path of a checkpoint.
      model_dir: a local directory or a bucket's folder to look in first, or None.
      download: whether to fetch published weights that are in neither model_dir nor the cache.

    Raises:
      UsageError: open_clip has no such model or tag, or the weights are missing, unreachable or wrong.
    """
    if is_checkpoint_path(pretrained):
        check_clip_model(model)
        own = _own_file(pretrained, "CLIP checkpoint")
        return dataclasses.replace(own, name=f"{model}/{own.name}")
    return _resolve(ClipWeights.named(model, pretrained), model_dir, download)


def resolve_aesthetic(choice: str, model_dir: str | None, download: bool = True) -> WeightsFile:
    """Finds the weights of an aesthetic head: ``"v2"``, ``"v1"`` or a path. See resolve_clip for the rest."""
    published = {"v2": AESTHETIC_V2, "v1": AESTHETIC_V1}.get(choice)
    if published is None:
        return _own_file(choice, "aesthetic head", "v2, v1, or ")
    return _resolve(published, model_dir, download)


def resolve_nsfw(choice: str, model_dir: str | None, download: bool = True) -> WeightsFile:
    """Finds the weights of an NSFW head: ``"laion"`` or a path. See resolve_clip for the rest."""
    if choice != "laion":
        return _own_file(choice, "NSFW head", "laion, or ")
    return _resolve(NSFW_LAION, model_dir, download)


def is_checkpoint_path(pretrained: str) -> bool:
    """Whether what a user gives as ``pretrained`` is the path of a checkpoint, not one of open_clip's tags."""
    is_checkpoint = pretrained.lower().endswith(_CHECKPOINT_SUFFIXES)
    return "/" in pretrained or is_checkpoint or pathlib.Path(pretrained).is_file()


def _own_file(path: str, what: str, instead: str = "") -> WeightsFile:
    path = transfer.absolute(path)
    try:
        if not transfer.is_file(path):
            raise UsageError(f"no {what} at {path}; give {instead}the path of a file that exists")
        name = pathlib.PurePosixPath(path).stem
        return WeightsFile(name, path, _measured_sha256(path))
    except transfer.TransferError as error:
        raise UsageError(f"{what} cannot be read: {error}") from error


def _resolve(wanted: FetchableWeights, model_dir: str | None, download: bool) -> WeightsFile:
    cache = str(cache_dir())
    directories = [transfer.absolute(model_dir), cache] if model_dir else [cache]
    try:
        for directory in directories:
            if found := wanted.find(directory, thorough=False):
                return found
    except CurationError as error:
        raise UsageError(str(error)) from error
    failure = "downloading was not allowed"
    if download:
        try:
            return wanted.fetch(cache)
        except transfer.TransferError as error:
            failure = f"the download failed ({error})"
    raise UsageError(
        f"weights {wanted.filename} are missing: looked in {' and '.join(directories)}, and {failure}; run "
        f"`{_FETCH_COMMAND} {model_dir or 'DIR'}{wanted.fetch_arguments}` where there is a network, and give "
        "that --model_dir"
    )
