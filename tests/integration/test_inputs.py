"""What the user reads when input is missing, or none: the command on real tars with real images."""

import json
import pkgutil
import shutil

import pytest

from pipelines import curate_images

TINY = ["--clip_model", "tiny-untrained"]


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
    code, _, err = run(f"{shards}/{{00000..00002}}.tar", more=["--allow_missing"])
    assert (code, err) == (0, "")
    said = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert said["input"]["shards"] == 2
    assert said["input"]["missing"] == [{"name": f"{shards}/00002.tar", "reason": "no such file or directory"}]
    assert said["flags"]["allow_missing"] is True


@pytest.mark.parametrize(
    ("step", "pattern", "said"),
    [
        ("pipelines.curate_images.curate", "{00000..00001}.tar", "00001.tar (no such file or directory)"),
        ("pipelines.curate_images.curate", "*.tar", "the input has changed since this command looked at it"),
        ("beam_curator.tar.ranges.detect_compression", "*.tar", "00001.tar: No such file or directory"),
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
    code, out, err = run(f"@{shards}/list.txt")
    assert (code, err) == (0, "")
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
