"""The weights of CLIP models, by the names that open_clip has for them."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import pathlib
import re

from beam_curator.errors import UsageError
from beam_curator.models.weights import transfer
from beam_curator.models.weights.weights_file import WeightsFile, measured_sha256, verify
from beam_curator.storage import urls

#: Weights in a bucket that are larger than this, and whose sha256 is on record, are left for the workers to
#: verify: a launcher far from the bucket would take minutes to read them.
LAUNCHER_READ_BYTES = 64 << 20

QUICK_GELU = "-quickgelu"
"""The end of the name of an open_clip architecture that computes QuickGELU, and has a twin that does not."""

_CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".bin", ".pth")


@dataclasses.dataclass(frozen=True)
class ClipWeights:
    """The weights that open_clip calls by a model's name and a pretrained tag.

    The file is kept as `MODEL--TAG` with its own suffix, and its sha256 beside it in a file of that name
    and `.sha256`, in the format of `sha256sum`. A file that was put there by hand, without that record, is
    taken as it is, unless it is the one whose sha256 its url tells.

    Attributes:
      model: as in `open_clip.list_models()`; of two that differ in nothing but the activation, the one that has the
        activation that the weights were trained with.
      tag: as in `open_clip.list_pretrained_tags_by_model(model)`.
      hub: `organisation/name/file` at the Hugging Face hub, with nothing after the last slash for the
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
        twin = activation_twin(model)
        if config.get("quick_gelu") and twin and twin.endswith(QUICK_GELU) and open_clip.get_pretrained_cfg(twin, tag):
            model = twin  # open_clip computes QuickGELU for either name
        return cls(model, canonical_tag, config.get("hf_hub", ""), config.get("url", ""))

    @property
    def name(self) -> str:
        """The name of the weights, for people."""
        return f"{self.model}/{self.tag}"

    @property
    def filename(self) -> str:
        """The file's name without its suffix."""
        return f"{self.model}--{self.tag}".replace("/", "-")

    @property
    def _filenames(self) -> list[str]:
        """The names that the file may have: earlier releases kept the same one under the name of its twin as well."""
        twin = activation_twin(self.model) if self.model.endswith(QUICK_GELU) else None
        return [self.filename] + ([dataclasses.replace(self, model=twin).filename] if twin else [])

    @property
    def fetch_arguments(self) -> str:
        """The arguments of the command that fetches these weights."""
        return f" --clip_model {self.model} --clip_pretrained {self.tag}"

    def find(self, directory: str, thorough: bool = True) -> WeightsFile | None:
        """Finds the weights as FetchableWeights.find says."""
        for filename, suffix in itertools.product(self._filenames, _CHECKPOINT_SUFFIXES):
            path = urls.join(directory, filename + suffix)
            if not transfer.is_file(path):
                continue
            sha256 = self._sha256_in_url if self.url.endswith(suffix) else None
            sha256 = sha256 or _recorded_sha256(path)
            if sha256 is None:
                sha256 = measured_sha256(path)
            elif thorough or not urls.is_remote(path) or transfer.size_of(path) <= LAUNCHER_READ_BYTES:
                verify(self.name, path, sha256)
            return WeightsFile(self.name, path, sha256)
        return None

    def fetch(self, directory: str) -> WeightsFile:
        """Fetches the weights as FetchableWeights.fetch says."""
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


def activation_twin(model: str) -> str | None:
    """The architecture that differs from this one in nothing but that it computes QuickGELU, or does not; if any."""
    import open_clip

    twin = model.removesuffix(QUICK_GELU) if model.endswith(QUICK_GELU) else model + QUICK_GELU
    return twin if twin in open_clip.list_models() else None


def published_as(path: str, sha256: str) -> ClipWeights | None:
    """Finds what a checkpoint was published as; None if that is not known.

    It is known by the sha256 in OpenAI's urls; and of a file as `fetch_models` keeps it by its name, if the record
    beside it has its sha256.
    """
    import open_clip

    for model, tag in open_clip.list_pretrained():
        if f"/{sha256}/" in open_clip.get_pretrained_cfg(model, tag).get("url", ""):
            return ClipWeights.named(model, tag)
    name = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    for model, tag in open_clip.list_pretrained():
        if name == ClipWeights(model, tag, "", "").filename and _recorded_sha256(path) == sha256:
            return ClipWeights.named(model, tag)
    return None


def is_checkpoint_path(pretrained: str) -> bool:
    """Tells whether what a user gives as `pretrained` is the path of a checkpoint, not one of open_clip's tags."""
    is_checkpoint = pretrained.lower().endswith(_CHECKPOINT_SUFFIXES)
    return "/" in pretrained or is_checkpoint or pathlib.Path(pretrained).is_file()
