"""What duplicates are, and which of them go, by their definitions: pair by pair, and nothing of the package in it."""

import dataclasses
import hashlib
import math
from collections.abc import Collection, Sequence

import numpy as np

Related = tuple[str, float | None]
"""A kind, and the distance."""


@dataclasses.dataclass(frozen=True)
class Thing:
    """A sample: what the ledger and a score part have of it; `embedding` is float16 [dim]."""

    id: str
    kept: bool
    area: int
    bytes: int
    aesthetic: float | None
    sha256: str | None
    phash256: str | None
    texture: int | None
    colours: str | None
    phash256_cropped: str | None
    phash256_clipped: str | None
    caption: str | None
    embedding: np.ndarray


def _tables() -> list[int]:
    """The 18 bits of each of 70 tables, as numbers of 256 bits."""
    found = []
    for order in range(5):
        bits = sorted(range(256), key=lambda bit: hashlib.sha256(f"{order} {bit}".encode()).digest())
        found += [sum(1 << (255 - bit) for bit in bits[at : at + 18]) for at in range(0, 252, 18)]
    return found


_TABLES = _tables()


def cosine(one: np.ndarray, other: np.ndarray) -> float | None:
    """The cosine of two vectors; None where one has no direction."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all() and a.any() and b.any()):
        return None
    return min(math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b)), 1.0)


def bits_apart(one: Thing, other: Thing, bits: int) -> float | None:
    """In how many bits two pictures differ; None for those that are no perceptual duplicates."""
    looks, textures = [], []
    for thing in (one, other):
        if thing.phash256 is None or thing.texture is None or thing.texture < 25:
            return None
        edited = (thing.phash256_cropped, thing.phash256_clipped)
        looks.append([int(thing.phash256, 16), *(int(text, 16) for text in edited if text is not None)])
        textures.append(thing.texture)
    if min(bin(of[0]).count("1") for of in looks) < 48 or 2 * min(textures) < max(textures):
        return None
    (a, *after_a), (b, *after_b) = looks
    edits = [(x, b) for x in after_a if bin(x).count("1") >= 48] + [(y, a) for y in after_b if bin(y).count("1") >= 48]
    white = (
        one.colours is not None and other.colours is not None and _on_white(one.colours) and _on_white(other.colours)
    )
    between = _far(a, b, 0, _TABLES)
    told = [
        math.ceil(between * 4 / 3) if white and between < math.inf else between,
        *(_far(edited, whole, 12, _TABLES[:28]) for edited, whole in edits),
    ]
    least = min(told)
    return least if least <= bits and _colours_agree(one.colours, other.colours) else None


def _far(one: int, other: int, counts: int, tables: Sequence[int]) -> float:
    differing = one ^ other
    return bin(differing).count("1") + counts if any(not differing & table for table in tables) else math.inf


def _colours_agree(one: str | None, other: str | None) -> bool:
    sides = [[(0, 0, 0)] * 16 if text is None else _parts(text) for text in (one, other)]
    greys = [[(299 * r + 587 * g + 114 * b + 500) // 1000 for r, g, b in side] for side in sides]
    chroma = [
        [part[channel] - grey for channel in (2, 0) for part, grey in zip(side, of, strict=True)]
        for side, of in zip(sides, greys, strict=True)
    ]
    lengths = [sum(value * value for value in of) for of in chroma]
    white = all(text is not None and _on_white(text) for text in (one, other))
    if min(lengths) < 8**2:
        near = max(abs(a - b) for a, b in zip(*greys, strict=True)) <= 12
        return near or not white or max(lengths) < 8**2
    dot = sum(a * b for a, b in zip(*chroma, strict=True))
    least = 96 if white else 60
    if dot <= 0 or (100 * dot) ** 2 < least**2 * lengths[0] * lengths[1] or 100 * min(lengths) < 36 * max(lengths):
        return False
    gains = range(50, 74)
    return not white or any(_lighter(a, b, gain) for a, b in (sides, sides[::-1]) for gain in gains)


def _on_white(text: str) -> bool:
    return sum(min(part) >= 248 for part in _parts(text)) >= 3


def _parts(text: str) -> list[tuple[int, int, int]]:
    levels = bytes.fromhex(text)
    return [(levels[at], levels[at + 1], levels[at + 2]) for at in range(0, 48, 3)]


def _lighter(dark: list[tuple[int, int, int]], light: list[tuple[int, int, int]], gain: int) -> bool:
    """Whether one picture on white is the other, made lighter by `gain` / 50, within 3 levels in the quadratic mean."""
    total = 0
    for one, other in zip(dark, light, strict=True):
        d, far = [255 - level for level in one], [255 - level for level in other]
        more = 3 * (gain - 50)
        share = min(max(sum(gain * a - 50 * b for a, b in zip(d, far, strict=True)), more * max(d)), more * 255)
        total += sum((max(3 * gain * a - share, 0) - 150 * b) ** 2 for a, b in zip(d, far, strict=True))
    return total <= 48 * 450**2


def related(
    one: Thing, other: Thing, kinds: Collection[str], least_cosine: float, bits: int, by_caption: bool
) -> Related | None:
    """The first kind of duplicates that two are, and the distance."""
    if by_caption and (one.caption or "").strip() != (other.caption or "").strip():
        return None
    if "exact" in kinds and one.sha256 is not None and one.sha256 == other.sha256:
        return "exact", None
    far = bits_apart(one, other, bits) if "perceptual" in kinds else None
    if far is not None:
        return "perceptual", far
    near = cosine(one.embedding, other.embedding) if "semantic" in kinds else None
    return ("semantic", near) if near is not None and near >= least_cosine else None


def what_goes(
    sets: Sequence[Sequence[Thing]],
    keep: str,
    kinds: Collection[str],
    least_cosine: float,
    bits: int,
    by_caption: bool,
) -> dict[str, tuple[str, str, float | None]]:
    """What goes of the last of some sets, by its id: of what it is a duplicate, the kind and the distance.

    Args:
      sets: things in the order of their input; all that those before the last one keep stays.
      keep: "resolution", "aesthetic" or "first".
      kinds, least_cosine, bits, by_caption: what counts.
    """
    staying: list[Thing] = []
    gone = {}
    for last, things in zip([False] * (len(sets) - 1) + [True], sets, strict=True):
        ranked = sorted((_rank(keep, place, thing), place) for place, thing in enumerate(things) if thing.kept)
        for thing in (things[place] for _, place in ranked):
            found = ((of, related(of, thing, kinds, least_cosine, bits, by_caption)) for of in staying if last)
            first = next(((of.id, *how) for of, how in found if how is not None), None)
            if first is None:
                staying.append(thing)
            else:
                gone[thing.id] = first
    return gone


def _rank(keep: str, place: int, thing: Thing) -> tuple[float | str, ...]:
    if keep == "first":
        return place, thing.id
    size = -thing.area, -thing.bytes
    score = (2, 0.0) if thing.aesthetic is None else (1, 0.0) if math.isnan(thing.aesthetic) else (0, -thing.aesthetic)
    return (*score, *size, thing.id) if keep == "aesthetic" else (*size, *score, thing.id)
