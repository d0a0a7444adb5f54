"""Says what counts as a duplicate, and which one is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_curator.defaults import DEFAULT_DUPLICATE_BITS, DEFAULT_DUPLICATE_COSINE, DUPLICATE_KINDS, KEEP_ORDERS
from beam_curator.duplicates.semantic import PROVEN
from beam_curator.errors import UsageError
from beam_curator.given_paths import at_home, path_text, path_texts
from beam_curator.given_values import is_number, is_whole

EXACT, PERCEPTUAL, SEMANTIC = KINDS = DUPLICATE_KINDS
"""Copies of the same bytes; copies that look alike (re-encoded, resized, recoloured); images that show about the same.
Where several hold for a pair, the first is told."""

IMAGE, IMAGE_AND_CAPTION = "image", "image+caption"

_MOST_BITS = 96


@dataclasses.dataclass(frozen=True)
class DuplicateSettings:
    """The settings of what counts as a duplicate, and which one is kept.

    Attributes:
      kinds: some of `KINDS`.
      cosine: the least cosine of the embeddings of semantic duplicates, -1 to 1.
      bits: in how many of the 256 bits of their hash perceptual duplicates differ at most.
      keep: which one stays, one of `defaults.KEEP_ORDERS`.
      by: `IMAGE`, or `IMAGE_AND_CAPTION`: only samples with the same caption are duplicates.
      against: finished outputs: what they kept wins over every sample, and is never output.
      slack: see `semantic.Join.slack`.
      embeddings: a finished output over the same input, cut into the same ranges: semantic duplicates are told by its
        embeddings; "" for the job's own.

    Raises:
      UsageError: for settings that cannot be meant.
    """

    kinds: Sequence[str] = KINDS
    cosine: float = DEFAULT_DUPLICATE_COSINE
    bits: int = DEFAULT_DUPLICATE_BITS
    keep: str = "resolution"
    by: str = IMAGE
    against: Sequence[str] = ()
    slack: float = PROVEN
    embeddings: str = ""

    def __post_init__(self) -> None:
        kinds = self.kinds.split(",") if isinstance(self.kinds, str) else self.kinds
        object.__setattr__(self, "kinds", tuple(map(str, kinds)) if isinstance(kinds, Iterable) else (str(kinds),))
        object.__setattr__(self, "against", tuple(dict.fromkeys(map(at_home, path_texts(self.against, "against")))))
        object.__setattr__(self, "embeddings", at_home(path_text(self.embeddings, "duplicate_embeddings")))
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise UsageError(f"duplicates={','.join(self.kinds)}: some of {', '.join(KINDS)}, with commas between")
        object.__setattr__(self, "kinds", tuple(kind for kind in KINDS if kind in self.kinds))
        if not (is_number(self.cosine) and -1 <= self.cosine <= 1):
            raise UsageError(f"duplicate_cosine={self.cosine}: a cosine is from -1 to 1; 0.97 means one picture")
        if not (is_whole(self.bits) and 0 <= self.bits <= _MOST_BITS):
            raise UsageError(
                f"duplicate_bits={self.bits}: 0 to {_MOST_BITS} of 256 bits; unlike pictures differ in over 90"
            )
        if self.embeddings and SEMANTIC not in self.kinds:
            raise UsageError(f"duplicate_embeddings={self.embeddings}: only semantic duplicates are told by embeddings")
        if self.embeddings and self.against and SEMANTIC in self.kinds:
            raise UsageError(
                f"duplicate_embeddings={self.embeddings}: those of what is compared with (against) are of another "
                "encoder: leave one out"
            )
        if self.keep not in KEEP_ORDERS:
            raise UsageError(f"keep={self.keep}: one of {', '.join(KEEP_ORDERS)}")
        if self.by not in (IMAGE, IMAGE_AND_CAPTION):
            raise UsageError(f"duplicates_by={self.by}: {IMAGE} or {IMAGE_AND_CAPTION}")
        if not (is_number(self.slack) and 0 < self.slack <= PROVEN):
            raise UsageError(
                f"duplicate_slack={self.slack}: over 0 to {PROVEN}, with which no pair is missed; 0.2 misses some of "
                "them, and is faster where duplicate_cosine is below 0.95"
            )
        for name, kind in (("cosine", float), ("slack", float), ("bits", int)):  # NumPy's are not written as JSON
            object.__setattr__(self, name, kind(getattr(self, name)))

    @property
    def as_json(self) -> dict[str, Any]:
        """The settings as the manifest has them."""
        return {**dataclasses.asdict(self), "kinds": list(self.kinds), "against": list(self.against)}


def changed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Picks the settings, by the names of attributes, that are not the default; gives them by the names of their
    flags."""
    default = {one.name: one.default for one in dataclasses.fields(DuplicateSettings)}
    return {flag: settings[name] for flag, name in _FLAGS.items() if settings.get(name, default[name]) != default[name]}


def settings_of_flags(flags: Mapping[str, Any]) -> DuplicateSettings | None:
    """Reads from flags of the command, or from the manifest, how to look for duplicates; None for not at all.

    Raises:
      UsageError: for flags that say how to look for duplicates, where nothing asks for that.
    """
    kinds = flags.get("duplicates")
    if isinstance(kinds, Mapping):  # of a pipeline of the library
        return DuplicateSettings(**kinds)
    given = {name: flags[flag] for flag, name in _FLAGS.items() if flags.get(flag) not in (None, [])}
    if kinds is None:
        flag = next((flag for flag, name in _FLAGS.items() if name in given), None)
        if flag is not None:
            raise UsageError(
                f"--{flag} {_shown(flags[flag])}: nothing looks for duplicates: add --duplicates {','.join(KINDS)}, or "
                "some of them"
            )
        return None
    return DuplicateSettings(tuple(kinds), **given)


def check_put_to_use(kinds: Sequence[str], given: Mapping[str, Any]) -> None:
    """Raises UsageError for a setting of a kind of duplicates that nobody looks for: it would change nothing.

    Args:
      kinds: those that are looked for.
      given: values by the names of flags; None for those that were not given.
    """
    for flag, kind in _OF_ONE_KIND.items():
        if given.get(flag) is not None and kind not in kinds:
            raise UsageError(
                f"{flag}={given[flag]}: only {kind} duplicates are told by it, and those of {','.join(kinds)} are "
                f"looked for: add {kind}, or leave it out"
            )


def _shown(value: Any) -> str:
    return " ".join(value) if isinstance(value, (list, tuple)) else str(value)


_OF_ONE_KIND = {"duplicate_cosine": SEMANTIC, "duplicate_bits": PERCEPTUAL, "duplicate_slack": SEMANTIC}


_FLAGS = {
    "duplicate_cosine": "cosine",
    "duplicate_bits": "bits",
    "keep": "keep",
    "duplicates_by": "by",
    "against": "against",
    "duplicate_slack": "slack",
    "duplicate_embeddings": "embeddings",
}
