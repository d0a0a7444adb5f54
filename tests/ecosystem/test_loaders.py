"""Loaders for training read the output directory, each in an environment of its own."""

import pytest

from beam_curator.commands import curate_images, verify_output
from tests.ecosystem.conftest import OPEN_CLIP_TRAIN, ROOT, SAMPLES, TORCH
from tests.integration.integration_content import ledger

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]


@pytest.mark.parametrize("version", ["webdataset==0.2.86", "webdataset>=1.0"])
def test_webdataset(run_with, version):
    program = """
import glob, webdataset
shards = sorted(glob.glob("curated/*.tar"))
samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
assert {sample["clip.npy"].dtype.name for sample in samples} == {"float16"}
assert all(sample["jpg"].size[0] >= 96 for sample in samples)
assert samples[0]["curation.json"]["input_key"] == "000000000"
print(len(samples))
"""
    assert run_with([version, "pillow", TORCH], program) == f"{SAMPLES}\n"


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_datasets_read_the_directory(run_with, streaming):
    program = """
import sys, datasets
streaming = sys.argv[1] == "True"
samples = list(datasets.load_dataset("curated", split="train", streaming=streaming))
assert samples[0]["jpg"].size == (96, 64)
assert samples[0]["txt"] == "picture number 0"
print(len(samples))
"""
    assert run_with(["datasets>=4", "pillow"], program, str(streaming)).endswith(f"{SAMPLES}\n")


@pytest.mark.parametrize("files", ["curated/samples/*.parquet", "curated/0*.parquet", "curated/scores/*.parquet"])
def test_hugging_face_datasets_read_rows(run_with, files):
    program = """
import sys, datasets
print(len(datasets.load_dataset("parquet", data_files=sys.argv[1], split="train")))
"""
    assert run_with(["datasets>=4", "pillow"], program, files).endswith(f"{SAMPLES}\n")


def test_wids_reaches_each_sample_by_its_number(run_with):
    """wids came with webdataset before 1.0; the number of samples of each shard is in sizes.json."""
    program = """
import json, wids
sizes = json.load(open("curated/sizes.json"))
shards = [{"url": f"curated/{name}", "nsamples": count} for name, count in sorted(sizes.items())]
dataset = wids.ShardListDataset(shards, cache_dir="wids_cache")
samples = [dataset[index] for index in reversed(range(len(dataset)))]
assert [one[".txt"] for one in samples[::-1]] == [f"picture number {index}" for index in range(len(dataset))]
assert all(one[".jpg"].size[0] >= 96 and one[".clip.npy"].shape == (768,) for one in samples)
print(len(samples))
"""
    assert run_with(["webdataset<1", "pillow", TORCH], program).splitlines()[-1] == f"{SAMPLES}"


def test_energon_prepares_and_loads_the_directory(run_with):
    """In a copy: it writes .nv-meta and *.tar.idx beside the tars."""
    program = """
import pathlib, shutil, subprocess, sys
from megatron.energon import WorkerConfig, get_loader, get_val_dataset
shutil.copytree("curated", "for_energon")
energon = pathlib.Path(sys.executable).with_name("energon")
subprocess.run([energon, "prepare", "for_energon", "--non-interactive", "--split-ratio", "1,0,0", "--num-workers", "1",
                "--sample-type", "CaptioningSample", "--field-map", '{"image": "jpg", "caption": "txt"}'], check=True)
config = WorkerConfig(rank=0, world_size=1, num_workers=0)
loader = get_loader(get_val_dataset("for_energon", split_part="train", worker_config=config, batch_size=1))
captions = [caption for batch in loader for caption in batch.caption]
assert captions == [f"picture number {index}" for index in range(len(captions))]
print(len(captions))
"""
    assert run_with(["megatron-energon", "pillow", TORCH], program).splitlines()[-1] == f"{SAMPLES}"


def test_litdata_streams_the_rows(run_with):
    program = """
import glob, pathlib, shutil, litdata
from litdata.streaming.item_loader import ParquetLoader
pathlib.Path("for_litdata").mkdir()
for file in glob.glob("curated/0*.parquet"):
    shutil.copy(file, "for_litdata")
litdata.index_parquet_dataset("for_litdata")
rows = list(litdata.StreamingDataset("for_litdata", item_loader=ParquetLoader()))
assert [row["caption"] for row in rows] == [f"picture number {index}" for index in range(len(rows))]
assert rows[0]["json_url"] == "https://pictures.example/0.jpg"
print(len(rows))
"""
    assert run_with(["litdata", "polars", "pyarrow", "pillow", TORCH], program).splitlines()[-1] == f"{SAMPLES}"


