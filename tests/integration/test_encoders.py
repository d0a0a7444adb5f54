"""Whole jobs with other encoders than CLIP: a user's own by flag, one of timm, a SigLIP tower."""

import io
import json
import sys

import numpy as np
import open_clip
import pyarrow.dataset as ds
import pytest
import timm
import torch
from PIL import Image

import beam_curator as bc
from beam_curator.commands import curate_images, verify_output
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from tests.images.image_files import encoded, picture
from tests.tars import tar_bytes

UNTRAINED_HEADS = ["--aesthetic_model", "untrained", "--nsfw_model", "untrained", "--min_aesthetic", "0.01"]
JPEGS = {f"{index:03d}": encoded(picture(width=200 + 30 * index, seed=index), "JPEG") for index in range(5)}

OWN = """
import torch
import beam_curator as bc

class ColourGrid(bc.Encoder):
    name = "colour_grid"
    dim = 48
    notes = ("not learned",)

    def __init__(self, side=64):
        self.preparation = bc.Preparation(side, "squash", "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def load(self):
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())

class Broken(ColourGrid):
    name = "broken"

    def load(self):
        raise FileNotFoundError("no weights here")
"""


@pytest.fixture
def job(tmp_path, monkeypatch, capsys):
    """Runs the main job on five pictures with these flags; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "users_encoders", raising=False)
    (tmp_path / "users_encoders.py").write_text(OWN)
    (tmp_path / "raw.tar").write_bytes(tar_bytes([(f"{key}.jpg", data) for key, data in JPEGS.items()]))

    def run(*flags):
        capsys.readouterr()
        argv = ["--input", str(tmp_path / "raw.tar"), "--output", str(tmp_path / "out"), "--precision", "fp32"]
        code = curate_images.main([*argv, "--report", "false", *flags])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.output = tmp_path / "out"
    return run


def stored(output) -> np.ndarray:
    """float16 [n, dim] in the order of the keys."""
    table = ds.dataset(output / "scores").to_table().sort_by("key")
    assert table["key"].to_pylist() == list(JPEGS)
    return np.stack(table["embedding"].to_pylist())


def verified(output) -> bool:
    return verify_output.main([str(output)]) == 0


def test_an_encoder_of_ones_own_is_named_by_a_flag(job):
    flags = ["--encoder", "users_encoders:ColourGrid(side=96)", *UNTRAINED_HEADS]
    code, out, _ = job(*flags)
    assert code == 0
    embeddings = stored(job.output)
    assert embeddings.shape == (5, 48)
    np.testing.assert_allclose(np.linalg.norm(embeddings.astype(float), axis=1), 1, atol=1e-3)
    models = json.dumps(json.loads((job.output / "manifest.json").read_text())["models"])
    assert "colour_grid" in models
    assert "not learned" in models
    assert verified(job.output)
    code, out, _ = job(*flags)
    assert code == 0
    assert "scored 0 images (5 had been scored before)" in out
    code, _, err = job("--encoder", "users_encoders:ColourGrid(side=64)", *UNTRAINED_HEADS)
    assert code == 2  # prepared in another way, it gives other embeddings
    assert "another job's output" in err


@pytest.mark.parametrize("given", [" side=96", ' {"side": 96}', '{"side": 96}', "(side=96)"])
def test_its_arguments_are_written_as_those_of_a_scorer(job, given):
    flags = ["--encoder", f"users_encoders:ColourGrid{given}", *UNTRAINED_HEADS]
    code, out, _ = job(*flags, "--dry_run")
    assert code == 0
    assert "made with (side=96)" in out


def test_an_encoder_that_cannot_be_loaded_leaves_the_directory_to_others(job):
    code, out, err = job("--encoder", "users_encoders:Broken", *UNTRAINED_HEADS)
    assert (code, out) == (1, "")
    (line,) = [line for line in err.splitlines() if line.startswith("beam-curator: ")]
    assert "no weights here" in line
    code, _, err = job("--encoder", "users_encoders:ColourGrid", "--range_mb", "1", *UNTRAINED_HEADS)
    assert (code, err.count("another job's output")) == (0, 0)
    assert json.loads((job.output / "job.json").read_text())["range_mb"] == 1
    assert verified(job.output)
    code, _, err = job("--encoder", "users_encoders:Broken", *UNTRAINED_HEADS)
    assert code == 2
    assert "another job's output: its embeddings are of colour_grid" in err


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("users_encoders:Missing", "--encoder users_encoders:Missing: cannot be loaded: AttributeError"),
        ("users_encoders:ColourGrid side=64 side=9", "side is given twice"),
        ("users_encoders:ColourGrid {side: 64}", "{side: 64} is no JSON object"),
        ("users_encoders:ColourGrid(side=0)", "cannot be loaded: UsageError: Preparation: size is 0"),
        ("users_encoders:torch", "is no encoder: its name is to be a str"),
        ("grid=users_encoders:ColourGrid", "an encoder has a name of its own: leave out grid="),
        ("timm:vit_smal_patch14_dinov2", "timm has no such architecture; did you mean timm:vit_small_patch14"),
    ],
)
def test_what_is_no_encoder_is_one_line_before_any_work(job, encoder, message):
    code, out, err = job("--encoder", encoder, *UNTRAINED_HEADS)
    assert (code, out) == (2, "")
    (line,) = err.strip().splitlines()
    assert message in line
    assert not job.output.exists()


def test_heads_that_were_made_for_other_embeddings_are_refused_and_both_are_named(job, shared):
    code, _, err = job("--encoder", "users_encoders:ColourGrid", "--model_dir", str(shared / "models"))
    (line,) = err.strip().splitlines()
    assert code == 2
    assert "takes embeddings of 768 numbers, and colour_grid gives 48" in line


def test_a_model_of_timm_is_named_by_a_flag_and_its_checkpoint_by_a_path(job, tmp_path):
    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit", pretrained=False).state_dict(), tmp_path / "own.pth")
    code, _, _ = job("--encoder", "timm:test_vit", "--clip_pretrained", "own.pth", *UNTRAINED_HEADS)
    assert code == 0
    spec = ClipSpec("timm:test_vit", str(tmp_path / "own.pth"), precision="fp32", device="cpu")
    expected = ClipEncoder(spec).encode(list(JPEGS.values())).embeddings
    np.testing.assert_array_equal(stored(job.output), expected)
    assert verified(job.output)


@pytest.mark.slow
def test_a_siglip_tower_runs_through_the_main_job(job, tmp_path):
    name, tag = "ViT-B-32-SigLIP2-256", "webli"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = open_clip.get_model_config(name)
        text = {"context_length": 8, "vocab_size": 100, "width": 64, "heads": 2, "layers": 1}
        whole = open_clip.CustomTextCLIP(config["embed_dim"], config["vision_cfg"], text).eval()
    torch.save(whole.state_dict(), tmp_path / f"{name}--{tag}.pt")
    flags = ["--encoder", name, "--clip_pretrained", tag, "--model_dir", str(tmp_path), *UNTRAINED_HEADS]
    code, out, _ = job(*flags)
    assert code == 0
    assert "kept             5" in out
    entry = open_clip.get_pretrained_cfg(name, tag)
    transform = open_clip.image_transform(
        256, False, entry["mean"], entry["std"], entry["resize_mode"], entry["interpolation"]
    )
    batch = torch.stack([transform(Image.open(io.BytesIO(data))) for data in JPEGS.values()])
    with torch.inference_mode():
        expected = whole.encode_image(batch, normalize=True).numpy()
    assert np.abs(stored(job.output) - expected).max() < 1e-3
    assert verified(job.output)


def test_in_python_an_encoder_is_named_as_by_the_flag(job, tmp_path):
    done = bc.curate(
        str(tmp_path / "raw.tar"),
        str(tmp_path / "python"),
        encoder="users_encoders:ColourGrid",
        aesthetic_model="untrained",
        nsfw_model="untrained",
        min_aesthetic=0.01,
    )
    assert done.seen == 5
    assert stored(tmp_path / "python").shape == (5, 48)


def test_in_python_an_encoder_and_scorers_of_ones_own_are_objects(job, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    from users_encoders import ColourGrid

    given = {"aesthetic_model": "untrained", "nsfw_model": "none", "min_aesthetic": 0.01}
    own = bc.HeadScorer("first", lambda: lambda embeddings: embeddings[:, 0])
    done = bc.curate(str(tmp_path / "raw.tar"), str(job.output), encoder=ColourGrid(96), scorers=[own], **given)
    assert (done.seen, done.scored) == (5, 5)
    np.testing.assert_array_equal(
        ds.dataset(job.output / "scores").to_table().sort_by("key")["first"].to_numpy(),
        stored(job.output)[:, 0].astype(np.float32),
    )
    assert verified(job.output)
    again = bc.curate(str(tmp_path / "raw.tar"), str(job.output), encoder="users_encoders:ColourGrid(96)", **given)
    assert (again.scored, again.reused) == (0, 5)
