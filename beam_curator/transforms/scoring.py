"""ScoreAesthetic, ScoreNsfw: score columns from embeddings."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import apache_beam as beam
import numpy as np
from apache_beam.transforms.display import DisplayDataItem

from beam_curator import rows
from beam_curator.defaults import UNTRAINED
from beam_curator.errors import CurationError, JobError, UsageError
from beam_curator.models.heads.aesthetic import AestheticHead
from beam_curator.models.heads.head import VIT_L_14_WIDTH
from beam_curator.models.heads.made_for import ANY_ENCODER, MadeFor
from beam_curator.models.heads.nsfw import NsfwHead
from beam_curator.models.heads.untrained import UntrainedHead
from beam_curator.models.weights.published import HEADS
from beam_curator.models.weights.resolving import resolve_aesthetic, resolve_nsfw
from beam_curator.models.weights.weights_file import WeightsFile
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.transforms.checkpointing import Scoring
from beam_curator.transforms.display import display_of_models
from beam_curator.transforms.embedding import STEP as CLIP
from beam_curator.transforms.embedding import ClipModelHandler, EmbedImages, embeddings_of, handler_before
from beam_curator.transforms.reading import ReadRanges


class ScoringUnavailable(Scoring):
    """Stands for scoring when the weights cannot be had but every range should be scored already.

    Args:
      models: the models that gave the scores.
      why: why they cannot be had: what the job fails with if a range has no scores after all.
    """

    def __init__(self, models: Mapping[str, str], why: str) -> None:
        super().__init__()
        self.models, self.sources, self._why = models, {}, why

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection:
        return ranges | beam.Map(_fail, self._why).with_output_types(SampleBatch)


def _fail(range: ShardRange, why: str) -> None:
    raise JobError(f"{range.url} has parts that are not scored yet, and {why}")


AESTHETIC, NSFW = "aesthetic", "nsfw"

Head = Callable[[np.ndarray], np.ndarray]
"""What turns embeddings (float16 [n, dim], L2-normalised) into scores (float32 [n])."""

Worse = Literal["lower", "higher"]
"""Which scores speak against an image."""


def score_batch(batch: SampleBatch, score: Score) -> SampleBatch:
    """What a `Score` gives of one embedded batch, without Beam; it loads its head once.

    Raises:
      CurationError: for a batch without embeddings, or with those of another encoder than the head was made for.
    """
    (scored,) = score.step.process(batch)
    return scored


def with_scores_of(batch: SampleBatch, name: str, head: Head, identity: str, worse: Worse = "lower") -> SampleBatch:
    """The batch with a float32 score column `name`; samples that failed have none.

    Where all images of samples are embedded, the worst score among a sample's decides.

    Raises:
      CurationError: for a batch without embeddings, or with ones that do not fit the head.
    """
    scores = head(embeddings_of(batch))
    if batch.more_embeddings is not None and len(batch.more_embeddings):
        worst = np.minimum if worse == "lower" else np.maximum
        scores = np.array(scores, np.float32)
        worst.at(scores, np.asarray(batch.more_of), head(batch.more_embeddings))
    return batch.replace(rows=rows.with_score(batch.rows, name, scores), models={**batch.models, name: identity})


class _Score(beam.DoFn):
    def __init__(self, name: str, load: Callable[[], Head], identity: str, worse: Worse, made_for: MadeFor) -> None:
        self._name, self._load, self._identity, self._worse = name, load, identity, worse
        self._made_for = made_for
        self._head: Head | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_head": None}

    def process(self, batch: SampleBatch) -> Iterator[SampleBatch]:
        encoder = batch.models.get(CLIP)
        complaint = self._made_for.complaint(self._name, self._identity, encoder, embeddings_of(batch).shape[1])
        if complaint:  # nobody could tell before: the embeddings are not those of an `EmbedImages` in this pipeline
            raise JobError(complaint)
        if self._head is None:  # not in setup: a worker with nothing to score loads nothing
            self._head = self._load()
        identity = self._made_for.identity_on(self._identity, encoder)
        yield with_scores_of(batch, self._name, self._head, identity, self._worse)


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
@dataclasses.dataclass(eq=False)
class Score(beam.PTransform):
    """Scores embeddings with any head: takes `SampleBatch` with embeddings, gives it with one more score column.

    Attributes:
      name: the score's column.
      load: makes the head, on the worker; `Score("warmth", lambda: my_head)` will do.
      identity: what gives the score, as fingerprints and manifests name it; another identity is scored anew.
      source: where its weights come from, for people.
      worse: which scores speak against an image, "lower" or "higher": the worst decides for a sample all of whose
        images are scored (`Reading.several_images` "all").
      made_for: what the head takes; by default any embeddings.
    """

    name: str
    load: Callable[[], Head]
    identity: str
    source: str | None = None
    worse: Worse = "lower"
    made_for: MadeFor = ANY_ENCODER

    def check(self, handler: ClipModelHandler) -> None:
        """Raises UsageError if the head was not made for this encoder, and the user does not insist on it."""
        complaint = self.made_for.complaint(self.name, self.identity, handler.identity, handler.dim)
        if complaint:
            raise UsageError(complaint)

    def identity_on(self, handler: ClipModelHandler) -> str:
        """The head's identity beside the embeddings of this encoder."""
        return self.made_for.identity_on(self.identity, handler.identity)

    @functools.cached_property
    def step(self) -> _Score:
        """What scores a batch."""
        return _Score(self.name, self.load, self.identity, self.worse, self.made_for)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest says of it."""
        return {"models": {self.name: self.identity}}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        handler = handler_before(batches)
        if handler is not None:
            self.check(handler)
        return batches | beam.ParDo(self.step).with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        return {
            "column": self.name,
            **display_of_models({self.name: self.identity}),
            "source": DisplayDataItem(self.source, label="Weights").drop_if_none(),
        }


class ScoreAesthetic(Score):
    """Scores how pleasing an image is, about 1 to 10, with LAION's aesthetic predictors.

    Args:
      weights: "v2" (sac+logos+ava1-l14-linearMSE), "v1" (sa_0_4_vit_l_14_linear), a path, or "untrained".
      model_dir: where weights are looked for first, local or in a bucket.
      accept_other_encoder: whether a published head may score the embeddings of another encoder than OpenAI's CLIP
        ViT-L/14, which it was made for. The scores may mean nothing, and their identity says so.

    Raises:
      UsageError: when the weights cannot be had.
    """

    def __init__(
        self, weights: str = "v2", model_dir: str | None = None, *, accept_other_encoder: bool = False
    ) -> None:
        if weights == UNTRAINED:
            super().__init__(AESTHETIC, _UntrainedLoader("aesthetic", 1.0, 10.0), _UNTRAINED_IDENTITY)
        else:
            found = resolve_aesthetic(weights, model_dir)
            made_for = _made_for(found, accept_other_encoder)
            super().__init__(AESTHETIC, _AestheticLoader(found), found.identity, found.path, made_for=made_for)


class ScoreNsfw(Score):
    """Scores how likely an image is not safe for work, 0 to 1, with LAION's CLIP-based detector.

    Args:
      weights: "laion" (clip_autokeras_binary_nsfw), a path (.zip, .npz or .pth), or "untrained".
      model_dir: where weights are looked for first, local or in a bucket.
      accept_other_encoder: as of `ScoreAesthetic`.

    Raises:
      UsageError: when the weights cannot be had.
    """

    def __init__(
        self, weights: str = "laion", model_dir: str | None = None, *, accept_other_encoder: bool = False
    ) -> None:
        if weights == UNTRAINED:
            super().__init__(NSFW, _UntrainedLoader("nsfw-untrained", 0.0, 1.0), _UNTRAINED_IDENTITY, worse="higher")
        else:
            found = resolve_nsfw(weights, model_dir)
            made_for = _made_for(found, accept_other_encoder)
            super().__init__(NSFW, _NsfwLoader(found), found.identity, found.path, "higher", made_for)


class ScoreRanges(Scoring):
    """The whole scoring chain: takes `ShardRange`, gives `SampleBatch` with embeddings and scores.

    Args:
      handler: the model that embeds.
      scores: the heads.

    Raises:
      UsageError: for a head that was not made for this encoder.
    """

    def __init__(self, handler: ClipModelHandler, *scores: Score) -> None:
        super().__init__()
        for score in scores:
            score.check(handler)
        handler.tell_doubt()
        self._handler, self._scores = handler, scores
        self.models = {CLIP: handler.identity, **{score.name: score.identity_on(handler) for score in scores}}
        clip_source = {CLIP: handler.weights.path} if handler.weights else {}
        self.sources = clip_source | {score.name: score.source for score in scores if score.source}

    def try_heads(self) -> None:
        """Loads each head of the user's own once, so that a file that is none is found before any work.

        Raises:
          UsageError: for a file that is not a head.
        """
        for score in self._scores:
            if score.source is None or score.made_for.published:
                continue
            try:
                score.load()
            except CurationError as error:
                raise UsageError(str(error)) from error

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection[SampleBatch]:
        batches = ranges | ReadRanges() | EmbedImages(self._handler)
        for score in self._scores:
            batches |= score
        return batches

    def display_data(self) -> dict[str, Any]:
        sources = {f"{step} weights": source for step, source in self.sources.items()}
        return {**super().display_data(), **sources}


_UNTRAINED_IDENTITY = "untrained (scores mean nothing)"


def _made_for(weights: WeightsFile, accept_other: bool) -> MadeFor:
    """What a head of LAION's layouts takes; told by its sha256, a published one is known under any name."""
    return MadeFor(VIT_L_14_WIDTH, weights.model_sha256 in {head.sha256 for head in HEADS}, accept_other)


@dataclasses.dataclass(frozen=True)
class _AestheticLoader:
    weights: WeightsFile

    def __call__(self) -> Head:
        return AestheticHead.load(self.weights.local_path())


@dataclasses.dataclass(frozen=True)
class _NsfwLoader:
    weights: WeightsFile

    def __call__(self) -> Head:
        return NsfwHead.load(self.weights.local_path())


@dataclasses.dataclass(frozen=True)
class _UntrainedLoader:
    name: str
    low: float
    high: float

    def __call__(self) -> Head:
        return UntrainedHead(self.name, self.low, self.high)
