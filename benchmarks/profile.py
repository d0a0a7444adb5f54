"""Finds where the time of the main job goes, by sampling all its threads with py-spy.

python -m benchmarks.profile                                     the tiny model: everything but the model
python -m benchmarks.profile --model ViT-B-32-quickgelu --images 256
python -m benchmarks.profile --svg profile.svg                   also a flame graph

Threads that run count, as far as they work on shards: importing, loading and waiting do not.
"""

import argparse
import collections
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from beam_curator.defaults import TINY_UNTRAINED
from beam_curator.models.encoders.settings import EXACT, FAST
from benchmarks import photos
from benchmarks.processes import CommandFailedError, run
from benchmarks.tables import machine, markdown
from benchmarks.weights import random_checkpoint

# The first of these that a stack has, from its root, says what was being done; the order is that of the table.
PLACES = {
    "decode: JPEG to pixels": r"load \(PIL/ImageFile|jpeg_levels \(",
    "perceptual hashes": r"picture_hashes \(",
    "resize and crop": r"preprocess \(beam_curator/",
    "decode: the rest (sha256, orientation, ...)": r"decode \(beam_curator/images",
    "model": r"\((?:beam_curator/models/encoders/device_model|torch/)",
    "between decode threads and model": r"\((?:beam_curator/models/(?:encoders|pixels)|concurrent/futures)",
    "heads": r"(?:score_batch|with_scores|_Score|heads) ?.*\(beam_curator/",
    "score parts (Parquet)": r"write_part \(",
    "output shards": r"\(beam_curator/(?:transforms/writing|output/(?:output_shard|copying|placing|added_members))",
    "reading shards": r"\(beam_curator/(?:transforms/(?:planning|reading)|sources/)",
    "Beam: building and steering the pipeline": r"run_pipeline \(beam_curator/",
    "rows, ledger, manifest": r"\(beam_curator/",
    "Beam: the rest": r"\(apache_beam/",
}
_WORK = re.compile(r"\((?:beam_curator|apache_beam)/|decode_")
_IMPORTING = "<frozen importlib"
# py-spy takes some threads that wait for others to be running.
_WAITING = re.compile(
    r";(?:wait|_worker|join|get|result|acquire|select|_bootstrap_inner|run) "
    r"\((?:threading|concurrent/futures/\w+|queue|selectors)\.py[^;]*$"
)
OTHER = "other"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job under py-spy, and prints the table."""
    flags = _parse(argv)
    print(machine())
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        sys.exit("py-spy is not installed: pip install 'beam-curator[benchmarks]'")
    shards = photos.shards_of(flags)
    print(f"{shards}\n")
    with tempfile.TemporaryDirectory(prefix="profile-", dir=flags.cache) as work:
        stacks = Path(work, "stacks.txt")
        job = _job(flags, shards.directory, Path(work, "out"))
        # Stopping the job for each sample would show what other threads do as waiting, and take most of the time.
        record = [spy, "record", "--nonblocking", "--rate", str(flags.rate), "--threads", "--format", "raw"]
        record += ["--output", str(stacks)]
        try:
            run([*record, "--", sys.executable, *job])
            if flags.svg:
                graph = [*record[:-3], "flamegraph", "--output", str(flags.svg)]
                run([*graph, "--", sys.executable, *job, "--overwrite"])
        except CommandFailedError as error:
            sys.exit(str(error))
        print(report(stacks.read_text().splitlines(), flags.rate, shards.images))
    return 0


def report(lines: Iterable[str], rate: int, images: int) -> str:
    """The table of what py-spy's raw lines say: `frame;frame;... samples`, from the root."""
    samples: collections.Counter[str] = collections.Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        place = place_of(stack)
        if place:
            samples[place] += int(count)
    total = sum(samples.values())
    rows = [
        [place, f"{1e3 * samples[place] / rate / images:.2f}", f"{100 * samples[place] / max(1, total):.1f} %"]
        for place in [*PLACES, OTHER]
        if samples[place]
    ]
    rows.append(["all", f"{1e3 * total / rate / images:.2f}", "100 %"])
    return markdown(["running threads", "ms an image", "share"], rows)


def place_of(stack: str) -> str | None:
    """Tells what a stack was doing; None for starting, importing and waiting."""
    if _IMPORTING in stack or _WAITING.search(stack) or not _WORK.search(stack):
        return None
    return next((place for place, pattern in PLACES.items() if re.search(pattern, stack)), OTHER)


def _job(flags: argparse.Namespace, raw: Path, output: Path) -> list[str]:
    """Arguments of Python for the main job."""
    argv = ["-m", "pipelines.curate_images", "--input", str(raw), "--output", str(output), "--clip_model", flags.model]
    argv += ["--aesthetic_model", "untrained", "--nsfw_model", "untrained", "--precision", flags.precision]
    argv += ["--decode", flags.decode]
    checkpoint = random_checkpoint(flags.cache.absolute(), flags.model)
    return argv + (["--clip_pretrained", str(checkpoint)] if checkpoint else [])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    photos.add_flags(parser, images=1000)
    parser.add_argument("--model", default=TINY_UNTRAINED, help="an open_clip architecture (default %(default)s)")
    parser.add_argument("--precision", default="auto", help="(default %(default)s)")
    parser.add_argument("--decode", choices=(EXACT, FAST), default=EXACT, help="(default %(default)s)")
    parser.add_argument("--rate", type=int, default=100, help="samples a second (default %(default)s)")
    parser.add_argument("--svg", type=Path, help="where to put a flame graph as well; runs the job once more")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
