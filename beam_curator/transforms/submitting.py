"""One batch given to an encoder, which embeds it while other work goes on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from beam_curator import progress, rows
from beam_curator.errors import CurationError
from beam_curator.identities import ModelIdentity
from beam_curator.images import ImageFacts
from beam_curator.models.encoders.caption_encoder import CaptionTokeniser, TokensOfBatch, all_of
from beam_curator.models.encoders.clip import ClipEncoder
from beam_curator.models.encoders.stream import EncodedImages
from beam_curator.models.heads.made_for import encoder_name
from beam_curator.models.scorers.batches import with_answers
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.pictures import PictureScoring
from beam_curator.output.score_steps import EMBEDDING_STEP
from beam_curator.samples import Member, Sample, SampleBatch, readable
from beam_curator.sources.sample_images import images_of_samples
from beam_curator.transforms.metrics import observe

_FACTS = tuple(field.name for field in dataclasses.fields(ImageFacts))


class PendingBatch:
    """A batch that is being embedded: `result` waits for it.

    Pickled, it is lost: what is under way in one process is not in another.
    """

    def __init__(self, result: Callable[[], SampleBatch]) -> None:
        self.result = result

    def __reduce__(self) -> tuple[type[PendingBatch], tuple[Callable[[], SampleBatch]]]:
        return PendingBatch, (_lost,)


def _lost() -> SampleBatch:
    raise CurationError("a batch went to another worker while it was being embedded: EmbedImages must stay fused")


def submit_batch(
    batch: SampleBatch,
    encoder: ClipEncoder,
    identity: ModelIdentity,
    scorers: Sequence[LoadedScorer] = (),
    tokenise: CaptionTokeniser | None = None,
) -> PendingBatch:
    """Begins to embed a batch; its result has embeddings (float16 [n, dim], L2-normalised) and image facts.

    A sample fails if it has no image, one that cannot be decoded, or several while the range's `reading` does not say
    what to do with them.

    Args:
      batch: n samples with their bytes.
      encoder: the encoder, which is loaded here if it was not before.
      identity: the encoder's.
      scorers: scorers that need pixels; they see each image as it is decoded.
      tokenise: makes tokens of captions, in the threads that decode images; None where no tokens are wanted.

    Raises:
      CurationError: for a batch that has lost its bytes on the way (see `load`).
    """
    if batch.samples is None or _lost_bytes(batch.samples):
        raise CurationError(f"{batch.range.url}: samples without bytes cannot be embedded: call load() on the batch")
    members, more_of, failures = images_of_samples(batch.samples, batch.range.reading)
    count = len(batch.samples)
    if members and encoder.device is None:
        with progress.BOARD.loading(encoder_name(identity)):
            encoder.load()
    pictures = PictureScoring(scorers, len(members)) if scorers else None
    captions = TokensOfBatch(tokenise, batch.rows["caption"].to_pylist()) if tokenise and count else None
    encoding = encoder.submit(
        [None if m is None else m.data for m in members],
        functools.partial(_show_progress, batch),
        all_of([pictures, captions]),
    )
    if members:
        identity = dataclasses.replace(identity, precision=encoder.precision)

    def result() -> SampleBatch:
        encoded = encoding.result()
        observe("image_decode_us", encoded.decode_us)
        observe("model_pass_us", encoded.pass_us)
        reasons = _reasons(encoded.failures, members, more_of, count) | failures
        embedded = _embedded(batch, encoded, more_of, reasons, identity)
        if captions:
            embedded = embedded.replace(caption_tokens=captions.tokens)
        for one, answers in zip(scorers, pictures.answers(count, more_of) if pictures else (), strict=True):
            embedded = with_answers(embedded, one, one.scorer.identity, answers)
        return embedded

    return PendingBatch(result)


def _embedded(
    batch: SampleBatch,
    encoded: EncodedImages,
    more_of: Sequence[int],
    reasons: Mapping[int, str],
    identity: ModelIdentity,
) -> SampleBatch:
    """Adds to a batch of n samples what the encoder made of their images.

    Args:
      batch: the batch.
      encoded: the results for n + k images: the first image of each sample, then all further ones.
      more_of: of which sample each of the k further images is.
      reasons: why samples fail, by their indices.
      identity: the encoder's, with its precision as resolved.
    """
    count = len(batch)
    return batch.replace(
        rows=rows.with_failures(_with_facts(batch.rows, encoded.facts[:count]), reasons),
        embeddings=_zeroed(encoded.embeddings[:count], reasons),
        more_embeddings=encoded.embeddings[count:],
        more_of=np.array(more_of, np.int64),
        models={**batch.models, EMBEDDING_STEP: identity},
        batch_reductions=encoded.batch_reductions,
    )


def _reasons(
    failures: Sequence[str | None], members: Sequence[Member | None], more_of: Sequence[int], count: int
) -> dict[int, str]:
    """Gives the reasons, by index, of samples that fail for their first image or, where all count, another."""
    reasons = {index: why for index, why in enumerate(failures[:count]) if why is not None}
    for sample, why, member in zip(more_of, failures[count:], members[count:], strict=True):
        if why is not None and member is not None:
            reasons.setdefault(sample, f'{why}: "{readable(member.extension)}"')
    return reasons


def _zeroed(embeddings: np.ndarray, failed: Iterable[int]) -> np.ndarray:
    """Zeroes the embeddings of samples that failed, some of them with a good first image."""
    embeddings[list(failed)] = 0
    return embeddings


def _show_progress(batch: SampleBatch, embedded: Sequence[int], failed: int) -> None:
    embedded = [index for index in embedded if index < len(batch)]
    if not embedded:
        return
    size_bytes = sum(span.as_py() for span in batch.rows["span_bytes"].take(embedded))
    progress.BOARD.add_embedded(batch.range, len(embedded), size_bytes, min(failed, len(embedded)))


def _lost_bytes(samples: Sequence[Sample]) -> bool:
    """Tells whether the samples were pickled or encoded on the way, which leaves them without bytes."""
    return any(m.data is None for sample in samples if not sample.failure for m in sample.members.values())


def _with_facts(table: pa.Table, facts: Sequence[ImageFacts | None]) -> pa.Table:
    for name in _FACTS:
        table = rows.with_column(table, name, [None if fact is None else getattr(fact, name) for fact in facts])
    return table
