"""EmbedImages: embeddings and image facts for the samples of a batch, through Beam's RunInference."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.display import DisplayDataItem

from beam_curator import process_tuning, progress, rows
from beam_curator.defaults import AUTO, DEFAULT_MODEL, DEFAULT_PRETRAINED
from beam_curator.errors import CurationError, UsageError
from beam_curator.given_paths import named, named_if_any
from beam_curator.identities import ModelIdentity
from beam_curator.images import ImageFacts
from beam_curator.models.encoders.caption_encoder import CaptionTokeniser, TokensOfBatch, all_of
from beam_curator.models.encoders.choosing import embedding_member, encoder_of
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.encoder import Encoder, check_encoder
from beam_curator.models.encoders.settings import EXACT, FAST, SETTINGS
from beam_curator.models.encoders.told_settings import NOTE_OF_COMPILE, NOTE_OF_FAST
from beam_curator.models.heads.made_for import UNKNOWN_ORIGIN, encoder_name
from beam_curator.models.scorers.batches import with_answers
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.pictures import PictureScoring
from beam_curator.models.scorers.scorer import Scorer, check_scorer, check_scorers
from beam_curator.models.weights.resolving import choose_weights
from beam_curator.models.weights.weights_file import WeightsFile
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep
from beam_curator.samples import Member, Sample, SampleBatch, readable
from beam_curator.sources.pieces import PieceOfRange
from beam_curator.sources.sample_batches import load
from beam_curator.sources.sample_images import images_of_samples
from beam_curator.transforms.beams_inference import ModelHandler, RunInference
from beam_curator.transforms.beams_own import inner_steps_untyped
from beam_curator.transforms.display import display_of_models
from beam_curator.transforms.lost_device import ending_worker_of_lost_device
from beam_curator.transforms.metrics import count as count_in_beam
from beam_curator.transforms.metrics import observe
from beam_curator.transforms.work_ahead import WorkAhead

_logger = logging.getLogger(__name__)

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
        embedded = batch.replace(
            rows=rows.with_failures(_with_facts(batch.rows, encoded.facts[:count]), reasons),
            embeddings=_zeroed(encoded.embeddings[:count], reasons),
            more_embeddings=encoded.embeddings[count:],
            more_of=np.array(more_of, np.int64),
            models={**batch.models, EMBEDDING_STEP: identity},
            batch_reductions=encoded.batch_reductions,
            caption_tokens=captions.tokens if captions else None,
        )
        for one, answers in zip(scorers, pictures.answers(count, more_of) if pictures else (), strict=True):
            embedded = with_answers(embedded, one, one.scorer.identity, answers)
        return embedded

    return PendingBatch(result)


def _reasons(
    failures: Sequence[str | None], members: Sequence[Member | None], more_of: Sequence[int], count: int
) -> dict[int, str]:
    """Why samples fail that have an image which cannot be embedded: its first one, or where all count, another."""
    reasons = {index: why for index, why in enumerate(failures[:count]) if why is not None}
    for sample, why, member in zip(more_of, failures[count:], members[count:], strict=True):
        if why is not None and member is not None:
            reasons.setdefault(sample, f'{why}: "{readable(member.extension)}"')
    return reasons


def _zeroed(embeddings: np.ndarray, failed: Iterable[int]) -> np.ndarray:
    """Zeros for samples that failed though their first image is good."""
    embeddings[list(failed)] = 0
    return embeddings


def embed_batch(batch: SampleBatch, handler: ClipModelHandler) -> SampleBatch:
    """Embeds one batch without Beam, as `EmbedImages` does; the handler loads its model once.

    Raises:
      JobError: when bytes that the batch has lost cannot be read again (see `load`).
    """
    return submit_batch(load(batch), checked_handler(handler).encoder(), handler.identity).result()


def _show_progress(batch: SampleBatch, embedded: Sequence[int], failed: int) -> None:
    embedded = [index for index in embedded if index < len(batch)]
    if not embedded:
        return
    size_bytes = sum(span.as_py() for span in batch.rows["span_bytes"].take(embedded))
    progress.BOARD.add_embedded(batch.range, len(embedded), size_bytes, min(failed, len(embedded)))


def _bytes_of(batch: SampleBatch) -> int:
    """How much of its shard a batch covers."""
    return pc.sum(batch.rows["span_bytes"]).as_py() or 0 if isinstance(batch, PieceOfRange) else batch.range.size_bytes


def _lost_bytes(samples: Sequence[Sample]) -> bool:
    """Whether the samples were pickled or encoded on the way, which leaves them without bytes."""
    return any(m.data is None for sample in samples if not sample.failure for m in sample.members.values())


def _with_facts(table: pa.Table, facts: Sequence[ImageFacts | None]) -> pa.Table:
    for name in _FACTS:
        table = rows.with_column(table, name, [None if fact is None else getattr(fact, name) for fact in facts])
    return table


class LazyEncoder:
    """An encoder that is made when the first batch comes: a worker with nothing to embed loads no model.

    Args:
      spec: what to make it of.
      weights: the file of its weights; None for an encoder that has none, or brings them.
      scorers: scorers that see the images it decodes.
      tokenise: makes tokens of captions while images are decoded; None where no tokens are wanted.
    """

    def __init__(
        self,
        spec: ClipSpec,
        weights: WeightsFile | None,
        scorers: Sequence[Scorer] = (),
        tokenise: CaptionTokeniser | None = None,
    ) -> None:
        self._spec, self._weights, self.tokenise = spec, weights, tokenise
        self.scorers = [LoadedScorer(scorer) for scorer in scorers]
        self._lock = threading.Lock()
        self._encoder: ClipEncoder | None = None

    def get(self) -> ClipEncoder:
        """The encoder, made once for all threads of the process."""
        with self._lock:
            if self._encoder is None:
                path = str(self._local_path(self._weights)) if self._weights else None
                self._encoder = ClipEncoder(dataclasses.replace(self._spec, checkpoint=path))
                process_tuning.spare_what_is_loaded()
            return self._encoder

    def _local_path(self, weights: WeightsFile) -> Path:
        with progress.BOARD.loading(weights.name):  # it may be copied from a bucket, and is read to be verified
            return weights.local_path()


def _told_of_own(encoder: Encoder) -> list[str]:
    """What tells an encoder of the user's own from others of its name."""
    prepared = json.dumps(dataclasses.asdict(encoder.preparation), sort_keys=True)
    digest = hashlib.sha256(prepared.encode()).hexdigest()[:12]
    arguments = getattr(encoder, "_made_with", "")
    return [f"{encoder.dim} numbers", f"preparation {digest}", *([f"made with {arguments}"] if arguments else [])]


