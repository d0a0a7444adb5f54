"""Texts as open_clip itself encodes them, on a small architecture with random weights."""

import dataclasses
import json
import pathlib
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch

from beam_curator.errors import UsageError
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.text_tower import check_text_half, load_text_tower
from tests.models.small_text_models import SIGLIP_LIKE, SMALL, add_small_text_models, random_checkpoint

TEXTS = ["a photo with a watermark", "a clean photo", "Ein Fahrrad, 自転車, 🚲", 'it\'s "quoted" = a|b', ""]


@pytest.fixture(scope="module", autouse=True)
def _architectures(tmp_path_factory):
    add_small_text_models(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, _architectures):
    return random_checkpoint(SMALL, tmp_path_factory.mktemp("weights") / "small.pt")


def open_clip_vectors(model: str, checkpoint: str, texts: list[str], **options: object) -> np.ndarray:
    """float32 [n, dim] by open_clip's own tokenizer and encode_text."""
    whole = open_clip.create_model(model, pretrained=checkpoint, **options).eval()
    with torch.inference_mode():
        return whole.encode_text(open_clip.get_tokenizer(model)(texts), normalize=True).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("model", [SMALL, f"{SMALL}-quickgelu", SIGLIP_LIKE])
def test_texts_are_encoded_as_by_open_clip(model, tmp_path):
    checkpoint = random_checkpoint(model, tmp_path / "weights.pt")
    expected = open_clip_vectors(model, checkpoint, TEXTS)
    got = load_text_tower(model, checkpoint, None).encode(TEXTS)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 1e-5
    assert np.abs(expected[0] - expected[1:]).max() > 1e-2  # or the comparison would prove nothing
    assert np.linalg.norm(got, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_text_has_the_same_vector_whatever_comes_with_it(checkpoint):
    tower = load_text_tower(SMALL, checkpoint, None)
    together = tower.encode(TEXTS)
    assert all(np.array_equal(tower.encode([text])[0], vector) for text, vector in zip(TEXTS, together, strict=True))


def test_the_scale_is_the_models_own(checkpoint):
    whole = open_clip.create_model(SMALL, pretrained=checkpoint)
    assert load_text_tower(SMALL, checkpoint, None).logit_scale == pytest.approx(whole.logit_scale.exp().item())


@pytest.mark.slow
def test_openais_entry_brings_quickgelu_to_texts_too(checkpoint, monkeypatch):
    entry = {"quick_gelu": True, "url": "", "hf_hub": ""}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: entry if tag == "ours" else {})
    plain, quick = (load_text_tower(SMALL, checkpoint, tag).encode(TEXTS) for tag in (None, "ours"))
    assert np.abs(plain - quick).max() > 1e-5
    assert np.abs(quick - open_clip_vectors(SMALL, checkpoint, TEXTS, force_quick_gelu=True)).max() < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")
@pytest.mark.parametrize("as_openai", [True, False])
def test_texts_of_a_torchscript_archive_are_encoded_and_openais_gets_quickgelu_unasked(checkpoint, tmp_path, as_openai):
    model = open_clip.create_model(SMALL, pretrained=checkpoint).eval()
    if as_openai:
        for name, value in (("input_resolution", 32), ("context_length", 77), ("vocab_size", 49408)):
            vars(model).pop(name, None)
            model.register_buffer(name, torch.tensor(value))
    inputs = torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long)
    torch.jit.trace(model, inputs, check_trace=False).save(str(tmp_path / "archive.pt"))
    got = load_text_tower(SMALL, str(tmp_path / "archive.pt"), None).encode(TEXTS)
    quick, plain = (open_clip_vectors(SMALL, checkpoint, TEXTS, force_quick_gelu=quick) for quick in (True, False))
    expected, other = (quick, plain) if as_openai else (plain, quick)
    assert np.abs(got - expected).max() < 1e-5 < np.abs(got - other).max()


def test_a_text_that_the_model_would_not_read_to_its_end_is_refused(checkpoint):
    tower = load_text_tower(SMALL, checkpoint, None)
    tower.encode(["word " * 75])  # with the marks of begin and end 77
    for words in (76, 77, 400):
        with pytest.raises(UsageError) as caught:
            tower.encode(["short", "word " * words])
        assert str(caught.value).endswith(f"is longer than the 77 tokens that '{SMALL}' reads: shorten it")


def test_loading_leaves_torchs_random_state_alone(checkpoint):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_text_tower(SMALL, checkpoint, None)
    load_text_tower("tiny-untrained", None, None)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_the_tiny_one_gives_other_vectors_for_other_texts_and_the_same_each_time():
    first, again = (load_text_tower("tiny-untrained", None, None).encode(TEXTS) for _ in range(2))
    assert first.shape == (5, ClipEncoder(ClipSpec("tiny-untrained")).dim)
    assert np.array_equal(first, again)
    cosines = first @ first.T
    assert cosines[~np.eye(5, dtype=bool)].max() < 0.999


