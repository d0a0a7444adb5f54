"""Score, ScoreAesthetic, ScoreNsfw: score columns from embeddings, captions, facts or pixels."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.transforms.display import DisplayDataItem

from beam_curator import process_tuning
from beam_curator.errors import JobError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.batches import embeddings_of, with_scores
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.heads import HeadScorer, aesthetic_scorer, nsfw_scorer, try_head
from beam_curator.models.scorers.scorer import ON_EMBEDDINGS, Scorer, check_scorer, check_scorers
from beam_curator.models.scorers.similarity import Similarity
from beam_curator.models.scorers.text_embedding import TextEmbedding
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep
from beam_curator.samples import SampleBatch, ShardRange, checked_batch
from beam_curator.transforms.checkpointing import Scoring
from beam_curator.transforms.clip_handler import ClipModelHandler, checked_handler
from beam_curator.transforms.display import display_of_models
from beam_curator.transforms.embedding import EmbedImages, handler_before
from beam_curator.transforms.lineage import facts_of
from beam_curator.transforms.lost_device import ending_worker_of_lost_device
from beam_curator.transforms.picture_scoring import with_picture_scores
from beam_curator.transforms.reading import JoinRanges, ReadRanges


class EncoderUnavailable(Scoring):
    """Takes the place of `ScoreRanges` when the encoder's weights cannot be had and all ranges should be embedded
    already.

    Args:
      encoder: the encoder of the embeddings that are stored.
      why: why its weights cannot be had: the job fails with this if a range has no embeddings after all.
      *scorers: the scorers, for columns that are not stored yet.

    Raises:
      UsageError: for a head that was not made for this encoder, or scorers that give the same column.
    """

    def __init__(self, encoder: ModelIdentity, why: str, *scorers: Scorer) -> None:
        super().__init__()
        check_scorers(scorers)
        for scorer in scorers:
            complaint = complaint_of(scorer, encoder, None)
            if complaint:
                raise UsageError(complaint)
        self.encoder, self._why, self.scorers = encoder, why, scorers
        self.sources = {one.name: one.source for one in scorers if one.source}

    def identity_of(self, scorer: Scorer) -> ModelIdentity:
        return identity_on(scorer, self.encoder)

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection:
        return ranges | beam.Map(_fail, self._why).with_output_types(SampleBatch)


def _fail(range: ShardRange, why: str) -> None:
    raise JobError(f"{range.url} has parts that are not scored yet, and {why}")


def score_batch(batch: SampleBatch, scorer: Scorer | Score) -> SampleBatch:
    """Scores one batch without Beam, as `Score` does.

    Args:
      batch: embedded, if the scorer needs embeddings.
      scorer: the scorer, which is loaded for this batch; or a `Score`, which loads its scorer once for all batches.

    Raises:
      CurationError: for a batch without embeddings, or with those of another encoder than the head was made for.
    """
    checked_batch(batch)
    (scored,) = (scorer if isinstance(scorer, Score) else Score(scorer)).step.process(batch)
    return scored


class _Score(beam.DoFn):
    def __init__(self, scorer: Scorer) -> None:
        self._loaded, self._tuned = LoadedScorer(scorer), process_tuning.is_on()

    def setup(self) -> None:
        process_tuning.turn_on(self._tuned)
        process_tuning.keep_products_in_their_threads()

    def process(self, batch: SampleBatch) -> Iterator[SampleBatch]:
        with ending_worker_of_lost_device():
            scored = self._scored(batch)
        yield scored

    def _scored(self, batch: SampleBatch) -> SampleBatch:
        scorer = self._loaded.scorer
        if scorer.needs == "pixels":
            return with_picture_scores(batch, [self._loaded])
        encoder = batch.models.get(EMBEDDING_STEP)
        if scorer.needs in ON_EMBEDDINGS:
            embeddings = embeddings_of(batch)
            complaint = complaint_of(scorer, encoder, embeddings.shape[1])
            if complaint:  # nobody could tell before: the embeddings are not those of an `EmbedImages` in this pipeline
                raise JobError(complaint)
        return with_scores(batch, self._loaded, identity_on(scorer, encoder))


def complaint_of(scorer: Scorer, encoder: ModelIdentity | None, width: int | None) -> str | None:
    """Says in one line why a scorer cannot score the embeddings of this encoder; None if it can."""
    if isinstance(scorer, HeadScorer):
        return scorer.made_for.complaint(scorer.name, scorer.identity, encoder, width)
    if isinstance(scorer, Similarity) and (complaint := scorer.complaint(encoder)):
        return complaint
    wanted = getattr(scorer, "dim", None)
    if scorer.needs in ON_EMBEDDINGS and wanted is not None and width is not None and wanted != width:
        return f"scorer {scorer.name} takes embeddings of {wanted} numbers, and {encoder} gives {width}"
    return None


def identity_on(scorer: Scorer, encoder: ModelIdentity | None) -> ModelIdentity:
    """A scorer's identity beside the embeddings of this encoder."""
    return scorer.made_for.identity_on(scorer.identity, encoder) if isinstance(scorer, HeadScorer) else scorer.identity


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class Score(beam.PTransform):
    """Runs a scorer: takes `SampleBatch`, gives it with the scorer's columns.

    For a scorer that needs pixels, images are decoded once more here; given to `EmbedImages` instead, it shares the
    decoding for the encoder.

    Args:
      scorer: a `Scorer` of your own, or such as `HeadScorer("warmth", lambda: my_head)`.

    Raises:
      UsageError: it is no scorer; or, when the pipeline is built: it is a head that was not trained on this encoder's
        embeddings, or a scorer before it gives the same column.
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        check_scorer(scorer)
        self.scorer = scorer

    def check(self, handler: ClipModelHandler) -> None:
        """Raises UsageError if the scorer was not made for this encoder, and the user does not insist on it."""
        complaint = complaint_of(self.scorer, handler.identity, handler.dim)
        if complaint:
            raise UsageError(complaint)

    @functools.cached_property
    def step(self) -> _Score:
        """The DoFn that scores batches."""
        return _Score(self.scorer)

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: its scorer."""
        return {"steps": [ScoreStep.of(self.scorer, self._identity)]}

    _identity: ModelIdentity | None = None

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        handler = handler_before(batches)
        if handler is not None:
            self.check(handler)
            self._identity = identity_on(self.scorer, handler.identity)
        own = ScoreStep.of(self.scorer, self._identity)
        for other in facts_of(batches).steps:
            if other != own:  # what this is a part of tells of it as well
                check_scorers([other, own])
        return batches | beam.ParDo(self.step).with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        return {
            "columns": ", ".join(column.name for column in self.scorer.columns),
            **display_of_models({self.scorer.name: self.scorer.identity}),
            "source": DisplayDataItem(self.scorer.source, label="Weights").drop_if_none(),
        }

    def default_label(self) -> str:
        return f"Score {self.scorer.name}"


