"""Amazon S3, and what speaks its protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apache_beam.io.aws.clients.s3.boto3_client import Client
from apache_beam.options.pipeline_options import PipelineOptions
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError, ResponseStreamingError
from botocore.exceptions import ConnectionError as BotoConnectionError

from beam_curator.storage.buckets.bucket import CONNECTIONS, Bucket, ObjectMetadata, Upload, Versioned, split_url

_AT_ONCE = 1000  # keys that one request deletes
_NOT_AS_IT_WAS = (409, 412)  # written by another in the same moment, and before


@contextlib.contextmanager
def _connecting() -> Iterator[None]:
    """Faults of the connection, as all others raise them: botocore's are no OSErrors."""
    try:
        yield
    except (BotoConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError) as error:
        raise ConnectionError(str(error)) from error


def _client(options: PipelineOptions) -> Any:
    """Beam's client, which is given no configuration but botocore's defaults."""
    defaults = Config.OPTION_DEFAULTS
    before = defaults["max_pool_connections"]
    defaults["max_pool_connections"] = CONNECTIONS
    try:
        return Client(options).client
    finally:
        defaults["max_pool_connections"] = before


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


class S3Bucket(Bucket):
    """s3://, through the client that Beam makes, with its credentials, endpoint and other options.

    Args:
      options: of the pipeline.
    """

    def __init__(self, options: PipelineOptions) -> None:
        self._client = _client(options)

    def read(self, url: str, start: int, end: int | None) -> bytes:
        span = {} if start == 0 and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        try:
            with _connecting(), contextlib.closing(self._client.get_object(**_names(url), **span)["Body"]) as body:
                return body.read()
        except ClientError as error:
            if _status(error) == 416:
                return b""
            raise

    def metadata(self, url: str) -> ObjectMetadata | None:
        try:
            with _connecting():
                head = self._client.head_object(**_names(url))
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise
        return _metadata(url, head["ContentLength"], head)

    def list(self, prefix: str, below: bool = True, after: str = "") -> Iterator[ObjectMetadata]:
        bucket, name = split_url(prefix)
        how = {} if below else {"Delimiter": "/"}
        if after:
            how["StartAfter"] = split_url(after)[1]
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=name, **how)
        with _connecting():
            for page in pages:
                for found in page.get("Contents", ()):
                    yield _metadata(f"s3://{bucket}/{found['Key']}", found["Size"], found)

    def put(self, url: str, content: bytes) -> None:
        with _connecting():
            self._client.put_object(**_names(url), Body=content)

    def begin_upload(self, url: str) -> Upload:
        return _MultipartUpload(self._client, _names(url))

    def delete(self, urls: Sequence[str]) -> None:
        keys: dict[str, list[str]] = {}
        for url in urls:
            bucket, name = split_url(url)
            keys.setdefault(bucket, []).append(name)
        for bucket, names in keys.items():
            for first in range(0, len(names), _AT_ONCE):
                self._delete(bucket, names[first : first + _AT_ONCE])

    def _delete(self, bucket: str, names: Sequence[str]) -> None:
        objects = [{"Key": name} for name in names]
        with _connecting():
            answer = self._client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        refusals = answer.get("Errors", ())
        if refusals:
            first, more = refusals[0], f" (and {len(refusals) - 1:,} more)" if len(refusals) > 1 else ""
            permanent = first.get("Code") in ("AccessDenied", "MethodNotAllowed")
            raise (PermissionError if permanent else OSError)(f"{first['Key']}: {first.get('Message')}{more}")

    def read_versioned(self, url: str) -> Versioned | None:
        try:
            with _connecting():
                found = self._client.get_object(**_names(url))
                with contextlib.closing(found["Body"]) as body:
                    return Versioned(body.read(), found["LastModified"].timestamp(), found["ETag"])
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise

    def put_if(self, url: str, content: bytes, version: str | None) -> bool:
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            with _connecting():
                self._client.put_object(**_names(url), Body=content, **condition)
        except ClientError as error:
            if _status(error) in _NOT_AS_IT_WAS or (version is not None and _status(error) == 404):
                return False
            raise
        return True


def _metadata(url: str, size_bytes: int, answer: Mapping[str, Any]) -> ObjectMetadata:
    """An ETag is a hash of the content, and of how it was cut when it was uploaded in parts."""
    return ObjectMetadata(url, size_bytes, answer["LastModified"].timestamp(), f"etag:{answer['ETag'].strip(chr(34))}")


def _names(url: str) -> dict[str, str]:
    bucket, name = split_url(url)
    return {"Bucket": bucket, "Key": name}


class _MultipartUpload(Upload):
    def __init__(self, client: Any, names: dict[str, str]) -> None:
        self._client = client
        with _connecting():
            self._names = {**names, "UploadId": client.create_multipart_upload(**names)["UploadId"]}
        self._parts: list[dict[str, Any]] = []

    def send(self, part: bytes) -> None:
        number = len(self._parts) + 1
        with _connecting():
            answer = self._client.upload_part(**self._names, PartNumber=number, Body=part)
        self._parts.append({"ETag": answer["ETag"], "PartNumber": number})

    def finish(self, rest: bytes) -> None:
        self.send(rest)
        with _connecting():
            self._client.complete_multipart_upload(**self._names, MultipartUpload={"Parts": self._parts})

    def abort(self) -> None:
        with _connecting():
            self._client.abort_multipart_upload(**self._names)
