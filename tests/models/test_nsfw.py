import logging
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch

from beam_curator.errors import CurationError
from beam_curator.models.heads.head import ROWS_AT_ONCE
from beam_curator.models.heads.nsfw import CATEGORICAL_COLUMNS, NsfwHead
from beam_curator.models.weights.nsfw_conversion import as_npz

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared"
MODELS, GOLDEN = SHARED / "models", SHARED / "golden/heads_vit_l_14.npz"
NAME = "clip_autokeras_binary_nsfw"
needs_shared = pytest.mark.skipif(not GOLDEN.exists(), reason=f"the published weights and scores are not in {SHARED}")


def small_head(**changes):
    rng, widths = np.random.default_rng(0), (768, 64, 512, 256, 1)
    arrays = {"norm.mean": np.zeros(768, np.float32), "norm.variance": np.ones(768, np.float32)}
    for i in range(1, 5):
        arrays[f"linear_{i}.weight"] = rng.normal(size=(widths[i], widths[i - 1])).astype(np.float32) / 30
        arrays[f"linear_{i}.bias"] = rng.normal(size=widths[i]).astype(np.float32)
    for column in CATEGORICAL_COLUMNS:
        arrays[f"vocabulary.{column}"] = np.array([b"0.500000", b"-0.250000"])
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


@pytest.fixture
def converted(tmp_path):
    """LAION's .zip as workers have it."""
    path = tmp_path / f"{NAME}.npz"
    path.write_bytes(as_npz(MODELS / f"{NAME}.zip"))
    return path


def saved(tmp_path, arrays):
    path = tmp_path / "head.npz"
    np.savez(path, **arrays)
    return path


@needs_shared
@pytest.mark.parametrize("file", ["converted here", "as it lies there"])
def test_the_published_head_scores_like_the_tensorflow_model(file, converted):
    golden = np.load(GOLDEN)
    head = NsfwHead.load(converted if file == "converted here" else MODELS / f"{NAME}.npz")

    scores = head(golden["embedding"])

    assert head.name == NAME
    assert head.trained
    assert scores.dtype == np.float32
    assert np.abs(scores - golden["nsfw"]).max() < 1e-6


@needs_shared
def test_the_converted_file_holds_exactly_what_is_in_the_zip(converted):
    from_zip, from_npz = NsfwHead.load(converted), NsfwHead.load(MODELS / f"{NAME}.npz")

    np.testing.assert_array_equal(from_zip.mean, from_npz.mean)
    np.testing.assert_array_equal(from_zip.deviation, from_npz.deviation)
    for one, other in zip(from_zip.layers, from_npz.layers, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    for column in CATEGORICAL_COLUMNS:
        np.testing.assert_array_equal(from_zip.categories[column], from_npz.categories[column])


@needs_shared
def test_the_pytorch_layout_approximates_and_says_so(caplog):
    golden = np.load(GOLDEN)
    with caplog.at_level(logging.WARNING):
        head = NsfwHead.load(MODELS / f"{NAME}.pth")

    difference = np.abs(head(golden["embedding"]) - golden["nsfw"])

    assert 0.1 < difference.max() < 0.5
    assert head.name == f"{NAME} (approximate)"
    assert "no vocabularies: columns 180, 316, 413, 440, 644" in caplog.text
    assert "up to 0.4" in caplog.text


@needs_shared
def test_the_lookup_equals_formatting_for_every_float16_there_is(converted):
    vocabularies = np.load(MODELS / f"{NAME}.npz")
    head = NsfwHead.load(converted)
    every_float16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16)

    for column in CATEGORICAL_COLUMNS:
        strings = [text.decode() for text in vocabularies[f"vocabulary.{column}"]]
        index = {text: i for i, text in enumerate(strings, start=1)}
        expected = [index.get(format(float(value), "f"), 0) for value in every_float16]

        found = head.categories[column][every_float16.view(np.uint16)]

        assert found.tolist() == expected
        assert set(found) == {*range(len(strings) + 1)}  # every entry of the vocabulary is some float16


def test_a_categorical_value_is_replaced_by_its_index_and_an_unknown_one_by_zero(tmp_path):
    head = NsfwHead.load(saved(tmp_path, small_head()))
    plain = NsfwHead.load(saved(tmp_path, small_head()))
    plain.categories.clear()
    embeddings, indices = np.zeros((4, 768), np.float32), np.zeros((4, 768), np.float32)
    for column in CATEGORICAL_COLUMNS:
        embeddings[:, column] = [0.5, -0.25, 0.75, 0.5001]  # the last rounds to 0.5 as float16
        indices[:, column] = [1, 2, 0, 1]

    np.testing.assert_array_equal(head(embeddings), plain(indices))
    assert len(set(head(embeddings).tolist())) == 3


