"""The image tower of open_clip's models, with weights from a local file; nothing of the text tower is built or read."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from beam_curator.defaults import TINY_UNTRAINED
from beam_curator.errors import UsageError
from beam_curator.images import Preparation
from beam_curator.images.preparation import CLIP_MEAN, CLIP_STD
from beam_curator.models.encoders.checkpoints import (
    OPENAI_BUFFERS,
    does_not_fit,
    in_one_line,
    is_torchscript,
    read_torchscript,
    require_checkpoint,
)

if TYPE_CHECKING:
    import torch

_VISUAL = "visual."
"""The prefix of the names of the image tower's tensors."""

_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
"""The text tower that open_clip builds beside the image tower: next to nothing, and nothing of a hub."""


class OpenClipEncoder:
    """An image tower of open_clip. An `Encoder`.

    QuickGELU is used if the architecture, the tag's open_clip entry or the file (OpenAI's archive) says so, so that
    OpenAI's weights never run with another activation than they were trained with. A bare state dict without a tag is
    taken to fit its architecture's name.

    Args:
      model: an open_clip architecture.
      checkpoint: local path of a state dict (`torch.save`), safetensors, or OpenAI's TorchScript archive. What it holds
        of the text tower is not read.
      pretrained_tag: the open_clip tag that the file was published under ("openai", ...): it decides QuickGELU and how
        the input is prepared. Without it, that is as all published weights of the architecture want it, if they agree,
        else as OpenAI's CLIP.
    """

    sha256: str | None = None
    trained = True
    notes: tuple[str, ...] = ()

    def __init__(self, model: str, checkpoint: str | None = None, pretrained_tag: str | None = None) -> None:
        self.name, self._checkpoint, self._tag = model, checkpoint, pretrained_tag

    @functools.cached_property
    def dim(self) -> int:
        """Length of an embedding; loads no weights."""
        return int(_config(self.name)["embed_dim"])

    @functools.cached_property
    def preparation(self) -> Preparation:
        """The preparation that open_clip's own transform makes; loads no weights."""
        size = _config(self.name)["vision_cfg"].get("image_size", 224)
        if self._tag is not None:
            return _prepared(size, published(self.name, self._tag))
        return _prepared(size, _agreed(self.name))

    def load(self) -> torch.nn.Module:
        """Loads the tower, as `Encoder.load` says.

        Raises:
          UsageError: unknown model or tag, or a checkpoint that is absent, unreadable, or does not fit the model.
        """
        import torch

        config = _config(self.name)
        checkpoint = require_checkpoint(self.name, self._checkpoint)
        entry = published(self.name, self._tag) if self._tag is not None else {}
        archive = read_torchscript(checkpoint) if is_torchscript(checkpoint) else None
        is_openais = archive is not None and not OPENAI_BUFFERS.isdisjoint(archive)
        quick_gelu = is_openais or bool(entry.get("quick_gelu")) or bool(config.get("quick_gelu"))
        whole = _build(self.name, config, quick_gelu)
        try:
            tensors = _visual_tensors(whole, archive, checkpoint)
            torch.nn.ModuleDict({"visual": whole.visual}).load_state_dict(tensors)
        except Exception as error:  # what a wrong file raises depends on its format
            raise does_not_fit(checkpoint, self.name, error) from error
        # Parameters go on requiring gradients, though none is ever computed: of frozen ones torch's matmul
        # (2.10) copies the weights for each token under autocast, and bf16 is 15 times slower.
        return whole.visual.eval()


def _config(model: str) -> dict[str, Any]:
    """open_clip's description of an architecture.

    Raises:
      UsageError: there is no such one.
    """
    import open_clip

    names = [TINY_UNTRAINED, *open_clip.list_models()]
    if model not in names:
        close = difflib.get_close_matches(model, names, n=3, cutoff=0.5) or ["ViT-L-14", TINY_UNTRAINED]
        raise UsageError(
            f"unknown model '{model}': open_clip has no such architecture; did you mean {' or '.join(close)}?"
        )
    return open_clip.get_model_config(model)


def published(model: str, tag: str) -> Mapping[str, Any]:
    """open_clip's entry for (model, tag): quick_gelu, mean, std, interpolation, resize_mode, ...

    Raises:
      UsageError: there is none.
    """
    import open_clip

    entry = open_clip.get_pretrained_cfg(model, tag)
    if not entry:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise UsageError(f"unknown pretrained tag '{tag}' of model '{model}': open_clip knows {known}")
    return entry


def _agreed(model: str) -> Mapping[str, Any]:
    """An entry of the model's whose preparation is that of all; an empty one where they differ or there is none."""
    import open_clip

    entries = [published(model, tag) for tag in open_clip.list_pretrained_tags_by_model(model)]
    differing = {_prepared(1, entry) for entry in entries}
    return entries[0] if len(differing) == 1 else {}


def _prepared(size: int | Sequence[int], entry: Mapping[str, Any]) -> Preparation:
    """Makes the preparation that open_clip's `image_transform` makes of an entry, for an input of this size."""
    height, width = (size, size) if isinstance(size, int) else size
    mode = entry.get("resize_mode") or "shortest"
    interpolation = "bilinear" if entry.get("interpolation") == "bilinear" else "bicubic"
    if mode == "shortest" and height != width:
        interpolation = "bicubic"  # whatever the entry says: there open_clip hands it on to nobody
    return Preparation(
        height if height == width else (height, width),
        mode,
        interpolation,
        _by_channel(entry.get("mean") or CLIP_MEAN),
        _by_channel(entry.get("std") or CLIP_STD),
        entry.get("fill_color") or 0,
    )


def _by_channel(values: float | Sequence[float]) -> tuple[float, ...]:
    return (values,) * 3 if isinstance(values, (int, float)) else tuple(values)


def _build(model: str, config: Mapping[str, Any], quick_gelu: bool) -> Any:
    """An open_clip model whose `visual` is that of an architecture, with random weights; without network, and torch's
    global random state is left as it was."""
    import open_clip
    import torch

    vision = dict(config["vision_cfg"])
    if vision.get("timm_model_name"):
        vision["timm_model_pretrained"] = False
    try:
        with torch.random.fork_rng(devices=[]):
            return open_clip.CustomTextCLIP(config["embed_dim"], vision, _NO_TEXT, quick_gelu=quick_gelu)
    except (RuntimeError, OSError, ImportError, ValueError) as error:
        raise UsageError(f"model '{model}' cannot be built by open_clip: {in_one_line(error)}") from error


def _visual_tensors(
    whole: Any, archive: Mapping[str, torch.Tensor] | None, checkpoint: str
) -> Mapping[str, torch.Tensor]:
    """The image tower's tensors of a file, by the names of the whole model; all tensors if it has none of these."""
    from open_clip.convert import convert_state_dict
    from open_clip.factory import load_state_dict
    from open_clip.model import resize_pos_embed

    state = archive if archive is not None else load_state_dict(checkpoint, weights_only=True)
    state = convert_state_dict(whole, state)
    visual = {name: value for name, value in state.items() if name.startswith(_VISUAL)} or dict(state)
    resize_pos_embed(visual, whole)
    return visual
