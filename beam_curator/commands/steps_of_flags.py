"""The steps that the flags ask for: scoring and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apache_beam.options.pipeline_options import GoogleCloudOptions

from beam_curator import rows
from beam_curator.commands.options import CurationOptions
from beam_curator.commands.rule_flag import load_rule, plain
from beam_curator.defaults import (
    DEFAULT_MAX_NSFW,
    DEFAULT_MIN_AESTHETIC,
    DEFAULT_RANGE_MB,
    NO_LIMIT,
    NO_MODEL,
    TINY_UNTRAINED,
    UNTRAINED,
)
from beam_curator.errors import UsageError
from beam_curator.images import MAX_IMAGE_PIXELS
from beam_curator.models.scorers.heads import AESTHETIC, NSFW
from beam_curator.models.scorers.scorer import Column
from beam_curator.rules.column_rules import AspectRatioAtMost, AtLeast, Below
from beam_curator.rules.lists import ListFile
from beam_curator.rules.names import rule_name
from beam_curator.rules.rule import Rule, TableRule
from beam_curator.rules.scales import AESTHETIC_SCALE, NSFW_SCALE, SIDE_SCALE, check_scale
from beam_curator.rules.top import Top, top_count, top_fraction
from beam_curator.rules.where import Where
from beam_curator.sources.list_files import list_file


def resolve_defaults(options: CurationOptions) -> None:
    """Fills in what depends on other flags."""
    untrained = options.clip_model == TINY_UNTRAINED
    options.aesthetic_model = options.aesthetic_model or (UNTRAINED if untrained else "v2")
    options.nsfw_model = options.nsfw_model or (UNTRAINED if untrained else "laion")
    options.range_mb = options.range_mb or DEFAULT_RANGE_MB
    options.min_aesthetic = _threshold(options, "min_aesthetic", "aesthetic_model", DEFAULT_MIN_AESTHETIC)
    options.max_nsfw = _threshold(options, "max_nsfw", "nsfw_model", DEFAULT_MAX_NSFW)


def _threshold(options: CurationOptions, flag: str, model_flag: str, default: float) -> float | str | None:
    """The value of a flag whose rule needs a score; None where that is not computed, `NO_LIMIT` to look at none."""
    given = getattr(options, flag)
    if getattr(options, model_flag) != NO_MODEL:
        return default if given is None else given
    if given not in (None, NO_LIMIT):
        raise UsageError(f"--{flag} {given:g}: there is no such score with --{model_flag} {NO_MODEL}: leave one out")
    return None


def scoring_hints(options: CurationOptions) -> dict[str, str]:
    """The resource hints that the flags ask for, for the scoring chain alone.

    Raises:
      UsageError: where Dataflow does not take them together with other flags.
    """
    hints = {"accelerator": options.scoring_accelerator, "min_ram": options.scoring_min_ram}
    hints = {name: value for name, value in hints.items() if value}
    google = options.view_as(GoogleCloudOptions)
    if hints and any(option.startswith("worker_accelerator") for option in google.dataflow_service_options or ()):
        raise UsageError("--scoring_accelerator gives the GPU to scoring, worker_accelerator to all: give one of them")
    if hints and google.flexrs_goal:
        raise UsageError("--flexrs_goal does not go with --scoring_accelerator and --scoring_min_ram: leave one out")
    return hints


def rules_of(options: CurationOptions, columns: Sequence[Column], more: Sequence[Rule] = ()) -> list[Rule]:
    """The rules that the flags ask for, in the order in which they are tried.

    Args:
      options: the flags.
      more: rules that a caller in Python gives, tried after those of the flags.

    Raises:
      UsageError: for a --where that is no condition, a --rule that cannot be loaded, and a rule that can only be a
        mistake.
    """
    resolve_defaults(options)
    rules: list[Rule] = []
    if options.min_width:
        rules.append(AtLeast("width", options.min_width))
    if options.min_height:
        rules.append(AtLeast("height", options.min_height))
    if options.max_aspect_ratio is not None:
        rules.append(AspectRatioAtMost(options.max_aspect_ratio))
    if options.min_aesthetic not in _NO_RULE:
        rules.append(AtLeast(AESTHETIC, options.min_aesthetic))
    if options.max_nsfw not in _NO_RULE:
        rules.append(Below(NSFW, options.max_nsfw))
    conditions = {f"--where {text}": Where(text) for text in options.where or ()}
    users: dict[str, Rule] = {f"--rule {name}": load_rule(name) for name in options.rule or ()}
    for index, rule in enumerate(more):
        if not callable(rule):
            raise UsageError(f"rules[{index}]={rule!r} is not a rule: a rule is called with a row, and true keeps it")
        users[f"rules[{index}] {rule_name(rule)}"] = rule
    _check_rules(options, columns, rules, {**conditions, **users})
    return [*rules, *conditions.values(), *users.values()]


def lists_of(options: CurationOptions) -> list[ListFile]:
    """The lists of samples that stay or go, in the order in which they are tried.

    Raises:
      UsageError: for a file that is not there, cannot be read, or does not say what it lists.
    """
    allowing = [list_file("--allow", text, allows=True) for text in options.allow or ()]
    return allowing + [list_file("--block", text, allows=False) for text in options.block or ()]


def tops_of(options: CurationOptions, columns: Sequence[Column]) -> list[Top]:
    """Reads from the flags which of the samples that pass all rules are kept, in the order in which they are tried.

    Raises:
      UsageError: for a flag that cannot be read, and for a column that is not there or holds no numbers.
    """
    tops = [*map(top_fraction, options.keep_top or ()), *map(top_count, options.keep_best or ())]
    for top in tops:
        top.check(column_types(columns))
    return tops


def column_types(columns: Sequence[Column]) -> dict[str, str]:
    """The types of the columns of rows with these scores, by the names of `rows.types_of`."""
    return {**rows.types_of(rows.NEW_SCHEMA), **{one.name: one.type for one in columns}}


def _check_rules(
    options: CurationOptions, columns: Sequence[Column], rules: Sequence[Rule], users: Mapping[str, Rule]
) -> None:
    """Raises UsageError for a rule that can only be a mistake: on no column, or with a limit on another scale."""
    scales = {"width": SIDE_SCALE, "height": SIDE_SCALE, NSFW: NSFW_SCALE}
    if options.aesthetic_model in _ABOUT_0_TO_10:  # a file of the user's own may have another scale
        scales[AESTHETIC] = AESTHETIC_SCALE
    for rule in users.values():
        if isinstance(rule, TableRule):
            rule.check(column_types(columns))
    given = [(what, plain(rule)) for what, rule in users.items()]
    for what, rule in [*((_flag_of(rule), rule) for rule in rules), *given]:
        column = getattr(rule, "column", None)
        if isinstance(column, str) and column in scales:
            check_scale(what, rule, scales[column])
    if options.min_width * options.min_height > MAX_IMAGE_PIXELS:
        raise UsageError(
            f"--min_width {options.min_width} and --min_height {options.min_height} would drop every sample: images of "
            f"over {MAX_IMAGE_PIXELS:,} pixels fail"
        )


_NO_RULE = (None, NO_LIMIT)

_ABOUT_0_TO_10 = ("v1", "v2", UNTRAINED)


def _flag_of(rule: Rule) -> str:
    """Writes one of our rules as the user gave it."""
    if isinstance(rule, Below):
        return f"--max_{rule.column} {rule.limit:g}"
    return f"--min_{rule.column} {rule.minimum:g}" if isinstance(rule, AtLeast) else rule_name(rule)
