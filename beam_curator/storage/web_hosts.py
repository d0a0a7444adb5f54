"""Hosts of the web that are gone: what says so, and which ones were found to be.

A list of urls names many hosts, some of which are gone for good: nobody knows their name, nobody listens there, or
their certificate is not theirs. That is an answer, and the same one tomorrow. A host that says nothing, or that it is
not able to just now, has given none: it may be back in an hour, so that what it has must not be taken for lost. Nor has
one that this machine cannot ask, for it has no network, or nothing to check certificates by.
"""

from __future__ import annotations

import errno
import socket
import ssl
from urllib.parse import urlsplit

from beam_curator.storage.retrying import causes_of, trusts_anyone

_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_OF_HOSTS = "its host"
_gone: set[str] = set()


def why_gone(url: str, error: BaseException) -> str | None:
    """Says why the host of a url will not give it tomorrow either; None where that is not known, and for no url of the
    web.

    Args:
      url: what could not be read, after retries.
      error: what was raised.
    """
    host = _host(url)
    if host is None:
        return None
    causes = list(causes_of(error))
    if any(isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for cause in causes):
        return None  # a connection that broke: clients wrap that as any error of TLS
    why = next((why for cause in causes if (why := _why(cause)) is not None), None)
    if why is None:
        return None
    _gone.add(host)
    return why


def is_of_a_host(reason: str) -> bool:
    """Tells whether this is a reason that `why_gone` gave: another host would have another answer."""
    return reason.startswith(_OF_HOSTS)


def is_known_to_be_gone(url: str) -> bool:
    """Tells whether another url of the same host was asked for in vain, so that one attempt is enough."""
    return bool(_gone) and _host(url) in _gone


def _host(url: str) -> str | None:
    if not url.lower().startswith(("http://", "https://")):
        return None
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or None
    except ValueError:
        return None


def _why(cause: BaseException) -> str | None:
    if isinstance(cause, socket.gaierror):
        return f"{_OF_HOSTS} is not known" if cause.errno in _NO_SUCH_NAME and _has_network() else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{_OF_HOSTS}'s certificate is not valid" if trusts_anyone() else None
    if isinstance(cause, ssl.SSLError):
        return f"{_OF_HOSTS} does not speak TLS as it is spoken today"
    refused = isinstance(cause, ConnectionRefusedError) or getattr(cause, "errno", None) == errno.ECONNREFUSED
    return f"{_OF_HOSTS} refuses connections" if refused else None


def _has_network() -> bool:
    """Tells whether this machine has a way to other machines: without one, no name is known. Nothing is sent."""
    for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):  # of documentation
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asked:
                asked.connect((address, 9))
        except OSError:
            continue
        return True
    return False
