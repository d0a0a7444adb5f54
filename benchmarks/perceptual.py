"""Measures how well copies are told from pictures that look alike, and how fast all pairs of hashes are found.

python -m benchmarks.perceptual                      drawn pictures, and photographs of installed packages
python -m benchmarks.perceptual --photos DIR         those in a directory, or in tars there, as well
python -m benchmarks.perceptual --hashes 1000000     the time that the join takes, with 300,000 near copies and without

Rules of peers stand beside ours in a few lines of their own, on the same pictures: imagededup's (64-bit hashes within
10 bits) and that of cleanvision, data-juicer and COYO (equal 64-bit hashes). Their hashes are ours, which is two bits
from theirs at most for nearly all pictures; so their figures are those of the rule, not of the package.
"""

from __future__ import annotations

import argparse
import io
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from beam_curator.duplicates.competitors import HASHES
from beam_curator.duplicates.hashes import BITS, EDITS, TEXTURE, Hashes, hashes_of
from beam_curator.duplicates.perceptual import Bits, perceptual_edges
from beam_curator.images import picture_hashes
from benchmarks import lookalikes
from benchmarks.photos import draw_jpeg
from benchmarks.products import PRODUCTS
from benchmarks.tables import machine, markdown

_BEYOND = "watermark"
"""The edit that changes what is seen."""

Rule = Callable[["Pictures", np.ndarray, np.ndarray], np.ndarray]


