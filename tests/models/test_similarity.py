"""How well captions tell their images: as open_clip's own two halves say, and nothing where there is no caption."""

import dataclasses
import pickle
from types import SimpleNamespace

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.caption_encoder import TokensOfBatch
from beam_curator.models.scorers.batches import with_scores
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.scorer import EmbeddedCaptions, check_scorer
from beam_curator.models.scorers.similarity import Similarity
from beam_curator.models.scorers.text_embedding import TextEmbedding
from beam_curator.models.weights.weights_file import WeightsFile, measured_sha256
from beam_curator.rules.column_rules import AtLeast
from beam_curator.rules.judging import judge
from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.transforms.scoring import complaint_of, similarity_of
from tests.models.small_text_models import SIGLIP_LIKE, SMALL, add_small_text_models, random_checkpoint

CAPTIONS = ["a red bicycle", "Ein Fahrrad, 自転車, 🚲", "word " * 200, *(f"photo {number}" for number in range(40))]
ENCODER = ModelIdentity("small/ours", "0" * 64)


@pytest.fixture(scope="module", autouse=True)
def _architectures(tmp_path_factory):
    add_small_text_models(tmp_path_factory.mktemp("configs"))


def scorer_of(model, folder):
    path = random_checkpoint(model, folder / "weights.pt")
    weights = WeightsFile("small/ours", path, measured_sha256(path))
    return Similarity(TextEmbedding(model, weights, None, dim=96, device="cpu"), ENCODER)


