"""Score parts: what is written is read back by its range and encoder, step by step, and never in part."""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.typehints.arrow_type_compatibility import beam_schema_from_arrow_schema
from apache_beam.typehints.schemas import named_tuple_from_schema

from beam_curator import rows
from beam_curator.errors import CurationError, StorageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import Column
from beam_curator.output import score_parts
from beam_curator.output.embedding_column import of_one_length
from beam_curator.output.part_contents import embeddings_digest, embeddings_of, read_embeddings, read_stored
from beam_curator.output.score_parts import facts_in_part, part_name, range_fingerprint, read_part, write_part
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep
from beam_curator.reading import Reading
from beam_curator.samples import Member, Sample, SampleBatch, Shard, ShardError, ShardRange

SHARD = Shard("gs://bucket/raw/a.tar", 5000, "17.5")
RANGE = ShardRange(SHARD, 0, 4000, 0, last=False)
ENCODER = ModelIdentity("tiny", "aa", precision="fp32")
AESTHETIC = ScoreStep("aesthetic", ModelIdentity("v2", "bb"), "embedding", (Column("aesthetic"),))
WARM = ScoreStep("warm", ModelIdentity("warm"), "pixels", (Column("warm", "flag"), Column("hue", "text")))
MODELS = {EMBEDDING_STEP: ENCODER, "aesthetic": AESTHETIC.identity}


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
    written = write_part(str(tmp_path), batch, [AESTHETIC])
    stored = read_part(str(tmp_path), RANGE, ENCODER)
    read = stored.batch
    assert written.samples is None
    assert written.embeddings is None
    assert read.rows.equals(batch.rows)
    assert (read.range, read.models, read.errors) == (RANGE, MODELS, batch.errors)
    assert (stored.encoder, stored.steps, stored.lacking([AESTHETIC])) == (ENCODER, (AESTHETIC,), [])
    assert read.part == written.part == str(part_path(tmp_path))
    embeddings = embeddings_of(read_stored(read.part))
    np.testing.assert_array_equal(embeddings, batch.embeddings * [[1], [0]])  # the second one failed
    assert embeddings.dtype == np.float16


def test_facts_are_told_of_a_part_that_is_whole_and_storage_that_does_not_give_it_is_no_part_that_is_not_there(
    tmp_path, batch, monkeypatch
):
    assert facts_in_part(str(tmp_path), RANGE, ENCODER) is None
    write_part(str(tmp_path), batch, [AESTHETIC])
    has = {name for name in rows.OPTIONAL_FACTS.names if rows.has_fact(batch.rows.schema, name)}
    assert facts_in_part(str(tmp_path), RANGE, ENCODER) == has
    assert facts_in_part(str(tmp_path), RANGE, dataclasses.replace(ENCODER, sha256="another")) is None

    def refused(url):
        raise StorageError(f"cannot read {url}: permission denied") from PermissionError()

    monkeypatch.setattr(score_parts.files, "open_for_reading", refused)
    with pytest.raises(StorageError, match="permission denied"):
        facts_in_part(str(tmp_path), RANGE, ENCODER)


def test_the_embedding_column_is_a_list_of_float32_and_null_where_a_sample_failed(tmp_path, batch):
    write_part(str(tmp_path), batch, [AESTHETIC])
    column = pq.read_table(part_path(tmp_path))["embedding"]
    assert column.type == pa.list_(pa.field("element", pa.float32()))
    assert column.to_pylist() == [batch.embeddings[0].astype(np.float32).tolist(), None]


def test_beam_reads_a_part_as_rows(tmp_path, batch):
    write_part(str(tmp_path), batch, [AESTHETIC])
    schema = beam_schema_from_arrow_schema(pq.read_schema(part_path(tmp_path)))
    row = named_tuple_from_schema(schema)
    assert {"key", "aesthetic", "embedding", "members", "headers_crc32"} <= set(row._fields)


