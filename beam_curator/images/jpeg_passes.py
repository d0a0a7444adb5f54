"""Whether a progressive JPEG has all its passes: each sends some coefficients, or one more bit of them."""

from __future__ import annotations

from collections.abc import Iterator

from beam_curator.images.jpeg_markers import END, SCAN, markers

_PROGRESSIVE = (0xC2, 0xCA)
_COEFFICIENTS = 64


def lacks_passes(data: bytes) -> bool:
    """Tells whether a progressive JPEG ends without the last bits of coefficients that it has begun to send, or without
    any of its first component: a file that was cut between its passes, and given an end. Decoders show it blurred.

    The standard lets an encoder leave bits out; none that is in use does. Colours that have a mean alone are whole.
    """
    sent: dict[int, list[int | None]] = {}
    for marker, at in markers(data):
        if marker in _PROGRESSIVE:
            sent = {component: [None] * _COEFFICIENTS for component in _components(data, at)}
        elif marker == SCAN and sent:
            components, first, last, low_bit = _scan(data, at)
            for component in components:
                sent.setdefault(component, [None] * _COEFFICIENTS)[first : last + 1] = [low_bit] * (last + 1 - first)
        elif marker == END and sent:
            luma, *others = sent.values()
            return any(bit != 0 for bit in luma) or any(_is_begun(bits) for bits in others)
    return False


def _is_begun(bits: list[int | None]) -> bool:
    """Tells whether a component lacks its mean, or a bit of a coefficient of which others are there."""
    return bits[0] != 0 or any(bits[1:])


def _components(data: bytes, frame: int) -> Iterator[int]:
    """The components that a frame's header names."""
    yield from data[frame + 10 : frame + 10 + 3 * int.from_bytes(data[frame + 9 : frame + 10], "big") : 3]


def _scan(data: bytes, at: int) -> tuple[bytes, int, int, int]:
    """The components of a scan, its first and last coefficient, and the lowest bit of them that it sends."""
    count = int.from_bytes(data[at + 4 : at + 5], "big")
    first, last, bits = data[at + 5 + 2 * count : at + 8 + 2 * count].ljust(3, b"\0")
    return data[at + 5 : at + 5 + 2 * count : 2], first, min(last, _COEFFICIENTS - 1), bits & 15
