"""Files of weights: which are taken, what they decide, and what is said of all others."""

import zipfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU

from beam_curator.errors import UsageError
from beam_curator.models.encoders import open_clip_tower
from beam_curator.models.encoders.open_clip_tower import OpenClipEncoder
from tests.models.small_clip import PHOTOGRAPHS, SMALL, encode, load_error, open_clip_embeddings, random_model

pytestmark = pytest.mark.usefixtures("small_architectures")


def test_safetensors_and_wrapped_state_dicts_load(checkpoint, tmp_path):
    from safetensors.torch import save_file

    state = torch.load(checkpoint, weights_only=True)
    save_file(state, tmp_path / "small.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "wrapped.pt")
    expected = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=checkpoint).embeddings
    for name in ("small.safetensors", "wrapped.pt"):
        got = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=str(tmp_path / name)).embeddings
        np.testing.assert_array_equal(got, expected)


def save_torchscript(path: Path, *, as_openai: bool) -> None:
    """A TorchScript archive like OpenAI's: float16 weights, and three numbers as buffers."""
    model = random_model()
    if as_openai:
        for name, value in (("input_resolution", 224), ("context_length", 8), ("vocab_size", 100)):
            vars(model).pop(name, None)
            model.register_buffer(name, torch.tensor(value))
    inputs = torch.zeros(1, 3, 224, 224), torch.zeros(1, 8, dtype=torch.long)
    torch.jit.trace(model, inputs, check_trace=False).half().save(str(path))


def has_quick_gelu(model: str, checkpoint: str) -> bool:
    return type(OpenClipEncoder(model, checkpoint).load().transformer.resblocks[0].mlp.gelu) is QuickGELU


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")
@pytest.mark.parametrize("as_openai", [True, False])
def test_a_torchscript_archive_loads_and_openais_gets_quickgelu_unasked(tmp_path, as_openai):
    archive, plain = tmp_path / "archive.pt", tmp_path / "plain.pt"
    save_torchscript(archive, as_openai=as_openai)
    with pytest.raises(RuntimeError, match="TorchScript"):
        torch.load(archive, weights_only=True)
    torch.save(random_model().half().state_dict(), plain)
    expected = open_clip_embeddings(SMALL, str(plain), PHOTOGRAPHS, force_quick_gelu=as_openai)
    other = open_clip_embeddings(SMALL, str(plain), PHOTOGRAPHS, force_quick_gelu=not as_openai)
    got = encode(PHOTOGRAPHS, model=SMALL, checkpoint=str(archive)).embeddings
    assert np.abs(got - expected).max() < 1e-3 < np.abs(got - other).max()
    assert has_quick_gelu(SMALL, str(archive)) == as_openai


@pytest.mark.slow
def test_the_published_tag_decides_quickgelu_mean_and_std(checkpoint, monkeypatch):
    # A fake entry: no published weights are small enough for a test.
    entry = {"quick_gelu": True, "mean": (0.5, 0.4, 0.3), "std": (0.5, 0.6, 0.7), "url": "", "hf_hub": ""}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: entry if tag == "ours" else {})
    expected = open_clip_embeddings(
        SMALL, checkpoint, PHOTOGRAPHS, force_quick_gelu=True, image_mean=entry["mean"], image_std=entry["std"]
    )
    got = encode(PHOTOGRAPHS, model=SMALL, checkpoint=checkpoint, pretrained_tag="ours").embeddings
    assert np.abs(got - expected).max() < 1e-3
    assert has_quick_gelu(f"{SMALL}-quickgelu", checkpoint)


def test_openais_published_entry_of_vit_l_14_has_quickgelu():
    for model in ("ViT-L-14", "ViT-L-14-quickgelu"):
        assert open_clip_tower.published(model, "openai")["quick_gelu"] is True
    with pytest.raises(UsageError, match="unknown pretrained tag 'laion2b_s32b_b82k' of model 'ViT-L-14-quickgelu'"):
        open_clip_tower.published("ViT-L-14-quickgelu", "laion2b_s32b_b82k")


def test_a_checkpoint_of_another_model_names_file_model_and_first_tensors(checkpoint):
    assert load_error(model=f"{SMALL}-wide", checkpoint=checkpoint) == (
        f"checkpoint {checkpoint} does not fit model '{SMALL}-wide': "
        "size mismatch for visual.class_embedding: copying a param with shape torch.Size([128]) from checkpoint, "
        "the shape in current model is torch.Size([192]).; "
        "size mismatch for visual.positional_embedding: copying a param with shape torch.Size([50, 128]) from "
        "checkpoint, the shape in current model is torch.Size([50, 192]). and 42 more"
    )


def test_a_state_dict_of_something_else_is_refused_in_one_line(tmp_path):
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "head.pt")
    message = load_error(model=SMALL, checkpoint=str(tmp_path / "head.pt"))
    assert message.startswith(f"checkpoint {tmp_path / 'head.pt'} does not fit model '{SMALL}': Missing key(s)")
    assert 'Unexpected key(s) in state_dict: "layer.weight"' in message


class _Trap:
    """Unpickling it would run code."""

    def __reduce__(self):
        return (Path.touch, (Path("code-was-run"),))


def test_no_code_is_unpickled_from_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"visual.proj": _Trap()}, "trap.pt")
    assert "does not fit model" in load_error(model=SMALL, checkpoint="trap.pt")
    assert not Path("code-was-run").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\3\4 not a zip file"])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_damaged_checkpoint_is_an_error_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert str(tmp_path / name) in load_error(model=SMALL, checkpoint=str(tmp_path / name))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_damaged_torchscript_archive_is_an_error_that_names_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("weights/constants.pkl", b"garbage")
    message = load_error(model=SMALL, checkpoint=str(tmp_path / "weights.pt"))
    assert message.startswith(f"checkpoint {tmp_path / 'weights.pt'} is a damaged TorchScript archive: ")


def test_a_missing_checkpoint_is_an_error_that_names_it():
    assert load_error(model=SMALL, checkpoint="/nowhere/weights.pt") == (
        f"model '{SMALL}' needs a checkpoint, and there is no file /nowhere/weights.pt: give a local path"
    )
    assert load_error(model=SMALL) == f"model '{SMALL}' needs a checkpoint, and none was given: give a local path"


def test_an_unknown_model_is_an_error_with_a_suggestion():
    message = load_error(model="ViT-L/14")
    assert message.startswith("unknown model 'ViT-L/14': open_clip has no such architecture; did you mean ViT-L-14")


def test_what_a_checkpoint_holds_of_the_text_half_does_not_count(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    visual = {name: value for name, value in state.items() if name.startswith("visual.")}
    torch.save({**visual, "text.of.another.kind": torch.zeros(3)}, tmp_path / "visual.pt")
    expected = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=checkpoint).embeddings
    got = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=str(tmp_path / "visual.pt")).embeddings
    np.testing.assert_array_equal(got, expected)
    del visual["visual.proj"]
    torch.save(visual, tmp_path / "visual.pt")
    assert 'Missing key(s) in state_dict: "visual.proj"' in load_error(
        model=SMALL, checkpoint=str(tmp_path / "visual.pt")
    )
