"""Score parts: what is written is read back, by its fingerprint alone, and never in part."""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator import rows
from beam_curator.errors import CurationError
from beam_curator.output import score_parts
from beam_curator.output.score_parts import embeddings_of, fingerprint, part_name, read_part, read_stored, write_part
from beam_curator.samples import Member, Sample, SampleBatch, Shard, ShardError, ShardRange

SHARD = Shard("gs://bucket/raw/a.tar", 5000, "17.5")
RANGE = ShardRange(SHARD, 0, 4000, 0, last=False)
MODELS = {"clip": "tiny sha256:aa", "aesthetic": "v2 sha256:bb"}


@pytest.fixture
def batch():
    samples = [
        Sample("café", 0, 1024, {"jpg": Member("jpg", 512, 3, b"abc")}),
        Sample("b", 1024, 512, {}, failure="repeated member"),
    ]
    table = rows.with_score(rows.from_samples(RANGE, samples, ["a cat", None]), "aesthetic", np.array([5.25, 0]))
    embeddings = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float16)
    errors = (ShardError(SHARD.url, 3000, "truncated"),)
    return SampleBatch(RANGE, table, samples, embeddings, MODELS, errors)


def part_path(directory):
    return pathlib.Path(directory) / part_name(RANGE)


def all_files(directory):
    return sorted(str(path.relative_to(directory)) for path in pathlib.Path(directory).rglob("*") if path.is_file())


def test_a_part_gives_back_rows_scores_errors_and_models_and_leaves_bytes_and_embeddings_behind(tmp_path, batch):
    written = write_part(str(tmp_path), batch)
    read = read_part(str(tmp_path), RANGE, MODELS)
    assert written.samples is None
    assert written.embeddings is None
    assert read.rows.equals(batch.rows)
    assert (read.range, read.models, read.errors) == (RANGE, MODELS, batch.errors)
    assert read.part == written.part == str(part_path(tmp_path))
    np.testing.assert_array_equal(embeddings_of(read_stored(read.part)), batch.embeddings)


def test_the_embedding_column_is_a_fixed_size_list_of_float16(tmp_path, batch):
    write_part(str(tmp_path), batch)
    field = pq.read_schema(part_path(tmp_path)).field("embedding")
    assert field.type == pa.list_(pa.field("element", pa.float16()), 8)


def test_all_columns_are_compressed_but_embeddings(tmp_path, batch):
    write_part(str(tmp_path), batch)
    group = pq.ParquetFile(part_path(tmp_path)).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    assert len(columns) == len(batch.rows.schema) + 2 + 3 + 1 + 2  # two of embeddings, members, their sum, extents
    uncompressed = {c.path_in_schema for c in columns if c.compression != "ZSTD"}
    assert uncompressed == {"embedding.list.element", "more_embeddings.list.element"}


def test_a_batch_of_no_samples_is_a_part_as_well(tmp_path):
    empty = SampleBatch(RANGE, rows.from_samples(RANGE, [], []), [], np.zeros((0, 8), np.float16), MODELS)
    written = write_part(str(tmp_path), empty)
    assert len(read_part(str(tmp_path), RANGE, MODELS)) == 0
    assert embeddings_of(read_stored(written.part)).shape == (0, 8)


def test_the_same_batch_gives_the_same_bytes_and_no_temporary_file_is_left(tmp_path, batch):
    for name in ("one", "two"):
        write_part(str(tmp_path / name), batch)
    assert part_path(tmp_path / "one").read_bytes() == part_path(tmp_path / "two").read_bytes()
    assert all_files(tmp_path / "one") == [part_name(RANGE)]


def test_a_batch_that_was_never_embedded_or_lost_its_samples_is_refused(tmp_path, batch):
    with pytest.raises(CurationError, match="put EmbedImages before"):
        write_part(str(tmp_path), batch.replace(embeddings=None))
    with pytest.raises(CurationError, match="keep `samples`, which need no bytes"):
        write_part(str(tmp_path), batch.replace(samples=None))


