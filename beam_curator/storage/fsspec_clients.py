"""Limits how long the clients behind fsspec wait for a place that does not answer.

What is `retried` asks five times over some 20 seconds; a client that does so itself in each of these makes minutes of
it, in which a job says nothing.

The limit is not for all: `huggingface_hub` asks six times over 23 seconds, and no setting of it says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fsspec.config import conf

_WEB = ("http", "https")
_AZURE = ("abfs", "abfss", "az")

CONNECT_SECONDS, READ_SECONDS = 10, 20
"""For a connection to a host of the web, and for its next bytes. fsspec asks for each file in two ways."""


def options_of(scheme: str) -> Mapping[str, Any]:
    """Makes the options of a scheme's file system, beside what the user's configuration of fsspec says."""
    if scheme not in _WEB:
        return {}
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=300, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    configured = {name: value for one in _WEB for name, value in conf.get(one, {}).get("client_kwargs", {}).items()}
    return {"client_kwargs": {"timeout": timeout, **configured}}


def leave_retries_to_us(scheme: str, fs: Any) -> None:
    """Has the client of a file system ask once. Azure's would ask four times over 85 seconds; adlfs gives it no
    arguments, so that its policy is changed, which all that it makes share."""
    if scheme in _AZURE:
        fs.service_client._config.retry_policy.total_retries = 0
