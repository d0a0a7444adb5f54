"""What the main job leaves: every sample accounted for, members bit for bit, the same bytes every time."""

import collections
import gc
import io
import json
import platform
import re
import subprocess
import sys
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from beam_curator import process_tuning
from beam_curator.commands import verify_output
from beam_curator.models.encoders.clip import ClipEncoder
from tests.integration.integration_content import content, ledger


def samples_of(tar):
    return list(wds.WebDataset(str(tar), shardshuffle=False, handler=wds.warn_and_stop))


def input_samples(raw):
    """Reads the input by webdataset: samples by (shard, place in it); the truncated last sample is not among them."""
    return {
        (str(tar), index): sample for tar in sorted(raw.glob("*.tar")) for index, sample in enumerate(samples_of(tar))
    }


def own_members(sample):
    """The members that were in the input."""
    added = ("clip.npy", "curation.json")
    return {name: data for name, data in sample.items() if not name.startswith("__") and name not in added}


def test_every_sample_that_webdataset_reads_has_exactly_one_row_in_the_ledger(raw, finished):
    expected = [(shard, sample["__key__"]) for (shard, _), sample in input_samples(raw).items()]
    rows = [row for row in ledger(finished) if not str(row["reason"]).startswith("truncated shard")]
    assert [(row["shard"], row["key"]) for row in rows] == expected
    assert len({row["sample_id"] for row in ledger(finished)}) == len(ledger(finished))


def test_the_ledger_balances_and_the_summary_says_so(raw, tmp_path, curate):
    code, out, _ = curate(tmp_path / "out")
    assert code == 0
    statuses = collections.Counter(row["status"] for row in ledger(tmp_path / "out"))
    kept, dropped, failed = statuses["kept"], statuses["dropped"], statuses["failed"]
    assert min(kept, dropped, failed) > 0
    assert f"{kept} kept + {dropped} dropped + {failed} failed = {kept + dropped + failed} seen" in out
    assert f"scored {kept + dropped + failed} images" in out


def test_planted_defects_are_failed_rows_with_their_reasons(finished):
    failures = collections.Counter(row["reason"].split(":")[0] for row in ledger(finished) if row["status"] == "failed")
    assert failures == {
        "empty image": 1,
        "truncated image": 1,
        "not an image that can be decoded": 1,
        "no image in the sample": 1,
        "truncated shard": 1,
    }


def test_a_truncated_shard_is_recorded_with_its_reason_and_offset(raw, finished):
    (broken,) = json.loads((finished / "manifest.json").read_text())["broken_shards"]
    last = max(raw.glob("*.tar"))
    assert broken["shard"] == str(last)
    assert broken["offset"] == last.stat().st_size
    assert broken["reason"].startswith("truncated")


def test_members_of_kept_samples_are_copied_bit_for_bit_in_input_order(raw, finished):
    by_place = input_samples(raw)
    positions = collections.Counter()
    expected = []
    for row in ledger(finished):
        place = (row["shard"], positions[row["shard"]])
        positions[row["shard"]] += 1
        if row["status"] == "kept":
            expected.append((row["output_key"], by_place[place]))
    written = [sample for tar in sorted(finished.glob("*.tar")) for sample in samples_of(tar)]
    assert len(written) == len(expected) > 20
    for sample, (key, original) in zip(written, expected, strict=True):
        assert sample["__key__"] == key
        own = {name: data for name, data in original.items() if not name.startswith("__")}
        added = {name for name in sample if not name.startswith("__")} - set(own)
        assert added == {"clip.npy", "curation.json"}
        assert all(sample[name] == data for name, data in own.items())


def test_every_output_shard_but_the_last_is_exactly_full(finished):
    counts = [len(samples_of(tar)) for tar in sorted(finished.glob("*.tar"))]
    assert len(counts) > 1
    assert set(counts[:-1]) == {20}
    assert 0 < counts[-1] <= 20


