"""Embeddings of captions, kept on request: the same whenever they are made, and what similarity is computed from."""

import json
import tarfile
import threading

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from beam_curator.commands import main, verify_output
from beam_curator.models.encoders import caption_encoder
from beam_curator.models.encoders.caption_encoder import CaptionEncoder, CaptionTokeniser
from tests.integration.integration_content import ledger

KEEP = "--keep_text_embeddings"


def kept_in(directory):
    """The rows of a part, and of the files of columns beside it, in the order of the parts."""
    return ds.dataset(directory).to_table()["text_embedding"].to_pylist()


def cosines(rows, texts):
    """Computes, by sample, the cosine of each caption's embedding with its image's, in float64."""
    return {
        row["sample_id"]: np.dot(row["embedding"], text) / np.linalg.norm(row["embedding"]) / np.linalg.norm(text)
        for row, text in zip(rows, texts, strict=True)
        if text is not None
    }


def assert_exported(parquet, npy, by_id):
    """Asserts that both exports hold the embeddings of these samples; in the array nothing is zeros."""
    table = pq.read_table(parquet)
    expected = [by_id[name] for name in table["sample_id"].to_pylist()]
    assert table["text_embedding"].to_pylist() == expected
    array = np.load(npy)
    nothing = np.zeros(array.shape[1])
    np.testing.assert_array_equal(array, np.array([nothing if one is None else one for one in expected], np.float16))


def empty_text_embeddings(part):
    table = pq.read_table(part)
    index = table.schema.get_field_index("text_embedding")
    emptied = table.set_column(index, table.schema.field(index), pa.nulls(len(table), table.schema.types[index]))
    pq.write_table(emptied.replace_schema_metadata(table.schema.metadata), part)


def test_they_are_kept_beside_those_of_images_and_similarity_needs_no_text_half(
    curate, finished, tmp_path, monkeypatch, capsys
):
    code, printed, told = curate(finished, KEEP)
    assert (code, "no image read" in printed) == (0, True)
    assert "text_embedding is new, text_embedding (tiny-untrained), precision auto, untrained" in told
    later = kept_in(finished / "columns" / "text_embedding")
    rows = ds.dataset(finished / "scores").to_table().to_pylist()
    has_text = [bool(row["caption"]) and row["failure"] is None for row in rows]
    assert [one is not None for one in later] == has_text
    assert False in has_text[:-1] or any(row["failure"] for row in rows)

    monkeypatch.setattr(CaptionEncoder, "encode", None)  # nothing is embedded any more
    assert verify_output.main([str(finished)]) == 0
    elsewhere = tmp_path / "elsewhere"
    assert curate(elsewhere, "--scores_from", str(finished), KEEP)[0] == 0  # they are found beside the parts
    assert verify_output.main([str(elsewhere)]) == 0
    assert curate(finished, "--similarity")[0] == 0
    cosine = cosines(rows, later)
    similarity = {row["sample_id"]: row["similarity"] for row in ledger(finished)}
    assert {name for name, value in similarity.items() if value is not None} == set(cosine)
    assert all(abs(similarity[name] - value) < 1e-6 for name, value in cosine.items())
    monkeypatch.undo()

    threads = []
    tokenise = CaptionTokeniser.__call__
    monkeypatch.setattr(
        CaptionTokeniser,
        "__call__",
        lambda self, caption: threads.append(threading.current_thread().name) or tokenise(self, caption),
    )
    new = tmp_path / "new"
    assert curate(new, KEEP, "--similarity")[0] == 0
    assert kept_in(new / "scores") == later
    assert {row["sample_id"]: row["similarity"] for row in ledger(new)} == similarity
    assert len(threads) == sum(has_text)
    assert {name.partition("_")[0] for name in threads} == {"core"}  # those that decode
    assert verify_output.main([str(new)]) == 0

    other = tmp_path / "other"
    assert curate(other, "--scores_from", str(new), KEEP)[0] == 0
    assert verify_output.main([str(other)]) == 0
    for output, format in ((new, "npy"), (other, "parquet")):
        to = tmp_path / format
        assert main.main(["export", "embeddings", str(output), "--output", str(to), "--format", format]) == 0
    by_id = {row["sample_id"]: text for row, text in zip(rows, later, strict=True)}
    assert_exported(
        tmp_path / "parquet" / "embeddings_0.parquet", tmp_path / "npy" / "text_emb" / "text_emb_0.npy", by_id
    )

    empty_text_embeddings(sorted((new / "scores").iterdir())[0])
    capsys.readouterr()
    assert verify_output.main([str(new)]) == 1
    assert "is not embedded" in capsys.readouterr().out


def as_before_precision_was_recorded(path):
    """Has a file of columns say what an earlier release said."""
    table = pq.read_table(path)
    told = json.loads(table.schema.metadata[b"beam_curator"])
    assert told["scorer"]["identity"].pop("precision") == "fp32"
    pq.write_table(table.replace_schema_metadata({b"beam_curator": json.dumps(told, sort_keys=True)}), path)


def test_captions_of_another_precision_are_told_apart(curate, finished, monkeypatch, capsys):
    flags = (KEEP, "--similarity")
    assert curate(finished, *flags)[0] == 0
    manifest = json.loads((finished / "manifest.json").read_text())
    assert [manifest["models"][step]["precision"] for step in ("text_embedding", "similarity")] == ["fp32", "fp32"]
    assert curate(finished, *flags, "--precision", "bf16")[0] == 2

    columns = {step: sorted((finished / "columns" / step).iterdir()) for step in ("text_embedding", "similarity")}
    for files in columns.values():
        as_before_precision_was_recorded(files[0])
        files[-1].unlink()  # these are made anew, where captions are embedded in another precision
    monkeypatch.setattr(caption_encoder, "resolve_caption_precision", lambda precision, device: "bf16")
    code, out, _ = curate(finished, *flags)
    counts = f"1 range bf16, {len(columns['similarity']) - 2} ranges fp32, 1 range not recorded"
    assert (code, f"similarity and text_embedding: values of different precision: {counts}" in out) == (0, True), out
    models = json.loads((finished / "manifest.json").read_text())["models"]
    assert [models[step]["precision"] for step in columns] == ["mixed", "mixed"]
    record = next(finished.glob("*.tar"))
    with tarfile.open(record) as tar:
        member = next(name for name in tar.getnames() if name.endswith(".curation.json"))
        told = json.load(tar.extractfile(member))
    assert told["models"]["similarity"]["precision"] in ("bf16", "fp32")
    capsys.readouterr()
    assert verify_output.main([str(finished)]) == 0
