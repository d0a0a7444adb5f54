"""Duplicates of whole jobs: real pictures with planted copies; one of each group stays, and the verifier agrees."""

import json
import re
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import beam_curator as bc
from beam_curator.duplicates import edges, semantic
from beam_curator.errors import CurationError, UsageError
from beam_curator.output import deduplicating, edge_store, semantic_join, stored_vectors
from beam_curator.rows import DUPLICATE
from beam_curator.verification import kept_duplicates
from tests.integration.duplicate_jobs import ALL_KINDS, KEEP_ALL, changed_ledger, rows_of, verified
from tests.integration.integration_content import content, ledger
from tests.tars import tar_bytes, write_shard


@pytest.fixture
def no_embeddings(monkeypatch):
    """Fails the test if the embeddings of a part are read to be compared."""

    def refuse(part):
        raise AssertionError(f"{part} is read again")

    return lambda: monkeypatch.setattr(stored_vectors, "read_embeddings", refuse)


def test_planted_copies_are_found_and_told(curate, tmp_path, capsys):
    output = tmp_path / "out"
    code, out, err = curate(output, *KEEP_ALL, *ALL_KINDS)
    assert (code, err) == (0, "")
    rows = rows_of(output)
    dropped = [row for row in rows if row["duplicate_of"]]
    kept = {row["sample_id"]: row for row in rows if row["status"] == "kept"}
    assert {row["duplicate_kind"] for row in dropped} == {"exact", "perceptual", "semantic"}
    for row in dropped:
        keeper = kept[row["duplicate_of"]]
        assert row["status"] == "dropped"
        assert row["reason"] == f"duplicate: {row['duplicate_kind']}"
        assert row["width"] * row["height"] <= keeper["width"] * keeper["height"]
        assert (row["sha256"] == keeper["sha256"]) == (row["duplicate_kind"] == "exact")
    assert len({row["sha256"] for row in kept.values()}) == len(kept)
    for kind in ("exact", "perceptual", "semantic"):
        assert f"{sum(row['duplicate_kind'] == kind for row in dropped)}  duplicate: {kind}" in out
    code, said = verified(output, capsys)
    assert code == 0
    assert f"; {len(dropped)} duplicates and their keepers, all kept samples with each other" in said


@pytest.mark.parametrize("neighbours", [edges.NEIGHBOURS, 2])
def test_the_same_bytes_whatever_the_cells_and_the_workers(curate, deduplicated, tmp_path, monkeypatch, neighbours):
    other = ("edges/", "manifest")
    if neighbours != edges.NEIGHBOURS:  # the report counts what other thresholds keep, from pairs that are listed
        other = (*other, "report.")
    due = {name: data for name, data in content(deduplicated).items() if not name.startswith(other)}
    monkeypatch.setattr(semantic, "cells_for", lambda *_: 11)
    monkeypatch.setattr(semantic, "_TILE", 8)
    monkeypatch.setattr(edges, "NEIGHBOURS", neighbours)
    code, _, _ = curate(tmp_path / "other", *KEEP_ALL, *ALL_KINDS, "--report", "true", "--direct_num_workers", "2")
    assert code == 0
    found = content(tmp_path / "other")
    assert {name: found[name] for name in due} == due


@pytest.mark.slow
def test_worker_processes_give_the_same_bytes(curate, tmp_path):
    asked = [*KEEP_ALL, *ALL_KINDS, "--max_caption_repeats", "5"]
    processes = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    assert curate(tmp_path / "one", *asked)[0] == curate(tmp_path / "other", *asked, *processes)[0] == 0
    reasons = {row["reason"] for row in rows_of(tmp_path / "other")}
    assert {"caption_repeats > 5", *(f"duplicate: {kind}" for kind in ("exact", "perceptual", "semantic"))} <= reasons
    assert content(tmp_path / "one") == content(tmp_path / "other")


def test_other_choices_read_no_embedding(deduplicated, curate, no_embeddings, capsys):
    before = len([row for row in rows_of(deduplicated) if row["duplicate_of"]])
    no_embeddings()
    code, _, err = curate(deduplicated, *KEEP_ALL, "--duplicates", "exact,semantic", "--duplicate_cosine", "0.9999")
    assert (code, err) == (0, "")
    assert 0 < len([row for row in rows_of(deduplicated) if row["duplicate_of"]]) < before
    assert curate(deduplicated, "--min_width", "100", *KEEP_ALL, *ALL_KINDS, "--keep", "first")[0] == 0
    reasons = {row["reason"] for row in rows_of(deduplicated)}
    assert {"width < 100", "duplicate: exact", "duplicate: perceptual", "duplicate: semantic"} <= reasons
    assert curate(deduplicated, *KEEP_ALL)[0] == 0
    assert not any(row["duplicate_of"] for row in rows_of(deduplicated))
    assert "duplicate_kind" not in pq.read_schema(next((deduplicated / "samples").glob("*.parquet"))).names


