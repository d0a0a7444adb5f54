"""Sections of `benchmarks.gpu` on the model: the device's ceilings, rates, precision, bits, memory, where time goes."""

import contextlib
import copy
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beam_curator.models.encoders.choosing import encoder_of
from beam_curator.models.encoders.device_model import DeviceModel
from beam_curator.models.encoders.encoder import VisualTower, load_tower
from beam_curator.models.encoders.precision import resolve_device, resolve_precision, torch_dtype
from benchmarks.gpu_sizes import Clock, Rows, Size
from benchmarks.tables import machine
from benchmarks.weights import random_checkpoint


@dataclasses.dataclass
class Bench:
    """The settings and models that all sections share.

    Attributes:
      size: how much is measured.
      device, precision: resolved.
      cache: where photographs and the checkpoint are.
      checkpoint: of random weights.
      tower: its image tower, on the CPU; each model is made of a copy.
      compile: whether torch.compile is tried.
      clock: how much time is left.
      best_rate: images a second of our model alone, as far as it was measured.
    """

    size: Size
    device: str
    precision: str
    cache: Path
    checkpoint: Path | None
    tower: VisualTower
    compile: bool
    clock: Clock
    best_rate: float = 0.0

    @classmethod
    def prepared(cls, size: Size, device: str, cache: Path, compile: bool, clock: Clock) -> "Bench":
        """Makes the checkpoint, and loads it."""
        device = resolve_device(device)
        checkpoint = random_checkpoint(cache, size.model)
        tower = load_tower(encoder_of(size.model, str(checkpoint) if checkpoint else None))
        return cls(size, device, resolve_precision("auto", device), cache, checkpoint, tower, compile, clock)

    def machine(self) -> Mapping[str, Any]:
        """Tells the machine and the card that the figures belong to."""
        told: dict[str, Any] = {"machine": machine(), "device": self.device, "precision": self.precision}
        if self.device == "cuda":
            about = torch.cuda.get_device_properties(0)
            told |= {"card": about.name, "memory_gb": round(about.total_memory / 1e9), "cuda": torch.version.cuda}
        return told

    def model(
        self, batch_size: int | None, precision: str | None = None, device: str | None = None, compile: bool = False
    ) -> DeviceModel:
        """A model of its own, of a copy of the tower."""
        tower = dataclasses.replace(self.tower, module=copy.deepcopy(self.tower.module))
        precision, device = precision or self.precision, device or self.device
        return DeviceModel(self.size.model, tower, device, precision, batch_size, compile)

    def pixels(self, count: int) -> torch.Tensor:
        """uint8 [count, height, width, 3], the same each time."""
        height, width = self.tower.preparation.shape
        drawn = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
        return torch.from_numpy(drawn)

    def wait(self) -> None:
        """Until the device has nothing to do."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], times: int) -> float:
        """Measures the seconds of one call, when the device works on them one after the other."""
        work()
        self.wait()
        started = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - started) / times

    def free(self) -> None:
        """Gives memory of models that are gone back."""
        gc.collect()
        torch.compiler.reset()
        if self.device == "cuda":
            torch.cuda.empty_cache()


def ceilings(bench: Bench) -> Rows:
    """Measures what the device copies, and multiplies at the shapes of ViT-L/14's layers; which attention it takes."""
    is_full, dtype = bench.device == "cuda", torch_dtype(bench.precision)
    large = torch.zeros((1 << (28 if is_full else 20)), device=bench.device)
    seconds = bench.seconds(lambda: large.clone(), bench.size.passes)
    yield {"what": "copy", "gb_per_second": round(2 * large.nbytes / seconds / 1e9, 1)}
    tokens = 257 * (bench.size.batch_sizes[-1] if is_full else 2)
    for rows, columns in ((1024, 3072), (1024, 1024), (1024, 4096), (4096, 1024)):
        a = torch.randn((tokens, rows), device=bench.device, dtype=dtype)
        b = torch.randn((rows, columns), device=bench.device, dtype=dtype)
        seconds = bench.seconds(lambda a=a, b=b: a @ b, bench.size.passes)  # type: ignore[misc]
        rate = round(2 * tokens * rows * columns / seconds / 1e12, 2)
        yield {"what": "product", "shape": [tokens, rows, columns], "tflops": rate}
    yield from _attention(bench, dtype, tokens // 257)


def _attention(bench: Bench, dtype: torch.dtype, images: int) -> Rows:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    query, key, value = (torch.randn((images, 16, 257, 64), device=bench.device, dtype=dtype) for _ in range(3))
    choices: dict[str, contextlib.AbstractContextManager[Any]] = {"as torch chooses": contextlib.nullcontext()}
    for name in ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"):
        choices[name] = sdpa_kernel([getattr(SDPBackend, name)])
    attend = torch.nn.functional.scaled_dot_product_attention
    for name, chosen in choices.items():
        try:
            with chosen:
                seconds = bench.seconds(lambda: attend(query, key, value), bench.size.passes)
            yield {"what": "attention", "backend": name, "us_an_image": round(1e6 * seconds / images, 2)}
        except RuntimeError as error:
            yield {"what": "attention", "backend": name, "unavailable": str(error).splitlines()[0]}


def rates(bench: Bench) -> Rows:
    """The model alone by batch size: ours from uint8 on the host and on the device, in a CUDA graph, and by
    `--compile`; and open_clip's own tower."""
    for batch_size in bench.size.batch_sizes:
        for way, make in _WAYS.items():
            # Compiling takes longer than all else here: for one size.
            compiled = way == "ours, compiled"
            if compiled and not (bench.compile and batch_size == bench.size.batch_sizes[-2]):
                continue
            if bench.clock.left <= 0:
                return
            yield {"way": way, "batch": batch_size, **_rate(bench, make, batch_size)}
            bench.free()


def _rate(bench: Bench, make: Callable[[Bench, int], Callable[[], object]], batch_size: int) -> Mapping[str, Any]:
    try:
        rate = batch_size / bench.seconds(make(bench, batch_size), bench.size.passes)
    except Exception as error:
        return {"unavailable": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
    bench.best_rate = max(bench.best_rate, rate)
    return {"images_per_second": round(rate, 1)}


def _from_host(bench: Bench, batch_size: int) -> Callable[[], object]:
    model = bench.model(batch_size)
    pixels = model.new_buffer(batch_size).copy_(bench.pixels(batch_size))
    return lambda: model.run(pixels)


def _on_device(bench: Bench, batch_size: int) -> Callable[[], object]:
    model = bench.model(batch_size)
    pixels = bench.pixels(batch_size).to(bench.device)
    return lambda: model._forward(pixels)


def _compiled(bench: Bench, batch_size: int) -> Callable[[], object]:
    model = bench.model(batch_size, compile=True)
    pixels = bench.pixels(batch_size).to(bench.device)
    return lambda: model._forward(pixels)


def _in_graph(bench: Bench, batch_size: int) -> Callable[[], object]:
    if bench.device != "cuda":
        raise ValueError("graphs are CUDA's")
    model = bench.model(batch_size)
    pixels = bench.pixels(batch_size).to(bench.device)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            model._forward(pixels)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model._forward(pixels)
    return graph.replay


def _bare(bench: Bench, batch_size: int) -> Callable[[], object]:
    dtype = torch_dtype(bench.precision)
    module = copy.deepcopy(bench.tower.module).to(bench.device, dtype)
    height, width = bench.tower.preparation.shape
    inputs = torch.randn((batch_size, 3, height, width), device=bench.device, dtype=dtype)

    def run() -> object:
        with torch.inference_mode():
            return module(inputs)

    return run


_WAYS: dict[str, Callable[[Bench, int], Callable[[], object]]] = {
    "open_clip's own, cast": _bare,
    "ours": _from_host,
    "ours, pixels on the device": _on_device,
    "ours, in a graph": _in_graph,
    "ours, compiled": _compiled,
}


def precisions(bench: Bench) -> Rows:
    """The least cosine to fp32 on the CPU, of each precision."""
    pixels = bench.pixels(bench.size.batch_sizes[0])
    expected = bench.model(len(pixels), "fp32", "cpu").run(pixels).wait().astype(np.float64)
    for precision in ("fp32", "bf16", *(("fp16",) if bench.device == "cuda" else ())):
        found = bench.model(len(pixels), precision).run(pixels).wait().astype(np.float64)
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        yield {"precision": precision, "least_cosine": float(((found * expected).sum(1) / norms).min())}
        bench.free()


def bits(bench: Bench) -> Rows:
    """Counts the embeddings that have another bit when an image has other neighbours, or a pass another size."""
    small, size = bench.size.batch_sizes[-2:]
    pixels, model, half = bench.pixels(size), bench.model(size), size // 2
    usual = _float16(model, pixels)
    order = np.random.default_rng(1).permutation(size)
    yield {"what": "the same again", **_differing(_float16(model, pixels), usual)}
    yield {"what": "in another order", **_differing(_float16(model, pixels[order]), usual[order])}
    yield {
        "what": "half of them, the rest blank",
        **_differing(_float16(model, pixels[:half]), usual[:half]),
    }
    bench.free()
    other = bench.model(small)
    parts = [_float16(other, pixels[start : start + small]) for start in range(0, size, small)]
    yield {"what": f"passes of {small}", **_differing(np.concatenate(parts), usual)}


def _float16(model: DeviceModel, pixels: torch.Tensor) -> np.ndarray:
    return model.run(pixels).wait().astype(np.float16)


def _differing(found: np.ndarray, usual: np.ndarray) -> Mapping[str, Any]:
    count = int((found.view(np.uint16) != usual.view(np.uint16)).any(axis=1).sum())
    return {"differ": count, "of": len(usual), "most": float(np.abs(found.astype(np.float32) - usual).max())}


def memory(bench: Bench) -> Rows:
    """The memory of a pass; and what becomes of one when most of the device's memory is taken."""
    if bench.device != "cuda":
        yield {"skipped": "no GPU"}
        return
    for batch_size in bench.size.batch_sizes:
        bench.free()
        torch.cuda.reset_peak_memory_stats()
        model = bench.model(batch_size)
        model.run(bench.pixels(batch_size)).wait()
        told = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
        yield {"batch": batch_size, **{f"{name}_gb": round(value / 1e9, 3) for name, value in told.items()}}
        del model
    yield from _with_little_memory(bench)


def _with_little_memory(bench: Bench) -> Rows:
    size = bench.size.batch_sizes[-1]
    pixels, model = bench.pixels(size), bench.model(size)
    usual = _float16(model, pixels)
    bench.free()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(max(0, free - (600 << 20)), dtype=torch.uint8, device="cuda")
    try:
        found = _float16(model, pixels)
    finally:
        del taken
        bench.free()
    told = {"began_with": size, "ended_with": model.batch_size, "halved": model.batch_reductions}
    yield {"what": "600 MB left", **told, **_differing(found, usual)}


def where_time_goes(bench: Bench) -> Rows:
    """The kernels (on the CPU, operators) that take most of a pass."""
    run = _on_device(bench, bench.size.batch_sizes[-1])
    run()
    bench.wait()
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if bench.device == "cuda" else []
    with torch.profiler.profile(activities=activities) as profile:
        run()
        bench.wait()
    own = "self_device_time_total" if bench.device == "cuda" else "self_cpu_time_total"
    found = sorted(profile.key_averages(), key=lambda event: -getattr(event, own, 0))
    whole = sum(getattr(event, own, 0) for event in found) or 1
    for event in found[:15]:
        share = round(100 * getattr(event, own, 0) / whole, 1)
        yield {"what": event.key[:90], "percent": share, "calls": event.count}


Section = Callable[[Bench], Iterator[Mapping[str, Any]]]

FIRST: dict[str, Section] = {"ceilings": ceilings, "model alone": rates}

LAST: dict[str, Section] = {
    "precision": precisions,
    "bits": bits,
    "where the time goes": where_time_goes,
    "memory": memory,  # after which a device may be the worse for it
}
