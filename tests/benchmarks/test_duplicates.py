"""The benchmark of semantic duplicates at its smallest: its brute force is right, and agrees with the join."""

import numpy as np
import pytest

from benchmarks import duplicates
from benchmarks.duplicate_vectors import make_vectors


def test_brute_force_finds_what_comparing_all_in_float64_finds(tmp_path):
    compared, _ = duplicates._compared(make_vectors(tmp_path / "vectors", 1500, 48, seed=3))
    wide = compared.vectors(np.arange(len(compared.ids))).astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    one, other = np.nonzero(np.triu(wide @ wide.T >= 0.95, 1))
    pairs, cosines = duplicates._brute_force(compared, 0.95)
    assert sorted(pairs.tolist()) == (one * len(wide) + other).tolist() != []
    assert cosines.min() >= 0.95


def test_recall_is_told_of_each_threshold(monkeypatch, capsys):
    monkeypatch.setattr(duplicates, "CELLS", (7,))
    monkeypatch.setattr(duplicates, "SEEDS", (1,))
    assert duplicates.main(["recall", "--rows", "2000", "--dim", "48"]) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| 0.9")]
    told = [(float(row[0]), float(row[4]), int(row[5]), int(row[7])) for row in rows]
    assert told == [(cosine, 1, 0, 0) for cosine in duplicates.THRESHOLDS]
    assert int(rows[-1][6].replace(",", "")) > 0


@pytest.mark.parametrize("more", [[], ["--copies", "300"], ["--copies", "300", "--near"]], ids=" ".join)
def test_scale_is_told(more, capsys):
    assert duplicates.main(["scale", "--rows", "1500", "--dim", "32", *more]) == 0
    assert "| 1,500 " in capsys.readouterr().out
