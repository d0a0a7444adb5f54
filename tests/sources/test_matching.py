"""From what --input says to the files that are there, and to what is missing: on real directories."""

import os
import pathlib
import subprocess
import sys

import pytest

from beam_curator.errors import StorageError, UsageError
from beam_curator.sources import matching


@pytest.fixture
def raw(tmp_path):
    """A directory with shards at three depths, and what is none."""
    names = ("00000.tar", "00001.tar", "a b.tar", "notes.txt", "._00000.tar", "x/00002.tar", "x/y/00003.tar")
    for name in (*names, ".hidden/00004.tar"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(b"12")
    return tmp_path / "raw"


def names_of(found, root):
    return [os.path.relpath(file.path, root) for file in found.files]


def missing_of(found):
    return [(pathlib.Path(one.name).name, one.reason) for one in found.missing]


def test_two_stars_match_the_directory_itself_and_all_below(raw):
    found = matching.find([f"{raw}/**/*.tar"])
    assert names_of(found, raw) == ["00000.tar", "00001.tar", "a b.tar", "x/00002.tar", "x/y/00003.tar"]
    assert found.missing == []
    assert names_of(matching.find([f"{raw.parent}/**/y/*.tar"]), raw) == ["x/y/00003.tar"]


def test_a_glob_of_directories_takes_what_is_named_like_a_shard_in_each(raw):
    assert names_of(matching.find([f"{raw}/*/"]), raw) == ["x/00002.tar"]
    assert names_of(matching.find([f"{raw}/*"]), raw) == ["00000.tar", "00001.tar", "a b.tar", "notes.txt"]


def test_relative_patterns_keep_their_spelling(raw, monkeypatch):
    monkeypatch.chdir(raw)
    for pattern, first in [("*.tar", "00000.tar"), ("./*.tar", "./00000.tar"), ("**/*.tar", "00000.tar")]:
        assert matching.find([pattern]).files[0].path == first


def test_links_are_followed_and_a_directory_is_entered_once(raw, tmp_path):
    (raw / "x" / "loop").symlink_to(raw)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "00009.tar").write_bytes(b"12")
    (raw / "linked").symlink_to(tmp_path / "elsewhere")
    (raw / "link.tar").symlink_to("00000.tar")
    found = names_of(matching.find([f"{raw}/**/0*.tar"]), raw)
    assert found == ["00000.tar", "00001.tar", "linked/00009.tar", "x/00002.tar", "x/y/00003.tar"]
    assert "link.tar" in names_of(matching.find([str(raw)]), raw)


@pytest.mark.parametrize(
    ("patterns", "missing"),
    [
        (
            ["{00000..00003}.tar"],
            [("00002.tar", "no such file or directory"), ("00003.tar", "no such file or directory")],
        ),
        (["*.tar", "typo.tar"], [("typo.tar", "no such file or directory")]),
        (["*.tar", "v*.tar"], [("v*.tar", "matches no file")]),
        (["*.tar", "nowhere/*.tar"], [("*.tar", "there is no directory {raw}/nowhere/")]),
        (["*.tar", "notes.txt/a.tar"], [("a.tar", "not a directory")]),
        (["*.tar::gone.tar"], [("gone.tar", "no such file or directory")]),
    ],
)
def test_what_is_missing_beside_what_is_there_is_named(raw, patterns, missing):
    given = ["::".join(f"{raw}/{part}" for part in pattern.split("::")) for pattern in patterns]
    found = matching.find(given)
    assert found.files
    assert missing_of(found) == [(name, reason.format(raw=raw)) for name, reason in missing]


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/**/*.tar", "/{00000..00001}.tar", "/00001.tar"])
def test_a_link_to_nothing_is_missing_and_not_passed_over(raw, pattern):
    (raw / "00001.tar").unlink()
    (raw / "00001.tar").symlink_to("gone")
    assert missing_of(matching.find([f"{raw}{pattern}"])) == [("00001.tar", "a link to nothing")]


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/**/*.tar", "/0*", "/{00000,00007}.t*"])
def test_a_directory_that_is_called_like_a_shard_is_missing_and_not_passed_over(raw, pattern):
    (raw / "00007.tar").mkdir()
    (raw / "00007.tar" / "a.tar").write_bytes(b"12")
    found = matching.find([f"{raw}{pattern}"])
    assert missing_of(found) == [("00007.tar", "a directory, not a file")]
    assert names_of(matching.find([f"{raw}/00007.tar"]), raw) == ["00007.tar/a.tar"]
    assert matching.find([f"{raw}/0*.tar/"]).missing == []
    assert matching.find([f"{raw}/*.tar/*.tar"]).missing == []


def test_a_directory_without_shards_says_what_it_holds(tmp_path):
    assert missing_of(matching.find([str(tmp_path)]))[0][1] == "the directory holds no files named like a tar shard"
    for index in range(3):
        (tmp_path / f"{index}.jpg").touch()
    wanted = "the directory holds 3 files, such as 0.jpg, but none that is named like a tar shard"
    assert missing_of(matching.find([str(tmp_path)]))[0][1] == wanted


def test_a_glob_that_matches_directories_alone_says_so(tmp_path):
    (tmp_path / "cats").mkdir()
    wanted = f"matches no file, but directories, such as {tmp_path}/cats: name these"
    assert missing_of(matching.find([f"{tmp_path}/*"]))[0][1] == wanted


