"""Fields of samples' metadata: what is carried of a `.json`, the types of columns, and img2dataset's Parquet."""

import dataclasses
import io
import itertools
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator import rows
from beam_curator.commands.field_lines import field_lines
from beam_curator.commands.fields_of_flags import fields_of_selection
from beam_curator.errors import StorageError, UsageError
from beam_curator.field_tally import MAX_FIELDS, FieldsFound, FieldTally, column_type, sum_fields
from beam_curator.output.added_columns import read_range
from beam_curator.output.field_store import fields_name, found_fields, in_types, read_fields, write_fields
from beam_curator.output.manifest import fields_of as told_fields
from beam_curator.output.outcomes import Summary
from beam_curator.output.score_steps import Wanted
from beam_curator.reading import Reading
from beam_curator.rules.column_rules import AtLeast
from beam_curator.rules.fields_wanted import fields_wanted
from beam_curator.rules.judging import judge
from beam_curator.rules.lists import candidates, ids_of
from beam_curator.rules.top import top_fraction
from beam_curator.rules.where import Where
from beam_curator.sources import sidecars
from beam_curator.sources.list_files import entries_of, list_file
from beam_curator.sources.sample_batches import read_batch
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.storage import retrying
from beam_curator.transforms.wire_format import decode_batch, encode_batch
from tests.batches import ENCODER, MEMBERS, scored_batches
from tests.tars import tar_bytes, write_shard


def batch_of(path, records, carry=("all",), members=()):
    """A batch of samples with these objects, or bytes, as their `.json`."""
    entries = [
        (f"{index:03d}.{extension}", data)
        for index, record in enumerate(records)
        for extension, data in (
            ("jpg", b"x"),
            ("json", record if isinstance(record, bytes) else json.dumps(record).encode()),
            *members,
        )
        if data is not None
    ]
    (range,) = plan_ranges(write_shard(path, tar_bytes(entries)), 1 << 40, None, Reading(carry=carry))
    return read_batch(range)


def carried(batch):
    return batch.rows.select(rows.field_names(batch.rows)).to_pydict()


def test_scalars_become_columns_that_say_their_role(tmp_path):
    record = {"url": "https://a.Example.ORG:8080/x?y", "n": 3, "share": 0.5, "ok": True, "width": 9, "none": None}
    batch = batch_of(tmp_path / "a.tar", [record, {"n": 4}])
    assert carried(batch) == {
        "json.n": [3, 4],
        "json.ok": [True, None],
        "json.share": [0.5, None],
        "json.url": ["https://a.Example.ORG:8080/x?y", None],
        "json.width": [9, None],
        "url_domain": ["a.example.org", None],
    }
    assert [str(batch.rows.schema.field(name).type) for name in carried(batch)] == [
        *("int64", "bool", "double", "string", "int64", "string")
    ]
    assert rows.names_with(batch.rows, rows.CARRIED) == list(carried(batch))
    assert batch.rows["width"].to_pylist() == [None, None], "a field takes no column of ours"


@pytest.mark.parametrize(
    ("written", "column"),
    [
        (b'{"a": NaN}', None),
        (b'{"a": [1]}', None),
        (b'{"a": {"b": 1}}', None),
        (b'{"a": 1, "a": 2}', [2]),
        (b"\xef\xbb\xbf" + b'{"a": 1}', [1]),
        ('{"a": "é"}'.encode("utf-16"), ["é"]),
        (b'{"a": "\\ud800"}', ["?"]),
        (b'{"a": 9223372036854775808}', ["9223372036854775808"]),
        (b'{"a": ' + b"9" * 5000 + b"}", ["9" * 5000]),
        (b'{"a": "' + b"x" * 65536 + b'"}', ["x" * 65536]),
        (b'{"a": "' + b"x" * 65537 + b'"}', None),
        (b'{"a": 1', None),
        (b"[" * 100_000, None),
        (b'{"a": 1, "b": ' + b"[" * 199 + b"]" * 199 + b"}", [1]),
        (b'{"a": 1, "b": ' + b"[" * 200 + b"]" * 200 + b"}", None),
        (b'["a"]', None),
        (b"\xff\xfe\xfa", None),
        (b"", None),
    ],
    ids=str,
)
def test_whatever_a_json_holds_it_is_carried_or_left_out(tmp_path, written, column):
    batch = batch_of(tmp_path / "a.tar", [written])
    assert carried(batch) == ({} if column is None else {"json.a": column})


