import ast
import contextlib
import dataclasses
import functools
import hashlib
import http.server
import pathlib
import pickle
import socket
import subprocess
import threading

import huggingface_hub.constants
import open_clip
import pytest
from apache_beam.io.localfilesystem import LocalFileSystem

from beam_curator.errors import CurationError, UsageError
from beam_curator.models.weights import clip_weights, resolving, transfer, weights_file
from beam_curator.models.weights.clip_weights import ClipWeights
from beam_curator.models.weights.published import (
    AESTHETIC_V1,
    AESTHETIC_V2,
    NSFW_LAION_ZIP,
    PublishedWeights,
)
from beam_curator.models.weights.weights_file import WeightsFile

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared/models"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"the published weights are not in {SHARED}")

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


@pytest.fixture
def web():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        server.files, server.requests, server.cut_at = {}, [], None
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def unreachable():
    with socket.socket() as taken:  # bound and not listening: nobody else can listen there meanwhile
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BEAM_CURATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache"


def published(url="http://127.0.0.1:1", **changes):
    head = PublishedWeights("head-v2", HEAD, f"{url}/raw/head%2Bv2.pth", SHA256, len(CONTENT), "MIT", "nobody")
    return dataclasses.replace(head, **changes)


def use(monkeypatch, head):
    monkeypatch.setattr(resolving, "AESTHETIC_V2", head)


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def nothing_but(directory, *names):
    return sorted(p.name for p in directory.iterdir()) == sorted(names)


@needs_shared
@pytest.mark.parametrize("head", [AESTHETIC_V2, AESTHETIC_V1, NSFW_LAION_ZIP])
def test_the_recorded_sums_and_sizes_are_those_of_the_published_files(head):
    content = (SHARED / head.filename).read_bytes()

    assert len(content) == head.size_bytes
    assert hashlib.sha256(content).hexdigest() == head.sha256


@needs_shared
def test_each_choice_of_head_is_found_in_the_model_dir_by_its_published_name():
    found = [
        resolving.resolve_aesthetic("v2", str(SHARED), download=False),
        resolving.resolve_aesthetic("v1", str(SHARED), download=False),
        resolving.resolve_nsfw("laion", str(SHARED), download=False),
    ]

    assert [file.name for file in found] == [
        "sac+logos+ava1-l14-linearMSE",
        "sa_0_4_vit_l_14_linear",
        "clip_autokeras_binary_nsfw",
    ]
    assert [file.local_path().suffix for file in found] == [".pth", ".pth", ".npz"]


def test_the_model_dir_comes_before_the_cache_and_the_cache_before_a_download(tmp_path, monkeypatch, web, cache):
    use(monkeypatch, published(web.address))
    web.files["/raw/head%2Bv2.pth"] = (CONTENT, "")

    downloaded = resolving.resolve_aesthetic("v2", str(tmp_path / "m"))
    cached = resolving.resolve_aesthetic("v2", str(tmp_path / "m"))
    put(tmp_path / "m" / HEAD)
    given = resolving.resolve_aesthetic("v2", str(tmp_path / "m"))

    assert downloaded == cached == WeightsFile("head+v2", str(cache / HEAD), SHA256)
    assert given.path == str(tmp_path / "m" / HEAD)
    assert web.requests == [("GET", "/raw/head%2Bv2.pth")]
    assert nothing_but(cache, HEAD)


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"!", CONTENT + b"!", b"<html>"])
def test_a_download_that_is_not_the_published_file_never_gets_its_name(monkeypatch, web, cache, content):
    use(monkeypatch, published(web.address))
    web.files["/raw/head%2Bv2.pth"] = (content, "")

    with pytest.raises(UsageError, match=r"the download failed .*(expected sha256|more came than its)"):
        resolving.resolve_aesthetic("v2", None)
    assert nothing_but(cache)


def test_a_download_that_breaks_off_never_gets_its_name(monkeypatch, web, cache):
    use(monkeypatch, published(web.address))
    web.files["/raw/head%2Bv2.pth"] = (CONTENT, "")
    web.cut_at = 100

    with pytest.raises(UsageError, match="the download failed"):
        resolving.resolve_aesthetic("v2", None)
    assert nothing_but(cache)


