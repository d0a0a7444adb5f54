"""What the user reads when input is missing, or none: the command on real tars with real images."""

import gzip
import io
import json
import pkgutil
import re
import shutil
import tarfile

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from PIL import Image

import beam_curator as bc
from beam_curator.commands import curate_images
from examples import embed_images, filter_with_rule
from tests.tars import Entry, tar_bytes, write_shard

TINY = ["--clip_model", "tiny-untrained", "--report", "false"]


@pytest.fixture
def run(capsys, tmp_path):
    """Runs the main job on these inputs; gives exit code, output and errors."""

    def curate(*inputs, more=()):
        capsys.readouterr()
        given = [flag for pattern in inputs for flag in ("--input", str(pattern))]
        code = curate_images.main([*given, "--output", str(tmp_path / "out"), *TINY, *more])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return curate


@pytest.fixture
def shards(raw, tmp_path):
    """Two whole shards, in a directory of their own."""
    (tmp_path / "in").mkdir()
    for path in sorted(raw.glob("*.tar"))[:2]:
        shutil.copy(path, tmp_path / "in")
    return tmp_path / "in"


def refused(run, tmp_path, *inputs):
    """The one line of a refusal before any work."""
    code, _, err = run(*inputs)
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "out").exists()
    return err


# missing


def test_a_brace_range_with_missing_shards_is_refused_and_they_are_named(run, shards, tmp_path):
    err = refused(run, tmp_path, f"{shards}/{{00000..00012}}.tar")
    assert "--input: 11 names are missing beside 2 that can be read: " in err
    assert f"{shards}/00002.tar (no such file or directory), {shards}/00003.tar" in err
    assert "and 6 more: mend --input, or give --allow_missing to go on without" in err


@pytest.mark.parametrize("other", ["typo.tar", "v*.tar", "below/", "below/**/*.tar"])
def test_an_input_that_matches_nothing_beside_one_that_does_is_refused(run, shards, tmp_path, other):
    assert f"1 name is missing beside 2 that can be read: {shards}/{other} (" in refused(
        run, tmp_path, f"{shards}/*.tar", f"{shards}/{other}"
    )


def test_a_link_to_nothing_is_refused(run, shards, tmp_path):
    (shards / "00002.tar").symlink_to("gone.tar")
    assert "00002.tar (a link to nothing)" in refused(run, tmp_path, shards)


def test_a_directory_that_is_called_like_a_shard_is_refused(run, shards, tmp_path):
    (shards / "00002.tar").mkdir()
    wanted = f"1 name is missing beside 2 that can be read: {shards}/00002.tar (a directory, not a file)"
    assert wanted in refused(run, tmp_path, f"{shards}/*.tar")
    assert run(f"{shards}/*.tar", more=["--allow_missing"])[0] == 0


def test_a_dry_run_lists_what_is_missing_and_fails_unless_it_is_allowed(run, shards, tmp_path):
    pattern = f"{shards}/{{00000..00030}}.tar"
    for more, wanted in [(["--dry_run"], 2), (["--dry_run", "--allow_missing"], 0)]:
        code, out, _ = run(pattern, more=more)
        assert code == wanted
        assert "  2 shards:\n" in out
        assert "  29 missing:\n" in out
        assert f"    {shards}/00030.tar (no such file or directory)\n" in out
    assert not (tmp_path / "out").exists()


def test_missing_input_that_is_allowed_is_in_the_manifest(run, shards, tmp_path):
    assert run(f"{shards}/{{00000..00002}}.tar", more=["--allow_missing"])[0] == 0
    said = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert said["input"]["shards"] == 2
    assert said["input"]["missing"] == [{"name": f"{shards}/00002.tar", "reason": "no such file or directory"}]
    assert said["flags"]["allow_missing"] is True


@pytest.mark.parametrize(
    ("step", "pattern", "said"),
    [
        ("beam_curator.commands.curate_images.curate", "{00000..00001}.tar", "00001.tar (no such file or directory)"),
        (
            "beam_curator.commands.curate_images.curate",
            "*.tar",
            "the input has changed since this command looked at it",
        ),
        ("beam_curator.sources.tar.planning.detect_compression", "*.tar", "00001.tar: No such file or directory"),
    ],
    ids=["named", "matched by a glob", "when it is planned"],
)
def test_a_shard_that_vanishes_after_it_was_matched_fails_the_job(
    run, shards, tmp_path, monkeypatch, step, pattern, said
):
    goes_on = pkgutil.resolve_name(step)

    def vanish(*arguments):
        (shards / "00001.tar").unlink(missing_ok=True)
        return goes_on(*arguments)

    monkeypatch.setattr(step, vanish)
    code, _, err = run(f"{shards}/{pattern}")
    assert code == 1
    assert len(err.strip().splitlines()) == 1, err
    assert said in err
    assert not (tmp_path / "out" / "manifest.json").exists()


