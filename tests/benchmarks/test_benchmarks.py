"""Each benchmark at its smallest size: that it runs, and that its tables say what they should. No figure is judged."""

import contextlib
import io
import json
import math
import re
import shutil
import subprocess
import sys

import psutil
import pytest
from PIL import Image

from beam_curator.models.encoders.clip import ClipSpec
from benchmarks import (
    captions,
    decoding,
    decoding_peers,
    drift,
    encoder,
    feed,
    gpu,
    gpu_feed,
    gpu_model,
    gpu_wheels,
    memory,
    peers,
    photos,
    profile,
    scale,
)
from benchmarks.jobs import JobRun
from benchmarks.tables import markdown


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Shards that the benchmarks make are kept for all tests."""
    return tmp_path_factory.mktemp("cache")


def tables(printed):
    """All tables that were printed: lists of rows, each a list of cells."""
    found, rows = [], []
    for line in [*printed.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append([rows[0], *rows[2:]])
            rows = []
    return found


def run(main, capsys, cache, *argv):
    assert main([*map(str, argv), "--cache", str(cache)]) == 0
    return tables(capsys.readouterr().out)


def number(cell):
    """The number in a cell; NaN for a dash, which a busy machine makes of a few images."""
    if cell == "-":
        return math.nan
    return float(re.match(r"[+-]?[\d.,]+", cell)[0].replace(",", ""))


def test_a_table_is_markdown_with_a_row_for_each_row():
    assert markdown(["way", "rate"], [["bare", "1.5"], ["whole job", "12"]]).splitlines() == [
        "| way       | rate |",
        "| --------- | ---: |",
        "| bare      |  1.5 |",
        "| whole job |   12 |",
    ]


def test_photos_are_the_same_bytes_every_time_and_like_those_of_the_web(tmp_path):
    first, second = (photos.make_shards(tmp_path / name, images=4, images_per_shard=2) for name in ("a", "b"))
    assert [tar.read_bytes() for tar in first.tars] == [tar.read_bytes() for tar in second.tars]
    assert (len(first.tars), first.images, len(first.jpegs())) == (2, 4, 4)
    assert photos.draw_jpeg(0, 0) != photos.draw_jpeg(1, 0)
    assert 0.5 < 8 * first.jpeg_bytes / first.pixels < 5


def test_photos_are_made_smaller_as_img2dataset_does(tmp_path):
    made = photos.make_shards(tmp_path, images=8, images_per_shard=8, longest_side=256)
    sizes = [Image.open(io.BytesIO(jpeg)).size for jpeg in made.jpegs()]
    assert {max(size) for size in sizes} == {256}
    assert photos.make_shards(tmp_path, images=8, images_per_shard=8).directory != made.directory
    with pytest.raises(SystemExit, match="--longest_side is for drawn images"):
        photos.make_shards(tmp_path, images=1, photos=tmp_path, longest_side=256)


def test_shards_are_made_of_the_users_own_photographs(tmp_path, small_jpeg):
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "one.JPG").write_bytes(small_jpeg)
    made = photos.make_shards(tmp_path, images=3, images_per_shard=2, photos=tmp_path / "album")
    assert made.jpegs() == [small_jpeg] * 3
    (tmp_path / "album" / "another.jpeg").write_bytes(photos.draw_jpeg(0, 0))
    changed = photos.make_shards(tmp_path, images=3, images_per_shard=2, photos=tmp_path / "album")
    assert changed.directory != made.directory


def test_encoder_compares_bare_encoder_and_job(cache, capsys):
    argv = ["--models", "tiny-untrained", "--images", 6, "--batch_size", 4, "--repetitions", 1]
    (table,) = run(encoder.main, capsys, cache, *argv)
    names, ratios = [row[0] for row in table[1:]], [number(row[2]) for row in table[1:]]
    assert names[0].startswith("bare encode_image")
    assert "ClipEncoder from JPEG bytes" in names
    assert any(name.startswith("job, whole") for name in names)
    assert max(ratio for name, ratio in zip(names, ratios, strict=True) if name.startswith("bare")) == 1


def test_encoder_gives_no_rate_where_starting_hides_it():
    shards = photos.PhotoShards(directory=None, images=6, jpeg_bytes=1, pixels=1)
    run = JobRun(images=6, seconds=2.0, scoring_seconds=1.5, cpu_seconds=1.0, output_bytes=1)
    measured = encoder.Measured({"fp32": [1.0]}, [0.5], [2.0], [run], start_seconds=2.5)
    (table,) = tables(encoder.report(shards, ClipSpec("tiny-untrained", device="cpu", batch_size=4), measured))
    assert table[1] == ["bare encode_image, fp32", "6.00", "1.000", "+0..+0 %"]
    assert table[3][1:3] == ["4.00", "0.667"]
    assert table[4] == ["job, whole, but for its start (2.5 s)", "-", "-", "-"]


def test_captions_are_compared_with_their_images(cache, capsys):
    (table,) = run(captions.main, capsys, cache, "--models", "tiny-untrained", "--images", 6, "--repetitions", 1)
    names = ["images, from JPEG bytes", "captions, from tokens", "captions, from texts", "tokenising"]
    assert ([row[0] for row in table[1:]], table[1][2]) == (names, "1.000")
    assert all(number(row[1]) >= 0 for row in table[1:])


def test_feed_compares_the_job_with_a_loop_that_only_decodes(cache, capsys):
    rates, costs = run(feed.main, capsys, cache, "--images", 6, "--batch_size", 4, "--repetitions", 1)
    assert (rates[1][0], rates[1][3]) == ("bare decode and resize", "1.000")
    assert [row[0] for row in rates[-2:]][1] == "job, whole"
    assert {"images.picture_hashes", "sha256", "whole job, but for its start"} <= {row[0] for row in costs}


def test_the_bare_loop_makes_the_pixels_that_the_encoder_sees():
    from beam_curator import images

    jpeg = photos.draw_jpeg(0, 1)
    picture, _ = images.decode(jpeg)
    assert (feed.decode_and_resize(jpeg) == images.preprocess(picture, feed.INPUT)).all()


def test_memory_measures_a_fresh_process_on_repeated_input(cache, capsys):
    (table,) = run(memory.main, capsys, cache, "--images", 6, "--images_per_shard", 6, "--bitmaps", 0, "--times", 2)
    assert [row[:2] for row in table[1:]] == [["2x", "12"]]
    assert number(table[1][3]) > 100  # MB: torch alone takes more


def test_memory_compares_peaks_with_that_of_the_least_input():
    source = memory.Input("bitmaps", [], images=100)
    runs = {times: memory.ProcessRun(1, 1, peak, "") for times, peak in {1: 1_000_000_000, 4: 1_030_000_000}.items()}
    ((_, least, most),) = tables(memory.report(source, runs))
    assert (least[4], least[5]) == ("1.000", "")
    assert (most[4], most[5]) == ("1.030", "+100.00 KB")


def test_memory_makes_bitmaps(tmp_path):
    source = memory.bitmaps(tmp_path / "bitmaps", images=3, images_per_shard=2)
    assert len(source.tars) == 2
    assert source.size_bytes > 3 * 3 * memory.BITMAP_SIDE**2


@pytest.mark.slow
def test_gpu_has_lines_of_each_section_on_the_cpu(cache, capsys, tmp_path):
    output = tmp_path / "gpu.jsonl"
    argv = ["--device", "cpu", "--size", "tiny", "--no_compile", "--images", "6", "--output", str(output)]
    assert gpu.main([*argv, "--cache", str(cache)]) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")] == lines
    told = {line["section"] for line in lines if "section_seconds" not in line}
    assert told == {"machine", *gpu_model.FIRST, *gpu_feed.SECTIONS, *gpu_model.LAST}
    assert all(line["differ"] == 0 for line in lines if line.get("what") == "the same again")
    ours = [line for line in lines if line.get("way") == "ours"]
    assert [line["batch"] for line in ours] == [2, 4]
    assert all(line["images_per_second"] > 0 for line in ours)


def test_a_section_that_gpu_has_not_is_named_before_anything_is_measured(capsys):
    assert gpu.main(["--sections", "rates", "bits"]) == 2
    assert capsys.readouterr().err.startswith("no section rates: there are ceilings, model alone, ")


def test_a_section_of_gpu_that_fails_is_a_line_and_the_next_begins():
    def fails():
        yield {"one": 1}
        raise RuntimeError("CUDA error: something\nand more")

    report, clock = gpu.Report(None), gpu.Clock(60)
    gpu.run_sections({"bad": fails, "good": lambda: iter([{"two": 2}])}, report, clock)
    gpu.run_sections({"late": fails}, report, gpu.Clock(-1))
    told = [line for line in report.lines if "section_seconds" not in line]
    assert told == [
        {"section": "bad", "one": 1},
        {"section": "bad", "error": "RuntimeError: CUDA error: something"},
        {"section": "good", "two": 2},
        {"section": "late", "skipped": "no time is left"},
    ]


def test_the_wheels_for_a_gpu_machine_are_what_it_lacks():
    found = gpu_wheels.closure(gpu_wheels.our_requirements(), frozenset({"torch", "torchvision", "pillow", "numpy"}))
    assert {"apache-beam", "open-clip-torch", "timm", "simplejpeg", "pyarrow", "grpcio"} <= set(found)
    assert not {"torch", "numpy", "pytest", "beam-curator"} & set(found)


def test_wheels_that_are_too_large_together_go_in_several_loads():
    sizes = {"pyarrow": 48.0, "beam": 19.0, "timm": 3.0, "grpcio": 7.0, "tiny": 0.1}
    assert gpu_wheels.loads(sizes) == [["pyarrow", "grpcio", "timm", "tiny"], ["beam"]]
    assert gpu_wheels.loads({"a": 30.0, "b": 34.0}) == [["b", "a"]]
    assert gpu_wheels.loads({"whole": 65.0, "a": 1.0}) == [["whole"], ["a"]]


def test_the_loads_are_told_and_one_that_is_too_large_is_a_failure(tmp_path, monkeypatch, capsys):
    def fetch(found, directory, python):
        directory.mkdir(exist_ok=True)
        for name, size in {"a.whl": 3, "b.whl": 2, "c.whl": 2}.items():
            (directory / name).write_bytes(b"x" * (size << 20))
        return sorted(directory.glob("*.whl"))

    monkeypatch.setattr(gpu_wheels, "download", fetch)
    monkeypatch.setattr(gpu_wheels, "LIMIT_MIB", 4)
    assert gpu_wheels.main([str(tmp_path / "a")]) == 0
    assert sorted(str(path.relative_to(tmp_path / "a")) for path in tmp_path.rglob("*.whl")) == [
        "1/a.whl",
        "2/b.whl",
        "2/c.whl",
    ]
    assert "7.0 MiB in 3 wheels, 2 loads, each within 4 MiB" in capsys.readouterr().out
    monkeypatch.setattr(gpu_wheels, "LIMIT_MIB", 2.5)
    assert gpu_wheels.main([str(tmp_path / "b")]) == 1
    assert "OVER" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        gpu_wheels.main([str(tmp_path / "b")])
    assert "b is not empty: give a new directory" in capsys.readouterr().err


def test_peers_that_are_not_installed_are_said_to_be_with_the_command(tmp_path, capsys):
    shards = photos.make_shards(tmp_path, images=1, images_per_shard=1)
    setting = peers.Setting("tiny-untrained", tmp_path / "none.pt", 2, tmp_path / "environments", tmp_path)
    results = peers.measure(setting, shards, shards, ["clip-retrieval", "NeMo Curator"], 1)
    report = peers.report("tiny-untrained", shards, results)
    assert report.count(f"not installed: python -m benchmarks.peers --install --peers_dir {tmp_path}/environments") == 2


def test_peers_reports_rates_beyond_the_start():
    shards = photos.PhotoShards(directory=None, images=11, jpeg_bytes=1, pixels=1)
    start, whole = (peers.ProcessRun(seconds, seconds * 2, 5_000_000_000, "") for seconds in (10.0, 15.0))
    slower = peers.ProcessRun(20.0, 30.0, 7_000_000_000, "")
    report = peers.report("m", shards, {"ours": [(start, whole)], "theirs": [(start, slower)]})
    ((header, ours, theirs),) = tables(report)
    assert header[0] == "m, 11 images"
    assert ours == ["ours", "2.00", "1.00", "1.00 s", "10 s", "5.00 GB"]
    assert theirs == ["theirs", "1.00", "0.50", "1.00 s", "10 s", "7.00 GB"]


def test_peers_gives_no_rate_where_starting_hides_it():
    shards = photos.PhotoShards(directory=None, images=11, jpeg_bytes=1, pixels=1)
    start, whole = (peers.ProcessRun(seconds, 1, 5_000_000_000, "") for seconds in (15.0, 14.0))
    report = peers.report("m", shards, {"ours": [(start, whole)]})
    assert report.endswith("ours: 11 images took no longer than one: give more --images")


def stack(*frames):
    return ";".join(["process 1:python", "thread (2): decode_0", *frames])


def test_profile_tells_what_a_stack_was_doing():
    encode = "_drive (beam_curator/models/encoders/cuda_stream.py:100)"
    decode = "decode (beam_curator/images/pictures.py:60)"
    assert profile.place_of(stack(decode, "load (PIL/ImageFile.py:390)")) == "decode: JPEG to pixels"
    assert profile.place_of(stack(decode, "picture_hashes (beam_curator/images/hashing.py:20)")) == "perceptual hashes"
    assert (
        profile.place_of(stack(encode, "run (beam_curator/models/encoders/device_model.py:9)", "f (torch/x.py:1)"))
        == "model"
    )
    assert profile.place_of(stack("wait (threading.py:320)")) is None
    assert profile.place_of(stack(decode, "_find_and_load (<frozen importlib._bootstrap>:1176)")) is None


def test_profile_sums_samples_to_milliseconds_an_image():
    lines = [
        f"{stack('preprocess (beam_curator/images/preprocessing.py:30)')} 30",
        f"{stack('x (apache_beam/y.py:1)')} 10",
    ]
    ((_, resize, beam, total),) = tables(profile.report(lines, rate=100, images=10))
    assert resize == ["resize and crop", "30.00", "75.0 %"]
    assert beam == ["Beam: the rest", "10.00", "25.0 %"]
    assert total == ["all", "40.00", "100 %"]


@pytest.mark.skipif(not shutil.which("py-spy"), reason="py-spy is in the benchmarks extra, and needs rights to sample")
def test_profile_samples_the_main_job(cache, capsys):
    (table,) = run(profile.main, capsys, cache, "--images", 6)
    assert table[-1][0] == "all"
    assert "resize and crop" in {row[0] for row in table}


def test_processes_measures_a_command_and_its_children():
    from benchmarks.processes import CommandFailedError, run_python

    child = "import time; held = bytearray(200_000_000); time.sleep(1)"
    measured = run_python(["-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"])
    assert measured.peak_bytes > 200_000_000
    with pytest.raises(CommandFailedError, match=r"exit code 3:\ngone wrong"):
        run_python(["-c", "import sys; print('gone wrong'); sys.exit(3)"])


def test_drift_has_a_row_for_each_way_and_says_how_far_it_moves(cache, capsys):
    (table,) = run(drift.main, capsys, cache, "--clip_model", "tiny-untrained", "--images", 4, "--device", "cpu")
    assert [row[0] for row in table[1:]] == [
        "--decode fast",
        "--precision bf16",
    ]
    fast, bf16 = table[1:]
    assert number(fast[1]) < 0.1
    assert number(fast[4]) == 0
    assert number(bf16[1]) == 0
    assert all(0.9 < number(row[3]) <= number(row[2]) <= 1 for row in table[1:])


def test_processes_that_outlive_their_command_are_ended(tmp_path):
    from benchmarks.processes import run_python

    pid_file = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    start = f"subprocess.Popen([sys.executable, '-c', {child!r}], stdout=-3, stderr=-3, start_new_session=True)"
    wait = f"all(time.sleep(0.1) is None for _ in iter(lambda: os.path.exists({str(pid_file)!r}), True)); time.sleep(3)"
    run_python(["-c", f"import os, subprocess, sys, time; {start}; {wait}"])
    pid = int(pid_file.read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_decoding_has_a_row_for_each_way_that_is_here_and_says_why_others_are_left_out(cache, capsys, monkeypatch):
    def absent():
        raise ImportError("No module named 'absent'")

    monkeypatch.setattr(
        decoding_peers, "PEERS", {"torchvision": decoding_peers.PEERS["torchvision, torch's resize"], "absent": absent}
    )
    both = run(decoding.main, capsys, cache, "--images", 3, "--repetitions", 1)
    assert len(both) == 2
    for table in both:
        exact, fast = table[1], table[2]
        assert (exact[0], exact[4]) == ("exact: Pillow", "0")
        assert fast[0].startswith("fast")
        assert number(fast[4]) <= 2
        assert [row[4] for row in table if row[0] == "torchvision"] == [fast[4]]


@pytest.mark.slow
def test_emulated_feed_has_a_row_for_each_way():
    """In a process of its own, which has no threads when it forks."""
    flags = ["--images", "24", "--threads", "4", "--processes", "1", "2", "--gpu", "1e5", "--decode", "fast"]
    argv = [sys.executable, "-m", "benchmarks.emulated_feed", *flags, "--slow", "none", "1 in 100 takes 90 ms"]
    (table,) = tables(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    assert [row[:5] for row in table[1:]] == [
        ["fast", slow, "auto", processes, "4"] for slow in ("none", "1 in 100 takes 90 ms") for processes in "12"
    ]
    assert all(number(row[5]) > 0 for row in table[1:])


@pytest.mark.slow
def test_scale_reads_what_a_phase_told_also_where_a_runner_has_the_last_word():
    run = scale.ProcessRun(9, 7.5, 300_000_000, 'WARNING: a\n{"seconds": 2.0, "steps": {}}\nChannel is closed\n')
    assert scale.row("totals", 1000, run) == ["totals", "1,000", "2.0 s", "7.5 s", "2000 us", "300 MB"]


def test_scale_measures_each_phase_and_tells_those_that_take_too_long(capsys):
    assert scale.main(["--ranges", "30", "--phases", "checks", "checks-again", "strays"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("match (1 requests)") == 2
    (table,) = tables(printed)
    assert [row[0] for row in table] == ["phase", "checks", "checks-again", "strays"]
    assert {row[1] for row in table[1:]} == {"30"}
    assert all(number(row[5]) > 0 for row in table[1:])
    assert scale.main(["--ranges", "30", "--phases", "places", "--limit", "0.01"]) == 0
    assert tables(capsys.readouterr().out)[0][1][2] == scale.NOT_FINISHED
