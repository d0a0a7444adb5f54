"""A model on its device: uint8 pixels in, normalised embeddings out, in passes that fit its memory."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beam_curator.device_errors import DeviceLostError, is_lost, refuse_in_fork, wants_memory
from beam_curator.errors import CurationError, JobError, UsageError, first_line
from beam_curator.images import Preparation
from beam_curator.models.encoders.encoder import VisualTower, raised
from beam_curator.models.encoders.precision import (
    cast_matrices,
    exact_products,
    sound_attention,
    torch_dtype,
)
from beam_curator.process_tuning import sharing_processes

if TYPE_CHECKING:
    import torch


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PendingEmbeddings:
    """Embeddings that the device may still be computing.

    Attributes:
      values: of each pass, float32 [n, dim], L2-normalised, on the host.
      done: what to wait for; None if they are there.
      batch_reductions: how often the batch size was halved on the way, for want of memory.
    """

    values: "Sequence[torch.Tensor]"
    done: "torch.cuda.Event | None"
    batch_reductions: int = 0

    def wait(self) -> NDArray[np.float32]:
        """float32 [n, dim], L2-normalised."""
        if self.done is not None:
            self.done.synchronize()
        passes = [one.numpy() for one in self.values]
        return passes[0] if len(passes) == 1 else np.concatenate(passes)


MOST_IMAGES_A_PASS = 256
"""The batch size that "auto" tries first on CUDA: enough that launching a pass is a small part of it, beside all
threads that decode."""

MORE_ROOM = "free memory there, or take a larger device or a smaller model"
"""The advice where a device has too little memory."""

_MEMORY_TO_FILL = 0.9
"""The part of a GPU's memory that a pass may need for "auto" to take it: cuDNN and others want some later."""

MOST_IMAGES_A_CPU_PASS = 64
"""More are never taken on the CPU: there each core has a pass of its own, and memory must do for all of them."""

_IMAGES_A_CPU_PASS = 16
"""So many where an image's neighbours may decide its last bits: the same on every machine, and few enough for each core
to have some."""


def _compiled(module: "torch.nn.Module") -> "torch.nn.Module":
    """Has torch compile a module when it first runs: of a plain vision transformer its blocks, one by one, which are
    alike, so that two are compiled for all (the last not, where it gives the first token alone); another module as a
    whole."""
    import torch

    from beam_curator.models.encoders.vit_blocks import blocks_in

    blocks = blocks_in(module)
    if not blocks:
        return torch.compile(module, dynamic=False)  # type: ignore[return-value]
    for block in blocks:
        block.compile(dynamic=False)
    return module


