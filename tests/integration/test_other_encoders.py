"""Score heads on encoders that they were not made for: refused before any work, or marked wherever scores show."""

import json
import shutil
import tarfile

import apache_beam as beam
import numpy as np
import pytest
import torch
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

import beam_curator as bc
from beam_curator.commands import curate_images
from beam_curator.errors import JobError, UsageError
from examples import filter_with_rule
from tests.integration.told import command, one_line

MADE_FOR = "was made for OpenAI's CLIP ViT-L/14, not for "
TINY_WITH_REAL_HEADS = [
    *("--clip_model", "tiny-untrained", "--aesthetic_model", "v2", "--nsfw_model", "laion"),
    *("--report", "false"),
]


@pytest.fixture
def model_dir(tmp_path, shared):
    """The real heads, and stand-ins for the weights of encoders: nothing loads these before a refusal."""
    directory = tmp_path / "models"
    shutil.copytree(shared / "models", directory)
    for name in ("ViT-L-14-quickgelu--openai", "ViT-L-14--laion2b_s32b_b82k", "ViT-B-32-quickgelu--openai"):
        (directory / f"{name}.safetensors").write_bytes(name.encode())
    (directory / "own.safetensors").write_bytes(b"anything")
    return directory


@pytest.mark.parametrize("dry_run", [[], ["--dry_run"]])
@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        (["--clip_model", "ViT-L-14", "--clip_pretrained", "laion2b_s32b_b82k"], "ViT-L-14/laion2b_s32b_b82k"),
        (["--clip_model", "ViT-L-14", "--clip_pretrained", "{models}/own.safetensors"], "unknown origin"),
        (["--clip_model", "tiny-untrained", "--aesthetic_model", "v1"], "tiny-untrained"),
        (["--clip_model", "tiny-untrained", "--nsfw_model", "laion"], "tiny-untrained"),
        (
            ["--clip_model", "tiny-untrained", "--aesthetic_model", "{models}/sa_0_4_vit_l_14_linear.pth"],
            "tiny-untrained",
        ),
    ],
)
def test_heads_on_another_encoder_are_refused_before_any_work(
    raw, tmp_path, capsys, caplog, model_dir, encoder, name, dry_run
):
    argv = [text.format(models=model_dir) for text in encoder]
    output = tmp_path / "o"
    code, out, err = command(
        capsys, "--input", str(raw), "--output", str(output), "--model_dir", str(model_dir), *argv, *dry_run
    )
    one_line(err, code, [MADE_FOR, name, "--accept_other_encoder"])
    assert (code, out) == (2, "")
    assert not output.exists()


@pytest.mark.parametrize("insist", [[], ["--accept_other_encoder"]])
def test_an_encoder_of_another_width_never_owns_the_directory(raw, tmp_path, capsys, model_dir, insist):
    base = ["--input", str(raw), "--output", str(tmp_path / "o"), "--model_dir", str(model_dir), *insist]
    code, _, err = command(capsys, *base, "--clip_model", "ViT-B-32", "--clip_pretrained", "openai")
    one_line(err, code, ["takes embeddings of 768 numbers, and ViT-B-32-quickgelu/openai gives 512"])
    assert code == 2
    assert not (tmp_path / "o").exists()


def test_the_encoder_that_they_were_made_for_is_taken_without_a_word(raw, tmp_path, capsys, model_dir):
    base = ["--input", str(raw), "--output", str(tmp_path / "o"), "--model_dir", str(model_dir), "--dry_run"]
    code, out, err = command(capsys, *base, "--clip_model", "ViT-L-14")
    assert (code, err) == (0, "")
    assert "embedding: ViT-L-14-quickgelu/openai sha256:" in out
    assert "made for" not in out


def test_who_insists_reads_it_wherever_scores_show(tmp_path, capsys, shared):
    output = tmp_path / "o"
    base = [
        *("--input", str(shared / "data" / "image{1..4}.tar"), "--output", str(output), *TINY_WITH_REAL_HEADS),
        *("--model_dir", str(shared / "models"), "--accept_other_encoder", "--min_aesthetic", "-99"),
    ]
    mark = ", made for OpenAI's CLIP ViT-L/14, run on tiny-untrained"
    note = f"NOTE: aesthetic and nsfw: {mark[2:]}: these scores may mean nothing"
    code, out, _ = command(capsys, *base, "--dry_run")
    assert code == 0
    assert note in out
    code, out, _ = command(capsys, *base)
    assert code == 0
    assert note in out
    assert "NOTE: untrained models (embedding): these scores mean nothing" in out
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["flags"]["accept_other_encoder"] is True
    with tarfile.open(output / "00000.tar") as tar:
        records = [json.load(tar.extractfile(one)) for one in tar if one.name.endswith(".curation.json")]
    assert records
    for models in (manifest["models"], *(record["models"] for record in records)):
        assert models["aesthetic"]["notes"] == models["nsfw"]["notes"] == [mark[2:]]


