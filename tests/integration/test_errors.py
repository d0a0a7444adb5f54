"""What the user reads when something is wrong: one line, no traceback, before any work."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from beam_curator.commands import curate_images
from tests.integration.integration_content import content, ledger
from tests.integration.told import command, one_line

TINY = ["--clip_model", "tiny-untrained", "--report", "false"]


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        ([], ["--input is missing"]),
        (["--input", "{raw}"], ["--output is missing"]),
        (["--input", "{tmp}/none/*.tar", "--output", "{tmp}/o", *TINY], ["no shard matches", "none/*.tar"]),
        (["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--min_aestetic", "5"], ["did you mean --min_aesthetic"]),
        (
            ["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--samples_per_shard", "0"],
            ["--samples_per_shard", "1 or"],
        ),
        (["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--range_mb", "-1"], ["--range_mb", "above 0"]),
        (["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--max_failed_fraction", "2"], ["between 0 and 1"]),
        (["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--device", "tpu"], ["--device", "tpu"]),
        (
            ["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--rule", "nonsense"],
            ["package.module:object"],
        ),
        (
            ["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--rule", "no.such:rule"],
            ["no.such:rule", "No module"],
        ),
        (["--input", "{raw}", "--output", "{tmp}/o", "--clip_model", "ViT-L-41"], ["ViT-L-41", "ViT-L-14"]),
        (["--input", "{raw}", "--output", "{tmp}/o", "--clip_pretrained", "opnai"], ["opnai", "openai"]),
        (["--input", "{raw}", "--output", "{tmp}/o", "--clip_pretrained", "{tmp}/no.pt"], ["no.pt"]),
        (["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--aesthetic_model", "{tmp}/no.pth"], ["no.pth"]),
        (["--input", "{raw}", "--output", "{raw}", *TINY], ["is not empty and holds no job"]),
        (
            ["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--dry_run", "--preview"],
            ["--dry_run and --preview: give one of them"],
        ),
        (
            ["--input", "{raw}", "--input", "{tmp}/no.tar", "--output", "{tmp}/o", *TINY, "--preview"],
            ["1 name is missing beside ", "no.tar", "--allow_missing"],
        ),
        (
            ["--input", "{raw}", "--output", "{tmp}/o", *TINY, "--block", "json.a\nb=x"],
            [r"json.a\nb=x: cannot be read"],
        ),
        (
            ["--input", "{raw}", "--output", "/proc/nowhere/out", *TINY],
            ["/proc/nowhere/out", "cannot be"],
        ),
    ],
    ids=lambda value: " ".join(value)[-60:],
)
def test_bad_usage_is_one_line_and_exit_code_2_and_writes_nothing(raw, tmp_path, capsys, argv, wanted):
    before = content(raw)
    code, out, err = command(capsys, *(text.format(raw=raw, tmp=tmp_path) for text in argv))
    assert code == 2
    one_line(err, code, wanted)
    assert out == ""
    assert not (tmp_path / "o").exists()
    assert content(raw) == before


def test_missing_weights_name_the_file_the_places_and_the_command_that_gets_them(raw, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BEAM_CURATOR_CACHE", str(tmp_path / "cache"))
    argv = ["--input", str(raw), "--output", str(tmp_path / "o"), *TINY, "--aesthetic_model", "v1"]
    monkeypatch.setattr("urllib.request.OpenerDirector.open", _unreachable)
    code, _, err = command(capsys, *argv, "--model_dir", str(tmp_path / "models"))
    assert code == 2
    one_line(err, code, [str(tmp_path / "models"), str(tmp_path / "cache"), "beam-curator models"])


def _unreachable(*_, **__):
    raise OSError("Network is unreachable")


def test_the_output_of_another_encoder_is_refused_with_what_overwrite_would_cost(finished, curate):
    before = content(finished)
    parts = len(list((finished / "scores").iterdir()))
    code, _, err = curate(finished, "--decode", "fast")
    assert code == 2
    one_line(err, code, ["another job's output: it was embedded with --decode exact, and this command says"])
    one_line(err, code, ["--decode fast. Give --decode exact, or another directory; --overwrite begins anew"])
    one_line(err, code, [f"--overwrite begins anew, and throws away the scores in {finished}/scores ({parts} files)"])
    assert content(finished) == before


def test_overwrite_begins_anew_and_leaves_other_peoples_files(raw, finished, curate):
    (finished / "notes.txt").write_text("mine")
    assert curate(finished, "--image_measures")[0] == 0
    assert (finished / "columns" / "image_measures").is_dir()
    code, out, err = curate(finished, "--range_mb", "64", "--overwrite", "--min_aesthetic", "8")
    assert code == 0
    one_line(err, 1, [f"note: --overwrite throws away the scores of 88 samples in {finished}/scores"])
    assert "scored 0 images" not in out
    assert (finished / "notes.txt").read_text() == "mine"
    assert len(list((finished / "scores").iterdir())) == len(list(raw.glob("*.tar")))
    assert not (finished / "columns").exists()


def test_too_many_failed_samples_fail_the_job_and_keep_the_scores(tmp_path, curate):
    code, _, err = curate(tmp_path / "out", "--max_failed_fraction", "0.01")
    assert code == 1
    one_line(err, code, ["samples failed", "--max_failed_fraction 0.01", "Scores are kept"])
    assert not list((tmp_path / "out").glob("*.tar"))
    assert not (tmp_path / "out" / "manifest.json").exists()
    code, out, _ = curate(tmp_path / "out")
    assert code == 0
    assert "scored 0 images" in out


def test_a_dry_run_tells_the_plan_and_writes_nothing(raw, tmp_path, finished, curate):
    code, out, _ = curate(tmp_path / "new", "--dry_run")
    assert code == 0
    assert not (tmp_path / "new").exists()
    assert "no image is read" in out
    assert str(max(raw.glob("*.tar"))) in out
    assert "0 of them scored already" in out
    assert "tiny-untrained" in out
    before = content(finished)
    min((finished / "scores").glob("*.parquet")).unlink()
    parts = len(list((finished / "scores").glob("*.parquet")))
    code, out, _ = curate(finished, "--dry_run")
    assert code == 0
    assert f"{parts + 1} ranges" in out
    assert f"{parts} of them scored already" in out
    assert len(content(finished)) == len(before) - 1


def test_a_rule_of_the_users_own_gives_its_name_as_the_reason(tmp_path, curate, monkeypatch):
    (tmp_path / "my_rules.py").write_text(
        "def is_landscape(row):\n    return row['width'] > row['height']\n\n"
        "def breaks_on_small(row):\n    return 1 / max(0, row['width'] - 300) > 0\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    rules = ["--rule", "my_rules:is_landscape", "--rule", "my_rules:breaks_on_small"]
    code, _, _ = curate(tmp_path / "out", "--min_aesthetic", "0", *rules)
    assert code == 0
    rows = ledger(tmp_path / "out")
    assert all(row["width"] > row["height"] for row in rows if row["status"] == "kept")
    assert any(row["reason"] == "is_landscape" for row in rows if row["status"] == "dropped")
    failed = [row["reason"] for row in rows if "breaks_on_small" in (row["reason"] or "")]
    assert failed
    assert set(failed) == {"rule breaks_on_small raised ZeroDivisionError: division by zero"}


def test_new_thresholds_need_no_weights_but_new_shards_do(shared, raw, tmp_path, curate, capsys):
    head = tmp_path / "head.pth"
    shutil.copy(shared / "models" / "sa_0_4_vit_l_14_linear.pth", head)
    (tmp_path / "raw").mkdir()
    first, second, _ = sorted(raw.glob("*.tar"))
    shutil.copy(first, tmp_path / "raw")
    base = ["--input", str(tmp_path / "raw"), *TINY, "--aesthetic_model", str(head), "--min_aesthetic", "-99"]
    base.append("--accept_other_encoder")
    assert curate(tmp_path / "out", base=base)[0] == 0
    head.unlink()
    code, out, _ = curate(tmp_path / "out", "--min_width", "200", base=base)
    assert code == 0
    assert "scored 0 images" in out
    shutil.copy(second, tmp_path / "raw")
    code, _, err = curate(tmp_path / "out", base=base)
    assert code == 1
    one_line(err, code, [second.name, "not scored yet", "head.pth"])


def test_a_shard_that_changed_is_scored_again(raw, tmp_path, curate):
    (tmp_path / "raw").mkdir()
    first, second, _ = sorted(raw.glob("*.tar"))
    shutil.copyfile(first, tmp_path / "raw" / "a.tar")
    base = ["--input", str(tmp_path / "raw"), *TINY]
    assert curate(tmp_path / "out", base=base)[0] == 0
    shutil.copyfile(second, tmp_path / "raw" / "a.tar")
    said = (
        f"note: 1 of 1 shard has changed since the last run, first {tmp_path}/raw/a.tar: what it holds is scored again"
    )
    assert said in curate(tmp_path / "out", "--dry_run", base=base)[1]
    code, out, err = curate(tmp_path / "out", base=base)
    one_line(err, 1, [said])
    assert code == 0
    assert "scored 0 images" not in out
    assert ledger(tmp_path / "out")[0]["key"].startswith("00001")


def test_the_command_works_as_a_process_and_keeps_its_errors_short(raw, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.curate_images", "--input", f"{tmp_path}/*.tar", "--output", f"{tmp_path}/o"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    one_line(run.stderr, 2, ["no shard matches"])


def test_help_lists_every_flag_in_its_group(capsys):
    with pytest.raises(SystemExit) as stop:
        curate_images.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.index("input and output:") < text.index("models:") < text.index("selection (")
    assert "--max_failed_fraction" in text


def test_untrained_scores_are_named_so_wherever_they_show(finished, curate):
    assert "untrained models (aesthetic, embedding, nsfw): these scores mean nothing" in curate(finished)[1]
    manifest = json.loads((finished / "manifest.json").read_text())
    assert not any(model["trained"] for model in manifest["models"].values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device that the test wants absent")
def test_a_gpu_that_is_asked_for_and_absent_is_an_error_before_any_work(raw, tmp_path, capsys):
    flags = ["--input", str(raw), "--output", str(tmp_path / "o"), *TINY, "--device", "cuda"]
    code, _, err = command(capsys, *flags)
    assert code == 2
    one_line(err, code, ["'cuda' was asked for", "'auto' or 'cpu'"])
    assert not (tmp_path / "o").exists()


def test_the_manifest_stands_only_while_it_is_true(finished, curate, monkeypatch):
    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("beam_curator.output.output_shard._write_tar", full_disk)
    code, _, err = curate(finished, "--min_aesthetic", "8")
    assert code == 1
    one_line(err, code, ["No space left on device", "run the same command again"])
    assert not (finished / "manifest.json").exists()
    monkeypatch.undo()
    assert curate(finished, "--min_aesthetic", "8")[0] == 0
    assert (finished / "manifest.json").exists()