def test_a_part_without_one_usable_sample_knows_the_length_of_embeddings(tmp_path, batch):
    failed = batch.replace(rows=rows.with_failures(batch.rows, {0: "cut", 1: "cut"}))
    written = write_part(str(tmp_path), failed, [AESTHETIC])
    np.testing.assert_array_equal(embeddings_of(read_stored(written.part)), np.zeros((2, 8)))


def test_a_part_of_a_release_that_stored_float16_is_read_as_well(tmp_path, batch):
    written = write_part(str(tmp_path), batch, [AESTHETIC])
    table = pq.read_table(part_path(tmp_path))
    before = of_one_length(table["embedding"], 8)
    more = table["more_embeddings"].cast(pa.list_(pa.float16()))
    for name, column in (("embedding", before), ("more_embeddings", more)):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(
        table.replace_schema_metadata({score_parts.METADATA: table.schema.metadata[score_parts.METADATA]}),
        part_path(tmp_path),
    )
    np.testing.assert_array_equal(read_embeddings(written.part).embeddings, batch.embeddings * [[1], [0]])
    assert read_part(str(tmp_path), RANGE, ENCODER).batch.rows.equals(batch.rows)


def test_all_columns_are_compressed(tmp_path, batch):
    write_part(str(tmp_path), batch, [AESTHETIC])
    group = pq.ParquetFile(part_path(tmp_path)).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    assert len(columns) == len(batch.rows.schema) - 2 + 2 + 3 + 1 + 2  # no outcome; embeddings, members, sum, extents
    assert {column.compression for column in columns} == {"ZSTD"}


def test_a_batch_of_no_samples_is_a_part_as_well(tmp_path):
    empty = SampleBatch(RANGE, rows.from_samples(RANGE, [], []), [], np.zeros((0, 8), np.float16), MODELS)
    written = write_part(str(tmp_path), empty, [])
    assert len(read_part(str(tmp_path), RANGE, ENCODER).batch) == 0
    assert embeddings_of(read_stored(written.part)).shape == (0, 8)


def test_the_same_batch_gives_the_same_bytes_and_no_temporary_file_is_left(tmp_path, batch):
    for name in ("one", "two"):
        write_part(str(tmp_path / name), batch, [AESTHETIC])
    assert part_path(tmp_path / "one").read_bytes() == part_path(tmp_path / "two").read_bytes()
    assert all_files(tmp_path / "one") == [part_name(RANGE)]


def test_a_batch_that_was_never_embedded_or_lost_its_samples_is_refused(tmp_path, batch):
    with pytest.raises(CurationError, match="put EmbedImages before"):
        write_part(str(tmp_path), batch.replace(embeddings=None), [AESTHETIC])
    with pytest.raises(CurationError, match="keep `samples`, which need no bytes"):
        write_part(str(tmp_path), batch.replace(samples=None), [AESTHETIC])


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


@pytest.mark.parametrize("several_images", [False, True])
@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_the_fingerprint_changes_with_the_shard_and_the_range(changed, several_images):
    assert range_fingerprint(changed, several_images) != range_fingerprint(RANGE, several_images)


def test_the_fingerprint_changes_with_what_becomes_of_several_images_where_there_are_some():
    changed = dataclasses.replace(RANGE, reading=Reading(several_images="all"))
    assert range_fingerprint(changed, True) != range_fingerprint(RANGE, True)
    assert range_fingerprint(changed, False) == range_fingerprint(RANGE, False)


def test_the_fingerprint_changes_with_the_version_of_scoring(monkeypatch):
    before = range_fingerprint(RANGE, False)
    monkeypatch.setattr(score_parts, "SCORING_VERSION", score_parts.SCORING_VERSION + 1)
    assert range_fingerprint(RANGE, False) != before


def test_a_part_of_another_range_or_encoder_is_not_read(tmp_path, batch):
    write_part(str(tmp_path), batch, [AESTHETIC])
    for encoder in (
        ModelIdentity("tiny", "cc", precision="fp32"),
        ModelIdentity("tiny", "aa", precision="bf16"),
        ENCODER.with_notes("JPEG draft"),
        dataclasses.replace(ENCODER, trained=False),
    ):
        assert read_part(str(tmp_path), RANGE, encoder) is None
    assert read_part(str(tmp_path), CHANGES["generation"], ENCODER) is None
    assert read_part(str(tmp_path / "elsewhere"), RANGE, ENCODER) is None


