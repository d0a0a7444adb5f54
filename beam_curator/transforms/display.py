"""Says what runners show of our transforms beside their names, for example on Dataflow's page of a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apache_beam.transforms.display import DisplayDataItem

from beam_curator.first_few import listed
from beam_curator.identities import ModelIdentity
from beam_curator.reading import Reading
from beam_curator.rules.judging import labels
from beam_curator.rules.rule import Rule


def display_of_models(models: Mapping[str, ModelIdentity]) -> dict[str, Any]:
    """The identity of each step's model."""
    return {f"{step} model": str(identity) for step, identity in models.items()}


def display_of_rules(rules: Sequence[Rule]) -> dict[str, Any]:
    """The reason that each rule gives for what it drops, in the order in which they are tried."""
    return {f"drops {number}": label for number, label in enumerate(labels(rules), 1)}


def display_of_patterns(patterns: Iterable[str]) -> dict[str, Any]:
    """The first few of the input's patterns."""
    return {"patterns": listed(list(patterns))}


def display_of_reading(reading: Reading) -> dict[str, Any]:
    """Makes the display data of how samples are made of members."""
    sources = {name: ", ".join(getattr(reading, name)) or None for name in ("image_from", "caption_from")}
    return {
        "group_by_key": reading.group_by_key,
        "several_images": reading.several_images,
        **{name: DisplayDataItem(source).drop_if_none() for name, source in sources.items()},
    }
