"""Semantic duplicates are all found, and the one answer is given, whatever the cells and the lists."""

import dataclasses
import threading

import numpy as np
import pytest
import torch

from beam_curator.duplicates import edges as edges_module
from beam_curator.duplicates import keepers, semantic
from beam_curator.duplicates import vectors as vectors_module
from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.keepers import Relation, keep_one, numbered
from beam_curator.duplicates.products import torch_products
from beam_curator.duplicates.semantic import Compared, Cosines, Join, semantic_edges
from beam_curator.duplicates.vectors import comparable, cosines_of_pairs, ids_of, unit_vectors
from tests.duplicates.vector_sets import cosines, kept_by_brute_force, planted


def compared(vectors: np.ndarray) -> Compared:
    """All of these, which differ, with one another."""
    no = np.zeros(len(vectors), bool)
    return Compared(lambda ranks: vectors[ranks], no, no, ids_of(vectors))


def pairs_of(edges: Edges) -> set[tuple[int, int]]:
    return set(zip(edges.first.tolist(), edges.second.tolist(), strict=True))


def distinct(vectors: np.ndarray) -> np.ndarray:
    _, first = np.unique(ids_of(vectors), return_index=True)
    return vectors[np.sort(first)]


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.99, 0.95, 0.8])
@pytest.mark.parametrize("cells", [1, 7, 90, None])
def test_every_pair_is_found(threshold: float, cells: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_module, "NEIGHBOURS", 10_000)
    monkeypatch.setattr(semantic, "cells_for", lambda *_: 60)
    vectors = distinct(planted(1500, 48, seed=cells or 0))
    found = semantic_edges(compared(vectors), Join(threshold, cells=cells, threads=2))
    one, other = np.nonzero(np.triu(cosines(vectors) >= threshold, 1))
    assert pairs_of(found) == set(zip(one.tolist(), other.tolist(), strict=True))
    np.testing.assert_array_equal(found.distance, cosines(vectors)[found.first, found.second])
    assert len(found.first)
    assert not len(found.cut)


@pytest.mark.parametrize(("tile", "filled"), [(16, 5), (16, 128), (64, 7), (2048, 3), (2048, 128)])
def test_all_neighbours_up_to_the_horizon_are_listed(tile: int, filled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_module, "NEIGHBOURS", 4)
    monkeypatch.setattr(semantic, "_TILE", tile)
    monkeypatch.setattr(semantic, "_FILLED_AT_A_TIME", filled)
    monkeypatch.setattr(semantic, "_WAITING", 5)
    vectors = distinct(planted(900, 32, seed=1))
    found = semantic_edges(compared(vectors), Join(0.9, cells=12))
    near = cosines(vectors) >= 0.9
    horizon = np.full(len(vectors), len(vectors))
    horizon[found.cut] = found.horizon
    listed = pairs_of(found)
    assert 0 < len(found.cut) < len(vectors)
    assert all(near[pair] for pair in listed)
    for one, other in np.argwhere(np.triu(near, 1)).tolist():
        if (one, other) not in listed:
            assert other > horizon[one]
            assert one > horizon[other]


