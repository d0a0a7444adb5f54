"""EmbedImages: embeddings and image facts for the samples of a batch, through Beam's RunInference."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.transforms.display import DisplayDataItem

from beam_curator.errors import UsageError
from beam_curator.models.encoders.caption_encoder import CaptionTokeniser
from beam_curator.models.scorers.scorer import Scorer, check_scorer, check_scorers
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep
from beam_curator.samples import SampleBatch
from beam_curator.sources.sample_batches import load
from beam_curator.transforms.beams_inference import RunInference
from beam_curator.transforms.beams_own import inner_steps_untyped
from beam_curator.transforms.clip_handler import ClipModelHandler, checked_handler
from beam_curator.transforms.display import display_of_models
from beam_curator.transforms.metrics import count as count_in_beam
from beam_curator.transforms.submitting import PendingBatch, submit_batch
from beam_curator.transforms.work_ahead import WorkAhead


def embed_batch(batch: SampleBatch, handler: ClipModelHandler) -> SampleBatch:
    """Embeds one batch without Beam, as `EmbedImages` does; the handler loads its model once.

    Raises:
      JobError: when bytes that the batch has lost cannot be read again (see `load`).
    """
    return submit_batch(load(batch), checked_handler(handler).encoder(), handler.identity).result()


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(PendingBatch)
class _RunInference(RunInference):
    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[PendingBatch]:
        with inner_steps_untyped(batches.pipeline):
            return super().expand(batches)

    def default_label(self) -> str:
        return "RunInference"


class _AwaitEmbeddings(WorkAhead[PendingBatch, SampleBatch]):
    def start(self, pending: PendingBatch) -> Callable[[], SampleBatch]:
        return functools.partial(_count_reductions, pending)


def _count_reductions(pending: PendingBatch) -> SampleBatch:
    batch = pending.result()
    if batch.batch_reductions:
        count_in_beam("batch_reductions", batch.batch_reductions)
    return batch


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class EmbedImages(beam.PTransform):
    """Embeds images: takes `SampleBatch` with bytes, gives it with `embeddings` (float16 [n, dim], L2-normalised) and
    image facts.

    A batch is decoded and embedded while the steps that follow work on the batch before. Bytes that a batch has lost,
    because it was shuffled or made by `Create`, are read again from its shard.

    Args:
      handler: the model; `ClipModelHandler()` is CLIP ViT-L/14 with OpenAI's weights.
      *scorers: scorers that need pixels; they share the one decoding of each image.
      tokenise: makes tokens of captions while images are decoded, for a later step that embeds or compares captions:
        the `tokenise` of that step's scorer.

    Raises:
      UsageError: an argument is no such scorer.
    """

    def __init__(self, handler: ClipModelHandler, *scorers: Scorer, tokenise: CaptionTokeniser | None = None) -> None:
        super().__init__()
        self.handler, self.scorers, self._tokenise = checked_handler(handler), scorers, tokenise
        for scorer in scorers:
            check_scorer(scorer)
            if scorer.needs != "pixels":
                raise UsageError(f"EmbedImages: scorer {scorer.name} needs {scorer.needs}: put Score after EmbedImages")
        check_scorers(scorers)

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: its encoder, the scorers that see pixels, and the flags of
        both."""
        steps = [ScoreStep.of(scorer) for scorer in self.scorers]
        return {"encoder": self.handler.identity, "steps": steps, "flags": self.handler.flags}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        self.handler.tell_doubt()
        loaded = batches | "Load" >> beam.Map(load).with_output_types(SampleBatch)
        embedding = loaded | _RunInference(self.handler.working_ahead(self.scorers, self._tokenise))
        return embedding | "Await" >> beam.ParDo(_AwaitEmbeddings()).with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        flags = {name: DisplayDataItem(value).drop_if_none() for name, value in self.handler.flags.items()}
        models = {EMBEDDING_STEP: self.handler.identity, **{scorer.name: scorer.identity for scorer in self.scorers}}
        return {**display_of_models(models), **flags}


def handler_before(batches: beam.PCollection[Any]) -> ClipModelHandler | None:
    """The handler of the one `EmbedImages` that this comes from, in a pipeline that is being built; None if there are
    several or none."""
    found: list[ClipModelHandler] = []
    due, seen = [batches], set[int]()
    while due:
        step = due.pop().producer
        if step is None or id(step) in seen:
            continue
        seen.add(id(step))
        embedding = step
        while embedding is not None and not isinstance(embedding.transform, EmbedImages):
            embedding = embedding.parent
        if embedding is None:
            due += step.inputs
        elif embedding.transform.handler not in found:
            found.append(embedding.transform.handler)
    return found[0] if len(found) == 1 else None