CHANGES = {
    "url": dataclasses.replace(RANGE, shard=dataclasses.replace(SHARD, url="gs://bucket/raw/b.tar")),
    "size": dataclasses.replace(RANGE, shard=dataclasses.replace(SHARD, size_bytes=5001)),
    "generation": dataclasses.replace(RANGE, shard=dataclasses.replace(SHARD, generation="18")),
    "start": dataclasses.replace(RANGE, start=512),
    "end": dataclasses.replace(RANGE, end=4512),
    "ordinal": dataclasses.replace(RANGE, ordinal=1),
    "last": dataclasses.replace(RANGE, last=True),
    "compression": dataclasses.replace(RANGE, compression="gzip"),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_the_fingerprint_changes_with_the_shard_and_the_range(changed):
    assert fingerprint(changed, MODELS) != fingerprint(RANGE, MODELS)


@pytest.mark.parametrize(
    "models", [{}, {"clip": "tiny sha256:aa"}, {**MODELS, "aesthetic": "v1 sha256:cc"}, {**MODELS, "nsfw": "laion"}]
)
def test_the_fingerprint_changes_with_each_model_but_not_with_their_order(models):
    assert fingerprint(RANGE, models) != fingerprint(RANGE, MODELS)
    assert fingerprint(RANGE, dict(reversed(MODELS.items()))) == fingerprint(RANGE, MODELS)


def test_the_fingerprint_changes_with_the_version_of_scoring(monkeypatch):
    before = fingerprint(RANGE, MODELS)
    monkeypatch.setattr(score_parts, "SCORING_VERSION", score_parts.SCORING_VERSION + 1)
    assert fingerprint(RANGE, MODELS) != before


def test_a_part_of_another_fingerprint_is_not_read(tmp_path, batch):
    write_part(str(tmp_path), batch)
    assert read_part(str(tmp_path), RANGE, {**MODELS, "aesthetic": "v1"}) is None
    assert read_part(str(tmp_path), CHANGES["generation"], MODELS) is None
    assert read_part(str(tmp_path / "elsewhere"), RANGE, MODELS) is None


def test_a_part_that_was_scored_with_other_models_is_replaced(tmp_path, batch):
    write_part(str(tmp_path), batch)
    write_part(str(tmp_path), batch.replace(models={"clip": "other"}))
    assert read_part(str(tmp_path), RANGE, MODELS) is None
    assert read_part(str(tmp_path), RANGE, {"clip": "other"}).models == {"clip": "other"}


def spoil(content, kind):
    middle = len(content) // 2
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    return {
        "empty": b"",
        "no Parquet": b"scored anew, please" * 9,
        "cut": content[:middle],
        "cut inside the footer": content[:-20],
        "damaged footer": content[:footer] + bytes(len(content) - footer - 8) + content[-8:],
        "damaged pages": content[:4] + bytes([255]) * (footer - 4) + content[footer:],
    }[kind]


@pytest.mark.parametrize(
    "kind", ["empty", "no Parquet", "cut", "cut inside the footer", "damaged footer", "damaged pages"]
)
def test_a_corrupt_part_is_not_read_and_not_waited_for(tmp_path, batch, monkeypatch, kind):
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("corruption is no transient fault"))
    write_part(str(tmp_path), batch)
    path = part_path(tmp_path)
    path.write_bytes(spoil(path.read_bytes(), kind))
    assert read_part(str(tmp_path), RANGE, MODELS) is None


def test_a_parquet_file_of_somebody_else_is_not_read(tmp_path):
    path = part_path(tmp_path)
    path.parent.mkdir()
    pq.write_table(pa.table({"x": [1]}), path)
    assert read_part(str(tmp_path), RANGE, MODELS) is None


def test_storage_that_fails_for_a_moment_does_not_make_a_part_count_as_corrupt(tmp_path, batch, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    write_part(str(tmp_path), batch)
    real, attempts = score_parts.files.open_for_reading, []

    class Failing:
        def __init__(self, file):
            self._file = file

        def __getattr__(self, name):
            return getattr(self._file, name)

        def read(self, *size):
            raise ConnectionResetError("by peer")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

    def flaky(url):
        attempts.append(url)
        return Failing(real(url)) if len(attempts) < 3 else real(url)

    monkeypatch.setattr(score_parts.files, "open_for_reading", flaky)
    assert len(read_part(str(tmp_path), RANGE, MODELS)) == 2
    assert len(attempts) == 3


def test_a_failed_write_leaves_the_standing_part_and_nothing_half_written(tmp_path, batch, monkeypatch):
    write_part(str(tmp_path), batch)
    before = part_path(tmp_path).read_bytes()

    def failing(table, file, **_):
        file.write(b"half")
        raise PermissionError("disk gone")

    monkeypatch.setattr(score_parts.pq, "write_table", failing)
    with pytest.raises(PermissionError):
        write_part(str(tmp_path), batch)
    assert part_path(tmp_path).read_bytes() == before
    assert all_files(tmp_path) == [part_name(RANGE)]
