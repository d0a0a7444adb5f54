"""What the main job prints."""

import pathlib

import numpy as np
import pytest

from beam_curator import rows
from beam_curator.commands.plan import describe_plan, look
from beam_curator.commands.summary import Work, describe_run
from beam_curator.identities import ModelIdentity, told_models
from beam_curator.models.scorers.scorer import Column
from beam_curator.output.manifest import is_of_run
from beam_curator.output.score_parts import write_part
from beam_curator.output.score_steps import ScoreStep, Wanted
from beam_curator.samples import SampleBatch
from beam_curator.sources.tar.planning import plan_ranges
from tests.tars import tar_bytes, write_shard

ENCODER = ModelIdentity("ViT-L-14-quickgelu/openai", "aa", precision="fp32")
AESTHETIC = ScoreStep("aesthetic", ModelIdentity("v2", "bb"), "embedding", (Column("aesthetic"),))
NSFW = ScoreStep("nsfw", ModelIdentity("laion", "cc"), "embedding", (Column("nsfw", worse="higher"),))
WANTED = Wanted(ENCODER, (AESTHETIC,))


def rows_with_aesthetic(batch):
    return batch.replace(rows=rows.with_score(batch.rows, "aesthetic", np.zeros(len(batch))))


def manifest_of(**changes):
    return {
        "counts": {
            "seen": 12345,
            "kept": 12000,
            "dropped": 300,
            "failed": 45,
            "dropped_by_rule": {"aesthetic < 5": 100, "nsfw >= 0.5": 200},
            "failed_by_reason": {"no image": 45},
        },
        "output": {"shards": 12, "bytes": 3_400_000},
        "broken_shards": [{"shard": "raw/b.tar", "offset": 5120, "reason": "truncated", "lost_samples": 8}],
        "models": told_models(WANTED.models),
        "timings": {"batch_reductions": 0},
        **changes,
    }


def test_the_summary_tells_counts_that_balance_and_reasons_with_the_most_frequent_first():
    lines = describe_run("out", manifest_of(), Work(scored=12345, reused=0), seconds=100).splitlines()
    assert lines[0] == "Beam Curator: out"
    assert "  kept        12,000  in 12 shards, 3.4 MB" in lines
    assert "  balance: 12,000 kept + 300 dropped + 45 failed = 12,345 seen" in lines
    assert lines.index("                 200  nsfw >= 0.5") + 1 == lines.index("                 100  aesthetic < 5")
    assert "                  45  no image" in lines
    assert "  broken shard: raw/b.tar at byte 5,120: truncated; lost about 8 samples, or more (an estimate)" in lines
    assert "  scored 12,345 images in 1m 40s (123 images/s over the whole run)" in lines


@pytest.mark.parametrize(
    ("shard", "offset", "told"),
    [
        ("raw/b.tar.gz", 5120, "raw/b.tar.gz at byte 5,120: cut"),
        ("b.parquet", 0, "b.parquet: cut"),
        ("b.parquet", 17, "b.parquet at row 17: cut"),
        ("photos#cats/1.jpg", 0, "photos#cats/1.jpg: cut"),
    ],
)
def test_where_a_broken_shard_stops_is_told_as_its_kind_counts(shard, offset, told):
    broken = [{"shard": shard, "offset": offset, "reason": "cut", "lost_samples": 1}]
    text = describe_run("out", manifest_of(broken_shards=broken), Work(1, 0), 1)
    assert f"  broken shard: {told}; lost about 1 sample, or more (an estimate)" in text.splitlines()


def test_times_are_told_of_a_run_that_scored_nothing_and_not_of_an_earlier_one():
    phases = [{"phase": "reading scores", "seconds": 3.0}, {"phase": "writing", "seconds": 4.0}]
    manifest = manifest_of(timings={"batch_reductions": 0, "started": "2026-01-01T00:00:00Z", "phases": phases})
    told = "  time: reading scores 3s, writing 4s"
    assert told in describe_run("out", manifest, Work(0, 12345), 9).splitlines()
    assert "time:" not in describe_run("out", manifest, Work(0, 12345), 9, timed=False)
    assert is_of_run(manifest, 1767225600.4)
    assert not is_of_run(manifest, 1767225602.0)


