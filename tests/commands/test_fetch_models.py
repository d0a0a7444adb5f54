import dataclasses
import functools
import hashlib
import http.server
import socket
import sys
import threading

import pytest

from beam_curator.commands import fetch_models, models
from beam_curator.errors import UsageError
from beam_curator.models.weights import nsfw_conversion, nsfw_weights, published
from beam_curator.models.weights.clip_weights import ClipWeights

HEADS = ("AESTHETIC_V2", "AESTHETIC_V1", "NSFW_LAION_ZIP")
CONVERTED = b"plain arrays"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A web server that publishes small files in place of the weights; yields its folder."""
    folder = tmp_path / "site"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *args: None
    clip = b"clip"
    (folder / sha256(clip)).mkdir(parents=True)
    (folder / sha256(clip) / "clip.pt").write_bytes(clip)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        for name in HEADS:
            publish(folder, monkeypatch, address, name)
        use_clip(monkeypatch, f"{address}/{sha256(clip)}/clip.pt")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def publish(folder, monkeypatch, address, name):
    content, head = name.encode(), getattr(published, name)
    (folder / name).write_bytes(content)
    head = dataclasses.replace(head, url=f"{address}/{name}", sha256=sha256(content), size_bytes=len(content))
    monkeypatch.setattr(published, name, head)
    if name == "NSFW_LAION_ZIP":
        monkeypatch.setattr(nsfw_weights, "NSFW_LAION", nsfw_weights.NsfwWeights(head, (sha256(CONVERTED),)))
        monkeypatch.setattr(nsfw_conversion, "as_npz", lambda path: CONVERTED)


def use_clip(monkeypatch, url):
    # open_clip's table of tags is fixed, so its entry is replaced by one of the server above.
    def named(model, tag):
        if model != "ViT-L-14-quickgelu":
            raise UsageError(f"open_clip has no model {model!r}")
        return ClipWeights(model, tag, "", url)

    monkeypatch.setattr(ClipWeights, "named", named)


def test_everything_is_fetched_and_verified_with_one_line_a_file(tmp_path, site, capsys):
    assert fetch_models.main(["--model_dir", str(tmp_path / "new" / "dir")]) == 0

    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert len(lines) == 4
    assert all(line.startswith("fetched, verified") for line in lines)
    assert f"ViT-L-14-quickgelu--openai.pt  4 bytes  sha256 {sha256(b'clip')}" in lines[0]
    assert "sac+logos+ava1-l14-linearMSE.pth  12 bytes" in lines[1]


def test_what_is_there_is_verified_and_not_fetched_again(tmp_path, site, capsys):
    fetch_models.main(["--model_dir", str(tmp_path)])
    for file in site.rglob("*"):
        if file.is_file():
            file.unlink()
    capsys.readouterr()

    assert fetch_models.main(["--model_dir", str(tmp_path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("present, verified") for line in lines)


def test_a_file_that_fails_is_told_in_one_line_and_the_others_are_fetched(tmp_path, site, capsys):
    (site / "AESTHETIC_V1").unlink()
    (tmp_path / "clip_autokeras_binary_nsfw.zip").write_bytes(b"another")

    assert fetch_models.main(["--model_dir", str(tmp_path)]) == 1

    out, err = capsys.readouterr()
    failed = err.splitlines()
    assert len(out.splitlines()) == 2
    assert len(failed) == 2
    assert "sa_0_4_vit_l_14_linear.pth" in failed[0]
    assert "File not found" in failed[0]
    assert f"expected {sha256(b'NSFW_LAION_ZIP')}; delete it" in failed[1]


def test_without_a_network_every_file_fails_in_one_line(tmp_path, site, capsys, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for name in HEADS:
            monkeypatch.setattr(published, name, dataclasses.replace(getattr(published, name), url=closed))
        nsfw = dataclasses.replace(nsfw_weights.NSFW_LAION, published=published.NSFW_LAION_ZIP)
        monkeypatch.setattr(nsfw_weights, "NSFW_LAION", nsfw)
        use_clip(monkeypatch, f"{closed}/{'0' * 64}/clip.pt")

        assert fetch_models.main(["--model_dir", str(tmp_path / "m")]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 4
    assert all("Connection refused" in line for line in err.splitlines())
    assert list((tmp_path / "m").iterdir()) == []


def test_an_unknown_model_is_bad_usage_and_nothing_is_fetched(tmp_path, site, capsys):
    assert fetch_models.main(["--model_dir", str(tmp_path / "m"), "--clip_model", "ViT-Q"]) == 2

    assert capsys.readouterr().err == "beam-curator: open_clip has no model 'ViT-Q'\n"
    assert not list((tmp_path / "m").iterdir())


def test_an_encoder_of_timm_is_looked_up_there(tmp_path, site, capsys):
    assert fetch_models.main(["--model_dir", str(tmp_path / "m"), "--encoder", "timm:vit_smal_patch14_dinov2"]) == 2

    assert "timm has no such architecture; did you mean timm:vit_small_patch14_dinov2" in capsys.readouterr().err
    assert not list((tmp_path / "m").iterdir())


def test_a_model_dir_that_cannot_be_made_is_bad_usage(tmp_path, site, capsys):
    (tmp_path / "file").write_bytes(b"")

    assert fetch_models.main(["--model_dir", str(tmp_path / "file" / "below")]) == 2
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: --model_dir (see --help)"),
        (["--model_dir", "m", "--modell", "x"], "unrecognized arguments: --modell x (see --help)"),
    ],
)
def test_a_wrong_argument_is_bad_usage_in_one_line(argv, said, capsys):
    assert fetch_models.main(argv) == 2
    assert capsys.readouterr().err == f"beam-curator: {said}\n"


def test_the_command_takes_the_arguments_of_its_process(tmp_path, site, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["beam-curator models", "--model_dir", str(tmp_path)])

    assert models.main() == 0

    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_slip_in_a_flag_is_told_with_what_was_meant(tmp_path, capsys):
    assert models.main(["--model_dir", str(tmp_path), "--clip_modell", "x"]) == 2
    assert capsys.readouterr().err == "beam-curator: unknown argument --clip_modell: did you mean --clip_model?\n"
