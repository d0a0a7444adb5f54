"""Image embeddings: encoded images in, L2-normalised vectors out. No Beam in it."""

import functools
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from beam_curator.defaults import AUTO
from beam_curator.device_errors import DeviceLostError, is_lost, wants_memory
from beam_curator.errors import CurationError, JobError, UsageError, first_line
from beam_curator.images import MAX_IMAGE_PIXELS, Encoded, Preparation
from beam_curator.models.encoders.choosing import embedding_member, encoder_of
from beam_curator.models.encoders.cpu_stream import CoreStream, core_pool
from beam_curator.models.encoders.cuda_stream import DeviceStream, images_at_once
from beam_curator.models.encoders.device_model import MORE_ROOM, DeviceModel
from beam_curator.models.encoders.encoder import Encoder, check_encoder, load_tower
from beam_curator.models.encoders.precision import resolve_device, resolve_precision
from beam_curator.models.encoders.settings import FAST, EncoderSettings
from beam_curator.models.encoders.stream import Decode, EncodedImages, OnEmbedded, OnPicture, Stream
from beam_curator.models.pixels.decoding import Decoder
from beam_curator.process_tuning import keep_freed_memory, share_of_cores


@dataclass(frozen=True)
class ClipSpec(EncoderSettings):
    """The settings that decide an encoder and its numbers; small, hashable, picklable. How it runs: see
    `EncoderSettings`.

    Attributes:
      model: an open_clip architecture ("ViT-L-14"), "timm:NAME" for a model of timm, "tiny-untrained" for a small
        seeded encoder whose scores mean nothing, or an `Encoder` of your own.
      checkpoint: local path of the weights of open_clip's and timm's models.
      pretrained_tag: the open_clip tag that the weights were published under ("openai", ...). It decides
        QuickGELU and how the input is prepared. OpenAI's own archive is also known without it.
      max_image_pixels: limit on width x height of an image.
    """

    model: str | Encoder = "ViT-L-14"
    checkpoint: str | None = None
    pretrained_tag: str | None = None
    max_image_pixels: int = MAX_IMAGE_PIXELS

    def __post_init__(self) -> None:
        if not isinstance(self.model, str):
            check_encoder(self.model)
        if not isinstance(self.max_image_pixels, int) or self.max_image_pixels < 1:
            raise UsageError(f"max_image_pixels is {self.max_image_pixels}: it must be at least 1")
        super().__post_init__()

    @property
    def trained(self) -> bool:
        """Whether scores mean anything."""
        return encoder_of(self.model).trained

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.model if isinstance(self.model, str) else self.model.name


