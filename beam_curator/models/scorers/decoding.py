"""Scorers that need pixels, without an encoder: images are decoded for them alone. No Beam in it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from beam_curator.images import Encoded, ImageError, decode
from beam_curator.models.scorers.calls import Answers, LoadedScorer
from beam_curator.models.scorers.pictures import PictureScoring
from beam_curator.process_tuning import share_of_cores


def scores_of_images(
    images: Sequence[Encoded | None],
    scorers: Sequence[LoadedScorer],
    samples: int,
    more_of: Sequence[int] = (),
) -> list[Answers]:
    """Scores n samples by their images, without an encoder; each scorer gives what it gives beside one, and nothing of
    images that cannot be decoded.

    Args:
      images: of the samples' first images, then of others of theirs.
      scorers: what scores.
      samples: n.
      more_of: the sample of each of those others.

    Raises:
      JobError: as `LoadedScorer`.
    """
    scoring = PictureScoring(scorers, len(images))

    def score(place: int) -> None:
        image = images[place]
        try:
            picture = None if image is None else decode(image)[0]
        except ImageError:
            picture = None  # its row has failed for that
        scoring(place, picture)

    with ThreadPoolExecutor(share_of_cores(), "score") as pool:
        for done in [pool.submit(score, place) for place in range(len(images))]:
            done.result()
    return scoring.answers(samples, more_of)
