"""The small jobs in pipelines/: the public names compose, and the examples do what they say."""

import csv
import json

import pyarrow.dataset as ds
import pytest
import webdataset as wds

from examples import embed_images, filter_with_rule, join_ledger
from tests.integration.integration_content import ledger


def test_embed_images_leaves_an_embedding_for_every_sample(raw, tmp_path, finished_once):
    argv = ["--input", str(raw), "--output", str(tmp_path / "out"), "--clip_model", "tiny-untrained"]
    assert embed_images.main(argv) == 0
    embedded = ds.dataset(tmp_path / "out" / "scores").to_table()
    assert sorted(embedded["uid"].to_pylist()) == sorted(row["uid"] for row in ledger(finished_once))
    assert {len(embedding) for embedding in embedded["embedding"].to_pylist()} == {768}


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


@pytest.mark.parametrize(
    ("main", "argv", "wanted"),
    [
        (embed_images.main, ["--output", "o"], "--input is missing"),
        (filter_with_rule.main, ["--input", "i"], "--output is missing"),
        (join_ledger.main, ["--ledger", "{tmp}", "--records", "x.csv", "--output", "o"], "no Parquet file"),
    ],
)
def test_their_errors_are_one_line_and_exit_code_2(tmp_path, capsys, main, argv, wanted):
    assert main([text.format(tmp=tmp_path) for text in argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wanted in line
