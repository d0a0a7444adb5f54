"""What is remembered of Beam's answers is what Beam answers."""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, TypeOptions, WorkerOptions
from apache_beam.transforms import core, userstate
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.typehints.typecheck import OutputCheckWrapperDoFn

from beam_curator.commands.options import CurationOptions

ASKED, REMEMBERED = core.get_function_args_defaults.__wrapped__, core.get_function_args_defaults
LOOKED_FOR, KNOWN = userstate.get_dofn_specs.__wrapped__, userstate.get_dofn_specs
VIEWED, SEEN = PipelineOptions.view_as.__wrapped__, PipelineOptions.view_as


class AddFn(beam.DoFn):
    """A step with arguments of all kinds."""

    def process(self, element, other, more=3, window=beam.DoFn.WindowParam, *_, last=None):
        yield element + other + more


@pytest.mark.parametrize("function", [AddFn().process, AddFn.process, AddFn().setup, len, lambda x, y=2: x])
def test_the_arguments_of_a_function_are_those_that_beam_finds_and_nobody_changes_them(function):
    for _ in range(2):
        names, defaults = REMEMBERED(function)
        assert (names, defaults) == tuple(ASKED(function))
        names.append("more"), defaults.append("more")


END = userstate.TimerSpec("end", TimeDomain.WATERMARK)
COUNTED = beam.DoFn.StateParam(userstate.CombiningValueStateSpec("count", sum))
ENDED = beam.DoFn.TimerParam(END)


class CountFn(beam.DoFn):
    """A step with state and a timer."""

    def process(self, element, count=COUNTED, end=ENDED):
        count.add(1)

    @userstate.on_timer(END)
    def at_end(self, count=COUNTED):
        yield count.read()


class HoldingFn(beam.DoFn):
    """A step that holds a method of another object."""

    def __init__(self, method=None):
        self.held = method

    def process(self, element):
        yield element


@pytest.mark.parametrize(
    ("step", "has_some"),
    [
        (AddFn(), False),
        (CountFn(), True),
        (HoldingFn(), False),
        (HoldingFn(CountFn().process), True),
        (core.CallableWrapperDoFn(len), False),
        (OutputCheckWrapperDoFn(AddFn(), "checked"), False),
        (OutputCheckWrapperDoFn(CountFn(), "checked"), True),
    ],
    ids=["arguments", "state and timer", "plain", "holds a method", "function", "wrapped", "wrapped with state"],
)
def test_state_and_timers_of_a_step_are_those_that_beam_finds_and_nobody_changes_them(step, has_some):
    for _ in range(2):
        found = KNOWN(step)
        assert found == LOOKED_FOR(step)
        assert any(found) is has_some
        found[0].add("more"), found[1].add("more")


@pytest.mark.parametrize(
    "flags", [[], ["--runner", "FlinkRunner", "--experiments=a", "--experiments=b"], ["--input", "a", "--input", "b"]]
)
@pytest.mark.parametrize("view", [StandardOptions, TypeOptions, WorkerOptions, CurationOptions])
def test_a_view_of_options_is_beams_also_the_second_time_and_after_changes(flags, view):
    for _ in range(2):
        remembered, beams = PipelineOptions(flags, streaming=True), PipelineOptions(flags, streaming=True)
        remembered.view_as(StandardOptions).runner = beams.view_as(StandardOptions).runner = "PrismRunner"
        ours, theirs = SEEN(remembered, view), VIEWED(beams, view)
        assert (type(ours), vars(ours)) == (type(theirs), vars(theirs))
        assert vars(remembered) == vars(beams)
        SEEN(remembered, CurationOptions).input = ["another"]
        assert SEEN(remembered, CurationOptions).input == ["another"]
