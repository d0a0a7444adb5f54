"""A file of weights is verified wherever it is read, and gets its name when it is whole."""

import contextlib
import pickle
import threading

import pytest

from beam_curator.errors import CurationError
from beam_curator.models.weights import transfer
from beam_curator.models.weights.weights_file import WeightsFile
from tests.models.weights.sources import CONTENT, HEAD, SHA256, nothing_but, put


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
