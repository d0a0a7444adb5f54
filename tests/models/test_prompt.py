"""Zero-shot scores from text: as open_clip gives them, and what a prompt may be."""

import dataclasses
import pickle

import numpy as np
import open_clip
import pytest
import torch

from beam_curator.errors import CurationError, UsageError
from beam_curator.models.scorers.prompt import Prompt, PromptScorer, parse_prompt, prompt_scorers
from beam_curator.models.scorers.scorer import check_scorer
from beam_curator.models.weights.weights_file import WeightsFile, measured_sha256
from tests.models.small_text_models import SIGLIP_LIKE, SMALL, add_small_text_models, random_checkpoint

WATERMARK = "watermark=a photo with a watermark|a clean photo"


@pytest.fixture(scope="module", autouse=True)
def _architectures(tmp_path_factory):
    add_small_text_models(tmp_path_factory.mktemp("configs"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Names the directory where vectors are kept between runs: nothing at first."""
    monkeypatch.setenv("BEAM_CURATOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "texts"


def weights_of(model, folder) -> WeightsFile:
    path = random_checkpoint(model, folder / "weights.pt")
    return WeightsFile(f"{model}/ours", path, measured_sha256(path))


@pytest.fixture(scope="module")
def weights(tmp_path_factory, _architectures):
    return weights_of(SMALL, tmp_path_factory.mktemp("weights"))


def embeddings(count: int, dim: int = 96, seed: int = 0) -> np.ndarray:
    """float16 [count, dim], L2-normalised before they are rounded."""
    random = np.random.default_rng(seed).normal(size=(count, dim))
    return (random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("model", [SMALL, SIGLIP_LIKE])
def test_scores_are_open_clips_own_zero_shot_probabilities(model, tmp_path):
    weights = weights_of(model, tmp_path)
    texts = ["a photo with a watermark", "a clean photo", "a drawing"]
    (scorer,) = prompt_scorers([f"watermark={'|'.join(texts)}"], model, weights, None)
    images = embeddings(50)

    whole = open_clip.create_model(model, pretrained=weights.path).eval()
    with torch.inference_mode():
        classifier = open_clip.build_zero_shot_classifier(whole, open_clip.get_tokenizer(model), texts, ["{}"])
        vectors = torch.nn.functional.normalize(torch.from_numpy(images).float(), dim=-1)
        expected = (whole.logit_scale.exp() * vectors @ classifier).softmax(dim=-1)[:, 0].numpy()

    got = scorer(images)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 1e-5
    assert np.ptp(expected) > 0.02  # or the comparison would prove nothing


def test_probabilities_of_a_prompt_turned_around_add_up_to_one(weights):
    there, back = prompt_scorers(["a=a dog|a cat", "b=a cat|a dog"], SMALL, weights, None)
    images = embeddings(20)
    assert there(images) + back(images) == pytest.approx(1, abs=1e-6)


def test_a_score_is_the_same_whichever_others_come_with_it(weights):
    (scorer,) = prompt_scorers([WATERMARK], SMALL, weights, None)
    images = embeddings(30)
    together = scorer(images)
    assert all(scorer(images[i : i + 1])[0] == together[i] for i in range(30))
    assert scorer(images[:0]).shape == (0,)


def test_cosines_that_are_far_apart_overflow_nothing():
    vectors = np.eye(2, dtype=np.float32)
    scorer = PromptScorer("a", ("x", "y"), vectors, 1e4, "some/encoder")
    with np.errstate(all="raise", under="ignore"):
        assert scorer(np.array([[1, 0], [0, 1]], np.float16)).tolist() == [1, 0]


def test_the_scorer_is_a_scorer_that_travels_with_its_vectors_alone(weights):
    (scorer,) = prompt_scorers([WATERMARK], SMALL, weights, None)
    check_scorer(scorer)
    pickled = pickle.dumps(scorer)
    assert len(pickled) < 4 * 2 * 96 + 1000
    images = embeddings(3)
    assert np.array_equal(pickle.loads(pickled)(images), scorer(images))
    assert (scorer.needs, scorer.dim) == ("embedding", 96)


def test_the_identity_names_texts_model_and_weights(weights):
    (scorer,) = prompt_scorers([WATERMARK], SMALL, weights, None)
    assert scorer.identity.name == f"prompt watermark: a photo with a watermark | a clean photo ({SMALL}/ours)"
    assert scorer.identity.sha256 == weights.sha256
    assert scorer.identity.trained


@pytest.mark.slow
def test_no_two_prompts_have_one_identity(weights):
    prompts = [r"a=x \| y|z", r"a=x|y \| z", "a=x|y|z", "a=y|x|z", "b=x|y|z"]
    names = {prompt_scorers([one], SMALL, weights, None)[0].identity.name for one in prompts}
    assert len(names) == len(prompts)


def test_without_weights_the_scores_mean_nothing_and_the_identity_says_so():
    (scorer,) = prompt_scorers([WATERMARK], "tiny-untrained", None, None)
    assert not scorer.identity.trained
    assert scorer.identity.sha256 is None
    scores = scorer(embeddings(40, 768))
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert np.ptp(scores) > 0.1


@pytest.mark.parametrize(
    ("text", "name", "texts"),
    [
        (WATERMARK, "watermark", ("a photo with a watermark", "a clean photo")),
        ("  nice =  a dog |  a cat|a bird ", "nice", ("a dog", "a cat", "a bird")),
        ("eq=1 + 1 = 2|1 + 1 = 3", "eq", ("1 + 1 = 2", "1 + 1 = 3")),
        (r"bar=a \| b|c", "bar", ("a | b", "c")),
        ('q=a sign that says "stop"|it\'s not', "q", ('a sign that says "stop"', "it's not")),
        ("u=ein Fahrrad, 自転車|🚲", "u", ("ein Fahrrad, 自転車", "🚲")),
        (r"p=C:\dir|D:\dir", "p", (r"C:\dir", r"D:\dir")),
        ("two_2=a\n  dog|a\tcat", "two_2", ("a dog", "a cat")),
    ],
)
def test_a_prompt_is_read_as_it_is_written(text, name, texts):
    assert parse_prompt(text) == Prompt(name, texts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no = after the name of the score"),
        ("a photo|a drawing", "no = after the name of the score"),
        ("=a|b", "'' is no name for a score"),
        ("Water mark=a|b", "'Water mark' is no name for a score"),
        ("2nd=a|b", "'2nd' is no name for a score"),
        ("width=a|b", '"width" is a column that every ledger has: take another name'),
        ("status=a|b", '"status" is a column that every ledger has: take another name'),
        ("x=", "one text alone has nothing that it is compared with"),
        ("x=a photo", "one text alone has nothing that it is compared with"),
        (r"x=a \| b", "one text alone has nothing that it is compared with"),
        ("x=a||b", "a text is empty"),
        ("x=a| ", "a text is empty"),
        ("x=a|b|a", "the text 'a' comes twice"),
        ("x=a  b|a b", "the text 'a b' comes twice"),
        ("x=a\nb", "one text alone"),
    ],
)
def test_what_is_no_prompt_is_refused_in_one_line_that_shows_how(text, why):
    with pytest.raises(UsageError) as caught:
        parse_prompt(text)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"--prompt {' '.join(text.split())}: {why}")
    assert line.endswith(f"; write it as NAME=TEXT|OTHER TEXT, such as '{WATERMARK}'")


def test_a_name_that_comes_twice_is_refused_before_anything_is_loaded():
    with pytest.raises(UsageError, match=r"^--prompt a comes twice: give each its own name$"):
        prompt_scorers(["a=b|c", "a=d|e"], SMALL, WeightsFile("x", "/nowhere.pt", "0" * 64), None)


def test_nothing_is_loaded_for_no_prompts():
    assert prompt_scorers([], SMALL, WeightsFile("x", "/nowhere.pt", "0" * 64), None) == []


def test_texts_that_were_encoded_before_take_no_model(weights, cache):
    first = prompt_scorers([WATERMARK, "nice=a dog|a cat"], SMALL, weights, None)
    absent = dataclasses.replace(weights, path="/nowhere.pt")
    again = prompt_scorers(["nice=a dog|a cat", WATERMARK], SMALL, absent, None)
    images = embeddings(9)
    assert np.array_equal(again[0](images), first[1](images))
    assert np.array_equal(again[1](images), first[0](images))
    for other in ("nice=a cat|a dog", "nice=a dog|a cat|a bird"):
        with pytest.raises(UsageError, match=r"no file /nowhere\.pt"):
            prompt_scorers([other], SMALL, absent, None)


@pytest.mark.slow
def test_texts_of_other_weights_are_encoded_by_these(weights, tmp_path):
    other = WeightsFile("other", random_checkpoint(SMALL, tmp_path / "other.pt", seed=1), "")
    other = dataclasses.replace(other, sha256=measured_sha256(other.path))
    images = embeddings(9)
    (one,), (two,) = (prompt_scorers([WATERMARK], SMALL, those, None) for those in (weights, other))
    assert np.abs(one(images) - two(images)).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut short"])
def test_vectors_that_cannot_be_read_are_made_again(weights, cache, content):
    (first,) = prompt_scorers([WATERMARK], SMALL, weights, None)
    (kept,) = cache.iterdir()
    kept.write_bytes(content)
    (again,) = prompt_scorers([WATERMARK], SMALL, weights, None)
    assert np.array_equal(again.vectors, first.vectors)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(weights, tmp_path, monkeypatch):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("BEAM_CURATOR_CACHE", str(tmp_path / "a file" / "cache"))
    (scorer,) = prompt_scorers([WATERMARK], SMALL, weights, None)
    assert scorer.vectors.shape == (2, 96)


def test_of_a_model_without_weights_nothing_is_kept(cache):
    prompt_scorers([WATERMARK], "tiny-untrained", None, None)
    assert not cache.exists()


def test_weights_that_are_not_what_they_were_are_bad_usage(weights):
    changed = WeightsFile(weights.name, weights.path, "0" * 64)
    with pytest.raises(UsageError, match="expected 0000"):
        prompt_scorers([WATERMARK], SMALL, changed, None)


def test_embeddings_of_another_width_are_named(weights):
    (scorer,) = prompt_scorers([WATERMARK], SMALL, weights, None)
    with pytest.raises(CurationError, match=rf"prompt watermark: .*\(3, 768\).* {SMALL}/ours gives \[n, 96\]"):
        scorer(embeddings(3, 768))
