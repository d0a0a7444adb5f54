"""Finds the service that a url belongs to: one client a scheme and process, because making it takes longer than asking
it."""

from __future__ import annotations

import importlib.util
import threading
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.value_provider import RuntimeValueProvider

from beam_curator.storage.buckets import credentials
from beam_curator.storage.buckets.bucket import Bucket
from beam_curator.storage.fsspec_files import check_scheme

_lock = threading.Lock()
_services: dict[str, tuple[Any, Bucket]] = {}
_NEEDS = {"gs": ("google.cloud.storage", "gcp"), "s3": ("boto3", "aws")}


def bucket_of(url: str) -> Bucket | None:
    """The service that keeps this url's objects, or None for what goes through Beam's file systems.

    Raises:
      ValueError: for a scheme that nobody knows.
      ImportError: when its client is not installed.
      PermissionError: when there are no credentials for it.
    """
    scheme = url.partition("://")[0]
    if "://" not in url:
        return None
    if scheme not in _NEEDS:
        check_scheme(url)
        return None
    # Where Beam's own file systems look: it sets them in every worker, and offers no other way to ask for them.
    options = FileSystems._pipeline_options or RuntimeValueProvider.runtime_options
    with _lock:
        made_with, bucket = _services.get(scheme, (None, None))
        if bucket is None or made_with is not options:
            bucket = _new(scheme, options)
            _services[scheme] = options, bucket
    return bucket


def _new(scheme: str, given: Any) -> Bucket:
    options = given if isinstance(given, PipelineOptions) else PipelineOptions.from_dictionary(given or {})
    module, extra = _NEEDS[scheme]
    if not _is_installed(module):
        raise ImportError(f"{scheme}:// needs a client that is not installed: pip install 'beam-curator[{extra}]'")
    check = credentials.check_google if scheme == "gs" else credentials.check_aws
    check(options)
    if scheme == "gs":
        from beam_curator.storage.buckets.gcs import GcsBucket

        return GcsBucket(options)
    from beam_curator.storage.buckets.s3 import S3Bucket

    return S3Bucket(options)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
