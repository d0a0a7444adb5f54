"""Whole jobs whose ranges are worked on in pieces leave the bytes of those whose ranges are read at once."""

from beam_curator.commands import curate_images
from beam_curator.sources import pieces


def test_a_job_in_pieces_leaves_the_bytes_of_one_that_reads_ranges_at_once(tmp_path, raw, flags, monkeypatch):
    """Parts, fields, columns that are added later from pixels, ledger and tars; all but times."""
    outs = {}
    scorer = ["--image_measures", "true"]
    for name, above in (("at once", 1 << 40), ("in pieces", 0)):
        monkeypatch.setattr(pieces, "PIECES_ABOVE_BYTES", above)
        monkeypatch.setattr(pieces, "PIECE_BYTES", 60_000)
        out = tmp_path / name
        for more in ([], scorer):
            assert curate_images.main([*flags, *more, "--output", str(out)]) == 0
        found = {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}
        outs[name] = {name: data for name, data in found.items() if name not in ("manifest.json", "job.json")}
    assert sum("columns" in name for name in outs["in pieces"]) > 3
    assert outs["in pieces"] == outs["at once"]
