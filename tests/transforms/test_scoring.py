"""Scores of samples all of whose images are scored."""

import apache_beam as beam
import numpy as np
import pytest

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.batches import with_scores
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.heads import HeadScorer
from beam_curator.models.scorers.scorer import Column, Scorer
from beam_curator.samples import Sample, SampleBatch, Shard, ShardRange
from beam_curator.transforms.reading import ReadSamples
from beam_curator.transforms.scoring import Score

RANGE = ShardRange(Shard("a.tar", 9), 0, 9, 0, last=True)


@pytest.mark.parametrize(("worse", "expected"), [("lower", [0.25, 2.0]), ("higher", [3.0, 2.0])])
def test_the_score_that_speaks_most_against_a_sample_is_its_score(worse, expected):
    table = rows.from_samples(RANGE, [Sample("a", 0, 512, {}), Sample("b", 512, 512, {})], [None] * 2)
    embeddings = np.array([[1], [2]], np.float16)
    more = np.array([[0.25], [3]], np.float16)
    batch = SampleBatch(RANGE, table, embeddings=embeddings, more_embeddings=more, more_of=np.array([0, 0]))
    scorer = HeadScorer("warmth", lambda: lambda found: found[:, 0].astype(np.float32), worse=worse)
    scored = with_scores(batch, LoadedScorer(scorer), ModelIdentity("test"))
    assert scored.rows["warmth"].to_pylist() == expected
    assert scored.models == {"warmth": ModelIdentity("test")}


class Given(Scorer):
    needs = "caption"

    def __init__(self, name, column):
        self.name, self.columns = name, (Column(column),)

    columns = ()

    def __call__(self, captions):
        return [1.0 for _ in captions]


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (Given("b", "warmth"), 'both a and b give the column "warmth"'),
        (Given("a", "cold"), "two scorers are called a"),
    ],
)
def test_a_column_that_a_scorer_before_gives_is_refused_where_the_pipeline_is_built(later, message):
    pipeline = beam.Pipeline()
    batches = pipeline | ReadSamples("none/*.tar") | Score(Given("a", "warmth"))
    with pytest.raises(UsageError, match=message):
        batches | "Again" >> Score(later)
    batches | "Beside" >> Score(Given("b", "cold"))
