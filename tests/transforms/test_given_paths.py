"""Paths that the library is given: text or `pathlib.Path`, and what is no path is told when the pipeline is built."""

from pathlib import Path

import apache_beam as beam
import pytest

import beam_curator as bc
from beam_curator.errors import UsageError
from tests.tars import tar_bytes, write_shard

GIVEN = {
    "WriteShards": (bc.WriteShards, "output"),
    "DropDuplicates": (bc.DropDuplicates, "output"),
    "KeepTop": (lambda output: bc.KeepTop("width=0.5", output=output), "output"),
    "MatchShards": (lambda output: bc.MatchShards("a.tar", output=output), "output"),
    "ReadSamples": (lambda output: bc.ReadSamples("a.tar", output=output), "output"),
    "ScoreAesthetic": (bc.ScoreAesthetic, "weights"),
    "ScoreNsfw": (bc.ScoreNsfw, "weights"),
    "a head's directory": (lambda path: bc.ScoreAesthetic("untrained", path), "model_dir"),
    "ClipModelHandler": (lambda path: bc.ClipModelHandler("ViT-B-32", path), "pretrained"),
    "a model's directory": (lambda path: bc.ClipModelHandler("tiny-untrained", model_dir=path), "model_dir"),
    "DuplicateSettings": (lambda path: bc.DropDuplicates("out", against=[path]), "against"),
    "batch_of": (lambda path: bc.batch_of([{"__key__": "a", "jpg": b""}], path), "shard"),
    "input": (lambda path: bc.MatchShards([path]), "input"),
}
NONE_IS_A_DEFAULT = {"KeepTop", "MatchShards", "ReadSamples", "a head's directory", "a model's directory"}
MAY_BE_EMPTY = {"DuplicateSettings", "input"}
"""What is looked up, and told then to be nowhere."""
NO_PATHS = [
    (name, given)
    for name in GIVEN
    for given in ("", 3, ["out"], None)
    if not (given is None and name in NONE_IS_A_DEFAULT) and not (given == "" and name in MAY_BE_EMPTY)
]


@pytest.mark.parametrize(("name", "given"), NO_PATHS)
def test_what_is_no_path_is_told_by_the_name_of_its_argument(name, given):
    make, argument = GIVEN[name]
    with pytest.raises(UsageError, match=rf"^{argument}=.*: a path or url is wanted$"):
        make(given)


@pytest.mark.parametrize("name", GIVEN)
def test_a_path_object_that_was_made_of_a_url_is_no_local_directory(name):
    """`Path("gs://bucket/out")` is `gs:/bucket/out`: what is written there is lost with the worker."""
    make, argument = GIVEN[name]
    with pytest.raises(UsageError, match=rf"^{argument}=.*: a path object has one slash where a url has two: give"):
        make(Path("gs://bucket/out"))


def test_a_job_takes_no_path_object_that_was_made_of_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ((Path("gs://b/*.tar"), "out"), ("*.tar", Path("memory://out"))):
        with pytest.raises(UsageError, match=r"put=.*: a path object has one slash where a url has two"):
            bc.curate(*given)


def test_what_no_shell_has_written_out_is_the_home_directory(tmp_path, monkeypatch, small_jpeg):
    """A directory called `~` in the working directory is nobody's wish."""
    monkeypatch.setenv("HOME", str(tmp_path))
    home = str(tmp_path / "a")
    assert bc.WriteShards("~/a").display_data()["output"] == home
    assert bc.DropDuplicates("~/a").output == bc.KeepTop("width=0.5", output=Path("~/a")).output == home
    assert bc.DropDuplicates("out", against=["~/a"]).settings.against == (home,)
    assert bc.batch_of([{"__key__": "a", "jpg": small_jpeg}], "~/a").range.url == home


@pytest.mark.parametrize("make", [bc.EmbedImages, bc.ScoreSimilarity, bc.EmbedCaptions])
def test_a_model_by_its_name_alone_is_no_handler(make):
    with pytest.raises(UsageError, match=r"'ViT-B-32' is no ClipModelHandler: give one"):
        make("ViT-B-32")


@pytest.mark.parametrize("make", [bc.ScoreAesthetic, bc.ScoreNsfw])
def test_weights_may_be_named_by_a_path_object(make, tmp_path):
    with pytest.raises(UsageError, match=str(tmp_path / "gone.pth")):
        make(tmp_path / "gone.pth")


@pytest.mark.slow
def test_a_whole_pipeline_takes_path_objects(tmp_path, small_jpeg):
    write_shard(tmp_path / "a.tar", tar_bytes([("a.jpg", small_jpeg), ("b.jpg", small_jpeg)]))
    output = tmp_path / "out"
    with beam.Pipeline() as pipeline:
        embedded = (
            pipeline
            | bc.ReadSamples(tmp_path / "a.tar", output=output)
            | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained", model_dir=Path(tmp_path)))
            | bc.ScoreAesthetic("untrained", Path(tmp_path))
        )
        selected = embedded | bc.Select("width >= 1") | bc.KeepTop("width=1", output=output)
        selected | bc.DropDuplicates(output, kinds=["exact"]) | bc.WriteShards(output)
    assert (output / "00000.tar").exists()
