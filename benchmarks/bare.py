"""The ceiling: open_clip's own `encode_image` on tensors that are ready, and nothing around it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from beam_curator.defaults import TINY_UNTRAINED
from beam_curator.models.encoders.choosing import encoder_of
from beam_curator.models.encoders.tiny_untrained import TinyUntrained
from benchmarks.tables import usable_cores
from benchmarks.timing import seconds_of

Encode = Callable[[torch.Tensor], torch.Tensor]

_KINDS = {"fp32": ("fp32",), "bf16": ("bfloat16()", "autocast bf16"), "fp16": ("half()", "autocast fp16")}
_DTYPES = {"bfloat16()": torch.bfloat16, "half()": torch.float16}
_AUTOCAST = {"autocast bf16": torch.bfloat16, "autocast fp16": torch.float16}


def bare_kinds(precision: str, device: str) -> tuple[str, ...]:
    """The ways to run a model in a precision: as it is, cast as a whole, or under autocast.

    Not autocast on the CPU: there it casts all weights again in every pass, and takes several times as long.
    """
    return _KINDS[precision] if device == "cuda" else _KINDS[precision][:1]


@dataclass(frozen=True)
class BareModel:
    """A model on its device, and micro-batches of the right size and type to run it on.

    Attributes:
      encode: float [n, 3, height, width], normalised -> embeddings.
      batch: a micro-batch, on the device.
      device: "cpu" or "cuda".
    """

    encode: Encode
    batch: torch.Tensor
    device: str

    def seconds(self, images: int) -> float:
        """Measures how long so many images take, in micro-batches, each on all cores."""
        with _on_all_cores():
            return seconds_of(lambda: self._run(images))

    def _run(self, images: int) -> None:
        with torch.inference_mode():
            for start in range(0, images, len(self.batch)):
                self.encode(self.batch[: images - start])
            if self.device == "cuda":
                torch.cuda.synchronize()


@contextmanager
def _on_all_cores() -> Iterator[None]:
    """torch computes on all cores, as it does by default, whatever was set before."""
    before = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_bare(
    model: str, checkpoint: Path | None, kind: str, device: str, batch_size: int, compile: bool = False
) -> BareModel:
    """A model with its weights, run once.

    Args:
      model: an open_clip architecture, or "tiny-untrained".
      checkpoint: of that architecture.
      kind: one of `bare_kinds`.
      device: "cpu" or "cuda".
      batch_size: images in a micro-batch.
      compile: whether it goes through torch.compile.
    """
    module, encode = _encode_image(model, checkpoint)
    module.to(device, _DTYPES.get(kind, torch.float32))
    run = torch.compile(encode, dynamic=False) if compile else encode
    if kind in _AUTOCAST:
        run = _under_autocast(run, device, _AUTOCAST[kind])
    shape = encoder_of(model).preparation.shape
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn((batch_size, 3, *shape), generator=generator).to(device, _DTYPES.get(kind, torch.float32))
    bare = BareModel(run, batch, device)
    bare.seconds(2 * batch_size)
    return bare


def _encode_image(model: str, checkpoint: Path | None) -> tuple[torch.nn.Module, Encode]:
    """The model, and what gives embeddings without normalising them."""
    if model == TINY_UNTRAINED:
        module = TinyUntrained().load()
        return module, module
    import open_clip

    whole = open_clip.create_model(model, pretrained=str(checkpoint)).eval()
    return whole, whole.encode_image


def _under_autocast(encode: Encode, device: str, dtype: torch.dtype) -> Encode:
    def run(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, dtype):
            return encode(batch)

    return run
