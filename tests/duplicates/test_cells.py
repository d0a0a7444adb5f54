"""Centres of cells, and who is a guest where: as the definitions have them, whatever is worked on at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_curator.duplicates import cells as module
from beam_curator.duplicates.cells import Cells, apart, centres_of
from beam_curator.duplicates.products import numpy_products
from tests.duplicates.vector_sets import clumps


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def in_clumps(clumps: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, float32 [count, 32], and the middles of the clumps that they lie in."""
    random = np.random.default_rng(seed)
    middles = unit(random.standard_normal((clumps, 32)))
    near = middles[random.integers(0, clumps, count)] + 0.05 * random.standard_normal((count, 32))
    return unit(near), middles


@given(st.integers(1, 400), st.integers(1, 500), st.integers(0, 9))
@settings(max_examples=40)
def test_as_many_centres_are_made_as_are_asked_for_or_as_there_are_vectors(cells: int, count: int, seed: int) -> None:
    sample, _ = in_clumps(20, count, seed)
    assert centres_of(sample, cells).shape == (min(cells, count), 32)


def test_many_centres_are_begun_in_groups_so_that_vectors_are_guests_of_fewer() -> None:
    vectors = clumps(400, 20).astype(np.float32)
    sample = vectors[:7200]

    def guests(centres: np.ndarray) -> int:
        return len(Cells(centres, 0.12).prepared().assign(vectors)[1])

    begun_anywhere = module._moved(sample, sample[:600].copy(), module._REFINED, map, numpy_products)
    assert guests(centres_of(sample, 600)) < 0.8 * guests(begun_anywhere)


@pytest.mark.parametrize("at_a_time", [1, 7, 1000])
def test_centres_that_are_near_an_earlier_one_go(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_A_TIME", at_a_time)
    centres, _ = in_clumps(10, 60)
    stays: list[int] = []
    for index, centre in enumerate(centres):
        if all(np.linalg.norm(centre - centres[earlier]) > 0.5 for earlier in stays):
            stays.append(index)
    assert 5 < len(stays) < 20
    assert np.array_equal(apart(centres, 0.5), centres[stays])


@pytest.mark.parametrize("at_a_time", [1, 7, 1000])
def test_homes_and_guests_are_as_defined(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is within rounding of the border may be on either side."""
    monkeypatch.setattr(module, "_ROWS_AT_A_TIME", at_a_time)
    monkeypatch.setattr(module, "_PAIRS_AT_A_TIME", at_a_time)
    vectors, _ = in_clumps(30, 300)
    centres = centres_of(vectors[::-1], 25)
    reach = 0.3
    home, guest, cell = Cells(centres, reach).prepared().assign(vectors)
    exact, x = centres.astype(np.float64), vectors.astype(np.float64)
    squares = ((x[:, None] - exact[None]) ** 2).sum(axis=2)
    assert np.array_equal(home, squares.argmin(axis=1))
    between = np.sqrt(((exact[:, None] - exact[None]) ** 2).sum(axis=2))
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (squares - squares.min(axis=1)[:, None]) / (2 * between[home])
    found = set(zip(guest.tolist(), cell.tolist(), strict=True))
    elsewhere = np.arange(25) != home[:, None]
    assert found >= set(zip(*(part.tolist() for part in np.nonzero(elsewhere & (distance <= reach))), strict=True))
    assert found <= set(
        zip(*(part.tolist() for part in np.nonzero(elsewhere & (distance <= reach + 1e-3))), strict=True)
    )
    assert len(found) > 100
