"""Captions that end early are read to their end alone, with the vectors that open_clip gives them."""

import numpy as np
import open_clip
import pytest
import torch

from beam_curator.models.encoders import caption_encoder
from beam_curator.models.encoders.caption_encoder import CaptionEncoder, Captions
from beam_curator.models.encoders.text_tower import SHORT_TEXT
from beam_curator.models.weights.weights_file import WeightsFile, measured_sha256
from tests.models.small_text_models import SIGLIP_LIKE, SMALL, add_small_text_models, random_checkpoint

# A caption of n words is of n tokens between two more: those of 30 words are the longest short ones.
CAPTIONS = [
    " ".join(["dog", "cat", "bird"][place % 3] for place in range(words)) for words in (30, 31, 1, 90, 29, 75, 3)
]
SHORT = [0, 2, 4, 6]


@pytest.fixture(scope="module", autouse=True)
def _architectures(tmp_path_factory):
    add_small_text_models(tmp_path_factory.mktemp("configs"))


def encoder_of(model, folder):
    path = random_checkpoint(model, folder / "weights.pt")
    return CaptionEncoder(model, WeightsFile("small/ours", path, measured_sha256(path)), None, "cpu")


@pytest.mark.parametrize(("model", "short"), [(SMALL, SHORT), (SIGLIP_LIKE, [])])
def test_captions_have_open_clips_vectors_wherever_they_end(model, short, tmp_path, monkeypatch):
    monkeypatch.setitem(caption_encoder._TEXTS_AT_ONCE, "cpu", 3)  # several passes of each kind
    encoder = encoder_of(model, tmp_path)
    read: list[tuple[int, int]] = []
    tower, _ = encoder._loaded()
    for name in ("encode_tokens", "encode_short"):
        if encode := getattr(tower, name):
            watched = lambda tokens, encode=encode: read.append(tuple(tokens.shape)) or encode(tokens)  # noqa: E731
            object.__setattr__(tower, name, watched)
    got = encoder.encode(Captions(CAPTIONS))
    whole = open_clip.create_model(model, pretrained=str(tmp_path / "weights.pt")).eval()
    with torch.inference_mode():
        expected = whole.encode_text(open_clip.get_tokenizer(model)(CAPTIONS), normalize=True).numpy()
    assert np.abs(got - expected).max() < 1e-3
    assert np.abs(expected[1:] - expected[:-1]).max(axis=1).min() > 5e-3  # or the comparison would prove nothing
    assert sum(count for count, length in read if length == SHORT_TEXT) == len(short)
    assert sum(count for count, length in read if length == 77) == len(CAPTIONS) - len(short)
