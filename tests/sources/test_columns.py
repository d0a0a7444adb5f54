"""Which columns of a Parquet file are images, captions and fields."""

import json

import pyarrow as pa
import pytest

from beam_curator.sources.columns import columns_of
from beam_curator.sources.source import UnreadableShard

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def schema(metadata=None, **types):
    return pa.schema(types.items(), metadata=metadata)


def marked(*names):
    features = {name: {"_type": "Image"} for name in names}
    return {"huggingface": json.dumps({"info": {"features": features}})}


@pytest.mark.parametrize(
    ("columns", "image", "caption"),
    [
        (schema(image=IMAGE, text=pa.string()), "image", "text"),
        (schema(photo_data=pa.large_binary(), TEXT=pa.string(), url=pa.string()), "photo_data", "TEXT"),
        (schema(jpg=pa.binary(), key=pa.string(), caption=pa.large_string(), text=pa.string()), "jpg", "caption"),
        (schema(mask=pa.binary(), image=pa.binary()), "image", None),
        (schema(marked("target"), source=IMAGE, target=IMAGE, label=pa.int64()), "target", None),
    ],
    ids=["hugging-face", "large-binary", "img2dataset", "two-of-bytes", "marked"],
)
def test_image_and_caption_are_found_by_type_and_name(columns, image, caption):
    found = columns_of(columns)
    assert (found.image, found.caption) == (image, caption)
    left = [name for name in columns.names if name not in (image, caption)]
    assert sorted([*found.fields, *found.left]) == sorted(left)
    assert not any(pa.types.is_binary(columns.field(name).type) for name in found.fields)


@pytest.mark.parametrize(
    ("columns", "flags", "said"),
    [
        (schema(a=pa.string(), b=pa.int64()), {}, "has no column of image bytes"),
        (schema(a=pa.string(), b=pa.int64()), {}, "its columns are a (string), b (int64)"),
        (schema(x=pa.binary(), y=pa.binary()), {}, "several columns that may be images, x, y: give --image_column"),
        (schema(x=pa.binary()), {"image": "z"}, "has no column z; its columns are x (binary)"),
        (schema(x=pa.binary(), n=pa.int64()), {"image": "n"}, "has no images in its column n, which is int64"),
        (schema(x=pa.binary()), {"caption": "t"}, "has no column t of captions"),
        (schema(x=pa.binary(), n=pa.int64()), {"caption": "n"}, "has no texts in its column n"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_a_table_that_does_not_say_is_one_line_that_names_its_columns(columns, flags, said):
    with pytest.raises(UnreadableShard) as raised:
        columns_of(columns, **flags)
    assert said in str(raised.value)
