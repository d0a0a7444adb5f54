"""The image half of a CLIP model, with weights from a local file that is never unpickled as code."""

import difflib
import logging
import textwrap
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_curator.errors import UsageError
from beam_curator.first_few import listed

if TYPE_CHECKING:
    import torch
from beam_curator.defaults import TINY_UNTRAINED

_TINY_IMAGE_SIZE, _TINY_DIM, _TINY_SEED = 224, 768, 20240229

# Buffers that OpenAI's TorchScript archives hold beside the weights, and nobody else's.
_OPENAI_BUFFERS = {"input_resolution", "context_length", "vocab_size"}

# A constant of the text tower, which archives of open_clip's own models hold.
_TEXT_MASK = "attn_mask"


@dataclass(frozen=True)
class Architecture:
    """What is known before the weights: side of the square input in pixels, length of the embedding."""

    image_size: int
    dim: int


@dataclass(frozen=True)
class VisualTower:
    """An image encoder in float32 on the CPU, in eval mode, and how its input is to be prepared.

    Attributes:
      module: float [batch, 3, image_size, image_size], normalised -> float [batch, dim] (or a tuple that
        begins with it).
      mean, std: per RGB channel, of levels divided by 255.
      quick_gelu: whether the module computes OpenAI's approximation of GELU.
    """

    module: "torch.nn.Module"
    architecture: Architecture
    mean: tuple[float, ...]
    std: tuple[float, ...]
    quick_gelu: bool


def find_architecture(model: str) -> Architecture:
    """Looks up a model by name, without its weights.

    Args:
      model: an open_clip architecture, or `TINY_UNTRAINED`.

    Raises:
      UsageError: there is no such model, or it takes other than square images.
    """
    if model == TINY_UNTRAINED:
        return Architecture(_TINY_IMAGE_SIZE, _TINY_DIM)
    import open_clip

    names = [TINY_UNTRAINED, *open_clip.list_models()]
    if model not in names:
        close = difflib.get_close_matches(model, names, n=3, cutoff=0.5) or ["ViT-L-14", TINY_UNTRAINED]
        raise UsageError(
            f"unknown model '{model}': open_clip has no such architecture; did you mean {' or '.join(close)}?"
        )
    config = open_clip.get_model_config(model)
    image_size = config["vision_cfg"].get("image_size", 224)
    if isinstance(image_size, (tuple, list)):
        if len(set(image_size)) != 1:
            raise UsageError(f"model '{model}' takes images of {image_size} pixels: only square ones are supported")
        image_size = image_size[0]
    return Architecture(int(image_size), int(config["embed_dim"]))


def load_visual_tower(model: str, checkpoint: str | None, pretrained_tag: str | None) -> VisualTower:
    """Builds a model and loads its weights; the text tower is freed.

    QuickGELU is used if the architecture, the tag's open_clip entry or the file (OpenAI's archive) says so,
    so that OpenAI's weights never run with another activation than they were trained with. A bare state
    dict without a tag is taken to fit its architecture's name.

    Args:
      model: an open_clip architecture, or `TINY_UNTRAINED`, which takes no weights.
      checkpoint: local path of a state dict (`torch.save`), safetensors, or OpenAI's TorchScript archive.
      pretrained_tag: the open_clip tag that the file was published under ("openai", ...): it decides
        QuickGELU and the mean and std of the input.

    Raises:
      UsageError: unknown model or tag, or a checkpoint that is absent, unreadable, or does not fit the model.
    """
    architecture = find_architecture(model)
    if model == TINY_UNTRAINED:
        return _tiny_untrained(architecture)
    import open_clip

    if checkpoint is None or not Path(checkpoint).is_file():
        lack = "none was given" if checkpoint is None else f"there is no file {checkpoint}"
        raise UsageError(f"model '{model}' needs a checkpoint, and {lack}: give a local path")
    published = _published(model, pretrained_tag)
    archive = _read_torchscript(checkpoint) if _is_torchscript(checkpoint) else None
    is_openai_archive = archive is not None and not _OPENAI_BUFFERS.isdisjoint(archive)
    force_quick_gelu = is_openai_archive or bool(published.get("quick_gelu"))
    whole = _build(model, force_quick_gelu, published)
    preprocessing = open_clip.get_model_preprocess_cfg(whole)
    if (preprocessing["resize_mode"], preprocessing["interpolation"]) != ("shortest", "bicubic"):
        raise UsageError(
            f"model '{model}' resizes its images by '{preprocessing['resize_mode']}', "
            f"'{preprocessing['interpolation']}': only 'shortest', 'bicubic' is supported; take another model"
        )
    try:
        if archive is None:
            open_clip.load_checkpoint(whole, checkpoint, weights_only=True)
        else:
            extra = {*_OPENAI_BUFFERS, _TEXT_MASK}
            whole.load_state_dict({name: value for name, value in archive.items() if name not in extra})
    except Exception as error:  # what a wrong file raises depends on its format
        raise UsageError(f"checkpoint {checkpoint} does not fit model '{model}': {_in_one_line(error)}") from error
    return VisualTower(
        # Parameters go on requiring gradients, though none is ever computed: of frozen ones torch's matmul
        # (2.10) copies the weights for each token under autocast, and bf16 is 15 times slower.
        module=whole.visual.eval(),
        architecture=architecture,
        mean=tuple(preprocessing["mean"]),
        std=tuple(preprocessing["std"]),
        quick_gelu=force_quick_gelu or bool(open_clip.get_model_config(model).get("quick_gelu")),
    )


