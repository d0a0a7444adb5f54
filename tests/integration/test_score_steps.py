"""Scorers of whole jobs: added, changed and left out on a finished one; nothing that stands is computed twice."""

import itertools
import json
import shutil
import sys
import tarfile
import textwrap

import pyarrow.parquet as pq
import pytest

import beam_curator as bc
from beam_curator.commands import verify_output
from beam_curator.errors import JobError
from beam_curator.models.encoders.clip import ClipEncoder
from tests.integration.integration_content import content, ledger

SCORERS = '''
import os

import beam_curator as bc


class Warmth(bc.Scorer):
    """How much more red than blue a picture has."""

    name, needs = "warmth", "pixels"

    def __init__(self, side=64):
        self.side = side

    def __call__(self, pictures):
        return [float(picture[..., 0].mean() - picture[..., 2].mean()) for picture in pictures]


class Seen(bc.Scorer):
    """How many pixels it sees."""

    name, needs = "seen", "pixels"

    def __call__(self, pictures):
        return [picture.shape[0] * picture.shape[1] for picture in pictures]


class FirstWord(bc.Scorer):
    name, needs = "first_word", "caption"
    columns = (bc.Column("first_word", "text"),)

    def __call__(self, captions):
        if any("fail" in caption for caption in captions):
            raise ValueError("I read no failures")
        return [caption.split()[0] for caption in captions]


class Shape(bc.Scorer):
    name, needs = "shape", "row"
    columns = (bc.Column("pixels"), bc.Column("is_wide", "flag", worse="higher"))

    def __call__(self, rows):
        return {
            "pixels": [row["width"] * row["height"] for row in rows],
            "is_wide": [row["width"] > row["height"] for row in rows],
        }


class Third(bc.Scorer):
    name, needs = "third", "embedding"

    def load(self):
        self.factor = 10

    def __call__(self, embeddings):
        return embeddings[:, 2].astype("float32") * self.factor
'''
NAMES = ("Warmth(side=32)", "FirstWord", "Shape", "Third")
ALL = [flag for name in NAMES for flag in ("--scorer", f"own_scorers:{name}")]


@pytest.fixture(autouse=True)
def own_scorers(tmp_path, monkeypatch):
    """A module with scorers of one's own."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "own_scorers.py").write_text(SCORERS)
    monkeypatch.syspath_prepend(tmp_path / "package")
    monkeypatch.delitem(sys.modules, "own_scorers", raising=False)


@pytest.fixture
def no_encoder(monkeypatch):
    """Fails the test if an encoder is loaded or runs."""

    def refuse(*_):
        raise AssertionError("what was embedded is embedded again")

    monkeypatch.setattr(ClipEncoder, "submit", refuse)
    monkeypatch.setattr(ClipEncoder, "load", refuse)
    return monkeypatch


@pytest.fixture
def no_image(no_encoder):
    """Fails the test if a shard's samples are read to be scored, or an image is decoded."""

    def refuse(*_):
        raise AssertionError("an image is read")

    no_encoder.setattr("beam_curator.models.scorers.decoding.decode", refuse)
    no_encoder.setattr("beam_curator.transforms.stored_scoring.read_batches", refuse)
    return no_encoder


def v2(shared):
    return ["--aesthetic_model", "v2", "--model_dir", str(shared / "models"), "--accept_other_encoder"]


def selection(directory):
    """Gives what a job makes, but for where its scores are kept."""
    kept_apart = ("scores/", "columns/", "job.json")
    return {name: digest for name, digest in content(directory).items() if not name.startswith(kept_apart)}


def test_another_head_on_a_finished_job_reads_no_image_and_gives_what_a_fresh_job_gives(
    finished, tmp_path, curate, shared, no_image
):
    parts = content(finished / "scores")
    code, out, err = curate(finished, *v2(shared))
    assert code == 0
    assert "computed from the stored embeddings; no image is read" in err
    assert "scored 0 images (90 had been scored before)" in out or "scored 0 images" in out
    assert "from what is stored: no image read" in out
    assert content(finished / "scores") == parts
    assert verify_output.main([str(finished)]) == 0
    no_image.undo()
    assert curate(tmp_path / "fresh", *v2(shared))[0] == 0
    assert selection(finished) == selection(tmp_path / "fresh")


