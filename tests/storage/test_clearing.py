"""What an output directory is left with is removed, and nothing else."""

import threading

from beam_curator.storage import clearing, directories, files
from beam_curator.storage.buckets.bucket import ObjectMetadata
from beam_curator.storage.temporary_names import LEASE, TEMPORARY


def test_temporaries_of_killed_attempts_are_removed_and_nothing_else(tmp_path):
    (tmp_path / TEMPORARY).mkdir()
    (tmp_path / TEMPORARY / "a.tar.123").write_bytes(b"half")
    (tmp_path / "a.tar").touch()
    clearing.remove_temporaries(str(tmp_path))
    clearing.remove_temporaries(str(tmp_path / "absent"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


class _Objects:
    """A bucket of names that counts how many it has told."""

    def __init__(self, names):
        self.names, self.told, self.told_at_first = sorted(names), 0, None
        self._lock = threading.Lock()

    def list(self, prefix, below=True, after=""):
        for name in self.names:
            if name.startswith(prefix) and name >= after:
                self.told += 1
                yield ObjectMetadata(name, 1, 0.0, "")

    def delete(self, urls):
        assert len(urls) <= 1000
        with self._lock:
            self.told_at_first = self.told_at_first or self.told
            self.names = sorted(set(self.names) - set(urls))


def test_many_temporaries_in_a_bucket_are_removed_as_they_are_listed(monkeypatch):
    """Some thousands at once, so that a million do not take hours, and are not all held."""
    temporary = f"gs://b/out/{TEMPORARY}"
    others = ["gs://b/out/00000.tar", f"{temporary}/{LEASE}"]
    pieces = [f"{temporary}/a-{index:05d}.parquet.{index:032x}" for index in range(20_000)]
    objects = _Objects([*others, *pieces])
    for module in (files, directories):
        monkeypatch.setattr(module, "bucket_of", lambda url: objects)
    clearing.remove_temporaries("gs://b/out")
    assert objects.names == others
    assert objects.told_at_first < 11_000