def _published(model: str, tag: str | None) -> dict[str, Any]:
    """open_clip's entry for (model, tag): quick_gelu, mean, std, ...; empty without a tag."""
    import open_clip

    if tag is None:
        return {}
    entry = open_clip.get_pretrained_cfg(model, tag)
    if not entry:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise UsageError(f"unknown pretrained tag '{tag}' of model '{model}': open_clip knows {known}")
    return entry


def _build(model: str, force_quick_gelu: bool, published: dict[str, Any]) -> Any:
    """The whole open_clip model with random weights; torch's global random state is left as it was."""
    import open_clip
    import torch

    try:
        with torch.random.fork_rng(devices=[]), _no_random_weights_warning():
            return open_clip.create_model(
                model,
                force_quick_gelu=force_quick_gelu,
                force_preprocess_cfg=published,
                pretrained_text=False,
            )
    except (RuntimeError, OSError, ImportError, ValueError) as error:
        raise UsageError(f"model '{model}' cannot be built by open_clip: {_in_one_line(error)}") from error


@contextmanager
def _no_random_weights_warning() -> Iterator[None]:
    """Keeps open_clip from warning, on the root logger, of the missing weights that we load right after."""

    def is_wanted(record: logging.LogRecord) -> bool:
        return "No pretrained weights loaded" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(is_wanted)
    try:
        yield
    finally:
        root.removeFilter(is_wanted)


def _is_torchscript(checkpoint: str) -> bool:
    if not zipfile.is_zipfile(checkpoint):
        return False
    with zipfile.ZipFile(checkpoint) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_torchscript(checkpoint: str) -> "dict[str, torch.Tensor]":
    """Tensors of what `torch.load(weights_only=True)` refuses; `torch.jit.load` runs no Python pickle."""
    import torch

    try:
        return dict(torch.jit.load(checkpoint, map_location="cpu").state_dict())
    except RuntimeError as error:
        raise UsageError(f"checkpoint {checkpoint} is a damaged TorchScript archive: {_in_one_line(error)}") from error


def _in_one_line(error: Exception) -> str:
    """The first findings of a many-line torch error, or the first sentence of any other."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    findings = lines[1:] if lines[0].startswith("Error(s) in loading state_dict") and lines[1:] else lines[:1]
    return listed([textwrap.shorten(finding, 200, placeholder=" ...") for finding in findings], 2, "; ")


def _tiny_untrained(architecture: Architecture) -> VisualTower:
    """A vision transformer of 2 layers, width 64, patches of 32 pixels, with seeded normal weights.

    All code paths are those of a real model; its embeddings have the length of ViT-L/14's so that heads
    fit, and differ between images; they mean nothing.
    """
    import torch
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from open_clip.transformer import VisionTransformer

    # On the meta device, construction draws nothing from the global random state.
    with torch.device("meta"):
        module = VisionTransformer(
            image_size=architecture.image_size,
            patch_size=32,
            width=64,
            layers=2,
            heads=2,
            mlp_ratio=4.0,
            output_dim=architecture.dim,
        )
    module = module.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(_TINY_SEED)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            fan_in = parameter.shape[0] if name == "proj" else parameter[0].numel()
            parameter.data.normal_(std=fan_in**-0.5, generator=generator)
        else:
            # LayerNorm scales are 1. Biases and the class token are 0, or they would make all images alike.
            parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
    return VisualTower(module, architecture, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, quick_gelu=False)