def test_any_precision_will_do_where_the_worker_is_to_choose_it(tmp_path, batch):
    write_part(str(tmp_path), batch, [AESTHETIC])
    stored = read_part(str(tmp_path), RANGE, dataclasses.replace(ENCODER, precision="auto"))
    assert stored.encoder == ENCODER


def test_without_an_encoder_what_stands_is_read_whatever_embedded_it_and_when(tmp_path, batch):
    write_part(str(tmp_path), batch, [AESTHETIC])
    assert read_part(str(tmp_path), CHANGES["generation"], None).encoder == ENCODER


def test_a_part_of_another_encoder_is_replaced(tmp_path, batch):
    other = ModelIdentity("other")
    write_part(str(tmp_path), batch, [AESTHETIC])
    write_part(str(tmp_path), batch.replace(models={EMBEDDING_STEP: other}), [])
    assert read_part(str(tmp_path), RANGE, ENCODER) is None
    assert read_part(str(tmp_path), RANGE, other).batch.models == {EMBEDDING_STEP: other}


@pytest.fixture
def two_steps(batch):
    table = rows.with_score(batch.rows, "warm", [True, True], pa.bool_())
    table = rows.with_score(table, "hue", ["red", "blue"], pa.string())
    table = rows.with_failures(table, {0: "warm: too dark"}, of="warm")
    return batch.replace(rows=table, models={**MODELS, "warm": WARM.identity})


def test_a_part_is_read_without_the_columns_and_failures_of_a_scorer_that_is_not_wanted(tmp_path, batch, two_steps):
    write_part(str(tmp_path), two_steps, [AESTHETIC, WARM])
    stored = read_part(str(tmp_path), RANGE, ENCODER)
    assert stored.batch.rows.equals(two_steps.rows)
    assert stored.batch.rows["reason"].to_pylist() == ["warm: too dark", "repeated member"]
    only = stored.only([AESTHETIC])
    assert only.batch.rows.equals(batch.rows)
    assert only.batch.rows["status"].to_pylist() == ["kept", "failed"]
    assert (only.batch.models, only.steps) == (MODELS, (AESTHETIC,))


@pytest.mark.parametrize(
    "changed",
    [
        dataclasses.replace(AESTHETIC, identity=ModelIdentity("v1", "cc")),
        dataclasses.replace(AESTHETIC, needs="caption"),
        dataclasses.replace(AESTHETIC, columns=(Column("aesthetic", worse="higher"),)),
    ],
    ids=["identity", "needs", "worse"],
)
def test_scores_of_a_scorer_that_has_changed_are_lacking_and_the_others_stay(tmp_path, two_steps, changed):
    write_part(str(tmp_path), two_steps, [AESTHETIC, WARM])
    stored = read_part(str(tmp_path), RANGE, ENCODER)
    assert stored.lacking([changed, WARM]) == [changed]
    only = stored.only([changed, WARM])
    assert only.steps == (WARM,)
    assert rows.score_names(only.batch.rows) == ["warm", "hue"]
    assert only.batch.models == {EMBEDDING_STEP: ENCODER, "warm": WARM.identity}


def test_what_rules_made_of_samples_is_no_part_of_a_part(tmp_path, batch):
    write_part(str(tmp_path / "fresh"), batch, [AESTHETIC])
    dropped = rows.with_column(batch.rows, "status", ["dropped", "failed"])
    dropped = rows.with_column(dropped, "reason", ["aesthetic < 6", "repeated member"])
    write_part(str(tmp_path / "selected"), batch.replace(rows=dropped), [AESTHETIC])
    assert part_path(tmp_path / "fresh").read_bytes() == part_path(tmp_path / "selected").read_bytes()
    read = read_part(str(tmp_path / "selected"), RANGE, ENCODER).batch.rows
    assert read["status"].to_pylist() == ["kept", "failed"]
    assert read["reason"].to_pylist() == [None, "repeated member"]


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
    write_part(str(tmp_path), batch, [AESTHETIC])
    path = part_path(tmp_path)
    path.write_bytes(spoil(path.read_bytes(), kind))
    assert read_part(str(tmp_path), RANGE, ENCODER) is None


