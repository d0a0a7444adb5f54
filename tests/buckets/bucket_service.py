"""A bucket's service as tests see it: its emulator, the proxy before it, and what a job needs to reach it."""

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator.storage import directories
from tests.buckets.proxy import Proxy, TokenServer

_buckets = itertools.count()


@dataclasses.dataclass
class Service:
    """One of the two services.

    Attributes:
      scheme: "gs" or "s3".
      proxy: what counts and fails.
      flags: what a command needs to reach it.
      environment: what a process needs to reach it.
      client: the service's own client, past the proxy.
      tokens: what gives it tokens, if it needs any.
    """

    scheme: str
    proxy: Proxy
    flags: Sequence[str]
    environment: Mapping[str, str]
    client: Any
    tokens: TokenServer | None = None

    def new_bucket(self):
        """The url of a bucket of its own."""
        name = f"bucket-{next(_buckets)}"
        if self.scheme == "gs":
            self.client.create_bucket(name)
        else:
            self.client.create_bucket(Bucket=name)
        return f"{self.scheme}://{name}"

    def put_directory(self, directory, url):
        """Copies a local directory into a bucket, past the proxy."""
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self.put(f"{url}/{path.relative_to(directory)}", path.read_bytes())

    def put(self, url, content):
        bucket, _, name = url.removeprefix(f"{self.scheme}://").partition("/")
        if self.scheme == "gs":
            self.client.bucket(bucket).blob(name).upload_from_string(content)
        else:
            self.client.put_object(Bucket=bucket, Key=name, Body=content)

    def put_many(self, url, names):
        """Puts small objects of these names."""
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: self.put(f"{url}/{name}", b"x"), names))

    def contents(self, url):
        """All objects under a url, by what follows it, past the proxy."""
        bucket, _, prefix = f"{url}/".removeprefix(f"{self.scheme}://").partition("/")
        if self.scheme == "gs":
            blobs = list(self.client.list_blobs(bucket, prefix=prefix))
            return {blob.name.removeprefix(prefix): blob.download_as_bytes(checksum=None) for blob in blobs}
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {key.removeprefix(prefix): self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def names(self, url):
        return sorted(metadata.path.removeprefix(f"{url}/") for metadata in directories.list_files(url, "**"))

    def unfinished_uploads(self, url):
        """Lists what uploads that were given up have left: S3 keeps it, and counts it, until it is aborted."""
        if self.scheme == "gs":
            return []  # sessions of uploads cannot be listed there, cost nothing, and end by themselves
        listed = self.client.list_multipart_uploads(Bucket=url.removeprefix("s3://"))
        return [upload["Key"] for upload in listed.get("Uploads", [])]
