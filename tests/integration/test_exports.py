"""`beam-curator export`: what other tools read is what the output keeps, in its order."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator.commands import main
from tests.integration.damage import change_json
from tests.integration.integration_content import ledger


@pytest.fixture
def export(capsys):
    def run(*words):
        code = main.main(["export", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def embeddings_in_tars(output):
    found = {}
    for path in sorted(output.glob("*.tar")):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                if name.endswith(".clip.npy"):
                    found[name.removesuffix(".clip.npy")] = np.load(io.BytesIO(tar.extractfile(name).read()))
    return found


def test_embeddings_are_those_of_the_tars_with_their_rows_in_files_of_one_size(finished_once, tmp_path, export):
    expected = embeddings_in_tars(finished_once)
    to = tmp_path / "vectors"
    code, out, err = export("embeddings", finished_once, "--output", to, "--rows_per_file", 17)
    assert (code, out, err) == (0, f"{to}: {len(expected)} embeddings with their rows, as npy\n", "")
    arrays = [np.load(path) for path in sorted((to / "img_emb").iterdir())]
    assert [len(array) for array in arrays[:-1]] == [17] * (len(arrays) - 1)
    assert {array.dtype for array in arrays} == {np.dtype(np.float16)}
    tables = [pq.read_table(path) for path in sorted((to / "metadata").iterdir())]
    assert [len(table) for table in tables] == [len(array) for array in arrays]
    rows = pa.concat_tables(tables)
    assert rows["key"].to_pylist() == rows["image_path"].to_pylist() == list(expected)
    np.testing.assert_array_equal(np.concatenate(arrays), np.stack([*expected.values()]))
    kept = {row["sample_id"]: row["output_key"] for row in ledger(finished_once) if row["status"] == "kept"}
    assert dict(zip(rows["sample_id"].to_pylist(), rows["key"].to_pylist(), strict=True)) == kept
    assert sorted(path.name for path in to.iterdir()) == ["img_emb", "metadata"]


def test_a_size_of_files_that_lance_does_not_take_is_refused(finished_once, tmp_path, export):
    words = ("embeddings", finished_once, "--output", tmp_path / "v", "--format", "lance", "--rows_per_file", 17)
    told = "beam-curator: --rows_per_file 17: lance has files of its own sizes: leave it out\n"
    assert export(*words) == (2, "", told)


def test_one_file_of_parquet_has_rows_and_embeddings(finished_once, tmp_path, export):
    assert export("embeddings", finished_once, "--output", tmp_path / "v", "--format", "parquet")[0] == 0
    table = pq.read_table(tmp_path / "v" / "embeddings_0.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float32())
    expected = embeddings_in_tars(finished_once)
    assert table["key"].to_pylist() == list(expected)
    np.testing.assert_array_equal(np.stack(table["embedding"].to_pylist()), np.stack([*expected.values()]))


def test_what_cannot_be_exported_is_told_in_one_line(finished, tmp_path, export):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    for words, said in (
        (("embeddings", finished), "--output"),
        (("embeddings", finished, "--output", finished / "v"), "lies in the job's own directory"),
        (("embeddings", finished, "--output", tmp_path / "full"), "is not empty: give a new directory"),
        (("embeddings", tmp_path / "none", "--output", tmp_path / "v"), "holds no finished job"),
        (("embeding", finished), "no export embeding: did you mean embeddings?"),
        ((), "say what to export: embeddings, datacomp-uids"),
    ):
        code, out, err = export(*words)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert said in err
    code, _, err = export("datacomp-uids", finished, "--output", tmp_path / "subset.npy")
    assert (code, "has no uid of 32 hex digits in its .json" in err, len(err.splitlines())) == (1, True, 1)
    for part in (finished / "scores").iterdir():
        part.unlink()
    code, _, err = export("embeddings", finished, "--output", tmp_path / "v")
    assert (code, "which holds the embeddings of" in err, len(err.splitlines())) == (1, True, 1)
    for content in ("[1]", '{"counts": 5}'):
        (finished / "manifest.json").write_text(content)
        for what in ("embeddings", "datacomp-uids"):
            code, _, err = export(what, finished, "--output", tmp_path / "v")
            assert (code, "holds no finished job" in err, len(err.splitlines())) == (2, True, 1)


def test_an_export_of_less_than_is_kept_is_none(finished, tmp_path, export):
    ledger_file = min((finished / "samples").iterdir())
    content = ledger_file.read_bytes()
    ledger_file.write_bytes(content[:-20])
    code, _, err = export("embeddings", finished, "--output", tmp_path / "v")
    assert (code, f"{ledger_file} is damaged (" in err, len(err.splitlines())) == (2, True, 1)
    ledger_file.unlink()
    for format in ("npy", "parquet"):
        code, _, err = export("embeddings", finished, "--output", tmp_path / "v", "--format", format)
        assert (code, " kept samples, its manifest.json tells of " in err, len(err.splitlines())) == (1, True, 1)
        assert not [*(tmp_path / "v").rglob("*.npy"), *(tmp_path / "v").rglob("*.parquet")]
    ledger_file.write_bytes(content)
    change_json(finished / "manifest.json", lambda manifest: manifest["counts"].update(kept=3))
    code, _, err = export("embeddings", finished, "--output", tmp_path / "v")
    assert (code, " kept samples, its manifest.json tells of 3: files are gone" in err) == (1, True)


def test_uids_that_were_not_carried_are_read_from_the_samples_themselves(finished, tmp_path, export):
    keys = []
    for path in finished.glob("*.tar"):
        members = []
        with tarfile.open(path) as tar:
            for member in tar:
                data = tar.extractfile(member).read()
                key, _, extension = member.name.partition(".")
                if extension == "json":
                    continue
                members.append((member.name, data))
                if extension == "curation.json":
                    keys.append(key)
                    members.append((f"{key}.json", json.dumps({"uid": f"{1 << 127 | int(key):032x}"}).encode()))
        with tarfile.open(path, "w") as tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    code, out, err = export("datacomp-uids", finished, "--output", tmp_path / "subset.npy")
    assert (code, err) == (0, ""), out
    subset = np.load(tmp_path / "subset.npy")
    assert subset.dtype == np.dtype("u8,u8")
    assert subset.tolist() == [(1 << 63, int(key)) for key in sorted(keys)]
    (finished / "00000.parquet").unlink()
    code, _, err = export("datacomp-uids", finished, "--output", tmp_path / "less.npy")
    assert (code, " kept samples, its manifest.json tells of " in err, len(err.splitlines())) == (1, True, 1)
    (finished / "00000.parquet").write_bytes(b"PAR1")
    code, _, err = export("datacomp-uids", finished, "--output", tmp_path / "less.npy")
    assert (code, "00000.parquet is damaged (" in err, len(err.splitlines())) == (2, True, 1)
    assert not (tmp_path / "less.npy").exists()