class ScoreAesthetic(Score):
    """Scores how pleasing an image is, about 1 to 10, by LAION's aesthetic predictor: the column `aesthetic`.

    Args:
      weights: "v2" (sac+logos+ava1-l14-linearMSE), "v1" (sa_0_4_vit_l_14_linear), a path, or "untrained".
      model_dir: the directory in which weights are looked for first, local or in a bucket.
      accept_other_encoder: whether a published head may score embeddings of an encoder other than OpenAI's CLIP
        ViT-L/14, which it was trained on. Such scores may mean nothing, and their identity says so.

    Raises:
      UsageError: the weights cannot be had.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] = "v2",
        model_dir: str | os.PathLike[str] | None = None,
        *,
        accept_other_encoder: bool = False,
    ) -> None:
        super().__init__(aesthetic_scorer(weights, model_dir, accept_other_encoder=accept_other_encoder))


class ScoreNsfw(Score):
    """Scores how likely an image is not safe for work, 0 to 1, by LAION's CLIP-based detector: the column `nsfw`.

    Args:
      weights: "laion" (clip_autokeras_binary_nsfw), a path (.zip, .npz or .pth), or "untrained". A .pth, in the layout
        of the PyTorch ports, only approximates the model, and its identity says so.
      model_dir: the directory in which weights are looked for first, local or in a bucket.
      accept_other_encoder: as that of `ScoreAesthetic`.

    Raises:
      UsageError: the weights cannot be had.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] = "laion",
        model_dir: str | os.PathLike[str] | None = None,
        *,
        accept_other_encoder: bool = False,
    ) -> None:
        super().__init__(nsfw_scorer(weights, model_dir, accept_other_encoder=accept_other_encoder))


