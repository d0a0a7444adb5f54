"""`Encoder`: the protocol of image encoders, our own and a user's alike."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, Protocol

from beam_curator.errors import CurationError, JobError, UsageError
from beam_curator.identities import fault_of
from beam_curator.images import Preparation
from beam_curator.made_with import check_takes, made_with

if TYPE_CHECKING:
    import torch

CLIP_MEMBER = "clip"
"""The embedding member of open_clip's models is `KEY.clip.npy`."""


class Encoder(Protocol):
    """A model that embeds images. Derive from this class to make an encoder of your own.

    The job decodes and prepares images, normalises them by the preparation's mean and std, runs the module in batches
    that fit the device's memory, and L2-normalises its output. An encoder is pickled to be sent to workers, so keep the
    path of its weights in it, and read them in `load`.

    Attributes:
      name: its name in the output: lower-case letters, digits and "_". The member with its embeddings is
        `KEY.<name>.npy`.
      dim: length of an embedding.
      preparation: how an image becomes the module's input.
      sha256: SHA-256 of its weights, 64 hex digits: embeddings by other weights are never mixed with these. None if it
        has no weights.
      trained: False for random weights, whose scores mean nothing.
      notes: remarks that are shown wherever its embeddings are named.
    """

    name: str
    dim: int
    preparation: Preparation
    sha256: str | None = None
    trained: bool = True
    notes: tuple[str, ...] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        check_takes(cls, Encoder, args, kwargs)
        encoder = super().__new__(cls)
        object.__setattr__(encoder, "_made_with", made_with(cls, args, kwargs))
        return encoder

    def load(self) -> torch.nn.Module:
        """Makes the module; called once on each worker.

        Returns:
          A module in float32, on the CPU, in eval mode, that maps normalised images, float [n, 3, height, width], to
          embeddings, float [n, dim], or to a tuple that begins with these. The job moves it to the device, and casts
          the layers that multiply matrices to the precision that was asked for.
        """
        ...


@dataclasses.dataclass(frozen=True)
class VisualTower:
    """A loaded encoder.

    Attributes:
      module: maps normalised images, float [n, 3, height, width], to embeddings, float [n, dim]; as `Encoder.load`
        gives it.
      dim: length of an embedding.
      preparation: how an image becomes the module's input.
      users: whether it is a user's own encoder, whose errors the user can mend.
    """

    module: torch.nn.Module
    dim: int
    preparation: Preparation
    users: bool = False


def load_tower(encoder: Encoder, users: bool = False) -> VisualTower:
    """Loads an encoder's weights; `users` says that the encoder is a user's own.

    Raises:
      UsageError: it gives no torch module, or its weights are absent or do not fit.
      JobError: a user's own raised something.
    """
    import torch

    module: Any
    try:
        module = encoder.load()
    except CurationError:
        raise
    except (Exception, SystemExit) as error:
        if not users:
            raise
        raise JobError(f"encoder '{encoder.name}': load() raised {raised(error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"encoder '{encoder.name}': load() gave a {type(module).__name__}, not a torch.nn.Module")
    return VisualTower(module.eval(), encoder.dim, encoder.preparation, users)


def raised(error: BaseException) -> str:
    """An error of a user's code, in one line."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def check_encoder(encoder: Any) -> None:
    """Raises UsageError, in one line, for what is no `Encoder`."""
    what = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
    for name, kind in (("name", str), ("dim", int), ("preparation", Preparation)):
        found = getattr(encoder, name, None)
        if not isinstance(found, kind) or isinstance(found, bool):
            had = "has none" if found is None else f"has {found!r}"
            raise UsageError(
                f"{what} is no encoder: its {name} is to be a {kind.__name__}, and it {had} (see beam_curator.Encoder)"
            )
    if encoder.dim < 1:
        raise UsageError(f"{what} is no encoder: its dim is {encoder.dim}, and embeddings have at least one number")
    if not callable(getattr(encoder, "load", None)):
        raise UsageError(f"{what} is no encoder: it has no load(), which gives a torch.nn.Module")
    lacking = [name for name in ("sha256", "trained", "notes") if not hasattr(encoder, name)]
    if lacking:
        raise UsageError(f"{what} has no {', '.join(lacking)}: derive it from beam_curator.Encoder, which has defaults")
    if (fault := fault_of(encoder)) is not None:
        raise UsageError(f"{what}: {fault}")
    if not member_of(encoder.name):
        raise UsageError(f"{what}: its name {encoder.name!r} has no letter or digit, and cannot name its embeddings")


def member_of(name: str) -> str:
    """Makes the part between `KEY.` and `.npy` for the embeddings of an encoder: at most 80 of a-z, 0-9 and "_"."""
    return re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")[:80].strip("_")
