"""Storage by fsspec behind the door that all storage has: its memory file system, and a web server on loopback."""

import contextlib
import functools
import gzip
import http.server
import io
import re
import socket
import ssl
import threading
import uuid
from typing import ClassVar

import aiohttp
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from beam_curator.commands import curate_images, verify_output
from beam_curator.errors import StorageError
from beam_curator.samples import Shard
from beam_curator.sources import matching
from beam_curator.sources.listed_files import record_of
from beam_curator.sources.listing import Entry
from beam_curator.sources.sidecars import sidecar_rows
from beam_curator.storage import conditional_writing, directories, files, fsspec_files, retrying, web_hosts
from tests.ports import closed_port
from tests.tars import tar_bytes

TINY = [
    *("--clip_model", "tiny-untrained", "--min_aesthetic", "none", "--max_nsfw", "none", "--range_mb", "0.01"),
    *("--report", "false"),
]


def jpeg(shade):
    file = io.BytesIO()
    Image.new("RGB", (70, 70), (shade, 255 - shade, 90)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def place():
    """A directory in memory."""
    root = f"memory://{uuid.uuid4().hex}"
    yield root
    memory = fsspec.filesystem("memory")
    if memory.exists(root):
        memory.rm(root, recursive=True)


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves files, and parts of them, as real servers do and the standard library's does not."""

    def send_head(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        file = super().send_head() if wanted is None else None
        if wanted is None:
            return file
        with open(self.translate_path(self.path), "rb") as content:  # noqa: PTH123
            data = content.read()
        first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        return io.BytesIO(data[first : last + 1])

    def end_headers(self):
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *_):
        """Says nothing."""


@contextlib.contextmanager
def serving(handler):
    """While the block runs, a web server has this handler; gives its host and port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def web(tmp_path):
    """A directory, and the url under which it is served."""
    directory = tmp_path / "served"
    directory.mkdir()
    with serving(functools.partial(Ranges, directory=str(directory))) as host:
        yield directory, f"http://{host}"


def test_files_are_written_whole_listed_read_and_deleted(place):
    for name in ("a/0.bin", "a/b/1.bin"):
        files.write_bytes(place, name, name.encode())
    listed = directories.list_files(f"{place}/a", "**")
    assert [metadata.path for metadata in listed] == [f"{place}/a/0.bin", f"{place}/a/b/1.bin"]
    assert files.read_bytes(f"{place}/a/b/1.bin") == b"a/b/1.bin"
    assert files.size_of(f"{place}/a/0.bin") == 7
    with contextlib.suppress(ZeroDivisionError), files.atomic_writer(place, "c.bin") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert not files.exists(f"{place}/c.bin")
    files.delete([f"{place}/a/0.bin", f"{place}/never.bin"])
    assert not files.exists(f"{place}/a/0.bin")
    with pytest.raises(StorageError, match="cannot read memory://"):
        files.read_bytes(f"{place}/a/0.bin")


def test_directories_globs_and_what_is_missing(place):
    for name in ("raw/x/0.tar", "raw/x/1.tar", "raw/note.txt"):
        files.write_bytes(place, name, b"x")
    names = [f"{place}/raw/x/0.tar", f"{place}/raw/x/1.tar"]
    for pattern in ("raw/x/", "raw/", "raw/x/*.tar", "raw/**/?.tar", "raw/x/{0,1}.tar"):
        assert [one.path for one in matching.find([f"{place}/{pattern}"]).files] == names
    (missing,) = matching.find([f"{place}/gone.tar"]).missing
    assert missing.name == f"{place}/gone.tar"


def test_a_file_that_is_created_meanwhile_is_left_alone(place, monkeypatch):
    url = f"{place}/leases/job.lease"
    assert conditional_writing.create(url, b"first")
    monkeypatch.setattr(files, "exists", lambda _: False)  # as it was a moment before
    assert not fsspec_files.create(url, b"second")
    monkeypatch.undo()
    assert not conditional_writing.create(url, b"second")
    assert conditional_writing.create(url, b"first")  # a write whose answer was lost
    assert files.read_bytes(url) == b"first"


@pytest.mark.slow
def test_a_whole_job_reads_and_writes_there(place, capsys):
    rows = [{"image": {"bytes": jpeg(index), "path": None}, "text": str(index)} for index in range(12)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=4)
    files.write_bytes(place, "hub/data/train-0.parquet", sink.getvalue().to_pybytes())
    files.write_bytes(place, "hub/README.md", b"")
    flags = ["--input", f"{place}/hub/", "--output", f"{place}/out", *TINY]
    assert curate_images.main(flags) == 0
    assert "12 kept + 0 dropped + 0 failed = 12 seen" in capsys.readouterr().out
    assert curate_images.main(flags) == 0
    assert "(12 had been scored before)" in capsys.readouterr().out
    assert verify_output.main([f"{place}/out"]) == 0


@pytest.mark.slow
def test_a_list_of_urls_is_read_and_what_is_not_there_fails_by_row(web, waits, tmp_path, capsys):
    directory, url = web
    taken, nobody = closed_port()
    (directory / "a.jpg").write_bytes(jpeg(1))
    (directory / "b").write_bytes(jpeg(2))
    (directory / "page.jpg").write_bytes(b"<html>")
    (tmp_path / "list.csv").write_text(
        f"url,text\n{url}/a.jpg?w=1.5,a\n{url}/b,b\n{url}/gone.jpg,c\n{url}/page.jpg,d\nhttp://{nobody}/e.jpg,e\n"
    )
    with taken:
        flags = ["--input", str(tmp_path / "list.csv"), "--output", str(tmp_path / "out"), *TINY]
        assert curate_images.main(flags) == 0
        told = capsys.readouterr().out
        assert "2 kept + 0 dropped + 3 failed = 5 seen" in told
        assert "1  no such file" in told
        assert "1  its host refuses connections" in told
        assert verify_output.main([str(tmp_path / "out")]) == 0


class NoSizes(http.server.BaseHTTPRequestHandler):
    """Sends CONTENT without saying how large it is: /chunks.jpg, /gzip.jpg, and a half of it as /half.jpg. It says of
    /none.jpg that it is compressed, which it is not; and to ask about any of them by HEAD is answered with 501."""

    CONTENT = jpeg(3)
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        if self.path in ("/gzip.jpg", "/none.jpg"):
            packed = gzip.compress(self.CONTENT) if self.path == "/gzip.jpg" else self.CONTENT
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        half = len(self.CONTENT) // 2
        self.wfile.write(b"%x\r\n%b\r\n" % (half, self.CONTENT[:half]))
        if self.path == "/half.jpg":
            self.close_connection = True
            return
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(self.CONTENT) - half, self.CONTENT[half:]))

    def log_message(self, *_):
        """Says nothing."""


def test_an_image_whose_server_does_not_say_its_size_is_read_whole_or_asked_for_again(waits):
    with serving(NoSizes) as host:
        for name in ("chunks", "gzip"):
            record = record_of(Entry("a", "a", f"http://{host}/{name}.jpg"))
            assert (record.failure, bytes(record.members["jpg"])) == (None, NoSizes.CONTENT)
        assert waits == []
        with pytest.raises(StorageError, match=r"cannot read http://.*/half.jpg"):
            record_of(Entry("a", "a", f"http://{host}/half.jpg"))
        assert len(waits) == 4
        failure = record_of(Entry("a", "a", f"http://{host}/none.jpg")).failure
        assert failure == "its server sends it compressed as nobody can undo it"


class Odd(http.server.BaseHTTPRequestHandler):
    """Sends CONTENT as /large.jpg, never a part of it, and says by HEAD that it is small; sends who asks for /ftp.jpg
    and /circle.jpg elsewhere; and answers /other.jpg with what is no HTTP."""

    CONTENT = jpeg(4) + bytes(17 << 20)
    ASKED: ClassVar[list[str]] = []

    def do_GET(self):
        self.ASKED.append(f"{self.command} {self.path}")
        if self.path == "/other.jpg":
            self.wfile.write(b"220 welcome\r\n\r\n")
        elif self.path == "/noise.jpg":
            self.wfile.write(bytes(range(255, 0, -1)) * 100)
        elif self.path == "/large.jpg":
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.CONTENT) if self.command == "GET" else 10))
            self.end_headers()
            self.wfile.write(self.CONTENT if self.command == "GET" else b"")
        else:
            self.send_response(302)
            self.send_header("Location", {"/ftp.jpg": "ftp://host/a.jpg"}.get(self.path, self.path))
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815 (its name in the standard library)

    def log_message(self, *_):
        """Says nothing."""


def test_an_image_of_the_web_is_one_request_whatever_its_server_says_of_sizes_and_parts(waits):
    with serving(Odd) as host:
        Odd.ASKED.clear()
        record = record_of(Entry("a", "a", f"http://{host}/large.jpg"))
    assert record.failure is None
    assert record.members["jpg"] == Odd.CONTENT
    assert Odd.ASKED == ["GET /large.jpg"]


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("ftp", "its server sends on to what is no url of the web, or in a circle"),
        ("circle", "its server sends on to what is no url of the web, or in a circle"),
        ("other", "HTTP 400 Bad status line"),
        ("noise", "HTTP 400 Bad status line"),
    ],
)
def test_an_answer_that_leads_nowhere_is_a_failed_row_with_a_reason_of_one_line(waits, name, failure):
    with serving(Odd) as host:
        told = record_of(Entry("a", "a", f"http://{host}/{name}.jpg")).failure
    assert told.startswith(failure)
    assert "\n" not in told
    assert len(told) <= 200
    assert waits == []


class Statuses(http.server.BaseHTTPRequestHandler):
    """Answers /503.jpg with that status, and /0.jpg with nothing at all."""

    def do_GET(self):
        status = int(self.path.strip("/").split(".")[0])
        if status:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        self.close_connection = True

    do_HEAD = do_GET  # noqa: N815 (its name in the standard library)

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def statuses():
    with serving(Statuses) as host:
        yield host


@pytest.fixture
def waits(waits, monkeypatch):
    """Collects waits as everywhere; and no host is known to be gone."""
    monkeypatch.setattr(web_hosts, "_gone", set())
    monkeypatch.setattr(socket, "getaddrinfo", functools.partial(addresses, socket.getaddrinfo))
    return waits


def addresses(of_the_system, host, *args, **kwargs):
    """Gives the addresses that the system knows; also where there is no network, nosuch.invalid is a name that nobody
    has."""
    if host == "nosuch.invalid":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return of_the_system(host, *args, **kwargs)


@pytest.mark.parametrize(
    ("path", "failure"),
    [
        ("404.jpg", "no such file"),
        ("403.jpg", "no permission (HTTP 403 Forbidden)"),
        ("410.jpg", "HTTP 410 Gone"),
    ],
)
def test_what_a_server_will_never_give_is_a_failed_row_at_once(statuses, waits, path, failure):
    assert record_of(Entry("a", "a", f"http://{statuses}/{path}")).failure == failure
    assert waits == []


@pytest.mark.parametrize("path", ["503.jpg", "429.jpg", "0.jpg"])
def test_a_server_that_cannot_just_now_is_asked_again_and_then_ends_the_job(statuses, waits, path):
    """It may be back in an hour: its images are not lost. fsspec says of each of them that there is no such file."""
    for asked in (lambda url: record_of(Entry("a", "a", url)), files.exists, files.size_of):
        with pytest.raises(StorageError, match=f"http://{statuses}/{path}: "):
            asked(f"http://{statuses}/{path}")
    assert len(waits) == 12, "four times for each"


def test_a_host_that_is_gone_is_a_failed_row_and_waited_for_once(statuses, waits, monkeypatch):
    monkeypatch.setattr(web_hosts, "_has_network", lambda: True)
    taken, nobody = closed_port()
    with taken:
        for urls, failure in [
            ([f"http://{nobody}/{n}.jpg" for n in range(3)], "its host refuses connections"),
            ([f"http://nosuch.invalid/{n}.jpg" for n in range(3)], "its host is not known"),
            ([f"https://{statuses}/{n}.jpg" for n in range(3)], "its host does not speak TLS as it is spoken today"),
        ]:
            waits.clear()
            assert {record_of(Entry("a", "a", url)).failure for url in urls} == {failure}
            assert len(waits) == 4


def test_a_url_without_a_host_is_a_failed_row_that_says_so(waits):
    """aiohttp says the url alone."""
    assert record_of(Entry("a", "a", "http://")).failure == "this is no url that a server can be asked for"


def test_a_connection_that_breaks_as_tls_begins_is_no_host_that_is_gone(waits):
    """aiohttp wraps it as any error of TLS."""
    broken = aiohttp.ClientConnectorSSLError(None, ssl.SSLEOFError(8, "EOF occurred in violation of protocol"))
    assert web_hosts.why_gone("https://example.com/a.jpg", broken) is None
    other = aiohttp.ClientConnectorSSLError(None, ssl.SSLError(1, "wrong version number"))
    assert web_hosts.why_gone("https://example.com/a.jpg", other) is not None


def test_a_machine_without_certificates_has_had_no_answer(waits, monkeypatch, tmp_path):
    """Else all of https would be failed rows, on that worker alone."""
    invalid = aiohttp.ClientConnectorCertificateError(None, ssl.SSLCertVerificationError(1, "unable to get issuer"))
    (tmp_path / "0.pem").write_text("any")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert web_hosts.why_gone("https://example.com/a.jpg", invalid) == "its host's certificate is not valid"
    (tmp_path / "0.pem").unlink()
    assert web_hosts.why_gone("https://example.com/a.jpg", invalid) is None
    with (
        pytest.raises(StorageError, match="this machine has no certificates to check a host's by: install ca-cert"),
        retrying.naming("read", "https://example.com/a.jpg"),
    ):
        raise invalid


def test_what_storage_finds_nowhere_is_not_there_whatever_it_says_as_the_cause(place, monkeypatch):
    """Of ftp, that a search has come to its end, which no generator may raise."""

    def info(fs, path, **keywords):
        raise FileNotFoundError(path) from StopIteration()

    monkeypatch.setattr(MemoryFileSystem, "info", info)
    assert not files.exists(f"{place}/a")


def test_a_parquet_that_a_server_gives_to_nobody_is_not_beside_a_tar(statuses, waits):
    """S3 says so of what is not there, to all who may not list."""
    assert sidecar_rows(Shard(f"http://{statuses}/403.tar", 1), ["a"], [None]) == ({}, None)
    with pytest.raises(StorageError, match=r"503.parquet"):
        sidecar_rows(Shard(f"http://{statuses}/503.tar", 1), ["a"], [None])


def test_no_name_is_known_without_a_network_and_other_storage_that_refuses_is_waited_for(waits, monkeypatch):
    monkeypatch.setattr(web_hosts, "_has_network", lambda: False)
    with pytest.raises(StorageError, match=r"cannot read http://nosuch.invalid/a.jpg"):
        record_of(Entry("a", "a", "http://nosuch.invalid/a.jpg"))
    assert web_hosts.why_gone("az://box/a.jpg", ConnectionRefusedError()) is None


@pytest.mark.slow
def test_tars_of_a_web_server_are_read_by_ranges(web, tmp_path, capsys):
    directory, url = web
    (directory / "0.tar").write_bytes(tar_bytes([(f"{index}.jpg", jpeg(index)) for index in range(9)]))
    flags = ["--input", f"{url}/0.tar", "--output", str(tmp_path / "out"), *TINY]
    assert curate_images.main(flags) == 0
    assert "9 kept" in capsys.readouterr().out
    assert verify_output.main([str(tmp_path / "out")]) == 0
    assert curate_images.main([*flags[:2], "--output", f"{url}/out", *TINY]) == 2
    err = capsys.readouterr().err
    assert "http:// is read, not written" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nosuch://b/a.tar", "there is no storage called nosuch://"),
        ("gcs://b/a.tar", "gcs:// is called gs:// here"),
        ("az://b/a.tar", "az:// needs a package that is not installed: pip install adlfs, or 'beam-curator[azure]'"),
        ("hf://datasets/u/r/a.tar", "needs a package that is not installed: pip install huggingface_hub, or"),
        ("sftp://host/a.tar", 'SFTPFileSystem requires "paramiko" to be installed'),
    ],
)
def test_a_scheme_that_cannot_be_read_is_one_line_that_says_what_to_do(tmp_path, capsys, monkeypatch, url, said):
    def absent(scheme):
        raise ImportError(scheme)

    monkeypatch.setattr(fsspec_files.fsspec, "get_filesystem_class", absent)
    for flags in (["--input", url, "--output", str(tmp_path / "out")], ["--input", __file__, "--output", url]):
        assert curate_images.main([*flags, *TINY]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_a_url_of_a_local_file_is_its_path(tmp_path, capsys):
    (tmp_path / "0.tar").write_bytes(tar_bytes([("a.jpg", jpeg(1))]))
    flags = ["--input", f"file://{tmp_path}/0.tar", "--output", f"file://{tmp_path}/out", *TINY]
    assert curate_images.main(flags) == 0
    assert (tmp_path / "out" / "00000.tar").exists()
    capsys.readouterr()
