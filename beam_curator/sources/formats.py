"""Names the kinds of input, as --input_format does."""

from __future__ import annotations

import re

from beam_curator.errors import UsageError

AUTO, WEBDATASET, PARQUET, MDS, FOLDER, LIST = "auto", "webdataset", "parquet", "mds", "folder", "list"
INPUT_FORMATS = (AUTO, WEBDATASET, PARQUET, MDS, FOLDER, LIST)

_NAMED = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


def checked_format(text: str) -> str:
    """Returns the text of `--input_format` if it is a format, or the name of a user's own source.

    Raises:
      UsageError: for what is neither.
    """
    if isinstance(text, str) and (text in INPUT_FORMATS or _NAMED.fullmatch(text)):
        return text
    raise UsageError(f"input_format={text!r} is none of {', '.join(INPUT_FORMATS)}, nor package.module:Object")
