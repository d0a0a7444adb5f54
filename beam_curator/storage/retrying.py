"""Errors of storage: which ones are retried, and how the others are reported."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import functools
import logging
import pathlib
import ssl
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from apache_beam.io.filesystem import BeamIOError
from apache_beam.utils import retry

from beam_curator.errors import StorageError, first_line

P = ParamSpec("P")
T = TypeVar("T")

CLOCK = retry.Clock()
"""The clock that waits between attempts; in tests it does not."""

_PERMANENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_PERMANENT_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSALS = {401: "the credentials are not accepted", 403: "no permission", 404: "there is no such bucket or object"}


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and all errors within it. Beam hides the cause in the details of a BeamIOError, or in an OSError
    made of it; adlfs raises a RuntimeError from it."""
    yield error
    hidden: list[Any] = [*error.args, error.__cause__ if isinstance(error, (StorageError, RuntimeError)) else None]
    if isinstance(error, BeamIOError):
        hidden += (error.exception_details or {}).values()
    for cause in hidden:
        if isinstance(cause, BaseException):
            yield from causes_of(cause)


def _is_transient(error: BaseException) -> bool:
    causes = [cause for cause in causes_of(error) if not isinstance(cause, StorageError)]
    return any(map(_may_pass, causes)) and not any(map(_is_permanent, causes))


def _may_pass(error: BaseException) -> bool:
    """Tells whether an error may be gone at the next attempt. Clients of storage share no type of error for this."""
    if isinstance(error, (OSError, asyncio.TimeoutError)) or getattr(error, "retryable", False) is True:
        return True
    return _http_status(error) is not None or not _CONNECTION_FAULTS.isdisjoint(_kinds(error))


_CONNECTION_FAULTS = frozenset(
    (
        *("ClientConnectionError", "ClientPayloadError"),  # aiohttp's
        *("ServiceRequestError", "ServiceResponseError"),  # Azure's
        *("TransportError", "ConnectionError", "Timeout"),  # httpx's and requests'
        "RetryError",  # Google's, of what it has asked for again for a while
    )
)
"""The names that clients of storage give a connection that was not made, or broke: of few it is an OSError."""


def _is_permanent(error: BaseException) -> bool:
    status = _http_status(error)
    refused = status is not None and status < 500 and status not in (408, 429)  # not a timeout, nor too many requests
    return isinstance(error, _PERMANENT) or refused or getattr(error, "errno", None) in _PERMANENT_NUMBERS


def _http_status(error: BaseException) -> int | None:
    """The status of an HTTP answer: Google's errors have it as their code, aiohttp's as their status, Azure's as their
    status_code, botocore's, httpx's and requests' in the answer itself."""
    answer = getattr(error, "response", None)
    told = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
    if told is None:
        names = (name for name in ("status", "code", "status_code") if isinstance(getattr(error, name, None), int))
        told = next((getattr(error, name) for name in names), getattr(answer, "status_code", None))
    return int(told) if isinstance(told, int) else None


def is_absent(error: BaseException) -> bool:
    """Tells whether what was asked for is not there: buckets say so by the status of their answer."""
    return any(isinstance(cause, FileNotFoundError) or _http_status(cause) == 404 for cause in causes_of(error))


def why_permanent(error: BaseException) -> str | None:
    """Says why a file can never be read, as text without its name. None if it may be readable later: storage is down,
    credentials have expired, or the error does not tell."""
    causes = list(causes_of(error))
    if any("ContentEncodingError" in _kinds(cause.__cause__) for cause in causes):  # aiohttp's
        return "its server sends it compressed as nobody can undo it"
    if _is_transient(error) or any(map(_is_of_credentials, causes)) or not any(map(_is_of_the_file, causes)):
        return None
    known = next((why for type, why in _WHY.items() if any(isinstance(cause, type) for cause in causes)), None)
    return known or _reason(error)


def _is_of_the_file(error: BaseException) -> bool:
    """Tells whether an error says that a file is not there, or not to be had; or that what it is called can be no
    name."""
    says_so = _is_permanent(error) or isinstance(error, ValueError) or _is_led_astray(error)
    return says_so and getattr(error, "errno", None) not in _FULL


def _is_led_astray(error: BaseException) -> bool:
    """Tells whether a server sends whoever asks on to what is no url of the web, or round in a circle."""
    return not _kinds(error).isdisjoint(("RedirectClientError", "TooManyRedirects"))  # aiohttp's


def _kinds(error: BaseException | None) -> set[str]:
    """Names an error's type and all its bases: so types of clients that may be absent are told without an import."""
    return {base.__name__ for base in type(error).__mro__}


def _is_of_credentials(error: BaseException) -> bool:
    """Tells whether a service of storage does not know who asks: that is said of all files alike, until they are
    renewed."""
    answer = getattr(error, "response", None)
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return code in _OF_CREDENTIALS or (_http_status(error) == 401 and not hasattr(error, "request_info"))