def test_doubts_of_a_checkpoint_are_told_once_nothing_speaks_against_it(raw, tmp_path, capsys, caplog, model_dir):
    base = ["--input", str(raw), "--output", str(tmp_path / "o"), "--model_dir", str(model_dir), "--dry_run"]
    own = ["--clip_model", "ViT-L-14", "--clip_pretrained", str(model_dir / "own.safetensors")]
    assert command(capsys, *base, *own)[0] == 2
    assert caplog.records == []
    code, out, _ = command(capsys, *base, *own, "--accept_other_encoder")
    assert code == 0
    assert "embedding: ViT-L-14/own sha256:" in out
    assert "checkpoint of unknown origin" in out
    assert [record.getMessage() for record in caplog.records if "QuickGELU" in record.getMessage()] == [
        f"{model_dir}/own.safetensors is not known by its sha256, so nobody can tell whether it was trained with "
        "QuickGELU, as OpenAI's weights were: it runs without it, as ViT-L-14 does; if that is wrong, give "
        "--clip_model ViT-L-14-quickgelu"
    ]


def test_a_head_of_ones_own_says_what_it_ran_on(tmp_path, capsys, shared):
    own = tmp_path / "own.pth"
    torch.save({"weight": torch.zeros(1, 768), "bias": torch.ones(1)}, own)
    argv = ["--input", str(shared / "data" / "image1.tar"), "--output", str(tmp_path / "o"), "--dry_run"]
    code, out, _ = command(capsys, *argv, "--clip_model", "tiny-untrained", "--aesthetic_model", str(own))
    assert code == 0
    assert ", run on tiny-untrained" in out


def test_a_file_that_is_no_head_is_refused_before_any_work(tmp_path, capsys, shared):
    own = tmp_path / "own.pth"
    torch.save({"weight": torch.zeros(1, 512), "bias": torch.ones(1)}, own)
    argv = ["--input", str(shared / "data" / "image1.tar"), "--output", str(tmp_path / "o")]
    code, _, err = command(capsys, *argv, "--clip_model", "tiny-untrained", "--aesthetic_model", str(own))
    one_line(err, code, [str(own), "(1, 512)"])
    assert code == 2
    assert not (tmp_path / "o").exists()


def test_in_python_the_pipeline_is_refused_while_it_is_built(shared):
    with pytest.raises(UsageError, match=f"{MADE_FOR}tiny-untrained"):
        (
            beam.Pipeline(runner=FnApiRunner())
            | bc.ReadSamples(str(shared / "data" / "*.tar"))
            | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
            | beam.Map(lambda batch: batch)
            | bc.ScoreNsfw("untrained")
            | bc.ScoreAesthetic(model_dir=str(shared / "models"))
        )


def test_in_python_embeddings_from_elsewhere_are_refused_at_the_first_batch(shared):
    def embed(batch):
        return batch.replace(
            embeddings=np.zeros((len(batch), 768), np.float16), models={"embedding": bc.ModelIdentity("another")}
        )

    with (
        pytest.raises(JobError, match=f"{MADE_FOR}another"),
        beam.Pipeline(runner=FnApiRunner()) as p,
    ):
        (
            p
            | bc.ReadSamples(str(shared / "data" / "*.tar"))
            | beam.Map(embed)
            | bc.ScoreAesthetic(model_dir=str(shared / "models"))
        )


def test_a_small_job_refuses_it_as_well(tmp_path, capsys, shared):
    argv = ["--input", str(shared / "data" / "image1.tar"), "--output", str(tmp_path / "o"), *TINY_WITH_REAL_HEADS]
    assert filter_with_rule.main([*argv, "--model_dir", str(shared / "models")]) == 2
    assert f"{MADE_FOR}tiny-untrained" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_scores_of_before_are_not_taken_for_those_of_another_encoder(tmp_path, capsys, shared):
    """The refusal is not to be mistaken for weights that cannot be had, for which recorded scores would do."""
    base = [
        *("--input", str(shared / "data" / "image1.tar"), "--output", str(tmp_path / "o"), *TINY_WITH_REAL_HEADS),
        *("--model_dir", str(shared / "models")),
    ]
    assert curate_images.main([*base, "--accept_other_encoder"]) == 0
    code, _, err = command(capsys, *base)
    one_line(err, code, [MADE_FOR])
    assert code == 2
