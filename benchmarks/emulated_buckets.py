"""An emulated bucket in this process, and what clients of this process ask of it."""

import contextlib
import logging
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from urllib3.connectionpool import HTTPConnectionPool

BUCKET = "requests"
_KEYS = {"s3_access_key_id": "key", "s3_secret_access_key": "secret", "s3_region_name": "us-east-1"}
_OF_GOOGLE = re.compile(r"/(?P<kind>upload/|download/)?storage/v1/b/[^/?]+(/o(/(?P<name>[^?]*))?)?$")
_NAME_IN_BODY = re.compile(rb'"name": ?"([^"]+)"')


@dataclass(frozen=True)
class Request:
    """One request to a bucket.

    Attributes:
      direction: "write", "list", "read" for an object's bytes, "look" for what it is, or "delete".
      name: of the object; "" where a request is about none, or does not say which.
      span: the bytes of it, as the request says them; "" for all.
    """

    direction: str
    name: str
    span: str = ""


def request_of_s3(method: str, url: str, span: str = "") -> Request:
    """Tells what a request to S3 asks for."""
    split = urllib.parse.urlsplit(url)
    name = urllib.parse.unquote(split.path).removeprefix(f"/{BUCKET}").lstrip("/")
    if not name:
        return Request("delete" if "delete" in split.query else "list", "")
    directions = {"PUT": "write", "POST": "write", "DELETE": "delete", "HEAD": "look"}
    return Request(directions.get(method, "read"), name, span)


def request_of_google(method: str, url: str, span: str = "", body: bytes = b"") -> Request:
    """Tells what a request to Google's JSON API asks for."""
    split = urllib.parse.urlsplit(url)
    found = _OF_GOOGLE.search(split.path)
    if found is None:
        return Request("look", "")
    if found["kind"] == "upload/":
        named = _NAME_IN_BODY.search(body) if method == "POST" else None  # else it is a part of a larger upload
        return Request("write", named[1].decode() if named else "")
    name = urllib.parse.unquote(found["name"] or "")
    if not name:
        return Request("list" if "prefix=" in split.query else "look", "")
    if method == "DELETE":
        return Request("delete", name)
    return Request("read" if "alt=media" in split.query else "look", name, span)


@dataclass(frozen=True)
class Emulator:
    """A service that is emulated.

    Attributes:
      scheme: "s3" or "gs".
      flags: what a command needs to reach it.
      client: the service's own, of the bucket.
    """

    scheme: str
    flags: Sequence[str]
    client: Any

    @property
    def root(self) -> str:
        """The url of the bucket."""
        return f"{self.scheme}://{BUCKET}"

    def put(self, name: str, content: bytes) -> None:
        """Makes an object."""
        if self.scheme == "gs":
            self.client.bucket(BUCKET).blob(name).upload_from_string(content)
        else:
            self.client.put_object(Bucket=BUCKET, Key=name, Body=content)

    def names(self) -> list[str]:
        """Lists the names of all objects."""
        if self.scheme == "gs":
            return [blob.name for blob in self.client.list_blobs(BUCKET)]
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def delete(self, names: Sequence[str]) -> None:
        """Removes objects."""
        for name in names:
            if self.scheme == "gs":
                self.client.bucket(BUCKET).blob(name).delete()
            else:
                self.client.delete_object(Bucket=BUCKET, Key=name)

    @contextlib.contextmanager
    def heard(self) -> Iterator[list[Request]]:
        """Collects the requests that clients of this process make while the block runs."""
        asked: list[Request] = []
        send = HTTPConnectionPool.urlopen

        def noting(pool: HTTPConnectionPool, method: str, url: str, *given: Any, **named: Any) -> Any:
            body, headers = (*given, None, None)[:2]
            asked.append(self._request(method, url, named.get("body", body), named.get("headers", headers) or {}))
            return send(pool, method, url, *given, **named)

        with mock.patch.object(HTTPConnectionPool, "urlopen", noting):
            yield asked

    def _request(self, method: str, url: str, body: Any, headers: Mapping[str, Any]) -> Request:
        given = next((value for name, value in headers.items() if name.lower() == "range"), "")
        span = given.decode() if isinstance(given, bytes) else str(given)
        if self.scheme == "gs":
            return request_of_google(method, url, span, body if isinstance(body, bytes) else b"")
        return request_of_s3(method, url, span)


@contextlib.contextmanager
def emulated(scheme: str) -> Iterator[Emulator]:
    """An emulator with an empty bucket, while the block runs."""
    with _google() if scheme == "gs" else _s3() as emulator:
        yield emulator


@contextlib.contextmanager
def _s3() -> Iterator[Emulator]:
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else each request is a line
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.session.Session().client("s3", endpoint_url=endpoint, **keys)
        client.create_bucket(Bucket=BUCKET)
        flags = {**_KEYS, "s3_endpoint_url": endpoint}
        yield Emulator("s3", [f"--{name}={value}" for name, value in flags.items()], client)
    finally:
        server.stop()


@contextlib.contextmanager
def _google() -> Iterator[Emulator]:
    from gcp_storage_emulator.server import create_server
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    try:
        endpoint = f"http://127.0.0.1:{_port_of(server)}"
        with mock.patch.dict(os.environ, STORAGE_EMULATOR_HOST=endpoint):
            client = storage.Client("test", credentials=AnonymousCredentials())
            client.create_bucket(BUCKET)
            yield Emulator("gs", ["--no_auth"], client)
    finally:
        server.stop()


def _port_of(server: Any) -> int:
    return int(server._api._httpd.server_address[1])
