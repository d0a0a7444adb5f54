"""The benchmark of semantic duplicates at its smallest: its brute force is right, and agrees with the join."""

import sys

import numpy as np
import pytest

from benchmarks import duplicate_keepers, duplicate_verify, duplicates
from benchmarks.duplicate_vectors import make_vectors
from tests.warm_python import ROOT


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


@pytest.mark.parametrize("more", [[], ["--near"]], ids=["equal", "near"])
def test_scale_is_told_with_copies_beside_without(more, capsys):
    assert duplicates.main(["scale", "--rows", "1500", "--dim", "32", "--copies", "0", "300", *more]) == 0
    rows = [line.split("|")[1:4] for line in capsys.readouterr().out.splitlines() if line.startswith("| 1,500")]
    found = [[cell.strip() for cell in row] for row in rows]
    distinct = "1,500" if more else "1,200"
    assert [row[1] for row in found] == ["0", "300", "0", "300"]
    assert [row[2] for row in found[:2]] == ["1,500", distinct]


@pytest.mark.parametrize("whole", [2_000_000, 100])
def test_what_verifying_takes_is_told(whole, tmp_path, capsys, warm, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(warm.programs / "python"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(duplicate_verify.kept_duplicates, "WHOLE", 0)  # which the benchmark sets
    flags = ["--rows", "600", "--samples_per_shard", "400", "--dir", str(tmp_path / "made"), "--whole", str(whole)]
    assert duplicate_verify.main(flags) == 0
    (row,) = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| 600")]
    rows, dropped, kept, compared = map(int, row[:4])
    assert rows == 600 == dropped + kept
    assert 20 < dropped < 50
    assert compared == min(whole, kept)
    assert not list((tmp_path / "made").glob("*"))


@pytest.mark.parametrize(("kinds", "sent"), [("exact", 82), ("exact,semantic", 102)])
def test_what_one_worker_is_sent_and_holds_is_told(kinds, sent, capsys):
    assert duplicate_keepers.main(["--rows", "8000", "--kinds", kinds]) == 0
    rows, _, dropped, told, _, _ = capsys.readouterr().out.splitlines()[-1].split("|")[1:-1]
    assert rows.strip() == "8,000"
    assert 700 < int(dropped.replace(",", "")) < 2400
    assert sent <= int(told) < sent + 10
