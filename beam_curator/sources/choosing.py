"""Chooses the source that reads a format: one of ours, or a user's own by its name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from beam_curator.errors import UsageError
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.sources.formats import FOLDER, LIST, MDS, PARQUET
from beam_curator.sources.listed_files import ListedSource
from beam_curator.sources.mds import MdsSource
from beam_curator.sources.parquet import ParquetSource
from beam_curator.sources.source import Source


def source_of(format: str, reading: Reading = DEFAULT_READING) -> Source:
    """The source that reads shards of a format.

    Args:
      format: `PARQUET`, `MDS`, `FOLDER`, `LIST`, or the name of a user's own.
      reading: how they are to be read.

    Raises:
      UsageError: for a name that leads to no source.
    """
    if format == PARQUET:
        return ParquetSource(reading.image_column, reading.caption_column)
    if format == MDS:
        return MdsSource(reading.image_column, reading.caption_column)
    if format in (FOLDER, LIST):
        return ListedSource()
    return _users_source(format)


def _users_source(name: str) -> Source:
    module, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` does, so that the console script finds the same modules
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        source = found() if isinstance(found, type) else found
    except Exception as error:  # importing and making run the user's code
        raise UsageError(f"--input_format {name}: {type(error).__name__}: {error}") from error
    if not isinstance(source, Source):
        raise UsageError(f"--input_format {name}: is no source: it needs endings, plan() and read()")
    return source
