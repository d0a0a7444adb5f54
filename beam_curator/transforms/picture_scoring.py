"""Scorers that need pixels, on batches that are embedded already, or are not to be."""

from __future__ import annotations

from collections.abc import Sequence

from beam_curator.models.scorers.batches import with_answers
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.decoding import scores_of_images
from beam_curator.samples import SampleBatch
from beam_curator.sources.sample_batches import load
from beam_curator.sources.sample_images import images_of_samples


def with_picture_scores(batch: SampleBatch, scorers: Sequence[LoadedScorer]) -> SampleBatch:
    """The batch with the columns of scorers that need pixels; its images are decoded for them, and its bytes read again
    where it has lost them.

    Raises:
      JobError: when the shard no longer holds these samples, or as `LoadedScorer`.
    """
    loaded = load(batch)
    members, more_of, _ = images_of_samples(loaded.samples or (), batch.range.reading)
    images = [None if member is None else member.data for member in members]
    for one, answers in zip(scorers, scores_of_images(images, scorers, len(batch), more_of), strict=True):
        loaded = with_answers(loaded, one, one.scorer.identity, answers)
    return loaded
