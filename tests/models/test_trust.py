"""Weights are data: none is loaded that is not the file that was found, and none runs code, whatever its name."""

import io
import json
import pathlib
import pickle
import zipfile

import numpy as np
import open_clip
import pytest
import torch

import beam_curator as bc
from beam_curator.commands import curate_images
from beam_curator.errors import CurationError
from beam_curator.models.scorers.heads import aesthetic_scorer, nsfw_scorer

SMALL = "curator-trust-ViT-32"
TOWER = {"image_size": 224, "layers": 1, "width": 64, "patch_size": 32}
TEXT = {"context_length": 8, "vocab_size": 100, "width": 64, "heads": 1, "layers": 1}


@pytest.fixture(scope="module", autouse=True)
def _architecture(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / f"{SMALL}.json"
    path.write_text(json.dumps({"embed_dim": 768, "vision_cfg": TOWER, "text_cfg": TEXT}))
    open_clip.add_model_config(path)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return pathlib.Path.touch, (self.witness,)


def saved(trap, **options):
    file = io.BytesIO()
    torch.save({"visual.proj": trap, "weight": trap, "norm.mean": trap}, file, **options)
    return file.getvalue()


def torchscript_lookalike(trap):
    """Makes a file with TorchScript's files, which is given to torch.jit.load, which reads their pickles in its own
    way."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("constants.pkl", "data.pkl"):
            archive.writestr(f"weights/{name}", pickle.dumps({"weight": trap}, 2))
        archive.writestr("weights/version", b"3\n")
        archive.writestr("weights/code/__torch__.py", b"import os\nos.mkdir('code-was-run')\n")
    return file.getvalue()


def object_array(trap):
    file = io.BytesIO()
    np.savez(file, **{"norm.mean": np.array([trap], object), "vocabulary.180": np.array([trap], object)})
    return file.getvalue()


TRAPS = {
    "saved by torch": saved,
    "saved by torch as of old": lambda trap: saved(trap, _use_new_zipfile_serialization=False),
    "a plain pickle": lambda trap: pickle.dumps({"weight": trap}),
    "like TorchScript": torchscript_lookalike,
    "an array of objects": object_array,
}


def load_clip(path):
    bc.ClipModelHandler(SMALL, str(path)).load_model().get().load()


def load_aesthetic(path):
    aesthetic_scorer(str(path)).load()


def load_nsfw(path):
    nsfw_scorer(str(path)).load()


LOADERS = [
    *((load_clip, f"weights{suffix}") for suffix in (".pt", ".pth", ".bin", ".safetensors", ".npz")),
    *((load_aesthetic, f"head{suffix}") for suffix in (".pth", ".npz")),
    *((load_nsfw, f"head{suffix}") for suffix in (".pth", ".pt", ".npz")),
    (load_nsfw, "head.zip"),  # read when it is found, and not again
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
@pytest.mark.parametrize(("load", "name"), LOADERS, ids=lambda value: getattr(value, "__name__", value))
def test_no_weights_run_code_whatever_their_name_and_their_format(tmp_path, monkeypatch, load, name, trap):
    monkeypatch.chdir(tmp_path)
    witness = tmp_path / "executed"
    (tmp_path / name).write_bytes(trap(Trap(witness)))
    before = set(tmp_path.iterdir())
    with pytest.raises(CurationError) as refused:
        load(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert set(tmp_path.iterdir()) == before


def test_the_traps_do_run_code_where_pickles_are_trusted(tmp_path):
    for index, data in enumerate([saved(Trap(tmp_path / "0")), pickle.dumps(Trap(tmp_path / "1"))]):
        torch.load(io.BytesIO(data), weights_only=False) if index == 0 else pickle.loads(data)
        assert (tmp_path / str(index)).exists()


@pytest.fixture
def loads(monkeypatch):
    """Collects what is given to anything that loads weights."""
    seen = []
    for module, name in ((torch, "load"), (torch.jit, "load"), (np, "load"), (open_clip.factory, "load_state_dict")):
        monkeypatch.setattr(module, name, lambda *given, _name=name, **_: seen.append((_name, given)))
    return seen


@pytest.mark.parametrize(("load", "name"), LOADERS[:-1:2], ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("same_size", [True, False])
def test_weights_that_were_replaced_after_they_were_found_are_refused_before_they_are_loaded(
    tmp_path, loads, load, name, same_size
):
    path = tmp_path / name
    path.write_bytes(b"as it was found")
    found = {
        load_clip: lambda: bc.ClipModelHandler(SMALL, str(path)).load_model().get,
        load_aesthetic: lambda: aesthetic_scorer(str(path)).load,
        load_nsfw: lambda: nsfw_scorer(str(path)).load,
    }[load]()
    path.unlink()
    path.write_bytes(b"as it is by now" if same_size else b"another")
    with pytest.raises(CurationError, match=r"has sha256 \w+, expected \w+"):
        found()
    assert loads == []


@pytest.mark.parametrize(("flag", "name"), [("--aesthetic_model", "head.pth"), ("--nsfw_model", "head.npz")])
def test_a_job_with_a_head_that_would_run_code_ends_in_one_line_and_runs_none(tmp_path, capsys, raw, flag, name):
    witness = tmp_path / "executed"
    (tmp_path / name).write_bytes((object_array if name.endswith("npz") else saved)(Trap(witness)))
    argv = ["--input", str(raw), "--output", str(tmp_path / "out"), "--clip_model", "tiny-untrained"]
    assert curate_images.main([*argv, flag, str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(tmp_path / name) in line
    assert not witness.exists()


@pytest.fixture
def raw(tmp_path, small_jpeg):
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(small_jpeg)
        tar.addfile(info, io.BytesIO(small_jpeg))
    return tmp_path / "a.tar"


def npy_that_claims(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize("shape", [(1 << 50,), (1 << 30, 1 << 30), (-1,)])
def test_an_array_that_claims_more_than_there_is_is_refused(tmp_path, shape):
    with zipfile.ZipFile(tmp_path / "head.npz", "w") as archive:
        archive.writestr("norm.mean.npy", npy_that_claims(shape))
    with pytest.raises(CurationError, match=r"head\.npz"):
        load_nsfw(tmp_path / "head.npz")
