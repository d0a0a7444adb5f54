"""Duplicates of other outputs (`--against`): their samples win, and are never output again."""

import io
import json
import shutil

import pyarrow.parquet as pq
import pytest
from PIL import Image

from beam_curator.commands.main import main
from beam_curator.output import lease
from tests.integration.duplicate_jobs import ALL_KINDS, KEEP_ALL, changed_ledger, rows_of, verified
from tests.tars import tar_bytes, write_shard


def test_what_another_output_kept_is_never_output_again(deduplicated, curate, tmp_path, capsys):
    kept = {row["sample_id"] for row in rows_of(deduplicated) if row["status"] == "kept"}
    output = tmp_path / "new"
    twice = ["--against", str(deduplicated), "--against", f"{deduplicated}/"]
    code, out, err = curate(output, *KEEP_ALL, *ALL_KINDS, *twice)
    assert (code, err) == (0, "")
    rows = [row for row in rows_of(output) if row["duplicate_of"]]
    assert {row["duplicate_of"] for row in rows} == kept
    assert not [row for row in rows_of(output) if row["status"] == "kept"]
    assert "duplicate: exact" in out
    assert verified(output, capsys)[0] == 0
    assert curate(output, *KEEP_ALL, "--duplicates", "perceptual", "--against", f"{deduplicated}/")[0] == 0
    assert verified(output, capsys)[0] == 0
    deduplicated.rename(tmp_path / "elsewhere")
    code, said = verified(output, capsys)
    assert code == 1
    assert f"duplicates cannot be checked: there is no finished job in {deduplicated}/" in said
    assert "is no sample that is kept" not in said
    assert main(["report", str(output)]) == 0
    unknown = [curve["unknown"] for curve in json.loads((output / "report.json").read_text())["duplicates"]["curves"]]
    assert [f"there is no finished job in {deduplicated}/" in why for why in unknown] == [True], unknown


def test_samples_of_two_outputs_may_have_one_id(curate, tmp_path, capsys):
    """Images that are as long under equal names, in shards of one name: ids are made of headers."""

    def plain(shade):
        data = io.BytesIO()
        Image.new("L", (64, 64), shade).save(data, "bmp")
        return data.getvalue()

    for name, shades in (("other", (1, 2)), ("own", (2, 3, 3))):
        (tmp_path / name).mkdir()
        write_shard(
            tmp_path / name / "0.tar", tar_bytes([(f"{at}.bmp", plain(shade)) for at, shade in enumerate(shades)])
        )
    base = ["--clip_model", "tiny-untrained", *KEEP_ALL, "--report", "false"]
    assert curate(tmp_path / "first", base=["--input", str(tmp_path / "other"), *base])[0] == 0
    exact = ["--duplicates", "exact", "--keep", "first", "--against", str(tmp_path / "first")]
    assert curate(tmp_path / "second", *exact, base=["--input", str(tmp_path / "own"), *base])[0] == 0
    one, two = (row["sample_id"] for row in rows_of(tmp_path / "first"))
    rows = rows_of(tmp_path / "second")
    assert [row["sample_id"] for row in rows][:2] == [one, two]
    assert [row["duplicate_of"] for row in rows] == [two, None, two]
    assert verified(tmp_path / "second", capsys)[0] == 0
    changed_ledger(
        tmp_path / "second", lambda rows: [{**row, "duplicate_of": row["duplicate_of"] and one} for row in rows]
    )
    code, said = verified(tmp_path / "second", capsys)
    assert (code, said.count("is no duplicate of what is kept in its place")) == (1, 2)


@pytest.mark.parametrize("directory", ["samples", "scores"])
def test_another_output_that_lacks_what_is_compared_with_is_told_before_any_work(
    directory, deduplicated, curate, tmp_path
):
    shutil.rmtree(deduplicated / directory)
    code, out, err = curate(tmp_path / "new", *ALL_KINDS, "--against", str(deduplicated))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"there is nothing in {deduplicated / directory}, though its manifest.json tells of samples" in err
    assert not (tmp_path / "new").exists()


def test_another_output_of_which_a_part_was_copied_is_not_compared_with(deduplicated, curate, tmp_path):
    min((deduplicated / "samples").glob("*.parquet")).unlink()
    code, _, err = curate(tmp_path / "new", *KEEP_ALL, "--duplicates", "exact", "--against", str(deduplicated))
    assert (code, err.count("\n")) == (1, 1)
    assert "samples, the manifest.json beside it tells of " in err
    assert not (tmp_path / "new/manifest.json").exists()