def test_what_is_left_out_is_counted_and_told(tmp_path):
    records = [{"tags": ["x"], "exif": "x" * 70_000, "n": 1}, b"{", b'["n"]', {"n": "one"}, {"n": 1.5}]
    found = batch_of(tmp_path / "a.tar", records).fields
    assert field_lines(told_fields(Summary(fields=found))) == [
        "carried 1 field of the samples as columns: json.n",
        "text, since values of several kinds were met: json.n (integers and fractions and texts)",
        "not carried, lists or objects: json.tags (1 x)",
        "not carried, texts of over 64 KiB: json.exif (1 x)",
        "2 samples without fields: the .json is no JSON object, or over 4 MiB",
    ]
    assert field_lines({}, ["n", "uid"]) == ["NOTE: --carry n,uid: no sample has one of these fields"]
    assert field_lines(told_fields(Summary(fields=found.only(["n", "uid", "tags"]))), ["n", "tags", "uid"])[1] == (
        "NOTE: --carry uid: no sample has such a field"
    )


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 3),
    st.floats(allow_nan=False, width=32),
    st.sampled_from([1.0, -0.0, 0.5]),
    st.text("ab1", max_size=2),
)


@given(st.lists(VALUES, min_size=1, max_size=6), st.data())
def test_columns_are_the_same_however_samples_fall_into_ranges(tmp_path_factory, values, data):
    """In one range, in one range each, and in any order of the sum."""
    directory = tmp_path_factory.mktemp("ranges")
    together = batch_of(directory / "all.tar", [{"a": value} for value in values])
    apart = [batch_of(directory / f"{i}.tar", [{"a": value}]) for i, value in enumerate(values)]
    met = sum_fields(data.draw(st.permutations([batch.fields for batch in apart])))
    assert met == together.fields
    pieces = [in_types(batch.rows.select(rows.field_names(batch.rows)), met.types, 1) for batch in apart]
    whole = together.rows.select(rows.field_names(together.rows))
    if whole.schema.names:
        assert pa.concat_tables(pieces).equals(whole)


@pytest.mark.parametrize(
    ("kinds", "type"),
    [
        (["flag"], "flag"),
        (["integer", "wide"], "integer"),
        (["integer", "number"], "number"),
        (["wide", "number"], "text"),
        (["huge"], "text"),
        (["flag", "integer"], "text"),
        (["text", "number"], "text"),
        ([], "text"),
    ],
    ids=str,
)
def test_a_column_takes_all_its_values_exactly(kinds, type):
    assert column_type(kinds) == type


def test_of_very_many_fields_the_shortest_names_are_carried_in_any_order(tmp_path):
    def found(numbers):
        return FieldsFound({f"json.f{number}": FieldTally(frozenset({"integer"}), 1) for number in numbers})

    parts = [found(range(start, start + 700)) for start in (0, 700, 1400)]
    sums = [sum_fields(order) for order in itertools.permutations(parts)]
    assert all(one == sums[0] for one in sums)
    assert sorted(sums[0].columns) == sorted(f"json.f{number}" for number in range(MAX_FIELDS))
    record = {f"f{number}": number for number in range(2100)}
    batch = batch_of(tmp_path / "a.tar", [{**record, "x" * 201: 1}])
    assert (len(carried(batch)), batch.fields.more) == (MAX_FIELDS, True)
    named = batch_of(tmp_path / "a.tar", [record], carry=("f2099",))
    assert (carried(named), named.fields.more) == ({"json.f2099": [2099]}, False)
    assert "1,000 with the shortest names: --carry names others" in field_lines(told_fields(Summary(fields=sums[0])))[1]


