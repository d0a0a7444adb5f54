"""Finds the file of a model's weights.

On the machine that launches a job, `choose_weights`, `resolve_aesthetic` and `resolve_nsfw` turn the
user's choice into a `WeightsFile`: from the model directory (local, or in a bucket), else the cache, else a
download that is verified before it is used. The `WeightsFile` travels to the workers, which fetch nothing
from the web: they read it where it is, and verify it again.
"""

from __future__ import annotations

import dataclasses
import pathlib

from beam_curator.defaults import DEFAULT_PRETRAINED, TIMM, TINY_UNTRAINED
from beam_curator.errors import CurationError, UsageError
from beam_curator.models.weights import transfer
from beam_curator.models.weights.clip_weights import (
    QUICK_GELU,
    ClipWeights,
    activation_twin,
    check_clip_model,
    is_checkpoint_path,
    published_as,
)
from beam_curator.models.weights.nsfw_weights import NSFW_LAION, own_converted
from beam_curator.models.weights.published import AESTHETIC_V1, AESTHETIC_V2, FetchableWeights
from beam_curator.models.weights.timm_weights import TimmWeights, find_in_timm
from beam_curator.models.weights.weights_file import FETCH_COMMAND, WeightsFile, cache_dir, measured_sha256
from beam_curator.storage import urls


@dataclasses.dataclass(frozen=True)
class ClipChoice:
    """A CLIP model whose weights are found.

    Attributes:
      model: the open_clip architecture that computes what the weights were trained with.
      tag: the open_clip tag that they were published under; None for a checkpoint of unknown origin.
      weights: the file.
      doubt: a warning in one line, if it is not known which activation the weights were trained with; else None.
    """

    model: str
    tag: str | None
    weights: WeightsFile
    doubt: str | None = None


def choose_weights(model: str, pretrained: str, model_dir: str | None) -> ClipChoice | None:
    """Finds the weights of an encoder by its name; None for "tiny-untrained". See `choose_clip` and `choose_timm`.

    Raises:
      UsageError: weights are given for "tiny-untrained"; or as `choose_clip` and `choose_timm`.
    """
    if model == TINY_UNTRAINED:
        if pretrained != DEFAULT_PRETRAINED:
            raise UsageError(f"--clip_pretrained {pretrained}: {TINY_UNTRAINED} takes no weights: leave it out")
        return None
    choose = choose_timm if model.startswith(TIMM) else choose_clip
    return choose(model, pretrained, model_dir)


def published_weights(model: str, pretrained: str) -> FetchableWeights:
    """The published weights of an encoder, wherever they are.

    Raises:
      UsageError: there are none.
    """
    return TimmWeights.of(model) if model.startswith(TIMM) else ClipWeights.named(model, pretrained)


def choose_clip(model: str, pretrained: str, model_dir: str | None) -> ClipChoice:
    """Finds the weights of a CLIP model, and tells what they are.

    Published weights are known by their tag, and a checkpoint by its sha256 or by the record that was kept when it was
    fetched. Their architecture is the one with the activation that they were trained with: `ViT-L-14` with OpenAI's
    weights is `ViT-L-14-quickgelu`. Of a checkpoint that is not known nobody can tell, which is its doubt.

    Args:
      model: an open_clip model, e.g. `"ViT-L-14-quickgelu"`.
      pretrained: an open_clip tag, e.g. `"openai"`, or the path of a checkpoint.
      model_dir: a local directory or a bucket's folder to look in first, or None.

    Raises:
      UsageError: open_clip has no such model or tag, or the weights are missing, unreachable or wrong.
    """
    if not is_checkpoint_path(pretrained):
        named = ClipWeights.named(model, pretrained)
        return ClipChoice(named.model, named.tag, _resolve(named, model_dir, _OR_A_PATH))
    check_clip_model(model)
    own = _own_file(pretrained, "CLIP checkpoint")
    known = published_as(own.path, own.sha256)
    if known is None:
        return ClipChoice(model, None, dataclasses.replace(own, name=f"{model}/{own.name}"), _doubt(model, own.path))
    if model not in (known.model, activation_twin(known.model)):
        raise UsageError(
            f"{pretrained} holds the weights of {known.name}, not of {model}: give --clip_model {known.model}"
        )
    return ClipChoice(known.model, known.tag, dataclasses.replace(own, name=known.name))


