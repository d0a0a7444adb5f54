"""What releases before steps wrote of models in words is told right, and their parts are as good as ever."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from beam_curator import rows
from beam_curator.identities import ModelIdentity
from beam_curator.models.heads.made_for import ANY_ENCODER, UNKNOWN_ORIGIN, MadeFor, is_openai_vit_l_14
from beam_curator.models.scorers.heads import aesthetic_scorer, nsfw_scorer
from beam_curator.models.scorers.scorer import Column
from beam_curator.output.added_columns import read_range
from beam_curator.output.job_file import read_job
from beam_curator.output.job_input import match_shards
from beam_curator.output.part_contents import read_embeddings
from beam_curator.output.parts_before_steps import encoder_of, head_of, wanted_of
from beam_curator.output.score_parts import read_part
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep, Wanted
from beam_curator.sources.tar.planning import plan_ranges, range_bytes_of
from beam_curator.transforms.clip_handler import ClipModelHandler

SHA256 = "0123456789abcdef" * 4
OPENAI = "ViT-L-14-quickgelu/openai"


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        (
            f"ViT-L-14-quickgelu, weights {OPENAI} sha256:{SHA256}, precision auto",
            ModelIdentity(OPENAI, SHA256, precision="auto"),
        ),
        (
            f"ViT-L-14-quickgelu, weights {OPENAI} sha256:{SHA256}, precision bf16, torch.compile, JPEG draft",
            ModelIdentity(OPENAI, SHA256, notes=("torch.compile", "JPEG draft"), precision="bf16"),
        ),
        (
            f"ViT-L-14, checkpoint my weights, v2 sha256:{SHA256}, precision fp32, fast resize",
            ModelIdentity("my weights, v2", SHA256, notes=(UNKNOWN_ORIGIN, "fast resize"), precision="fp32"),
        ),
        (
            "tiny-untrained (untrained: scores mean nothing), precision auto",
            ModelIdentity("tiny-untrained", trained=False, precision="auto"),
        ),
    ],
)
def test_encoders_are_told_from_their_words(text, identity):
    assert encoder_of(text) == dataclasses.replace(identity, member="clip")


def test_openais_encoder_is_known_again_and_a_checkpoint_of_its_name_is_not():
    text = "ViT-L-14-quickgelu, {} " + f"{OPENAI} sha256:{SHA256}, precision auto"
    assert is_openai_vit_l_14(encoder_of(text.format("weights")))
    assert not is_openai_vit_l_14(encoder_of(text.format("checkpoint")))


@pytest.mark.parametrize("text", ["", "mean colour, 1", "my encoder", f"ViT-L-14, weights x sha256:{SHA256}"])
def test_an_encoder_of_the_users_own_that_nobody_can_tell_is_none(text):
    assert encoder_of(text) is None
    assert wanted_of({"clip": text, "aesthetic": "v2"}) is None


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_what_the_handler_is_now_is_what_the_words_said(precision):
    options = {"compile": True, "decode": "fast"}
    text = f"tiny-untrained (untrained: scores mean nothing), precision {precision}"
    assert encoder_of(text) == ClipModelHandler("tiny-untrained", precision=precision).identity
    noted = f"{text}, torch.compile, fast resize"
    assert encoder_of(noted) == ClipModelHandler("tiny-untrained", precision=precision, **options).identity


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        (f"sac+logos+ava1 sha256:{SHA256}", ModelIdentity("sac+logos+ava1", SHA256)),
        ("untrained (scores mean nothing)", ModelIdentity("untrained", trained=False)),
        (
            f"Mine sha256:{SHA256}, run on ViT-L-14/laion2b_s32b_b82k",
            ModelIdentity("Mine", SHA256, notes=("run on ViT-L-14/laion2b_s32b_b82k",)),
        ),
        ("brightness 1", ModelIdentity("brightness 1")),
        ("red, 1", ModelIdentity("red, 1")),
        ("warmth (2)", ModelIdentity("warmth (2)")),
        ("two\nlines", ModelIdentity("two\nlines")),
    ],
)
def test_heads_are_told_from_their_words(text, identity):
    assert head_of(text) == identity


@pytest.mark.parametrize(
    "encoder",
    [
        ModelIdentity("ViT-L-14/laion2b_s32b_b82k", SHA256),
        ModelIdentity(OPENAI, SHA256, notes=(UNKNOWN_ORIGIN,)),
    ],
    ids=["another", "of unknown origin"],
)
def test_a_head_on_another_encoder_is_what_it_is_now(encoder):
    run_on = encoder.name + (" (a checkpoint of unknown origin)" if encoder.notes else "")
    head = ModelIdentity("sac+logos", SHA256)
    due = MadeFor(768, published=True, accept_other=True).identity_on(head, encoder)
    assert head_of(f"sac+logos sha256:{SHA256}, made for OpenAI's CLIP ViT-L/14, run on {run_on}") == due
    assert due.notes
    own = MadeFor(768).identity_on(head, encoder)
    assert head_of(f"sac+logos sha256:{SHA256}, run on {run_on}") == own
    assert own not in (due, head)
    assert head_of(f"sac+logos sha256:{SHA256}") == ANY_ENCODER.identity_on(head, encoder) == head


def test_steps_are_those_of_todays_scorers():
    text = "tiny-untrained (untrained: scores mean nothing), precision fp32"
    untrained = "untrained (scores mean nothing)"
    wanted = wanted_of({"aesthetic": untrained, "clip": text, "nsfw": untrained, "warm": "warm 1"})
    assert wanted.encoder == encoder_of(text)
    assert wanted.steps == (
        ScoreStep.of(aesthetic_scorer("untrained")),
        ScoreStep.of(nsfw_scorer("untrained")),
        ScoreStep("warm", ModelIdentity("warm 1"), "embedding", (Column("warm"),)),
    )


BEFORE = pathlib.Path(__file__).parents[1] / "data" / "output_before_rooms"
ENCODER = ClipModelHandler("tiny-untrained").identity
STEPS = (ScoreStep.of(aesthetic_scorer("untrained")), ScoreStep.of(nsfw_scorer("untrained")))


@pytest.fixture
def ranges(tmp_path, monkeypatch):
    """The ranges of a job of the last release before steps, a copy of which is the working directory."""
    shutil.copytree(BEFORE, tmp_path / "job", copy_function=shutil.copyfile)
    monkeypatch.chdir(tmp_path / "job")
    return [one for shard in match_shards(["raw/*.tar"]) for one in plan_ranges(shard, range_bytes_of(0.008))]


def test_each_part_is_read_with_its_encoder_its_steps_and_its_numbers(ranges):
    assert len(ranges) == 4
    for one in ranges:
        stored = read_part("out", one, ENCODER)
        assert (stored.encoder, stored.steps) == (ENCODER, STEPS)
        before = pq.read_table(stored.batch.part)
        assert rows.score_names(stored.batch.rows) == ["aesthetic", "nsfw"]
        for name in before.schema.names[: before.schema.names.index("embedding")]:
            if name not in ("uid", "status", "reason"):
                assert stored.batch.rows[name].to_pylist() == before[name].to_pylist(), name
        assert read_embeddings(stored.batch.part).embeddings.shape == (len(stored.batch), 768)


def test_nothing_that_todays_job_wants_of_them_is_lacking(ranges):
    for one in ranges:
        found = read_range("out", one, Wanted(ENCODER, STEPS))
        assert found.lacking(STEPS) == []
        assert found.batch.models == {EMBEDDING_STEP: ENCODER, **{step.name: step.identity for step in STEPS}}


def test_samples_that_failed_are_told_by_the_part_alone(ranges):
    told = {}
    for one in ranges:
        table = read_part("out", one, ENCODER).batch.rows
        assert [field.name for field in table.schema][: len(rows.SCHEMA)] == rows.SCHEMA.names
        assert table["failure"].to_pylist() == table["reason"].to_pylist()
        before = pq.read_table(read_part("out", one, ENCODER).batch.part)
        assert table["status"].to_pylist() == before["status"].to_pylist()
        assert table["reason"].to_pylist() == before["reason"].to_pylist()
        told |= dict(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True))
    assert any(told.values())


def test_another_head_lacks_its_column_alone(ranges):
    other = dataclasses.replace(STEPS[0], identity=ModelIdentity("v2", SHA256))
    found = read_range("out", ranges[0], Wanted(ENCODER, (other, STEPS[1])))
    assert found.lacking([other, STEPS[1]]) == [other]
    assert rows.score_names(found.batch.rows) == ["nsfw"]


@pytest.mark.parametrize(
    "encoder",
    [
        dataclasses.replace(ENCODER, precision="bf16"),
        ENCODER.with_notes("JPEG draft"),
        ModelIdentity(OPENAI, SHA256, precision="auto"),
    ],
    ids=["precision", "options", "weights"],
)
def test_of_another_encoder_they_are_not_read(ranges, encoder):
    assert read_part("out", ranges[0], encoder) is None


def test_of_a_shard_that_has_changed_they_are_not_read_but_where_it_does_not_matter(ranges):
    changed = dataclasses.replace(ranges[0], shard=dataclasses.replace(ranges[0].shard, generation="another"))
    assert read_part("out", changed, ENCODER) is None
    assert read_part("out", changed, None).encoder == ENCODER


def test_its_job_json_is_read_as_todays(ranges):
    job = read_job("out")
    assert (job.encoder, job.scorers) == (ENCODER, STEPS)
    assert job.models == {EMBEDDING_STEP: ENCODER, "aesthetic": STEPS[0].identity, "nsfw": STEPS[1].identity}
    assert (job.given, job.range_mb, len(job.shards)) == (["raw/*.tar"], 0.008, 2)


def test_a_job_json_with_an_encoder_that_nobody_can_tell_has_none(ranges):
    path = pathlib.Path("out/job.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "models": {"clip": "mean colour, 1", "red": "red, 1"}}))
    assert (read_job("out").encoder, read_job("out").scorers) == (None, ())


def test_embeddings_of_samples_that_failed_are_zeros(ranges):
    for one in ranges:
        stored = read_part("out", one, ENCODER)
        embeddings = read_embeddings(stored.batch.part).embeddings
        failed = rows.unusable(stored.batch.rows)
        np.testing.assert_array_equal(np.abs(embeddings).max(axis=1) == 0, failed)
