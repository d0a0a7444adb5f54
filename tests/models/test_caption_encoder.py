"""Captions that end early are read to their end alone, with the vectors that open_clip gives them."""

import collections

import numpy as np
import open_clip
import pytest
import torch

from beam_curator.models.encoders import caption_encoder
from beam_curator.models.encoders.caption_encoder import CaptionEncoder, Captions
from beam_curator.models.encoders.precision import resolve_caption_precision
from beam_curator.models.weights.weights_file import WeightsFile, measured_sha256
from tests.models.small_clip import cosines
from tests.models.small_text_models import SIGLIP_LIKE, SMALL, add_small_text_models, random_checkpoint

# A caption of n words is of n tokens between two more: those of 14 words are the longest that are read to 16.
CAPTIONS = [
    " ".join(["dog", "cat", "bird"][place % 3] for place in range(words))
    for words in (30, 31, 1, 90, 14, 29, 15, 46, 75, 3, 47)
]
READ = {16: 3, 32: 3, 48: 2, 77: 3}


@pytest.fixture(scope="module", autouse=True)
def _architectures(tmp_path_factory):
    add_small_text_models(tmp_path_factory.mktemp("configs"))


def encoder_of(model, folder, precision="auto"):
    path = random_checkpoint(model, folder / "weights.pt")
    return CaptionEncoder(model, WeightsFile("small/ours", path, measured_sha256(path)), None, "cpu", precision)


@pytest.mark.parametrize(
    ("model", "read_to"), [(SMALL, READ), pytest.param(SIGLIP_LIKE, {77: len(CAPTIONS)}, marks=pytest.mark.slow)]
)
def test_captions_have_open_clips_vectors_wherever_they_end(model, read_to, tmp_path, monkeypatch):
    monkeypatch.setitem(caption_encoder._TEXTS_AT_ONCE, "cpu", 2)  # several passes of a length
    encoder = encoder_of(model, tmp_path)
    read: list[tuple[int, int]] = []
    tower, _ = encoder._loaded()

    def watched(encode):
        return lambda tokens: read.append(tuple(tokens.shape)) or encode(tokens)

    object.__setattr__(tower, "encode_tokens", watched(tower.encode_tokens))
    object.__setattr__(tower, "encode_short", {length: watched(one) for length, one in tower.encode_short.items()})
    got = encoder.encode(Captions(CAPTIONS))
    whole = open_clip.create_model(model, pretrained=str(tmp_path / "weights.pt")).eval()
    with torch.inference_mode():
        expected = whole.encode_text(open_clip.get_tokenizer(model)(CAPTIONS), normalize=True).numpy()
    assert np.abs(got - expected).max() < 1e-3
    assert np.abs(expected[1:] - expected[:-1]).max(axis=1).min() > 5e-3  # or the comparison would prove nothing
    lengths = collections.Counter()
    for count, length in read:
        lengths[length] += count
    assert lengths == read_to


@pytest.mark.parametrize("model", [SMALL, pytest.param(SIGLIP_LIKE, marks=pytest.mark.slow)])
def test_in_bf16_captions_are_near_to_fp32(model, tmp_path):
    exact, half = (encoder_of(model, tmp_path, precision) for precision in ("auto", "bf16"))
    assert exact.precision is None  # nothing is loaded yet
    vectors = [one.encode(Captions(CAPTIONS)).astype(np.float64) for one in (exact, half)]
    assert (exact.precision, half.precision) == ("fp32", "bf16")
    assert (vectors[0] != vectors[1]).any()
    assert cosines(*vectors).min() > 0.9999


@pytest.mark.parametrize(
    ("asked", "device", "resolved"),
    [("auto", "cuda", "fp16"), ("auto", "cpu", "fp32"), ("bf16", "cuda", "bf16"), ("fp32", "cuda", "fp32")],
)
def test_the_precision_of_captions_is_as_asked_for_and_else_what_their_device_is_best_at(asked, device, resolved):
    assert resolve_caption_precision(asked, device) == resolved
