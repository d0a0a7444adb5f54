"""The small jobs in pipelines/: the public names compose, and the examples do what they say."""

import csv
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from examples import embed_images, filter_with_rule, join_ledger, keep_one, train_head
from tests.integration.integration_content import ledger


def test_embed_images_leaves_an_embedding_for_every_sample(raw, tmp_path, finished_once):
    argv = ["--input", str(raw), "--output", str(tmp_path / "out"), "--clip_model", "tiny-untrained"]
    assert embed_images.main(argv) == 0
    embedded = ds.dataset(tmp_path / "out" / "scores").to_table()
    assert sorted(embedded["sample_id"].to_pylist()) == sorted(row["sample_id"] for row in ledger(finished_once))
    lengths = {row["sample_id"]: row["embedding"] and len(row["embedding"]) for row in embedded.to_pylist()}
    failed = {row["sample_id"] for row in ledger(finished_once) if row["status"] == "failed"}
    assert lengths == {id: None if id in failed else 768 for id in lengths}


def test_filter_with_rule_drops_what_its_rule_rejects_with_its_name_as_the_reason(raw, tmp_path):
    argv = ["--input", str(raw), "--output", str(tmp_path / "out"), "--clip_model", "tiny-untrained"]
    assert filter_with_rule.main([*argv, "--min_aesthetic", "0"]) == 0
    rows = ledger(tmp_path / "out")
    dropped = [row for row in rows if row["status"] == "dropped"]
    assert dropped
    assert {row["reason"] for row in dropped} == {"caption_says_something"}
    assert all(len(set(row["caption"].lower().split())) < 4 for row in dropped)
    written = [sample for tar in sorted((tmp_path / "out").glob("*.tar")) for sample in wds.WebDataset(str(tar))]
    assert len(written) == sum(row["status"] == "kept" for row in rows) > 0


def test_join_ledger_gives_every_sample_its_record(finished_once, tmp_path):
    rows = ledger(finished_once)
    with (tmp_path / "records.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "licence"])
        writer.writerows([row["key"], f"licence-{index}"] for index, row in enumerate(rows) if index % 2)
    argv = ["--ledger", str(finished_once / "samples"), "--records", str(tmp_path / "records.csv")]
    assert join_ledger.main([*argv, "--output", str(tmp_path / "joined")]) == 0
    lines = [json.loads(line) for file in tmp_path.glob("joined-*.jsonl") for line in file.read_text().splitlines()]
    assert len(lines) == len(rows)
    records = {line["key"]: line["record"] for line in lines}
    for index, row in enumerate(rows):
        expected = {"key": row["key"], "licence": f"licence-{index}"} if index % 2 else None
        assert records[row["key"]] == expected


def test_keep_one_says_which_things_go_for_a_better_one_that_stays(tmp_path, capsys):
    angles = {"a": 0.0, "b": 0.1, "c": 0.2, "d": 1.5, "e": None}
    vectors = [None if angle is None else [float(np.cos(angle)), float(np.sin(angle))] for angle in angles.values()]
    table = pa.table({"sample_id": list(angles), "embedding": vectors, "bytes": [5, 9, 7, 1, 8]})
    pq.write_table(table, tmp_path / "vectors.parquet")
    argv = ["--rank", "bytes", "--cosine", "0.99", "--output", str(tmp_path / "gone")]
    assert keep_one.main(["--vectors", str(tmp_path / "*.parquet"), *argv]) == 0
    lines = [json.loads(line) for file in tmp_path.glob("gone-*.jsonl") for line in file.read_text().splitlines()]
    assert sorted((line["id"], line["duplicate_of"], line["kind"]) for line in lines) == [
        ("a", "b", "semantic"),
        ("c", "b", "semantic"),
    ]
    np.testing.assert_allclose([line["distance"] for line in lines], np.cos(0.1), atol=1e-3)
    assert keep_one.main(["--vectors", str(tmp_path / "no-*.parquet"), *argv]) == 2
    assert "there is no such file" in capsys.readouterr().err


def losses(printed):
    """Reads the loss of each epoch, after checking that as many samples were counted as the output has."""
    lines = [re.fullmatch(r"epoch (\d+): (\d+) samples, mean squared error (\d+\.\d+)", line) for line in printed]
    assert [int(line[1]) for line in lines] == list(range(1, len(lines) + 1))
    return [int(line[2]) for line in lines], [float(line[3]) for line in lines]


def test_train_head_learns_a_score_from_the_embeddings_of_an_output(finished_once, capsys):
    assert train_head.main(["--curated", str(finished_once), "--score", "aesthetic", "--epochs", "6"]) == 0
    samples, loss = losses(capsys.readouterr().out.splitlines())
    assert samples == [sum(row["status"] == "kept" for row in ledger(finished_once))] * 6
    assert loss[-1] < loss[0] / 4


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_train_head_takes_more_workers_than_there_are_shards(finished_once, capsys):
    workers = len(list(finished_once.glob("*.tar"))) + 1
    assert train_head.main(["--curated", str(finished_once), "--workers", str(workers)]) == 0
    (samples,), _ = losses(capsys.readouterr().out.splitlines())
    assert samples == sum(row["status"] == "kept" for row in ledger(finished_once))


def test_the_nodes_of_train_head_share_the_samples_out(finished_once, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    counts = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert train_head.main(["--curated", str(finished_once)]) == 0
        (count,), _ = losses(capsys.readouterr().out.splitlines())
        counts.append(count)
    assert sum(counts) == sum(row["status"] == "kept" for row in ledger(finished_once))
    assert min(counts) > 0


def test_epochs_of_train_head_have_orders_of_their_own_that_come_again(finished_once):
    task = train_head.task_of(finished_once, "clip", "nsfw")

    def order(epoch):
        return [score.item() for _, score in train_head.examples(task, epoch)]

    first, second = order(0), order(1)
    assert order(0) == first != second
    assert sorted(first) == sorted(second)


@pytest.mark.parametrize(
    ("flag", "value", "line"),
    [
        ("--score", "beauty", "--score beauty: there is no such score; there are aesthetic, nsfw"),
        ("--embedding", "dino", "--embedding dino: there is no such embedding; there are clip"),
    ],
)
def test_what_train_head_does_not_find_is_named_with_what_is_there(finished_once, capsys, flag, value, line):
    assert train_head.main(["--curated", str(finished_once), flag, value]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said == f"train_head: {line}"


@pytest.mark.parametrize(
    ("main", "argv", "wanted"),
    [
        (embed_images.main, ["--output", "o"], "--input is missing"),
        (filter_with_rule.main, ["--input", "i"], "--output is missing"),
        (join_ledger.main, ["--ledger", "{tmp}", "--records", "x.csv", "--output", "o"], "no Parquet file"),
        (train_head.main, ["--curated", "{tmp}"], "no output shard"),
        (train_head.main, ["--epochs", "1"], "--curated"),
    ],
)
def test_their_errors_are_one_line_and_exit_code_2(tmp_path, capsys, main, argv, wanted):
    assert main([text.format(tmp=tmp_path) for text in argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wanted in line
