"""What is told of a job before it runs: how many images, how long, what it costs, and where more workers end."""

import dataclasses
import json
import pathlib
import re

import pyarrow as pa
import pytest

from beam_curator.commands.dry_run_flags import DryRun, split_off
from beam_curator.commands.estimated_steps import adding_columns, comparing, reading_fields, writing
from beam_curator.commands.estimating import Estimate, Left, Rate, curve
from beam_curator.commands.flags import check
from beam_curator.commands.measured_rates import (
    MEASURED,
    REPORT_SECONDS_A_ROW,
    SELECTING_SECONDS_A_ROW,
    SELECTING_START_SECONDS,
    SELECTING_TOGETHER_SECONDS_A_ROW,
    SEMANTIC_SECONDS_A_MILLION,
    measured_rates,
)
from beam_curator.commands.plan import describe_plan, look
from beam_curator.commands.plan_estimate import estimate_lines, estimate_of, known_rate, left_to_score
from beam_curator.commands.trial import _measured, chosen
from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.output.score_parts import StoredRange
from beam_curator.output.score_steps import Wanted
from beam_curator.progress import Done
from beam_curator.reading import DEFAULT_READING
from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.sources.counting import Density, density_of
from beam_curator.sources.image_lists import lists
from beam_curator.sources.listing import unpacked
from beam_curator.sources.tar.planning import plan_ranges
from tests.tars import COMPRESSORS, tar_bytes, write_shard

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEFT = Left(images=8000, exact=True, ranges=10, bytes=10**9, scored=0)
RATE = Rate(10.0, "a trial", 20.0)
WANTED = Wanted(ModelIdentity("ViT-L-14-quickgelu/openai"), ())


def test_the_curve_ends_where_each_worker_has_one_range():
    points = curve(LEFT, RATE, 2.0, None)
    assert [(one.workers, round(one.seconds), one.bound) for one in points] == [
        (1, 820, ""),
        (2, 420, ""),  # five ranges each, and the model is loaded by both
        (4, 260, ""),  # three rounds: two workers have nothing to do in the last
        (8, 180, ""),
        (10, 100, "ranges"),
    ]
    assert points[0].cost == pytest.approx(820 / 3600 * 2)
    assert points[-1].cost == pytest.approx(10 * 100 / 3600 * 2)
    assert points[-1].images_per_second == pytest.approx(100)
    assert points[0].bytes_per_second == pytest.approx(10**9 / 800)


def test_the_curve_ends_where_the_bucket_gives_no_more():
    points = curve(LEFT, RATE, None, 3e6)
    assert [(one.workers, one.bound) for one in points] == [(1, ""), (2, ""), (4, "bucket")]
    assert points[-1].bytes_per_second == pytest.approx(3e6)
    assert points[-1].cost is None


def test_nothing_left_has_no_curve():
    assert curve(Left(0, True, 0, 0, 500), RATE, 1.0, None) == []


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_headers_tell_how_many_samples_there_are(tmp_path, compression):
    data = tar_bytes([(f"{i:03d}.{ext}", b"x" * 3000) for i in range(40) for ext in ("jpg", "txt")])
    data = COMPRESSORS[compression](data) if compression else data
    shards = [write_shard(tmp_path / f"{name}.tar", data) for name in "ab"]
    ranges = [one for shard in shards for one in plan_ranges(shard, 1 << 15)]
    density = density_of(ranges)
    assert (density.samples, density.whole) == (80, True)
    assert sum(map(density.samples_in, ranges)) == pytest.approx(80, rel=0.05)


def test_some_headers_of_many_shards_tell_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr("beam_curator.sources.counting.SAMPLES_LOOKED_AT", 32)
    data = tar_bytes([(f"{i:03d}.jpg", b"x" * (1000 + 97 * i)) for i in range(20)])
    ranges = [one for i in range(40) for one in plan_ranges(write_shard(tmp_path / f"{i}.tar", data), 1 << 20)]
    density = density_of(ranges)
    assert not density.whole
    assert density.samples < 40
    cut = write_shard(tmp_path / "cut.tar", data[:9000])
    assert not density_of(list(plan_ranges(cut, 1 << 20))).whole