def test_near_copies_of_one_picture_do_not_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "_TILE", 128)
    asked = []

    def propose(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        asked.append(len(one) * len(other))
        return one @ other.T

    random = np.random.default_rng(0)
    clump = random.standard_normal(64) + random.standard_normal((6000, 64)) * 0.02
    found = semantic_edges(compared(distinct(unit_vectors(clump))), Join(0.97, cells=1, propose=propose))
    assert len(found.first) < 6000 * 64
    assert sum(asked) < 6000 * 128 * 4


def test_strangers_among_near_copies_meet_them_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each tile there are some that never have many neighbours: nobody reads the copies once for each tile."""
    monkeypatch.setattr(semantic, "_TILE", 128)
    random = np.random.default_rng(0)
    vectors = random.standard_normal(64) + random.standard_normal((6000, 64)) * 0.02
    vectors[::50] = random.standard_normal((120, 64))
    vectors = distinct(unit_vectors(vectors))
    read = []

    def of_ranks(ranks: np.ndarray) -> np.ndarray:
        read.append(len(ranks))
        return vectors[ranks]

    found = semantic_edges(dataclasses.replace(compared(vectors), vectors=of_ranks), Join(0.97, cells=1))
    assert 5880 <= len(found.cut) < 5900
    assert sum(read) < 6000 * 16


@pytest.mark.slow
def test_near_copies_among_others_are_compared_in_few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, whole = [], semantic.pairs_within

    def counted(vectors, one: np.ndarray, other: np.ndarray, *more):
        asked.append(len(one) * len(other))
        return whole(vectors, one, other, *more)

    monkeypatch.setattr(semantic, "pairs_within", counted)
    random = np.random.default_rng(0)
    picture, others = random.standard_normal(64), random.standard_normal((5000, 64))
    copies = picture + random.standard_normal((2500, 64)) * 0.11  # two of them have a cosine of about 0.975
    found = semantic_edges(compared(distinct(unit_vectors(np.concatenate([others, copies])))), Join(0.97))
    assert 2500 * 16 < len(found.first) < 2500 * 32 * 2
    assert sum(asked) < 2500 * 128 * 8 + 5000 * 5000 / 4


def clump(kind: str, random: np.random.Generator) -> np.ndarray:
    """Many of one picture, without the picture: float16 [n, 48]."""
    picture = random.standard_normal(48)
    if kind == "chain":
        steps = random.standard_normal((600, 48)) * 0.13
        return unit_vectors(picture + np.cumsum(steps, axis=0))
    radius = {"clique": 0.08, "within": 0.155, "about": 0.172, "out": 0.19}[kind]
    noise = random.standard_normal((600, 48))
    noise -= np.outer(noise @ picture, picture) / (picture @ picture)
    noise *= radius / np.linalg.norm(noise, axis=1, keepdims=True)
    return unit_vectors(picture / np.linalg.norm(picture) + noise)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [7, 1024])
@pytest.mark.parametrize("kind", ["clique", "within", "about", "out", "chain"])
def test_clumps_have_the_keepers_that_brute_force_has(kind: str, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_module, "NEIGHBOURS", 4)
    monkeypatch.setattr(keepers, "_AHEAD", ahead)
    monkeypatch.setattr(keepers, "_TILE", ahead + 2)
    random = np.random.default_rng(len(kind))
    vectors = distinct(np.concatenate([clump(kind, random), clump(kind, random), planted(300, 48, seed=2)]))
    order = random.permutation(len(vectors))
    for groups in (None, random.integers(0, 2, len(vectors))):
        near = cosines(vectors) >= 0.97
        if groups is not None:
            near &= groups[:, None] == groups[None, :]
        relation = _relation(vectors, order, order, Join(0.97))
        everything, nothing = np.ones(len(vectors), bool), np.zeros(len(vectors), bool)
        drops = keep_one(order, everything, nothing, [relation], groups)
        expected = kept_by_brute_force(near, order, everything)
        assert dict(zip(drops.rows.tolist(), drops.of.tolist(), strict=True)) == expected
        np.testing.assert_array_equal(drops.distance, cosines(vectors)[drops.rows, drops.of])


@pytest.mark.slow
def test_copies_without_a_keeper_are_compared_once() -> None:
    """Half of them are near one that goes, and near nothing that stays."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((2500, 64))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    noise *= np.where(random.random((2500, 1)) < 0.5, 0.05, 0.22)
    first = noise[:1] / np.linalg.norm(noise[:1]) * 0.19
    vectors = distinct(unit_vectors(np.eye(1, 64) + np.concatenate([first, noise])))
    asked = []

    def propose(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        asked.append(len(one) * len(other))
        return one @ other.T

    order = np.arange(len(vectors))
    relation = _relation(vectors, order, order, Join(0.97, propose=propose))
    asked.clear()
    everything, nothing = np.ones(len(vectors), bool), np.zeros(len(vectors), bool)
    drops = keep_one(order, everything, nothing, [relation])
    near = cosines(vectors) >= 0.97
    assert dict(zip(drops.rows.tolist(), drops.of.tolist(), strict=True)) == kept_by_brute_force(
        near, order, everything
    )
    kept = len(vectors) - len(drops.rows)
    assert kept > 300
    assert sum(asked) < kept * (kept + 2 * keepers._AHEAD)


@pytest.mark.parametrize("pairs", ["of few", "of many"])
def test_cosines_of_pairs_are_those_one_by_one(pairs: str) -> None:
    vectors = planted(2000, 32, seed=9)
    random = np.random.default_rng(1)
    one, other = random.integers(0, 20 if pairs == "of few" else 2000, 9000), random.integers(0, 2000, 9000)
    found = cosines_of_pairs(lambda ranks: vectors[ranks], one, other)
    np.testing.assert_array_equal(found, cosines(vectors)[one, other])


@pytest.mark.slow
@pytest.mark.parametrize("listed", [2, 32])
@pytest.mark.parametrize("threshold", [0.97, 0.85])
def test_one_keeper_a_group_as_brute_force_has_it(
    listed: int, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edges_module, "NEIGHBOURS", listed)
    monkeypatch.setattr(keepers, "_AHEAD", 10 * listed)
    vectors = planted(800, 24, seed=3)
    random = np.random.default_rng(4)
    captions = random.integers(0, 3, len(vectors))
    built_for = random.permutation(len(vectors))
    for order in (built_for, random.permutation(len(vectors))):
        for groups in (None, captions):
            competes = random.random(len(vectors)) < 0.8
            near = cosines(vectors) >= threshold
            if groups is not None:
                near &= groups[:, None] == groups[None, :]
            relation = _relation(vectors, order, built_for, Join(threshold, cells=9))
            drops = keep_one(order, competes, np.zeros(len(vectors), bool), [relation], groups)
            expected = kept_by_brute_force(near, order, competes)
            assert dict(zip(drops.rows.tolist(), drops.of.tolist(), strict=True)) == expected
            np.testing.assert_array_equal(drops.distance, cosines(vectors)[drops.rows, drops.of])


def _relation(vectors: np.ndarray, order: np.ndarray, built_for: np.ndarray, join: Join) -> Relation:
    """The pairs as they were found for one order, used for another."""
    _, codes = np.unique(ids_of(vectors), return_inverse=True)
    there = np.ones(len(vectors), bool)
    old, new = numbered(codes, there, built_for), numbered(codes, there, order)

    def of_classes(classes: np.ndarray) -> np.ndarray:
        _, row = np.unique(classes, return_index=True)
        return vectors[row]

    found = semantic_edges(compared(of_classes(old)), join)
    if not np.array_equal(order, built_for):
        number = np.empty(found.classes, np.int64)
        number[old] = new
        found = found.renumbered(number, found.classes)
    distinct_vectors = of_classes(new)
    return Relation("semantic", new, found, Cosines(lambda ones: distinct_vectors[ones], join), 1.0)


def test_what_was_compared_is_not_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_module, "NEIGHBOURS", 10_000)
    vectors = distinct(planted(1000, 32, seed=5))
    known = np.arange(len(vectors)) % 3 > 0
    whole = compared(vectors)
    join = Join(0.93, cells=10)
    rest = semantic_edges(dataclasses.replace(whole, known=known), join)
    everything = semantic_edges(whole, join)
    assert pairs_of(rest) == {pair for pair in pairs_of(everything) if not (known[pair[0]] and known[pair[1]])}
    base = np.arange(len(vectors)) < 300
    with_base = semantic_edges(dataclasses.replace(whole, base=base), join)
    assert pairs_of(with_base) == {pair for pair in pairs_of(everything) if not (base[pair[0]] and base[pair[1]])}


def test_near_copies_that_were_compared_are_not_multiplied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those no pair is listed again, so that they are never full. Three are new."""
    monkeypatch.setattr(semantic, "_TILE", 128)
    asked = []

    def propose(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        asked.append(len(one) * len(other))
        return one @ other.T

    random = np.random.default_rng(0)
    vectors = distinct(unit_vectors(random.standard_normal(64) + random.standard_normal((3000, 64)) * 0.02))
    known = ~np.isin(np.arange(len(vectors)), [5, 1500, 2900])
    whole = dataclasses.replace(compared(vectors), known=known)
    found = semantic_edges(whole, Join(0.97, cells=1, propose=propose))
    assert 32 < len(found.first) < 3 * 3000
    assert sum(asked) < 3 * 3000 * 4


@pytest.mark.parametrize("threshold", [1.0, -1.0])
def test_extreme_thresholds(threshold: float) -> None:
    vectors = distinct(planted(400, 16, seed=7))
    near = cosines(vectors) >= threshold
    drops = keep_one(
        np.arange(len(vectors)),
        np.ones(len(vectors), bool),
        np.zeros(len(vectors), bool),
        [_relation(vectors, np.arange(len(vectors)), np.arange(len(vectors)), Join(threshold))],
    )
    expected = kept_by_brute_force(near, np.arange(len(vectors)), np.ones(len(vectors), bool))
    assert dict(zip(drops.rows.tolist(), drops.of.tolist(), strict=True)) == expected


def test_zeros_and_nan_have_no_direction() -> None:
    vectors = np.array([[0, 0], [np.nan, 1], [0.6, 0.8], [np.inf, 0]], np.float16)
    assert comparable(vectors).tolist() == [False, False, True, False]


@pytest.mark.filterwarnings("error")
def test_what_has_no_direction_has_no_cosine() -> None:
    """And nothing is printed of it: the verifier asks for those that a damaged ledger tells of."""
    vectors = np.array([[0, 0], [1, 0], [np.nan, 1]], np.float16)
    assert np.isnan(vectors_module.cosines(vectors[[0, 2]], vectors[[1, 1]])).all()
    assert np.isnan(cosines_of_pairs(lambda rows: vectors[rows], np.array([0, 2]), np.array([1, 1]))).all()


def test_vectors_of_other_types_are_made_unit() -> None:
    np.testing.assert_array_equal(unit_vectors(np.array([[3, 4], [0, 2]])), np.array([[0.6, 0.8], [0, 1]], np.float16))
    for scale in (1e300, 1e-300, 2.0**-1022):
        np.testing.assert_array_equal(unit_vectors(np.array([[3, 4]]) * scale), np.array([[0.6, 0.8]], np.float16))
    stored = unit_vectors(np.array([[0.6, 0.8]]))
    assert unit_vectors(stored) is stored
    assert ids_of(np.array([[0.0, 1.0]], np.float16)) == ids_of(np.array([[-0.0, 1.0]], np.float16))


def test_one_vector_makes_no_other_one_different() -> None:
    stored = unit_vectors(np.random.default_rng(0).standard_normal((9, 768))) * np.float16(0.97)
    broken = np.concatenate([stored, np.full((1, 768), np.inf, np.float16), 2 * stored[:1]])
    np.testing.assert_array_equal(unit_vectors(broken)[:9], stored)


def test_a_device_of_torch_finds_the_same() -> None:
    vectors = distinct(planted(500, 32, seed=8))
    due = semantic_edges(compared(vectors), Join(0.9, cells=3))
    found = semantic_edges(compared(vectors), Join(0.9, cells=3, propose=torch_products(torch, "cpu")))
    assert pairs_of(found) == pairs_of(due)
    assert torch_products(torch, "cpu")(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)).dtype == np.float32


def test_full_precision_is_not_taken_from_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread that is done, and sets what it found: each task of a worker has products of its own."""
    matmul, other_began, first_ended, seen = torch.backends.cuda.matmul, threading.Event(), threading.Event(), []
    given = torch.from_numpy

    def from_numpy(side: np.ndarray) -> torch.Tensor:
        if threading.current_thread() is first:
            other_began.wait(0.2)
        else:
            other_began.set()
            first_ended.wait(10)
            seen.append(matmul.allow_tf32)
        return given(side)

    monkeypatch.setattr(torch, "from_numpy", from_numpy)
    one = np.eye(2, dtype=np.float32)
    first, other = (threading.Thread(target=torch_products(torch, "cpu"), args=(one, one)) for _ in range(2))
    before, matmul.allow_tf32 = matmul.allow_tf32, True
    try:
        first.start()
        other.start()
        first.join()
        first_ended.set()
        other.join()
        assert set(seen) == {False}
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32 = before
