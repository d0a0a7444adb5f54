"""As many cells are made as are cheapest: told from vectors that lie in more clumps than there are cells at first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from beam_curator.duplicates import semantic
from beam_curator.duplicates.cell_costs import CellCosts, Extent
from beam_curator.duplicates.cells import MOST_CELLS, Cells, cells_for
from beam_curator.duplicates.semantic import Compared, Join, centres_for, semantic_edges
from beam_curator.duplicates.vectors import ids_of
from tests.duplicates.vector_sets import clumps


def compared(vectors: np.ndarray, known: np.ndarray | None = None) -> Compared:
    no = np.zeros(len(vectors), bool)
    return Compared(lambda ranks: vectors[ranks], no, no if known is None else known, ids_of(vectors))


def centres(given: Compared, join: Join) -> np.ndarray:
    with ThreadPoolExecutor(1) as threads:
        return centres_for(given, join, given.extent, threads)


@pytest.mark.parametrize("copies", [0, pytest.param(2400, marks=pytest.mark.slow)])
def test_vectors_in_more_clumps_than_cells_get_more_cells(copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those without a centre near them would be guests of many. With near copies fewer centres are of the others."""
    monkeypatch.setattr(semantic, "cells_for", lambda *_: 40)
    given = compared(clumps(100, 56, copies))
    join = Join(0.97)
    costs = {}
    tried = semantic._tried

    def told(*arguments) -> tuple[np.ndarray, CellCosts]:
        found = tried(*arguments)
        costs[arguments[3]] = found[1]
        return found

    monkeypatch.setattr(semantic, "_tried", told)
    found = centres(given, join)
    least = min(costs.values(), key=lambda one: one.in_all)
    assert (len(found), list(costs)[:2]) == (least.cells, [40, 80])
    assert least.visits < costs[40].visits / 3


def test_costs_are_those_that_the_join_has() -> None:
    vectors = clumps(30, 100)
    given, join = compared(vectors), Join(0.97, cells=30)
    cells = Cells(centres(given, join), join.reach)
    costs = CellCosts.of(cells.prepared(), vectors.astype(np.float32), given.extent)
    home, guest, cell = cells.prepared().assign(vectors.astype(np.float32))
    residents, guests = np.bincount(home, minlength=30), np.bincount(cell, minlength=30)
    assert costs.visits == len(guest) / 3000
    assert costs.products == pytest.approx((residents * (residents - 1 + guests)).sum() / 3000)


def test_cells_are_for_what_is_new() -> None:
    """A few against many are compared in fewer cells: each vector is multiplied with each centre."""
    assert cells_for(1_000_000) == 1500
    assert cells_for(1_000_000, 10_000) == 150
    assert cells_for(4096, 10) == 1
    assert cells_for(10**9) == MOST_CELLS
    vectors = clumps(50, 100)
    known = np.arange(len(vectors)) >= 100
    given = compared(vectors, known)
    assert given.extent == Extent(5000, 100)
    few, all_of_them = centres(given, Join(0.97)), centres(compared(vectors), Join(0.97))
    assert len(few) < len(all_of_them)
    near = semantic_edges(given, Join(0.97))
    whole = semantic_edges(compared(vectors), Join(0.97))
    wanted = (whole.first < 100) | (whole.second < 100)
    assert list(zip(near.first, near.second, strict=True)) == list(
        zip(whole.first[wanted], whole.second[wanted], strict=True)
    )