def test_parquet_rows_and_statistics_stand_beside_each_shard_in_its_order(finished):
    for tar in sorted(finished.glob("*.tar")):
        samples = samples_of(tar)
        rows = pd.read_parquet(tar.with_suffix(".parquet"))
        assert list(rows["key"]) == [sample["__key__"] for sample in samples]
        assert set(rows["output_shard"]) == {tar.name}
        for row, sample in zip(rows.to_dict("records"), samples, strict=True):
            record = json.loads(sample["curation.json"])
            assert record["sample_id"] == row["sample_id"]
            assert np.float32(record["scores"]["aesthetic"]) == np.float32(row["aesthetic"])
            assert record["models"]["aesthetic"]["trained"] is False
        statistics = json.loads((tar.parent / f"{tar.stem}_stats.json").read_text())
        assert (statistics["samples"], statistics["tar_bytes"]) == (len(samples), tar.stat().st_size)
        assert statistics["count"] == statistics["successes"] == statistics["status_dict"]["success"] == len(samples)
        names = collections.Counter(name for sample in samples for name in sample if not name.startswith("__"))
        assert statistics["members"] == names


def test_sizes_of_all_shards_are_as_open_clip_reads_them(finished):
    sizes = {tar.name: len(samples_of(tar)) for tar in finished.glob("*.tar")}
    assert json.loads((finished / "sizes.json").read_text()) == sizes


def test_embeddings_in_the_tar_are_those_of_the_score_parts(finished):
    parts = pa.concat_tables([pq.read_table(part) for part in (finished / "scores").glob("*.parquet")])
    assert parts.schema.field("embedding").type == pa.list_(pa.float32())
    by_id = dict(zip(parts["sample_id"].to_pylist(), parts["embedding"].to_pylist(), strict=True))
    for tar in finished.glob("*.tar"):
        for sample in samples_of(tar):
            embedding = np.load(io.BytesIO(sample["clip.npy"]))
            assert embedding.dtype == np.float16
            assert np.linalg.norm(embedding.astype(np.float32)) == pytest.approx(1, abs=2e-3)
            record = json.loads(sample["curation.json"])
            assert np.array_equal(embedding, np.array(by_id[record["sample_id"]], np.float16))


def test_a_tuned_process_writes_the_same_bytes(finished, tmp_path, curate, monkeypatch):
    monkeypatch.setattr(process_tuning, "_on", True)
    assert curate(tmp_path / "tuned")[0] == 0
    gc.unfreeze()
    written = sorted(path.relative_to(finished) for path in finished.rglob("*") if path.suffix in (".tar", ".parquet"))
    assert len(written) > 6
    for path in written:
        assert (tmp_path / "tuned" / path).read_bytes() == (finished / path).read_bytes(), path


def test_running_the_same_command_again_scores_nothing_and_changes_no_byte(finished, curate, no_model):
    before, manifest = content(finished), (finished / "manifest.json").read_bytes()
    code, out, _ = curate(finished)
    assert code == 0
    assert "scored 0 images" in out
    assert content(finished) == before
    assert (finished / "manifest.json").read_bytes() == manifest


def test_other_thresholds_load_no_model_and_leave_what_a_fresh_run_would(finished, tmp_path, curate, no_model):
    scores = content(finished / "scores")
    code, _, _ = curate(finished, "--min_aesthetic", "8", "--samples_per_shard", "7")
    assert code == 0
    assert content(finished / "scores") == scores
    no_model.undo()
    assert curate(tmp_path / "fresh", "--min_aesthetic", "8", "--samples_per_shard", "7")[0] == 0
    assert content(finished) == content(tmp_path / "fresh")


