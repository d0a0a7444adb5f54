"""The ledger in files of many ranges: the rows of a file each, for all that reads them, however it came about."""

import json
import re
import shutil
import signal

import pyarrow.parquet as pq
import pytest

from beam_curator.commands import curate_images, main, verify_output
from tests.integration.integration_content import content, ledger
from tests.integration.processes import wait_until

OF_MANY = ("--ranges_per_ledger_file", "3")
DUPLICATES = ("--duplicates", "exact,perceptual", "--min_aesthetic", "4", "--min_width", "64")
TRIES = 10
"""How often a moment is waited for that a busy machine may miss."""


@pytest.fixture(scope="module")
def flags_here(raw, finished_once):
    """Another selection from scores that stand elsewhere, with duplicates."""
    base = ["--input", str(raw), "--clip_model", "tiny-untrained", "--samples_per_shard", "20"]
    return [*base, *DUPLICATES, "--scores_from", str(finished_once)]


@pytest.fixture(scope="module")
def each(flags_here, tmp_path_factory):
    out = tmp_path_factory.mktemp("each") / "out"
    assert curate_images.main([*flags_here, "--output", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def many(flags_here, tmp_path_factory):
    out = tmp_path_factory.mktemp("many") / "out"
    assert curate_images.main([*flags_here, *OF_MANY, "--output", str(out)]) == 0
    return out


def names_in(output):
    return sorted(path.name for path in (output / "samples").iterdir())


def told(output, name):
    found = json.loads((output / name).read_text())
    return {key: value for key, value in found.items() if key not in ("timings", "flags", "ledger", "times", "how")}


def test_the_ledger_is_the_same_and_so_is_all_that_comes_of_it(each, many):
    ranges = len(names_in(each))
    assert ranges > 6
    assert names_in(many) == [f"ledger-{index:06d}.parquet" for index in range(-(-ranges // 3))]
    assert ledger(many) == ledger(each)
    assert sorted(row["status"] for row in ledger(many)).count("kept") == told(many, "manifest.json")["counts"]["kept"]
    assert any(row["duplicate_of"] for row in ledger(many))
    for name in ("manifest.json", "report.json"):
        assert told(many, name) == told(each, name)
    shards = [{name: one for name, one in content(output).items() if name[:2] == "00"} for output in (each, many)]
    assert shards[0] == shards[1]
    assert not (many / "_tmp").exists()
    assert verify_output.main([str(many)]) == 0


def test_two_workers_write_the_same_bytes(flags_here, many, tmp_path):
    workers = ("--direct_num_workers", "2", "--direct_running_mode", "multi_threading")
    assert curate_images.main([*flags_here, *OF_MANY, *workers, "--output", str(tmp_path / "out")]) == 0
    there, here = ({n: d for n, d in content(out).items() if n != "report.html"} for out in (many, tmp_path / "out"))
    assert here == there


def test_exports_previews_and_comparisons_read_it(each, many, flags_here, tmp_path, capsys):
    for output in (each, many):
        to = tmp_path / f"of_{output.parent.name}"
        assert main.main(["export", "embeddings", str(output), "--output", str(to)]) == 0
    assert content(tmp_path / f"of_{each.parent.name}") == content(tmp_path / f"of_{many.parent.name}")
    capsys.readouterr()
    assert curate_images.main([*flags_here, "--output", str(many), "--preview"]) == 0
    kept = told(many, "manifest.json")["counts"]["kept"]
    assert f"{kept:,} stay, " in capsys.readouterr().out
    against = []
    for output in (each, many):
        to = tmp_path / f"against_{output.parent.name}"
        assert curate_images.main([*flags_here, "--against", str(output), "--output", str(to)]) == 0
        against.append(ledger(to))
    assert against[0] == against[1]
    assert not any(row["status"] == "kept" for row in against[1])


def test_from_a_file_each_to_many_and_back_with_more_and_fewer_shards(each, many, flags_here, raw, tmp_path):
    out = tmp_path / "out"
    some = [path for path in sorted(raw.iterdir()) if path.suffix == ".tar"][1:]
    fewer = [*(word for path in some for word in ("--input", str(path))), *flags_here[2:]]
    for flags in ([*fewer, *OF_MANY], [*flags_here, *OF_MANY], flags_here, [*fewer, *OF_MANY, "--fewer_shards"]):
        assert curate_images.main([*flags, "--output", str(out)]) == 0
        if flags[1] == flags_here[1]:
            due = many if OF_MANY[0] in flags else each
            assert {n: d for n, d in content(out).items() if n.startswith("samples/")} == {
                n: d for n, d in content(due).items() if n.startswith("samples/")
            }
    assert verify_output.main([str(out)]) == 0
    assert {row["shard"] for row in ledger(out)} == {str(path) for path in some}


def test_a_job_that_is_killed_while_it_joins_goes_on_and_leaves_nothing(nursery, flags_here, many, tmp_path):
    def is_killed(out):
        process = nursery.start(*flags_here, *OF_MANY, "--output", out)
        assert wait_until(lambda: (out / "samples" / "ledger-000000.parquet").exists(), process)
        process.send(signal.SIGKILL)
        process.wait()
        return not (out / "manifest.json").exists()

    out = next(filter(is_killed, (tmp_path / f"out-{attempt}" for attempt in range(TRIES))))  # others were over before
    assert nursery.run(*flags_here, *OF_MANY, "--output", out)[0] == 0
    assert {n: d for n, d in content(out).items() if n != "report.html"} == {
        n: d for n, d in content(many).items() if n != "report.html"
    }
    assert not (out / "_tmp").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def swapped(path):
    other = path.with_name("ledger-000000.parquet")
    path.write_bytes(other.read_bytes())


def rows_changed(path):
    table = pq.read_table(path)
    keys = table["sha256"].take([1, 0, *range(2, len(table))])
    pq.write_table(table.set_column(table.schema.get_field_index("sha256"), table.schema.field("sha256"), keys), path)


@pytest.mark.parametrize(
    ("damage", "told", "times"),
    [
        (cut, "cannot be read: .*", 1),
        (lambda path: path.unlink(), "cannot be read: .*", 1),
        (swapped, "has not the rows of .* where they should be", 3),
        (rows_changed, "sha256 of .* is .*, should be .*", 2),
    ],
    ids=["cut", "gone", "swapped", "rows_changed"],
)
def test_verify_tells_what_is_wrong_with_a_file_of_many(many, tmp_path, capsys, damage, told, times):
    out = shutil.copytree(many, tmp_path / "out")
    damage(out / "samples" / "ledger-000001.parquet")
    capsys.readouterr()
    assert verify_output.main([str(out)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("samples/ledger-000001.parquet")]
    assert [bool(re.fullmatch(f"samples/ledger-000001.parquet: {told}", line)) for line in lines[:times]] == [
        True
    ] * times
    assert len(lines) == times or damage is rows_changed, lines


def test_verify_tells_of_a_file_too_many_and_of_ranges_that_are_not_in_the_input(many, tmp_path, capsys):
    out = shutil.copytree(many, tmp_path / "out")
    last = max((out / "samples").iterdir())
    shutil.copy(last, last.with_name("ledger-000999.parquet"))
    manifest = json.loads((out / "manifest.json").read_text())
    capsys.readouterr()
    assert verify_output.main([str(out)]) == 1
    assert "samples/ledger-000999.parquet: does not belong here" in capsys.readouterr().out.splitlines()
    (out / "manifest.json").write_text(json.dumps({**manifest, "ledger": {"ranges_per_file": 2}}))
    assert verify_output.main([str(out)]) == 1
    assert re.search(r"ledger-000000.parquet: has rows of .*, which is no range of the input", capsys.readouterr().out)
