"""What tells an object from others of its class: the arguments that it was made with."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import beam_curator as bc
from beam_curator.models.scorers.scorer import check_scorer


class Own(bc.Scorer):
    name, needs = "own", "pixels"

    def __init__(self, side=64, *, weights=None, names=()):
        self.side, self.weights, self.names = side, weights, names

    def load(self):
        self.direction = np.ones(3)

    def __call__(self, pictures):
        return [1.0 for _ in pictures]


class OwnEncoder(bc.Encoder):
    name, dim, preparation = "own", 3, bc.Preparation(8)

    def __init__(self, depth=1):
        self.depth = depth


def told(*args, **kwargs):
    return " ".join(Own(*args, **kwargs).identity.notes)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Own(), ""),
        (Own(64), ""),
        (Own(32), "(side=32)"),
        (Own(side=32), "(side=32)"),
        (Own(32, weights=Path("a.pt")), "(side=32, weights='a.pt')"),
        (Own(names={"b", "a"}), "(names={'a', 'b'})"),
        (Own(names={"a": [1, (2.5, None)]}), "(names={'a': [1, [2.5, None]]})"),
        (Own(weights=object()), "(weights=<builtins.object>)"),
    ],
)
def test_a_scorers_identity_has_the_arguments_that_are_not_its_defaults(given, expected):
    notes = (f"made with {expected}",) if expected else ()
    assert given.identity == bc.ModelIdentity(f"{__name__}:Own", notes=notes)


class Plain(bc.Scorer):
    name, needs = "plain", "row"

    def __call__(self, rows):
        return [1.0 for _ in rows]


class PlainEncoder(bc.Encoder):
    name, dim, preparation = "plain", 3, bc.Preparation(8)


@pytest.mark.parametrize("kind", [Plain, PlainEncoder])
def test_arguments_of_a_class_that_takes_none_are_refused_as_python_does(kind):
    assert kind().name == "plain"
    for given in ((lambda: kind(32)), (lambda: kind(side=32))):
        with pytest.raises(TypeError, match=rf"{kind.__name__}\(\) takes no arguments"):
            given()


def test_arrays_and_long_texts_are_known_by_their_content():
    assert told(weights=np.zeros(9)) != told(weights=np.ones(9)) == told(weights=np.ones(9))
    assert told(weights="a" * 999) != told(weights="b" * 999) == told(weights="b" * 999)
    assert len(told(weights="a" * 999)) < 60


def test_it_is_the_same_on_a_worker_and_once_loaded():
    scorer = pickle.loads(pickle.dumps(Own(32)))
    scorer.load()
    assert scorer.identity == Own(32).identity
    check_scorer(scorer)


def test_encoders_that_are_made_with_other_arguments_are_told_apart():
    one, same, other = (bc.ClipModelHandler(OwnEncoder(depth)).identity for depth in (2, 2, 3))
    assert one == same != other
    assert pickle.loads(pickle.dumps(bc.ClipModelHandler(OwnEncoder(2)))).identity == one