class Pictures:
    """Hashes of pictures, and which have texture enough to be compared."""

    def __init__(self, images: Sequence[Image.Image]) -> None:
        facts = [picture_hashes(image) for image in images]
        self.hashes, self.there = hashes_of(*([getattr(one, name) for one in facts] for name in HASHES))
        self.coarse = np.array([int(one.phash, 16) for one in facts], np.uint64)

    def coarse_bits(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Counts in how many of 64 bits pairs differ, whatever their texture."""
        differing = (self.coarse[one] ^ self.coarse[other]).astype("<u8")
        return np.unpackbits(differing.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)


def _ours(pictures: Pictures, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    near = ~np.isnan(Bits(pictures.hashes).distances(one, other))
    return near & pictures.there[one] & pictures.there[other]


RULES: Mapping[str, Rule] = {
    "Beam Curator": _ours,
    "imagededup's rule (64 bits, <= 10)": lambda pictures, one, other: pictures.coarse_bits(one, other) <= 10,
    "cleanvision's rule (64 bits, equal)": lambda pictures, one, other: pictures.coarse_bits(one, other) == 0,
}


def recall(images: Sequence[Image.Image]) -> dict[str, dict[str, float]]:
    """Measures for each edit, by rule, which part of the edited copies is found."""
    found = {}
    for edit, change in lookalikes.EDITS.items():
        pictures = Pictures([*images, *map(change, images)])
        one = np.arange(len(images))
        found[edit] = {name: float(rule(pictures, one, one + len(images)).mean()) for name, rule in RULES.items()}
    return found


def wrong(images: Sequence[Image.Image]) -> tuple[int, dict[str, int]]:
    """Counts the pairs of pictures that are all different, and by rule how many are taken for copies."""
    pictures = Pictures(images)
    one, other = np.triu_indices(len(images), 1)
    return len(one), {name: int(rule(pictures, one, other).sum()) for name, rule in RULES.items()}


def report(sets: Mapping[str, Sequence[Image.Image]], alike: Mapping[str, Sequence[Image.Image]]) -> str:
    """The tables."""
    tables = []
    for name, images in sets.items():
        found = recall(images)
        found[f"all but the {_BEYOND}"] = {
            rule: float(np.mean([of[rule] for edit, of in found.items() if edit != _BEYOND])) for rule in RULES
        }
        rows = [[edit, *(f"{of[rule]:.3f}" for rule in RULES)] for edit, of in found.items()]
        tables.append(markdown([f"recall, {len(images)} {name}", *RULES], rows))
    rows = []
    for name, images in [*sets.items(), *alike.items()]:
        pairs, of = wrong(images)
        rows.append([f"{len(images)} {name}", f"{pairs:,}", *(f"{of[rule]:,}" for rule in RULES)])
    tables.append(markdown(["different pictures taken for copies", "pairs", *RULES], rows))
    return "\n\n".join(tables)


def planted(count: int, copies: int, near: int, seed: int = 0) -> Hashes:
    """Different random hashes, some of them copies with a few bits changed, and `near` all copies of one; edits change
    as many bits of each."""
    random = np.random.default_rng(seed)
    fine = random.integers(0, 2**64, (count, 4), dtype=np.uint64)
    places = random.permutation(count)[: copies + near]
    for rows, sources in (
        (places[:copies], random.integers(0, count, copies)),
        (places[copies:], np.full(near, places[-1] if near else 0)),
    ):
        fine[rows] = fine[sources]
        _flip(random, fine, rows)
    edited = np.stack([fine] * EDITS)
    for words in edited:
        _flip(random, words, np.arange(count))
    hashes = Hashes(fine, np.full(count, TEXTURE, np.int32), np.zeros((count, 48), np.uint8), edited)
    _, first = np.unique(hashes.ids, return_index=True)
    return hashes.take(np.sort(first))


def _flip(random: np.random.Generator, words: np.ndarray, rows: np.ndarray) -> None:
    """Flips about 14 bits of some of these hashes: uint64 [n, 4], in place."""
    for _ in range(24):
        some = rows[random.random(len(rows)) < 0.6]
        flipped = np.uint64(1) << random.integers(0, 64, len(some)).astype(np.uint64)
        words[some, random.integers(0, 4, len(some))] ^= flipped


def join_times(count: int, near: int) -> str:
    """Measures how long the join takes, without near copies of one picture and with so many."""
    rows = []
    for clump in (0, near):
        hashes = planted(count, count // 5, clump)
        begun = time.process_time()
        edges = perceptual_edges(hashes)
        seconds = time.process_time() - begun
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        rows.append([f"{len(hashes):,}", f"{clump:,}", f"{len(edges.first):,}", f"{seconds:.1f}", f"{memory:.0f}"])
    return markdown(["hashes", "near copies of one", "pairs listed", "CPU time, s", "peak MB of the process"], rows)


def _drawn(kind: Callable[[np.random.Generator], Image.Image], count: int, seed: int) -> list[Image.Image]:
    return [kind(np.random.default_rng([seed, index])) for index in range(count)]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.perceptual", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="directories of photographs, or of tars")
    parser.add_argument("--drawn", type=int, default=100, help="drawn photographs (default %(default)s)")
    parser.add_argument(
        "--alike", type=int, default=1000, help="drawn products; a tenth of other kinds (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of these (default %(default)s)")
    parser.add_argument("--hashes", type=int, default=0, help="measure the join of so many as well")
    parser.add_argument("--near", type=int, default=300_000, help="near copies of one among them (default %(default)s)")
    flags = parser.parse_args(argv)
    print(f"{machine()}\n{BITS} of 256 bits, texture {TEXTURE}\n")
    photographs = dict(lookalikes.photographs(flags.photos))
    drawn = [Image.open(io.BytesIO(draw_jpeg(0, index, 512))).convert("RGB") for index in range(flags.drawn)]
    sets = {"photographs": list(photographs.values()), "drawn photographs": drawn}
    counts = {name: flags.alike if name == "products on white" else flags.alike // 10 for name in lookalikes.UNLIKE}
    alike = {name: _drawn(kind, counts[name], flags.seed) for name, kind in lookalikes.UNLIKE.items()}
    alike |= {name: _drawn(kind, flags.alike, flags.seed) for name, kind in PRODUCTS.items()}
    print(report({name: images for name, images in sets.items() if images}, alike))
    if flags.hashes:
        print(f"\n{join_times(flags.hashes, min(flags.near, flags.hashes))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
