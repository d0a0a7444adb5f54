"""Draws mutants of images, and sees that each gives the same pixels or reason in any memory, and nothing on stderr.

python fuzz/mutate_images.py --count 30000 [FILES OR DIRECTORIES ...]

The files are checked as they are first. Mutants are drawn of the small ones among them, and of a picture in every
format that is decoded, each as often. It needs nothing but the project; the same seed draws the same ones.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import fuzz_images

MAX_FILE_BYTES = 32 << 20
MAX_MUTATED_BYTES = 32 << 10
HEADER_BYTES = 512


def mutant(data: bytes, choose: random.Random) -> bytes:
    """Makes one to three changes: of numbers, which most headers are made of; of single bytes; of what is there at
    all."""
    for _ in range(choose.randint(1, 3)):
        data = choose.choice((_with_other_number, _with_other_number, _with_other_bytes, _with_other_length))(
            data, choose
        )
    return fuzz_images.with_png_checksums(data) if choose.random() < 0.8 else data


def _with_other_number(data: bytes, choose: random.Random) -> bytes:
    size, order = choose.choice((1, 2, 2, 4)), choose.choice(("little", "big"))
    start = _place(data, choose)
    number = int.from_bytes(data[start : start + size], order)
    other = choose.choice((number * 2, number // 2, number + 1, number - 1, number * 4, number ^ 3, 0, 1, -1))
    return data[:start] + (other % (1 << (8 * size))).to_bytes(size, order) + data[start + size :]


def _with_other_bytes(data: bytes, choose: random.Random) -> bytes:
    start, size = _place(data, choose), choose.choice((1, 1, 2, 4, 16))
    return data[:start] + choose.randbytes(size) + data[start + size :]


def _with_other_length(data: bytes, choose: random.Random) -> bytes:
    start, size = choose.randrange(len(data) + 1), choose.choice((1, 4, 64, 1024))
    kind = choose.randrange(3)
    if kind == 0:
        return data[:start]
    return data[:start] + (data[start + size :] if kind == 1 else data[start : start + size] * 2 + data[start + size :])


def _place(data: bytes, choose: random.Random) -> int:
    """Headers stand at the beginning, and a TIFF's often at the end."""
    kind = choose.randrange(4)
    if kind == 0 or len(data) <= HEADER_BYTES:
        return choose.randrange(len(data) + 1)
    return choose.randrange(HEADER_BYTES) + (len(data) - HEADER_BYTES if kind == 1 else 0)


def files_in(paths: Iterable[str]) -> Iterator[pathlib.Path]:
    """The files that these are, or that are in these directories."""
    for path in map(pathlib.Path, paths):
        yield from sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink()) if path.is_dir() else [path]


@contextmanager
def stderr_in(path: str) -> Iterator[None]:
    """Writes to a file, meanwhile, what this process writes to stderr, C libraries too."""
    sys.stderr.flush()
    kept = os.dup(2)
    with pathlib.Path(path).open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


class Tally:
    """Counts what came of the inputs, by kind; those that broke a promise are kept in a directory."""

    def __init__(self, keep: pathlib.Path) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self._keep = keep

    def check(self, data: bytes, name: str) -> None:
        """Checks one input."""
        with tempfile.NamedTemporaryFile() as said:
            try:
                with stderr_in(said.name):
                    found = fuzz_images.checked_outcome(data)
                kind = f"decoded {found[0].format}" if len(found) == 2 else f"failed: {str(found[0]).split(': ')[0]}"
            except AssertionError as error:
                kind = self._broken("DIFFERS", data, name, str(error))
            if pathlib.Path(said.name).stat().st_size:
                kind = self._broken("SPEAKS", data, name, pathlib.Path(said.name).read_text(errors="replace"))
        self.counts[kind] += 1

    def _broken(self, kind: str, data: bytes, name: str, why: str) -> str:
        self._keep.mkdir(parents=True, exist_ok=True)
        path = self._keep / f"{kind}-{len(list(self._keep.iterdir()))}"
        path.write_bytes(data)
        print(f"{kind}: {name}, kept as {path}: {why[:300]}", flush=True)
        return kind

    def show(self, title: str) -> None:
        """Prints the counts."""
        decoded = sum(n for kind, n in self.counts.items() if kind.startswith("decoded"))
        failed = sum(n for kind, n in self.counts.items() if kind.startswith("failed"))
        print(
            f"{title}: {self.counts.total()} inputs, {decoded} decoded, {failed} failed, "
            f"{self.counts['DIFFERS']} differ, {self.counts['SPEAKS']} with words on stderr"
        )
        for kind, count in self.counts.most_common():
            print(f"  {count:7} {kind}")


def main() -> int:
    """Returns the exit code: 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=pathlib.Path, default=pathlib.Path("mutants"), help="where failures are kept")
    parser.add_argument("paths", nargs="*")
    flags = parser.parse_args()

    whole, small = Tally(flags.keep), fuzz_images.seeds()
    for path in files_in(flags.paths):
        if path.stat().st_size <= MAX_FILE_BYTES:
            data = path.read_bytes()
            whole.check(data, str(path))
            if data and len(data) <= MAX_MUTATED_BYTES and len(fuzz_images.outcome(data)) == 2:
                small.append(data)
    if flags.paths:
        whole.show("files as they are")
    mutants, choose = Tally(flags.keep), random.Random(flags.seed)
    for number in range(flags.count):
        mutants.check(mutant(small[number % len(small)], choose), f"mutant {number}")
    mutants.show(f"mutants of {len(small)} files")
    return 1 if any(tally.counts[kind] for tally in (whole, mutants) for kind in ("DIFFERS", "SPEAKS")) else 0


if __name__ == "__main__":
    sys.exit(main())
