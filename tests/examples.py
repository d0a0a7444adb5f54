"""Sets how many examples a property is tried on."""

from hypothesis import settings


def examples(number):
    """Sets so many examples for a test; with the inner loop's profile, `quick`, a fifth of them."""
    return settings(max_examples=max(1, number * settings.default.max_examples // 100))