def test_only_what_is_chosen_is_carried_and_as_if_it_had_been_chosen_at_once(tmp_path):
    records = [{"url": "http://a/x", "n": 1, "sha256": "0"}, b"{"]
    chosen = batch_of(tmp_path / "a.tar", records, carry=("url",))
    assert list(carried(chosen)) == ["json.url", "url_domain"]
    assert batch_of(tmp_path / "a.tar", records).fields.only(("url",)) == chosen.fields
    nothing = batch_of(tmp_path / "a.tar", records, carry=())
    assert (carried(nothing), nothing.fields) == ({}, None)


@pytest.mark.parametrize(
    ("given", "carry"),
    [("all", ("all",)), ("none", ()), ("url, json.uid,url", ("uid", "url")), (["n"], ("n",)), ((), ())],
    ids=str,
)
def test_how_fields_are_chosen(given, carry):
    assert Reading(carry=given).carry == carry


@pytest.mark.parametrize("given", ["", "url,,n", "all,url"])
def test_a_choice_that_means_nothing_is_refused(given):
    with pytest.raises(UsageError, match="carry="):
        Reading(carry=given)


def img2dataset_parquet(records, **more):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{**record, **more} for record in records]), file)
    return file.getvalue()


KEYED = [{"key": f"{index:03d}", "url": f"http://a/{index}", "original_width": 10 + index} for index in range(3)]


def test_img2datasets_parquet_says_what_the_json_does_not(tmp_path):
    (tmp_path / "0.parquet").write_bytes(img2dataset_parquet(reversed(KEYED), status="success"))
    batch = batch_of(tmp_path / "0.tar", [{"url": "http://a/0", "original_width": 7}, {"url": None}, b"{"])
    assert carried(batch) == {
        "json.key": ["000", "001", "002"],
        "json.original_width": [7, 11, 12],
        "json.status": ["success"] * 3,
        "json.url": ["http://a/0", "http://a/1", "http://a/2"],
        "url_domain": ["a"] * 3,
    }
    assert not batch.fields.foreign_sidecars


@pytest.mark.parametrize(
    "content",
    [
        b"no Parquet",
        img2dataset_parquet([{"caption": "x"}]),
        img2dataset_parquet([{"key": "other", "url": "http://a/0"}]),
        img2dataset_parquet([{"key": "000", "url": "http://another/0"}]),
        img2dataset_parquet(KEYED, shard="x", offset=0, output_shard="y", output_key="z"),
    ],
    ids=["no_parquet", "no_keys", "other_keys", "other_urls", "of_a_curation"],
)
def test_a_parquet_of_something_else_is_ignored_and_told(tmp_path, content):
    path = tmp_path / "0.parquet"
    path.write_bytes(content)
    batch = batch_of(tmp_path / "0.tar", [{"url": "http://a/0"}])
    assert list(carried(batch)) == ["json.url", "url_domain"]
    lines = field_lines(told_fields(Summary(fields=batch.fields)))
    assert lines[-1] == f"{path} is not img2dataset's of the shard beside: ignored"


def test_the_rows_beside_a_shard_are_not_decoded_one_by_one(tmp_path, monkeypatch):
    """Ten thousand of them take a second then, and each worker that has a range of the shard reads them."""
    (tmp_path / "0.parquet").write_bytes(img2dataset_parquet([*KEYED, *({"key": f"x{n}"} for n in range(37))]))
    sizes = []
    iter_batches = pq.ParquetFile.iter_batches

    def noting(*given, **named):
        for batch in iter_batches(*given, **named):
            sizes.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noting)
    assert carried(batch_of(tmp_path / "0.tar", [{"url": "http://a/0"}]))["json.original_width"] == [10]
    assert sizes == [16, 16, 8]


