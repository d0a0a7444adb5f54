"""Columns that scored ranges lack: from what stands of a range, or from its shard again; nothing is embedded.

Those are score columns, and fields of the samples' metadata."""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from beam_curator import process_tuning, progress, rows
from beam_curator.errors import JobError
from beam_curator.identities import joined_models
from beam_curator.models.scorers.batches import has_texts_of, with_scores
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.scorer import ON_EMBEDDINGS, TEXT_EMBEDDING, Scorer
from beam_curator.output.added_columns import read_range, read_text_embeddings, write_columns
from beam_curator.output.field_store import write_fields
from beam_curator.output.part_contents import read_embeddings
from beam_curator.output.score_steps import Wanted
from beam_curator.phases import SCORING, Span
from beam_curator.process_tuning import share_of_cores
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.sources.joined_pieces import JoinedPieces, stacked_pieces
from beam_curator.sources.pieces import PieceOfRange, read_batches
from beam_curator.transforms.claims import Title
from beam_curator.transforms.metrics import count
from beam_curator.transforms.picture_scoring import with_picture_scores
from beam_curator.transforms.work_ahead import WorkAhead


class ScoreStored(WorkAhead[ShardRange, SampleBatch]):
    """Computes the columns that a range lacks, writes them beside its part, and gives its batch.

    Ranges are worked on in threads that all steps of the process share, one for each core of its share: while one is
    scored, others are read and written. Of ranges whose shards are read again, two are in hand at a time on each thread
    of a runner: one is read while the pictures of the other are decoded, which is done by all cores.

    Args:
      directory: the output directory.
      wanted: what a job wants of each range.
      scorers: what gives it.
      title: to the output directory.
      from_pixels: whether shards are read again.
    """

    def __init__(
        self,
        directory: str,
        wanted: Wanted,
        scorers: Sequence[Scorer],
        title: Title,
        from_pixels: bool = False,
    ) -> None:
        self._directory, self._wanted, self._title = directory, wanted, title
        self._loaded = {scorer.name: LoadedScorer(scorer) for scorer in scorers}
        self._of_pixels = from_pixels
        self._tuned, self._sharing = process_tuning.is_on(), process_tuning.sharing_processes()

    def setup(self) -> None:
        self._title.enter()
        process_tuning.turn_on(self._tuned)
        process_tuning.share_machine(self._sharing)
        process_tuning.keep_products_in_their_threads()
        self.ahead = 1 if self._of_pixels else share_of_cores()
        self._threads = ThreadPoolExecutor(2, "score-pixels") if self._of_pixels else _threads()

    def teardown(self) -> None:
        if self._of_pixels:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._title.leave()

    def start_bundle(self) -> None:
        super().start_bundle()
        self._scoring: collections.deque[Future[_Completed]] = collections.deque()

    def start(self, range: ShardRange) -> Callable[[], SampleBatch]:
        self._title.check(range.url)
        self._scoring.append(self._threads.submit(self._complete, range))
        return self._finished

    def _finished(self) -> SampleBatch:
        """The range that was started first, whose turn it is."""
        scoring = self._scoring.popleft()
        if scoring.exception() is not None:
            for other in self._scoring:
                other.cancel()
            wait(self._scoring)  # nothing goes on behind a job that has failed
        return _counted(scoring.result())

    def _complete(self, range: ShardRange) -> _Completed:
        began = time.time()
        stored = read_range(self._directory, range, self._wanted)
        if stored is None:
            raise JobError(f"{range.url}: the scores of a range are gone that were there: run the same command again")
        lacking = stored.lacking(self._wanted.steps)
        of_pixels = [step for step in lacking if step.needs == "pixels"]
        batch, whole = stored.batch, stored
        if any(step.needs in ON_EMBEDDINGS for step in lacking):
            batch = _with_embeddings(batch)
        for step in lacking:
            loaded = self._loaded[step.name]
            if step.needs != "pixels":
                if loaded.texts is not None and not has_texts_of(batch, loaded.texts):
                    batch = self._with_text_embeddings(batch, loaded.texts)
                scored = with_scores(batch, loaded, step.identity)
                whole = write_columns(self._directory, whole, step, scored)
                batch = batch.replace(text_embeddings=scored.text_embeddings, models=scored.models)
        found = batch.fields
        if of_pixels or stored.lacks_fields:
            seen = [self._loaded[step.name] for step in of_pixels]
            look = functools.partial(with_picture_scores, scorers=seen) if seen else _as_it_is
            again, read = _read_again(batch, look)
            for step in of_pixels:
                whole = write_columns(self._directory, whole, step, again)
            if stored.lacks_fields:
                fields = read.rows.select(rows.field_names(read.rows))
                with_fields = read.replace(rows=rows.with_fields(batch.rows, fields))
                found = write_fields(self._directory, with_fields, stored.range)
        completed = whole.only(self._wanted.steps).batch.replace(fields=found)
        completed = completed.replace(spans={SCORING: Span(began, time.time(), len(completed))})
        return _Completed(completed, bool(of_pixels), stored.lacks_fields, len(lacking) > len(of_pixels))

    def _with_text_embeddings(self, batch: SampleBatch, texts: LoadedScorer) -> SampleBatch:
        """The batch with the embeddings of its captions, where they are kept: no text is embedded then."""
        model = texts.scorer.identity
        found = read_text_embeddings(self._directory, batch.range.name, model)
        if found is None:
            return batch
        vectors, by = found
        return batch.replace(text_embeddings=vectors, models={**batch.models, TEXT_EMBEDDING: by})


