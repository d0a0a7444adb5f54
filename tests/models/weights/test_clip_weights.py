"""CLIP's weights are found with their recorded sum, or fetched from the hub and from OpenAI."""

import subprocess

import pytest

from beam_curator.errors import CurationError, UsageError
from beam_curator.models.weights import clip_weights
from beam_curator.models.weights.weights_file import WeightsFile
from tests.models.weights.sources import CONTENT, SHA256, clip, nothing_but, on_hub, put


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
