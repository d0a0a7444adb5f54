"""ClipModelHandler: which encoder RunInference runs, and how it gets to the workers."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc

from beam_curator import process_tuning, progress
from beam_curator.defaults import AUTO, DEFAULT_MODEL, DEFAULT_PRETRAINED
from beam_curator.errors import UsageError
from beam_curator.given_paths import named, named_if_any
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.caption_encoder import CaptionTokeniser
from beam_curator.models.encoders.choosing import embedding_member, encoder_of
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.encoder import Encoder, check_encoder
from beam_curator.models.encoders.settings import EXACT, FAST, SETTINGS
from beam_curator.models.encoders.told_settings import NOTE_OF_COMPILE, NOTE_OF_FAST
from beam_curator.models.heads.made_for import UNKNOWN_ORIGIN
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.scorer import Scorer
from beam_curator.models.weights.resolving import choose_weights
from beam_curator.models.weights.weights_file import WeightsFile
from beam_curator.samples import SampleBatch
from beam_curator.sources.pieces import PieceOfRange
from beam_curator.transforms.beams_inference import ModelHandler
from beam_curator.transforms.lost_device import ending_worker_of_lost_device
from beam_curator.transforms.submitting import submit_batch

_logger = logging.getLogger(__name__)


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
    """Notes by which a user's own encoder is told from others of its name."""
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
        """The part between `KEY.` and `.npy` in the name of the member that holds an embedding: "clip" for open_clip's
        models."""
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
        """The namespace of RunInference's metrics."""
        return "beam_curator.clip"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Has Beam pass batches on one by one: a `SampleBatch` is a batch already."""
        return {"min_batch_size": 1, "max_batch_size": 1}


def _bytes_of(batch: SampleBatch) -> int:
    """Counts the bytes of its shard that a batch covers."""
    return pc.sum(batch.rows["span_bytes"]).as_py() or 0 if isinstance(batch, PieceOfRange) else batch.range.size_bytes


def checked_handler(handler: Any) -> ClipModelHandler:
    """The same handler.

    Raises:
      UsageError: for what is none.
    """
    if not isinstance(handler, ClipModelHandler):
        raise UsageError(f"{handler!r} is no ClipModelHandler: give one, such as ClipModelHandler('ViT-B-32')")
    return handler
