"""Tells which columns of a table are a sample's image and its caption, and what goes into its .json member."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pyarrow as pa

from beam_curator import json_text
from beam_curator.sources.source import UnreadableShard
from beam_curator.sources.table_files import path_column

IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "bytes", "content")
CAPTION_NAMES = ("caption", "text", "prompt", "alt_text", "alt", "description")
_SHOWN = 30


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table with images.

    Attributes:
      image: the column of images: a struct with `bytes`, and perhaps `path`, or bytes.
      caption: the column of captions, if there is one.
      fields: what goes into the .json member, in order.
      left: binary columns that go nowhere, in order.
    """

    image: str
    caption: str | None
    fields: Sequence[str]
    left: Sequence[str]


def columns_of(schema: pa.Schema, image: str = "", caption: str = "") -> Columns:
    """The columns of a schema; `image` and `caption` name two of them, else they are found by type and name.

    The image is the only column that holds images; of several, that which has the first name of `IMAGE_NAMES`.

    Raises:
      UnreadableShard: when there is no such column, or when several may be meant.
    """
    if len(set(schema.names)) < len(schema.names):
        raise UnreadableShard(f"has two columns of one name, which are not told apart; its columns are {_told(schema)}")
    image = image_column(schema, image)
    found = caption_column(schema, caption, image)
    others = [name for name in schema.names if name not in (image, found)]
    left = [name for name in others if _holds_bytes(schema.field(name).type)]
    return Columns(image, found, [name for name in others if name not in left], left)


def image_column(schema: pa.Schema, named: str) -> str:
    """The column of images."""
    candidates = [field.name for field in schema if _is_image(field.type)]
    if named:
        if named not in schema.names:
            raise UnreadableShard(f"has no column {named}; its columns are {_told(schema)}")
        if named not in candidates:
            type = schema.field(named).type
            raise UnreadableShard(
                f"has no images in its column {named}, which is {type}; its columns are {_told(schema)}"
            )
        return named
    marked = [name for name in _marked_as_images(schema) if name in candidates]
    found = _first_named(marked or candidates, IMAGE_NAMES)
    if found:
        return found
    if not candidates:
        paths = path_column([field.name for field in schema if is_text(field.type)])
        hint = f", or --input_format list to read what its column {paths} names" if paths else ""
        raise UnreadableShard(
            f"has no column of image bytes (binary, or a struct with bytes): give other files{hint}; its columns are "
            f"{_told(schema)}"
        )
    raise UnreadableShard(f"has several columns that may be images, {', '.join(candidates)}: give --image_column")


def caption_column(schema: pa.Schema, named: str, *others: str) -> str | None:
    """The column of captions, which is none of the others; None where there is none."""
    if named and named not in schema.names:
        raise UnreadableShard(f"has no column {named} of captions; its columns are {_told(schema)}")
    if named and not is_text(schema.field(named).type):
        raise UnreadableShard(f"has no texts in its column {named} of captions, which is {schema.field(named).type}")
    texts = [field.name for field in schema if is_text(field.type) and field.name not in others]
    return named or _first_named(texts, CAPTION_NAMES, alone=False)


def _first_named(candidates: Sequence[str], names: Sequence[str], alone: bool = True) -> str | None:
    """The candidate with the first of these names, in any case; or the one that is alone, if that is enough."""
    if alone and len(candidates) == 1:
        return candidates[0]
    return next((one for name in names for one in candidates if one.lower() == name), None)


def is_text(type: pa.DataType) -> bool:
    """Tells whether a column of this type holds texts."""
    if pa.types.is_dictionary(type):
        return is_text(type.value_type)
    return pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)


def _is_bytes(type: pa.DataType) -> bool:
    if pa.types.is_dictionary(type):
        return _is_bytes(type.value_type)
    return (
        pa.types.is_binary(type)
        or pa.types.is_large_binary(type)
        or pa.types.is_binary_view(type)
        or pa.types.is_fixed_size_binary(type)
    )


def _is_image(type: pa.DataType) -> bool:
    if pa.types.is_struct(type):
        index = type.get_field_index("bytes")
        return index >= 0 and _is_bytes(type.field(index).type)
    return _is_bytes(type)


def _holds_bytes(type: pa.DataType) -> bool:
    """Tells whether there are bytes anywhere in it, for which JSON has no words."""
    if _is_bytes(type):
        return True
    return any(_holds_bytes(type.field(index).type) for index in range(type.num_fields))


def _marked_as_images(schema: pa.Schema) -> list[str]:
    """The columns that Hugging Face's datasets say are images."""
    try:
        features = json_text.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [name for name, feature in features.items() if feature.get("_type") == "Image"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return []


def _told(schema: pa.Schema) -> str:
    named = [f"{field.name} ({field.type})" for field in schema][:_SHOWN]
    more = f" and {len(schema) - _SHOWN} more" if len(schema) > _SHOWN else ""
    return (", ".join(named) + more) if named else "none"