def test_the_summary_says_where_to_look():
    text = describe_run("out", manifest_of(), Work(12345, 0), 1)
    for path in ("out/samples/*.parquet", "out/00000.tar", "out/manifest.json"):
        assert path in text


def test_a_run_that_scored_nothing_tells_no_rate_and_names_no_tar_that_is_not_there():
    text = describe_run("out", manifest_of(output={"shards": 0, "bytes": 0}), Work(scored=0, reused=12345), seconds=2)
    assert "scored 0 images (12,345 had been scored before) in 2s" in text
    assert "images/s" not in text
    assert "00000.tar" not in text


def test_columns_that_were_computed_later_are_told_with_what_they_took():
    lines = describe_run("out", manifest_of(), Work(0, 12345, from_stored=12000, reread=345), 2).splitlines()
    assert "  computed new columns of 12,000 samples from what is stored: no image read" in lines
    assert "  read 345 images again for new columns of their pixels: none was embedded" in lines
    none = describe_run("out", manifest_of(), Work(0, 12345), 2)
    assert "new columns" not in none


@pytest.mark.parametrize(("scored", "reused"), [(0, 0), (12000, 0), (12000, 300)])
def test_counters_that_a_runner_lost_are_not_told_as_work_done(scored, reused):
    text = describe_run("out", manifest_of(), Work(scored, reused), seconds=2)
    assert "  done in 2s; how much of it was scored in this run, the runner does not tell" in text.splitlines()
    assert "images/s" not in text


def test_want_of_memory_is_told_by_the_run_that_met_it():
    manifest = manifest_of(timings={"batch_reductions": 2})
    told = "  --batch_size did not fit in memory, and was halved 2 times: a smaller one, or auto, saves the trying"
    assert told in describe_run("out", manifest, Work(scored=1, reused=0), seconds=1).splitlines()
    assert "halved" not in describe_run("out", manifest, Work(scored=0, reused=1), seconds=1)
    assert "halved" not in describe_run("out", manifest_of(), Work(scored=1, reused=0), seconds=1)


def test_samples_that_an_earlier_release_scored_without_hashes_are_told_once_where_these_are_compared():
    lacking = {"unhashed": 3, "unedited": 1}
    told = [
        "  3 samples scored by an earlier release, which knew no such hash: not compared as perceptual duplicates",
        "  1 sample scored by an earlier release, which knew no hashes of edits: cropped and brighter copies of them "
        "are found less often",
    ]
    for kinds in (["perceptual"], ["exact"]):
        manifest = manifest_of(flags={"duplicates": {"kinds": kinds}}, **lacking)
        lines = describe_run("out", manifest, Work(1, 0), 1).splitlines()
        assert [line for line in lines if "earlier release" in line] == (told if kinds == ["perceptual"] else [])


@pytest.mark.parametrize(("shards", "bytes", "text"), [(1, 999, "1 shard, 999 B"), (2, 5e12, "2 shards, 5.0 TB")])
def test_counts_and_sizes_are_told_in_words(shards, bytes, text):
    assert text in describe_run("out", manifest_of(output={"shards": shards, "bytes": bytes}), Work(1, 0), 1)


def test_only_the_first_of_many_broken_shards_are_named():
    broken = [{"shard": f"raw/{i}.tar", "offset": 0, "reason": "empty file", "lost_samples": 2} for i in range(50)]
    text = describe_run("out", manifest_of(broken_shards=broken), Work(1, 0), 1)
    assert text.count("broken shard:") == 20
    assert "  ... and 30 more broken shards: manifest.json has them all" in text.splitlines()
    assert "  the 50 broken shards lost about 100 samples, or more (an estimate) together" in text.splitlines()


def test_only_the_most_frequent_of_many_reasons_are_named_and_the_others_counted():
    counts = {**manifest_of()["counts"], "failed_by_reason": {f"reason {i:02d}": 100 - i for i in range(25)}}
    lines = describe_run("out", manifest_of(counts=counts), Work(1, 0), 1).splitlines()
    assert "                  81  reason 19" in lines
    assert f"{sum(100 - i for i in range(20, 25)):>20,}  for 5 other reasons: manifest.json has them all" in lines
    assert not [line for line in lines if "reason 20" in line]


