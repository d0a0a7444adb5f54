"""What the verifier sees of duplicates that were kept."""

import numpy as np
import pyarrow as pa
import pytest

from beam_curator.duplicates import edges
from beam_curator.duplicates.competitors import CAPTION_ID, Competitors, samples_of
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.output.stored_vectors import stored_vectors
from beam_curator.verification.kept_duplicates import KeptSamples


def test_near_copies_with_other_captions_hide_none_with_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "NEIGHBOURS", 2)
    captions = [b"a", b"b", b"c", b"d", b"e", b"e"]
    table = pa.table(
        {
            "sample_id": [str(at) for at in range(6)],
            "competes": np.ones(6, bool),
            "area": np.arange(6, 0, -1),
            "phash256": [f"{'f' * 16}{at:048x}" for at in range(6)],
            "texture": np.full(6, 60),
            CAPTION_ID: pa.array(captions, pa.binary()),
        }
    )
    settings = DuplicateSettings(["perceptual"], by="image+caption")
    samples = samples_of([[Competitors("range", "url", 0, "part", table)]], settings)
    with stored_vectors(["part"], [6]) as vectors:
        found = list(KeptSamples(samples, settings, vectors).differences())
    assert ["'4' and '5' are kept, and are perceptual duplicates" in str(difference) for difference in found] == [True]