def _read_again(batch: SampleBatch, look: Callable[[SampleBatch], SampleBatch]) -> tuple[SampleBatch, SampleBatch]:
    """A part's range read again, a large one in pieces.

    Args:
      batch: of the part.
      look: what is done with its rows and the bytes of their samples, as far as they are read at a time.

    Returns:
      The batch with what `look` gave of all rows; and what was read, without bytes.
    """
    joining = JoinedPieces()
    looked: list[SampleBatch] = []
    read: SampleBatch | None = None
    first = 0
    for some in read_batches(batch.range):
        theirs = batch.rows.slice(first, len(some))
        first += len(some)
        if first <= len(batch):
            if not theirs.select(_PLACE).equals(some.rows.select(_PLACE)):
                raise _has_changed(batch)
            looked.append(look(SampleBatch(batch.range, theirs, some.samples)).replace(samples=None))
        read = joining.add(some) if isinstance(some, PieceOfRange) else some
        del some
    if read is None or len(read) != len(batch):
        raise _has_changed(batch)
    looked = looked or [look(batch.replace(samples=()))]
    models = joined_models([batch.models, *(one.models for one in looked)])
    return batch.replace(rows=stacked_pieces([one.rows for one in looked]), models=models), read


def _as_it_is(batch: SampleBatch) -> SampleBatch:
    return batch


def _has_changed(batch: SampleBatch) -> JobError:
    return JobError(f"{batch.range.url}: the shard has changed since it was read")


@functools.lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """Makes the thread pool that all steps of the process share, so that memory is bounded by ranges in hand, not by
    the runner's threads."""
    return ThreadPoolExecutor(share_of_cores(), "score-stored")


@dataclasses.dataclass(frozen=True)
class _Completed:
    """A range with all its columns, and what was done for it.

    Attributes:
      batch: the range.
      of_pixels: whether pictures were decoded again.
      of_fields: whether its shard was read again for fields.
      from_stored: whether columns were computed from what is stored.
    """

    batch: SampleBatch
    of_pixels: bool
    of_fields: bool
    from_stored: bool


_PLACE = ["key", "offset", "span_bytes"]


def _with_embeddings(batch: SampleBatch) -> SampleBatch:
    """The batch of a part with its embeddings, read once for all scorers."""
    found = read_embeddings(batch.part or "")
    return batch.replace(embeddings=found.embeddings, more_embeddings=found.more, more_of=found.more_of)


def _counted(completed: _Completed) -> SampleBatch:
    batch = completed.batch
    count("ranges_scored")
    count("samples_reused", len(batch))
    from_stored = completed.from_stored and not completed.of_pixels
    done = (("reread", completed.of_pixels), ("fields_read", completed.of_fields), ("from_stored", from_stored))
    for name, was_done in done:
        if was_done:
            count(f"samples_{name}", len(batch))
    failed = int(rows.status_is(batch.rows, rows.FAILED).sum())
    progress.BOARD.add(batch.range, samples=len(batch), failed=failed, scored=False)
    return batch
