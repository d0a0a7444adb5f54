"""The benchmark of selecting at a small size: its job is selected from, and DataComp's rules keep what presets keep."""

import re

from beam_curator.commands import curate_images
from benchmarks import selecting
from benchmarks.select_job import Phase, TimedJob


def test_the_tables_tell_of_a_job_a_preview_and_of_datacomps_rules(tmp_path, capsys, monkeypatch):
    def run_here(directory, flags):
        told.append(capsys.readouterr().out)
        assert curate_images.main(flags) == 0
        printed.append(capsys.readouterr().out)
        phases = {"copying": Phase(2.0, 3.0, 1.0, 1), "manifest": Phase()}
        return TimedJob(1.0, 2.5, phases, 10**9, 2.0, printed[-1])

    told, printed = [], []
    monkeypatch.setattr(selecting, "run_job", run_here)
    flags = ["--rows", "900", "--rows_per_shard", "300", "--dim", "8", "--listed", "40", "--report_turns", "1"]
    assert selecting.main([*flags, "--dir", str(tmp_path / "job")]) == 0
    told = "".join([*told, capsys.readouterr().out])
    (_, job, preview, _, few, _, reported, basic, clip) = printed
    assert re.search(r"^\| all of the above +\| +2.00 \| +2.00 \| +\+0.0% \|", told, re.MULTILINE), told
    assert "report.html" in few
    assert "report.html" in reported
    for text in ("sha256 is in block-40.parquet", "caption_repeats > 10", "(top 0.3)", "(top 0.5)", "= 900 seen"):
        assert text in job
        assert text in preview
    for name, output in (("datacomp-basic", basic), ("datacomp-clip-l14-30", clip)):
        kept = re.search(r"kept +(\d+)", output)[1]
        assert re.search(rf"^\| {name} +\| +{kept} \| +{kept} \| +0 \| +2\.0 \|", told, re.MULTILINE), told
    assert not (tmp_path / "job").exists()
