"""What the line of progress says of a job elsewhere, from what a real runner counts while it works."""

import re

import pytest

from beam_curator.commands import curate_images, progress_elsewhere, progress_line
from beam_curator.progress import Board
from tests.engines import engine_flink, engine_parts

pytestmark = pytest.mark.engines

TIME = r"(?:\d+[hm] )?\d+[ms]"
"""As 42s, 3m 20s or 2h 05m."""


def flags(raw, tmp_path):
    of_job = ["--input", str(raw), "--output", str(tmp_path / "out"), "--clip_model", "tiny-untrained"]
    return [*of_job, "--min_width", "64", "--range_mb", "1", "--samples_per_shard", "100", "--report", "false"]


def phases(told):
    found = [re.search(r", ([a-z]+): ", line) for line in told]
    return list(dict.fromkeys(phase[1] for phase in found if phase))


def test_the_line_of_a_job_on_prism_is_made_of_its_counts(raw, tmp_path, capsys, monkeypatch):
    """Its workers are threads of this process, whose own board would say more: it is not asked."""
    engine_parts.build_prism()
    monkeypatch.setattr(progress_line, "LOG_EVERY_SECONDS", 0.2)
    monkeypatch.setattr(progress_elsewhere, "BOARD", Board())
    prism = ["--runner", "PrismRunner", "--prism_location", str(engine_parts.PRISM)]
    assert curate_images.main([*flags(raw, tmp_path), *prism]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("PrismRunner, ")]
    seen = phases(told)  # a short one may pass between two looks
    assert seen == [phase for phase in ("planning", "scoring", "selecting", "writing") if phase in seen]
    flowing = rf"PrismRunner, {TIME}, scoring: [\d,]+ images, [\d.]+ images/s, \d+ failed, \d+%, {TIME} left"
    assert any(re.fullmatch(flowing, line) for line in told), told
    images = [int(found[1].replace(",", "")) for line in told if (found := re.search(r": ([\d,]+) images?,", line))]
    assert images == sorted(images)
    assert images[-1] > 0


def test_the_line_of_a_job_on_flink_is_made_of_what_its_cluster_counts(raw, tmp_path, capsys, monkeypatch):
    engine_parts.build_jars()
    engine_parts.build_worker()
    monkeypatch.setattr(progress_line, "LOG_EVERY_SECONDS", 0.5)
    cluster = engine_flink.SessionCluster(tmp_path / "cluster")
    try:
        assert curate_images.main([*flags(raw, tmp_path), *cluster.flags]) == 0
    finally:
        cluster.stop()
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("FlinkRunner, ")]
    assert [phase for phase in phases(told) if phase != "selecting"][-2:] == ["scoring", "writing"], told
    assert any(re.search(r"scoring: \d+ of \d+ ranges", line) for line in told), told
    assert any(
        re.search(r"writing: 986 images, 5 failed, (?:[\d,]+ in the ledger, )?[\d,]+ of [\d,]+ written", line)
        for line in told
    ), told
