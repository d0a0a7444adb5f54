"""How often a job asks a bucket, and for what: counted where the S3 client sends, before moto's S3, over two jobs.

python -m benchmarks.requests                # needs moto: pip install -e '.[dev]'
python -m benchmarks.requests --shards 4 12

Each job is a command that scores and keeps nothing, and the same one again that selects 30 %. What the larger job asks
more than the smaller one is told of each range, shard and output shard that it has more.
"""

import argparse
import collections
import contextlib
import io
import logging
import re
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.httpsession import URLLib3Session
from moto.server import ThreadedMotoServer

from beam_curator.commands import main as command
from beam_curator.defaults import TINY_UNTRAINED
from beam_curator.process_tuning import turn_on
from benchmarks import photos
from benchmarks.tables import machine, markdown

_BUCKET = "requests"
_KEYS = {"s3_access_key_id": "key", "s3_secret_access_key": "secret", "s3_region_name": "us-east-1"}
_WRITES = ("PUT", "POST")
_LONGEST_SIDE = 256
"""Of the images: some 19 KB each."""

_KINDS = {
    r"raw/.*\.tar": "shards",
    r"raw/": "what may stand beside shards",
    r"out/(scores|fields|plans|samples)/": "",
    r"out/_tmp/": "pieces of the ledger",
    r"out/\d+": "output shards",
    r"": "of the job",
}
"""What objects are, by how their names begin; "" stands for the directory's name."""

Asked = collections.Counter[tuple[str, str]]
"""How often, by "read", "write" or "delete", and what was asked for."""


def kind_of(method: str, url: str) -> tuple[str, str]:
    """What a request is: its direction, and what its object is.

    Args:
      method: of HTTP.
      url: of the object, or of the bucket for a list.
    """
    split = urllib.parse.urlsplit(url)
    name = urllib.parse.unquote(split.path).removeprefix(f"/{_BUCKET}").lstrip("/")
    if not name:
        return ("delete", "many") if "delete" in split.query else ("list", "names")
    direction = "write" if method in _WRITES else "delete" if method == "DELETE" else "read"
    kind = next(kind for pattern, kind in _KINDS.items() if re.match(pattern, name))
    return direction, kind or name.split("/")[1]


@contextlib.contextmanager
def counted() -> Iterator[Asked]:
    """Counts what S3 clients of this process send while the block runs."""
    asked: Asked = collections.Counter()
    send = URLLib3Session.send

    def noting(session: URLLib3Session, request: Any) -> Any:
        asked[kind_of(request.method, request.url)] += 1
        return send(session, request)

    URLLib3Session.send = noting
    try:
        yield asked
    finally:
        URLLib3Session.send = send


@dataclass(frozen=True)
class Asking:
    """What a job asked.

    Attributes:
      has: how many ranges, shards and output shards it has.
      scoring: what its first command asked, which keeps nothing.
      selecting: what its second one did.
    """

    has: Mapping[str, int]
    scoring: Asked
    selecting: Asked


def asked_by_job(tar: Path, shards: int, flags: Sequence[str], client: Any) -> Asking:
    """Runs both commands on the same shard under so many names, in a bucket that is empty before and after.

    Args:
      tar: the shard.
      shards: how many.
      flags: of the command, that reach the bucket as well.
      client: of the bucket.

    Raises:
      SystemExit: when a command fails.
    """
    for number in range(shards):
        client.put_object(Bucket=_BUCKET, Key=f"raw/{number:05d}.tar", Body=tar.read_bytes())
    base = ["curate", "--input", f"s3://{_BUCKET}/raw/", "--output", f"s3://{_BUCKET}/out", *flags]
    found = []
    for more in (["--min_aesthetic", "10"], ["--min_aesthetic", "none", "--keep_top", "aesthetic=0.3"]):
        with counted() as asked, contextlib.redirect_stdout(io.StringIO()):
            code = command.main([*base, "--max_nsfw", "none", *more])
        if code:
            raise SystemExit(code)
        found.append(asked)
    names = [one["Key"] for page in _pages(client) for one in page.get("Contents", ())]
    has = {"range": _matching(names, r"out/scores/"), "shard": shards}
    has["output shard"] = _matching(names, r"out/\d+\.tar$")
    for start in range(0, len(names), 1000):
        some = [{"Key": name} for name in names[start : start + 1000]]
        client.delete_objects(Bucket=_BUCKET, Delete={"Objects": some})
    return Asking(has, *found)


def _pages(client: Any) -> Iterator[Mapping[str, Any]]:
    yield from client.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET)


def _matching(names: Sequence[str], pattern: str) -> int:
    return sum(bool(re.match(pattern, name)) for name in names)


def growth(smaller: Asking, larger: Asking) -> list[list[str]]:
    """Rows of a table: what the larger job asked more, and how much of it for each range and so on."""
    more_of = {name: larger.has[name] - smaller.has[name] for name in larger.has}
    commands = {"scores": (smaller.scoring, larger.scoring), "selects": (smaller.selecting, larger.selecting)}
    rows = []
    for name, (few, many) in commands.items():
        for key in sorted(many | few):
            each = [f"{(many[key] - few[key]) / count:.2f}" if count else "" for count in more_of.values()]
            rows.append([name, *key, str(few[key]), str(many[key]), *each])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Counts, and prints a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.requests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs=2, default=(2, 6), help="of the jobs (default 2 6)")
    parser.add_argument("--images", type=int, default=60, help="in each (default %(default)s)")
    parser.add_argument("--range_mb", type=float, default=0.25, help="(default %(default)s)")
    parser.add_argument("--samples_per_shard", type=int, default=12, help="of the output (default %(default)s)")
    parser.add_argument("--cache", type=Path, default=photos.default_cache(), help="for shards of drawn photographs")
    flags = parser.parse_args(argv)
    print(machine(), flush=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else each request is a line
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        asked = [_asked(server, flags, shards) for shards in flags.shards]
    finally:
        server.stop()
    for one in asked:
        print(", ".join(f"{count} {name}s" for name, count in one.has.items()))
    of = [f"more, a {name}" for name in asked[0].has]
    print("\n" + markdown(["command", "", "of what", "smaller job", "larger job", *of], growth(*asked)))
    return 0


def _asked(server: ThreadedMotoServer, flags: argparse.Namespace, shards: int) -> Asking:
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.session.Session().client("s3", endpoint_url=endpoint, **keys)
    client.create_bucket(Bucket=_BUCKET)
    (tar,) = photos.make_shards(flags.cache, flags.images, flags.images, longest_side=_LONGEST_SIDE).tars
    of_job = {"range_mb": flags.range_mb, "samples_per_shard": flags.samples_per_shard, "clip_model": TINY_UNTRAINED}
    more = {**_KEYS, "s3_endpoint_url": endpoint, **of_job, "report": "false", "ranges_per_ledger_file": 4}
    return asked_by_job(tar, shards, [f"--{name}={value}" for name, value in more.items()], client)


if __name__ == "__main__":
    turn_on()  # as in the command
    sys.exit(main())
