"""Defines duplicates, and which of them go, pair by pair; with nothing of the package in it."""

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
    """Counts the bits in which two pictures differ; None for those that are no perceptual duplicates."""
    looks = []
    for thing in (one, other):
        if thing.phash256 is None or thing.texture is None or thing.texture < 25:
            return None
        edited = (thing.phash256_cropped, thing.phash256_clipped)
        looks.append([int(thing.phash256, 16), *(None if text is None else int(text, 16) for text in edited)])
    a, b = (of[0] for of in looks)
    assert a is not None
    assert b is not None
    if min(bin(a).count("1"), bin(b).count("1")) < 48:
        return None
    told = [_told(one, other, a, b, None)]
    for edit in (1, 2):
        for whole, edited in ((a, looks[1][edit]), (b, looks[0][edit])):
            if edited is not None and bin(edited).count("1") >= 48:
                told.append(_told(one, other, whole, edited, edit))
    least = min(told)
    return least if least <= bits else None


def _told(one: Thing, other: Thing, a: int, b: int, edit: int | None) -> float:
    """Tells how far two are apart by a hash of each, the second one after an edit (1 crops, 2 clips it); or
    infinite."""
    textures = sorted((one.texture or 0, other.texture or 0))
    plain = textures[0] < 256
    sides = [None if text is None or not int(text, 16) else _parts(text) for text in (one.colours, other.colours)]
    known = [side for side in sides if side is not None]
    white = len(known) == 2 and all(sum(min(part) >= 220 for part in side) >= 3 for side in known)
    if textures[1] > (2 if white else 3) * textures[0]:
        return math.inf
    if len(known) == 2 and not _colours_agree(known[0], known[1], white, plain, edit):
        return math.inf
    if not any(not (a ^ b) & table for table in (_TABLES if edit is None else _TABLES[:28])):
        return math.inf
    apart = bin(a ^ b).count("1")
    return math.ceil(apart * (2 if plain else 4 / 3) if white else apart) + (0 if edit is None else 12)


Side = list[tuple[int, int, int]]


def _colours_agree(one: Side, other: Side, white: bool, plain: bool, edit: int | None) -> bool:
    greys = [[(299 * r + 587 * g + 114 * b + 500) // 1000 for r, g, b in side] for side in (one, other)]
    chroma = [
        [part[channel] - grey for channel in (2, 0) for part, grey in zip(side, of, strict=True)]
        for side, of in zip((one, other), greys, strict=True)
    ]
    lengths = [sum(value * value for value in of) for of in chroma]
    grey_apart = max(abs(a - b) for a, b in zip(*greys, strict=True))
    if white and plain:
        if edit == 2:
            return False
        if edit is None and min(lengths) <= 4**2 and grey_apart <= 4:
            return True
        apart = [abs(a - b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)]
        mean, most = (4, 8) if edit is None else (6, 16)
        turned = sum((a - b) ** 2 for a, b in zip(*chroma, strict=True))
        near = sum(level**2 for level in apart) <= 48 * mean**2 and max(apart) <= most
        return near and 12 * (turned - 64) <= max(lengths)
    if white or (plain and _on_one_ground(one) and _on_one_ground(other)):
        if min(lengths) <= 8**2 and grey_apart <= 8:
            return True
        return any(_lighter(a, b, gain) for a, b in ((one, other), (other, one)) for gain in range(50, 74))
    if min(lengths) < 8**2:
        return True
    dot = sum(a * b for a, b in zip(*chroma, strict=True))
    turned_away = dot <= 0 or (100 * dot) ** 2 < 60**2 * lengths[0] * lengths[1]
    return not turned_away and 100 * min(lengths) >= 36 * max(lengths)


def _on_one_ground(side: Side) -> bool:
    return any(sum(max(abs(a - b) for a, b in zip(of, part, strict=True)) <= 2 for part in side) >= 4 for of in side)


def _parts(text: str) -> Side:
    levels = bytes.fromhex(text)
    return [(levels[at], levels[at + 1], levels[at + 2]) for at in range(0, 48, 3)]


def _lighter(dark: Side, light: Side, gain: int) -> bool:
    """Tells whether one picture is the other, made lighter by `gain` / 50, within 8 levels in the quadratic mean."""
    total = 0
    for one, other in zip(dark, light, strict=True):
        d, far = [255 - level for level in one], [255 - level for level in other]
        more = 3 * (gain - 50)
        share = min(max(sum(gain * a - 50 * b for a, b in zip(d, far, strict=True)), more * max(d)), more * 255)
        total += sum((max(3 * gain * a - share, 0) - 150 * b) ** 2 for a, b in zip(d, far, strict=True))
    return total <= 48 * 1200**2


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
