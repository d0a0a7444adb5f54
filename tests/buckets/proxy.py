"""Stands between a job and an emulator: counts requests and bytes, and fails as it is told to."""

import collections
import contextlib
import dataclasses
import http.client
import json
import re
import socket
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.patience import HANG_SECONDS

_PIECE_BYTES = 64 << 10


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A request and its answer."""

    method: str
    path: str
    range: str
    status: int
    sent_bytes: int


@dataclasses.dataclass
class Fault:
    """The next `times` requests that match fail: with a status, or in the middle of the body where it is None."""

    method: str
    path: str
    status: int | None
    times: int = 1_000_000
    body: bytes = b""


class Proxy:
    """A server of its own thread, in front of another.

    Attributes:
      exchanges: what has passed.
      faults: what is to fail.
      conditions: held while an upload goes through that depends on what stands there.
    """

    def __init__(self, upstream_port):
        self.exchanges, self.faults = [], []
        self._lock, self.conditions = threading.Lock(), threading.Lock()
        handler = type("_Handler", (_Forwarding,), {"proxy": self, "upstream_port": upstream_port})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def reset(self):
        with self._lock:
            self.exchanges.clear()
            self.faults.clear()

    def add(self, exchange):
        with self._lock:
            self.exchanges.append(exchange)

    def fault_for(self, method, path):
        with self._lock:
            for fault in self.faults:
                if fault.times and re.fullmatch(fault.method, method) and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def reads_of(self, name):
        """The requests that read an object's bytes."""
        found = [one for one in self.exchanges if one.method == "GET" and one.status in (200, 206)]
        return [one for one in found if _is_object(one.path, name)]

    def bytes_read(self, name):
        return sum(one.sent_bytes for one in self.reads_of(name))

    def counts(self):
        """Counts the requests of each method, but for those that Google's client asks about the bucket itself."""
        about_objects = [one for one in self.exchanges if not re.search(r"/storage/v1/b/[^/?]+(\?|$)", one.path)]
        return collections.Counter(one.method for one in about_objects)


def _is_object(path, name):
    """Tells whether a request is for an object's bytes: S3 has its name in the path; GCS too, with alt=media."""
    plain, _, query = path.replace("%2F", "/").partition("?")
    is_gcs = "/storage/v1/" in plain
    return plain.endswith(f"/{name}") and (not is_gcs or "alt=media" in query)


class _Forwarding(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    upstream_port: int

    def log_message(self, format, *args):
        """Says nothing."""

    def _forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.fault_for(self.command, self.path)
        if fault is not None and fault.status is not None:
            self._answer(fault.status, {"Content-Type": "application/xml"}, fault.body)
            return
        with self._kept_condition(body) as holds:
            if not holds:
                self._answer(412, {"Content-Type": "application/json"}, b"{}")
                return
            answer, headers, content = self._passed_on(body)
        self._answer(answer.status, headers, content, cut=fault is not None)

    @contextlib.contextmanager
    def _kept_condition(self, body):
        """Tells whether an upload's ifGenerationMatch holds, while the block runs: the emulator from PyPI does not
        look."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        wanted = query.get("ifGenerationMatch")
        if self.command != "POST" or wanted is None:
            yield True
            return
        bucket = re.search(r"/b/([^/]+)/o", self.path)[1]
        name = query.get("name") or [json.loads(re.search(rb"\{.*?\}", body, re.DOTALL)[0])["name"]]
        with self.proxy.conditions:
            yield self._generation(bucket, name[0]) == wanted[0]

    def _generation(self, bucket, name):
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=HANG_SECONDS)
        with contextlib.closing(upstream):
            upstream.request("GET", f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}")
            answer = upstream.getresponse()
            content = answer.read()
        return json.loads(content)["generation"] if answer.status == 200 else "0"

    def _passed_on(self, body):
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=HANG_SECONDS)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            headers = {n: v for n, v in answer.getheaders() if n.lower() not in ("transfer-encoding", "connection")}
        return answer, headers, content

    def _answer(self, status, headers, content, cut=False):
        given = content[: len(content) // 2] if cut else content
        self.proxy.add(Exchange(self.command, self.path, self.headers.get("Range", ""), status, len(given)))
        self.send_response_only(status)
        length = {} if any(name.lower() == "content-length" for name in headers) else {"Content-Length": len(content)}
        for name, value in {**headers, **length}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            for first in range(0, len(given), _PIECE_BYTES):
                self.wfile.write(given[first : first + _PIECE_BYTES])
        if cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _forward  # noqa: N815 (as the library names them)


class TokenServer:
    """Gives Google's clients a token for their key.

    Attributes:
      refuses: whether it takes the key for a wrong one.
    """

    def __init__(self):
        self.refuses = False
        handler = type("_Handler", (_Tokens,), {"tokens": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def key_file(self, path):
        """Writes the key of a service account that gets its tokens here."""
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {"type": "service_account", "client_email": "worker@test", "project_id": "test"}
        uri = f"http://127.0.0.1:{self._server.server_port}/token"
        path.write_text(json.dumps({**account, "private_key": pem.decode(), "token_uri": uri}))

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Tokens(BaseHTTPRequestHandler):
    tokens: TokenServer

    def log_message(self, format, *args):
        """Says nothing."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        token = {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}
        refusal = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        answer = json.dumps(refusal if self.tokens.refuses else token).encode()
        self.send_response(400 if self.tokens.refuses else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