@pytest.fixture
def no_model():
    """Fails the test if a model is loaded, an image decoded, or a shard gone through to be planned."""
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_):
            raise AssertionError("what was done once is done again")

        patch.setattr(ClipEncoder, "submit", refuse)
        patch.setattr(ClipEncoder, "load", refuse)
        patch.setattr("beam_curator.models.pixels.decoding.decode", refuse)
        patch.setattr("beam_curator.transforms.scoring._Score.process", refuse)
        patch.setattr("beam_curator.sources.tar.planning.cut_points", refuse)
        yield patch


def test_of_a_shard_that_is_gone_only_its_scores_fields_and_plan_stay(raw, tmp_path, curate):
    copies = tmp_path / "raw"
    copies.mkdir()
    for tar in raw.glob("*.tar"):
        (copies / tar.name).write_bytes(tar.read_bytes())
    base = ["--input", f"{copies}/*.tar", "--clip_model", "tiny-untrained", "--range_mb", "0.3", "--report=false"]
    assert curate(tmp_path / "out", base=base)[0] == 0
    assert all(list((tmp_path / "out" / name).glob("00001-*")) for name in ("plans", "scores", "samples"))
    before, gone = content(tmp_path / "out"), (copies / "00001.tar").read_bytes()
    (copies / "00001.tar").unlink()
    code, _, err = curate(tmp_path / "out", base=base)
    said = f"1 shard is no longer in the input, first {copies}/00001.tar: out of the selection, scores are kept"
    assert (code, err) == (0, f"beam-curator: note: {said}\n")
    assert curate(tmp_path / "fresh", base=base)[0] == 0
    found, fresh = content(tmp_path / "out"), content(tmp_path / "fresh")
    kept = {name for name in before if name.startswith(("scores/00001-", "plans/00001-", "fields/00001-"))}
    assert set(found) == set(fresh) | kept
    assert all(found[name] == fresh[name] for name in fresh if name != "job.json")
    assert all(found[name] == before[name] for name in kept)
    assert verify_output.main([str(tmp_path / "out")]) == 0
    assert curate(tmp_path / "out", base=base)[2] == ""  # told once
    (copies / "00001.tar").write_bytes(gone)
    code, out, _ = curate(tmp_path / "out", base=base)
    assert (code, "scored 0 images" in out) == (0, True)
    assert content(tmp_path / "out") == before


def test_hints_that_nobody_takes_here_are_told(finished, curate):
    hints = ("--scoring_accelerator", "type:nvidia-l4;count:1;install-nvidia-driver", "--scoring_min_ram", "30GB")
    said = "--scoring_accelerator and --scoring_min_ram: for runners elsewhere, nothing changes on this machine"
    assert f"  note: {said}\n" in curate(finished, *hints, "--dry_run")[1]


def test_only_ranges_without_scores_are_scored_again(finished, curate):
    before = content(finished)
    part = max((finished / "scores").glob("*.parquet"))
    rows = pq.read_metadata(part).num_rows
    part.unlink()
    (finished / "00000.tar").unlink()
    (finished / "_tmp").mkdir()
    (finished / "_tmp" / "half.parquet").write_bytes(b"half")
    code, out, _ = curate(finished)
    assert code == 0
    assert f"scored {rows} images" in out
    assert content(finished) == before


@pytest.mark.parametrize(
    "how",
    [
        ["--runner=DirectRunner"],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=1"],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=4"],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
        ["--runtime_type_check"],
    ],
    ids=["DirectRunner", "1 thread", "4 threads", "2 processes", "types checked"],
)
def test_the_output_is_the_same_bytes_on_local_runners(finished_once, tmp_path, curate, how):
    assert curate(tmp_path / "out", *how)[0] == 0
    assert content(tmp_path / "out") == content(finished_once)


def test_the_output_is_the_same_bytes_whatever_the_order_of_the_input(raw, tmp_path, curate):
    first, second, third = (str(tar) for tar in sorted(raw.glob("*.tar")))
    outputs = []
    for order in ([first, second, third], [third, first, second, third]):
        base = [flag for shard in order for flag in ("--input", shard)]
        outputs.append(tmp_path / f"out{len(outputs)}")
        assert curate(outputs[-1], base=[*base, "--clip_model", "tiny-untrained", "--report=false"])[0] == 0
    assert content(outputs[0]) == content(outputs[1])