# ways to write it


def test_a_list_two_colons_and_two_stars_name_the_same_shards(run, shards, tmp_path):
    (shards / "list.txt").write_bytes(b"# both\r\n00000.tar\r\n00001.tar\r\n")
    for pattern in (f"@{shards}/list.txt", f"{shards}/00000.tar::{shards}/00001.tar", f"{tmp_path}/**/0*.tar"):
        code, out, err = run(pattern, more=["--dry_run"])
        assert (code, err) == (0, "")
        assert f"    {shards}/00000.tar  " in out
        assert "  2 shards:\n" in out


def test_a_list_is_read_where_the_command_runs(run, shards):
    (shards / "list.txt").write_text("00000.tar\n")
    code, out, _ = run(f"@{shards}/list.txt")
    assert code == 0
    assert "balance: " in out


def test_patterns_that_run_away_or_are_not_read_are_one_line(run, shards, tmp_path):
    assert "more names than the 1,000,000" in refused(run, tmp_path, f"{shards}/{{0..99999999999}}.tar")
    assert "pipe: is not read" in refused(run, tmp_path, f"pipe:cat {shards}/00000.tar")


def test_home_is_written_out_between_quotes_for_output_too(run, shards, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert curate_images.main(["--input", "~/in", "--output=~/curated", *TINY]) == 0
    assert (tmp_path / "curated" / "manifest.json").exists()
    assert not (tmp_path / "~").exists()


# nothing read


def jpeg():
    file = io.BytesIO()
    Image.new("RGB", (70, 70), "red").save(file, "JPEG")
    return file.getvalue()


def parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"url": ["http://a"]}), sink)
    return sink.getvalue().to_pybytes()


NO_TARS = {
    "parquet.tar": (parquet(), "is a Parquet file"),
    "error.tar": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is XML: an error message of a"),
    "pointer.tar": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a Git LFS pointer"),
    "empty.tar": (bytes(10240), "is an empty tar: it has no members"),
    "nothing.tar": (b"", "is empty (0 bytes)"),
    "one.tar.gz": (gzip.compress(jpeg()), "is gzip of what is a JPEG image"),
    "empty.tar.zst": (zstd.compress(bytes(10240)), "is zstd of what is an empty tar"),
    "old.tar.Z": (b"\x1f\x9d\x90" + bytes(600), "is compressed with compress (.Z), which is not read"),
    "noise.tar": (b"\x01\xfe" * 600, "is not a tar"),
}


@pytest.mark.parametrize("name", NO_TARS)
def test_input_that_is_no_tar_is_refused_for_what_it_is(run, tmp_path, name):
    content, what = NO_TARS[name]
    (tmp_path / name).write_bytes(content)
    err = refused(run, tmp_path, tmp_path / name)
    assert f"--input matches 1 file, and none is a tar with samples: {tmp_path / name} {what}" in err


def test_many_files_of_which_none_is_a_tar_are_refused_and_one_tar_among_them_is_not(run, shards, tmp_path):
    for index in range(40):
        (shards / f"0{index:04d}.dat").write_bytes(jpeg())
    err = refused(run, tmp_path, f"{shards}/*.dat")
    assert "--input matches 40 files, and none is a tar with samples" in err
    assert err.count("is a JPEG image") == 3
    assert "; and 37 more" in err
    code, out, _ = run(f"{shards}/*")
    assert code == 0
    assert out.count(", but a JPEG image: give the folder that it is in") == 20


def test_images_by_name_are_refused_with_what_to_give(run, tmp_path):
    for name in ("0.jpg", "1.JPEG"):
        (tmp_path / name).write_bytes(jpeg())
    told = f"names 2 images: give the folder, --input {tmp_path}/, or write their paths into a file"
    assert told in refused(run, tmp_path, f"{tmp_path}/*.[jJ]*")


