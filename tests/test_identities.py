"""When one model's numbers are those of another, and what a model is that several ranges or pieces tell of."""

import pytest

from beam_curator.identities import ModelIdentity, joined_models

MODEL = ModelIdentity("tiny", "aa")
AUTO, EXACT, HALF = (ModelIdentity("tiny", "aa", precision=one) for one in ("auto", "fp32", "fp16"))


@pytest.mark.parametrize(
    ("wanted", "found", "gives"),
    [
        (AUTO, HALF, True),
        (AUTO, AUTO, True),
        (AUTO, MODEL, True),  # of a release that did not record it
        (EXACT, EXACT, True),
        (EXACT, HALF, False),
        (EXACT, MODEL, False),
        (MODEL, HALF, False),
        (AUTO, ModelIdentity("tiny", "bb", precision="fp16"), False),
    ],
)
def test_any_precision_will_do_unless_one_is_asked_for_by_its_name(wanted, found, gives):
    assert wanted.gives(found) is gives


def test_a_precision_is_resolved_where_it_was_left_open():
    assert [one.resolved("bf16").precision for one in (AUTO, EXACT, MODEL)] == ["bf16", "fp32", None]
    assert AUTO.resolved(None) == AUTO


def test_pieces_in_which_nothing_was_computed_take_the_precision_of_the_others():
    assert joined_models([{"text": AUTO}, {"text": HALF, "warm": MODEL}]) == {"text": HALF, "warm": MODEL}
    assert joined_models([{"text": HALF}, {"text": AUTO}]) == {"text": HALF}
