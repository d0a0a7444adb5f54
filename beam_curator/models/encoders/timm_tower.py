"""timm's image models as encoders (DINOv2, DINOv3, ...): pooled features, with weights from a local file."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from beam_curator.errors import UsageError
from beam_curator.images import Preparation
from beam_curator.models.encoders.checkpoints import does_not_fit, in_one_line, require_checkpoint

if TYPE_CHECKING:
    import torch


class TimmEncoder:
    """A model of timm without its classifier: the features that it pools. An `Encoder`.

    Args:
      model: "timm:NAME" or "timm:NAME.TAG", as timm has them: a tag also decides how the input is prepared.
      checkpoint: local path of a state dict or safetensors, with or without the classifier.
    """

    sha256: str | None = None
    trained = True
    notes: tuple[str, ...] = ()

    def __init__(self, model: str, checkpoint: str | None = None) -> None:
        self.name, self._checkpoint = model, checkpoint

    @functools.cached_property
    def preparation(self) -> Preparation:
        """The preparation that timm's transform for evaluation makes; loads no weights."""
        from timm.data import resolve_model_data_config

        config = resolve_model_data_config(self._without_memory)
        _, height, width = config["input_size"]
        resized = tuple(math.floor(side / config["crop_pct"]) for side in (height, width))
        mode = {"squash": "squash", "border": "longest"}.get(config["crop_mode"], "shortest")
        mean, std = tuple(config["mean"]), tuple(config["std"])
        fill_color = tuple(round(255 * value) for value in mean) if mode == "longest" else 0
        return Preparation(
            (height, width), mode, config["interpolation"], mean, std, fill_color, (resized[0], resized[1]), True
        )

    @functools.cached_property
    def dim(self) -> int:
        """Length of an embedding; loads no weights."""
        import torch

        blank = torch.empty((1, 3, *self.preparation.shape), device="meta")
        try:
            with torch.no_grad():
                features = self._without_memory(blank)
        except Exception as error:  # whatever a model's code raises for such an input
            raise UsageError(f"model '{self.name}' does not embed an image: {in_one_line(error)}") from error
        if not isinstance(features, torch.Tensor) or features.ndim != 2:
            raise UsageError(f"model '{self.name}' does not embed an image: it gives no vector of features")
        return int(features.shape[1])

    def load(self) -> torch.nn.Module:
        """Loads the tower, as `Encoder.load` says.

        Raises:
          UsageError: timm has no such model, or a checkpoint that is absent, unreadable, or does not fit it.
        """
        from timm.models import load_state_dict

        from beam_curator.models.weights.timm_weights import find_in_timm  # which imports Beam

        checkpoint = require_checkpoint(self.name, self._checkpoint)
        name, config = find_in_timm(self.name)
        try:
            tensors = load_state_dict(checkpoint, weights_only=True)
        except Exception as error:  # what a wrong file raises depends on its format
            raise does_not_fit(checkpoint, self.name, error) from error
        rows = _classes(tensors, config.classifier)
        first: Exception | None = None
        for classes in dict.fromkeys((rows, config.num_classes)):
            try:
                return _with_weights(name, checkpoint, classes)
            except Exception as error:  # as above
                first = first or error
        assert first is not None
        raise does_not_fit(checkpoint, self.name, first) from first

    @functools.cached_property
    def _without_memory(self) -> torch.nn.Module:
        """The model with shapes alone."""
        import timm
        import torch

        from beam_curator.models.weights.timm_weights import find_in_timm

        name, _ = find_in_timm(self.name)
        try:
            with torch.device("meta"):
                return timm.create_model(name, pretrained=False, num_classes=0).eval()
        except Exception as error:  # as above
            raise UsageError(f"model '{self.name}' cannot be built by timm: {in_one_line(error)}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "_checkpoint": self._checkpoint}


def _classes(tensors: dict[str, Any], classifiers: str | tuple[str, ...] | None) -> int:
    """Counts the classes that the classifier in a checkpoint tells apart; 0 if it has none."""
    names = (classifiers,) if isinstance(classifiers, str) else classifiers or ()
    return next((len(tensors[f"{name}.weight"]) for name in names if f"{name}.weight" in tensors), 0)


def _with_weights(name: str, checkpoint: str, classes: int) -> torch.nn.Module:
    """The model with all tensors of a checkpoint, none missing and none left over; then without its classifier.

    timm loads strictly only where it is told of as many classes as the checkpoint has.
    """
    import timm
    import torch

    model: Any
    overlay = {"file": checkpoint, "custom_load": False, "num_classes": classes}
    with torch.random.fork_rng(devices=[]):
        model = timm.create_model(name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay)
    if classes:
        model.reset_classifier(0)
    return model.eval()
