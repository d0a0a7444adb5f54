"""A rule that answers for no sample of the whole job is a mistake; one that fails on some is not."""

import pytest

from beam_curator.errors import JobError
from beam_curator.rule_tally import RuleTally, check_rules, sum_tallies


def test_tallies_of_batches_are_summed_by_rule_in_any_order():
    batches = [{"mine": RuleTally(2, 1, 0, "b")}, {"other": RuleTally(1)}, {"mine": RuleTally(3, 1, 1, "a")}]
    expected = {"mine": RuleTally(5, 2, 1, "a"), "other": RuleTally(1)}
    assert sum_tallies(batches) == sum_tallies(batches[::-1]) == expected


@pytest.mark.parametrize(
    ("tally", "message"),
    [
        (
            RuleTally(3, 3, 0, "raised KeyError: 'x'"),
            r"rule mine failed on each of the 3 samples .*: raised KeyError: 'x'",
        ),
        (RuleTally(1200, 0, 1200), r"rule mine gave None for each of the 1,200 samples .*: is its return missing\?"),
        (RuleTally(3, 1, 2, "raised E"), r"failed on each of the 3 samples .* \(or gave None: 2 times\): raised E"),
    ],
)
def test_a_rule_without_any_answer_fails_the_job_and_says_what_it_did(tally, message):
    with pytest.raises(JobError, match=message):
        check_rules({"good": RuleTally(9), "mine": tally})


@pytest.mark.parametrize("tally", [RuleTally(), RuleTally(3, 2, 0, "e"), RuleTally(3, 0, 2), RuleTally(3, 1, 1, "e")])
def test_a_rule_that_no_sample_came_to_or_that_answered_once_passes(tally):
    check_rules({"mine": tally})