def test_back_to_the_first_head_computes_nothing(finished, curate, shared, monkeypatch):
    before = selection(finished)
    assert curate(finished, *v2(shared))[0] == 0
    assert selection(finished) != before

    def refuse(*_):
        raise AssertionError("what stands is computed again")

    monkeypatch.setattr("beam_curator.transforms.stored_scoring.write_columns", refuse)
    code, out, _ = curate(finished)
    assert code == 0
    assert "from what is stored" not in out
    assert selection(finished) == before
    assert verify_output.main([str(finished)]) == 0
    assert (finished / "columns" / "aesthetic").is_dir()


def test_scorers_of_ones_own_added_later_give_what_they_give_from_the_beginning(finished, tmp_path, curate, no_encoder):
    code, out, err = curate(finished, *ALL)
    assert code == 0
    assert "warmth is new" in err
    assert "for new columns of their pixels: none was embedded" in out
    assert verify_output.main([str(finished)]) == 0
    no_encoder.undo()
    assert curate(tmp_path / "fresh", *ALL)[0] == 0
    assert verify_output.main([str(tmp_path / "fresh")]) == 0
    assert selection(finished) == selection(tmp_path / "fresh")
    assert not (tmp_path / "fresh" / "columns").exists()


def test_with_fast_decoding_they_see_the_same_from_the_beginning_and_later(tmp_path, curate):
    """It changes the encoder's input alone: pictures and facts are those of exact decoding."""
    samples = [{"__key__": key, "jpg": _picture(900 + 8 * seed, 700)} for seed, key in enumerate("abcd")]
    bc.batch_of(samples, tmp_path / "raw" / "a.tar")
    base = [
        "--input",
        str(tmp_path / "raw"),
        "--clip_model",
        "tiny-untrained",
        "--min_aesthetic",
        "-9",
        "--report=false",
    ]
    fast = [*base, "--decode", "fast"]
    own = ["--scorer", "own_scorers:Warmth", "--scorer", "own_scorers:Seen"]
    assert curate(tmp_path / "plain", base=fast)[0] == 0
    assert curate(tmp_path / "fresh", *own, base=fast)[0] == 0
    assert curate(tmp_path / "plain", *own, base=fast)[0] == 0
    assert curate(tmp_path / "exact", *own, base=base)[0] == 0
    assert selection(tmp_path / "plain") == selection(tmp_path / "fresh")
    for row, same in zip(ledger(tmp_path / "fresh"), ledger(tmp_path / "exact"), strict=True):
        assert row["seen"] == row["width"] * row["height"]
        told = ("seen", "warmth", "width", "height", "sha256", "phash", "phash256", "texture", "colours")
        assert [row[name] for name in told] == [same[name] for name in told]
    for output in ("plain", "fresh", "exact"):
        assert verify_output.main([str(tmp_path / output)]) == 0


def test_their_columns_are_numbers_flags_and_texts_wherever_scores_show(finished, curate):
    assert curate(finished, *ALL, "--rule", "bc=beam_curator:AtLeast('warmth', -300)")[0] == 0
    rows = [row for row in ledger(finished) if row["status"] != "failed"]
    assert rows
    for row in rows:
        assert isinstance(row["warmth"], float)
        assert row["pixels"] == row["width"] * row["height"]
        assert row["is_wide"] is (row["width"] > row["height"])
        assert row["first_word"] == (row["caption"].split()[0] if row["caption"] else None)
    kept = {row["sample_id"]: row for row in rows if row["status"] == "kept"}
    with tarfile.open(finished / "00000.tar") as tar:
        for member in tar:
            if member.name.endswith(".curation.json"):
                record = json.load(tar.extractfile(member))
                row = kept[record["sample_id"]]
                assert record["scores"]["first_word"] == row["first_word"]
                assert record["scores"]["is_wide"] is row["is_wide"]
                assert record["models"]["warmth"]["name"] == "own_scorers:Warmth"
    field = pq.read_schema(finished / "00000.parquet").field("first_word")
    assert field.metadata == {b"role": b"score"}
    statistics = json.loads((finished / "00000_stats.json").read_text())["scores"]
    assert set(statistics["is_wide"]) == {"true"}
    assert statistics["first_word"]["texts"] >= 1


