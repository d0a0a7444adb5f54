"""Write drawn example shards, with the usual defects planted in them, to try the main job on.

python -m examples.make_demo_shards --output demo/raw
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from beam_curator.errors import CurationError, UsageError
from examples.demo_shards.planting import DemoSize
from examples.demo_shards.shards import DemoShards, write_demo_shards


def main(argv: Sequence[str] | None = None) -> int:
    """Write the shards and say what is in them; the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        demo = DemoSize(arguments.shards, arguments.samples_per_shard, arguments.seed)
        written = write_demo_shards(arguments.output, demo)
    except OSError as error:
        print(f"make_demo_shards: cannot write to --output={arguments.output}: {error}", file=sys.stderr)
        return 2
    except CurationError as error:
        print(f"make_demo_shards: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(_told(written, arguments.output))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make_demo_shards", description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for 00000.tar and so on")
    parser.add_argument("--shards", type=int, default=5, help="number of shards (default 5)")
    parser.add_argument("--samples_per_shard", type=int, default=64, help="samples in each (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="decides every byte (default 0)")
    return parser


def _told(written: DemoShards, output: Path) -> str:
    last = written.paths[-1].name
    planted = ", ".join(f"{count} {planted.value}{'s' * (count > 1)}" for planted, count in written.planted.items())
    return (
        f"Wrote {len(written.paths)} shards with {written.samples} samples "
        f"({written.size_bytes / 1e6:.1f} MB) to {output}\n"
        f"Planted: {planted}\n"
        f"{last} is cut inside an image: {written.samples - written.readable} of its samples are lost, "
        f"{written.readable} samples come before the cut"
    )


if __name__ == "__main__":
    sys.exit(main())
