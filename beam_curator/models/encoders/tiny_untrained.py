"""A small seeded encoder for tests, demos and machines without weights; its embeddings mean nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_curator.defaults import TINY_UNTRAINED
from beam_curator.images import Preparation

if TYPE_CHECKING:
    import torch

_SEED = 20240229


class TinyUntrained:
    """A vision transformer of 2 layers, width 64, patches of 32 pixels, with seeded normal weights. An `Encoder`.

    All code paths are those of a real model; its embeddings have the length of ViT-L/14's so that heads fit, and differ
    between images; they mean nothing.
    """

    name = TINY_UNTRAINED
    dim = 768
    preparation = Preparation(224)
    sha256: str | None = None
    trained = False
    notes: tuple[str, ...] = ()

    def load(self) -> torch.nn.Module:
        """Makes the tower, as `Encoder.load` says, with weights that are drawn by a seed."""
        import torch
        from open_clip.transformer import VisionTransformer

        # On the meta device, construction draws nothing from the global random state.
        with torch.device("meta"):
            module = VisionTransformer(
                image_size=self.preparation.shape[0],
                patch_size=32,
                width=64,
                layers=2,
                heads=2,
                mlp_ratio=4.0,
                output_dim=self.dim,
            )
        module = module.to_empty(device="cpu").eval()
        generator = torch.Generator().manual_seed(_SEED)
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                fan_in = parameter.shape[0] if name == "proj" else parameter[0].numel()
                parameter.data.normal_(std=fan_in**-0.5, generator=generator)
            else:
                # LayerNorm scales are 1. Biases and the class token are 0, or they would make all images alike.
                parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
        return module