def test_a_directory_without_shards_is_refused(run, tmp_path):
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "0.doc").write_bytes(jpeg())
    assert "the directory holds 1 file, such as 0.doc" in refused(run, tmp_path, tmp_path / "loose")


NO_SAMPLES = {
    "names without a dot": ([("photo0", jpeg()), ("photo1", jpeg())], '2 x name without a dot, such as "photo0"'),
    "directories alone": ([Entry("a", type=tarfile.DIRTYPE)], '1 x directory, such as "a"'),
}


@pytest.mark.parametrize("what", NO_SAMPLES)
def test_tars_without_a_sample_fail_the_job_with_what_was_met(run, tmp_path, what):
    entries, said = NO_SAMPLES[what]
    write_shard(tmp_path / "a.tar", tar_bytes(entries))
    code, out, err = run(tmp_path / "a.tar")
    assert (code, out) == (1, "")
    assert re.fullmatch(
        rf"beam-curator: not one sample was read: .*a\.tar has members, but none makes a sample: {said}.*\n", err
    )
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert list((tmp_path / "out" / "scores").iterdir())


def test_a_shard_without_samples_beside_others_is_no_failure(run, shards):
    write_shard(shards / "none.tar", tar_bytes([("photo", jpeg())]))
    assert run(shards)[0] == 0


def test_a_library_job_without_a_sample_fails_as_well(tmp_path):
    write_shard(tmp_path / "a.tar", tar_bytes([("photo", jpeg())]))
    with pytest.raises(Exception, match=r"not one sample was read: .*a\.tar has members"), beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | bc.ReadSamples(str(tmp_path / "a.tar"))
            | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
            | bc.WriteShards(str(tmp_path / "out"))
        )
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("job", [embed_images, filter_with_rule])
def test_small_jobs_without_a_sample_fail_as_well(job, tmp_path, capsys):
    write_shard(tmp_path / "a.tar", tar_bytes([("photo", jpeg())]))
    (tmp_path / "b.tar").write_bytes(jpeg())
    for name, code, said in [("a.tar", 1, "not one sample was read"), ("b.tar", 2, "none is a tar with samples")]:
        assert job.main(["--input", str(tmp_path / name), "--output", str(tmp_path / "out"), *TINY]) == code
        assert said in capsys.readouterr().err


def test_broken_shards_count_for_max_failed_fraction(run, shards, tmp_path):
    (shards / "broken.tar").write_bytes(jpeg() + bytes(2_000_000))
    code, out, _ = run(shards, more=["--max_failed_fraction", "0.5"])
    assert code == 0
    assert re.search(r"broken\.tar at byte 0: .*; lost about \d\d samples, or more \(an estimate\)\n", out)
    code, _, err = run(shards, more=["--max_failed_fraction", "0.1"])
    assert code == 1
    assert len(err.strip().splitlines()) == 1, err
    assert re.search(r" samples failed and 1 broken shard lost about \d\d more \(an estimate; at least one each\)", err)
    assert "broken.tar: not a tar header" in err


def bad_shard(directory):
    """A tar of three samples, none of which has an image that can be read."""
    members = [("a.jpg", jpeg()[:400]), ("b.jpg", jpeg()[:400]), ("c.jpg", b"")]
    return write_shard(directory / "bad.tar", tar_bytes(members))


def test_a_job_in_which_every_sample_failed_is_no_success(run, tmp_path):
    bad_shard(tmp_path)
    for more in ([], ["--max_failed_fraction", "1"]):
        code, _, err = run(tmp_path / "bad.tar", more=more)
        assert code == 1
        assert len(err.strip().splitlines()) == 1, err
        assert "not one sample could be used: 3 of 3 samples failed: 2 x truncated image, 1 x empty image" in err
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert list((tmp_path / "out" / "scores").iterdir())


def test_a_library_job_in_which_every_sample_failed_is_no_success(tmp_path):
    bad_shard(tmp_path)
    with pytest.raises(Exception, match="not one sample could be used: 3 of 3"), beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | bc.ReadSamples(str(tmp_path / "bad.tar"))
            | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
            | bc.WriteShards(str(tmp_path / "out"))
        )
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("job", [embed_images, filter_with_rule])
def test_small_jobs_in_which_every_sample_failed_are_no_success(job, tmp_path, capsys):
    bad_shard(tmp_path)
    assert job.main(["--input", str(tmp_path / "bad.tar"), "--output", str(tmp_path / "out"), *TINY]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "not one sample could be used" in line
