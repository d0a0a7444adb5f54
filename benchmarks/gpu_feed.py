"""Sections of `benchmarks.gpu` on what feeds the model: decoding, the encoder, the whole job, several processes,
captions."""

import dataclasses
import functools
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from beam_curator import process_tuning
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.device_model import DeviceModel
from beam_curator.models.encoders.precision import resolve_caption_precision
from beam_curator.models.encoders.settings import EXACT, FAST
from beam_curator.models.encoders.text_tower import load_text_tower
from benchmarks import photos
from benchmarks.gpu_model import Bench, Section
from benchmarks.gpu_sizes import Rows
from benchmarks.photos import PhotoShards
from benchmarks.timing import seconds_of

_SIDES = {"0.55 MP": None, "256 px": 256}


class BenchEncoder(ClipEncoder):
    """An encoder whose tower is loaded already."""

    def __init__(self, bench: Bench, decode: str) -> None:
        super().__init__(spec_of(bench, decode))
        self._bench = bench

    def _load_model(self, device: str) -> DeviceModel:
        assert isinstance(self.spec.batch_size, int)
        return self._bench.model(self.spec.batch_size)


def spec_of(bench: Bench, decode: str) -> ClipSpec:
    """Makes the settings of an encoder."""
    return ClipSpec(
        model=bench.size.model,
        checkpoint=str(bench.checkpoint) if bench.checkpoint else None,
        precision=bench.precision,
        device=bench.device,
        batch_size=min(256, bench.size.batch_sizes[-1]),
        decode=decode,
    )


def shards_of(bench: Bench, longest_side: int | None, images: int | None = None) -> PhotoShards:
    """Photographs, drawn once."""
    return photos.make_shards(bench.cache, images or bench.size.images, 500, longest_side=longest_side)


def decoding(bench: Bench) -> Rows:
    """Measures what threads decode, while the GPU is idle and while it is busy."""
    for name, side in _SIDES.items():
        jpegs = shards_of(bench, side).jpegs()
        for model in (None, bench.model(min(256, bench.size.batch_sizes[-1]))):
            for decode in (EXACT, FAST):
                for threads in bench.size.threads:
                    if bench.clock.left <= 0:
                        return
                    count = min(len(jpegs), 150 * threads)
                    rate = _decoded(bench, jpegs[:count], decode, threads, model)
                    told = {"images": name, "gpu": "busy" if model else "idle", "decode": decode, "threads": threads}
                    yield {**told, "images_per_second": round(rate, 1)}


def _decoded(bench: Bench, jpegs: list[bytes], decode: str, threads: int, model: DeviceModel | None) -> float:
    decoder, stop = ClipEncoder(spec_of(bench, decode))._decoder(), threading.Event()
    beside = threading.Thread(target=_keep_busy, args=(bench, model, stop)) if model else None
    with ThreadPoolExecutor(threads) as pool:
        if beside:
            beside.start()
        try:
            return len(jpegs) / seconds_of(lambda: [None for _ in pool.map(decoder, jpegs)])
        finally:
            stop.set()
            if beside:
                beside.join()


def _keep_busy(bench: Bench, model: DeviceModel, stop: threading.Event) -> None:
    pixels = bench.pixels(model.batch_size)
    while not stop.is_set():
        model.run(pixels).wait()


def encoder(bench: Bench) -> Rows:
    """Images a second from JPEG bytes, without a job around them."""
    for name, side in _SIDES.items():
        jpegs = shards_of(bench, side).jpegs()
        for decode in (EXACT, FAST):
            one = BenchEncoder(bench, decode)
            one.encode(jpegs[: bench.size.batch_sizes[0]])
            seconds = seconds_of(lambda one=one, jpegs=jpegs: one.encode(jpegs))  # type: ignore[misc]
            yield {"images": name, "decode": decode, **_against(bench, len(jpegs) / seconds)}
            del one
            bench.free()