def page_ends(path):
    """Column to the place of the last byte of its values."""
    group = pq.read_metadata(path).row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    starts = [min(filter(None, [one.dictionary_page_offset, one.data_page_offset])) for one in chunks]
    sizes = [one.total_compressed_size for one in chunks]
    names = [one.path_in_schema.split(".")[0] for one in chunks]
    return dict(zip(names, (start + size - 1 for start, size in zip(starts, sizes, strict=True)), strict=True))


@pytest.mark.parametrize("column", ["aesthetic", "bytes", "embedding", "members"])
def test_one_bit_that_has_changed_since_is_found(tmp_path, batch, monkeypatch, column):
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("corruption is no transient fault"))
    write_part(str(tmp_path), batch, [AESTHETIC])
    path = part_path(tmp_path)
    content = bytearray(path.read_bytes())
    content[page_ends(path)[column]] ^= 1
    path.write_bytes(content)
    if column not in ("embedding", "members"):
        assert read_part(str(tmp_path), RANGE, ENCODER) is None  # so it is scored anew
        return
    assert read_part(str(tmp_path), RANGE, ENCODER) is not None  # which reads neither
    for read in [read_stored, read_embeddings] if column == "embedding" else [read_stored]:
        with pytest.raises(StorageError, match=rf"{path} is damaged \(.*\): remove it, and run its job again"):
            read(str(path))


def test_a_part_with_one_bit_of_its_footer_changed_tells_the_same_or_is_no_part(tmp_path, batch):
    write_part(str(tmp_path), batch, [AESTHETIC])
    path, whole = part_path(tmp_path), read_part(str(tmp_path), RANGE, ENCODER)
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in range(footer, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        found = read_part(str(tmp_path), RANGE, ENCODER)
        assert found is None or _told_by(found) == _told_by(whole), place


def _told_by(stored):
    batch = stored.batch
    return batch.rows, batch.errors, batch.passed_over, batch.findings, batch.fields, batch.models, stored.steps


@pytest.mark.parametrize(
    "told", [None, b"no JSON", b"[1]", b"{}", b'{"encoder": 1}', b'{"errors": [], "scorers": [1]}']
)
def test_a_parquet_file_of_somebody_else_is_not_read(tmp_path, told):
    path = part_path(tmp_path)
    path.parent.mkdir()
    table = pa.table({"x": [1]})
    pq.write_table(table if told is None else table.replace_schema_metadata({b"beam_curator": told}), path)
    assert read_part(str(tmp_path), RANGE, ENCODER) is None
    assert read_part(str(tmp_path), RANGE, None) is None


def test_storage_that_fails_for_a_moment_does_not_make_a_part_count_as_corrupt(tmp_path, batch, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    write_part(str(tmp_path), batch, [AESTHETIC])
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
    assert len(read_part(str(tmp_path), RANGE, ENCODER).batch) == 2
    assert len(attempts) == 3


def test_a_failed_write_leaves_the_standing_part_and_nothing_half_written(tmp_path, batch, monkeypatch):
    write_part(str(tmp_path), batch, [AESTHETIC])
    before = part_path(tmp_path).read_bytes()

    def failing(table, file, **_):
        file.write(b"half")
        raise PermissionError("disk gone")

    monkeypatch.setattr(score_parts.pq, "write_table", failing)
    with pytest.raises(PermissionError):
        write_part(str(tmp_path), batch, [AESTHETIC])
    assert part_path(tmp_path).read_bytes() == before
    assert all_files(tmp_path) == [part_name(RANGE)]


def test_a_part_that_is_none_is_told_by_its_name_where_others_compare_with_it(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StorageError, match=r"a.parquet is damaged \(.*\): remove it, and run its job again"):
        embeddings_digest(str(tmp_path / "a.parquet"))
