"""What users put in of their own, in whole jobs on real tars: a scorer, rules, a model that embeds."""

import io
import json

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, RunInference
from PIL import Image

import beam_curator as bc
from beam_curator import rows
from beam_curator.commands import verify_output
from beam_curator.transforms.planning import PlanRanges
from beam_curator.transforms.reading import ReadRanges
from tests.integration.integration_content import content, ledger

TINY = "tiny-untrained"
BRIGHT = 0.4
COLOUR = bc.ModelIdentity("mean colour, 1")


class Warmth:
    """A head of one's own: float16 [n, dim] in, float32 [n] out."""

    def __call__(self, embeddings):
        return embeddings[:, 0].astype(np.float32) * 10


class Mirrored(Warmth):
    def __call__(self, embeddings):
        return -super().__call__(embeddings)


def tall(row):
    return row["height"] >= row["width"]


def image_of(sample):
    return next((m.data for name, m in sample.members.items() if name in ("jpg", "png", "webp")), b"")


class MeanColour(ModelHandler):
    """A model of one's own for RunInference: an embedding is the mean of red, green and blue, of length 1."""

    def load_model(self):
        return lambda image: np.asarray(image.convert("RGB"), np.float64).mean((0, 1))

    def run_inference(self, batches, model, inference_args=None):
        return [self._embedded(batch, model) for batch in batches]

    def batch_elements_kwargs(self):
        return {"min_batch_size": 1, "max_batch_size": 1}

    def _embedded(self, batch, model):
        embeddings, failures = np.zeros((len(batch), 3), np.float16), {}
        for index, sample in enumerate(batch.samples):
            if sample.failure:
                continue  # its row says so already
            try:
                colour = model(Image.open(io.BytesIO(image_of(sample))))
            except OSError:
                failures[index] = "no image of mine"
            else:
                embeddings[index] = colour / np.linalg.norm(colour)
        sizes = [0 if sample.failure else len(image_of(sample)) for sample in batch.samples]
        table = rows.with_column(rows.with_failures(batch.rows, failures), "bytes", sizes)
        return batch.replace(rows=table, embeddings=embeddings, models={**batch.models, "embedding": COLOUR})


def job(raw, out, *scores, embed=None, rule=tall):
    with beam.Pipeline() as pipeline:
        batches = pipeline | bc.MatchShards([str(raw)]) | PlanRanges(0.5, str(out)) | ReadRanges()
        batches |= embed or bc.EmbedImages(bc.ClipModelHandler(TINY))
        for number, score in enumerate(scores):
            batches |= f"Score{number}" >> score
        batches | bc.Select(rule) | bc.WriteShards(str(out), 20)


def warmth(load=Warmth, version="1"):
    return bc.Score(bc.HeadScorer("warmth", load, bc.ModelIdentity(f"warmth, version {version}")))


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


def kept(out):
    return [row for row in ledger(out) if row["status"] == "kept"]


def test_a_scorer_of_ones_own_is_named_by_the_manifest_and_its_scores_are_in_the_ledger(raw, tmp_path):
    out = tmp_path / "out"
    job(raw, out, warmth(), rule=bc.AtLeast("warmth", 0.0))
    assert manifest(out)["models"]["warmth"]["name"] == "warmth, version 1"
    scored = [row["warmth"] for row in ledger(out) if row["status"] != "failed"]
    assert len(set(scored)) > 10
    assert all(row["warmth"] >= 0 for row in kept(out))
    assert manifest(out)["counts"]["dropped_by_rule"] == {"warmth < 0": sum(score < 0 for score in scored)}
    assert verify_output.main([str(out)]) == 0


def test_a_scorer_of_another_identity_scores_anew_and_says_something_else(raw, tmp_path):
    job(raw, tmp_path / "one", warmth())
    job(raw, tmp_path / "two", warmth(Mirrored, "2"))
    before, after = (
        {r["sample_id"]: r["warmth"] for r in ledger(tmp_path / n) if r["status"] != "failed"} for n in ("one", "two")
    )
    assert after == {uid: -score for uid, score in before.items()}
    assert manifest(tmp_path / "two")["models"]["warmth"]["name"] == "warmth, version 2"


def test_scorers_of_ones_own_stand_beside_ours(raw, tmp_path):
    job(raw, tmp_path / "out", bc.ScoreAesthetic("untrained"), warmth(), bc.Score(bc.HeadScorer("mirrored", Mirrored)))
    assert set(manifest(tmp_path / "out")["models"]) == {"embedding", "aesthetic", "warmth", "mirrored"}
    for row in ledger(tmp_path / "out"):
        if row["status"] != "failed":
            assert row["mirrored"] == -row["warmth"]
            assert 1 <= row["aesthetic"] <= 10


def test_the_same_scorer_and_rule_give_the_same_bytes_again(raw, tmp_path):
    for name in ("one", "two"):
        job(raw, tmp_path / name, warmth())
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_rule_of_ones_own_gives_the_reason_and_decides_by_the_row(raw, tmp_path):
    out = tmp_path / "out"
    job(raw, out, warmth())
    for row in ledger(out):
        if row["status"] != "failed":
            assert (row["status"], row["reason"]) == (("kept", None) if tall(row) else ("dropped", "tall"))
    assert kept(out)
    assert set(manifest(out)["counts"]["dropped_by_rule"]) == {"tall"}
    assert verify_output.main([str(out)]) == 0


def test_a_model_of_ones_own_embeds_through_run_inference_and_the_manifest_names_it(raw, tmp_path):
    out = tmp_path / "out"
    job(
        raw,
        out,
        bc.Score(bc.HeadScorer("red", lambda: lambda e: e[:, 0].astype(np.float32))),
        embed=RunInference(MeanColour()),
        rule=bc.AtLeast("red", BRIGHT),
    )
    assert {step: model["name"] for step, model in manifest(out)["models"].items()} == {
        "embedding": "mean colour, 1",
        "red": "red",
    }
    counts = manifest(out)["counts"]
    assert min(counts["kept"], counts["failed"]) > 0
    assert "no image of mine" in counts["failed_by_reason"]
    assert counts["kept"] + counts["dropped"] + counts["failed"] == counts["seen"] == len(ledger(out))
