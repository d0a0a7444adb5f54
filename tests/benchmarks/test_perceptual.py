"""The benchmark of perceptual duplicates at its smallest, and what its pictures have to say of the rule."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import duplicate_peers, lookalikes, perceptual
from benchmarks.products import PRODUCTS


def test_it_prints_recall_wrong_merges_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    assert perceptual.main(["--drawn", "2", "--alike", "10", "--hashes", "3000", "--near", "500"]) == 0
    printed = capsys.readouterr().out
    assert all(f"| {edit}" in printed for edit in lookalikes.EDITS)
    assert "| 10 products on white" in printed
    assert all(f"| 10 {kind}" in printed for kind in PRODUCTS)
    assert "near copies of one" in printed


def test_edited_copies_are_found_and_what_only_looks_alike_is_not() -> None:
    random = np.random.default_rng(0)
    drawn = [lookalikes.product(random), *(kind(random) for kind in lookalikes.UNLIKE.values() for _ in range(2))]
    pairs, taken = perceptual.wrong(drawn)
    assert (pairs, taken["Beam Curator"]) == (9 * 8 // 2, 0)
    found = perceptual.recall([lookalikes.photograph_like(seed) for seed in range(6)])
    for edit in ("JPEG, quality 30", "half size", "224 x 224", "grey", "blur, 2 pixels"):
        assert found[edit]["Beam Curator"] == 1, edit


def test_things_of_one_shape_in_shades_of_one_colour_are_told_apart_and_their_copies_are_found() -> None:
    shades = [(4, 123), (4, 978), (4, 416), (4, 710), (4, 832), (4, 900), (5, 31), (5, 529), (5, 216), (5, 363)]
    drawn = [lookalikes.product(np.random.default_rng(seed)) for seed in shades]
    assert perceptual.wrong(drawn)[1]["Beam Curator"] == 0
    found = perceptual.recall(drawn)
    lost = {edit for edit, of in found.items() if of["Beam Curator"] < 1}
    assert lost <= {"brightness x 1.3"}  # they are what things in lighter colours are


@pytest.mark.parametrize("kind", sorted(set(PRODUCTS) - {"shirts of one cut"}))
def test_things_that_others_draw_are_told_apart(kind: str) -> None:
    drawn = [PRODUCTS[kind](np.random.default_rng(seed)) for seed in range(150)]
    assert perceptual.wrong(drawn)[1]["Beam Curator"] == 0


def test_peers_are_compared_on_the_same_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert duplicate_peers.main(["--pictures", "30", "--environments", str(tmp_path)]) == 0
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[-3:]]
    assert table[0][:5] == ["Beam Curator", "1.000", "0", "5", "0"]
    assert [row[1] for row in table[1:]] == ["not installed: --install"] * 2
    found = {"pairs": [("a", "b"), ("b", "c")], "dropped": ["a", "b"], "seconds": 1.0}
    assert duplicate_peers.row_of(found, {"b": "a", "d": "c"}) == ["0.500", "1", "2", "1", "1.0"]
