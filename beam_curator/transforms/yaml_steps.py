"""The transforms as Beam YAML says them: what `beam_curator_provider.yaml` names, made of plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_curator.defaults import DEFAULT_MODEL, DEFAULT_PRETRAINED
from beam_curator.errors import UsageError
from beam_curator.samples import SampleBatch
from beam_curator.transforms.clip_handler import ClipModelHandler
from beam_curator.transforms.embedding import EmbedImages
from beam_curator.transforms.exploding import ExplodeSamples
from beam_curator.transforms.keep_top import KeepTop
from beam_curator.transforms.scoring import ScoreSimilarity
from beam_curator.transforms.selection import Select
from beam_curator.transforms.writing import WriteShards


def embed_images(model: str = DEFAULT_MODEL, pretrained: str = DEFAULT_PRETRAINED, **options: Any) -> EmbedImages:
    """Embeds images with an image tower of open_clip, by its name.

    Args:
      model: as of `ClipModelHandler`.
      pretrained: as of `ClipModelHandler`.
      **options: the other arguments of `ClipModelHandler`, such as model_dir, batch_size and device.

    Raises:
      UsageError: when the model or tag is unknown, or the weights cannot be had.
    """
    return EmbedImages(ClipModelHandler(model, pretrained, **options))


def score_similarity(
    model: str = DEFAULT_MODEL, pretrained: str = DEFAULT_PRETRAINED, **options: Any
) -> ScoreSimilarity:
    """Scores how well captions tell their images, by the text tower of the model that embeds these.

    Args:
      model: as of `EmbedImages` in the same pipeline.
      pretrained: as of that.
      **options: the others of that.

    Raises:
      UsageError: when the model has no text tower, or none that can be had.
    """
    return ScoreSimilarity(ClipModelHandler(model, pretrained, **options))


def select(rules: str | Sequence[str]) -> Select:
    """Applies rules that are given as text.

    Args:
      rules: such as "aesthetic >= 5" and "nsfw < 0.5": see `beam_curator.rules.comparison`.

    Raises:
      UsageError: for a text that is no rule.
    """
    rules = [rules] if isinstance(rules, str) else list(rules or ())
    wrong = [rule for rule in rules if not isinstance(rule, str)]
    if wrong:
        raise UsageError(f"Select: rules: {wrong[0]!r} is not text such as aesthetic >= 5")
    return Select(*rules)


def keep_top(top: str | Sequence[str], output: str | None = None) -> KeepTop:
    """Keeps the best samples by a column, or by several, one after the other.

    Args:
      top: such as "aesthetic=0.3" (the best 30 %) and "1000000 aesthetic".
      output: as of `KeepTop`.

    Raises:
      UsageError: for a text that says neither.
    """
    return KeepTop(*(top if isinstance(top, (list, tuple)) else [top]), output=output)


def explode_samples() -> ExplodeSamples:
    """Makes one row of each sample, with its facts, outcome and scores, for the transforms that Beam YAML brings."""
    return ExplodeSamples(as_rows=True)


class WriteShardsAsRow(beam.PTransform):
    """Writes shards as `WriteShards` does; gives one row, the job's counts: seen, kept, dropped, failed, and
    output_shards."""

    def __init__(self, output: str, **options: Any) -> None:
        super().__init__()
        self._write = WriteShards(output, **options)

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[Any]:
        return batches | "WriteShards" >> self._write | "Counts" >> beam.Select(**_COUNTS)


def _count(name: str) -> Any:
    def count(manifest: Mapping[str, Any]) -> int:
        return manifest["counts"][name]

    return count


def _output_shards(manifest: Mapping[str, Any]) -> int:
    return manifest["output"]["shards"]


_COUNTS = {**{name: _count(name) for name in ("seen", "kept", "dropped", "failed")}, "output_shards": _output_shards}