@pytest.mark.parametrize("at_most", [1 << 10, 1 << 20], ids=["of_the_file", "of_what_it_holds"])
def test_a_parquet_beside_a_shard_that_takes_too_much_memory_is_ignored_and_told(tmp_path, monkeypatch, at_most):
    monkeypatch.setattr(sidecars, "MAX_SIDECAR_BYTES", at_most)
    path = tmp_path / "0.parquet"
    path.write_bytes(img2dataset_parquet(KEYED * 40, caption="x" * 20_000))  # 2.4 MB, of which the file has a few KB
    batch = batch_of(tmp_path / "0.tar", [{"url": "http://a/0"}])
    assert list(carried(batch)) == ["json.url", "url_domain"]
    assert batch.fields.foreign_sidecars == {str(path)}


@pytest.mark.parametrize(
    ("hashes", "others", "line"),
    [
        (3, 0, "json.sha256 is that of the stored image in all 3 samples that say one"),
        (3, 3, "json.sha256 is that of the stored image in none of 3 samples: a downloader hashes what it fetched"),
        (3, 1, "NOTE: json.sha256 is not that of the stored image in 1 of 3 samples"),
    ],
)
def test_hashes_that_a_downloader_recorded_are_told_beside_ours(hashes, others, line):
    (told,) = field_lines(FieldsFound(hashes=hashes, other_hashes=others).as_json)
    assert told.startswith(line)


def test_a_range_without_fields_keeps_no_file_and_is_not_read_again(tmp_path):
    (batch,) = scored_batches(tmp_path, tar_bytes(MEMBERS), range_bytes=1 << 40)
    stored = read_range(str(tmp_path / "scored"), batch.range, Wanted(ENCODER))
    assert (stored.lacks_fields, stored.batch.fields) == (False, FieldsFound())
    assert not (tmp_path / "scored" / "fields").exists()


def test_fields_that_are_damaged_are_found_out_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(retrying.CLOCK, "sleep", lambda seconds: pytest.fail("what is damaged is read again"))
    batch, output = batch_of(tmp_path / "a.tar", [{"n": 1}, {"n": 2}]), str(tmp_path)
    write_fields(output, batch, "made of this")
    path = tmp_path / fields_name(batch.range)
    whole, column = path.read_bytes(), pq.read_metadata(path).row_group(0).column(0)
    assert found_fields(output, batch.range).types == {"json.n": "integer"}
    path.write_bytes(whole[:-60] + bytes([255]) * 52 + whole[-8:])
    assert found_fields(output, batch.range) is None
    begin = column.dictionary_page_offset or column.data_page_offset
    end = begin + column.total_compressed_size
    path.write_bytes(whole[:begin] + bytes([255]) * (end - begin) + whole[end:])
    with pytest.raises(StorageError, match=rf"{re.escape(str(path))} is damaged .*: remove it, and run its job again"):
        read_fields(output, batch.range, {"json.n": "integer"})


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "of an earlier release"])
def test_a_file_of_fields_with_one_bit_changed_tells_the_same_or_is_none(tmp_path, sealed):
    batch, output = batch_of(tmp_path / "a.tar", [{"n": 1, "long": "a"}, {"n": 2}]), str(tmp_path)
    write_fields(output, batch, "a range")
    path = tmp_path / fields_name(batch.range)
    if not sealed:
        table = pq.read_table(path)
        metadata = {key: value for key, value in table.schema.metadata.items() if b"crc32" not in key}
        pq.write_table(table.replace_schema_metadata(metadata), path)
    content, whole = path.read_bytes(), found_fields(output, batch.range)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        found = found_fields(output, batch.range)
        assert not sealed or found in (None, whole), place


def kept(batch, *rules):
    table, _ = judge(batch.rows, rules)
    return [reason or "kept" for reason in table["reason"].to_pylist()]