def test_rows_are_counted_not_estimated():
    rows = ShardRange(Shard("a.parquet", 100, format="parquet"), 7, 19, 0, last=True, rows_bytes=100)
    assert Density().samples_in(rows) == 12


def test_a_trial_takes_ranges_that_hold_about_so_many_images_and_one_at_least():
    shard = Shard("a.parquet", 100, format="parquet")
    ranges = [ShardRange(shard, 10 * i, 10 * i + 10, i, last=i == 9, rows_bytes=10) for i in range(10)]
    assert len(chosen(ranges, Density(), 25)) == 3
    assert len(chosen(ranges, Density(), 1)) == 1
    assert len(chosen(ranges, Density(), 1000)) == 10
    assert chosen(ranges[::-1], Density(), 25) == chosen(ranges, Density(), 25)
    assert chosen([], Density(), 25) == []


def test_a_rate_is_that_of_the_last_run_else_of_the_table_else_unknown(tmp_path):
    plan = look(str(tmp_path / "out"), [write_shard(tmp_path / "a.tar", tar_bytes([("a.jpg", b"x")]))], 64, WANTED)
    phase = {"phase": "scoring", "seconds": 10, "samples": 500, "samples_per_second": 50.0}
    ran = {"timings": {"started": "2026-01-02T03:04:05Z", "phases": [phase]}}
    assert known_rate(plan, ran, "fp32").images_per_second == 50
    few = {"timings": {"phases": [{**phase, "samples": 3}]}}
    assert known_rate(plan, few, "fp32").images_per_second == 1.79
    assert "docs/performance.md" in known_rate(plan, None, "bf16").source
    assert known_rate(plan, None, "bf16").source.endswith("; --trial 200 measures here")
    assert known_rate(plan, few, "bf16").source.endswith("; --trial 200 measures here, with another --output")
    assert measured_rates("tiny-untrained") == []


def test_the_table_has_what_the_docs_have():
    text = (ROOT / "docs" / "performance.md").read_text()
    of_jobs = r"\| (?:job, first range read to last part written|1 process, whole) \| +([0-9.]+) \|"
    assert {one.images_per_second for one in MEASURED} <= set(map(float, re.findall(of_jobs, text)))


def test_each_rate_of_the_other_steps_is_a_figure_of_the_docs():
    text = (ROOT / "docs" / "performance.md").read_text()
    start, one, together = SELECTING_START_SECONDS, SELECTING_SECONDS_A_ROW, SELECTING_TOGETHER_SECONDS_A_ROW
    assert f"{start} and\n5.2 s" in text
    (threshold, with_report), (everything, _) = re.findall(
        r"^\| (?:a threshold|all of the above) \| ([0-9.]+) \| ([0-9.]+) \| \+", text, re.MULTILINE
    )
    assert start + one * 1e6 == pytest.approx(float(threshold), abs=0.5)
    assert start + together * 1e6 == pytest.approx(float(everything), abs=0.5)
    assert pytest.approx(float(with_report) - float(threshold), abs=0.2) == REPORT_SECONDS_A_ROW * 1e6
    by_the_clock = re.search(r"by the clock \*\*(\d+) and\s", text)
    assert int(by_the_clock[1]) + 10 == SEMANTIC_SECONDS_A_MILLION  # parts are read in "10 s a million"
    assert "10 s a million" in text


def test_a_rate_is_that_of_the_device(tmp_path):
    plan = look(str(tmp_path / "out"), [write_shard(tmp_path / "a.tar", tar_bytes([("a.jpg", b"x")]))], 64, WANTED)
    assert known_rate(plan, None, "auto", lambda: "cuda").source.startswith("bf16, measured on an NVIDIA H200")
    assert known_rate(plan, None, "auto", lambda: "cpu").images_per_second == 8.09
    other = dataclasses.replace(plan, wanted=Wanted(ModelIdentity("tiny-untrained"), ()))
    assert known_rate(other, None, "auto", lambda: pytest.fail("torch is not imported for nothing")) is None


