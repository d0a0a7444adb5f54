import numpy as np
import pytest

from beam_curator.errors import CurationError
from beam_curator.models.heads.untrained import UntrainedHead


def unit_vectors(n, width=768):
    vectors = np.random.default_rng(0).normal(size=(n, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def test_scores_spread_over_the_whole_interval():
    scores = UntrainedHead("aesthetic", 1, 10)(unit_vectors(2000))

    counts, _ = np.histogram(scores, 9, (1, 10))
    assert scores.dtype == np.float32
    assert scores.min() >= 1
    assert scores.max() <= 10
    assert counts.min() > 2000 / 9 * 0.7


def test_the_same_name_gives_the_same_scores_and_another_name_unrelated_ones():
    embeddings = unit_vectors(500)
    scores = UntrainedHead("a", 0, 1)(embeddings)

    np.testing.assert_array_equal(scores, UntrainedHead("a", 0, 1)(embeddings))
    assert abs(np.corrcoef(scores, UntrainedHead("b", 0, 1)(embeddings))[0, 1]) < 0.2


def test_scores_are_these_numbers_on_every_platform():
    scores = UntrainedHead("aesthetic", 1, 10)(np.eye(3, 768, dtype=np.float16))

    np.testing.assert_allclose(scores, [9.523688316345215, 4.734372615814209, 2.460134983062744], rtol=0, atol=1e-6)


@pytest.mark.parametrize("width", [1, 64, 768])
def test_embeddings_may_have_any_width(width):
    assert UntrainedHead()(unit_vectors(5, width)).shape == (5,)


def test_a_single_vector_is_refused():
    with pytest.raises(CurationError, match="shape"):
        UntrainedHead()(np.zeros(768, np.float16))


def test_it_says_that_it_is_not_trained():
    assert not UntrainedHead().trained
    assert UntrainedHead().name == "untrained"