def test_a_rule_on_a_text_is_refused_before_any_work(tmp_path, curate):
    code, _, err = curate(tmp_path / "out", *ALL, "--rule", "beam_curator:AtLeast('first_word', 3)")
    assert code == 2
    assert 'compares numbers, and the column "first_word" holds texts' in err
    assert not (tmp_path / "out").exists()


def test_a_scorer_that_raises_on_one_sample_fails_that_row_and_no_other(tmp_path, curate):
    samples = [
        {"__key__": key, "jpg": _picture(), "txt": caption}
        for key, caption in (("a", "good one"), ("b", "fail me"), ("c", "good two"))
    ]
    bc.batch_of(samples, tmp_path / "raw" / "a.tar")
    base = [
        "--input",
        str(tmp_path / "raw"),
        "--clip_model",
        "tiny-untrained",
        "--min_aesthetic",
        "0",
        "--report=false",
    ]
    code, out, _ = curate(tmp_path / "out", "--scorer", "own_scorers:FirstWord", base=[*base, "--max_nsfw", "2"])
    assert code == 0
    assert "1  scorer first_word raised ValueError\n" in out
    assert ledger(tmp_path / "out")[1]["reason"] == "scorer first_word raised ValueError: I read no failures"
    assert [row["status"] for row in ledger(tmp_path / "out")] == ["kept", "failed", "kept"]
    assert [row["first_word"] for row in ledger(tmp_path / "out")] == ["good", None, "good"]
    assert verify_output.main([str(tmp_path / "out")]) == 0
    assert curate(tmp_path / "out", base=[*base, "--max_nsfw", "2"])[0] == 0  # without the scorer, it is no failure
    assert [row["status"] for row in ledger(tmp_path / "out")] == ["kept"] * 3


def _picture(width=80, height=60):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.effect_noise((width, height), 90).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def test_heads_can_be_left_out_and_come_back(finished, curate, no_image):
    assert curate(finished, "--aesthetic_model", "none", "--nsfw_model", "none")[0] == 0
    assert {"aesthetic", "nsfw"}.isdisjoint(ledger(finished)[0])
    assert "aesthetic" not in json.loads((finished / "manifest.json").read_text())["models"]
    assert verify_output.main([str(finished)]) == 0
    code, _, err = curate(finished, "--aesthetic_model", "none", "--min_aesthetic", "3")
    assert code == 2
    assert "there is no such score with --aesthetic_model none" in err


def test_prompts_and_measures_are_columns_for_rules(finished, curate, no_encoder):
    flags = ["--prompt", "dog=a dog|a cat", "--image_measures"]
    code, out, _ = curate(finished, *flags, "--rule", "beam_curator:AtLeast('blur', 0.9)")
    assert code == 0
    assert "untrained models (aesthetic, dog, embedding, nsfw)" in out
    rows = [row for row in ledger(finished) if row["status"] != "failed"]
    assert all(0 <= row["dog"] <= 1 and 0 <= row["brightness"] <= 1 for row in rows)
    assert any(row["reason"] == "blur < 0.9" for row in rows)
    assert verify_output.main([str(finished)]) == 0


def test_a_job_killed_between_columns_goes_on(finished, curate, monkeypatch, shared):
    from beam_curator.transforms import stored_scoring

    real, calls = stored_scoring.write_columns, itertools.count()

    def dying(*args):
        if next(calls):
            raise JobError("killed")
        return real(*args)

    monkeypatch.setattr(stored_scoring, "write_columns", dying)
    code, _, err = curate(finished, *v2(shared))
    assert code == 1
    assert "killed" in err
    assert next(calls) > 1
    assert len(list((finished / "columns").rglob("*.parquet"))) == 1
    monkeypatch.setattr(stored_scoring, "write_columns", real)
    assert curate(finished, *v2(shared))[0] == 0
    assert verify_output.main([str(finished)]) == 0


def test_a_damaged_column_is_computed_again(finished, curate, shared):
    assert curate(finished, *v2(shared))[0] == 0
    before = content(finished)
    one = next((finished / "columns" / "aesthetic").iterdir())
    one.write_bytes(one.read_bytes()[:100])
    assert verify_output.main([str(finished)]) == 1
    assert curate(finished, *v2(shared))[0] == 0
    assert content(finished) == before