def test_sizes_that_nobody_knows_are_told_as_assumed(tmp_path):
    (tmp_path / "there.jpg").write_bytes(b"x" * 5000)
    (tmp_path / "urls.txt").write_text("".join(f"https://h.example/{i}.jpg\n" for i in range(7)) + "there.jpg\n")
    shards, _ = lists([str(tmp_path / "urls.txt")], DEFAULT_READING)
    plan = look(str(tmp_path / "out"), [one.shard for one in shards], 0.3, WANTED)
    told = describe_plan(plan, 0.3, {})
    assert "together 5.0 KB and 7 images of unknown size in 3 ranges" in told
    lines = [line.strip() for line in estimate_lines(estimate_of(plan, RATE, DryRun()))]
    assert lines[1:3] == [
        "to score   8 images, 705.0 KB in 3 ranges",
        "sizes      assumed: 100.0 KB for each of 7 images, for nobody knows them before they are read; bytes and "
        "ranges follow from it",
    ]
    assert not estimate_of(plan, RATE, DryRun()).as_json["left"]["counted_by"]


def test_sizes_that_a_trial_has_met_tell_of_the_others(tmp_path):
    (tmp_path / "there.jpg").write_bytes(b"x" * 5000)
    (tmp_path / "urls.txt").write_text("there.jpg\n" + "".join(f"https://h.example/{i}.jpg\n" for i in range(7)))
    shards, _ = lists([str(tmp_path / "urls.txt")], DEFAULT_READING)
    plan = look(str(tmp_path / "out"), [one.shard for one in shards], 0.3, WANTED)
    known = next(row for row, entry in enumerate(unpacked(plan.shards[0].listing)) if entry.size_bytes)
    first = plan.ranges[0]
    sizes = [5000 if row == known else None if row == first.end - 1 else 20_000 + row for row in first.rows]
    read = [size for size in sizes if size not in (None, 5000)]
    table = pa.table({"offset": pa.array(first.rows, pa.int64()), "bytes": pa.array(sizes, pa.int64())})
    scored = StoredRange(SampleBatch(first, table), "", ())
    plan = dataclasses.replace(plan, stored=[scored, *plan.stored[1:]])
    left = left_to_score(plan, density_of(plan.unscored))
    assert (left.unsized_bytes, left.measured) == (sum(read) / len(read), len(read))
    elsewhere = 8 - len(first.rows) - (known >= first.end)
    assert left.bytes == round(elsewhere * left.unsized_bytes + 5000 * (known >= first.end))
    told = " ".join(estimate_lines(estimate_of(plan, RATE, DryRun())))
    assert f"20.0 KB for each of 7 images: the mean of the {len(read)} that were read already" in told


def test_how_images_are_counted_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("beam_curator.sources.counting.SAMPLES_LOOKED_AT", 32)
    data = tar_bytes([(f"{i:03d}.jpg", b"x" * 3000) for i in range(20)])
    shards = [write_shard(tmp_path / f"{i}.tar", data) for i in range(40)]
    lines = estimate_lines(estimate_of(look(str(tmp_path / "out"), shards, 64, WANTED), RATE, DryRun()))
    assert lines[1].strip().startswith("to score   about ")
    assert lines[2].strip() == "by the headers of 28 samples in 14 tars of them"


def test_an_estimate_is_told_and_is_json(tmp_path):
    shard = write_shard(tmp_path / "a.tar", tar_bytes([(f"{i}.jpg", b"x" * 3000) for i in range(64)]))
    plan = look(str(tmp_path / "out"), [shard], 0.02, WANTED)
    assert left_to_score(plan, density_of(plan.unscored)).exact
    estimate = estimate_of(plan, RATE, DryRun(price_per_hour=3.6), ("exact", "semantic"))
    lines = [line.strip() for line in estimate_lines(estimate)]
    assert lines[1].startswith("to score   64 images, 2")
    assert "rate       10.0 images/s a worker: a trial" in lines
    assert "scoring    about 26s on one worker, 0.03 at the given price" in lines
    assert any(
        line.startswith("more than ") and "workers are no faster: each has one range then" in line for line in lines
    )
    assert any(
        line.startswith("comparing  at most about 0s: exact, semantic duplicates of 64 samples (docs/")
        for line in lines
    )
    assert any(
        re.match(r"writing    at most about 0s: .* KB of 64 samples, where all are kept \(docs/", line)
        for line in lines
    )
    assert "in all     at most about 33s on one worker" in lines
    assert any(line.startswith("report     about 2s: the page, with pictures (docs/") for line in lines)
    told = json.loads(json.dumps(estimate.as_json))
    assert told["left"]["ranges"] == told["points"][-1]["workers"]
    unknown = [line.strip() for line in estimate_lines(estimate_of(plan, None, DryRun()))]
    assert "scoring    unknown: no rate of this encoder was measured: --trial 200 scores some images to see" in unknown