def test_missing_and_unreachable_weights_are_one_line_that_says_all(tmp_path, monkeypatch, unreachable, cache):
    use(monkeypatch, published(unreachable))

    with pytest.raises(UsageError) as raised:
        resolving.resolve_aesthetic("v2", str(tmp_path / "m"))

    message = str(raised.value)
    assert "\n" not in message
    assert HEAD in message
    assert f"looked in {tmp_path / 'm'} and {cache}" in message
    assert "Connection refused" in message
    assert f"`beam-curator models --model_dir {tmp_path / 'm'}`" in message


def test_a_server_without_the_file_is_told_as_such(monkeypatch, web):
    use(monkeypatch, published(web.address))

    with pytest.raises(UsageError, match="Not Found"):
        resolving.resolve_aesthetic("v2", None)


def test_nothing_is_downloaded_unless_allowed(monkeypatch, web):
    use(monkeypatch, published(web.address))

    with pytest.raises(UsageError, match="downloading was not allowed"):
        resolving.resolve_aesthetic("v2", None, download=False)
    assert web.requests == []


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path, monkeypatch, web):
    use(monkeypatch, published(web.address))
    web.files["/raw/head%2Bv2.pth"] = (CONTENT, "")
    monkeypatch.setenv("BEAM_CURATOR_CACHE", str(put(tmp_path / "a file") / "below"))

    with pytest.raises(UsageError, match=r"the download failed .*Not a directory"):
        resolving.resolve_aesthetic("v2", None)


def test_a_file_in_the_model_dir_that_is_not_the_published_one_is_refused_with_both_sums(tmp_path, monkeypatch):
    use(monkeypatch, published())
    put(tmp_path / HEAD, b"something else")
    found = hashlib.sha256(b"something else").hexdigest()

    with pytest.raises(UsageError, match=rf"head-v2: .*head\+v2\.pth has sha256 {found}, expected {SHA256}"):
        resolving.resolve_aesthetic("v2", str(tmp_path))


@pytest.mark.parametrize("resolve", [resolving.resolve_aesthetic, resolving.resolve_nsfw])
def test_a_users_own_head_is_taken_as_it_is_from_any_working_directory(tmp_path, monkeypatch, resolve):
    put(tmp_path / "mine.pth")
    monkeypatch.chdir(tmp_path)

    assert resolve("mine.pth", None) == WeightsFile("mine", str(tmp_path / "mine.pth"), SHA256)


@pytest.mark.parametrize(
    ("resolve", "choice", "known"),
    [
        (resolving.resolve_aesthetic, "v3", "v2, v1, or the path"),
        (resolving.resolve_nsfw, "gs", "laion, or the path"),
        (functools.partial(resolving.resolve_clip, "ViT-L-14"), "no/such.pt", "the path of a file that exists"),
        (resolving.resolve_aesthetic, "nosuchscheme://bucket/head.pth", "nosuchscheme"),
    ],
)
def test_a_choice_that_is_neither_known_nor_a_file_is_refused(resolve, choice, known):
    with pytest.raises(UsageError, match=known):
        resolve(choice, None)


def test_a_weights_file_survives_pickling_and_gives_its_local_path(tmp_path):
    file = WeightsFile("head", str(put(tmp_path / "head.pth")), SHA256)

    assert pickle.loads(pickle.dumps(file)).local_path() == tmp_path / "head.pth"


def test_a_weights_file_that_changed_on_the_way_is_refused_with_both_sums(tmp_path):
    file = WeightsFile("head", str(put(tmp_path / "head.pth", b"changed")), SHA256)

    with pytest.raises(CurationError, match=rf"head: .*head\.pth has sha256 [0-9a-f]{{64}}, expected {SHA256}"):
        file.local_path()


def test_a_local_file_that_a_worker_does_not_have_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(CurationError, match="on this machine; put the weights in a bucket or in the workers' image"):
        WeightsFile("head", str(tmp_path / "absent.pth"), SHA256).local_path()


def test_a_file_is_verified_once_per_process(tmp_path, monkeypatch):
    file = WeightsFile("head", str(put(tmp_path / "head.pth")), SHA256)
    file.local_path()
    monkeypatch.setattr(transfer, "sha256_of", lambda path: pytest.fail("read again"))

    assert file.local_path() == tmp_path / "head.pth"


def test_a_file_in_a_bucket_is_copied_to_the_cache_once_with_its_own_name(tmp_path, cache):
    put(tmp_path / "bucket" / HEAD)
    file = WeightsFile("head", f"weightsbucket:/{tmp_path}/bucket/{HEAD}", SHA256)

    local = file.local_path()
    (tmp_path / "bucket" / HEAD).unlink()

    assert local == file.local_path() == cache / SHA256 / HEAD
    assert local.read_bytes() == CONTENT
    assert nothing_but(local.parent, HEAD)


def test_a_file_in_a_bucket_that_is_another_never_gets_into_the_cache(tmp_path, cache):
    put(tmp_path / "bucket" / HEAD, b"changed")
    file = WeightsFile("head", f"weightsbucket:/{tmp_path}/bucket/{HEAD}", SHA256)

    with pytest.raises(CurationError, match=rf"head\+v2\.pth: expected sha256 {SHA256}, found"):
        file.local_path()
    assert nothing_but(cache / SHA256)


def test_weights_are_found_in_a_bucket_and_refused_there_if_they_are_others(tmp_path, monkeypatch):
    use(monkeypatch, published())
    bucket = f"weightsbucket:/{tmp_path}/bucket"
    put(tmp_path / "bucket" / HEAD)

    assert resolving.resolve_aesthetic("v2", bucket).path == f"{bucket}/{HEAD}"
    assert resolving.resolve_aesthetic(f"{bucket}/{HEAD}", None).sha256 == SHA256
    put(tmp_path / "bucket" / HEAD, b"changed")
    with pytest.raises(UsageError, match=f"expected {SHA256}"):
        resolving.resolve_aesthetic("v2", bucket)


def test_weights_are_fetched_into_a_bucket(tmp_path, web):
    web.files["/raw/head%2Bv2.pth"] = (CONTENT, "")
    bucket = f"weightsbucket:/{tmp_path}/bucket"

    fetched = published(web.address).fetch(bucket)

    assert fetched == published().find(bucket)
    assert (tmp_path / "bucket" / HEAD).read_bytes() == CONTENT


# CLIP


def clip(hub="org/name/", url=""):
    return ClipWeights("ViT-X", "some_tag", hub, url)


def test_the_default_clip_weights_are_those_that_open_clip_names():
    default = ClipWeights.named("ViT-L-14-quickgelu", "openai")

    assert default.name == "ViT-L-14-quickgelu/openai"
    assert default.filename == "ViT-L-14-quickgelu--openai"
    assert default.hub == "timm/vit_large_patch14_clip_224.openai/"
    assert "/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/" in default.url


def test_either_spelling_of_a_tag_means_the_same_file():
    assert ClipWeights.named("ViT-L-14", "laion2b-s32b-b82k") == ClipWeights.named("ViT-L-14", "laion2b_s32b_b82k")


@pytest.mark.parametrize(
    ("model", "tag", "near"),
    [
        ("ViT-L14", "openai", "no model 'ViT-L14'; did you mean ViT-L-14"),
        ("????", "openai", "open_clip.list_models"),
        ("ViT-L-14", "opnai", "choose one of openai"),
        ("ViT-L-14", "zzzz", "choose one of openai, laion400m_e31"),
        ("convnext_tiny", "openai", r"choose one of \(none\), or give the path"),
        ("ViT-L14", "own.safetensors", "did you mean ViT-L-14"),
    ],
)
def test_an_unknown_model_or_tag_is_refused_with_those_that_are_near(model, tag, near):
    with pytest.raises(UsageError, match=near):
        resolving.resolve_clip(model, tag, None, download=False)


@pytest.mark.parametrize("tag", ["openai", "laion2b_s32b_b82k", "datacomp_xl_s13b_b90k"])
def test_tags_are_not_taken_for_paths(tag):
    assert not clip_weights.is_checkpoint_path(tag)


@pytest.mark.parametrize("path", ["own.pt", "OWN.SAFETENSORS", "dir/own", "gs://bucket/own"])
def test_checkpoints_are_taken_for_paths(path):
    assert clip_weights.is_checkpoint_path(path)


def test_a_users_own_checkpoint_is_taken_as_it_is(tmp_path):
    path = str(put(tmp_path / "own.safetensors"))

    assert resolving.resolve_clip("ViT-L-14", path, None) == WeightsFile("ViT-L-14/own", path, SHA256)


def test_openais_weights_are_the_same_file_and_run_with_quickgelu_under_either_name_of_their_architecture(tmp_path):
    put(tmp_path / "ViT-L-14-quickgelu--openai.safetensors")

    chosen = [resolving.choose_clip(name, "openai", str(tmp_path)) for name in ("ViT-L-14", "ViT-L-14-quickgelu")]

    assert chosen[0] == chosen[1]
    assert (chosen[0].model, chosen[0].tag) == ("ViT-L-14-quickgelu", "openai")
    assert chosen[0].weights.path == str(tmp_path / "ViT-L-14-quickgelu--openai.safetensors")


def test_weights_that_an_earlier_release_fetched_under_the_other_name_are_found(tmp_path):
    put(tmp_path / "ViT-L-14--openai.safetensors")

    assert (
        resolving.choose_clip("ViT-L-14-quickgelu", "openai", str(tmp_path)).weights.name == "ViT-L-14-quickgelu/openai"
    )


def test_weights_that_were_trained_without_quickgelu_keep_their_architecture(tmp_path):
    put(tmp_path / "ViT-L-14--laion2b_s32b_b82k.safetensors")

    assert resolving.choose_clip("ViT-L-14", "laion2b_s32b_b82k", str(tmp_path)).model == "ViT-L-14"


@pytest.fixture
def openais_file(tmp_path, monkeypatch):
    """A file that has the sha256 of OpenAI's archive, as far as anybody asks: the real one has 1.7 GB."""
    path = put(tmp_path / "downloaded.pt")
    config = {"quick_gelu": True, "url": f"https://example.org/{SHA256}/ViT-L-14.pt"}
    real = open_clip.get_pretrained_cfg

    def get(model, tag):
        return config if (model.removesuffix("-quickgelu"), tag) == ("ViT-L-14", "openai") else real(model, tag)

    monkeypatch.setattr(open_clip, "get_pretrained_cfg", get)
    return str(path)


def test_openais_file_is_known_by_its_sha256_and_runs_with_quickgelu_whatever_its_name(openais_file):
    for model in ("ViT-L-14", "ViT-L-14-quickgelu"):
        chosen = resolving.choose_clip(model, openais_file, None)
        assert (chosen.model, chosen.tag, chosen.weights.name) == (
            "ViT-L-14-quickgelu",
            "openai",
            "ViT-L-14-quickgelu/openai",
        )
        assert chosen.doubt is None


def test_a_known_file_for_another_architecture_is_refused(openais_file):
    with pytest.raises(
        UsageError, match=r"weights of ViT-L-14-quickgelu/openai, not of ViT-B-32: give --clip_model ViT"
    ):
        resolving.choose_clip("ViT-B-32", openais_file, None)


def test_the_path_of_a_fetched_file_is_known_by_its_name_and_record(tmp_path):
    path = put(tmp_path / "ViT-L-14--openai.safetensors")
    assert resolving.choose_clip("ViT-L-14", str(path), None).tag is None
    put(tmp_path / f"{path.name}.sha256", f"{SHA256}  {path.name}\n".encode())
    known = resolving.choose_clip("ViT-L-14", str(path), None)
    assert (known.tag, known.doubt) == ("openai", None)


@pytest.mark.parametrize(
    ("model", "how"),
    [
        ("ViT-L-14", "it runs without it, as ViT-L-14 does; if that is wrong, give --clip_model ViT-L-14-quickgelu"),
        (
            "ViT-L-14-quickgelu",
            "it runs with it, as ViT-L-14-quickgelu does; if that is wrong, give --clip_model ViT-L-14",
        ),
    ],
)
def test_a_checkpoint_of_unknown_origin_is_told_to_be_one_in_a_line(tmp_path, model, how):
    path = str(put(tmp_path / "own.safetensors"))

    chosen = resolving.choose_clip(model, path, None)
    assert chosen.model == model
    assert chosen.doubt == (
        f"{path} is not known by its sha256, so nobody can tell whether it was trained with QuickGELU, as OpenAI's "
        f"weights were: {how}"
    )


def test_a_checkpoint_of_an_architecture_without_a_twin_needs_no_word(tmp_path):
    assert resolving.choose_clip("ViT-SO400M-14-SigLIP", str(put(tmp_path / "own.safetensors")), None).doubt is None


def test_missing_clip_weights_are_one_line_with_the_command_for_that_model(tmp_path):
    with pytest.raises(UsageError) as raised:
        resolving.resolve_clip("ViT-B-32", "openai", str(tmp_path), download=False)

    assert "ViT-B-32-quickgelu--openai" in str(raised.value)
    assert f"--model_dir {tmp_path} --clip_model ViT-B-32-quickgelu --clip_pretrained openai`" in str(raised.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin", ".pth"])
def test_clip_weights_are_found_in_the_model_dir_whatever_their_suffix(tmp_path, suffix):
    put(tmp_path / f"ViT-X--some_tag{suffix}")

    assert clip().find(str(tmp_path)) == WeightsFile(
        "ViT-X/some_tag", str(tmp_path / f"ViT-X--some_tag{suffix}"), SHA256
    )


def test_clip_weights_that_differ_from_their_recorded_sum_are_refused(tmp_path):
    put(tmp_path / "ViT-X--some_tag.bin", b"changed")
    put(tmp_path / "ViT-X--some_tag.bin.sha256", f"{SHA256}  ViT-X--some_tag.bin\n".encode())

    with pytest.raises(CurationError, match=f"expected {SHA256}"):
        clip().find(str(tmp_path))


def test_a_record_that_holds_no_sum_is_refused(tmp_path):
    put(tmp_path / "ViT-X--some_tag.bin")
    put(tmp_path / "ViT-X--some_tag.bin.sha256", b"\xff\xfe")

    with pytest.raises(UsageError, match="does not begin with a sha256"):
        clip().find(str(tmp_path))


def test_a_file_whose_url_tells_its_sum_needs_no_record(tmp_path):
    put(tmp_path / "ViT-X--some_tag.pt", b"changed")

    with pytest.raises(CurationError, match=f"expected {SHA256}"):
        clip(url=f"http://127.0.0.1:1/{SHA256}/X.pt").find(str(tmp_path))


def test_large_recorded_weights_in_a_bucket_are_left_for_the_workers_to_verify(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_weights, "LAUNCHER_READ_BYTES", 3)
    put(tmp_path / "bucket" / "ViT-X--some_tag.bin", b"changed")
    put(tmp_path / "bucket" / "ViT-X--some_tag.bin.sha256", SHA256.encode())
    bucket = f"weightsbucket:/{tmp_path}/bucket"

    found = clip().find(bucket, thorough=False)

    with pytest.raises(CurationError, match=f"expected sha256 {SHA256}"):
        found.local_path()
    with pytest.raises(CurationError, match=f"expected {SHA256}"):
        clip().find(bucket)


def on_hub(monkeypatch, web, files):
    monkeypatch.setenv("HF_ENDPOINT", web.address)
    web.files.update({f"/org/name/resolve/main/{name}": file for name, file in files.items()})


def test_clip_weights_come_from_the_hub_as_safetensors_with_their_sum_on_record(tmp_path, monkeypatch, web):
    on_hub(monkeypatch, web, {"open_clip_model.safetensors": (CONTENT, SHA256)})

    fetched = clip().fetch(str(tmp_path / "m"))

    name = "ViT-X--some_tag.safetensors"
    assert fetched == WeightsFile("ViT-X/some_tag", str(tmp_path / "m" / name), SHA256)
    assert (tmp_path / "m" / name).read_bytes() == CONTENT
    assert (tmp_path / "m" / f"{name}.sha256").read_text() == f"{SHA256}  {name}\n"
    assert nothing_but(tmp_path / "m", name, f"{name}.sha256")


def test_the_record_is_in_the_format_of_sha256sum(tmp_path, monkeypatch, web):
    on_hub(monkeypatch, web, {"open_clip_model.safetensors": (CONTENT, SHA256)})
    clip().fetch(str(tmp_path))

    assert subprocess.run(
        ["sha256sum", "--check", "ViT-X--some_tag.safetensors.sha256"], cwd=tmp_path, capture_output=True
    ).returncode == 0  # fmt: skip


@pytest.mark.parametrize(
    ("hub", "published_as"),
    [("org/name/", "open_clip_pytorch_model.bin"), ("org/name/other.bin", "other.bin")],
)
def test_a_repository_without_safetensors_gives_the_file_that_it_has(tmp_path, monkeypatch, web, hub, published_as):
    on_hub(monkeypatch, web, {published_as: (CONTENT, SHA256)})

    assert clip(hub).fetch(str(tmp_path / "m")).path.endswith("ViT-X--some_tag.bin")


def test_a_hub_file_that_is_not_what_the_hub_says_is_refused(tmp_path, monkeypatch, web):
    on_hub(monkeypatch, web, {"open_clip_model.safetensors": (CONTENT[::-1], SHA256)})

    with pytest.raises(CurationError, match=f"expected sha256 {SHA256}, found"):
        clip().fetch(str(tmp_path / "m"))
    assert nothing_but(tmp_path / "m")


def test_a_hub_file_without_a_sum_is_refused(tmp_path, monkeypatch, web):
    on_hub(monkeypatch, web, {"open_clip_model.safetensors": (CONTENT, "0123abcd")})

    with pytest.raises(CurationError, match="gives no sha256 for it"):
        clip().fetch(str(tmp_path / "m"))


def test_the_hubs_own_cache_is_used_before_the_network(tmp_path, monkeypatch, unreachable):
    monkeypatch.setenv("HF_ENDPOINT", unreachable)
    repo = tmp_path / "hub" / "models--org--name"
    put(repo / "refs" / "main", b"0" * 40)
    put(repo / "blobs" / SHA256)
    (repo / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (repo / "snapshots" / ("0" * 40) / "open_clip_model.safetensors").symlink_to(f"../../blobs/{SHA256}")

    fetched = clip().fetch(str(tmp_path / "m"))

    assert fetched.local_path().read_bytes() == CONTENT
    assert (repo / "blobs" / SHA256).exists()


def test_an_unreachable_hub_is_left_for_openais_url_at_once(tmp_path, monkeypatch, web, unreachable):
    monkeypatch.setenv("HF_ENDPOINT", unreachable)
    web.files[f"/{SHA256}/X.pt"] = (CONTENT, "")

    fetched = clip(url=f"{web.address}/{SHA256}/X.pt").fetch(str(tmp_path / "m"))

    assert fetched.path.endswith("ViT-X--some_tag.pt")
    assert nothing_but(tmp_path / "m", "ViT-X--some_tag.pt", "ViT-X--some_tag.pt.sha256")


def test_when_no_source_can_be_reached_each_one_is_named_with_its_cause(tmp_path, monkeypatch, unreachable):
    monkeypatch.setenv("HF_ENDPOINT", unreachable)

    with pytest.raises(CurationError) as raised:
        clip(url=f"{unreachable}/{SHA256}/X.pt").fetch(str(tmp_path / "m"))

    assert "org/name/open_clip_model.safetensors" in str(raised.value)
    assert f"{unreachable}/{SHA256}/X.pt" in str(raised.value)
    assert str(raised.value).count("Connection refused") == 2


def test_clip_weights_are_fetched_into_a_bucket_with_their_record(tmp_path, monkeypatch, web):
    on_hub(monkeypatch, web, {"open_clip_model.safetensors": (CONTENT, SHA256)})
    bucket = f"weightsbucket:/{tmp_path}/bucket"

    fetched = clip().fetch(bucket)

    assert fetched == clip().find(bucket)
    (tmp_path / "bucket" / "_tmp").rmdir()  # empty: what is not gs:// or s3:// has files renamed from there
    assert nothing_but(tmp_path / "bucket", "ViT-X--some_tag.safetensors", "ViT-X--some_tag.safetensors.sha256")


def test_the_cache_is_below_home_unless_the_environment_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BEAM_CURATOR_CACHE")

    assert weights_file.cache_dir() == tmp_path / ".cache/beam_curator"


MODELS = pathlib.Path(resolving.__file__).parents[1]


@pytest.mark.parametrize("path", [*MODELS.glob("weights/*.py"), *MODELS.glob("heads/*.py")], ids=lambda path: path.stem)
def test_torch_and_open_clip_which_take_seconds_are_imported_only_where_they_are_used(path):
    source = path.read_text()

    at_top = [ast.unparse(node) for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]

    assert not [line for line in at_top if "torch" in line or "open_clip" in line or "huggingface" in line]


def test_threads_that_copy_at_once_leave_one_whole_file(tmp_path, cache):
    put(tmp_path / "bucket" / HEAD)
    file = WeightsFile("head", f"weightsbucket:/{tmp_path}/bucket/{HEAD}", SHA256)
    threads = [threading.Thread(target=file.local_path) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert nothing_but(cache / SHA256, HEAD)
    assert file.local_path().read_bytes() == CONTENT


def test_a_temporary_file_is_gone_when_writing_fails(tmp_path):
    with contextlib.suppress(CurationError):
        transfer.copy(str(put(tmp_path / "source")), tmp_path / "t" / "target", "0" * 64)

    assert nothing_but(tmp_path / "t")


def test_a_worker_takes_the_file_that_its_image_holds_and_verifies_it(tmp_path, monkeypatch):
    (tmp_path / HEAD).write_bytes(CONTENT)
    monkeypatch.setenv("BEAM_CURATOR_MODEL_DIR", str(tmp_path))
    assert WeightsFile("head", f"/launcher/{HEAD}", SHA256).local_path() == tmp_path / HEAD
    with pytest.raises(CurationError, match="expected"):
        WeightsFile("head", f"/launcher/{HEAD}", "0" * 64).local_path()
