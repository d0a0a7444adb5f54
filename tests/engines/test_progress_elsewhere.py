"""What the line of progress says of a job elsewhere, from what a real runner counts while it works."""

import re

import pytest

from beam_curator.commands import curate_images, progress_elsewhere, progress_line
from beam_curator.progress import Board
from tests.engines import engine_parts

pytestmark = pytest.mark.engines


def test_the_line_of_a_job_on_prism_is_made_of_its_counts(raw, tmp_path, capsys, monkeypatch):
    """Its workers are threads of this process, whose own board would say more: it is not asked."""
    engine_parts.build_prism()
    monkeypatch.setattr(progress_line, "LOG_EVERY_SECONDS", 0.2)
    monkeypatch.setattr(progress_elsewhere, "BOARD", Board())
    flags = ["--input", str(raw), "--output", str(tmp_path / "out"), "--clip_model", "tiny-untrained"]
    flags += ["--min_width", "64", "--range_mb", "1", "--samples_per_shard", "100", "--report", "false"]
    assert curate_images.main([*flags, "--runner", "PrismRunner", "--prism_location", str(engine_parts.PRISM)]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("PrismRunner, ")]
    phases = [found[1] for line in told if (found := re.search(r", (\w+): ", line))]
    assert list(dict.fromkeys(phases))[-2:] == ["scoring", "writing"]
    flowing = r"PrismRunner, \d+s, scoring: [\d,]+ images, [\d.]+ images/s, \d+ failed, \d+%, \d+s left"
    assert any(re.fullmatch(flowing, line) for line in told), told
    images = [int(found[1].replace(",", "")) for line in told if (found := re.search(r": ([\d,]+) images?,", line))]
    assert images == sorted(images)
    assert images[-1] > 0
