"""The benchmark of perceptual duplicates at its smallest, and what its pictures have to say of the rule."""

import numpy as np
import pytest

from benchmarks import lookalikes, perceptual


def test_it_prints_recall_wrong_merges_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    assert perceptual.main(["--drawn", "2", "--alike", "10", "--hashes", "3000", "--near", "500"]) == 0
    printed = capsys.readouterr().out
    assert all(f"| {edit}" in printed for edit in lookalikes.EDITS)
    assert "| 10 products on white" in printed
    assert "near copies of one" in printed


def test_edited_copies_are_found_and_what_only_looks_alike_is_not() -> None:
    random = np.random.default_rng(0)
    drawn = [lookalikes.product(random), *(kind(random) for kind in lookalikes.UNLIKE.values() for _ in range(2))]
    pairs, taken = perceptual.wrong(drawn)
    assert (pairs, taken["Beam Curator"]) == (9 * 8 // 2, 0)
    found = perceptual.recall([lookalikes.photograph_like(seed) for seed in range(6)])
    for edit in ("JPEG, quality 30", "half size", "224 x 224", "grey", "blur, 2 pixels"):
        assert found[edit]["Beam Curator"] == 1, edit