RECORDS = [{"similarity": 0.3, "w": 300, "License": "by"}, {"similarity": 0.25}, {}]


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        (AtLeast("json.similarity", 0.3), ["kept", "json.similarity < 0.3", "no json.similarity"]),
        (AtLeast("json.nowhere", 1), ["no json.nowhere"] * 3),
        (Where("json.similarity > 0.28"), ["kept", "NOT (json.similarity > 0.28)", "(json.similarity > 0.28) IS NULL"]),
        (Where("\"json.similarity\" <= 0.3 AND json.LICENSE = 'by'"), ["kept", None, None]),
        (Where("coalesce(json.w, images) >= 1 AND coalesce(json.nowhere, true)"), ["kept"] * 3),
        (Where("json.similarity IS NULL"), ["NOT (json.similarity IS NULL)"] * 2 + ["kept"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_rules_look_at_fields(tmp_path, rule, outcome):
    found = kept(batch_of(tmp_path / "a.tar", RECORDS), rule)
    assert [due is None or due == one for due, one in zip(outcome, found, strict=True)] == [True] * 3
    assert [one == "kept" for one in found] == [due == "kept" for due in outcome]


def test_a_batch_keeps_its_fields_on_its_way_between_workers(tmp_path):
    batch = batch_of(tmp_path / "a.tar", [*RECORDS, b"{", {"tags": []}])
    there = decode_batch(encode_batch(batch))
    assert there.fields == batch.fields
    assert there.range == batch.range
    assert there.rows.equals(batch.rows, check_metadata=True)


def test_uids_as_datacomp_writes_them_and_urls_are_those_that_samples_say(tmp_path):
    uids = [f"{number:032X}" for number in (3, 2**64 + 5, 7)]
    batch = batch_of(tmp_path / "a.tar", [{"uid": uid, "url": f"http://A/{uid}"} for uid in uids] + [{}])
    np.save(tmp_path / "subset.npy", np.array([(0, 3), (1, 5)], "u8,u8"))
    (tmp_path / "urls.txt").write_text(f"http://A/{uids[0]}\nhttp://a/{uids[1]}\n")
    found = []
    for text in (str(tmp_path / "subset.npy"), f"url={tmp_path}/urls.txt"):
        one = list_file("--allow", text, allows=True)
        indices, ids = candidates(batch.rows, one)
        (entries,) = entries_of(one)
        found.append(indices[np.isin(ids, ids_of(entries))].tolist())
    assert found == [[0, 1], [0]]


def test_a_selection_says_which_fields_it_needs():
    rules = [Where("json.a > 1 OR coalesce(json.b, json.c) > 1 OR json.b = 2"), Where("coalesce(json.d, 1) > 0")]
    wanted = fields_wanted(rules, [], [top_fraction("json.e=0.5")])
    assert (sorted(wanted.needed), sorted(wanted.optional)) == (
        ["json.a", "json.b", "json.c", "json.e"],
        ["json.d"],
    )
    assert wanted.types({"json.a": "number", "json.x": "text"})["json.d"] is None
    with pytest.raises(UsageError, match=r"top 0.5 of json.e wants json.e, which --carry a,b,c leaves out"):
        wanted.check_carried(("a", "b", "c"))
    with pytest.raises(UsageError, match=r"wants json.a, which no sample has: did you mean json.aa"):
        wanted.check_there({"json.aa": "number", "json.b": "text", "json.c": "text", "json.e": "number"})
    assert not fields_wanted([AtLeast("width", 3)], [], [])
    assert fields_wanted([lambda row: row["json.a"]], [], []).every


def test_what_a_finished_job_met_is_known_where_it_read_the_same_input_in_the_same_way():
    met = FieldsFound({"json.n": FieldTally(frozenset({"integer"}), 3)}, foreign_sidecars=frozenset({"a.parquet"}))
    reading = json.loads(json.dumps(dataclasses.asdict(Reading())))
    manifest = {"input": {"shards": 1}, "reading": reading, "fields": told_fields(Summary(fields=met))}

    def known(reading, shards=1):
        rules = [AtLeast("json.n", 2)]
        return fields_of_selection(manifest, reading, {"shards": shards}, rules, [], [], {}).found

    assert known(Reading()) == known(Reading(several_images="first")) == FieldsFound(met.columns)
    assert known(Reading(), shards=2) is None
    for apart in (Reading(carry=("n",)), Reading(group_by_key=True), Reading(caption_column="alt")):
        assert known(apart) is None