def test_another_range_size_selects_and_packs_the_same(finished, tmp_path, curate):
    assert curate(tmp_path / "other", "--range_mb", "64")[0] == 0
    names = [path.name for path in sorted(finished.glob("*.tar"))]
    assert [path.name for path in sorted((tmp_path / "other").glob("*.tar"))] == names
    for name in names:
        for one, other in zip(samples_of(finished / name), samples_of(tmp_path / "other" / name), strict=True):
            assert own_members(one) == own_members(other)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="elsewhere the last bits may differ")
def test_another_range_or_batch_size_gives_the_same_tars(finished, tmp_path, curate):
    assert curate(tmp_path / "other", "--range_mb", "64", "--batch_size", "3")[0] == 0
    tars = sorted(finished.glob("*.tar"))
    assert [tar.read_bytes() for tar in tars] == [(tmp_path / "other" / tar.name).read_bytes() for tar in tars]


def test_equal_keys_from_different_shards_do_not_collide(raw, tmp_path, curate):
    (tmp_path / "again").mkdir()
    first = min(raw.glob("*.tar"))
    for name in ("a.tar", "b.tar"):
        (tmp_path / "again" / name).write_bytes(first.read_bytes())
    base = [
        "--input",
        str(tmp_path / "again"),
        "--clip_model",
        "tiny-untrained",
        "--min_aesthetic",
        "0",
        "--report=false",
    ]
    assert curate(tmp_path / "other", base=base)[0] == 0
    kept = [row for row in ledger(tmp_path / "other") if row["status"] == "kept"]
    assert len({row["key"] for row in kept}) * 2 == len(kept)
    assert len({row["output_key"] for row in kept}) == len(kept)
    assert len({row["sample_id"] for row in kept}) == len(kept)


def test_compressed_shards_give_what_plain_ones_give(raw, finished, tmp_path, curate):
    import gzip

    (tmp_path / "raw").mkdir()
    for tar in raw.glob("*.tar"):
        (tmp_path / "raw" / f"{tar.name}.gz").write_bytes(gzip.compress(tar.read_bytes()))
    base = [
        "--input",
        str(tmp_path / "raw"),
        "--clip_model",
        "tiny-untrained",
        "--min_width",
        "64",
        "--range_mb",
        "0.5",
        "--report=false",
    ]
    assert curate(tmp_path / "other", base=base)[0] == 0
    facts = ("key", "offset", "status", "reason", "sha256", "phash", "aesthetic", "nsfw", "caption")
    plain, compressed = (
        [tuple(row[f] for f in facts) for row in ledger(out)] for out in (finished, tmp_path / "other")
    )
    assert compressed == plain


def test_real_heads_score_what_the_embeddings_say(shared, tmp_path, curate):
    from beam_curator.models.heads.aesthetic import AestheticHead
    from beam_curator.models.heads.nsfw import NsfwHead

    base = [
        *("--input", str(shared / "data" / "image{1..4}.tar"), "--clip_model", "tiny-untrained"),
        *("--model_dir", str(shared / "models"), "--aesthetic_model", "v2", "--nsfw_model", "laion"),
        "--accept_other_encoder",
    ]
    assert curate(tmp_path / "other", base=base)[0] == 0
    table = pa.concat_tables([pq.read_table(part) for part in (tmp_path / "other" / "scores").glob("*.parquet")])
    assert table.num_rows == 11
    embeddings = np.array(table["embedding"].to_pylist(), np.float16)
    aesthetic = AestheticHead.load(shared / "models" / "sac+logos+ava1-l14-linearMSE.pth")
    nsfw = NsfwHead.load(shared / "models" / "clip_autokeras_binary_nsfw.npz")
    assert np.array_equal(table["aesthetic"].to_numpy(), aesthetic(embeddings))
    assert np.array_equal(table["nsfw"].to_numpy(), nsfw(embeddings))
    models = json.loads((tmp_path / "other" / "manifest.json").read_text())["models"]
    assert models["aesthetic"]["name"] == "sac+logos+ava1-l14-linearMSE"
    assert models["aesthetic"]["sha256"].startswith("21dd590f")