def test_mosaicml_streaming_takes_the_samples_as_mds(run_with):
    """It reads no tars: its own writer makes MDS of them, as for every WebDataset."""
    program = """
import glob, itertools, tarfile
from streaming import MDSWriter, StreamingDataset
def samples():
    for shard in sorted(glob.glob("curated/*.tar")):
        with tarfile.open(shard) as tar:
            members = ((one.name.partition("."), tar.extractfile(one).read()) for one in tar)
            for key, group in itertools.groupby(members, lambda one: one[0][0]):
                yield {name[2]: data for name, data in group}
due = [{name: one[name] for name in ("jpg", "txt", "clip.npy")} for one in samples()]
with MDSWriter(out="for_mosaic", columns=dict.fromkeys(due[0], "bytes")) as writer:
    for one in due:
        writer.write(one)
found = list(StreamingDataset(local="for_mosaic", shuffle=False, batch_size=1))
assert found == due
print(len(found))
"""
    assert run_with(["mosaicml-streaming", TORCH], program).splitlines()[-1] == f"{SAMPLES}"


@pytest.mark.parametrize("compression", ["", "zstd", "gz:6", "bz2"])
def test_what_mosaicml_writes_is_input_with_the_same_bytes(run_with, curated, tmp_path, compression):
    program = """
import hashlib, io, pathlib, sys, tarfile
from PIL import Image
from streaming import MDSWriter
out = pathlib.Path(sys.argv[1])
columns = {"image": "jpeg", "caption": "str", "label": "int"}
compression = sys.argv[2] or None
with MDSWriter(out=str(out / "mds"), columns=columns, size_limit=20_000, compression=compression) as writer:
    with tarfile.open("curated/00000.tar") as tar:
        for number, one in enumerate(one for one in tar if one.name.endswith(".jpg")):
            path = out / f"{number}.jpg"
            path.write_bytes(tar.extractfile(one).read())
            writer.write({"image": Image.open(path), "caption": f"picture {number}", "label": number})
            print(hashlib.sha256(path.read_bytes()).hexdigest())
"""
    due = run_with(["mosaicml-streaming", TORCH], program, tmp_path, compression).split()
    output = tmp_path / "out"
    flags = ["--input", str(tmp_path / "mds"), "--output", str(output), "--clip_model", "tiny-untrained"]
    assert curate_images.main([*flags, "--min_aesthetic", "none", "--max_nsfw", "none"]) == 0
    assert verify_output.main([str(output)]) == 0
    rows = sorted(ledger(output), key=lambda row: row["json_label"])
    assert [row["sha256"] for row in rows] == due
    assert [row["caption"] for row in rows] == [f"picture {number}" for number in range(len(due))]


def test_what_lance_holds_is_input_by_the_guides_way_with_the_same_bytes(run_with, tmp_path):
    """Of the version that is meant: a row that was deleted is still in the file that it was written to."""
    guide = (ROOT / "docs" / "guides" / "inputs.md").read_text(encoding="utf-8")
    recipe = guide.partition('title="lance_to_parquet.py"\n')[2].partition("```")[0]
    program = """
import hashlib, os, sys, tarfile
import lance, pyarrow as pa
with tarfile.open("curated/00000.tar") as tar:
    images = [tar.extractfile(one).read() for one in tar if one.name.endswith(".jpg")]
os.chdir(sys.argv[1])
captions = [f"picture {number}" for number in range(len(images))]
table = pa.table({"image": pa.array(images, pa.large_binary()), "caption": captions})
lance.write_dataset(table, "photos.lance", max_rows_per_file=10).delete("caption = 'picture 3'")
print(*(hashlib.sha256(one).hexdigest() for number, one in enumerate(images) if number != 3))
exec(sys.argv[2])
"""
    due = run_with(["pylance", "pyarrow"], program, tmp_path, recipe).split()
    output = tmp_path / "out"
    flags = ["--input", str(tmp_path / "photos.parquet"), "--output", str(output), "--clip_model", "tiny-untrained"]
    assert curate_images.main([*flags, "--min_aesthetic", "none", "--max_nsfw", "none", "--report", "false"]) == 0
    assert verify_output.main([str(output)]) == 0
    rows = sorted(ledger(output), key=lambda row: row["offset"])
    assert [row["sha256"] for row in rows] == due
    assert rows[3]["caption"] == "picture 4"


def test_open_clip_trains_an_epoch_without_being_told_how_many_samples(run_with, curated):
    program = """
import sys
from open_clip_train.main import main
main(["--train-data", "curated/{00000..00002}.tar", "--dataset-type", "webdataset", "--epochs", "1",
      "--batch-size", "20", "--workers", "1", "--model", "ViT-S-32-alt", "--force-image-size", "64",
      "--logs", "logs", "--name", "one"])
print(open("logs/one/out.log").read())
"""
    assert "[60/60 (100%)]" in run_with(OPEN_CLIP_TRAIN, program)
