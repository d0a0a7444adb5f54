"""Settings that an encoder's identity has, and in which of them, as flags, two identities of one model differ."""

from __future__ import annotations

import dataclasses

from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.settings import EXACT, FAST

NOTE_OF_FAST = "fast resize"
"""All that fast decoding changes is the resized picture; it was called so when it was a flag of its own."""

NOTE_OF_COMPILE = "torch.compile"

_FLAGS = {
    NOTE_OF_FAST: (f"--decode {FAST}", f"--decode {EXACT}"),
    NOTE_OF_COMPILE: ("--compile true", "--compile false"),
}


def flags_apart(was: ModelIdentity, now: ModelIdentity) -> tuple[str, str] | None:
    """The flags by which one model embeds in two ways: those of `was`, and those of `now`; None of two models."""
    if _plain(was) != _plain(now) or was == now:
        return None
    here, there = [], []
    for note, (with_it, without) in _FLAGS.items():
        if (note in was.notes) != (note in now.notes):
            here.append(with_it if note in was.notes else without)
            there.append(with_it if note in now.notes else without)
    if was.precision != now.precision and was.precision and now.precision:
        here.append(f"--precision {was.precision}")
        there.append(f"--precision {now.precision}")
    return (" ".join(here), " ".join(there)) if here else None


def _plain(identity: ModelIdentity) -> ModelIdentity:
    notes = tuple(note for note in identity.notes if note not in _FLAGS)
    return dataclasses.replace(identity, notes=notes, precision=None)
