"""Beam Curator beside clip-retrieval and NeMo Curator: the same shards, the same weights, the same machine.

python -m benchmarks.peers --install      makes an environment for each peer (several GB), once
python -m benchmarks.peers                measures

Every job is a process of its own. What it takes to start (imports, loading, warming up) is measured on a shard with
one image and taken off, so that rates are those of a long job. clip-retrieval writes embeddings; NeMo Curator here
reads and embeds, and writes nothing; Beam Curator embeds, scores, writes everything and copies what it keeps.
"""

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import photos
from benchmarks.photos import PhotoShards
from benchmarks.processes import CommandFailedError, ProcessRun, run
from benchmarks.tables import machine, markdown, usable_cores
from benchmarks.timing import interleaved, median, per_second
from benchmarks.weights import random_checkpoint

# What the last lines of a failed installation or job tell is printed, not hidden: versions move on.
PACKAGES = {
    # `clip-anytorch` imports pkg_resources.packaging, which later setuptools have not.
    "clip-retrieval": ["clip-retrieval==2.45.0", "setuptools<70"],
    # It calls what transformers 5 has changed; the reader needs DALI, also on the CPU.
    "nemo-curator": ["nemo-curator==1.4.0", "transformers<5", "nvidia-dali-cuda120"],
}
_OFFLINE = {"HF_HUB_OFFLINE": "1"}
_NEMO_SCRIPT = Path(__file__).parent / "peer_scripts" / "nemo_images.py"


@dataclass(frozen=True)
class Setting:
    """The model and the places that all jobs are given.

    Attributes:
      model: an open_clip architecture with QuickGELU.
      checkpoint: its weights.
      batch_size: images in a pass.
      environments: where the peers are installed.
      work: a directory for output.
    """

    model: str
    checkpoint: Path
    batch_size: int
    environments: Path
    work: Path

    def python_of(self, peer: str) -> Path:
        """The peer's own interpreter."""
        return self.environments / peer / "bin" / "python"


def beam_curator(precision: str, setting: Setting, shards: PhotoShards) -> ProcessRun:
    """The main job, with heads that need no weights."""
    models = ["--clip_model", setting.model, "--clip_pretrained", str(setting.checkpoint), "--precision", precision]
    models += ["--aesthetic_model", "untrained", "--nsfw_model", "untrained", "--batch_size", str(setting.batch_size)]
    directories = ["--input", str(shards.directory), "--output", str(setting.work / "ours")]
    return run([sys.executable, "-m", "pipelines.curate_images", *directories, *models])


def clip_retrieval(setting: Setting, shards: PhotoShards) -> ProcessRun:
    """Its `inference` command on images alone, with a worker for each core."""
    tars = shards.tars
    names = f"{shards.directory}/{{{tars[0].stem}..{tars[-1].stem}}}.tar" if len(tars) > 1 else str(tars[0])
    flags = {
        "input_dataset": names,
        "output_folder": str(setting.work / "clip-retrieval"),
        "input_format": "webdataset",
        "enable_text": "False",
        "clip_model": f"open_clip:{setting.model}/{setting.checkpoint}",
        "batch_size": str(setting.batch_size),
        "num_prepro_workers": str(min(usable_cores(), len(tars))),  # each needs a shard
    }
    command = setting.python_of("clip-retrieval").with_name("clip-retrieval")
    return run([str(command), "inference", *(part for flag in flags.items() for part in (f"--{flag[0]}", flag[1]))])


def nemo_curator(setting: Setting, shards: PhotoShards) -> ProcessRun:
    """Its reader and its CLIP stage, with its default executor."""
    model_dir = setting.checkpoint.parent / f"{setting.checkpoint.stem}-nemo"
    script = [str(setting.python_of("nemo-curator")), str(_NEMO_SCRIPT)]
    if not model_dir.exists():
        run([*script, "convert", str(setting.checkpoint), str(model_dir)], _OFFLINE)
    measured = run([*script, "run", str(shards.directory), str(model_dir), str(setting.batch_size)], _OFFLINE)
    if f"embedded {shards.images}\n" not in measured.output:
        raise CommandFailedError(f"NeMo Curator did not embed {shards.images} images:\n{measured.output[-2000:]}")
    return measured


JOBS: Mapping[str, tuple[str | None, Callable[[Setting, PhotoShards], ProcessRun]]] = {
    "Beam Curator, fp32": (None, lambda setting, shards: beam_curator("fp32", setting, shards)),
    "Beam Curator, auto": (None, lambda setting, shards: beam_curator("auto", setting, shards)),
    "clip-retrieval": ("clip-retrieval", clip_retrieval),
    "NeMo Curator": ("nemo-curator", nemo_curator),
}
"""Name of a job: the environment that it needs, if any, and what runs it."""


