"""Sums as side inputs, and steps that are called once."""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints.decorators import TypeCheckError

from beam_curator.transforms.beams_own import MAIN, Once, Tagged, total_aside
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


@pytest.mark.parametrize("flags", [[], ["--runtime_type_check"]])
def test_each_output_of_a_step_has_a_type_of_its_own_also_where_beam_checks_what_it_gives(flags):
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(flags)) as pipeline:
        numbers = pipeline | beam.Create([1, 2])
        told = numbers | "Tell" >> Tagged(beam.ParDo(_halves), int, text=str, pairs=tuple[int, int])
        assert [str(told[tag].element_type) for tag in (MAIN, "text", "pairs")] == [
            "<class 'int'>",
            "<class 'str'>",
            "Tuple[<class 'int'>, <class 'int'>]",
        ]
        assert_that(told[MAIN], equal_to([1, 2]), "Main")
        assert_that(told["text"], equal_to(["1", "2"]), "Text")
        assert_that(told["pairs"], equal_to([(1, 1), (2, 2)]), "Pairs")


def test_what_no_output_of_a_step_may_have_is_refused_where_beam_checks_it():
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(["--runtime_type_check"]))
    pipeline | beam.Create([1]) | "Tell" >> Tagged(beam.ParDo(_halves), int, text=str)
    with pytest.raises(TypeCheckError, match="received tuple instead"):
        pipeline.run()


def _halves(number):
    yield number
    yield beam.pvalue.TaggedOutput("text", str(number))
    yield beam.pvalue.TaggedOutput("pairs", (number, number))


def _told(total, what):
    return f"{total} {what}"


def _shards_of(total):
    return total.shards
