"""Takes apart what a user writes for --input: names, globs, brace ranges and lists. Nothing is looked up here."""

from __future__ import annotations

import fnmatch
import functools
import itertools
import os
import re
from collections.abc import Callable, Sequence

import bracex

from beam_curator.errors import UsageError
from beam_curator.given_paths import at_home, path_texts

MAX_NAMES = 1_000_000
"""So many names all brace ranges together may be written out as: each takes memory, and a look."""

SHARD_ENDINGS = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.lzma", ".tlz"),
    *(".tar.zst", ".tzst", ".tar.lz4", ".tlz4"),
    *(".tar.z", ".taz", ".tar.lz", ".tar.lzo"),  # not read, and said to be so, rather than passed over
)
"""The endings, in lower case, of the files that are taken from a directory."""

TAR_SHARD = "a tar shard"


def ending_told(endings: tuple[str, ...]) -> str:
    """Names, for a message, files with these endings."""
    return TAR_SHARD if endings is SHARD_ENDINGS else f"*{' or *'.join(endings)}"


BELOW = "**"
"""The segment of a glob that stands for any number of directories, none among them."""

_LIST = "@"
_JOINED = "::"
_NOT_READ = re.compile(r"(pipe|cmd):", re.IGNORECASE)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")


Patterns = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One pattern, or several."""


def several(patterns: Patterns) -> list[str]:
    """The patterns as a list, also of one alone.

    Raises:
      UsageError: for none, and for what is no path.
    """
    listed = path_texts(patterns, "input")
    if not listed:
        raise UsageError('no input is named: give at least one pattern, such as "DIR/*.tar"')
    return listed


def list_of(pattern: str) -> str | None:
    """The file that `@FILE` names, which holds a pattern on each line; None for any other pattern."""
    return at_home(pattern[len(_LIST) :]) if pattern.startswith(_LIST) else None


def lines_of(text: str) -> list[str]:
    """The patterns of a list, one a line; empty lines and those that begin with # are none."""
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def split_joined(pattern: str) -> list[str]:
    """The patterns that `::` joins, as webdataset and open_clip write several in one.

    Raises:
      UsageError: for a url that only webdataset reads.
    """
    parts = [at_home(part.strip() if _JOINED in pattern else part) for part in pattern.split(_JOINED) if part.strip()]
    for part in parts:
        if scheme := _NOT_READ.match(part):
            raise UsageError(
                f"--input {part}: {scheme[1]}: is not read, for a shard has to be read from any place in it, more than "
                "once: give a path or a url of storage, such as gs:// or s3://"
            )
    return [part.removeprefix("file://").removeprefix("file:") for part in parts]


def written_out(pattern: str, limit: int = MAX_NAMES) -> list[str]:
    """The names and globs that a pattern's braces stand for, in the order of the pattern.

    Raises:
      UsageError: when they are more than `limit`.
    """
    if "{" not in pattern:
        return [pattern]
    try:
        return list(bracex.iexpand(pattern, limit=max(1, limit)))  # which takes 0 for no limit
    except (bracex.ExpansionLimitException, RecursionError):
        raise UsageError(
            f"--input {pattern}: these braces stand for more names than the {MAX_NAMES:,} that are looked for: "
            "give a shorter range, or a glob such as *.tar"
        ) from None


def is_glob(name: str) -> bool:
    """Tells whether the name has a character that globbing takes for its own; urls of the web have a `?` of theirs."""
    return "*" in name if _WEB.match(name) else _MAGIC.search(name) is not None


def is_shard_name(name: str, endings: tuple[str, ...] = SHARD_ENDINGS) -> bool:
    """Tells whether a file of a directory is named as shards are."""
    return not name.startswith(".") and name.lower().endswith(endings)


@functools.lru_cache(maxsize=64)
def literal_directory(glob: str) -> str:
    """The deepest directory that holds all that a glob can match, with the slash at its end; "" for the current one."""
    plain = _MAGIC.split(glob, maxsplit=1)[0]
    return plain[: plain.rfind("/") + 1]


@functools.lru_cache(maxsize=64)
def segments_of(glob: str) -> list[list[str]]:
    """The segments below `literal_directory`, in each way that a glob can be read: `a**b` in one segment, as Beam and
    gsutil have it, stands for `a*b` and for `a*/**/*b`."""
    choices = [_ways(segment) for segment in glob[len(literal_directory(glob)) :].split("/") if segment]
    ways = [list(itertools.chain(*chosen)) for chosen in itertools.product(*choices)]
    return [[*way, "*"] if way[-1:] == [BELOW] else way for way in ways]


def _ways(segment: str) -> list[list[str]]:
    if BELOW not in segment:
        return [[segment]]
    if not segment.strip("*"):
        return [[BELOW]]
    before, _, after = re.sub(r"\*\*+", BELOW, segment).partition(BELOW)
    after = after.replace(BELOW, "*")
    return [[f"{before}*{after}"], [f"{before}*", BELOW, f"*{after}"]]


def segment_matches(name: str, segment: str) -> bool:
    """Tells whether one segment of a path is matched: as in a shell, a hidden name only where its dot is written."""
    hidden = name.startswith(".") and not segment.startswith(".")
    return name == segment or (not hidden and fnmatch.fnmatchcase(name, segment))


def path_matches(parts: Sequence[str], segments: Sequence[str]) -> bool:
    """Tells whether the parts of a path are matched by the segments of a glob, of which `**` takes any number of
    parts."""
    if not segments:
        return not parts
    if segments[0] == BELOW:
        below = bool(parts) and not parts[0].startswith(".") and path_matches(parts[1:], segments)
        return path_matches(parts, segments[1:]) or below
    return bool(parts) and segment_matches(parts[0], segments[0]) and path_matches(parts[1:], segments[1:])


def is_below(url: str, directory: str) -> bool:
    """Tells whether an object is in a directory (which ends with a slash), at any depth, and nothing on the way is
    hidden."""
    parts = url[len(directory) :].split("/")
    return url.startswith(directory) and bool(parts[-1]) and not any(part.startswith(".") for part in parts)


def plain_prefix(glob: str) -> str:
    """The prefix of all names that a glob or a directory can match."""
    return _MAGIC.split(glob, maxsplit=1)[0]


def url_matcher(glob: str, endings: tuple[str, ...] = SHARD_ENDINGS) -> Callable[[str], bool]:
    """Tells whether a glob, or a directory (which ends with a slash), matches the url of an object.

    An object whose name ends with a slash is what some tools make of a directory: no file.
    """
    begin, ways = len(literal_directory(glob)), segments_of(glob)

    def matches(url: str) -> bool:
        parts = url[begin:].split("/")
        if glob.endswith("/"):
            return is_shard_name(parts.pop(), endings) and any(path_matches(parts, way) for way in ways)
        return bool(parts[-1]) and any(path_matches(parts, way) for way in ways)

    if glob.endswith("/") or len(ways) != 1 or len(ways[0]) != 1 or ways[0][0] == BELOW:
        return matches
    (segment,) = ways[0]
    one, hidden = re.compile(fnmatch.translate(segment)).match, segment.startswith(".")

    def matches_name(url: str) -> bool:
        name = url[begin:]
        if not name or "/" in name:
            return False
        return name == segment or ((hidden or not name.startswith(".")) and one(name) is not None)

    return matches_name