def choose_timm(model: str, pretrained: str, model_dir: str | None) -> ClipChoice:
    """Finds the weights of a model of timm, `"timm:NAME.TAG"`; without a tag those that timm takes by itself.

    Args:
      model: its name.
      pretrained: the path of a checkpoint; or open_clip's default tag, which says nothing here.
      model_dir: as choose_clip.

    Raises:
      UsageError: timm has no such model or tag, or the weights are missing, unreachable or wrong.
    """
    if is_checkpoint_path(pretrained):
        find_in_timm(model)
        own = _own_file(pretrained, "checkpoint")
        return ClipChoice(model, None, dataclasses.replace(own, name=f"{model}/{own.name}"))
    if pretrained != DEFAULT_PRETRAINED:
        raise UsageError(
            f"--clip_pretrained {pretrained}: the tag of timm's weights is a part of the encoder's name, as in "
            f"{model.partition('.')[0]}.{pretrained}; or give the path of a checkpoint"
        )
    published = TimmWeights.of(model)
    return ClipChoice(published.model, published.tag, _resolve(published, model_dir, _OR_A_PATH))


def _doubt(model: str, path: str) -> str | None:
    twin = activation_twin(model)
    if twin is None:
        return None
    how = "with it" if model.endswith(QUICK_GELU) else "without it"
    return (
        f"{path} is not known by its sha256, so nobody can tell whether it was trained with QuickGELU, as OpenAI's "
        f"weights were: it runs {how}, as {model} does; if that is wrong, give --clip_model {twin}"
    )


def resolve_aesthetic(choice: str, model_dir: str | None) -> WeightsFile:
    """Finds the weights of an aesthetic head: "v2", "v1" or a path. See `choose_clip` for the other arguments."""
    published = {"v2": AESTHETIC_V2, "v1": AESTHETIC_V1}.get(choice)
    if published is None:
        return _own_file(choice, "aesthetic head", "v2, v1, or ")
    return _resolve(published, model_dir)


def resolve_nsfw(choice: str, model_dir: str | None) -> WeightsFile:
    """Finds the weights of an NSFW head: "laion" or a path. See `choose_clip` for the other arguments."""
    if choice != "laion":
        try:
            return own_converted(_own_file(choice, "NSFW head", "laion, or "))
        except CurationError as error:
            raise UsageError(str(error)) from error
    return _resolve(NSFW_LAION, model_dir)


def _own_file(path: str, what: str, instead: str = "") -> WeightsFile:
    path = urls.absolute(path)
    try:
        if not transfer.is_file(path):
            raise UsageError(f"no {what} at {path}; give {instead}the path of a file that exists")
        name = pathlib.PurePosixPath(path).stem
        return WeightsFile(name, path, measured_sha256(path))
    except transfer.TransferError as error:
        raise UsageError(f"{what} cannot be read: {error}") from error


def _resolve(wanted: FetchableWeights, model_dir: str | None, instead: str = "") -> WeightsFile:
    cache = str(cache_dir())
    directories = [urls.absolute(model_dir), cache] if model_dir else [cache]
    try:
        for directory in directories:
            if found := wanted.find(directory, thorough=False):
                return found
    except CurationError as error:
        raise UsageError(str(error)) from error
    try:
        return wanted.fetch(cache)
    except transfer.TransferError as error:
        raise UsageError(
            f"weights {wanted.filename} are missing: looked in {' and '.join(directories)}, and the download failed "
            f"({error}); run `{FETCH_COMMAND} {model_dir or 'DIR'}{wanted.fetch_arguments}` where there is a network, "
            f"and give that --model_dir{instead}"
        ) from error


_OR_A_PATH = ", or give --clip_pretrained the path of a checkpoint"