def test_the_tar_holds_nothing_but_regular_members_without_dates_or_owners(finished):
    with tarfile.open(finished / "00000.tar") as tar:
        for member in tar:
            assert member.isreg()
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


def test_conditions_select_a_finished_job_and_each_rule_is_told_in_order_and_alone(finished, curate):
    conditions = ["width >= 150 OR caption ILIKE '%the%'", "aesthetic < 6"]
    code, out, _ = curate(finished, "--max_nsfw", "none", *(text for one in conditions for text in ("--where", one)))
    assert (code, "scored 0 images" in out, "alone each would drop" in out) == (0, True, True)
    ledger_rows = [row for row in ledger(finished) if row["status"] != "failed"]
    wide = [row["width"] >= 150 or "the" in (row["caption"] or "").lower() for row in ledger_rows]
    for row, is_wide in zip(ledger_rows, wide, strict=True):
        is_kept = row["width"] >= 64 and row["aesthetic"] >= 5 and is_wide and row["aesthetic"] < 6
        assert is_kept == (row["status"] == "kept"), row
    told = {one["rule"]: one for one in json.loads((finished / "manifest.json").read_text())["rules"]}
    assert list(told) == ["width < 64", "aesthetic < 5", *(f"NOT ({one})" for one in conditions)]
    assert told[f"NOT ({conditions[0]})"]["alone"] == wide.count(False) > told[f"NOT ({conditions[0]})"]["dropped"]
    code, _, err = curate(finished, "--where", "aestetic > 5")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "did you mean aesthetic?" in err


def test_the_best_of_what_passes_the_rules_are_kept(finished, curate, tmp_path):
    flags = ["--max_nsfw", "none", "--keep_top", "aesthetic=0.5", "--keep_best", "10", "width"]
    code, out, _ = curate(finished, *flags)
    assert (code, "(best 10)" in out, "scored 0 images" in out) == (0, True, True)
    passed = [
        row for row in ledger(finished) if row["status"] != "failed" and row["width"] >= 64 and row["aesthetic"] >= 5
    ]
    scores = sorted((row["aesthetic"] for row in passed), reverse=True)
    best = [row for row in passed if row["aesthetic"] >= scores[int(len(scores) * 0.5)]]
    widest = sorted((row["width"] for row in best), reverse=True)[9]
    expected = {row["sample_id"] for row in best if row["width"] >= widest}
    assert {row["sample_id"] for row in ledger(finished) if row["status"] == "kept"} == expected
    assert curate(tmp_path / "new", *flags)[0] == 0
    assert content(tmp_path / "new") == content(finished)
    for wrong in (["--keep_top", "beauty=0.3"], ["--keep_top", "aesthetic"], ["--keep_best", "aesthetic"]):
        code, _, err = curate(finished, *wrong)
        assert (code, len(err.splitlines())) == (2, 1)