class ClipModelHandler(ModelHandler[SampleBatch, SampleBatch, LazyEncoder]):
    """The model that `EmbedImages` runs: an image tower of open_clip, a model of timm, or an encoder of your own.

    Weights are found (and downloaded, if need be) when the handler is made, on the machine that launches the job;
    workers load them with their first batch.

    Args:
      model: an open_clip architecture; "timm:NAME"; "tiny-untrained" for tests and demos (its scores mean nothing);
        or an `Encoder` of your own, which brings its weights.
      pretrained: for open_clip, a tag of its weights, or the path or bucket url of a checkpoint. timm's models have
        their tag in their name.
      model_dir: the directory in which weights are looked for first, local or in a bucket.
      batch_size: images per pass of the model on a GPU, halved when they do not fit in its memory; "auto" is 256, or as
        many as fit. On the CPU it is the most images that a pass may have.
      precision: "auto" (bf16 where the device has it, else fp32), "fp32", "bf16" or "fp16".
      device: "auto", "cpu" or "cuda"; "cuda" without a GPU is an error.
      decode_threads: threads that decode images ahead of the model, and on the CPU run the model as well; 0 for one per
        core.
      compile: whether to run torch.compile on the model.
      decode: "exact": images are decoded and resized by Pillow, bit for bit as open_clip does; "fast": by libjpeg-turbo
        and torch in half the time, where some pixels differ by one or two levels of 255.

    Raises:
      UsageError: the model or tag is unknown, or the weights cannot be had.
    """

    def __init__(
        self,
        model: str | Encoder = DEFAULT_MODEL,
        pretrained: str | os.PathLike[str] = DEFAULT_PRETRAINED,
        *,
        model_dir: str | os.PathLike[str] | None = None,
        batch_size: int | Literal["auto"] = AUTO,
        precision: str = "auto",
        device: str = "auto",
        decode_threads: int = 0,
        compile: bool = False,
        decode: str = EXACT,
    ) -> None:
        super().__init__()
        self._waits = True
        self._scorers: tuple[Scorer, ...] = ()
        self._tokenise: CaptionTokeniser | None = None
        self._tuned, self._sharing = process_tuning.is_on(), process_tuning.sharing_processes()
        self._here: LazyEncoder | None = None
        if not isinstance(model, str):
            check_encoder(model)
        name = model if isinstance(model, str) else model.name
        pretrained, model_dir = named(pretrained, "pretrained"), named_if_any(model_dir, "model_dir")
        self.flags: Mapping[str, Any] = {"clip_model": name, "clip_pretrained": pretrained, "model_dir": model_dir}
        if not isinstance(model, str) and pretrained != DEFAULT_PRETRAINED:
            raise UsageError(f"encoder {name} brings its own weights: leave out --clip_pretrained {pretrained}")
        chosen = choose_weights(model, pretrained, model_dir) if isinstance(model, str) else None
        self.weights = chosen.weights if chosen else None
        self._doubt = chosen.doubt if chosen else None
        self._spec = ClipSpec(
            model=chosen.model if chosen else model,
            pretrained_tag=chosen.tag if chosen else None,
            precision=precision,
            device=device,
            batch_size=batch_size,
            decode_threads=decode_threads,
            compile=compile,
            decode=decode,
        )
        self.flags |= {name: getattr(self._spec, name) for name in (one.name for one in SETTINGS)}

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the encoder, with its precision as it was asked for. A batch that was embedded has it with
        the precision that the worker chose."""
        spec, weights = self._spec, self.weights
        options = (NOTE_OF_COMPILE,) * spec.compile + (NOTE_OF_FAST,) * (spec.decode == FAST)
        if not isinstance(spec.model, str):
            own = spec.model
            notes = (*own.notes, *_told_of_own(own), *options)
            return ModelIdentity(own.name, own.sha256, own.trained, notes, spec.precision, self.member)
        if weights is None:
            return ModelIdentity(spec.name, None, spec.trained, options, spec.precision, self.member)
        notes = options if spec.pretrained_tag else (UNKNOWN_ORIGIN, *options)
        return ModelIdentity(weights.name, weights.sha256, spec.trained, notes, spec.precision, self.member)

    @property
    def dim(self) -> int:
        """Length of an embedding; loads no weights."""
        return encoder_of(self._spec.model).dim

    @property
    def member(self) -> str:
        """What comes between `KEY.` and `.npy` for its embeddings: "clip" for open_clip's models."""
        return embedding_member(encoder_of(self._spec.model))

    @property
    def text_half(self) -> tuple[str, WeightsFile | None, str | None]:
        """Architecture, weights and open_clip tag of the same model, from which its text tower is made.

        Raises:
          UsageError: an encoder of your own has none.
        """
        spec = self._spec
        if not isinstance(spec.model, str):
            raise UsageError(f"encoder {spec.name} has no text tower: leave out what compares texts")
        return spec.model, self.weights, spec.pretrained_tag

    def tell_doubt(self) -> None:
        """Logs a warning, once, if it is not known which activation the weights were trained with."""
        if self._doubt:
            _logger.warning("%s", self._doubt)
        self._doubt = None

    def working_ahead(
        self, scorers: Sequence[Scorer] = (), tokenise: CaptionTokeniser | None = None
    ) -> ClipModelHandler:
        """The same handler, but for `run_inference`, which does not wait: it gives each batch as a `PendingBatch`; and
        scorers that need pixels see the pictures, and captions are tokenised as these are decoded."""
        ahead = copy.copy(self)
        ahead._scorers, ahead._tokenise = tuple(scorers), tokenise
        ahead._waits = False
        return ahead

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_here": None}

    def encoder(self) -> ClipEncoder:
        """The encoder for use without Beam, the same each time."""
        self._here = self._here or self.load_model()
        return self._here.get()

    def load_model(self) -> LazyEncoder:
        """An encoder that loads its weights when the first batch comes."""
        process_tuning.turn_on(self._tuned)
        process_tuning.share_machine(self._sharing)
        return LazyEncoder(self._spec, self.weights, self._scorers, self._tokenise)

    def run_inference(
        self,
        batch: Sequence[SampleBatch],
        model: LazyEncoder,
        inference_args: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Embeds batches."""
        with ending_worker_of_lost_device():  # it may be lost before the model is loaded
            pending = [submit_batch(one, model.get(), self.identity, model.scorers, model.tokenise) for one in batch]
            return [one.result() for one in pending] if self._waits else pending

    def get_num_bytes(self, batch: Sequence[SampleBatch]) -> int:
        """Bytes of the shards that the batches cover; Beam's default would pickle them all to find out."""
        return sum(_bytes_of(one) for one in batch)

    def get_metrics_namespace(self) -> str:
        """Where RunInference's metrics go."""
        return "beam_curator.clip"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """One `SampleBatch` is a batch already."""
        return {"min_batch_size": 1, "max_batch_size": 1}


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
        """What this step adds to the manifest and to what later steps know of the job (see `lineage.Facts`)."""
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


def checked_handler(handler: Any) -> ClipModelHandler:
    """The same handler.

    Raises:
      UsageError: for what is none.
    """
    if not isinstance(handler, ClipModelHandler):
        raise UsageError(f"{handler!r} is no ClipModelHandler: give one, such as ClipModelHandler('ViT-B-32')")
    return handler


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
