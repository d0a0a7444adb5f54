"""Finds a sample's caption.

The first of these that holds more than white space is taken: the members `txt`, `caption`, `cap` and `text`; then the
fields "caption", "captions", "text", "texts", "prompt", "alt_text", "alt" and "description" of the `json` member, in
any case. Several captions in a list are joined, a line each.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Any

from beam_curator import json_text
from beam_curator.defaults import TEXT_MEMBERS
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Member, Sample

MAX_CAPTION_BYTES = 1 << 16

MAX_JSON_BYTES = 4 << 20  # parsed, it may take 25 times as much memory

JSON = "json"

JSON_FIELDS = ("caption", "captions", "text", "texts", "prompt", "alt_text", "alt", "description")

DEFAULT_ORDER = (*TEXT_MEMBERS, JSON)

_BYTE_ORDER_MARKS = (  # those of UTF-32 first: little-endian, it begins as that of UTF-16 does
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def caption_of(sample: Sample, reading: Reading = DEFAULT_READING) -> str | None:
    """The caption of a sample with its bytes, its first 64 KiB; None where none holds more than white space.

    Each of `reading.caption_from` is a member's extension, or the field of a JSON member as "json:caption"; all of
    "json" means the fields that are looked for anyway.
    """
    return next((found for found in _captions(sample, reading.caption_from or DEFAULT_ORDER) if found.strip()), None)


def _captions(sample: Sample, sources: tuple[str, ...]) -> Iterator[str]:
    for source in sources:
        extension, is_field, field = source.partition(":")
        member = sample.members.get(extension)
        if member is None or member.data is None:
            continue
        if is_field or extension.rsplit(".", 1)[-1] == JSON:
            yield from _in_json(member, (field,) if is_field else JSON_FIELDS)
        else:
            yield _decoded(bytes(member.data[:MAX_CAPTION_BYTES]))


def _decoded(text: bytes) -> str:
    """Decodes text in UTF-8, or in what its byte order mark says; bytes that are no characters become U+FFFD."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if text.startswith(mark):
            return _limited(text[len(mark) :].decode(encoding, "replace"))
    return text.decode("utf-8", "replace")


def _limited(text: str) -> str:
    return text.encode("utf-8", "replace")[:MAX_CAPTION_BYTES].decode("utf-8", "replace")


def _in_json(member: Member, fields: tuple[str, ...]) -> Iterator[str]:
    """The texts of these fields, in their order; of JSON that is a text or a list of texts, that."""
    if member.data is None or member.size > MAX_JSON_BYTES:
        return
    try:
        found = json_text.loads(bytes(member.data))
    except ValueError:
        return
    values: list[Any] = [found]
    if isinstance(found, Mapping):
        any_case = {name.lower(): value for name, value in reversed(list(found.items()))}
        values = [found.get(name, any_case.get(name.lower())) for name in fields]
    for value in values:
        texts = value if isinstance(value, list) else [value]
        yield _limited("\n".join(text for text in texts if isinstance(text, str) and text.strip()))
