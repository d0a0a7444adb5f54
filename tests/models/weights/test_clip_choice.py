"""A choice of CLIP is an architecture and a file, known by its sha256 where it can be."""

import open_clip
import pytest

from beam_curator.errors import UsageError
from beam_curator.models.weights import clip_weights, resolving
from beam_curator.models.weights.clip_weights import ClipWeights
from beam_curator.models.weights.weights_file import WeightsFile
from tests.models.weights.sources import SHA256, put, without_network


def test_the_default_clip_weights_are_those_that_open_clip_names():
    default = ClipWeights.named("ViT-L-14-quickgelu", "openai")

    assert default.name == "ViT-L-14-quickgelu/openai"
    assert default.filename == "ViT-L-14-quickgelu--openai"
    assert default.hub == "timm/vit_large_patch14_clip_224.openai/"
    assert "/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/" in default.url


def test_either_spelling_of_a_tag_means_the_same_file():
    assert ClipWeights.named("ViT-L-14", "laion2b-s32b-b82k") == ClipWeights.named("ViT-L-14", "laion2b_s32b_b82k")


@pytest.mark.parametrize(
    ("model", "tag", "near"),
    [
        ("ViT-L14", "openai", "no model 'ViT-L14'; did you mean ViT-L-14"),
        ("????", "openai", "open_clip.list_models"),
        ("ViT-L-14", "opnai", "choose one of openai"),
        ("ViT-L-14", "zzzz", "choose one of openai, laion400m_e31"),
        ("convnext_tiny", "openai", r"choose one of \(none\), or give the path"),
        ("ViT-L14", "own.safetensors", "did you mean ViT-L-14"),
    ],
)
def test_an_unknown_model_or_tag_is_refused_with_those_that_are_near(model, tag, near):
    with pytest.raises(UsageError, match=near):
        resolving.choose_clip(model, tag, None)


@pytest.mark.parametrize("tag", ["openai", "laion2b_s32b_b82k", "datacomp_xl_s13b_b90k"])
def test_tags_are_not_taken_for_paths(tag):
    assert not clip_weights.is_checkpoint_path(tag)


@pytest.mark.parametrize("path", ["own.pt", "OWN.SAFETENSORS", "dir/own", "gs://bucket/own"])
def test_checkpoints_are_taken_for_paths(path):
    assert clip_weights.is_checkpoint_path(path)


def test_a_users_own_checkpoint_is_taken_as_it_is(tmp_path):
    path = str(put(tmp_path / "own.safetensors"))

    assert resolving.choose_clip("ViT-L-14", path, None).weights == WeightsFile("ViT-L-14/own", path, SHA256)


def test_openais_weights_are_the_same_file_and_run_with_quickgelu_under_either_name_of_their_architecture(tmp_path):
    put(tmp_path / "ViT-L-14-quickgelu--openai.safetensors")

    chosen = [resolving.choose_clip(name, "openai", str(tmp_path)) for name in ("ViT-L-14", "ViT-L-14-quickgelu")]

    assert chosen[0] == chosen[1]
    assert (chosen[0].model, chosen[0].tag) == ("ViT-L-14-quickgelu", "openai")
    assert chosen[0].weights.path == str(tmp_path / "ViT-L-14-quickgelu--openai.safetensors")


def test_weights_that_an_earlier_release_fetched_under_the_other_name_are_found(tmp_path):
    put(tmp_path / "ViT-L-14--openai.safetensors")

    assert (
        resolving.choose_clip("ViT-L-14-quickgelu", "openai", str(tmp_path)).weights.name == "ViT-L-14-quickgelu/openai"
    )


def test_weights_that_were_trained_without_quickgelu_keep_their_architecture(tmp_path):
    put(tmp_path / "ViT-L-14--laion2b_s32b_b82k.safetensors")

    assert resolving.choose_clip("ViT-L-14", "laion2b_s32b_b82k", str(tmp_path)).model == "ViT-L-14"


@pytest.fixture
def openais_file(tmp_path, monkeypatch):
    """A file that has the sha256 of OpenAI's archive, as far as anybody asks: the real one has 1.7 GB."""
    path = put(tmp_path / "downloaded.pt")
    config = {"quick_gelu": True, "url": f"https://example.org/{SHA256}/ViT-L-14.pt"}
    real = open_clip.get_pretrained_cfg

    def get(model, tag):
        return config if (model.removesuffix("-quickgelu"), tag) == ("ViT-L-14", "openai") else real(model, tag)

    monkeypatch.setattr(open_clip, "get_pretrained_cfg", get)
    return str(path)


def test_openais_file_is_known_by_its_sha256_and_runs_with_quickgelu_whatever_its_name(openais_file):
    for model in ("ViT-L-14", "ViT-L-14-quickgelu"):
        chosen = resolving.choose_clip(model, openais_file, None)
        assert (chosen.model, chosen.tag, chosen.weights.name) == (
            "ViT-L-14-quickgelu",
            "openai",
            "ViT-L-14-quickgelu/openai",
        )
        assert chosen.doubt is None


def test_a_known_file_for_another_architecture_is_refused(openais_file):
    with pytest.raises(
        UsageError, match=r"weights of ViT-L-14-quickgelu/openai, not of ViT-B-32: give --clip_model ViT"
    ):
        resolving.choose_clip("ViT-B-32", openais_file, None)


def test_the_path_of_a_fetched_file_is_known_by_its_name_and_record(tmp_path):
    path = put(tmp_path / "ViT-L-14--openai.safetensors")
    assert resolving.choose_clip("ViT-L-14", str(path), None).tag is None
    put(tmp_path / f"{path.name}.sha256", f"{SHA256}  {path.name}\n".encode())
    known = resolving.choose_clip("ViT-L-14", str(path), None)
    assert (known.tag, known.doubt) == ("openai", None)


@pytest.mark.parametrize(
    ("model", "how"),
    [
        ("ViT-L-14", "it runs without it, as ViT-L-14 does; if that is wrong, give --clip_model ViT-L-14-quickgelu"),
        (
            "ViT-L-14-quickgelu",
            "it runs with it, as ViT-L-14-quickgelu does; if that is wrong, give --clip_model ViT-L-14",
        ),
    ],
)
def test_a_checkpoint_of_unknown_origin_is_told_to_be_one_in_a_line(tmp_path, model, how):
    path = str(put(tmp_path / "own.safetensors"))

    chosen = resolving.choose_clip(model, path, None)
    assert chosen.model == model
    assert chosen.doubt == (
        f"{path} is not known by its sha256, so nobody can tell whether it was trained with QuickGELU, as OpenAI's "
        f"weights were: {how}"
    )


def test_a_checkpoint_of_an_architecture_without_a_twin_needs_no_word(tmp_path):
    assert resolving.choose_clip("ViT-SO400M-14-SigLIP", str(put(tmp_path / "own.safetensors")), None).doubt is None


def test_missing_clip_weights_are_one_line_with_the_command_for_that_model(tmp_path, monkeypatch):
    without_network(monkeypatch)
    with pytest.raises(UsageError) as raised:
        resolving.choose_clip("ViT-B-32", "openai", str(tmp_path))

    assert "ViT-B-32-quickgelu--openai" in str(raised.value)
    assert f"--model_dir {tmp_path} --clip_model ViT-B-32-quickgelu --clip_pretrained openai`" in str(raised.value)