def test_another_encoder_is_another_job(finished, curate, shared, model_dir_with_clip):
    code, _, err = curate(finished, "--clip_model", "ViT-L-14-quickgelu", "--model_dir", str(model_dir_with_clip))
    assert code == 2
    assert "holds another job's output: its embeddings are of tiny-untrained" in err


@pytest.fixture
def model_dir_with_clip(tmp_path, shared):
    """The real heads, and a stand-in for the weights of an encoder: nothing loads it before the refusal."""
    directory = tmp_path / "models"
    shutil.copytree(shared / "models", directory)
    (directory / "ViT-L-14-quickgelu--openai.safetensors").write_bytes(b"weights")
    return directory


def test_parts_of_different_precision_are_told_apart_and_mixing_them_is_said(finished, curate):
    part = sorted((finished / "scores").iterdir())[0]
    table = pq.read_table(part)
    told = json.loads(table.schema.metadata[b"beam_curator"])
    assert told["encoder"]["precision"] in ("fp32", "bf16")
    told["encoder"]["precision"] = "fp16"
    pq.write_table(table.replace_schema_metadata({b"beam_curator": json.dumps(told, sort_keys=True)}), part)
    code, out, _ = curate(finished)
    assert code == 0
    assert "scored 0 images" in out
    assert "NOTE: embedding: embeddings of different precision: " in out
    encoder = json.loads((finished / "manifest.json").read_text())["models"]["embedding"]
    assert encoder["precision"] == "mixed"
    assert "1 range fp16" in encoder["notes"][-1]
    assert verify_output.main([str(finished)]) == 0


def test_a_file_called_untrained_is_no_untrained_model(finished, curate, shared, tmp_path):
    own = tmp_path / "untrained_x.pth"
    shutil.copy(shared / "models" / "sa_0_4_vit_l_14_linear.pth", own)
    code, out, _ = curate(finished, "--aesthetic_model", str(own), "--accept_other_encoder")
    assert code == 0
    assert "untrained models (embedding, nsfw)" in out
    assert json.loads((finished / "manifest.json").read_text())["models"]["aesthetic"]["trained"] is True


def test_an_installed_scorer_is_named_shortly(finished, curate, tmp_path, monkeypatch):
    info = tmp_path / "package" / "own_scorers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-scorers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent("""
            [beam_curator.scorers]
            warm = own_scorers:Warmth
            gone = no_such_scorers:Warmth
            double = own_scorers:Warmth
        """)
    )
    other = tmp_path / "package" / "other_scorers-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-scorers\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[beam_curator.scorers]\ndouble = other_scorers:Warmth\n")
    code, _, err = curate(finished, "--scorer", 'warm {"side": 16}', "--dry_run")
    assert code == 0, err
    code, _, err = curate(finished, "--scorer", "warm side=16")
    assert code == 0
    assert "warmth is new, own_scorers:Warmth" in err
    for name, message in (
        ("cold", "--scorer cold: no installed scorer is called cold (double, gone, warm"),
        ("double", "--scorer double: other_scorers:Warmth, own_scorers:Warmth are all installed as double: give the"),
        ("gone", "--scorer gone, which is no_such_scorers:Warmth: cannot be loaded: ModuleNotFoundError"),
    ):
        code, _, err = curate(finished, "--scorer", name)
        assert code == 2
        assert message in err
        assert len(err.strip().splitlines()) == 1


def test_verifying_says_that_a_run_which_adds_a_scorer_did_not_reach_its_end(finished, curate, tmp_path, capsys):
    own = tmp_path / "package" / "failing_scorers.py"
    own.write_text(
        "import beam_curator as bc\n\nclass Failing(bc.Scorer):\n    name, needs = 'failing', 'caption'\n\n"
        "    def load(self):\n        raise OSError('no weights')\n"
    )
    code, _, err = curate(finished, "--scorer", "failing_scorers:Failing")
    assert (code, "scorer failing: load() raised OSError: no weights" in err) == (1, True)
    capsys.readouterr()
    assert verify_output.main([str(finished)]) == 2
    told = capsys.readouterr().err
    assert "a later one, which adds failing, did not reach its end" in told
    assert curate(finished)[0] == 0
    assert verify_output.main([str(finished)]) == 0
