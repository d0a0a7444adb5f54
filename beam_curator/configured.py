"""The steps that the flags ask for: scoring and rules."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from apache_beam.options.pipeline_options import GoogleCloudOptions

from beam_curator.embedding import ClipModelHandler
from beam_curator.errors import UsageError
from beam_curator.models.visual_tower import TINY_UNTRAINED
from beam_curator.options import CurationOptions
from beam_curator.scoring import AESTHETIC, NSFW, UNTRAINED, ScoreAesthetic, ScoreNsfw, ScoreRanges
from beam_curator.selection import AspectRatioAtMost, AtLeast, Below, Rule


def resolve_defaults(options: CurationOptions) -> None:
    """Fills in what depends on other flags."""
    untrained = options.clip_model == TINY_UNTRAINED
    options.aesthetic_model = options.aesthetic_model or (UNTRAINED if untrained else "v2")
    options.nsfw_model = options.nsfw_model or (UNTRAINED if untrained else "laion")


def clip_handler(options: CurationOptions) -> ClipModelHandler:
    """The embedding model that the flags ask for, its weights found.

    Raises:
      UsageError: when the model is unknown or its weights cannot be had.
    """
    return ClipModelHandler(
        options.clip_model,
        options.clip_pretrained,
        model_dir=options.model_dir,
        batch_size=options.batch_size,
        precision=options.precision,
        device=options.device,
        decode_threads=options.decode_threads,
        compile=options.compile,
        jpeg_draft=options.jpeg_draft,
        fast_resize=options.fast_resize,
    )


def scoring_of(options: CurationOptions) -> ScoreRanges:
    """The scoring chain that the flags ask for, its weights found.

    Raises:
      UsageError: when a model is unknown or its weights cannot be had.
    """
    resolve_defaults(options)
    return ScoreRanges(
        clip_handler(options),
        ScoreAesthetic(options.aesthetic_model, options.model_dir),
        ScoreNsfw(options.nsfw_model, options.model_dir),
    )


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


def rules_of(options: CurationOptions) -> list[Rule]:
    """The rules that the flags ask for, in the order in which they are tried.

    Raises:
      UsageError: for a --rule that cannot be loaded.
    """
    rules: list[Rule] = []
    if options.min_width:
        rules.append(AtLeast("width", options.min_width))
    if options.min_height:
        rules.append(AtLeast("height", options.min_height))
    if options.max_aspect_ratio is not None:
        rules.append(AspectRatioAtMost(options.max_aspect_ratio))
    rules += [AtLeast(AESTHETIC, options.min_aesthetic), Below(NSFW, options.max_nsfw)]
    return rules + [load_rule(name) for name in options.rule or ()]


def load_rule(name: str) -> Rule:
    """The user's rule `package.module:object`: a function, a rule object, or a class that makes one.

    Raises:
      UsageError: when there is no such thing, or it cannot be called with a row.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"--rule {name}: write it as package.module:object")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` does, so that the console script finds the same modules
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        rule = found() if isinstance(found, type) else found
    except Exception as error:  # importing runs the user's code: whatever it raises is theirs to mend
        raise UsageError(f"--rule {name}: cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(rule):
        raise UsageError(f"--rule {name}: is a {type(rule).__name__}, not something to call with a row")
    return rule