class ScoreSimilarity(Score):
    """Scores how well a caption describes its image: the column `similarity`, the cosine of both embeddings.

    Args:
      handler: the handler that `EmbedImages` has in this pipeline: the text tower of its model embeds the captions. By
        default `ClipModelHandler(model_dir=model_dir)`.
      model_dir: the directory in which weights are looked for first, where no handler is given.

    Raises:
      UsageError: the encoder has no text tower, or none that can be had here.
    """

    def __init__(
        self, handler: ClipModelHandler | None = None, model_dir: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(similarity_of(_handler(handler, model_dir)))


def _handler(given: ClipModelHandler | None, model_dir: str | os.PathLike[str] | None) -> ClipModelHandler:
    return ClipModelHandler(model_dir=model_dir) if given is None else checked_handler(given)


def similarity_of(handler: ClipModelHandler) -> Similarity:
    """The scorer of captions beside this encoder's embeddings.

    Raises:
      UsageError: as `Similarity`.
    """
    try:
        texts = text_embedding_of(handler)
    except UsageError as error:
        raise UsageError(f"--similarity: {str(error).removeprefix('text embeddings: ')}") from error
    return Similarity(texts, handler.identity)


class EmbedCaptions(Score):
    """Embeds captions with the text tower of the model that embeds the images: takes `SampleBatch`, gives it with
    `text_embeddings`, float16 [n, dim].

    `WriteShards` keeps them in score parts beside the images' embeddings; a `ScoreSimilarity` after it takes them.

    Args:
      handler: the handler that `EmbedImages` has in this pipeline. By default
        `ClipModelHandler(model_dir=model_dir)`.
      model_dir: the directory in which weights are looked for first, where no handler is given.

    Raises:
      UsageError: the encoder has no text tower, or none that can be had here.
    """

    def __init__(
        self, handler: ClipModelHandler | None = None, model_dir: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(text_embedding_of(_handler(handler, model_dir)))

    def default_label(self) -> str:
        return "EmbedCaptions"


def text_embedding_of(handler: ClipModelHandler) -> TextEmbedding:
    """The scorer that embeds captions by the model that this handler embeds images by.

    Raises:
      UsageError: as `TextEmbedding`.
    """
    device, precision = handler.flags["device"], handler.flags["precision"]
    return TextEmbedding(*handler.text_half, dim=handler.dim, device=device, precision=precision)


def _texts_of(scorer: Scorer) -> TextEmbedding | None:
    """The text embedding that a scorer is, or uses; None for other scorers."""
    return scorer if isinstance(scorer, TextEmbedding) else scorer.texts if isinstance(scorer, Similarity) else None


class ScoreRanges(Scoring):
    """Reads, embeds and scores ranges: takes `ShardRange`, gives `SampleBatch` with embeddings and scores.

    Args:
      handler: the model that embeds.
      *scorers: the scorers; those that need pixels share the encoder's decoding.

    Raises:
      UsageError: for a head that was not made for this encoder, or scorers that give the same column.
    """

    def __init__(self, handler: ClipModelHandler, *scorers: Scorer | Score) -> None:
        super().__init__()
        plain: list[Scorer] = [one.scorer if isinstance(one, Score) else one for one in scorers]
        self._scores = [Score(scorer) for scorer in plain if scorer.needs != "pixels"]
        for score in self._scores:
            score.check(handler)
        check_scorers(plain)
        handler.tell_doubt()
        self._handler, self.encoder, self.scorers = handler, handler.identity, tuple(plain)
        clip_source = {EMBEDDING_STEP: handler.weights.path} if handler.weights else {}
        self.sources = clip_source | {one.name: one.source for one in plain if one.source}

    def identity_of(self, scorer: Scorer) -> ModelIdentity:
        return identity_on(scorer, self.encoder)

    def try_heads(self) -> None:
        """Loads each head of the user's own once, so that a file that is none is found before any work.

        Raises:
          UsageError: for a file that is not a head.
        """
        for scorer in self.scorers:
            try_head(scorer)

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection[SampleBatch]:
        of_pixels = [scorer for scorer in self.scorers if scorer.needs == "pixels"]
        tokenise = next((texts.tokenise for texts in map(_texts_of, self.scorers) if texts is not None), None)
        read = ranges | ReadRanges(in_pieces=True)
        batches = read | EmbedImages(self._handler, *of_pixels, tokenise=tokenise) | JoinRanges()
        for score in self._scores:
            batches |= score
        return batches

    def display_data(self) -> dict[str, Any]:
        sources = {f"{step} weights": source for step, source in self.sources.items()}
        return {**super().display_data(), **sources}