class ClipEncoder:
    """Embeds images. Weights load on the first `encode` of anything, or by `load`: making one costs nothing.

    May be used from several threads: their images are one stream through the decode pool and the device, or on the CPU
    through all cores.
    """

    def __init__(self, spec: ClipSpec) -> None:
        self.spec = spec
        self._model: DeviceModel | None = None
        self._stream: Stream | None = None
        self._load_lock = threading.Lock()

    @property
    def dim(self) -> int:
        """Length of an embedding; loads no weights."""
        return self._encoder.dim

    @property
    def preparation(self) -> Preparation:
        """The preparation of the model's input; loads no weights."""
        return self._encoder.preparation

    @property
    def member(self) -> str:
        """The part between `KEY.` and `.npy` in the name of the member that holds an embedding: "clip" for open_clip's
        models."""
        return embedding_member(self._encoder)

    @property
    def trained(self) -> bool:
        """Whether scores mean anything."""
        return self.spec.trained

    @property
    def device(self) -> str | None:
        """ "cuda" or "cpu"; None before loading."""
        return self._model.device if self._model else None

    @property
    def precision(self) -> str | None:
        """ "fp32", "bf16" or "fp16"; None before loading."""
        return self._model.precision if self._model else None

    @property
    def batch_size(self) -> int | None:
        """Images in one pass through the model, now; None before loading."""
        return self._model.batch_size if self._model else None

    @property
    def batch_reductions(self) -> int:
        """The number of times that `batch_size` was halved for want of memory."""
        return self._model.batch_reductions if self._model else 0

    def load(self) -> None:
        """Loads the weights and takes the device, once; later calls return at once.

        On the CPU the process keeps the memory that it frees from then on, where `process_tuning` is on.

        Raises:
          CurationError: unknown model, checkpoint that does not fit, device absent, precision not possible
            on it, torch cannot compile, or no room for the model.
        """
        self._loaded()

    def encode(
        self,
        images: Sequence[Encoded | None],
        on_embedded: OnEmbedded | None = None,
        on_picture: OnPicture | None = None,
    ) -> EncodedImages:
        """Embeds encoded images (None: a sample without one). A bad image costs its row, and raises nothing.

        `on_embedded` is called with the indices of the images of each micro-batch that is done, and of each that fails;
        `on_picture` with each picture as it is decoded.

        Equal to open_clip's own transform and `encode_image`, then L2-normalised: within 1e-3 at fp32,
        cosine >= 0.9999 at bf16, before rounding to float16.

        Raises:
          CurationError: as `load`; or not even one image fits in the device's memory.
        """
        return self.submit(images, on_embedded, on_picture).result()

    def submit(
        self,
        images: Sequence[Encoded | None],
        on_embedded: OnEmbedded | None = None,
        on_picture: OnPicture | None = None,
    ) -> "Future[EncodedImages]":
        """Encodes as `encode` does, without waiting: what is submitted next is decoded, and joins the micro-batches,
        while this is on the device.

        Raises:
          CurationError: as `load`. What goes wrong later, the future raises.
        """
        if not images:
            return _done(EncodedImages.empty(0, self.dim))
        return self._loaded().submit(images, on_embedded, on_picture)

    @functools.cached_property
    def _encoder(self) -> Encoder:
        return encoder_of(self.spec.model, self.spec.checkpoint, self.spec.pretrained_tag)

    def _loaded(self) -> Stream:
        with self._load_lock:
            if self._stream is None:
                self._stream = self._load()
            if self._model:
                self._model.check_process()
            return self._stream

    def _load(self) -> Stream:
        spec = self.spec
        device = resolve_device(spec.device)
        threads = spec.decode_threads or share_of_cores()
        decode = self._decoder()
        if device == "cuda":
            # One thread loads and runs the model.
            driver = ThreadPoolExecutor(1, thread_name_prefix="encode")
            self._model = driver.submit(self._load_model, device).result()
            pool = ThreadPoolExecutor(threads, "decode")
            at_once = images_at_once(self._model.batch_size, threads)
            return DeviceStream(self._model, decode, pool, driver, at_once)
        keep_freed_memory()
        pool = core_pool(threads)
        # Loaded in one of these, as what torch.compile makes depends on how many threads compute.
        self._model = pool.submit(self._load_model, device).result()
        return CoreStream(self._model, decode, pool, threads)

    def _load_model(self, device: str) -> DeviceModel:
        spec = self.spec
        batch_size = None if spec.batch_size == AUTO else spec.batch_size
        try:
            precision = resolve_precision(spec.precision, device)
            tower = load_tower(self._encoder, users=not isinstance(spec.model, str))
            return DeviceModel(spec.name, tower, device, precision, batch_size, spec.compile)
        except CurationError:
            raise
        except Exception as error:
            if is_lost(device):  # by what used it before
                raise DeviceLostError.after(error, device, f"model '{spec.name}'") from error
            if not wants_memory(error):
                raise
            raise JobError(
                f"model '{spec.name}' does not fit in the memory of device '{device}' ({first_line(error)}): "
                f"{MORE_ROOM}"
            ) from error

    def _decoder(self) -> Decode:
        spec = self.spec
        return Decoder(self.preparation, spec.max_image_pixels, spec.decode == FAST)


def _done(encoded: EncodedImages) -> "Future[EncodedImages]":
    future: Future[EncodedImages] = Future()
    future.set_result(encoded)
    return future
