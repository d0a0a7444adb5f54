"""Probability that an image is not safe for work, from its CLIP ViT-L/14 embedding."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import pathlib
import zipfile
import zlib

import numpy as np
import numpy.typing as npt

from beam_curator.errors import CurationError
from beam_curator.models.heads import head

_logger = logging.getLogger(__name__)

#: The columns that AutoKeras took for categories in training: they hold few distinct float16 values.
CATEGORICAL_COLUMNS = (180, 316, 413, 440, 644)

#: Files in the layout of the PyTorch ports, which have no vocabularies.
APPROXIMATE_SUFFIXES = (".pth", ".pt")

_WIDTHS = (head.VIT_L_14_WIDTH, 64, 512, 256, 1)
_MAX_NPZ_BYTES = 32 << 20

_Arrays = dict[str, npt.NDArray[np.float64]]
_Vocabularies = dict[int, list[bytes]]


@dataclasses.dataclass(frozen=True, eq=False)
class NsfwHead:
    """LAION's NSFW detector (``clip_autokeras_binary_nsfw``), exactly as its TensorFlow model computes.

    Source: https://github.com/LAION-AI/CLIP-based-NSFW-Detector. Five columns of the embedding are
    categories: the value, rounded to float16 as the training embeddings were, is written with ``'%f'`` and
    looked up in that column's vocabulary, and its index there (from 1, or 0 where it is absent) takes its
    place. Then (x - mean) / sqrt(variance), layers 768-64-512-256-1 with ReLU between, and a sigmoid. The
    PyTorch ports of this model leave the lookup out, which moves scores by up to 0.4.

    Attributes:
      name: what the head is, for people.
      mean: float64 [768].
      deviation: float64 [768], square root of the variance.
      layers: weight float64 [out, in] and bias float64 [out] of each layer.
      categories: for each categorical column the number that stands for a value, float64 [65536], by the bits
        of the value as float16. Empty for an approximate head.
      trained: always True.
    """

    name: str
    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]
    layers: tuple[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]], ...]
    categories: dict[int, npt.NDArray[np.float64]]
    trained: bool = True

    @classmethod
    def load(cls, path: str | pathlib.Path) -> NsfwHead:
        """Loads the head, named as its file without the suffix.

        Args:
          path: a local file: the .npz that LAION's own .zip (a TensorFlow SavedModel) is converted to when it is
            fetched or resolved, or a .pth in the layout of the PyTorch ports. The latter has no vocabularies and so
            approximates: this is logged as a warning, and said in the head's name.

        Raises:
          CurationError: the file cannot be read, or is not this head.
        """
        suffix = pathlib.Path(path).suffix.lower()
        name = pathlib.Path(path).stem
        if suffix == ".npz":
            arrays, vocabularies = _from_npz(path)
        elif suffix in APPROXIMATE_SUFFIXES:
            arrays, vocabularies = head.read_state_dict(path), {}
        else:
            raise CurationError(
                f"{path}: an NSFW head is loaded from a .npz or .pth file, not {suffix or 'without suffix'!r}; "
                "LAION's .zip is converted by --nsfw_model, or by `beam-curator models --model_dir DIR`"
            )
        _check(arrays, path)
        if not vocabularies:
            name = f"{name} (approximate)"
            _logger.warning(
                "%s: this NSFW head has no vocabularies: columns %s are used as plain numbers, and scores "
                "differ from the original model's, by up to 0.4 where an embedding's values are in them; "
                "the published head is exact",
                path,
                ", ".join(map(str, CATEGORICAL_COLUMNS)),
            )
        layers = tuple((arrays[f"linear_{i}.weight"], arrays[f"linear_{i}.bias"]) for i in range(1, len(_WIDTHS)))
        deviation = np.sqrt(arrays["norm.variance"])
        return cls(name, arrays["norm.mean"], deviation, layers, _category_tables(vocabularies, path))

    def __call__(self, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Scores embeddings.

        Args:
          embeddings: float16 or float32 [n, 768], L2-normalised.

        Returns:
          float32 [n], probabilities; the same for an embedding whichever others come with it.

        Raises:
          CurationError: the embeddings have another width.
        """
        return head.scored_in_pieces(self._score, embeddings, self.name)

    def _score(self, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        x = embeddings.astype(np.float64)
        for column, table in self.categories.items():
            x[:, column] = table[embeddings[:, column].astype(np.float16).view(np.uint16)]
        x -= self.mean
        x /= self.deviation
        for weight, bias in self.layers[:-1]:
            x = x @ weight.T
            x += bias
            np.maximum(x, 0, out=x)
        weight, bias = self.layers[-1]
        return head.sigmoid(x @ weight[0] + bias[0]).astype(np.float32)


def _check(arrays: _Arrays, path: str | pathlib.Path) -> None:
    width = head.VIT_L_14_WIDTH
    shapes: dict[str, tuple[int, ...]] = {"norm.mean": (width,), "norm.variance": (width,)}
    for i, (width_in, width_out) in enumerate(itertools.pairwise(_WIDTHS), start=1):
        shapes |= {f"linear_{i}.weight": (width_out, width_in), f"linear_{i}.bias": (width_out,)}
    head.check_arrays(arrays, shapes, path)
    if (arrays["norm.variance"] <= 0).any():
        raise CurationError(f"{path}: 'norm.variance' holds values that are not positive; fetch the file again")


def _category_tables(vocabularies: _Vocabularies, path: str | pathlib.Path) -> dict[int, npt.NDArray[np.float64]]:
    if not vocabularies:
        return {}
    # Every float16 is written once here, by the very format that the model uses, so that scoring is a gather.
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).tolist()
    texts = [b"%f" % value for value in values]
    tables = {}
    for column, vocabulary in vocabularies.items():
        indices = {text: index for index, text in enumerate(vocabulary, start=1)}
        if not vocabulary or len(indices) != len(vocabulary):
            raise CurationError(f"{path}: the vocabulary of column {column} is empty or repeats an entry")
        tables[column] = np.array([indices.get(text, 0) for text in texts], np.float64)
    return tables


def _from_npz(path: str | pathlib.Path) -> tuple[_Arrays, _Vocabularies]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MAX_NPZ_BYTES:
                raise CurationError(f"{path}: unpacks to more than {_MAX_NPZ_BYTES} bytes, too large for an NSFW head")
        with np.load(path, allow_pickle=False) as archive:
            # Of what is no array, in a zip of something else, NumPy gives the bytes.
            content = {key: value for key in archive.files if isinstance(value := archive[key], np.ndarray)}
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise CurationError(f"{path}: cannot be read as .npz ({error}); fetch the file again") from error
    arrays = {key: value.astype(np.float64) for key, value in content.items() if value.dtype.kind == "f"}
    vocabularies = {}
    for column in CATEGORICAL_COLUMNS:
        vocabulary = content.get(f"vocabulary.{column}")
        if vocabulary is None or vocabulary.dtype.kind not in "SU" or vocabulary.ndim != 1:
            raise CurationError(f"{path}: no strings 'vocabulary.{column}'; this is not the converted NSFW head")
        vocabularies[column] = [bytes(text) for text in vocabulary.astype(bytes)]
    return arrays, vocabularies