class DeviceModel:
    """A visual tower on a device: on CUDA for one thread, on the CPU for any number.

    On CUDA every pass has the same number of images, if need be with blank ones: then the same kernels run whatever the
    images are, an image's neighbours do not decide its bits, and nothing is compiled again.

    Attributes:
      name: of the model, for errors.
      dim: length of an embedding.
      preparation: how its input is prepared.
      device: "cuda" or "cpu".
      precision: "fp32", "bf16" or "fp16".
      batch_size: the most images of one pass, now.
      batch_reductions: how often it was halved for want of memory.
      neighbours_matter: whether the other images of a pass may decide the last bits of an image's embedding.
    """

    def __init__(
        self, name: str, tower: VisualTower, device: str, precision: str, batch_size: int | None, compile: bool = False
    ) -> None:
        """Casts the tower, in place, and moves it to the device.

        On CUDA, with `batch_size` None, the largest that fits is found by trying, up to `MOST_IMAGES_A_PASS`. On the
        CPU passes have as many images as it is best at, and no more than `batch_size`.

        Raises:
          JobError: not even one image fits beside it.
          UsageError: `compile`, and torch cannot compile it on this machine.
          Exception: of torch's, where the model itself does not fit.
        """
        import torch

        from beam_curator.models.encoders.vit_rewrites import fold_preparation, fold_quick_gelu

        self.name, self.device, self.precision = name, device, precision
        self.dim: int = tower.dim
        self.preparation: Preparation = tower.preparation
        self.batch_size = batch_size or (MOST_IMAGES_A_PASS if device == "cuda" else MOST_IMAGES_A_CPU_PASS)
        self.batch_reductions = 0
        self.neighbours_matter = True
        self._is_users = tower.users
        self._normalises = False
        self._process = os.getpid()
        self._halving = threading.Lock()
        self._equal_passes = device == "cuda" or compile
        fold_quick_gelu(tower.module)
        if device == "cuda":
            self._normalises = fold_preparation(tower.module, tower.preparation)
        self._autocasts = cast_matrices(tower.module, precision)
        # On the device from the start: a copy at each pass would wait for the pass before it.
        self._mean = torch.tensor(tower.preparation.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(tower.preparation.std, device=device).view(1, 3, 1, 1)
        module = self._made_faster(tower.module.to(device), compile)
        self._module = _compiled(module) if compile else module
        self._copying = torch.cuda.Stream() if device == "cuda" else None
        if compile or (batch_size is None and device == "cuda"):
            self._warm_up(compile)
        self.batch_reductions = 0  # finding out what fits is not running short

    def _made_faster(self, module: Any, compile: bool) -> "torch.nn.Module":
        """The same tower as its device computes it fastest; sets what depends on that."""
        from beam_curator.models.encoders import onednn_vit
        from beam_curator.models.encoders.fused_norm import fused_add_and_norm
        from beam_curator.models.encoders.torch_steps import TorchSteps
        from beam_curator.models.encoders.vit_blocks import rewrite_blocks
        from beam_curator.models.encoders.vit_rewrites import CastPatches, is_plain

        dtype = torch_dtype(self.precision)
        if self.device == "cpu" and not compile and onednn_vit.runs_here(module, dtype):
            self.neighbours_matter, self._normalises = False, True
            self.batch_size = min(self.batch_size, MOST_IMAGES_A_CPU_PASS, onednn_vit.images_a_pass(module, dtype))
            return onednn_vit.pack(module, self.preparation.mean, self.preparation.std)
        if self.device == "cpu":
            self.batch_size = min(self.batch_size, _IMAGES_A_CPU_PASS)
        if is_plain(module):
            if not self._normalises:
                module.conv1 = CastPatches(module.conv1)
            rewrite_blocks(module, TorchSteps() if compile or not self._fuses() else TorchSteps(fused_add_and_norm))
        return module

    def _fuses(self) -> bool:
        """Tells whether sum and norm are one kernel here; where they could be and are not, it is said."""
        from beam_curator.models.encoders.fused_norm import why_not_fused

        if self.device != "cuda":
            return False
        why_not = why_not_fused(self.device)
        if why_not:
            _log.warning(
                "model '%s' runs a sixth slower than it could on device '%s': Triton cannot compile a kernel (%s); "
                "install what it asks for, such as gcc and the headers of C and Python",
                self.name,
                self.device,
                why_not,
            )
        return not why_not

    def _warm_up(self, compile: bool) -> None:
        """Runs one full pass on blank images: it compiles, and halves the batch size until it fits."""
        try:
            with self._leaving_memory():
                self.run(self.new_pass()[0].zero_()).wait()
        except JobError:
            raise
        except Exception as error:
            explained = self.explained(error)
            if explained is not error:
                raise explained from error
            if not compile:
                raise
            raise UsageError(
                f"torch.compile cannot compile model '{self.name}' for device '{self.device}' on this machine: "
                f"{first_line(error)}; install what it asks for (a C++ compiler, or Triton for CUDA), or leave it out"
            ) from error

    def new_buffer(self, count: int) -> "torch.Tensor":
        """uint8 [count, height, width, 3] on the host; pinned for CUDA.

        torch keeps pinned memory and hands it out again, though not before copies from it are done.
        """
        import torch

        height, width = self.preparation.shape
        return torch.empty((count, height, width, 3), dtype=torch.uint8, pin_memory=self.device == "cuda")

    def new_pass(self) -> tuple["torch.Tensor", int]:
        """Buffers of one whole pass, and how often its size was halved until there was memory for them.

        Raises:
          JobError: not even for one image.
        """
        reductions = 0
        while True:
            size = self.batch_size
            try:
                return self.new_buffer(size), reductions
            except Exception as error:
                if is_lost(self.device) or not wants_memory(error):
                    raise
                why = first_line(error)
            reductions += self._halve_batch_size(size, why)

    def check_process(self) -> None:
        """Raises JobError in a fork of the process that loaded the model: its threads, and CUDA, are not there."""
        refuse_in_fork(self._process, f"model '{self.name}'", self.device)

    def explained(self, error: BaseException) -> BaseException:
        """Makes what is raised in place of an error that came outside of a pass, or of a lost device: the error itself,
        where there is nothing to add."""
        if isinstance(error, CurationError | MemoryError) or not isinstance(error, Exception):
            return error
        if is_lost(self.device):
            return DeviceLostError.after(error, self.device, f"model '{self.name}'")
        return self._no_room(first_line(error)) if wants_memory(error) else error

    def run(self, pixels: "torch.Tensor") -> PendingEmbeddings:
        """Embeds uint8 [n, height, width, 3] in as many passes as memory needs. On CUDA it does not wait for
        them.

        Raises:
          JobError: not even one image fits, or a user's own module raised something.
          UsageError: the module gives other than a vector of `dim` numbers for each.
        """
        import torch

        parts: list[torch.Tensor] = []
        start = reductions = 0
        while start < len(pixels):
            size = self.batch_size  # another thread may halve it meanwhile
            part = pixels[start : start + size]
            embeddings = self._embedded_if_it_fits(part, size)
            if isinstance(embeddings, str):
                reductions += self._halve_batch_size(size if self._equal_passes else len(part), embeddings)
                continue
            parts.append(embeddings)
            start += len(part)
        if self.device != "cuda":
            return PendingEmbeddings(parts, None, reductions)
        # Waiting for these copies, not for the device, leaves the next batch running.
        done = torch.cuda.Event(blocking=True)  # else the thread that waits keeps a core busy
        done.record()
        return PendingEmbeddings(parts, done, reductions)

    def _embedded_if_it_fits(self, pixels: "torch.Tensor", size: int) -> "torch.Tensor | str":
        """Embeddings from a pass of this size, on their way to the host; or what was said for want of memory. On return
        the exception holds no tensors any more."""
        try:
            embeddings = self._forward(self._on_device(pixels, size))[: len(pixels)]
            return embeddings.to("cpu", non_blocking=True)  # on CUDA into pinned memory
        except Exception as error:
            if is_lost(self.device) or not wants_memory(error):
                raise
            return first_line(error)

    def _halve_batch_size(self, failed_size: int, why: str) -> int:
        """Halves the batch size after a pass failed; returns how often: 0 where another thread has done so
        meanwhile."""
        import torch

        if failed_size == 1:
            raise self._no_room(why)
        with self._halving:
            if self.batch_size < failed_size:
                return 0
            self.batch_size = failed_size // 2
            self.batch_reductions += 1
        if self.device == "cuda":
            torch.cuda.empty_cache()
        return 1

    def _no_room(self, why: str) -> JobError:
        return JobError(
            f"not even one image at a time fits in the memory of device '{self.device}' beside model "
            f"'{self.name}' in {self.precision} ({why}): {MORE_ROOM}"
        )

    @contextlib.contextmanager
    def _leaving_memory(self) -> Iterator[None]:
        """Meanwhile this process may not fill the GPU's memory, or its share of that, to its end."""
        if self.device != "cuda":
            yield
            return
        import torch

        before = torch.cuda.get_per_process_memory_fraction()
        torch.cuda.set_per_process_memory_fraction(min(before, _MEMORY_TO_FILL / sharing_processes()))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(before)

    def _on_device(self, pixels: "torch.Tensor", size: int) -> "torch.Tensor":
        """The pixels there, with blank images up to the size of a pass where passes are to be equal. On CUDA they are
        copied while the pass before still runs."""
        import torch

        missing = size - len(pixels) if self._equal_passes else 0
        if self._copying is None:
            return torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else pixels
        computing = torch.cuda.current_stream()
        with torch.cuda.stream(self._copying):
            on_device = pixels.to(self.device, non_blocking=True)
            if missing:
                on_device = torch.nn.functional.pad(on_device, (0, 0, 0, 0, 0, 0, 0, missing))
        computing.wait_stream(self._copying)
        on_device.record_stream(computing)
        return on_device

    def _forward(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """uint8 [n, height, width, 3] -> float32 [n, dim], L2-normalised, both on the device."""
        import torch

        dtype = torch_dtype(self.precision)
        autocast = torch.autocast(self.device, dtype, enabled=self._autocasts)
        sound, exact = sound_attention(self.device), exact_products(self.device, self.precision)
        with torch.inference_mode(), autocast, sound, exact:
            embeddings = self._embedded(pixels if self._normalises else self._normalised(pixels))
            if isinstance(embeddings, tuple):  # CoCa's also returns its tokens
                embeddings = embeddings[0]
            self._check(embeddings, len(pixels))
            return torch.nn.functional.normalize(embeddings.float(), dim=-1)

    def _embedded(self, inputs: "torch.Tensor") -> Any:
        try:
            return self._module(inputs)
        except Exception as error:
            if not self._is_users or is_lost(self.device) or wants_memory(error):
                raise
            raise JobError(f"encoder '{self.name}' raised on {len(inputs)} images: {raised(error)}") from error

    def _check(self, embeddings: Any, count: int) -> None:
        shape = getattr(embeddings, "shape", None)
        if shape is None or tuple(shape) != (count, self.dim):
            gave = f"a {type(embeddings).__name__}" if shape is None else f"{tuple(shape)}"
            raise UsageError(
                f"model '{self.name}' gave {gave} for {count} images, not the vectors of {self.dim} numbers ({count}, "
                f"{self.dim}) that it promises"
            )
        if embeddings.is_complex():
            raise UsageError(f"model '{self.name}' gave {embeddings.dtype}: embeddings are of real numbers")

    def _normalised(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """uint8 [n, height, width, 3] -> float32 [n, 3, height, width]: levels of 0 to 1, less the mean, by the
        deviation."""
        # Colours are taken apart while they are bytes: on the CPU, arithmetic on floats that lie apart is slow.
        levels = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)
        return levels.sub_(self._mean).div_(self._std)
