"""What is no scorer is refused in one line that says why."""

import pytest

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import Column, Scorer, check_scorer
from beam_curator.output.score_parts import MORE_EMBEDDINGS, STORED


class Own(Scorer):
    name, needs = "own", "pixels"

    def __call__(self, pictures):
        return [1.0 for _ in pictures]


def own(**attributes):
    return type("Own", (Own,), attributes)()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"side": 0}, "side=0: a whole number of 1 or more"),
        ({"side": "64"}, "side='64': a whole number"),
        ({"side": True}, "side=True: a whole number"),
        ({"batch_size": -1}, "batch_size=-1: a whole number of 1 or more"),
        ({"batch_size": None}, "batch_size=None: a whole number"),
        ({"columns": ("warm", "cold")}, "'warm' is no Column"),
        ({"columns": (Column("warm", worse="less"),)}, "column warm: worse='less': lower, higher"),
        ({"columns": (Column("key"),)}, 'the column "key" is one that every ledger has'),
        *(
            ({"columns": (Column(name),)}, f'the column "{name}" is one that every ledger has')
            for name in (*STORED, MORE_EMBEDDINGS, *rows.OUTCOME.names)
        ),
        ({"columns": 3}, "is no Scorer: TypeError"),
        ({"identity": property(lambda self: 1 / 0)}, "is no Scorer: ZeroDivisionError: division by zero"),
        ({"identity": ModelIdentity("own", 12)}, "identity: sha256=12: give text, or None"),
        ({"identity": ModelIdentity("own", notes=["cut"])}, "identity: notes=['cut']: give a tuple of texts"),
    ],
)
def test_what_is_wrong_with_a_scorer_is_said_in_one_line(attributes, message):
    with pytest.raises(UsageError, match=r"^--scorer it: ") as told:
        check_scorer(own(**attributes), "--scorer it")
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_full_size_and_whole_numbers_are_fine():
    check_scorer(own(side=None))
    check_scorer(own(side=1, batch_size=1))


def test_a_class_is_no_scorer_until_it_is_made():
    with pytest.raises(UsageError, match=r"^scorer: Own is a class: give an object of it, Own\(\.\.\.\)$"):
        check_scorer(Own)