@needs_shared
def test_a_score_does_not_depend_on_the_embeddings_beside_it():
    embeddings = np.load(GOLDEN)["embedding"]
    head = NsfwHead.load(MODELS / f"{NAME}.npz")

    one_by_one = np.concatenate([head(embeddings[i : i + 1]) for i in range(len(embeddings))])

    np.testing.assert_array_equal(head(embeddings), one_by_one)
    np.testing.assert_array_equal(head(embeddings), head(embeddings.astype(np.float32)))


def test_many_embeddings_have_the_scores_that_each_has_by_itself(tmp_path):
    head = NsfwHead.load(saved(tmp_path, small_head()))
    embeddings = np.random.default_rng(1).normal(size=(2 * ROWS_AT_ONCE + 3, 768)).astype(np.float16)

    scores = head(embeddings)

    assert scores.shape == (len(embeddings),)
    for some in (slice(0, 1), slice(ROWS_AT_ONCE - 1, ROWS_AT_ONCE + 2), slice(-3, None)):
        np.testing.assert_array_equal(scores[some], head(embeddings[some]))


def test_scoring_leaves_the_embeddings_as_they_were(tmp_path):
    head = NsfwHead.load(saved(tmp_path, small_head()))
    embeddings = np.random.default_rng(0).normal(size=(3, 768)).astype(np.float16)
    before = embeddings.copy()

    head(embeddings)

    np.testing.assert_array_equal(embeddings, before)


def test_a_head_survives_pickling_and_scores_nothing_for_no_embeddings(tmp_path):
    path = saved(tmp_path, small_head())
    head = pickle.loads(pickle.dumps(NsfwHead.load(path)))

    assert head.name.startswith(path.stem)
    assert head(np.empty((0, 768), np.float16)).shape == (0,)


def test_embeddings_of_another_model_are_refused_with_both_widths(tmp_path):
    head = NsfwHead.load(saved(tmp_path, small_head()))

    with pytest.raises(CurationError, match=r"\(4, 512\).*\[n, 768\]"):
        head(np.zeros((4, 512), np.float16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linear_3.bias": None}, "no 'linear_3.bias'"),
        ({"linear_1.weight": np.ones((64, 512), np.float32)}, r"'linear_1.weight' has shape \(64, 512\)"),
        ({"linear_1.bias": np.full(64, np.inf, np.float32)}, "not finite"),
        ({"norm.variance": np.zeros(768, np.float32)}, "not positive"),
        ({"vocabulary.316": None}, "no strings 'vocabulary.316'"),
        ({"vocabulary.316": np.arange(3)}, "no strings 'vocabulary.316'"),
        ({"vocabulary.316": np.array([b"a", b"a"])}, "vocabulary of column 316 is empty or repeats"),
        ({"vocabulary.316": np.array([{}], object)}, r"head\.npz: cannot be read"),
    ],
)
def test_arrays_that_are_not_the_head_are_refused_with_the_reason(tmp_path, changes, message):
    with pytest.raises(CurationError, match=message):
        NsfwHead.load(saved(tmp_path, small_head(**changes)))


@pytest.mark.parametrize("suffix", ["npz", "pth"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 and no more"])
def test_a_file_that_is_not_what_its_suffix_says_is_refused_with_its_path(tmp_path, suffix, content):
    path = tmp_path / f"head.{suffix}"
    path.write_bytes(content)

    with pytest.raises(CurationError, match=rf"head\.{suffix}"):
        NsfwHead.load(path)


def test_an_unknown_suffix_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(CurationError, match=r"a \.npz or \.pth file, not '\.h5'"):
        NsfwHead.load(tmp_path / "head.h5")
    with pytest.raises(CurationError, match=r"not '\.zip'; LAION's \.zip is converted by --nsfw_model, or by"):
        NsfwHead.load(tmp_path / "head.zip")


def test_an_array_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "head.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("norm.mean.npy", bytes((32 << 20) + 1))

    with pytest.raises(CurationError, match="unpacks to more than"):
        NsfwHead.load(path)


def test_a_pickle_that_would_run_code_is_refused_and_never_run(tmp_path):
    witness = tmp_path / "executed"

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    path = tmp_path / "head.pth"
    torch.save({"norm.mean": Malicious()}, path)

    with pytest.raises(CurationError, match=r"head\.pth: cannot be read as PyTorch weights"):
        NsfwHead.load(path)
    assert not witness.exists()
