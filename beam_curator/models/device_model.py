"""A model on its device: uint8 pixels in, normalised embeddings out, in passes that fit its memory."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beam_curator.errors import JobError
from beam_curator.models.precision import cast_matrices, torch_dtype
from beam_curator.models.visual_tower import VisualTower

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PendingEmbeddings:
    """Embeddings that the device may still be computing."""

    values: "torch.Tensor"
    done: "torch.cuda.Event | None"

    def wait(self) -> NDArray[np.float32]:
        """float32 [n, dim], L2-normalised."""
        if self.done is not None:
            self.done.synchronize()
        return self.values.numpy()


class DeviceModel:
    """A visual tower on a device; threads take turns.

    Attributes:
      name: of the model, for errors.
      device: "cuda" or "cpu".
      precision: "fp32", "bf16" or "fp16".
      batch_size: images in one pass, now.
      batch_reductions: how often it was halved for want of memory.
    """

    def __init__(self, name: str, tower: VisualTower, device: str, precision: str, batch_size: int) -> None:
        """Casts the tower, in place, and moves it to the device.

        Raises:
          JobError: it does not fit there.
        """
        import torch

        self.name, self.device, self.precision, self.batch_size = name, device, precision, batch_size
        self.batch_reductions = 0
        self._lock = threading.Lock()
        cast_matrices(tower.module, precision)
        try:
            self._module = tower.module.to(device)
            # On the device from the start: a copy at each pass would wait for the pass before it.
            self._mean = torch.tensor(tower.mean, device=device).view(1, 3, 1, 1)
            self._std = torch.tensor(tower.std, device=device).view(1, 3, 1, 1)
        except torch.OutOfMemoryError as error:
            raise JobError(
                f"model '{name}' does not fit in the memory of device '{device}': "
                "free memory there, or take a larger device or a smaller model"
            ) from error

    def new_buffer(self, count: int, image_size: int) -> "torch.Tensor":
        """uint8 [count, image_size, image_size, 3] on the host; pinned for CUDA.

        torch keeps pinned memory and hands it out again, though not before copies from it are done.
        """
        import torch

        shape = (count, image_size, image_size, 3)
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.device == "cuda")

    def run(self, pixels: "torch.Tensor") -> PendingEmbeddings:
        """Embeds uint8 [n, size, size, 3] in as many passes as memory needs. On CUDA it does not wait for
        them.

        Raises:
          JobError: not even one image fits.
        """
        import torch

        with self._lock:
            parts: list[torch.Tensor] = []
            start = 0
            while start < len(pixels):
                part = pixels[start : start + self.batch_size]
                embeddings = self._forward_if_it_fits(part)
                if embeddings is None:
                    self._halve_batch_size(len(part))
                    continue
                parts.append(embeddings)
                start += len(part)
            on_device = torch.cat(parts)
            if self.device != "cuda":
                return PendingEmbeddings(on_device, None)
            on_host = on_device.to("cpu", non_blocking=True)
            # Waiting for this copy, not for the device, leaves the next batch running.
            done = torch.cuda.Event()
            done.record()
            return PendingEmbeddings(on_host, done)

    def _forward_if_it_fits(self, pixels: "torch.Tensor") -> "torch.Tensor | None":
        """`_forward`, or None for want of memory. On return the exception holds no tensors any more."""
        import torch

        try:
            return self._forward(pixels)
        except torch.OutOfMemoryError:
            return None

    def _halve_batch_size(self, failed_size: int) -> None:
        import torch

        if failed_size == 1:
            raise JobError(
                f"not even one image at a time fits in the memory of device '{self.device}' beside model "
                f"'{self.name}' ({self.precision}): "
                "free memory there, or take a larger device or a smaller model"
            )
        self.batch_size = failed_size // 2
        self.batch_reductions += 1
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _forward(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """uint8 [n, size, size, 3] on the host -> float32 [n, dim] on the device, L2-normalised."""
        import torch

        dtype = torch_dtype(self.precision)
        with torch.inference_mode(), torch.autocast(self.device, dtype, enabled=dtype != torch.float32):
            levels = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
            embeddings = self._module(levels.sub_(self._mean).div_(self._std))
            if isinstance(embeddings, tuple):
                embeddings = embeddings[0]  # CoCa's also returns its tokens
            return torch.nn.functional.normalize(embeddings.float(), dim=-1)
