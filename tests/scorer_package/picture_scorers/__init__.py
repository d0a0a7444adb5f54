"""Scorers of a user's own: one of embeddings, one of pixels, one of captions."""

import numpy as np

import beam_curator as bc


class Centre(bc.Scorer):
    """Scores embeddings: the cosine with a direction."""

    name, needs = "centre", "embedding"
    identity = bc.ModelIdentity("centre, version 1")

    def load(self):
        self.direction = np.full(768, 768**-0.5)

    def __call__(self, embeddings):
        return embeddings.astype(np.float64) @ self.direction


class Warmth(bc.Scorer):
    """Scores pixels: how much more red than blue a picture has, in levels."""

    name, needs = "warmth", "pixels"

    def __call__(self, pictures):
        return [float(picture[..., 0].mean() - picture[..., 2].mean()) for picture in pictures]


class Words(bc.Scorer):
    """Scores captions: how many words have more letters than so many, and the longest one."""

    name, needs = "words", "caption"
    columns = (bc.Column("words"), bc.Column("longest_word", "text"))

    def __init__(self, longer_than=0):
        self.longer_than = longer_than

    @property
    def identity(self):
        return bc.ModelIdentity(f"words longer than {self.longer_than}")

    def __call__(self, captions):
        words = [caption.split() for caption in captions]
        return {
            "words": [sum(len(word) > self.longer_than for word in one) for one in words],
            "longest_word": [max(one, key=len, default=None) for one in words],
        }
