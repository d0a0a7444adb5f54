"""The models of a job, added up from those of its ranges."""

import dataclasses
import itertools

import pytest

from beam_curator.identities import ModelIdentity
from beam_curator.output.totals import ModelsTotal

HEAD = ModelIdentity("laion", "cc")


def of(precision, step="similarity"):
    return {step: ModelIdentity("clip", "aa", precision=precision), "nsfw": HEAD}


def total(ranges):
    both = ModelsTotal()
    for models in ranges:
        one = ModelsTotal()
        one.add(models)
        both.add_all(one)
    return both.models


@pytest.mark.parametrize(
    ("step", "note"),
    [("embedding", "embeddings of different precision"), ("similarity", "values of different precision")],
)
def test_ranges_of_different_precision_are_counted_in_any_order(step, note):
    ranges = [of("fp16", step), of("fp32", step), of("auto", step), of("fp16", step)]
    found = [total(some) for some in itertools.permutations(ranges)]
    assert all(one == found[0] for one in found)
    assert found[0]["nsfw"] == HEAD
    assert found[0][step].precision == "mixed"
    assert found[0][step].notes == (f"{note}: 2 ranges fp16, 1 range fp32",)


def test_those_of_an_earlier_release_are_told_beside_those_that_say_it():
    mixed = total([of(None), of("fp32")])["similarity"]
    assert mixed.notes == ("values of different precision: 1 range fp32, 1 range not recorded",)
    alone = total([of(None), of(None)])["similarity"]
    assert alone == dataclasses.replace(of(None)["similarity"], notes=())


def test_a_range_with_nothing_to_compute_leaves_the_precision_to_the_others():
    assert total([of("auto"), of("bf16")]) == of("bf16")
    assert total([of("auto")]) == of("auto")
