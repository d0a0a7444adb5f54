"""Google Cloud Storage."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import requests
from apache_beam.io.gcp.gcsio import create_storage_client
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from google.api_core.exceptions import (
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RequestRangeNotSatisfiable,
    from_http_response,
)
from google.cloud.storage import Blob
from google.cloud.storage.fileio import BlobWriter
from google.cloud.storage.retry import DEFAULT_RETRY

from beam_curator.storage.buckets.bucket import (
    CONNECTIONS,
    PART_BYTES,
    Bucket,
    ObjectMetadata,
    Upload,
    Versioned,
    split_url,
)

CONTENT_TYPE = "application/octet-stream"
_DELETING_THREADS = 8
_ATTEMPTS = 10
_RETRY = DEFAULT_RETRY.with_timeout(30)  # of one request; who calls tries again as well


class GcsBucket(Bucket):
    """gs://, through the client that Beam makes, with its credentials and options.

    Args:
      options: of the pipeline.
    """

    def __init__(self, options: PipelineOptions) -> None:
        no_auth = options.view_as(GoogleCloudOptions).no_auth
        self._client = create_storage_client(options, use_credentials=not no_auth)
        for adapter in self._client._http.adapters.values():
            adapter.init_poolmanager(CONNECTIONS, CONNECTIONS)

    def _blob(self, url: str) -> Blob:
        bucket, name = split_url(url)
        return self._client.bucket(bucket).blob(name)

    def read(self, url: str, start: int, end: int | None) -> bytes:
        last = None if end is None else end - 1
        try:
            # Raw: an object with a Content-Encoding would come decompressed, at other offsets.
            return self._blob(url).download_as_bytes(
                start=start or None, end=last, raw_download=True, checksum=None, retry=_RETRY
            )
        except RequestRangeNotSatisfiable:
            return b""

    def metadata(self, url: str) -> ObjectMetadata | None:
        bucket, name = split_url(url)
        blob = self._client.bucket(bucket).get_blob(name, retry=_RETRY)
        return None if blob is None else _metadata(url, blob)

    def list(self, prefix: str, below: bool = True, after: str = "") -> Iterator[ObjectMetadata]:
        bucket, name = split_url(prefix)
        how: dict[str, Any] = {} if below else {"delimiter": "/"}
        if after:
            how["start_offset"] = split_url(after)[1]
        fields = "items(name,size,updated,crc32c,generation),nextPageToken"
        for blob in self._client.list_blobs(bucket, prefix=name, fields=fields, retry=_RETRY, **how):
            yield _metadata(f"gs://{bucket}/{blob.name}", blob)

    def put(self, url: str, content: bytes) -> None:
        self._blob(url).upload_from_string(content, content_type=CONTENT_TYPE, retry=_RETRY)

    def begin_upload(self, url: str) -> Upload:
        return _ResumableUpload(self._blob(url))

    def delete(self, urls: Sequence[str]) -> None:
        with concurrent.futures.ThreadPoolExecutor(_DELETING_THREADS) as threads:
            list(threads.map(self._delete, urls))

    def _delete(self, url: str) -> None:
        with contextlib.suppress(NotFound):
            self._blob(url).delete(retry=_RETRY)

    def read_versioned(self, url: str) -> Versioned | None:
        bucket, name = split_url(url)
        for _ in range(_ATTEMPTS):
            blob = self._client.bucket(bucket).get_blob(name, retry=_RETRY)
            if blob is None:
                return None
            generation = blob.generation  # which downloading changes, where an answer does not tell it
            with contextlib.suppress(NotFound, PreconditionFailed):  # written again in between: asked again
                content = blob.download_as_bytes(
                    raw_download=True, checksum=None, if_generation_match=generation, retry=_RETRY
                )
                return Versioned(content, blob.updated.timestamp(), str(generation))
        raise OSError("it is written again all the time")

    def put_if(self, url: str, content: bytes, version: str | None) -> bool:
        try:
            self._blob(url).upload_from_string(
                content, content_type=CONTENT_TYPE, if_generation_match=int(version or 0), retry=_RETRY
            )
        except PreconditionFailed:
            return False
        return True


def _metadata(url: str, blob: Blob) -> ObjectMetadata:
    """Makes an object's metadata. Every object has a CRC-32C; one that a service without it holds is told by its
    generation."""
    content = f"crc32c:{blob.crc32c}" if blob.crc32c else f"generation:{blob.generation}"
    return ObjectMetadata(url, blob.size, blob.updated.timestamp(), content)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """A refused part of an upload, as other refusals are raised: what is raised for it has moved between releases."""
    try:
        yield
    except Exception as error:
        answer = getattr(error, "response", None)
        if isinstance(answer, requests.Response) and not isinstance(error, GoogleAPICallError):
            raise from_http_response(answer) from error
        raise


class _Writer(BlobWriter):
    def __del__(self) -> None:
        """Closes nothing: io's own finalizer would publish what an abandoned writer holds."""


class _ResumableUpload(Upload):
    def __init__(self, blob: Blob) -> None:
        self._writer = _Writer(blob, chunk_size=PART_BYTES, content_type=CONTENT_TYPE, retry=_RETRY)

    def send(self, part: bytes) -> None:
        with _answering():
            self._writer.write(part)

    def finish(self, rest: bytes) -> None:
        with _answering():
            self._writer.write(rest)
            self._writer.close()

    def abort(self) -> None:
        self._writer.terminate()