_OF_CREDENTIALS = frozenset(
    (
        *("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"),
        *("SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired"),
    )
)
"""S3's codes."""


_WHY: dict[type[BaseException], str] = {
    FileNotFoundError: "no such file",
    PermissionError: "permission denied",
    IsADirectoryError: "a directory, not a file",
}


_SHOWN_OF_A_SERVER = 200
"""So many characters of what a server answers stand in a message, or in a row's reason."""


def _reason(error: BaseException) -> str:
    """The innermost cause of an error in one line, in the operating system's words if it has any."""
    cause = next(cause for cause in causes_of(error) if len(list(causes_of(cause))) == 1)
    if isinstance(cause, ssl.SSLCertVerificationError) and not trusts_anyone():
        return "this machine has no certificates to check a host's by: install ca-certificates"
    if getattr(cause, "errno", None) in _FULL:
        return f"the disk is full ({getattr(cause, 'strerror', None)})"
    if _is_led_astray(cause):
        return "its server sends on to what is no url of the web, or in a circle"
    if "InvalidURL" in _kinds(cause):  # aiohttp's says the url alone
        return "this is no url that a server can be asked for"
    told = getattr(cause, "strerror", None) or _told(cause).removesuffix(" with exceptions None")
    status = _http_status(cause)
    if hasattr(cause, "request_info") and (message := getattr(cause, "message", "")):  # aiohttp's; else with the url
        # What is no HTTP is shown in several lines, and however long it is.
        told = textwrap.shorten(f"HTTP {status} {message}", _SHOWN_OF_A_SERVER, placeholder=" ...")
    refusal = _REFUSALS.get(status or 0)
    return f"{refusal} ({told})" if refusal else told


def trusts_anyone() -> bool:
    """Tells whether this machine has certificates of authorities: without, no host's is valid."""
    directory = ssl.get_default_verify_paths().capath
    in_directory = directory is not None and any(pathlib.Path(directory).iterdir())
    return in_directory or ssl.create_default_context().cert_store_stats()["x509_ca"] > 0


def _told(error: BaseException) -> str:
    """Gives the message of an error; Google's of credentials print all that they were made of."""
    told = error.args[0] if error.args and hasattr(error, "retryable") else error
    return first_line(told if isinstance(told, BaseException) else Exception(told))


def _log_retry(template: str, seconds: float, operation: str, error: str, trace: str) -> None:
    """Logs in one line what Beam would log with a traceback: seen where somebody may wonder what a job waits for."""
    global _last_told
    now = time.monotonic()
    waits = now + seconds - (_within.get() or now)
    told = waits >= PATIENCE_SECONDS and now - _last_told >= TOLD_EVERY_SECONDS
    _last_told = now if told else _last_told
    level = logging.WARNING if told else logging.INFO
    what = error.strip().removeprefix(f"{StorageError.__module__}.{StorageError.__qualname__}: ")
    logging.getLogger(__name__).log(level, "%s; trying again in %.1f s", what, seconds)


_with_backoff = retry.with_exponential_backoff(
    num_retries=4, initial_delay_secs=0.5, factor=3, retry_filter=_is_transient, logger=_log_retry, clock=CLOCK
)
_within: contextvars.ContextVar[float | None] = contextvars.ContextVar("within", default=None)
"""Since when an operation is tried, by the monotonic clock."""

PATIENCE_SECONDS, TOLD_EVERY_SECONDS = 10.0, 30.0
"""An operation that takes longer is told to whoever waits, one line of all at a time; most faults pass before."""

_last_told = -TOLD_EVERY_SECONDS


def retried(operation: Callable[P, T]) -> Callable[P, T]:
    """Decorates what reads or writes: transient faults (not missing files, permissions or a full disk) are tried again
    with backoff, four times over about 20 seconds.

    All of the operation is tried again, so it must not have given anything away: no generators. What is called inside
    another one is left to that one, or their attempts would multiply.
    """
    persistent = _with_backoff(operation)

    @functools.wraps(operation)
    def once_retried(*args: P.args, **kwargs: P.kwargs) -> T:
        if _within.get() is not None:
            return operation(*args, **kwargs)
        outside = _within.set(time.monotonic())
        try:
            return persistent(*args, **kwargs)
        finally:
            _within.reset(outside)

    return once_retried


@contextlib.contextmanager
def naming(doing: str, url: str) -> Iterator[None]:
    """Turns errors raised inside the block into a `StorageError` that says what could not be done with which file.

    Args:
      doing: the verb for the message, such as "read".
      url: the file.

    Raises:
      StorageError: in place of any other error but MemoryError.
    """
    try:
        yield
    except (StorageError, MemoryError):
        raise
    except Exception as error:
        raise StorageError(f"cannot {doing} {url}: {_reason(error)}") from error
