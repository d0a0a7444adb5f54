"""Clients behind fsspec leave asking again to us: of a place that is gone they ask a few times, whatever is wanted."""

import fsspec
import pytest
from fsspec.config import conf

from beam_curator.errors import StorageError
from beam_curator.storage import directories, files
from beam_curator.storage.fsspec_clients import CONNECT_SECONDS, READ_SECONDS, options_of
from tests.ports import closed_port

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # known to all


def test_hosts_of_the_web_have_seconds_to_answer_and_what_the_user_has_configured_stays(monkeypatch):
    (name,) = options_of("https")
    timeout = options_of("https")[name]["timeout"]
    assert (timeout.sock_connect, timeout.sock_read) == (CONNECT_SECONDS, READ_SECONDS)
    assert 2 * 5 * CONNECT_SECONDS + 20 <= 120  # fsspec asks in two ways
    monkeypatch.setitem(conf, "http", {"client_kwargs": {"trust_env": True}})
    files_of_the_web = fsspec.filesystem("https", **options_of("https"))
    assert files_of_the_web.client_kwargs == {"timeout": timeout, "trust_env": True}
    monkeypatch.setitem(conf, "https", {"client_kwargs": {"timeout": "mine"}})
    assert options_of("http") == {name: {"timeout": "mine", "trust_env": True}}
    assert options_of("memory") == {}


@pytest.fixture
def azure_that_is_gone(monkeypatch):
    """Counts how often a client of Azure asks where nobody listens."""
    pytest.importorskip("adlfs")
    from azure.core.pipeline.transport import AioHttpTransport

    taken, nobody = closed_port()
    account = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{account}BlobEndpoint=http://{nobody}/devstoreaccount1;")
    asked, send = [], AioHttpTransport.send

    async def counted(self, request, **keywords):
        asked.append(request.url)
        return await send(self, request, **keywords)

    monkeypatch.setattr(AioHttpTransport, "send", counted)
    with taken:
        yield asked
    fsspec.get_filesystem_class("az").clear_instance_cache()


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (files.exists, "cannot look for"),
        (files.size_of, "cannot look for"),
        (files.read_bytes, "cannot read"),
        (directories.list_files, "cannot list"),
        (lambda url: files.write_bytes(url, "a", b"content"), "cannot write"),
        (lambda url: files.delete([url]), "cannot delete"),
    ],
)
def test_azure_that_is_gone_is_asked_again_by_us_alone(azure_that_is_gone, waits, do, told):
    with pytest.raises(StorageError, match=f"^{told} az://box/some.*: Cannot connect to host 127.0.0.1") as raised:
        do("az://box/some")
    assert len(str(raised.value).splitlines()) == 1
    assert len(waits) == 4
    assert 5 <= len(azure_that_is_gone) <= 10, "an operation may be two requests"