def test_what_the_scoring_job_compared_is_not_compared_again(
    deduplicated, curate, no_embeddings, monkeypatch, tmp_path
):
    def refuse(*given):
        raise AssertionError("pairs are compared again")

    monkeypatch.setattr(deduplicating, "plan_join", refuse)
    monkeypatch.setattr(deduplicating, "perceptual_edges", refuse)
    no_embeddings()
    code, _, err = curate(tmp_path / "new", "--scores_from", str(deduplicated), *KEEP_ALL, *ALL_KINDS)
    assert (code, err) == (0, "")
    assert ledger(tmp_path / "new") == ledger(deduplicated)
    found = [
        {path.name: path.read_bytes() for path in place.glob("edges/*/*")} for place in (tmp_path / "new", deduplicated)
    ]
    assert found[0] == found[1] != {}


def test_a_lower_threshold_compares_again_and_a_higher_one_then_does_not(deduplicated, curate, no_embeddings, capsys):
    assert curate(deduplicated, *KEEP_ALL, "--duplicates", "semantic", "--duplicate_cosine", "0.99")[0] == 0
    lower = len([row for row in rows_of(deduplicated) if row["duplicate_of"]])
    assert verified(deduplicated, capsys)[0] == 0
    no_embeddings()
    assert curate(deduplicated, *KEEP_ALL, "--duplicates", "semantic", "--duplicate_cosine", "0.999")[0] == 0
    assert 0 < len([row for row in rows_of(deduplicated) if row["duplicate_of"]]) < lower


def test_new_shards_are_compared_with_what_is_there(raw, flags, curate, tmp_path, monkeypatch, capsys):
    first, second, third = sorted(raw.glob("*.tar"))
    asked = []
    monkeypatch.setattr(
        deduplicating,
        "plan_join",
        lambda place, compared, *more: asked.append(compared) or semantic_join.plan_join(place, compared, *more),
    )
    output = tmp_path / "grown"
    base = [*flags[2:], *KEEP_ALL, *ALL_KINDS]
    assert curate(output, base=["--input", str(first), *base])[0] == 0
    assert curate(output, base=["--input", str(first), "--input", str(second), "--input", str(third), *base])[0] == 0
    before, after = asked
    assert not before.known.any()
    assert after.known.sum() == len(before.known)
    assert verified(output, capsys)[0] == 0
    assert curate(tmp_path / "at_once", base=["--input", str(raw), *base])[0] == 0
    assert ledger(output) == ledger(tmp_path / "at_once")