def test_flags_of_a_dry_run_are_ours_alone():
    asked, others = split_off(["--input", "a", "--dry_run", "--trial", "20", "--price_per_hour=1.5", "--json"])
    assert (asked, others) == (DryRun(20, 1.5, None, True), ["--input", "a"])
    with pytest.raises(UsageError, match="--trial tells about a job before it runs: give --dry_run with it"):
        check(["--input", "a", "--output", "b", "--trial", "20"], "")
    with pytest.raises(UsageError, match="--price_per_hour: 0 is not a number above 0"):
        check(["--input", "a", "--output", "b", "--dry_run", "--price_per_hour", "0"], "")


def test_what_comes_beside_scoring_is_estimated_by_what_it_took():
    assert adding_columns(0, ["nsfw"], {"embedding"}) is None
    assert adding_columns(1_000_000, ["nsfw"], {"embedding"}).seconds == pytest.approx(46)
    for needs in ("pixels", "caption", "embedding+caption", "row"):
        assert adding_columns(1_000_000, ["mine", "nsfw"], {"embedding", needs}).seconds is None
    assert reading_fields(0) is None
    assert reading_fields(1_000_000).seconds is None
    assert comparing(1e6, ()) is None
    assert comparing(1e6, ("semantic",)).seconds == pytest.approx(72)
    assert comparing(28e6, ("semantic",)).seconds == pytest.approx(16 * comparing(7e6, ("semantic",)).seconds)
    assert comparing(1e6, ("perceptual",)).seconds == pytest.approx(71)
    phases = [{"phase": "writing", "seconds": 5, "samples": 500, "samples_per_second": 100.0}]
    ran = {"timings": {"started": "2026-01-02T03:04:05Z", "phases": phases}}
    assert writing(2000, 10**9, ran, "out").seconds == 20
    assert writing(2000, 1_346_000_000, None, "out").seconds == pytest.approx(1)
    assert writing(1e6, 10**6, None, "out").seconds == pytest.approx(49)


def test_a_trial_says_how_many_of_its_images_failed():
    done = Done(scored=60, failed=59, began=100.0)
    assert _measured(done, 110.0, []).source.startswith("a trial of 60 images, 59 of which failed, on this machine")
    assert "failed" not in _measured(Done(scored=60, began=100.0), 110.0, []).source


@pytest.mark.parametrize("images", [0, 60])
def test_a_trial_that_embedded_no_image_tells_no_rate(images, tmp_path):
    assert _measured(Done(scored=images, failed=images, began=100.0), 110.0, []) is None
    shard = write_shard(tmp_path / "a.tar", tar_bytes([("1.jpg", b"x" * 3000)]))
    plan = look(str(tmp_path / "out"), [shard], 64, WANTED)
    estimate = estimate_of(plan, None, DryRun(trial=5))
    assert (
        "    scoring    unknown: none of the trial's images could be embedded: the same command again tries others"
    ) in estimate_lines(estimate)
    assert json.loads(json.dumps(estimate.as_json))["unknown"].startswith("none of the trial's images")
    assert describe_plan(plan, 64, {}, tried=images).startswith(f"Trial: {images} images scored and kept in ")


def test_the_rate_of_a_trial_that_left_nothing_is_told_and_no_other():
    estimate = Estimate(Left(0, True, 0, 0, 60), dataclasses.replace(RATE, detail="60 images in 6.0s"), 0, 5, "x", [])
    told = [line.strip() for line in estimate_lines(estimate)]
    assert "rate       10.0 images/s a worker: a trial" in told
    assert "60 images in 6.0s" in told
    assert "scoring    no image is left to be embedded" in told
    assert not any("images/s a worker" in line for line in estimate_lines(dataclasses.replace(estimate, rate=RATE)))
