"""Near copies of pictures: Beam Curator beside imagededup and cleanvision, their packages on the same files.

python -m benchmarks.duplicate_peers --install    makes an environment for each peer, once
python -m benchmarks.duplicate_peers              1,000 pictures

Photograph-like pictures and products on white are drawn; of every fifth there is an edited copy beside it, in turns by
each edit of `lookalikes.EDITS`. Recall is the part of these copies that are taken for copies of their own picture; a
wrong pair is of two different pictures; an orphan is a picture that is dropped, and none that stays was taken for a
copy of it. Times are of one process, from files to what goes, without imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from beam_curator.duplicates.competitors import HASHES
from beam_curator.duplicates.hashes import hashes_of
from beam_curator.duplicates.keepers import Relation, keep_one, numbered
from beam_curator.duplicates.perceptual import Bits, perceptual_edges
from beam_curator.images import picture_hashes
from benchmarks import lookalikes, peers, photos
from benchmarks.tables import machine, markdown

PACKAGES = {"imagededup": ["imagededup"], "cleanvision": ["cleanvision"]}
_SCRIPT = Path(__file__).parent / "peer_scripts" / "picture_duplicates.py"
_EVERY = 5

Found = Mapping[str, Any]
"""`pairs` of names, `dropped` names and `seconds`."""


def draw(directory: Path, count: int) -> dict[str, str]:
    """Draws so many pictures, and gives the pictures that copies are of: both by their names."""
    edits = list(lookalikes.EDITS.values())
    copies = {}
    originals = count * _EVERY // (_EVERY + 1)
    for index in range(originals):
        rng = np.random.default_rng([7, index])
        image = lookalikes.product(rng) if index % 4 == 3 else lookalikes.photograph_like(index)
        name = f"{index:05d}.jpg"
        image.save(directory / name, quality=90)
        if index % _EVERY == 0:
            copy = f"{index:05d}-copy.jpg"
            edits[index // _EVERY % len(edits)](image).save(directory / copy, quality=90)
            copies[copy] = name
    return copies


def ours(directory: Path) -> Found:
    """Finds what `--duplicates perceptual` drops, the larger picture stays; in this process and one thread."""
    begun = time.perf_counter()
    names = sorted(path.name for path in directory.iterdir())
    facts, sizes = [], []
    for name in names:
        with Image.open(directory / name) as image:
            sizes.append(image.width * image.height)
            facts.append(picture_hashes(image.convert("RGB")))
    columns = [[getattr(one, name) for one in facts] for name in HASHES]
    hashes, there = hashes_of(*columns)
    order = np.lexsort((np.arange(len(names)), -np.array(sizes)))
    classes = numbered(np.unique(hashes.ids, return_inverse=True)[1], there, order)
    hashed = np.flatnonzero(there)
    _, first = np.unique(classes[hashed], return_index=True)
    distinct = hashes.take(hashed[first])
    edges = perceptual_edges(distinct)
    everyone = np.ones(len(names), bool)
    drops = keep_one(order, everyone, ~everyone, [Relation("perceptual", classes, edges, Bits(distinct), 0.0)])
    seconds = time.perf_counter() - begun
    rows: dict[int, list[str]] = {}
    for name, of in zip(names, classes.tolist(), strict=True):
        rows.setdefault(of, []).append(name)
    near = zip(edges.first.tolist(), edges.second.tolist(), strict=True)
    pairs = {tuple(sorted((a, b))) for one, other in near for a in rows[one] for b in rows[other]}
    pairs |= {(a, b) for of, same in rows.items() if of >= 0 for a in same for b in same if a < b}
    return {"pairs": sorted(pairs), "dropped": [names[row] for row in drops.rows.tolist()], "seconds": seconds}


def peer(name: str, python: Path, directory: Path) -> Found | str:
    """Runs a peer; gives what it finds, or the last line of why it does not."""
    if not python.exists():
        return "not installed: --install"
    done = subprocess.run(
        [str(python), str(_SCRIPT), name, str(directory)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["failed"])[-1]
    return dict(json.loads(done.stdout))


def row_of(found: Found, copies: Mapping[str, str]) -> list[str]:
    """Recall, wrong pairs, dropped, orphans, seconds."""
    pairs = {tuple(pair) for pair in found["pairs"]}
    due = {tuple(sorted(pair)) for pair in copies.items()}
    dropped = set(found["dropped"])
    staying = {one for pair in pairs for one, other in (pair, pair[::-1]) if other not in dropped}
    figures = (len(pairs - due), len(dropped), len(dropped - staying))
    return [f"{len(pairs & due) / len(due):.3f}", *(f"{one:,}" for one in figures), f"{found['seconds']:.1f}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Installs the peers, or measures and prints a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.duplicate_peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--install", action="store_true", help="make the peers' environments")
    parser.add_argument("--environments", type=Path, default=photos.default_cache() / "peers", help="where they are")
    parser.add_argument("--pictures", type=int, default=1000)
    flags = parser.parse_args(argv)
    if flags.install:
        return peers.install(flags.environments, PACKAGES, pinned=False)
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        directory = Path(name)
        copies = draw(directory, flags.pictures)
        results: dict[str, Found | str] = {"Beam Curator": ours(directory)}
        for package in PACKAGES:
            results[package] = peer(package, flags.environments / package / "bin" / "python", directory)
        rows = [
            [told, *(row_of(found, copies) if not isinstance(found, str) else [found, "", "", "", ""])]
            for told, found in results.items()
        ]
        count = len(list(directory.iterdir()))
    print(f"{machine()}\n{count} pictures, {len(copies)} of them edited copies of others\n")
    print(markdown(["", "recall", "wrong pairs", "dropped", "orphans", "seconds"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