def test_captions_may_tell_samples_apart(raw, curate, tmp_path, capsys):
    with tarfile.open(min(raw.glob("*.tar"))) as tar:
        picture = next(tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg"))
    samples = enumerate(("a dog", "a cat", "a dog "))
    entries = [entry for at, text in samples for entry in ((f"{at}.jpg", picture), (f"{at}.txt", text.encode()))]
    write_shard(tmp_path / "0.tar", tar_bytes(entries))
    base = ["--input", str(tmp_path / "0.tar"), "--clip_model", "tiny-untrained", *KEEP_ALL, *ALL_KINDS]
    for by, kept in (("image", 1), ("image+caption", 2)):
        assert curate(tmp_path / by, "--duplicates_by", by, base=base)[0] == 0
        assert sum(row["status"] == "kept" for row in rows_of(tmp_path / by)) == kept
        assert verified(tmp_path / by, capsys)[0] == 0


def test_a_killed_join_goes_on(curate, tmp_path, monkeypatch):
    output = tmp_path / "out"
    of_cell, done = semantic._of_cell, []

    def dies(compared, join, residents, guests):
        if len(done) == 5:
            raise CurationError("the machine is gone")
        done.append(len(residents))
        return of_cell(compared, join, residents, guests)

    monkeypatch.setattr(semantic, "cells_for", lambda *_: 12)
    monkeypatch.setattr(semantic_join, "share_of_cores", lambda: 1)
    monkeypatch.setattr(semantic, "_of_cell", dies)
    assert curate(output, *KEEP_ALL, *ALL_KINDS)[0] == 1
    assert list(output.glob("edges/semantic-*/piece-*.parquet"))
    without = shutil.copytree(output, tmp_path / "without")
    assert curate(without, *KEEP_ALL)[0] == 0
    assert not list(without.glob("edges/*/*"))  # three times as many bytes as there are embeddings
    again = []

    def refuse(*given):
        raise AssertionError("vectors are put in order again")

    monkeypatch.setattr(semantic_join, "write_block", refuse)
    monkeypatch.setattr(semantic, "_of_cell", lambda *given: again.append(1) or of_cell(*given))
    assert curate(output, *KEEP_ALL, *ALL_KINDS)[0] == 0
    assert 0 < len(again) <= 12 - 5
    names = {path.name for path in output.glob("edges/semantic-*/*")}
    assert names == {"classes.parquet", "pairs.parquet", "rows.parquet"}


TAMPERED = {
    "a keeper that went": (
        lambda rows: [{**row, "duplicate_of": row["duplicate_of"] and "0" * 32} for row in rows],
        f"is {'0' * 32!r}, which is no sample that is kept",
    ),
    "another distance": (
        lambda rows: [{**row, "duplicate_distance": row["duplicate_distance"] and 1.0} for row in rows],
        "duplicate_distance of",
    ),
    "another kind": (
        lambda rows: [
            {**row, "duplicate_kind": row["duplicate_kind"] and "exact", "reason": _exact(row)} for row in rows
        ],
        "of what is kept in its place, not (exact)",
    ),
    "no keeper": (lambda rows: [{**row, "duplicate_of": None} for row in rows], "its duplicate_of None"),
}


def _exact(row):
    return "duplicate: exact" if row["duplicate_kind"] else row["reason"]


@pytest.mark.parametrize("name", TAMPERED)
def test_a_ledger_that_tells_otherwise_is_found_out(name, deduplicated, capsys):
    change, told = TAMPERED[name]
    changed_ledger(deduplicated, change)
    code, said = verified(deduplicated, capsys)
    assert code == 1
    assert told in said


def test_differences_are_told_with_that_another_release_found_the_duplicates(deduplicated, capsys, monkeypatch):
    changed_ledger(deduplicated, TAMPERED["another distance"][0])
    assert "another release" not in verified(deduplicated, capsys)[1]
    monkeypatch.setitem(edge_store.VERSIONS, "perceptual", edge_store.VERSIONS["perceptual"] + 1)
    told = (
        "its perceptual duplicates were found by the rule of another release, which may be why: run its command again"
    )
    assert told in verified(deduplicated, capsys)[1].splitlines()[-1]


def test_of_very_many_samples_some_are_compared_with_all(deduplicated, capsys, monkeypatch):
    """And which ones is told. What is kept though it is a duplicate of one of them is found out."""
    monkeypatch.setattr(kept_duplicates, "WHOLE", 7)
    kept = sum(row["status"] == "kept" for row in rows_of(deduplicated))
    code, said = verified(deduplicated, capsys)
    assert code == 0
    told = f"of the embeddings of {kept} kept samples 7, spread evenly from the best to the last, with all others"
    assert told in said
    manifest = json.loads((deduplicated / "manifest.json").read_text())
    manifest["flags"] |= {"duplicates": ["semantic"], "duplicate_cosine": -1.0}
    (deduplicated / "manifest.json").write_text(json.dumps(manifest))
    code, said = verified(deduplicated, capsys)
    assert code == 1
    pairs = 7 * (kept - 7) + 7 * 6 // 2
    assert "are kept, and are semantic duplicates" in said
    assert 0 < int(re.search(r"(\d+) differences", said)[1]) - pairs < 2 * len(rows_of(deduplicated))


def test_embeddings_that_are_gone_are_told(deduplicated, capsys):
    part = min((deduplicated / "scores").glob("*.parquet"))
    part.unlink()
    code, said = verified(deduplicated, capsys)
    assert code == 1
    assert f"duplicates cannot be checked: {part}, which holds the embeddings of" in said
    assert "--against" not in said


@pytest.mark.parametrize("kind", ["exact", "perceptual", "semantic"])
def test_duplicates_that_were_kept_are_found_out(kind, deduplicated, curate, capsys):
    """By the verifier, of a job that says it dropped them."""
    assert curate(deduplicated, *KEEP_ALL)[0] == 0
    assert verified(deduplicated, capsys)[0] == 0
    for path in (deduplicated / "samples").glob("*.parquet"):
        table = pq.read_table(path)
        for field in DUPLICATE:
            table = table.append_column(field, pa.nulls(len(table), field.type))
        pq.write_table(table, path)
    manifest = json.loads((deduplicated / "manifest.json").read_text())
    manifest["flags"] |= {"duplicates": [kind], "duplicate_cosine": 0.999}
    (deduplicated / "manifest.json").write_text(json.dumps(manifest))
    code, said = verified(deduplicated, capsys)
    assert code == 1
    assert f"are kept, and are {kind} duplicates" in said


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--duplicates", "exact,near"], "'near' is none of exact, perceptual, semantic"),
        (["--duplicate_cosine", "0.9"], "--duplicate_cosine 0.9: nothing looks for duplicates: add --duplicates"),
        (["--duplicates", "semantic", "--duplicate_cosine", "97"], "97 is not between -1 and 1"),
        (
            ["--duplicates", "exact", "--keep", "similarity"],
            "this job has no score similarity of numbers: have it computed (--similarity), or",
        ),
        (["--duplicates", "exact", "--keep", "biggest"], "invalid choice: 'biggest'"),
        (["--duplicates", "exact", "--against", "RAW"], "holds no finished job"),
        (["--duplicates", "exact", "--against", "OUT"], "is the output itself"),
        (["--duplicates", "semantic", "--duplicate_slack", "0.7"], "0.7 is not proven"),
        (
            ["--duplicates", "exact,perceptual", "--duplicate_cosine", "0.97"],
            "duplicate_cosine=0.97: only semantic duplicates are told by it, and those of exact,perceptual are looked",
        ),
        (["--duplicates", "exact", "--duplicate_slack", "proven"], "duplicate_slack=0.5: only semantic duplicates"),
        (["--duplicates", "semantic", "--duplicate_bits", "0"], "duplicate_bits=0: only perceptual duplicates"),
    ],
    ids=range(11),
)
def test_what_cannot_be_meant_is_one_line(given, told, curate, raw, finished_once):
    given = [{"RAW": str(raw), "OUT": str(finished_once)}.get(one, one) for one in given]
    code, out, err = curate(finished_once, *given)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_a_pipeline_of_the_library_drops_them_too(raw, tmp_path, capsys):
    import apache_beam as beam

    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | bc.ReadSamples(f"{raw}/*.tar")
            | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
            | bc.DropDuplicates(str(tmp_path / "out"), kinds=["exact", "perceptual"])
            | bc.WriteShards(str(tmp_path / "out"))
        )
    assert {row["duplicate_kind"] for row in rows_of(tmp_path / "out")} == {None, "exact", "perceptual"}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["flags"]["duplicates"]["kinds"] == ["exact", "perceptual"]
    assert verified(tmp_path / "out", capsys)[0] == 0


