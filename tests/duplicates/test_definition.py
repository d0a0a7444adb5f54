"""All kinds of duplicates together, in many settings one after the other, are what their definitions say."""

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from beam_curator.duplicates import edges, hash_join, keepers, semantic
from beam_curator.duplicates.competitors import Competitors, competitors_in
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.output import deduplicating, semantic_join, stored_vectors
from beam_curator.output.deduplicating import all_samples, find_duplicates, known_ids, plan_semantic_join, read_ids
from beam_curator.output.part_contents import StoredEmbeddings
from beam_curator.output.semantic_join import Assigned, compare_cells, group_cells, sort_block
from tests.duplicates.definition import Thing, bits_apart, cosine, what_goes

DIM = 6
IN_A_RANGE = 7


def things(rng: np.random.Generator, count: int, name: str, others: Sequence[Thing] = ()) -> list[Thing]:
    """Things most of which are others with some of it changed."""
    found = list(others)
    while len(found) < len(others) + count:
        of = found[rng.integers(len(found))] if found and rng.random() < 0.75 else _new(rng)
        found.append(_changed(rng, of, f"{name}-{len(found):03d}"))
    return found[len(others) :]


def _new(rng: np.random.Generator) -> Thing:
    colours = rng.integers(0, 256, (16, 3)) if rng.random() < 0.6 else np.full((16, 3), rng.integers(256))
    if rng.random() < 0.5:
        colours[: rng.integers(1, 9)] = rng.choice([255, 221, 60])
    return Thing(
        "",
        True,
        1,
        1,
        1.0,
        rng.bytes(32).hex(),
        (rng.bytes(32) if rng.random() < 0.9 else bytes(28) + rng.bytes(4)).hex(),
        int(rng.integers(20, 120)) * int(rng.choice([1, 4])),
        colours.astype(np.uint8).tobytes().hex(),
        rng.bytes(32).hex() if rng.random() < 0.9 else bytes(32).hex(),
        rng.bytes(32).hex() if rng.random() < 0.6 else None,
        None,
        _unit(rng.standard_normal(DIM)),
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def _changed(rng: np.random.Generator, of: Thing, id: str) -> Thing:
    """Changes some of a thing, and draws the ranks, the caption and what rules say anew, with many ties."""
    change: dict[str, object] = {}
    if rng.random() < 0.8:
        change["sha256"] = rng.bytes(32).hex() if rng.random() < 0.95 else None
        flipped = rng.choice(256, rng.choice([0, 0, 8, 20, 30, 34]), replace=False)
        assert of.phash256 is not None
        change["phash256"] = f"{int(of.phash256, 16) ^ sum(1 << int(bit) for bit in flipped):064x}"
        change |= _edited(rng, of)
    if rng.random() < 0.3:
        change["texture"] = int((of.texture or 0) * rng.uniform(0.4, 2))
    if rng.random() < 0.4 and of.colours is not None:
        levels = np.frombuffer(bytes.fromhex(of.colours), np.uint8).reshape(16, 3).astype(float)
        if rng.random() < 0.3:
            levels[:] = levels.mean(axis=1, keepdims=True)
        levels = levels * rng.choice([1, 1, 1.2]) + rng.integers(-3, 4, (16, 3))
        change["colours"] = np.clip(levels, 0, 255).astype(np.uint8).tobytes().hex()
    if rng.random() < 0.8:
        change["embedding"] = _unit(of.embedding.astype(float) + rng.standard_normal(DIM) * rng.choice([0, 0.05, 0.1]))
    caption = [None, "", " ", "a dog", "a dog "][rng.integers(5)]
    aesthetic = [None, float("nan"), 1.0, 2.0][rng.integers(4)]
    area, size = rng.integers(1, 4, 2).tolist()
    kept = bool(rng.random() < 0.9)
    return dataclasses.replace(
        of, id=id, kept=kept, area=area, bytes=size, aesthetic=aesthetic, caption=caption, **change
    )


def _edited(rng: np.random.Generator, of: Thing) -> dict[str, object]:
    """Makes a thing look as another does after an edit, or the other way round, but for some bits; or changes
    nothing."""
    name = str(rng.choice(["phash256_cropped", "phash256_clipped"]))
    flipped = sum(1 << int(bit) for bit in rng.choice(256, rng.choice([0, 6, 18, 20, 22]), replace=False))
    after, draw = vars(of)[name], rng.random()
    if draw < 0.2 and after is not None:
        return {"phash256": f"{int(after, 16) ^ flipped:064x}"}
    if draw < 0.4 and of.phash256 is not None:
        return {"phash256": rng.bytes(32).hex(), name: f"{int(of.phash256, 16) ^ flipped:064x}"}
    return {}


def _unseen(thing: Thing) -> Thing:
    """Makes a thing as a release had it that knew no such hash, or of an image without an embedding."""
    lacking: dict[str, None] = {"phash256_cropped": None, "phash256_clipped": None}
    if thing.area < 3:
        lacking |= {"phash256": None, "texture": None, "colours": None} if thing.area == 1 else {"colours": None}
    return dataclasses.replace(
        thing, embedding=thing.embedding * np.float16(0 if thing.bytes == 1 else np.nan), **lacking
    )


class Job:
    """Runs comparisons in one output directory, their tasks in some order."""

    def __init__(self, output: Path, sets: Sequence[Sequence[Thing]]) -> None:
        self.output, self.sets = str(output), sets

    def embeddings(self, part: str) -> StoredEmbeddings:
        """Gives the embeddings of a part."""
        of, start = map(int, part.split("-"))
        vectors = [thing.embedding for thing in self.sets[of][start : start + IN_A_RANGE]]
        return StoredEmbeddings(np.stack(vectors), np.zeros((0, 1), np.float16), np.zeros(0, np.int64))

    def run(
        self, which: Sequence[int], settings: DuplicateSettings, seed: int
    ) -> dict[str, tuple[str, str, float | None]]:
        """Runs the package on these sets; gives what goes of the last one."""
        shuffle = random.Random(seed).shuffle
        sets = [self._ranges(of, settings) for of in which]
        for ranges in sets:
            shuffle(ranges)
        every = [one for ranges in sets for one in ranges]
        samples = all_samples(sets, settings)
        ids = {one.range: known or read_ids(one.part, len(one.table)) for one, known in known_ids(self.output, every)}
        pieces = []
        if "semantic" in settings.kinds:
            tasks = list(plan_semantic_join(self.output, settings, samples, ids))
            blocks = [sort_block(task, Assigned()) for task in tasks]
            shuffle(blocks)
            pieces = list(map(compare_cells, group_cells(blocks)))
        drops = find_duplicates(self.output, settings, samples, ids, pieces)
        return {
            self._at(name, row).id: (of, kind, None if np.isnan(far) else far)
            for name, found in drops.items()
            for row, of, kind, far in zip(found.rows.tolist(), found.of, found.kind, found.distance, strict=True)
        }

    def _at(self, part: str, row: int) -> Thing:
        of, start = map(int, part.split("-"))
        return self.sets[of][start + row]

    def _ranges(self, of: int, settings: DuplicateSettings) -> list[Competitors]:
        return [self._range(of, start, settings) for start in range(0, len(self.sets[of]), IN_A_RANGE)]

    def _range(self, of: int, start: int, settings: DuplicateSettings) -> Competitors:
        some = self.sets[of][start : start + IN_A_RANGE]
        rows = [{**vars(one), "sample_id": one.id, "width": one.area, "height": 1} for one in some]
        table = pa.Table.from_pylist(rows, _SCHEMA).append_column(
            "status", pa.array(["kept" if one.kept else "dropped" for one in some])
        )
        name = f"{of}-{start}"
        return Competitors(name, "shard", start, name, competitors_in(table, settings))


_TEXTS = ("sample_id", "sha256", "phash256", "colours", "phash256_cropped", "phash256_clipped", "caption")
_SCHEMA = pa.schema(
    [*((name, pa.string()) for name in _TEXTS), ("aesthetic", pa.float32())]
    + [(name, pa.int32()) for name in ("width", "height", "texture", "bytes")]
)


@pytest.mark.parametrize(
    ("seed", "runs"), [(0, 4), *(pytest.param(seed, 12, marks=pytest.mark.slow) for seed in (4, 7))]
)
def test_what_goes_is_what_the_definitions_say(
    seed: int, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With thresholds that some pairs have exactly, whatever was compared in the directory before."""
    check(seed, runs, tmp_path, monkeypatch)


def check(seed: int, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng([11, seed])
    own = things(rng, int(rng.integers(20, 60)), "own")
    others = [things(rng, int(rng.integers(1, 20)), name, own) for name in ("one", "two")]
    sets = [[_unseen(one) if rng.random() < 0.1 else one for one in of_set] for of_set in (*others, own)]
    sets.append([*sets[2], *(dataclasses.replace(one, id=f"new-{one.id}") for one in sets[0])])  # its shards join later
    job = Job(tmp_path / "out", sets)
    monkeypatch.setattr(stored_vectors, "read_embeddings", job.embeddings)
    monkeypatch.setattr(deduplicating, "embeddings_digest", lambda part: f"digest of {part}")
    pairs = [(a, b) for at, a in enumerate(sets[2]) for b in sets[2][:at]]
    near = [found for a, b in pairs if (found := cosine(a.embedding, b.embedding)) is not None and found > 0.8]
    far = [found for a, b in pairs if (found := bits_apart(a, b, 96)) is not None]
    for run in range(runs):
        monkeypatch.setattr(edges, "NEIGHBOURS", int(rng.choice([1, 2, 5, 32])))
        monkeypatch.setattr(semantic, "_TILE", int(rng.choice([2, 8, 2048])))
        monkeypatch.setattr(semantic, "_FILLED_AT_A_TIME", int(rng.choice([1, 4, 64])))
        monkeypatch.setattr(hash_join, "_SMALL", int(rng.choice([2, 16, 128])))
        monkeypatch.setattr(keepers, "_AHEAD", int(rng.choice([1, 4, 1024])))
        monkeypatch.setattr(semantic_join, "_BLOCK", int(rng.choice([10, 1 << 16])))
        cells = int(rng.choice([1, 3, 11]))
        for module in (semantic, semantic_join):
            monkeypatch.setattr(module, "cells_for", lambda *_, cells=cells: cells)
        kinds = [kind for kind in ("exact", "perceptual", "semantic") if rng.random() < 0.7] or ["semantic"]
        least = float(rng.choice(near or [0.97])) if rng.random() < 0.7 else float(rng.choice([1.0, 0.97, 0.5, -1.0]))
        bits = int(rng.choice(far or [32])) if rng.random() < 0.7 else int(rng.choice([0, 32, 96]))
        keep, by_caption = str(rng.choice(["resolution", "aesthetic", "first"])), bool(rng.random() < 0.4)
        against = [of for of in (1, 0) if rng.random() < 0.4]
        by = "image+caption" if by_caption else "image"
        settings = DuplicateSettings(kinds, least, bits, keep, by, [f"other{of}" for of in against])
        which = [*against, int(rng.choice([2, 3]))]
        found = job.run(which, settings, run)
        due = what_goes([sets[of] for of in which], keep, kinds, least, bits, by_caption)
        assert found == due, (seed, run, settings)