def job(bench: Bench) -> Rows:
    """The whole command, in one process and in several, beside the model alone: what many images more take than few."""
    for side, decode, processes in bench.size.jobs:
        if bench.clock.left <= 0:
            return
        shards = shards_of(bench, _SIDES[side])
        copies = max(1, bench.size.job_images * processes // shards.images)
        few, many = (_command_seconds(bench, shards, decode, processes, count) for count in (1, 1 + copies))
        told = {"images": side, "decode": decode, "processes": processes, "start_seconds": round(few.whole, 1)}
        for what, seconds in (("scoring", many.scoring - few.scoring), ("whole", many.whole - few.whole)):
            # A small job's start hides what its images take.
            found = (
                _against(bench, copies * shards.images / seconds) if seconds > 0 else {"unavailable": "too few images"}
            )
            yield {**told, "what": what, **found}


@dataclasses.dataclass(frozen=True)
class _Seconds:
    """The time of a command: all of it, and of its scoring, which begins with loading the model."""

    whole: float
    scoring: float


def _command_seconds(bench: Bench, shards: PhotoShards, decode: str, processes: int, copies: int) -> _Seconds:
    """Measures how long `curate` takes with so many copies of the shards as its input."""
    with tempfile.TemporaryDirectory(prefix="gpu-job-", dir=bench.cache) as name:
        directory = Path(name)
        for copy in range(copies):
            for tar in shards.tars:
                (directory / f"{copy:04}-{tar.name}").hardlink_to(tar)
        argv = [f"--input={directory}/*.tar", f"--output={directory}/out", f"--clip_model={bench.size.model}"]
        argv += [f"--clip_pretrained={bench.checkpoint}"] if bench.checkpoint else []
        argv += ["--aesthetic_model=untrained", "--nsfw_model=untrained", f"--decode={decode}", "--report=false"]
        argv += [f"--device={bench.device}", "--batch_size=64"]
        if processes > 1:
            argv += ["--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
        command = [sys.executable, "-m", "beam_curator.commands.main", "curate", *argv]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError("the command failed: " + " | ".join(done.stderr.strip().splitlines()[-3:]))
        phases = json.loads((directory / "out" / "manifest.json").read_text())["timings"]["phases"]
        return _Seconds(seconds, next(phase["seconds"] for phase in phases if phase["phase"] == "scoring"))


def captions(bench: Bench) -> Rows:
    """Measures what a caption takes beside an image: of each length that is read by itself, and of the model's whole
    context."""
    checkpoint = str(bench.checkpoint) if bench.checkpoint else None
    precision = resolve_caption_precision("auto", bench.device)
    tower = load_text_tower(bench.size.model, checkpoint, None, precision=precision, device=bench.device)
    count = 512 if bench.device == "cuda" else 4
    tokens = np.random.default_rng(0).integers(1, 49000, (count, tower.tokenise.context_length)).astype(np.int32)
    for length in (*sorted(tower.encode_short), tokens.shape[1]):
        encode = functools.partial(tower.encode_rows, tokens, length)
        seconds = bench.seconds(encode, bench.size.passes)
        told = {"captions": f"{length} tokens", "a_second": round(count / seconds, 1)}
        yield told | ({"of_an_image": round(bench.best_rate * seconds / count, 3)} if bench.best_rate else {})
    bench.free()


def _against(bench: Bench, rate: float) -> Mapping[str, Any]:
    told = {"images_per_second": round(rate, 1)}
    return told | ({"of_model_alone": round(rate / bench.best_rate, 3)} if bench.best_rate else {})


@dataclasses.dataclass(frozen=True)
class _Worker:
    """One of several processes on a GPU: it encodes in threads that are its share of the cores."""

    spec: ClipSpec
    jpegs: list[bytes]
    processes: int

    def run(self, begin: Any) -> float:
        """Images a second; all processes begin together."""
        process_tuning.share_machine(self.processes)
        one = ClipEncoder(self.spec)
        one.encode(self.jpegs[:8])
        begin.wait(240)
        return len(self.jpegs) / seconds_of(lambda: one.encode(self.jpegs))


def _work(worker: _Worker, begin: Any, rates: Any) -> None:
    try:
        rates.put(worker.run(begin))
    except Exception as error:
        begin.abort()
        rates.put(f"{type(error).__name__}: {error}")


def processes(bench: Bench) -> Rows:
    """Several processes on the GPU, each with its own model, and its share of the cores."""
    bench.free()
    context = multiprocessing.get_context("spawn")
    jpegs = shards_of(bench, 256).jpegs()
    for count in bench.size.processes:
        worker = _Worker(spec_of(bench, FAST), jpegs, count)
        begin, rates = context.Barrier(count), context.Queue()
        started = [context.Process(target=_work, args=(worker, begin, rates), daemon=True) for _ in range(count)]
        for one in started:
            one.start()
        found = [rates.get(timeout=max(1.0, min(240.0, bench.clock.left))) for _ in started]
        for one in started:
            one.join(30)
        errors = [one for one in found if isinstance(one, str)]
        if errors:
            yield {"processes": count, "unavailable": errors[0].splitlines()[0]}
        else:
            yield {"processes": count, "images": "256 px", "decode": FAST, **_against(bench, sum(found))}


SECTIONS: dict[str, Section] = {
    "encoder": encoder,
    "job": job,
    "decoding": decoding,
    "processes": processes,
    "captions": captions,
}
