"""Gives weights to these tests: from a bucket, and from a server like the hub; and one small head."""

import dataclasses
import hashlib
import http.server

from apache_beam.io.localfilesystem import LocalFileSystem

from beam_curator.models.weights import resolving, transfer
from beam_curator.models.weights.clip_weights import ClipWeights
from beam_curator.models.weights.published import PublishedWeights

CONTENT = b"weights of a head" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HEAD = "head+v2.pth"


class BucketFileSystem(LocalFileSystem):
    """Stands for gs:// and s3://, which no test machine has: Beam's own dispatch by scheme, over local files."""

    @classmethod
    def scheme(cls):
        return "weightsbucket"

    @staticmethod
    def local(path):
        return path.removeprefix("weightsbucket:/")

    def exists(self, path):
        return super().exists(self.local(path))

    def size(self, path):
        return super().size(self.local(path))

    def open(self, path, *args, **kwargs):
        return super().open(self.local(path), *args, **kwargs)

    def create(self, path, *args, **kwargs):
        return super().create(self.local(path), *args, **kwargs)

    def rename(self, source_file_names, destination_file_names):
        super().rename(*([self.local(path) for path in paths] for paths in (source_file_names, destination_file_names)))


class Web(http.server.BaseHTTPRequestHandler):
    """Serves files, with the headers by which the Hugging Face hub names their sha256."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        self.server.requests.append((self.command, self.path))
        content, etag = self.server.files.get(self.path, (None, None))
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body and content:
            self.wfile.write(content[: self.server.cut_at])

    def log_message(self, *args):
        pass


def published(url="http://127.0.0.1:1", **changes):
    head = PublishedWeights("head-v2", HEAD, f"{url}/raw/head%2Bv2.pth", SHA256, len(CONTENT), "MIT", "nobody")
    return dataclasses.replace(head, **changes)


def use(monkeypatch, head):
    monkeypatch.setattr(resolving, "AESTHETIC_V2", head)


def without_network(monkeypatch):
    def unreachable(*_args, **_kwargs):
        raise transfer.TransferError("there is no network")

    monkeypatch.setattr(transfer, "download", unreachable)
    monkeypatch.setattr(transfer, "download_from_hub", unreachable)


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def nothing_but(directory, *names):
    return sorted(p.name for p in directory.iterdir()) == sorted(names)


def clip(hub="org/name/", url=""):
    return ClipWeights("ViT-X", "some_tag", hub, url)


def on_hub(monkeypatch, web, files):
    monkeypatch.setenv("HF_ENDPOINT", web.address)
    web.files.update({f"/org/name/resolve/main/{name}": file for name, file in files.items()})
