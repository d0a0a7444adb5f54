"""LAION's NSFW head comes in a .zip, an .npz or a compressed one: it is converted once, and stays the same model."""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.heads.nsfw import NsfwHead
from beam_curator.models.scorers.heads import nsfw_scorer
from beam_curator.models.weights import nsfw_conversion, nsfw_weights, resolving, transfer
from beam_curator.models.weights.nsfw_weights import COMPRESSED_SHA256, CONVERTED_SHA256

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT.parent / "shared" / "models"
NAME = "clip_autokeras_binary_nsfw"
IDENTITY = ModelIdentity(NAME, "905520bb0336accc73ee282c605d926aef90cf14248889d44b9cee50eef71f8a")
pytestmark = pytest.mark.skipif(not MODELS.exists(), reason=f"the published weights are not in {MODELS}")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BEAM_CURATOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model_dir(tmp_path):
    (tmp_path / "models").mkdir()
    shutil.copyfile(MODELS / f"{NAME}.zip", tmp_path / "models" / f"{NAME}.zip")
    return tmp_path / "models"


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def test_the_zip_is_converted_to_the_same_bytes_everywhere():
    content = nsfw_conversion.as_npz(MODELS / f"{NAME}.zip")
    assert len(content) == 1_041_113
    assert hashlib.sha256(content).hexdigest() == CONVERTED_SHA256


def test_the_compressed_file_is_the_one_that_is_taken_as_well():
    assert sha256(MODELS / f"{NAME}.npz") == COMPRESSED_SHA256


def test_a_zip_in_the_model_dir_is_converted_beside_it_once(model_dir, cache, monkeypatch):
    found = resolving.resolve_nsfw("laion", str(model_dir))
    assert (found.path, found.sha256) == (str(model_dir / f"{NAME}.npz"), CONVERTED_SHA256)
    assert sha256(found.path) == CONVERTED_SHA256
    assert sorted(path.name for path in model_dir.iterdir()) == [f"{NAME}.npz", f"{NAME}.zip"]
    monkeypatch.setattr(nsfw_conversion, "as_npz", lambda path: pytest.fail("converted again"))
    assert resolving.resolve_nsfw("laion", str(model_dir)) == found
    assert not cache.exists()


def test_of_a_model_dir_that_is_not_to_be_written_in_the_cache_holds_it(model_dir, cache, monkeypatch):
    put, tried = transfer.put, []

    def refusing(directory, fetch):
        tried.append(directory)
        if directory == str(model_dir):
            raise transfer.TransferError(f"{directory}: Read-only file system")
        put(directory, fetch)

    monkeypatch.setattr(transfer, "put", refusing)
    found = resolving.resolve_nsfw("laion", str(model_dir))
    assert found.path == str(cache / f"{NAME}.npz")
    assert sha256(found.path) == CONVERTED_SHA256
    assert resolving.resolve_nsfw("laion", str(model_dir)) == found
    assert tried == [str(model_dir), str(cache), str(model_dir)]


def test_an_npz_of_the_models_name_that_is_another_is_refused_with_both_sums(model_dir):
    (model_dir / f"{NAME}.npz").write_bytes(b"another")
    with pytest.raises(UsageError, match=rf"{NAME}\.npz has sha256 \w+, expected {CONVERTED_SHA256}; delete it"):
        resolving.resolve_nsfw("laion", str(model_dir))


def test_a_conversion_to_anything_else_is_refused(model_dir, monkeypatch):
    monkeypatch.setattr(nsfw_conversion, "as_npz", lambda path: b"arrays of some other NumPy")
    with pytest.raises(UsageError, match=rf"converted to \.npz: expected sha256 {CONVERTED_SHA256}, found"):
        resolving.resolve_nsfw("laion", str(model_dir))
    assert [path.name for path in model_dir.iterdir()] == [f"{NAME}.zip"]


@pytest.mark.parametrize("suffix", ["zip", "npz"])
@pytest.mark.parametrize("given", ["model_dir", "a path"])
def test_in_whichever_file_it_is_it_is_the_same_model_for_the_same_encoder(tmp_path, suffix, given):
    path = tmp_path / "m" / f"{NAME}.{suffix}"
    path.parent.mkdir()
    shutil.copyfile(MODELS / path.name, path)
    score = nsfw_scorer("laion", str(path.parent)) if given == "model_dir" else nsfw_scorer(str(path))
    assert score.identity == IDENTITY
    assert score.made_for.published
    assert score.source.endswith(".npz")


def test_a_users_own_zip_is_converted_into_the_cache_and_scores_as_the_published_head(tmp_path, cache):
    own = shutil.copyfile(MODELS / f"{NAME}.zip", tmp_path / "Mine.ZIP")
    found = resolving.resolve_nsfw(str(own), None)
    assert (found.name, found.path) == ("Mine", str(cache / sha256(own) / "Mine.npz"))
    assert found.identity == ModelIdentity("Mine", sha256(own))
    golden = np.load(MODELS.parent / "golden" / "heads_vit_l_14.npz")
    assert np.abs(NsfwHead.load(found.local_path())(golden["embedding"]) - golden["nsfw"]).max() < 1e-6
    assert [path.name for path in tmp_path.glob("Mine*")] == ["Mine.ZIP"]


def test_a_zip_with_a_damaged_index_is_refused_at_launch_with_its_path(tmp_path):
    path = tmp_path / "head.zip"
    with zipfile.ZipFile(MODELS / f"{NAME}.zip") as good, zipfile.ZipFile(path, "w") as bad:
        for member in good.infolist():
            content = good.read(member)
            bad.writestr(member.filename, content[:-1] if member.filename.endswith(".index") else content)
    with pytest.raises(UsageError, match=r"head\.zip: variables\.index does not end as a LevelDB table"):
        nsfw_scorer(str(path))


def test_another_savedmodel_is_refused_at_launch(tmp_path, monkeypatch):
    monkeypatch.setitem(nsfw_conversion._STRINGS_OF_COLUMN, 180, 999)
    path = shutil.copyfile(MODELS / f"{NAME}.zip", tmp_path / "head.zip")
    with pytest.raises(UsageError, match=r"head\.zip: no vocabulary of column 180; this is not LAION's NSFW head"):
        nsfw_scorer(str(path))


@pytest.mark.slow
def test_whoever_scores_imports_no_reader_of_savedmodels(tmp_path):
    code = f"""
import sys
from beam_curator.models.scorers.heads import nsfw_scorer
scorer = nsfw_scorer("laion", {str(MODELS)!r})
scorer.load()
print(scorer.identity.name, [name for name in sys.modules if "saved_model" in name or "nsfw_conversion" in name])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout == f"{NAME} []\n", ran.stderr


def test_fetched_it_is_the_npz_alone(tmp_path, monkeypatch):
    head = nsfw_weights.NSFW_LAION

    def downloaded(url, target, sha256, size_bytes):
        shutil.copyfile(MODELS / f"{NAME}.zip", target)

    monkeypatch.setattr(transfer, "download", downloaded)
    found = head.fetch(str(tmp_path / "m"))
    assert [path.name for path in (tmp_path / "m").iterdir()] == [f"{NAME}.npz"]
    assert found == head.find(str(tmp_path / "m"))
    assert found.identity == IDENTITY
