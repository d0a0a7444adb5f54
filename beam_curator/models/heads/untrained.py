"""A score head without weights, for demos and tests."""

from __future__ import annotations

import dataclasses
import functools
import zlib

import numpy as np
import numpy.typing as npt

from beam_curator.models.heads import head

#: sigmoid(1.702 z) is within 0.01 of the normal distribution function of z (the scaling constant of item
#: response theory), so for z ~ N(0, 1) it is nearly uniform.
_PROBIT_GAIN = 1.702


@dataclasses.dataclass(frozen=True)
class UntrainedHead:
    """A random affine map of the embedding, squashed into an interval. Its scores mean nothing.

    It stands where a trained head would, so that a demo or a test without weights runs the real code paths.
    The same name gives the same scores on every machine; another name gives unrelated ones.

    Attributes:
      name: seeds the map.
      low: the least score possible.
      high: the greatest score possible.
      trained: always False.
    """

    name: str = "untrained"
    low: float = 0.0
    high: float = 1.0
    trained: bool = False

    def __call__(self, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Scores embeddings with numbers that mean nothing.

        Args:
          embeddings: float16 or float32 [n, width], L2-normalised, of any width.

        Returns:
          float32 [n] in [low, high], nearly uniform there if the embeddings point everywhere alike.

        Raises:
          CurationError: the embeddings are not a matrix.
        """
        width = embeddings.shape[-1]
        direction = _random_direction(self.name, width)
        return head.scored_in_pieces(functools.partial(self._score, direction), embeddings, self.name, width)

    def _score(
        self, direction: npt.NDArray[np.float64], embeddings: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float32]:
        z = embeddings.astype(np.float64) @ direction
        return (self.low + (self.high - self.low) * head.sigmoid(_PROBIT_GAIN * z)).astype(np.float32)


def _random_direction(name: str, width: int) -> npt.NDArray[np.float64]:
    # Variance 1, so that its product with a random unit vector has variance 1; uniform rather than normal
    # because uniform numbers need no logarithm and so are the same on every platform.
    rng = np.random.default_rng([zlib.crc32(name.encode()), width])
    return rng.uniform(-np.sqrt(3), np.sqrt(3), width)
