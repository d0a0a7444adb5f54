"""Semantic duplicates by the embeddings of another output: scores by one encoder, duplicates by a second one."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import beam_curator as bc
from beam_curator.commands import verify_output
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.errors import UsageError
from beam_curator.output.part_contents import read_embeddings
from tests.images.image_files import encoded, picture
from tests.integration.integration_content import content, ledger
from tests.tars import tar_bytes, write_shard

THRESHOLD = 0.999
SEMANTIC = ("--duplicates", "semantic", "--duplicate_cosine", str(THRESHOLD))


class MeanColour(bc.Encoder):
    """Two of the pictures below are alike to it if they have the same colours, whatever they show."""

    name, dim = "mean_colour", 3
    preparation = bc.Preparation(32, "squash", "box", mean=(0, 0, 0), std=(1, 1, 1))

    def load(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def pictures():
    """Yields for each seed a picture, and the same upside down and at another size: other embeddings, but for its
    colours."""
    for seed in range(6):
        scene = picture(width=160, height=120, seed=seed)
        yield encoded(scene, "PNG")
        yield encoded(scene.rotate(180).resize((200, 150)), "PNG")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shards")
    members = [(f"{index:03d}.png", data) for index, data in enumerate(pictures())]
    for number, some in enumerate((members[:6], members[6:])):
        write_shard(directory / f"{number:05d}.tar", tar_bytes(some))
    return directory


@pytest.fixture
def base(shards):
    scorers = ("--aesthetic_model", "none", "--nsfw_model", "none", "--report", "false")
    return ["--input", f"{shards}/*.tar", "--clip_model", "tiny-untrained", *scorers]


@pytest.fixture(scope="module")
def colours_once(shards, tmp_path_factory):
    """A finished job over the same input, by the second encoder."""
    output = tmp_path_factory.mktemp("colours") / "out"
    models = {"aesthetic_model": "none", "nsfw_model": "none"}
    bc.curate(f"{shards}/*.tar", output, encoder=MeanColour(), report=False, **models)
    return output


@pytest.fixture
def colours(colours_once, tmp_path):
    return shutil.copytree(colours_once, tmp_path / "colours")


def vectors_of(output):
    """The embeddings of an output, by the samples' keys: float64, of length 1."""
    found = {}
    for path in sorted((output / "scores").glob("*.parquet")):
        vectors = read_embeddings(str(path)).embeddings.astype(float)
        found |= zip(pq.read_table(path)["key"].to_pylist(), vectors, strict=True)
    return {key: vector / np.linalg.norm(vector) for key, vector in found.items()}


def test_duplicates_are_those_of_the_other_embeddings_and_verifying_agrees(curate, base, colours, tmp_path, capsys):
    out = tmp_path / "out"
    assert curate(out, *SEMANTIC, base=base)[0] == 0
    assert not [row for row in ledger(out) if row["duplicate_of"]]
    scores = {path.name: path.read_bytes() for path in (out / "scores").iterdir()}

    asked = (*SEMANTIC, "--duplicate_embeddings", str(colours))
    code, printed, _ = curate(out, *asked, base=base)
    assert code == 0
    assert "scored 0 images" in printed
    assert {path.name: path.read_bytes() for path in (out / "scores").iterdir()} == scores
    by_id = {row["sample_id"]: row["key"] for row in ledger(out)}
    vectors, rows = vectors_of(colours), ledger(out)
    gone = [row for row in rows if row["duplicate_of"]]
    assert len(gone) >= 6
    for row in gone:
        cosine = vectors[row["key"]] @ vectors[by_id[row["duplicate_of"]]]
        assert row["duplicate_distance"] == pytest.approx(cosine, abs=2e-3)
    kept = np.stack([vectors[row["key"]] for row in rows if row["status"] == "kept"])
    assert np.triu(kept @ kept.T, 1).max() < THRESHOLD + 1e-3
    assert verify_output.main([str(out)]) == 0

    assert curate(tmp_path / "at_once", *asked, base=base)[0] == 0
    assert content(tmp_path / "at_once") == content(out)
    capsys.readouterr()
    shutil.rmtree(colours / "scores")
    assert verify_output.main([str(out)]) == 1
    assert f"--duplicate_embeddings {colours} has no embeddings of the range" in capsys.readouterr().out
    shutil.rmtree(colours)
    assert verify_output.main([str(out)]) == 1
    assert f"there is no finished job in {colours} (any more, or seen from " in capsys.readouterr().out


def test_embeddings_of_other_samples_are_refused_by_the_job_and_the_verifier(curate, base, colours, tmp_path, capsys):
    asked = (*SEMANTIC, "--duplicate_embeddings", str(colours))
    assert curate(tmp_path / "out", *asked, base=base)[0] == 0
    first, second = sorted((colours / "scores").iterdir())
    shutil.copy(second, first)
    code, _, err = curate(tmp_path / "new", *asked, base=base)
    assert (code, err.count("\n")) == (1, 1)
    assert f"{first} is of other samples than " in err
    capsys.readouterr()
    assert verify_output.main([str(tmp_path / "out")]) == 1
    assert "is of other samples than" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        ("", ("--range_mb", "1"), "has ranges of 64 MiB, this job of 1: give both the same"),
        ("input", (), "was made of another input than this one's: run its own command"),
        ("manifest.json", (), "holds no finished job (manifest.json is written last)"),
    ],
)
def test_an_output_over_another_input_is_told_before_any_work(curate, base, colours, tmp_path, change, flags, message):
    if change == "input":
        manifest = json.loads((colours / "manifest.json").read_text())
        manifest["input"] = {}
        (colours / "manifest.json").write_text(json.dumps(manifest))
    elif change:
        (colours / change).unlink()
    asked = (*SEMANTIC, "--duplicate_embeddings", str(colours), *flags)
    code, _, err = curate(tmp_path / "out", *asked, base=base)
    assert (code, err.count("\n")) == (2, 1)
    assert f"--duplicate_embeddings {colours} {message}" in err
    assert not (tmp_path / "out").exists()


def test_what_would_become_of_several_images_is_no_difference_where_no_sample_has_them(curate, base, colours, tmp_path):
    asked = (*SEMANTIC, "--duplicate_embeddings", str(colours))
    assert curate(tmp_path / "out", *asked, "--several_images", "first", base=base)[0] == 0


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(UsageError, match="only semantic duplicates are told by embeddings"):
        DuplicateSettings("exact", embeddings="other")
    with pytest.raises(UsageError, match="are of another encoder: leave one out"):
        DuplicateSettings(against=["earlier"], embeddings="other")