def test_both_steps_have_one_directory(raw, tmp_path):
    import apache_beam as beam

    batches = beam.Pipeline() | bc.ReadSamples(f"{raw}/*.tar") | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
    kept = batches | bc.DropDuplicates(str(tmp_path / "one"))
    with pytest.raises(UsageError, match=r"give both the same directory"):
        kept | bc.WriteShards(str(tmp_path / "other"))


def test_failed_samples_and_empty_ranges_compete_with_nobody(curate, tmp_path, capsys):
    code, _, err = curate(tmp_path / "out", "--min_width", "5000", "--duplicates", "exact,perceptual,semantic")
    assert (code, err) == (0, "")
    assert not any(row["duplicate_of"] for row in rows_of(tmp_path / "out"))
    assert verified(tmp_path / "out", capsys)[0] == 0


def test_the_distance_is_the_exact_cosine(deduplicated):
    parts = sorted((deduplicated / "scores").glob("*.parquet"))
    tables = [pq.read_table(part, columns=["sample_id", "embedding"]) for part in parts]
    vectors = {row["sample_id"]: np.array(row["embedding"], float) for table in tables for row in table.to_pylist()}
    semantic_rows = [row for row in rows_of(deduplicated) if row["duplicate_kind"] == "semantic"]
    assert semantic_rows
    for row in semantic_rows:
        one, other = vectors[row["sample_id"]], vectors[row["duplicate_of"]]
        assert row["duplicate_distance"] == one @ other / np.sqrt((one @ one) * (other @ other))


def test_parts_without_hashes_are_told(curate, tmp_path, capsys):
    """Those of an earlier release: they compete as exact copies and by their embeddings alone."""
    output = tmp_path / "out"
    assert curate(output, *KEEP_ALL)[0] == 0
    for path in (output / "scores").glob("*.parquet"):
        table = pq.read_table(path)
        described = json.loads(table.schema.metadata[b"beam_curator"])
        del described["embeddings"]
        table = table.drop_columns(["phash256", "texture"])
        pq.write_table(table.replace_schema_metadata({b"beam_curator": json.dumps(described)}), path)
    code, out, err = curate(output, *KEEP_ALL, *ALL_KINDS)
    assert (code, err) == (0, "")
    rows = rows_of(output)
    assert {row["duplicate_kind"] for row in rows} == {None, "exact", "semantic"}
    competed = sum(row["status"] == "kept" or row["duplicate_kind"] is not None for row in rows)
    assert f"{competed} samples scored by an earlier release, which knew no such hash: not compared" in out
    assert verified(output, capsys)[0] == 0


def test_overwrite_removes_the_edges(deduplicated, curate):
    assert list(deduplicated.glob("edges/*/*.parquet"))
    assert curate(deduplicated, "--overwrite")[0] == 0
    assert not list(deduplicated.glob("edges/*/*"))
