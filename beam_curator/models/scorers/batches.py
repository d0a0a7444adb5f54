"""Score columns of a batch from what it holds: embeddings, captions or facts. No Beam in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import CurationError
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.caption_encoder import Captions
from beam_curator.models.scorers.calls import Answers, LoadedScorer, with_worst
from beam_curator.models.scorers.scorer import ON_EMBEDDINGS, TEXT_EMBEDDING, EmbeddedCaptions, VectorScorer
from beam_curator.samples import SampleBatch


def embeddings_of(batch: SampleBatch) -> np.ndarray:
    """The batch's embeddings: float16 [n, dim].

    Raises:
      CurationError: for a batch that was not embedded.
    """
    if batch.embeddings is None:
        raise CurationError(f"{batch.range.url}: a batch without embeddings cannot be scored: put EmbedImages before")
    return batch.embeddings


def with_scores(batch: SampleBatch, loaded: LoadedScorer, identity: ModelIdentity) -> SampleBatch:
    """The batch with the columns of a scorer that needs no pixels; samples that cannot be used have none.

    Raises:
      CurationError: for a batch without embeddings where the scorer needs them; or as `LoadedScorer`.
    """
    scorer = loaded.scorer
    if isinstance(scorer, VectorScorer):
        return with_text_embeddings(batch, loaded, identity)
    if loaded.texts is not None and not has_texts_of(batch, loaded.texts):
        # Of all samples at once, as where they are kept: so the numbers are the same.
        embedded, texts = _embedded_captions(batch, loaded.texts)
        answers = _answers(embedded, loaded)
        failures = {**answers.failures, **texts.failures}
        return with_answers(batch, loaded, identity, Answers(answers.values, failures, texts.precision))
    if loaded.texts is not None:  # in whatever precision the kept ones are
        identity = dataclasses.replace(identity, precision=batch.models[TEXT_EMBEDDING].precision)
    return with_answers(batch, loaded, identity, _answers(batch, loaded))


def has_texts_of(batch: SampleBatch, texts: LoadedScorer) -> bool:
    """Tells whether the batch has the embeddings of its captions that this scorer gives."""
    model = batch.models.get(TEXT_EMBEDDING)
    return batch.text_embeddings is not None and model is not None and texts.scorer.identity.gives(model)


def with_text_embeddings(batch: SampleBatch, loaded: LoadedScorer, identity: ModelIdentity) -> SampleBatch:
    """The batch with embeddings of its captions; zeros where there is none, and of samples that cannot be used.

    Raises:
      CurationError: as `LoadedScorer`.
    """
    batch, answers = _embedded_captions(batch, loaded)
    table = rows.with_failures(batch.rows, answers.failures, of=loaded.scorer.name)
    resolved = identity.resolved(answers.precision)
    return batch.replace(rows=table, models={**batch.models, loaded.scorer.name: resolved})


def _embedded_captions(batch: SampleBatch, loaded: LoadedScorer) -> tuple[SampleBatch, Answers]:
    """The batch with embeddings of its captions, and what its scorer gave."""
    usable = np.flatnonzero(~rows.unusable(batch.rows))
    indices, captions = _items(batch.rows, usable, "caption")
    answers = Answers.none_of(loaded.scorer, len(batch))
    if len(indices):
        tokens = batch.caption_tokens
        answers.put(indices, loaded(Captions(captions, None if tokens is None else tokens[indices])))
    vectors = answers.values[loaded.scorer.name]
    return batch.replace(text_embeddings=vectors, caption_tokens=None), answers


def with_answers(batch: SampleBatch, loaded: LoadedScorer, identity: ModelIdentity, answers: Answers) -> SampleBatch:
    """The batch with the columns of a scorer, from what it gave of each sample."""
    scorer, table = loaded.scorer, batch.rows
    for column in scorer.columns:
        table = rows.with_score(table, column.name, answers.values[column.name], rows.SCORE_TYPES[column.type])
    table = rows.with_failures(table, answers.failures, of=scorer.name)
    return batch.replace(rows=table, models={**batch.models, scorer.name: identity.resolved(answers.precision)})


def _answers(batch: SampleBatch, loaded: LoadedScorer) -> Answers:
    scorer = loaded.scorer
    usable = np.flatnonzero(~rows.unusable(batch.rows))
    answers = Answers.none(scorer.columns, len(batch))
    if scorer.needs not in ON_EMBEDDINGS:
        indices, items = _items(batch.rows, usable, scorer.needs)
        if len(indices):
            answers.put(indices, loaded(items))
        return answers
    embeddings, captions, texts = embeddings_of(batch), None, batch.text_embeddings
    if scorer.needs == "embedding+caption":
        captions = batch.rows["caption"].to_pylist()
        usable = np.array([index for index in usable.tolist() if captions[index]], np.int64)
    if len(usable):
        answers.put(usable.tolist(), loaded(_on_embeddings(embeddings[usable], captions, texts, usable)))
    if batch.more_embeddings is not None and batch.more_of is not None:
        of = batch.more_of
        there = np.arange(len(of)) if captions is None else np.flatnonzero([bool(captions[index]) for index in of])
        if len(there):
            more = loaded(_on_embeddings(batch.more_embeddings[there], captions, texts, of[there]))
            answers = with_worst(answers, scorer.columns, more, of[there].tolist())
    return answers


def _on_embeddings(
    embeddings: np.ndarray, captions: Sequence[str] | None, texts: np.ndarray | None, of: np.ndarray
) -> Any:
    """Makes what a scorer on embeddings is called with: a copy, as the user's code may write into what it gets."""
    if captions is None:
        return embeddings
    return EmbeddedCaptions(embeddings, [captions[index] for index in of], None if texts is None else texts[of])


def _items(table: pa.Table, usable: np.ndarray, needs: str) -> tuple[Sequence[int], Sequence[Any]]:
    """Makes what a scorer is called with; gives it after the indices of its rows."""
    if needs == "row":
        facts = table.select(rows.names_with(table, rows.FACT)).take(usable)
        return usable.tolist(), facts.to_pylist()
    captions = [(index, caption) for index, caption in enumerate(table["caption"].to_pylist()) if caption]
    allowed = set(usable.tolist())
    there = [(index, caption) for index, caption in captions if index in allowed]
    return [index for index, _ in there], [caption for _, caption in there]
