"""Ways to spoil a finished output: what each does, and what the verifier says of it."""

import re
import shutil
import tarfile

from tests.integration.damage import TarMember, change_json, change_rows, change_tar, flip_byte


def first(finished, pattern):
    return min(finished.glob(pattern))


def replaced(pattern, change, where):
    """Rewrites the first file that matches."""
    return lambda finished: change(first(finished, pattern), where)


def drop_row(number):
    return lambda rows: [row for index, row in enumerate(rows) if index != number]


def swap(one, other):
    def change(items):
        items[one], items[other] = items[other], items[one]

    return change


def put(of, **values):
    """Changes the first row with the status `of`."""

    def change(rows):
        next(row for row in rows if row["status"] == of).update(values)

    return change


def rename_column(path, _):
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    pq.write_table(table.rename_columns(["hash" if n == "sha256" else n for n in table.schema.names]), path)


def change_embedding(path, _):
    """Changes a number of each embedding, and keeps the part's metadata."""

    def changed(row):
        return row["embedding"] and [0.5, *row["embedding"][1:]]  # of a sample that failed there is none

    change_rows(path, lambda rows: [row | {"embedding": changed(row)} for row in rows])


def flip_last_embedding(path, _):
    """Changes one bit of the part's last embedding, which no output shard need have."""
    import pyarrow.parquet as pq

    group = pq.read_metadata(path).row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    chunk = next(one for one in chunks if one.path_in_schema.startswith("embedding."))
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[begin + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


def replace_text(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


PLAN = "plans/00000-*.json"
LEDGER, PART, TAR = "samples/00000-*-00000.parquet", "scores/00000-*-00000.parquet", "00001.tar"
SHARD = "00001"

SPOILED = {
    # plans
    "a cut": (
        replaced(PLAN, change_json, lambda plan: plan["layout"]["cuts"].pop()),
        r"plans/00000-\w+.json: cuts is \[.*, should be \[",
    ),
    "a plan's shard": (
        replaced(PLAN, change_json, lambda plan: plan["shard"].update(size_bytes=1)),
        r"plans/00000-\w+.json: size_bytes is 1, should be \d+",
    ),
    "a plan that is none": (
        lambda out: first(out, PLAN).write_text("[]"),
        r"plans/00000-\w+.json: is no plan of a shard",
    ),
    "a plan is gone": (lambda out: first(out, PLAN).unlink(), r"plans/00000-\w+.json: cannot be read: "),
    # members
    "a byte of an image": (
        lambda out: flip_byte(out / TAR, "000010003.jpg"),
        r"00001.tar: 000010003.jpg differs from '\d+' jpg of the input",
    ),
    "a byte of a caption": (
        lambda out: flip_byte(out / TAR, "000010003.txt"),
        r"00001.tar: 000010003.txt differs from '\d+' txt of the input",
    ),
    "a byte of an embedding": (
        lambda out: flip_byte(out / TAR, "000010003.clip.npy"),
        r"00001.tar: 000010003.clip.npy is not the embedding of the score part",
    ),
    "an embedding in a score part": (
        replaced(PART, change_embedding, None),
        r"00000.tar: 000000000.clip.npy is not the embedding of the score part",
    ),
    "a bit of an embedding in a score part": (
        replaced(PART, flip_last_embedding, None),
        r"scores/00000-\w+-00000.parquet: cannot be read: .*/scores/.* is damaged \(.*\): remove it, and run its job",
    ),
    "a number in curation.json": (
        lambda out: change_tar(
            out / TAR,
            lambda members: [
                TarMember(m.name, re.sub(rb'"width": \d+', b'"width": 7', m.data))
                if m.name == "000010003.curation.json"
                else m
                for m in members
            ],
        ),
        r"00001.tar: 000010003.curation.json: width is \d+, should be \d+",
    ),
    "a curation.json that is none": (
        lambda out: flip_byte_at_start(out / TAR, "000010003.curation.json"),
        r"00001.tar: 000010003.curation.json is not a JSON record",
    ),
    "a member gone": (
        lambda out: change_tar(out / TAR, lambda members: [m for m in members if m.name != "000010003.txt"]),
        r"00001.tar: 000010003.txt is missing",
    ),
    "a member too many": (
        lambda out: change_tar(out / TAR, lambda members: [TarMember("000010000.cls", b"7"), *members]),
        r"00001.tar: 000010000.cls was not in the input",
    ),
    "a member twice": (
        lambda out: change_tar(out / TAR, lambda members: [members[0], *members]),
        r"00001.tar: sample '000010000': repeated member",
    ),
    "members in another order": (
        lambda out: change_tar(out / TAR, swap(0, 1)),
        r"00001.tar: the members of 000010000 are not in the order of the input",
    ),
    "an entry that is no sample": (
        lambda out: change_tar(out / TAR, lambda members: [TarMember("extra", b"", tarfile.DIRTYPE), *members]),
        r"00001.tar: something that is no sample stands at byte 0",
    ),
    # packing
    "a tar without its end": (
        lambda out: cut(out / TAR, 10240),
        r"00001.tar: truncated",
    ),
    "a tar that is none": (
        lambda out: (out / TAR).write_bytes(b"no tar" * 1000),
        r"00001.tar: not a tar header",
    ),
    "a shard that is gone": (
        lambda out: [path.unlink() for path in out.glob(f"{SHARD}*")],
        r"00001.tar: cannot be read",
    ),
    "a tar that is gone": (lambda out: (out / TAR).unlink(), r"00001.tar: cannot be read"),
    "rows that are gone": (lambda out: (out / f"{SHARD}.parquet").unlink(), r"00001.parquet: cannot be read"),
    "statistics that are gone": (
        lambda out: (out / f"{SHARD}_stats.json").unlink(),
        r"00001_stats.json: cannot be read",
    ),
    "a shard too short": (
        lambda out: shorten(out, "00000", "000000019"),
        r"00000.tar: holds 19 samples, should hold 20",
    ),
    "samples in another order": (
        lambda out: change_tar(out / TAR, lambda members: sorted(members, key=lambda m: m.name, reverse=True)),
        r"00001.tar: its sample number 1 is '0000100\d\d', should be '000010000'",
    ),
    # the rows beside a tar
    "rows swapped": (
        lambda out: change_rows(out / f"{SHARD}.parquet", swap(0, 1)),
        r"00001.parquet: its row number 1 is of '000010001', the sample there in 00001.tar is '000010000'",
    ),
    "a row gone": (
        lambda out: change_rows(out / f"{SHARD}.parquet", drop_row(3)),
        r"00001.parquet: its row number 4 is of '000010004', the sample there in 00001.tar is '000010003'",
    ),
    "a score beside a tar": (
        lambda out: change_rows(out / f"{SHARD}.parquet", put("kept", aesthetic=9.5)),
        r"00001.parquet: aesthetic of 000010000 is 9.5, should be \d",
    ),
    "rows that are no Parquet": (
        lambda out: (out / f"{SHARD}.parquet").write_bytes(b"nothing"),
        r"00001.parquet: cannot be read",
    ),
    "statistics": (
        lambda out: change_json(out / f"{SHARD}_stats.json", lambda stats: stats.update(image_bytes=1)),
        r"00001_stats.json: image_bytes is 1, should be \d+",
    ),
    "the fingerprint of a shard": (
        lambda out: change_json(out / f"{SHARD}_stats.json", lambda stats: stats.pop("content")),
        r"00001_stats.json: content is None, should be 64 hex digits",
    ),
    # beside the shards
    "a figure on the card": (
        lambda out: replace_text(out / "README.md", "| seen | ", "| seen | 1"),
        r"README.md: does not tell counts, models and members as they are",
    ),
    "the card is gone": (lambda out: (out / "README.md").unlink(), r"README.md: cannot be read"),
    # the ledger
    "a ledger row gone": (
        replaced(LEDGER, change_rows, drop_row(1)),
        r"samples/00000-\w+-00000.parquet: no row for '\d+' at byte [\d,]+ of /.*00000.tar",
    ),
    "a ledger row doubled": (
        replaced(LEDGER, change_rows, lambda rows: [rows[0], *rows]),
        r"samples/00000-\w+-00000.parquet: 2 rows for '\d+' at byte 0 of /.*00000.tar",
    ),
    "a ledger row of nobody": (
        replaced(LEDGER, change_rows, lambda rows: [*rows, rows[0] | {"sample_id": "0" * 32, "key": "stranger"}]),
        r"samples/00000-\w+-00000.parquet: a row for 'stranger' at byte 0 of .*, which is not in the input there",
    ),
    "ledger rows swapped": (
        replaced(LEDGER, change_rows, swap(0, 1)),
        r"samples/00000-\w+-00000.parquet: the rows are not in the order of the input",
    ),
    "a ledger file gone": (
        lambda out: first(out, LEDGER).unlink(),
        r"samples/00000-\w+-00000.parquet: cannot be read",
    ),
    "a ledger file that is none": (
        lambda out: first(out, LEDGER).write_bytes(b"PAR1 nothing PAR1"),
        r"samples/00000-\w+-00000.parquet: cannot be read",
    ),
    "a ledger column gone": (
        replaced(LEDGER, rename_column, None),
        r"samples/00000-\w+-00000.parquet: has no column sha256",
    ),
    "a sha256": (
        replaced(LEDGER, change_rows, put("kept", sha256="0" * 64)),
        r"samples/00000-\w+-00000.parquet: sha256 of '\d+' is '0{64}', should be '[0-9a-f]{64}'",
    ),
    "a caption": (
        replaced(LEDGER, change_rows, put("dropped", caption="another")),
        r"samples/00000-\w+-00000.parquet: caption of '\d+' is 'another', should be '.+'",
    ),
    "a score": (
        replaced(LEDGER, change_rows, put("dropped", nsfw=0.125)),
        r"samples/00000-\w+-00000.parquet: nsfw of '\d+' is 0.125, should be \d",
    ),
    "a width": (
        replaced(LEDGER, change_rows, put("dropped", width=1)),
        r"samples/00000-\w+-00000.parquet: width of '\d+' is 1, should be \d+",
    ),
    "a reason of a failure": (
        replaced(LEDGER, change_rows, put("failed", reason="bad luck")),
        r"samples/00000-\w+-00000.parquet: reason of '\d+' is 'bad luck', should be '.+'",
    ),
    "a failed sample called dropped": (
        replaced(LEDGER, change_rows, put("failed", status="dropped")),
        r"samples/00000-\w+-00000.parquet: status of '\d+' is 'dropped', should be 'failed'",
    ),
    "a kept sample called dropped": (
        replaced(LEDGER, change_rows, put("kept", status="dropped")),
        r"samples/00000-\w+-00000.parquet: '\d+' is dropped for None and in 00000.tar: kept samples have a place",
    ),
    "a kept sample without a place": (
        replaced(LEDGER, change_rows, put("kept", output_shard=None)),
        r"samples/00000-\w+-00000.parquet: '\d+' is in None as 000000000, should be in 00000.tar as 000000000",
    ),
    "a kept sample at another's place": (
        replaced(LEDGER, change_rows, put("kept", output_key="000000007")),
        r"samples/00000-\w+-00000.parquet: '\d+' is in 00000.tar as 000000007, should be in 00000.tar as 000000000",
    ),
    "a kept sample at a place that is not there": (
        replaced(LEDGER, change_rows, put("kept", output_shard="99999.tar", output_key="999990000")),
        r"samples/00000-\w+-00000.parquet: '\d+' is in 99999.tar as 999990000, should be in 00000.tar as 000000000",
    ),
    # score parts
    "a score part gone": (
        lambda out: first(out, PART).unlink(),
        r"scores/00000-\w+-00000.parquet: is not there, or not a whole score part",
    ),
    "a score part cut": (
        lambda out: cut(first(out, PART), 100),
        r"scores/00000-\w+-00000.parquet: is not there, or not a whole score part",
    ),
    "a row of a score part gone": (
        replaced(PART, change_rows, drop_row(0)),
        r"scores/00000-\w+-00000.parquet: no row for '\d+' at byte 0",
    ),
    # the manifest
    "a count": (
        lambda out: change_json(out / "manifest.json", lambda manifest: manifest["counts"].update(kept=1)),
        r"manifest.json: counts.kept is 1, should be \d+",
    ),
    "a rule's count": (
        lambda out: change_json(out / "manifest.json", lambda m: m["counts"]["dropped_by_rule"].popitem()),
        r"manifest.json: counts.dropped_by_rule is \{.*, should be \{",
    ),
    "a broken shard hidden": (
        lambda out: change_json(out / "manifest.json", lambda manifest: manifest.update(broken_shards=[])),
        r"manifest.json: broken_shards is \[\], should be \[\{'shard': '.*00002.tar",
    ),
    "the number of output shards": (
        lambda out: change_json(out / "manifest.json", lambda manifest: manifest["output"].update(shards=9)),
        r"manifest.json: output.shards is 9, should be \d",
    ),
    "the bytes of the output": (
        lambda out: change_json(out / "manifest.json", lambda manifest: manifest["output"].update(bytes=9)),
        r"manifest.json: output.bytes is 9, should be \d+",
    ),
    "the bytes of the input": (
        lambda out: change_json(out / "manifest.json", lambda manifest: manifest["input"].update(bytes=9)),
        r"manifest.json: input.bytes is 9, should be \d+",
    ),
    "a model": (
        lambda out: change_json(out / "manifest.json", lambda manifest: manifest["models"].update(nsfw="other")),
        r"manifest.json: models is \{.*, should be \{",
    ),
    # strays
    "a file of somebody": (
        lambda out: (out / "notes.txt").write_text("mine"),
        r"notes.txt: does not belong here",
    ),
    "a shard after the last": (
        lambda out: shutil.copy(out / TAR, out / "00099.tar"),
        r"00099.tar: does not belong here",
    ),
    "a ledger file of no range": (
        lambda out: shutil.copy(first(out, LEDGER), out / "samples" / "other.parquet"),
        r"samples/other.parquet: does not belong here",
    ),
    "a score part of no range": (
        lambda out: shutil.copy(first(out, PART), out / "scores" / "other.parquet"),
        r"scores/other.parquet: does not belong here",
    ),
    "an empty _tmp": (lambda out: (out / "_tmp").mkdir(), r"_tmp: does not belong here"),
    "something half-written": (
        lambda out: ((out / "_tmp").mkdir(), (out / "_tmp" / "half").write_bytes(b"")),
        r"_tmp/half: does not belong here",
    ),
}


def cut(path, size):
    path.write_bytes(path.read_bytes()[:-size])


def flip_byte_at_start(path, name):
    def change(members):
        for member in members:
            if member.name == name:
                member.data = b"?" + member.data[1:]

    change_tar(path, change)


def shorten(out, shard, key):
    """Takes a sample out of a shard altogether, as if it had never been put there."""
    change_tar(out / f"{shard}.tar", lambda members: [m for m in members if not m.name.startswith(key)])
    change_rows(out / f"{shard}.parquet", lambda rows: [row for row in rows if row["key"] != key])
    tar_bytes = (out / f"{shard}.tar").stat().st_size
    change_json(out / f"{shard}_stats.json", lambda stats: stats.update(samples=19, tar_bytes=tar_bytes))
