"""The weights of timm's models, by the names that timm has for them."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from beam_curator.defaults import TIMM
from beam_curator.errors import UsageError
from beam_curator.models.weights.clip_weights import ClipWeights


@dataclasses.dataclass(frozen=True)
class TimmWeights(ClipWeights):
    """Weights that timm publishes at its hub; kept as `timm--NAME.TAG`, as open_clip's are. See ClipWeights.

    Attributes:
      model: `timm:NAME.TAG`.
      tag: as in `timm.list_pretrained()`, after the dot.
    """

    @classmethod
    def of(cls, model: str) -> TimmWeights:
        """Looks `timm:NAME` or `timm:NAME.TAG` up in timm.

        Raises:
          UsageError: timm does not know it, or publishes no weights of it.
        """
        name, config = find_in_timm(model)
        if not config.hf_hub_id:
            raise UsageError(f"timm publishes no weights of {model}: give --clip_pretrained the path of a checkpoint")
        architecture = name.partition(".")[0]
        full = f"{TIMM}{architecture}.{config.tag}" if config.tag else f"{TIMM}{architecture}"
        return cls(full, config.tag or "", f"{config.hf_hub_id}/{config.hf_hub_filename or ''}", "")

    @property
    def name(self) -> str:
        """The name of the weights, for people."""
        return self.model

    @property
    def filename(self) -> str:
        """The file's name without its suffix."""
        return self.model.replace(":", "--")

    @property
    def fetch_arguments(self) -> str:
        """The arguments of the command that fetches these weights."""
        return f" --encoder {self.model}"

    def _hub_files(self) -> list[tuple[str, str]]:
        repo, _, filename = self.hub.rpartition("/")
        return [(repo, filename)] if filename else [(repo, "model.safetensors"), (repo, "pytorch_model.bin")]


def find_in_timm(model: str) -> tuple[str, Any]:
    """The name in timm of `timm:NAME`, and what timm knows of its weights (a `timm.models.PretrainedCfg`).

    Raises:
      UsageError: timm has no such model, or no such weights of it; the message lists those that are near.
    """
    import timm  # Takes seconds to import.

    name = model.removeprefix(TIMM)
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(f'{TIMM}{one}' for one in near)}?" if near else "timm.list_models() has all"
        raise UsageError(f"unknown model '{model}': timm has no such architecture; {hint}")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = ", ".join(one.partition(".")[2] for one in timm.list_pretrained(f"{architecture}.*")) or "none"
        raise UsageError(
            f"unknown model '{model}': timm has no weights '{tag}' of {architecture}: it has {tags}"
        ) from error
    return name, config or timm.models.PretrainedCfg()