def embeddings(count):
    random = np.random.default_rng(0).normal(size=(count, 96))
    return (random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.slow
@pytest.mark.parametrize("model", [SMALL, SIGLIP_LIKE])
def test_it_is_open_clips_own_cosine_and_long_captions_are_cut_as_there(model, tmp_path):
    scorer = pickle.loads(pickle.dumps(scorer_of(model, tmp_path)))
    check_scorer(scorer)
    images = embeddings(len(CAPTIONS))
    got = LoadedScorer(scorer)(EmbeddedCaptions(images, CAPTIONS)).values["similarity"]
    whole = open_clip.create_model(model, pretrained=str(tmp_path / "weights.pt")).eval()
    with torch.inference_mode():
        texts = whole.encode_text(open_clip.get_tokenizer(model)(CAPTIONS), normalize=True)
        pairs = torch.nn.functional.normalize(torch.from_numpy(images).float(), dim=-1)
        expected = (texts * pairs).sum(dim=-1).numpy()
    assert np.abs(got - expected).max() < 1e-3
    assert np.std(expected) > 0.05  # or the comparison would prove nothing


def test_without_a_caption_there_is_none_and_a_rule_on_it_says_so(tmp_path):
    captions = ["a red bicycle", None, "", "a dog"]
    table = pa.table(
        {
            "status": pa.array(["kept"] * 3 + ["failed"]),
            "reason": pa.array([None] * 3 + ["cut"], pa.string()),
            "failure": pa.array([None] * 3 + ["cut"], pa.string()),
            "caption": captions,
        }
    )
    one_range = ShardRange(Shard("a.tar", 10), 0, 10, 0, True)
    more = {"more_embeddings": embeddings(4)[2:], "more_of": np.array([0, 1])}
    batch = SampleBatch(one_range, table, embeddings=embeddings(4), **more)
    loaded = LoadedScorer(scorer_of(SMALL, tmp_path))
    scored = with_scores(batch, loaded, loaded.scorer.identity).rows
    pairs = EmbeddedCaptions(embeddings(4)[[0, 2]], ["a red bicycle"] * 2)
    assert scored["similarity"].to_pylist() == [min(loaded(pairs).values["similarity"]), None, None, None]
    judged, _ = judge(scored, [AtLeast("similarity", -1)])
    assert judged["reason"].to_pylist() == [None, "no caption", "no caption", "cut"]
    without, _ = judge(scored.set_column(3, "caption", [["x"] * 4]), [AtLeast("similarity", -1)])
    assert without["reason"].to_pylist()[1] == "no similarity"
    assert rows.SCORE_TYPES["number"] == scored.schema.field("similarity").type


def test_a_model_without_texts_and_embeddings_of_another_model_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--similarity: model 'timm:vit' has no text tower"):
        similarity_of(
            SimpleNamespace(text_half=("timm:vit", None, None), dim=96, flags={"device": "cpu", "precision": "auto"})
        )
    with pytest.raises(UsageError, match="text embeddings: model 'timm:vit' has no text tower"):
        TextEmbedding("timm:vit", None, None, dim=96)
    scorer = scorer_of(SMALL, tmp_path)
    assert complaint_of(scorer, ENCODER, 96) is None
    assert "captions are embedded by small/ours" in complaint_of(scorer, ModelIdentity("other", "1" * 64), 96)


@pytest.mark.slow
def test_tokens_made_ahead_and_embeddings_that_are_kept_change_no_bit(tmp_path):
    captions = ["a red bicycle", None, "word " * 200, "", *(f"photo {number}" for number in range(40))]
    table = pa.table({name: pa.nulls(44, pa.string()) for name in ("status", "reason", "failure")})
    table = table.append_column("caption", pa.array(captions, pa.string()))
    batch = SampleBatch(ShardRange(Shard("a.tar", 10), 0, 10, 0, True), table, embeddings=embeddings(44))
    loaded = LoadedScorer(scorer_of(SMALL, tmp_path))
    alone = with_scores(batch, loaded, loaded.scorer.identity)

    ahead = TokensOfBatch(loaded.texts.scorer.tokenise, captions)
    for place in (
        0,
        2,
        *range(4, 30),
    ):  # the others, as where a picture came late, are tokenised when they are embedded
        ahead(place, "picture")
    ahead(30, None)
    ahead(44, "a picture of a sample that has several")
    assert ahead.tokens.shape == (44, 77)
    assert np.flatnonzero(ahead.tokens.any(axis=1)).tolist() == [0, 2, *range(4, 30)]
    texts = with_scores(batch.replace(caption_tokens=ahead.tokens), loaded.texts, loaded.texts.scorer.identity)
    there = texts.text_embeddings.any(axis=1)
    assert there.tolist() == [bool(caption) for caption in captions]
    kept = with_scores(texts, loaded, loaded.scorer.identity)
    assert kept.rows["similarity"].equals(alone.rows["similarity"])
    others = texts.replace(models={"text_embedding": ModelIdentity("another")}, text_embeddings=-texts.text_embeddings)
    assert with_scores(others, loaded, loaded.scorer.identity).rows["similarity"].equals(alone.rows["similarity"])


def batch_with(captions):
    table = pa.table({name: pa.nulls(len(captions), pa.string()) for name in ("status", "reason", "failure")})
    table = table.append_column("caption", pa.array(captions, pa.string()))
    vectors = np.random.default_rng(0).normal(size=(len(captions), 768)).astype(np.float16)
    return SampleBatch(ShardRange(Shard("a.tar", 10), 0, 10, 0, True), table, embeddings=vectors)


def scored(captions, precision, texts=None):
    scorer = Similarity(
        TextEmbedding("tiny-untrained", None, None, dim=768, device="cpu", precision=precision), ENCODER
    )
    batch = batch_with(captions)
    if texts is not None:
        batch = batch.replace(text_embeddings=texts.text_embeddings, models=texts.models)
    return with_scores(batch, LoadedScorer(scorer), scorer.identity)


def embedded(captions, precision):
    scorer = TextEmbedding("tiny-untrained", None, None, dim=768, device="cpu", precision=precision)
    return with_scores(batch_with(captions), LoadedScorer(scorer), scorer.identity)


def test_their_identity_says_in_which_precision_captions_were_embedded():
    captions = ["a red bicycle", None, "a dog"]
    exact, half = (scored(captions, precision) for precision in ("auto", "bf16"))
    assert [one.models["similarity"].precision for one in (exact, half)] == ["fp32", "bf16"]
    exact, half = (one.rows["similarity"].to_numpy() for one in (exact, half))
    apart = np.abs(exact - half)[[0, 2]]
    assert 0 < apart.max() < 1e-2
    assert scored([None, ""], "auto").models["similarity"].precision == "auto"  # nothing was computed


def test_a_similarity_to_captions_that_are_kept_is_of_their_precision():
    captions = ["a red bicycle", "a dog"]
    kept = embedded(captions, "bf16")
    assert kept.models["text_embedding"].precision == "bf16"
    of_kept = scored(captions, "auto", kept)
    assert of_kept.models["similarity"].precision == "bf16"
    assert of_kept.rows["similarity"].equals(scored(captions, "bf16").rows["similarity"])
    earlier = kept.replace(
        models={"text_embedding": dataclasses.replace(kept.models["text_embedding"], precision=None)}
    )
    assert scored(captions, "auto", earlier).models["similarity"].precision is None
    anew = scored(captions, "fp32", earlier)  # by its name a precision is asked for alone
    assert anew.models["similarity"].precision == "fp32"
    assert anew.rows["similarity"].equals(scored(captions, "auto").rows["similarity"])