def test_another_encoders_embeddings_are_not_compared(deduplicated, curate, tmp_path):
    job = json.loads((deduplicated / "job.json").read_text())
    job["encoder"]["name"] = "ViT-B-32"
    (deduplicated / "job.json").write_text(json.dumps(job))
    code, _, err = curate(tmp_path / "new", *ALL_KINDS, "--against", str(deduplicated))
    assert code == 2
    assert "was embedded by ViT-B-32" in err
    assert "leave semantic out of --duplicates" in err
    assert not (tmp_path / "new").exists()
    assert curate(tmp_path / "new", "--duplicates", "exact,perceptual", "--against", str(deduplicated))[0] == 0


def test_what_auto_became_in_another_output_is_what_its_embeddings_have(deduplicated, curate, tmp_path):
    manifest = json.loads((deduplicated / "manifest.json").read_text())
    manifest["models"]["embedding"]["precision"] = "fp16"
    (deduplicated / "manifest.json").write_text(json.dumps(manifest))
    assert json.loads((deduplicated / "job.json").read_text())["encoder"]["precision"] == "auto"
    against = [*ALL_KINDS, "--against", str(deduplicated), "--dry_run"]
    assert curate(tmp_path / "new", *against)[0] == 0
    code, _, err = curate(tmp_path / "new", *against, "--precision", "fp32")
    assert (code, err.count("\n")) == (2, 1)
    assert "was embedded by tiny-untrained, precision fp16" in err
    manifest["models"]["embedding"]["precision"] = "fp32"
    (deduplicated / "manifest.json").write_text(json.dumps(manifest))
    assert curate(tmp_path / "new", *against, "--precision", "fp32")[0] == 0


def test_what_auto_became_is_told_where_another_output_has_another_precision(deduplicated, curate, tmp_path):
    against = [*KEEP_ALL, *ALL_KINDS, "--against", str(deduplicated), "--report", "false"]
    manifest = json.loads((deduplicated / "manifest.json").read_text())
    own = manifest["models"]["embedding"]["precision"]
    manifest["models"]["embedding"]["precision"] = "fp16"
    (deduplicated / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = curate(tmp_path / "new", *against)
    assert (code, err.count("\n")) == (0, 1)
    assert f"note: --against {deduplicated} was embedded in fp16, this job in {own}: pairs near --duplicate_c" in err
    exact = [*KEEP_ALL, "--duplicates", "exact", "--against", str(deduplicated), "--report", "false"]
    assert curate(tmp_path / "new", *exact)[::2] == (0, "")


def test_another_output_that_a_job_is_writing_is_not_compared_with(deduplicated, curate, tmp_path):
    lease.acquire(lease.Claim(str(deduplicated), "theirs"))
    code, _, err = curate(tmp_path / "new", *ALL_KINDS, "--against", str(deduplicated), "--dry_run")
    assert (code, err.count("\n")) == (2, 1)
    assert f"--against {deduplicated} is being written: " in err


def test_another_output_without_hashes_is_told(deduplicated, curate, tmp_path):
    """An earlier release scored it: all of it, or what its manifest counts."""
    against = [*KEEP_ALL, "--against", str(deduplicated)]
    manifest = json.loads((deduplicated / "manifest.json").read_text())
    (deduplicated / "manifest.json").write_text(json.dumps({**manifest, "unhashed": 3}))
    _, out, _ = curate(tmp_path / "new", "--duplicates", "exact,perceptual", *against, "--dry_run")
    assert f"note: --against {deduplicated}: an earlier release, which knew no 256-bit hash, scored 3 samples of" in out
    for path in (deduplicated / "samples").glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.drop_columns(["phash256", "texture", "colours"]), path)
    code, _, err = curate(tmp_path / "new", "--duplicates", "perceptual", *against)
    assert code == 0
    told = f"--against {deduplicated}: an earlier release, which knew no 256-bit hash, scored it: not compared as perc"
    assert told in err
    assert any(row["status"] == "kept" for row in rows_of(tmp_path / "new"))
    assert "no 256-bit hash" not in curate(tmp_path / "new", "--duplicates", "exact", *against)[2]


def test_differences_are_told_with_that_another_output_was_selected_anew(deduplicated, curate, tmp_path, capsys):
    output = tmp_path / "new"
    assert curate(output, *KEEP_ALL, "--duplicates", "exact", "--against", str(deduplicated))[0] == 0
    changed_ledger(output, lambda rows: [{**row, "duplicate_distance": row["duplicate_of"] and 1.0} for row in rows])
    assert "selected anew" not in verified(output, capsys)[1]
    manifest = json.loads((deduplicated / "manifest.json").read_text())
    manifest["timings"]["finished"] = "9" + manifest["timings"]["finished"][1:]
    (deduplicated / "manifest.json").write_text(json.dumps(manifest))
    told = f"; {deduplicated} (--against) was selected anew after it, which may be why: run its command again"
    assert told in verified(output, capsys)[1].splitlines()[-1]