def refusal(model: str, checkpoint: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load_text_tower(model, checkpoint, None)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_tag_that_open_clip_does_not_know_is_named(checkpoint):
    with pytest.raises(UsageError, match=f"^unknown pretrained tag 'nobodys' of model '{SMALL}'"):
        load_text_tower(SMALL, checkpoint, "nobodys")


def test_what_cannot_be_had_is_one_line(checkpoint, tmp_path):
    assert refusal("timm:vit_small") == (
        "model 'timm:vit_small' has no text tower that is known: take one of open_clip's for texts"
    )
    assert (
        refusal(SMALL, "/nowhere.pt")
        == f"model '{SMALL}' needs a checkpoint, and there is no file /nowhere.pt: give a local path"
    )
    assert f"does not fit model '{SMALL}'" in refusal(SMALL, random_checkpoint(SIGLIP_LIKE, tmp_path / "other.pt"))


HUB = "curator-test-hub"
WORDS = ["<pad>", "</s>", "a", "photo", "with", "watermark", "clean"]


@pytest.fixture
def hub_checkpoint(checkpoint, tmp_path):
    """Weights of a model whose tokenizer is on the hub, as SigLIP's is."""
    config = {**open_clip.get_model_config(SMALL)}
    config["text_cfg"] = {**config["text_cfg"], "hf_tokenizer_name": "timm/SomeSigLIP", "vocab_size": 49408}
    (tmp_path / f"{HUB}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"{HUB}.json")
    return shutil.copy(checkpoint, tmp_path / "hub.pt")


def put_beside(weights, words=WORDS):
    """A tokenizer of single words, in the files of the hub."""
    directory = pathlib.Path(weights).parent / "tokenizers" / "timm--SomeSigLIP"
    directory.mkdir(parents=True)
    model = {"type": "WordLevel", "vocab": {word: place for place, word in enumerate(words)}, "unk_token": "<pad>"}
    splitting = {"type": "Whitespace"}
    whole = {"version": "1.0", "model": model, "pre_tokenizer": splitting, "added_tokens": []}
    (directory / "tokenizer.json").write_text(json.dumps(whole))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(told))
    return directory


class Words:
    """Has as much of transformers as open_clip asks of it."""

    @classmethod
    def from_pretrained(cls, directory, cache_dir=None):
        words = cls()
        words.vocabulary = json.loads((pathlib.Path(directory) / "tokenizer.json").read_text())["model"]["vocab"]
        return words

    def __len__(self):
        return len(self.vocabulary)

    def __call__(self, texts, return_tensors, max_length, padding, truncation):
        rows = [[self.vocabulary.get(word, 0) for word in text.split()] for text in texts]
        return SimpleNamespace(input_ids=torch.tensor([(row + [0] * max_length)[:max_length] for row in rows]))


@pytest.fixture(params=["as open_clip asks it", "transformers itself"])
def transformers(request, monkeypatch):
    if request.param == "transformers itself":
        pytest.importorskip("transformers")
    else:
        monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoTokenizer=Words))


def test_a_tokenizer_of_the_hub_is_read_from_where_the_weights_are(hub_checkpoint, transformers):
    put_beside(hub_checkpoint)
    got = load_text_tower(HUB, hub_checkpoint, None).encode(["a clean photo", "a photo with a watermark"])
    tokens = torch.zeros(2, 77, dtype=torch.long)
    tokens[0, :3], tokens[1, :5] = torch.tensor([2, 6, 3]), torch.tensor([2, 3, 4, 2, 5])
    whole = open_clip.create_model(SMALL, pretrained=hub_checkpoint).eval()
    with torch.inference_mode():
        expected = whole.encode_text(tokens, normalize=True).numpy()
    assert np.abs(got - expected).max() < 1e-5


def test_a_tokenizer_of_more_tokens_than_the_model_knows_is_refused(hub_checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoTokenizer=Words))
    directory = put_beside(hub_checkpoint, [f"w{index}" for index in range(50_000)])
    assert refusal(HUB, hub_checkpoint) == (
        f"{directory} holds a tokenizer of 50,000 tokens, and model '{HUB}' knows 49,408: put the files of "
        "timm/SomeSigLIP there"
    )


def test_a_tokenizer_of_the_hub_that_cannot_be_had_says_what_goes_where(hub_checkpoint, tmp_path, monkeypatch):
    def unreachable(name, **_):
        raise OSError(f"cannot load {name}\nCheck your connection")

    monkeypatch.setattr(open_clip.factory, "HFTokenizer", unreachable)
    line = refusal(HUB, hub_checkpoint)
    assert "the tokenizer timm/SomeSigLIP of the Hugging Face hub, which cannot be had here (cannot load timm" in line
    assert "pip install transformers" in line
    assert f"tokenizer_config.json, special_tokens_map.json) into {tmp_path}/tokenizers/timm--SomeSigLIP; or" in line
    with pytest.raises(UsageError, match="into tokenizers/timm--SomeSigLIP beside the weights"):
        check_text_half(HUB, None)


def test_a_tokenizer_that_fails_when_it_is_called_is_one_line(checkpoint):
    def tokenise(texts, context_length):
        raise LookupError("Resource punkt not found.\nUse the downloader")

    tokenise.context_length = 77
    tower = load_text_tower(SMALL, checkpoint, None)
    with pytest.raises(UsageError, match=r"cannot tokenise its texts on this machine: Resource punkt not found\.$"):
        dataclasses.replace(tower, tokenise=tokenise).encode(["a"])
