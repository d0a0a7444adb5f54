"""The types of flags: each function parses a value from text, or raises with what is wrong with it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

from beam_curator.defaults import AUTO, MOST_RANGES_PER_FILE, NO_LIMIT
from beam_curator.errors import UsageError
from beam_curator.field_names import NONE
from beam_curator.reading import carried, sources
from beam_curator.sources.formats import checked_format


def whole_number(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def number(text: str) -> float:
    """A number; nan and inf among them."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def positive_int(text: str) -> int:
    """A whole number from 1."""
    value = whole_number(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def ranges_per_file(text: str) -> int:
    """A whole number of ranges that a file of the ledger may have."""
    value = positive_int(text)
    if value > MOST_RANGES_PER_FILE:
        raise argparse.ArgumentTypeError(f"{text} is more than {MOST_RANGES_PER_FILE:,}: one worker writes a file")
    return value


def batch_size(text: str) -> int | str:
    """A whole number from 1, or `auto`."""
    return text if text == AUTO else positive_int(text)


def not_negative_int(text: str) -> int:
    """A whole number from 0."""
    value = whole_number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def positive_float(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def finite_float(text: str) -> float:
    """A finite number."""
    value = number(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def finite_float_or_none(text: str) -> float | str:
    """A finite number, or `none`."""
    return NO_LIMIT if text.lower() == NO_LIMIT else finite_float(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def ratio(text: str) -> float:
    """A finite number from 1."""
    value = finite_float(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def true_or_false(text: str) -> bool:
    """The value of a switch, for launchers that give every flag one."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text} is neither true nor false")
    return text.lower() == "true"


SWITCH: dict[str, Any] = {
    "type": true_or_false,
    "nargs": "?",
    "const": True,
    "default": False,
    "metavar": "true|false",
}


def accelerator(text: str) -> str:
    """A resource hint of an accelerator, as it is."""
    fields = dict(field.partition(":")[::2] for field in text.split(";"))
    if not fields.get("type") or not fields.get("count", "").isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not like type:nvidia-l4;count:1;install-nvidia-driver")
    return text


def min_ram(text: str) -> str:
    """A resource hint of memory, as it is."""
    from apache_beam.transforms.resources import parse_resource_hints

    try:
        parse_resource_hints({"min_ram": text})
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not like 30GB") from None
    return text


class Joined(argparse._AppendAction):
    """Appends words that follow each other, as one text."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        super().__call__(parser, namespace, " ".join(values), option_string)


def carried_fields(text: str) -> str:
    """The value of --carry, in its shortest form."""
    try:
        return ",".join(carried(text)) or NONE
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def input_format(text: str) -> str:
    """The value of --input_format."""
    try:
        return checked_format(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def member_sources(name: str) -> Callable[[str], str]:
    """The type of --image_from or --caption_from: extensions or fields, separated by commas."""

    def checked(text: str) -> str:
        try:
            return ",".join(sources(name, text))
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked
