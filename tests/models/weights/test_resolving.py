"""A choice of head is a file: in the model directory, the cache, or published."""

import ast
import functools
import hashlib
import pathlib

import pytest

from beam_curator.errors import UsageError
from beam_curator.models.weights import resolving, weights_file
from beam_curator.models.weights.published import AESTHETIC_V1, AESTHETIC_V2, NSFW_LAION_ZIP
from beam_curator.models.weights.weights_file import WeightsFile
from tests.models.weights.sources import CONTENT, HEAD, SHA256, nothing_but, published, put, use

SHARED = pathlib.Path(__file__).resolve().parents[4] / "shared/models"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"the published weights are not in {SHARED}")


def test_an_encoder_without_weights_takes_none():
    assert resolving.choose_weights("tiny-untrained", "openai", None) is None
    with pytest.raises(UsageError, match="--clip_pretrained laion2b: tiny-untrained takes no weights: leave it out"):
        resolving.choose_weights("tiny-untrained", "laion2b", None)


@needs_shared
@pytest.mark.parametrize("head", [AESTHETIC_V2, AESTHETIC_V1, NSFW_LAION_ZIP])
def test_the_recorded_sums_and_sizes_are_those_of_the_published_files(head):
    content = (SHARED / head.filename).read_bytes()

    assert len(content) == head.size_bytes
    assert hashlib.sha256(content).hexdigest() == head.sha256


@needs_shared
def test_each_choice_of_head_is_found_in_the_model_dir_by_its_published_name():
    found = [
        resolving.resolve_aesthetic("v2", str(SHARED)),
        resolving.resolve_aesthetic("v1", str(SHARED)),
        resolving.resolve_nsfw("laion", str(SHARED)),
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
        (functools.partial(resolving.choose_clip, "ViT-L-14"), "no/such.pt", "the path of a file that exists"),
        (resolving.resolve_aesthetic, "nosuchscheme://bucket/head.pth", "nosuchscheme"),
    ],
)
def test_a_choice_that_is_neither_known_nor_a_file_is_refused(resolve, choice, known):
    with pytest.raises(UsageError, match=known):
        resolve(choice, None)


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