def test_a_list_of_what_goes_in_which_no_sample_is_and_a_field_that_none_has_are_told():
    names = ("key is in bad.txt", "key is not in good.txt", "sha256 is in worse.txt", "NOT (key is in bad.txt)")
    rules = [{"rule": name, "dropped": 5 if "worse" in name else 0, "alone": None} for name in names]
    told = describe_run("out", manifest_of(rules=rules, reading={"carry": ["url"]}), Work(0, 12345), 1).splitlines()
    notes = [line.strip() for line in told if "NOTE: key" in line or "NOTE: sha256" in line or "--carry" in line]
    assert notes == [
        "NOTE: key is in bad.txt: true of no sample that came to it",
        "NOTE: --carry url: no sample has such a field",
    ]


def test_untrained_models_are_told_with_every_summary():
    models = {"embedding": ModelIdentity("tiny-untrained", trained=False), "aesthetic": ModelIdentity("v2")}
    text = describe_run("out", manifest_of(models=told_models(models)), Work(1, 0), 1)
    assert "NOTE: untrained models (embedding): these scores mean nothing" in text
    assert "NOTE" not in describe_run("out", manifest_of(), Work(12345, 0), 1)


def test_a_plan_tells_shards_ranges_what_is_scored_and_weights_and_writes_nothing(tmp_path):
    data = tar_bytes([(f"{i}.jpg", b"x" * 3000) for i in range(10)])
    shards = [write_shard(tmp_path / f"{name}.tar", data) for name in "ab"]
    one = next(plan_ranges(shards[0], 10_240))
    empty = SampleBatch(one, rows.from_samples(one, [], []), [], np.zeros((0, 4), np.float16), WANTED.models)
    write_part(str(tmp_path / "out"), rows_with_aesthetic(empty), [AESTHETIC])
    before = sorted(pathlib.Path(tmp_path).rglob("*"))
    plan = look(str(tmp_path / "out"), shards, 10_240 / (1 << 20), WANTED)
    text = describe_plan(plan, 10_240 / (1 << 20), {"embedding": "/models/clip.pt"})
    assert text.startswith("Dry run: no image is read, nothing is written.\n  2 shards:")
    ranges = len(list(plan_ranges(shards[0], 10_240)))
    assert f"    {shards[0].url}  41.0 KB  {ranges} ranges" in text
    assert f"in {2 * ranges} ranges of about 0.00976562 MiB, 1 of them scored already" in text
    assert f"embedding: {ENCODER}\n      from /models/clip.pt" in text
    assert "with columns to be computed" not in text
    assert sorted(pathlib.Path(tmp_path).rglob("*")) == before


def test_a_plan_tells_ranges_that_are_embedded_and_lack_columns(tmp_path):
    shard = write_shard(tmp_path / "a.tar", tar_bytes([("a.jpg", b"x")]))
    (one,) = plan_ranges(shard, 1 << 20)
    empty = SampleBatch(one, rows.from_samples(one, [], []), [], np.zeros((0, 4), np.float16), WANTED.models)
    write_part(str(tmp_path / "out"), rows_with_aesthetic(empty), [AESTHETIC])
    lines = describe_plan(
        look(str(tmp_path / "out"), [shard], 1, Wanted(ENCODER, (AESTHETIC, NSFW))), 1, {}
    ).splitlines()
    assert f"  together 10.2 KB in 1 range of about 1 MiB, 0 of them scored already in {tmp_path / 'out'}" in lines
    assert "  1 range embedded already, with columns to be computed from that" in lines


def test_a_plan_of_many_shards_names_the_first_and_counts_the_rest(tmp_path):
    shards = [write_shard(tmp_path / f"{i:02d}.tar", tar_bytes([])) for i in range(25)]
    text = describe_plan(look(str(tmp_path / "out"), shards, 64, WANTED), 64, {})
    assert "19.tar" in text
    assert "20.tar" not in text
    assert "... and 5 more" in text
