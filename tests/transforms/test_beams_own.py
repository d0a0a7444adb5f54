"""Sums as side inputs, and steps that are called once."""

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from beam_curator.transforms.beams_own import Once, total_aside
from beam_curator.transforms.totals import SumWritten


@pytest.mark.parametrize(("values", "total"), [([1, 2, 3], 6), ([], 0)])
def test_what_all_values_add_together_waits_beside_a_step_that_is_called_once(values, total):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        numbers = pipeline | "Numbers" >> beam.Create(values)
        told = pipeline | "Tell" >> Once(str, _told, total_aside(sum, numbers, "Sum"), "in all")
        assert told.element_type is str
        assert_that(told, equal_to([f"{total} in all"]))


def test_of_none_it_is_what_its_combiner_makes_of_none():
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        aside = total_aside(SumWritten(), pipeline | "NoShards" >> beam.Create([]), "Sum")
        assert_that(pipeline | "Count" >> Once(int, _shards_of, aside), equal_to([0]))


def _told(total, what):
    return f"{total} {what}"


def _shards_of(total):
    return total.shards
