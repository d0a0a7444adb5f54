"""Limits on another scale than that of their column are told before any work."""

import pytest

from beam_curator.errors import UsageError
from beam_curator.rules.column_rules import AspectRatioAtMost, AtLeast, Below, Between
from beam_curator.rules.scales import AESTHETIC_SCALE, NSFW_SCALE, SIDE_SCALE, check_scale


@pytest.mark.parametrize(
    ("rule", "scale", "message"),
    [
        (AtLeast("aesthetic", 50), AESTHETIC_SCALE, "drop every sample: aesthetic values go from about 0 to 10"),
        (AtLeast("nsfw", 1.5), NSFW_SCALE, "drop every sample: nsfw values go from 0 to 1"),
        (Below("nsfw", 0), NSFW_SCALE, "drop every sample"),
        (Below("nsfw", -1), NSFW_SCALE, "drop every sample"),
        (Below("nsfw", 50), NSFW_SCALE, "keep every sample: nsfw values go from 0 to 1"),
        (Between("nsfw", 20, 50), NSFW_SCALE, "drop every sample"),
        (Between("nsfw", -9, -5), NSFW_SCALE, "drop every sample"),
        (Between("nsfw", 0, 50), NSFW_SCALE, "keep every sample"),
        (AtLeast("width", 1 << 30), SIDE_SCALE, "drop every sample: width values go from 1 to 178,956,970"),
    ],
)
def test_a_limit_that_can_only_be_a_mistake_is_refused_with_the_scale(rule, scale, message):
    with pytest.raises(UsageError, match=f"^--it would {message}"):
        check_scale("--it", rule, scale)


@pytest.mark.parametrize(
    ("rule", "scale"),
    [
        (AtLeast("aesthetic", -99), AESTHETIC_SCALE),
        (AtLeast("aesthetic", 10), AESTHETIC_SCALE),
        (Below("nsfw", 2), NSFW_SCALE),
        (Below("nsfw", 1e-6), NSFW_SCALE),
        (Between("aesthetic", 4, 50), AESTHETIC_SCALE),
        (AtLeast("width", 0), SIDE_SCALE),
        (AspectRatioAtMost(3), SIDE_SCALE),
        (lambda row: True, NSFW_SCALE),
    ],
)
def test_limits_on_the_scale_and_the_ways_to_say_all_pass(rule, scale):
    check_scale("--it", rule, scale)
