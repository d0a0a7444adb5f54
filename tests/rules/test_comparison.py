"""Rules as text."""

import pytest

import beam_curator as bc
from beam_curator.errors import UsageError
from beam_curator.rules.comparison import rule_of


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("aesthetic >= 5", bc.AtLeast("aesthetic", 5)),
        (" nsfw<.5 ", bc.Below("nsfw", 0.5)),
        ("width >= 1e2", bc.AtLeast("width", 100)),
        ("warmth < -0.25", bc.Below("warmth", -0.25)),
        ("64 <= width <= 4096", bc.Between("width", 64, 4096)),
        ("aspect_ratio <= 3", bc.AspectRatioAtMost(3)),
    ],
)
def test_a_comparison_is_the_rule_of_the_same_meaning(text, rule):
    assert rule_of(text) == rule
    assert bc.Select(text).rules == [rule]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aesthetic", "write COLUMN >= NUMBER"),
        ("aesthetic > 5", "there is no > for a column"),
        ("width == 64", "there is no == for a column"),
        ("5 <= aesthetic", "write COLUMN >= NUMBER"),
        ("__import__('os').system('true') >= 5", "write COLUMN >= NUMBER"),
        ("aesthetic >= nan", "write COLUMN >= NUMBER"),
        ("aesthetic >= 1e999", "is not a finite number"),
        ("aspect_ratio >= 2", "write aspect_ratio <= 2"),
        ("9 <= width <= 3", "nothing is between"),
        ("1 <= aspect_ratio <= 3", "write COLUMN >= NUMBER"),
    ],
)
def test_what_is_no_comparison_is_refused(text, message):
    with pytest.raises(UsageError) as caught:
        rule_of(text)
    assert message in str(caught.value)