_AS_NOBODY = """
import os, sys
from beam_curator.sources import matching
os.setgid(65534); os.setuid(65534)
print(*matching.find(sys.argv[1:]).missing, sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_may_not_be_read_is_missing(raw):
    for directory in (raw, *raw.parents):
        if directory != pathlib.Path("/") and directory.owner() == "root" and directory != pathlib.Path("/tmp"):
            directory.chmod(0o755)
    (raw / "00001.tar").chmod(0)
    (raw / "x").chmod(0)
    found = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, f"{raw}/**/*.tar", f"{raw}/x/00002.tar"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines() == [
        f"{raw}/x (cannot be listed: permission denied)",
        f"{raw}/00001.tar (permission denied)",
        f"{raw}/x/00002.tar (permission denied)",
    ]


def test_a_name_that_is_there_is_meant_by_it_whatever_its_characters_say(tmp_path):
    for name in ("a[1].tar", "a::b.tar", "{x,y}.tar", "d[1]/c.tar", "~.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
        assert names_of(matching.find([str(tmp_path / name)]), tmp_path) == [name]
    assert names_of(matching.find([f"{tmp_path}/d[1]/*.tar"]), tmp_path) == ["d[1]/c.tar"]


def test_home_is_found_where_no_shell_wrote_it_out(raw, monkeypatch):
    monkeypatch.setenv("HOME", str(raw.parent))
    assert names_of(matching.find(["~/raw/0*.tar"]), raw) == ["00000.tar", "00001.tar"]
    assert matching.find(["~/raw/00000.tar"]).files[0].path == f"{raw}/00000.tar"


def test_a_list_names_patterns_relative_to_itself(raw, tmp_path):
    (raw / "list.txt").write_bytes(
        b"\xef\xbb\xbf# two kinds\r\n0000?.tar\r\n\r\na b.tar\r\nx/\r\n" + os.fsencode(f"{raw}/x/y/*.tar")
    )
    found = matching.find([f"@{raw}/list.txt"])
    assert names_of(found, raw) == ["00000.tar", "00001.tar", "a b.tar", "x/00002.tar", "x/y/00003.tar"]
    assert found.missing == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "list.txt: cannot read .*list.txt: No such file"),
        (b"# nothing\n", "the list names nothing"),
        (b"\xff\xfe\x00garbage", "is not a list of names"),
        (b"@other.txt", "names another list"),
    ],
)
def test_a_list_that_is_none_is_one_line(tmp_path, content, said):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        matching.find([f"@{tmp_path}/list.txt"])


@pytest.mark.slow
def test_the_bound_on_names_is_one_for_all_patterns(tmp_path):
    with pytest.raises(UsageError, match=r"1,000,000"):
        matching.expand_patterns(
            [f"{tmp_path}/{{0..499999}}.tar", f"{tmp_path}/{{0..499999}}.tgz", f"{tmp_path}/{{0..1}}"]
        )


@pytest.mark.parametrize(
    ("pattern", "expanded"),
    [
        ("raw/{00008..00010}.tar", ["raw/00008.tar", "raw/00009.tar", "raw/00010.tar"]),
        ("gs://b/{train,val}/*.tar", ["gs://b/train/*.tar", "gs://b/val/*.tar"]),
        ("raw/*.tar", ["raw/*.tar"]),
        ("gs://b/raw//", ["gs://b/raw/"]),
    ],
)
def test_brace_ranges_and_directories_are_written_out(pattern, expanded):
    assert matching.expand_patterns([pattern]) == expanded


@pytest.fixture
def bracketed(tmp_path):
    for name in ("00000.tar", "00001.tar", "00002.tar.gz", "00003.tgz", "a[1].tar", "notes.txt", "below/00004.tar"):
        (tmp_path / "raw[1]" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw[1]" / name).write_bytes(b"12")
    return tmp_path / "raw[1]"


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([""], ["00000.tar", "00001.tar", "00002.tar.gz", "00003.tgz", "a[1].tar"]),
        (["/"], ["00000.tar", "00001.tar", "00002.tar.gz", "00003.tgz", "a[1].tar"]),
        (["/00001.tar", "/00000.tar", "/00001.tar"], ["00000.tar", "00001.tar"]),
        (["/a[1].tar"], ["a[1].tar"]),
        (["/gone.tar"], []),
    ],
)
def test_what_is_named_is_matched_once_and_in_the_order_of_urls(bracketed, patterns, names):
    found = matching.match_files([f"{bracketed}{pattern}" for pattern in patterns])
    assert [os.path.relpath(file.path, bracketed) for file in found] == names
    assert all(file.size_in_bytes == 2 for file in found)


def test_globs_match_in_one_directory_and_not_below(bracketed):
    plain = bracketed.rename(bracketed.parent / "raw")
    matched = matching.match_files([f"{plain}/0000?.tar", f"{plain}/*.tar.gz", f"{plain}/{{00000..00001}}.tar"])
    assert [pathlib.Path(file.path).name for file in matched] == ["00000.tar", "00001.tar", "00002.tar.gz"]


def test_a_pattern_that_cannot_be_listed_is_one_clear_error():
    with pytest.raises(StorageError, match="cannot list nosuch://bucket/a"):
        matching.match_files(["nosuch://bucket/a*.tar"])
