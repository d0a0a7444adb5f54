"""Whole jobs with prompts and image measures: by their flags, and by what the user reads."""

import io
import json
import re
import tarfile

import numpy as np
import open_clip
import pyarrow.dataset as ds
import pytest
import torch
from PIL import Image

from beam_curator.models.scorers.image_measures import ImageMeasures
from beam_curator.models.scorers.prompt import prompt_scorers
from tests.integration.integration_content import ledger
from tests.models.small_text_models import SMALL, add_small_text_models, random_checkpoint

WATERMARK = "watermark=a photo with a watermark|a clean photo"


def members(directory):
    """The members of the output's samples: key and extension to bytes."""
    found = {}
    for path in sorted(directory.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {tuple(member.name.split(".", 1)): tar.extractfile(member).read() for member in tar}
    return found


def test_measures_are_those_of_each_picture_in_ledger_and_samples(curate, tmp_path):
    code, _, _ = curate(tmp_path / "out", "--image_measures", "--min_aesthetic", "0")
    assert code == 0
    rows = ledger(tmp_path / "out")
    columns = [column.name for column in ImageMeasures().columns]
    for row in rows:
        assert all((row[name] is None) == (row["status"] == "failed") for name in columns)
    files = members(tmp_path / "out")
    kept = [row for row in rows if row["status"] == "kept"]
    for row in kept[:10]:
        image = Image.open(io.BytesIO(files[row["output_key"], row["image"]])).convert("RGB")
        expected = {name: values[0] for name, values in ImageMeasures()([np.asarray(image)]).items()}
        told = json.loads(files[row["output_key"], "curation.json"])["scores"]
        for of in (row, told):
            assert {name: of[name] for name in columns} == pytest.approx(expected, rel=1e-6)
        assert isinstance(told["greyscale"], bool)


def test_a_rule_takes_a_measure(curate, tmp_path):
    rule = 'dim=beam_curator:AtLeast("brightness", 0.5)'
    assert curate(tmp_path / "out", "--image_measures", "--min_aesthetic", "0", "--rule", rule)[0] == 0
    rows = ledger(tmp_path / "out")
    dim = [row["brightness"] for row in rows if row["reason"] == "dim"]
    kept = [row["brightness"] for row in rows if row["status"] == "kept"]
    assert max(dim) < 0.5 <= min(kept)


def test_a_prompt_that_is_added_to_a_finished_job_is_scored_from_stored_embeddings(curate, finished):
    code, printed, errors = curate(finished, "--prompt", WATERMARK)
    assert code == 0
    assert "no image" in printed + errors
    assert re.search(r"scored 0 images \(\d+ had been scored before\)", printed)
    (scorer,) = prompt_scorers([WATERMARK], "tiny-untrained", None, None)
    parts = ds.dataset(finished / "scores").to_table().to_pylist()
    embeddings = {row["sample_id"]: row["embedding"] for row in parts if row["failure"] is None}
    expected = scorer(np.array(list(embeddings.values()), np.float16))
    got = {row["sample_id"]: row["watermark"] for row in ledger(finished)}
    assert [got[uid] for uid in embeddings] == pytest.approx(expected, abs=1e-7)
    assert {got[uid] for uid in got if uid not in embeddings} <= {None}


def test_a_prompt_on_a_model_with_weights_is_open_clips_own_zero_shot(raw, curate, tmp_path, monkeypatch):
    monkeypatch.setenv("BEAM_CURATOR_CACHE", str(tmp_path / "cache"))
    add_small_text_models(tmp_path)
    weights = random_checkpoint(SMALL, tmp_path / "weights.pt")
    base = ["--input", str(raw), "--clip_model", SMALL, "--clip_pretrained", weights, "--precision", "fp32"]
    heads = ["--aesthetic_model", "none", "--nsfw_model", "none", "--prompt", WATERMARK]
    assert curate(tmp_path / "out", *heads, base=base)[0] == 0

    model, _, transform = open_clip.create_model_and_transforms(SMALL, pretrained=weights)
    tokens = open_clip.get_tokenizer(SMALL)(["a photo with a watermark", "a clean photo"])
    files = members(tmp_path / "out")
    kept = [row for row in ledger(tmp_path / "out") if row["status"] == "kept"][:20]
    assert kept
    images = [Image.open(io.BytesIO(files[row["output_key"], row["image"]])) for row in kept]
    with torch.inference_mode():
        logits, _ = model.eval().get_logits(torch.stack([transform(image) for image in images]), tokens)
    expected = logits.softmax(dim=-1)[:, 0].numpy()
    assert [row["watermark"] for row in kept] == pytest.approx(expected, abs=5e-3)
    told = json.loads(files[kept[0]["output_key"], "curation.json"])["models"]["watermark"]
    assert told["name"].startswith("prompt watermark: a photo with a watermark | a clean photo (")
    assert told["trained"]
    assert re.fullmatch("[0-9a-f]{64}", told["sha256"])


@pytest.mark.parametrize(
    ("prompts", "line"),
    [
        (["dog=a dog"], "--prompt dog=a dog: one text alone has nothing that it is compared with"),
        (["dog=a|b", "dog=c|d"], "dog"),
        (["width=a|b"], '--prompt width=a|b: "width" is a column that every ledger has: take another name'),
        (["aesthetic=a|b"], "two scorers are called aesthetic: give one of them another name"),
        (["dog=a|" + "word " * 80], "is longer than the 77 tokens"),
    ],
)
def test_what_is_no_prompt_is_one_line_before_any_work(curate, tmp_path, prompts, line):
    flags = [text for prompt in prompts for text in ("--prompt", prompt)]
    code, _, errors = curate(tmp_path / "out", *flags)
    assert code == 2
    (said,) = errors.splitlines()
    assert line in said
    assert not (tmp_path / "out").exists()


def test_similarity_and_caption_measures_are_the_same_computed_later_from_what_is_stored(curate, finished, tmp_path):
    flags = ["--similarity", "--caption_measures", "--where", "similarity > 0.02 AND language = 'en'"]
    code, printed, errors = curate(finished, *flags)
    assert (code, "no image read" in printed, "scored 0 images" in printed) == (0, True, True)
    assert "similarity is new, similarity (tiny-untrained), precision auto, untrained" in errors
    assert curate(tmp_path / "new", *flags)[0] == 0
    assert ledger(tmp_path / "new") == ledger(finished)
    rows = [row for row in ledger(finished) if row["status"] != "failed"]
    assert all(-1 <= row["similarity"] <= 1 and row["caption_words"] == len(row["caption"].split()) for row in rows)
    assert {row["reason"] for row in rows} >= {None, "NOT (similarity > 0.02 AND language = 'en')"}
