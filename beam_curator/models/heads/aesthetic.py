"""Aesthetic quality of an image from its CLIP ViT-L/14 embedding, about 1 (poor) to 10 (excellent)."""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np
import numpy.typing as npt

from beam_curator.errors import CurationError
from beam_curator.models.heads import head

#: Output width of each layer of V2, from ``MLP`` in simple_inference.py of
#: https://github.com/christophschuhmann/improved-aesthetic-predictor; dropout has the missing numbers.
_V2_LAYERS = {"layers.0": 1024, "layers.2": 128, "layers.4": 64, "layers.6": 16, "layers.7": 1}


@dataclasses.dataclass(frozen=True, eq=False)
class AestheticHead:
    """LAION's aesthetic predictors, V1 and V2, as the one affine map that each of them is.

    V1 (``sa_0_4_vit_l_14_linear``, https://github.com/LAION-AI/aesthetic-predictor) is a linear layer. V2
    (``sac+logos+ava1-l14-linearMSE``, https://github.com/christophschuhmann/improved-aesthetic-predictor) has
    five linear layers, but its authors left out the activations between them ("linearMSE"), and dropout does
    nothing at inference: so it, too, is affine, and is collapsed in float64 when it is loaded.

    Attributes:
      name: what the head is, for people.
      weight: float64 [768].
      bias: added to the product.
      trained: always True.
    """

    name: str
    weight: npt.NDArray[np.float64]
    bias: float
    trained: bool = True

    @classmethod
    def load(cls, path: str | pathlib.Path) -> AestheticHead:
        """Loads a V1 or V2 state dict, as published or trained by the user in the same layout; named as the file.

        Args:
          path: a local .pth file.

        Raises:
          CurationError: the file cannot be read, or is neither V1 nor V2 for ViT-L/14.
        """
        arrays = head.read_state_dict(path)
        layers = _affine_layers(arrays, path)
        weight, bias = functools.reduce(_followed_by, layers)
        return cls(pathlib.Path(path).stem, weight[0], float(bias[0]))

    def __call__(self, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Scores embeddings.

        Args:
          embeddings: float16 or float32 [n, 768], L2-normalised.

        Returns:
          float32 [n]; the same for an embedding whichever others come with it.

        Raises:
          CurationError: the embeddings have another width.
        """
        return head.scored_in_pieces(self._score, embeddings, self.name)

    def _score(self, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        return (embeddings.astype(np.float64) @ self.weight + self.bias).astype(np.float32)


_Affine = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # weight [out, in], bias [out]


def _affine_layers(arrays: dict[str, npt.NDArray[np.float64]], path: str | pathlib.Path) -> list[_Affine]:
    if set(arrays) == {"weight", "bias"}:
        head.check_arrays(arrays, {"weight": (1, head.VIT_L_14_WIDTH), "bias": (1,)}, path)
        return [(arrays["weight"], arrays["bias"])]
    if not any(key.startswith("layers.") for key in arrays):
        raise CurationError(
            f"{path}: neither an aesthetic V1 head (weight, bias) nor a V2 head (layers.0.weight, ...); "
            "`beam-curator models --model_dir DIR` gets both"
        )
    width_in, shapes = head.VIT_L_14_WIDTH, dict[str, tuple[int, ...]]()
    for layer, width_out in _V2_LAYERS.items():
        shapes |= {f"{layer}.weight": (width_out, width_in), f"{layer}.bias": (width_out,)}
        width_in = width_out
    head.check_arrays(arrays, shapes, path)
    return [(arrays[f"{layer}.weight"], arrays[f"{layer}.bias"]) for layer in _V2_LAYERS]


def _followed_by(first: _Affine, second: _Affine) -> _Affine:
    return second[0] @ first[0], second[0] @ first[1] + second[1]