def install(environments: Path, wanted: Mapping[str, Sequence[str]] = PACKAGES, pinned: bool = True) -> int:
    """Makes the peers' environments; says which cannot be made, and why.

    Args:
      environments: where they go.
      wanted: the packages of each.
      pinned: whether each has our torch.
    """
    import torch
    import torchvision

    pins = [f"{module.__name__}=={module.__version__.split('+')[0]}" for module in (torch, torchvision)]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        sys.exit("uv is not installed: pip install uv")
    code = 0
    for peer, packages in wanted.items():
        environment = environments / peer
        into = ["--quiet", "--compile-bytecode", "--python", str(environment / "bin" / "python")]
        steps = [
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
            [uv, "pip", "install", *into, *packages, *(pins if pinned else ())],
        ]
        for step in steps:
            print(" ".join(step), flush=True)
            if subprocess.run(step, check=False).returncode:
                print(f"{peer} could not be installed")
                code = 1
                break
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table for each model."""
    flags = _parse(argv)
    environments = (flags.peers_dir or flags.cache / "peers").absolute()
    if flags.install:
        return install(environments)
    print(machine())
    one = photos.shards_of(flags, images=1)
    shards = photos.shards_of(flags)
    for model in flags.models:
        checkpoint = random_checkpoint(flags.cache.absolute(), model)
        assert checkpoint is not None
        with tempfile.TemporaryDirectory(prefix="peers-", dir=flags.cache) as work:
            setting = Setting(model, checkpoint, flags.batch_size, environments, Path(work).absolute())
            print(f"\n{shards}; micro-batches of {flags.batch_size}\n")
            print(report(model, shards, measure(setting, shards, one, flags.jobs, flags.repetitions)), flush=True)
    return 0


def measure(
    setting: Setting, shards: PhotoShards, one: PhotoShards, names: Sequence[str], repetitions: int
) -> dict[str, list[tuple[ProcessRun, ProcessRun]] | str]:
    """Runs each job on one image and on all; gives the runs, or why there are none."""
    results: dict[str, list[tuple[ProcessRun, ProcessRun]] | str] = {}
    able = {}
    for name in names:
        environment, job = JOBS[name]
        if environment and not setting.python_of(environment).exists():
            results[name] = f"not installed: python -m benchmarks.peers --install --peers_dir {setting.environments}"
            continue
        try:
            _run_fresh(job, setting, one)  # files come into the system's cache
        except CommandFailedError as error:
            results[name] = f"does not run here: {error}"
            continue
        able[name] = job

    def pair(job: Callable[[Setting, PhotoShards], ProcessRun]) -> tuple[ProcessRun, ProcessRun]:
        return _run_fresh(job, setting, one), _run_fresh(job, setting, shards)

    measured = interleaved({name: partial(pair, job) for name, job in able.items()}, repetitions)
    return {**results, **measured}


def _run_fresh(job: Callable[[Setting, PhotoShards], ProcessRun], setting: Setting, shards: PhotoShards) -> ProcessRun:
    for left in setting.work.iterdir():
        shutil.rmtree(left)
    return job(setting, shards)


def report(model: str, shards: PhotoShards, results: Mapping[str, list[tuple[ProcessRun, ProcessRun]] | str]) -> str:
    """The table of one model, and below it what could not be run."""
    rows, notes = [], []
    rates = {name: _rate(shards, runs) for name, runs in results.items() if not isinstance(runs, str)}
    best = max((rate for rate in rates.values() if not math.isnan(rate)), default=math.nan)
    for name, runs in results.items():
        if isinstance(runs, str):
            notes.append(f"{name}: {runs}")
            continue
        if math.isnan(rates[name]):
            notes.append(f"{name}: {shards.images} images took no longer than one: give more --images")
            continue
        more = shards.images - 1
        cpu = median([(whole.cpu_seconds - start.cpu_seconds) / more for start, whole in runs])
        rows.append(
            [
                name,
                f"{rates[name]:.2f}",
                f"{rates[name] / best:.2f}",
                f"{cpu:.2f} s",
                f"{median([start.seconds for start, _ in runs]):.0f} s",
                f"{max(whole.peak_bytes for _, whole in runs) / 1e9:.2f} GB",
            ]
        )
    header = [f"{model}, {shards.images} images", "images/s", "of the best", "CPU an image", "start", "peak memory"]
    return "\n\n".join([markdown(header, rows), *notes])


def _rate(shards: PhotoShards, runs: list[tuple[ProcessRun, ProcessRun]]) -> float:
    """Images per second beyond the start."""
    return per_second(shards.images - 1, [whole.seconds - start.seconds for start, whole in runs])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    photos.add_flags(parser, images=96)
    parser.set_defaults(images_per_shard=24)
    parser.add_argument("--models", nargs="+", default=["ViT-L-14-quickgelu"], help="open_clip architectures")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS), help="(default: all)")
    parser.add_argument("--batch_size", type=int, default=32, help="(default %(default)s)")
    parser.add_argument("--repetitions", type=int, default=1, help="of each job, in turn (default %(default)s)")
    parser.add_argument("--install", action="store_true", help="make the peers' environments, and stop")
    parser.add_argument("--peers_dir", type=Path, help="where they are (default: peers/ in --cache)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