def test_a_preview_tells_what_would_come_and_go_and_writes_nothing(finished, curate):
    before, manifest = content(finished), (finished / "manifest.json").read_bytes()
    flags = ["--max_nsfw", "none", "--where", "width >= 100", "--keep_top", "aesthetic=0.5"]
    kept = {row["sample_id"] for row in ledger(finished) if row["status"] == "kept"}
    code, told, err = curate(finished, *flags, "--preview")
    assert (code, err, told.splitlines()[0]) == (0, "", "Preview: nothing is written.")
    assert (content(finished), (finished / "manifest.json").read_bytes()) == (before, manifest)
    code, printed, _ = curate(finished, *flags)
    counts = [line for line in printed.splitlines() if re.match(r"  (seen|dropped|failed|balance)| {6,}", line)]
    assert [line for line in told.splitlines() if re.match(r"  (seen|dropped|failed|balance)| {6,}", line)] == counts
    now = {row["sample_id"] for row in ledger(finished) if row["status"] == "kept"}
    moved = f"{len(kept & now)} stay, {len(now - kept)} come, {len(kept - now)} go"
    assert f"  beside the selection that stands: {moved}" in told.splitlines()
    code, told, _ = curate(finished, "--image_measures", "--preview")
    assert "without columns or fields that are asked for: not counted here; run without --preview" in told
    (finished / "manifest.json").unlink()  # as where a job was cut off, whose ledger may be of two selections
    assert "  no finished selection stands that it could be compared with" in curate(finished, "--preview")[1]


def test_captions_that_come_too_often_go_whatever_else_is_dropped(finished, curate):
    counts = collections.Counter(row["caption"] for row in ledger(finished))
    most = sorted(counts.values())[-2] - 1
    code, told, _ = curate(finished, "--max_caption_repeats", str(most), "--preview")
    assert (code, f"caption_repeats > {most}" in told) == (0, True)
    code, printed, _ = curate(finished, "--max_caption_repeats", str(most))
    tellings = [[line for line in text.splitlines() if "caption_repeats" in line] for text in (told, printed)]
    assert (code, tellings[0]) == (0, tellings[1])
    after = ledger(finished)
    assert not any(row["status"] == "kept" and row["caption"] and counts[row["caption"]] > most for row in after)
    gone = [row for row in after if row["reason"] == f"caption_repeats > {most}"]
    assert gone
    assert [row["caption_repeats"] for row in after] == [
        counts[row["caption"]] if row["caption"] else None for row in after
    ]
    beside = {row["sample_id"]: row["caption_repeats"] for row in pq.read_table(finished / "00000.parquet").to_pylist()}
    assert beside.items() <= {row["sample_id"]: row["caption_repeats"] for row in after}.items()
    assert verify_output.main([str(finished)]) == 0
    assert all(counts[row["caption"]] > most for row in gone)


def test_lists_say_which_samples_stay_and_go(finished, curate, tmp_path):
    rows = [row for row in ledger(finished) if row["status"] == "kept"]
    good, bad = {row["sample_id"] for row in rows[:-3]}, {row["sha256"] for row in rows[:2]}
    np.save(tmp_path / "good.npy", np.array(sorted(good)))
    (tmp_path / "bad.txt").write_text("\n".join(bad))
    flags = ["--allow", f"sample_id={tmp_path / 'good.npy'}", "--block", f"sha256={tmp_path / 'bad.txt'}"]
    code, told, _ = curate(finished, *flags, "--preview")
    assert (code, f"  beside the selection that stands: {len(rows) - 5} stay, 0 come, 5 go" in told) == (0, True)
    code, out, _ = curate(finished, *flags)
    assert (code, "  sample_id is not in good.npy" in out, "  sha256 is in bad.txt" in out) == (0, True, True)
    kept = {row["sample_id"] for row in ledger(finished) if row["status"] == "kept"}
    assert kept == {row["sample_id"] for row in rows if row["sample_id"] in good and row["sha256"] not in bad}
    code, _, err = curate(finished, "--block", str(tmp_path / "bad.txt"))
    assert (code, len(err.splitlines()), "give COLUMN=FILE" in err) == (2, 1, True)


def test_selecting_again_imports_no_torch(flags, finished):
    """It takes two seconds to import, and nothing is scored."""
    program = (
        "import sys\n"
        "from beam_curator.commands.main import main\n"
        f"code = main({['curate', *flags, '--output', str(finished), '--min_width', '50']!r})\n"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["0 False"], done.stderr
    assert "scored 0 images" in done.stdout
