"""What --input may say of a bucket: lists, `**`, brace ranges, and what is missing of them."""

import pytest

from beam_curator.commands import curate_images
from beam_curator.sources import matching
from tests.buckets.job_output import TINY


@pytest.fixture
def filled(service, bucket):
    """A bucket with objects at three depths, one of which only looks like a directory."""
    for name in ("00000.tar", "00001.tar", "x/00003.tar", "x/y/00004.tar", "x/y/notes.txt", "z.tar/"):
        service.put(f"{bucket}/raw/{name}", b"12")
    return f"{bucket}/raw"


def names_of(found, root):
    return [file.path.removeprefix(f"{root}/") for file in found.files]


def missing_of(found, root):
    return [(one.name.removeprefix(f"{root}/"), one.reason) for one in found.missing]


def test_a_list_in_a_bucket_names_patterns_relative_to_itself(service, filled, bucket):
    lines = ["# two kinds", "0000?.tar", "", "x/", f"{bucket}/raw/x/y/*.tar", "gone.tar"]
    service.put(f"{filled}/list.txt", "\r\n".join(lines).encode())
    found = matching.find([f"@{filled}/list.txt"])
    assert names_of(found, filled) == ["00000.tar", "00001.tar", "x/00003.tar", "x/y/00004.tar"]
    assert missing_of(found, filled) == [("gone.tar", "there is no such object; a directory ends with a slash")]


def test_two_stars_match_at_any_depth(filled, bucket):
    for pattern in (f"{filled}/**/*.tar", f"{filled}/**.tar"):
        found = matching.find([pattern])
        assert names_of(found, filled) == ["00000.tar", "00001.tar", "x/00003.tar", "x/y/00004.tar"]
        assert found.missing == []
    assert names_of(matching.find([f"{bucket}/**/y/*.tar"]), filled) == ["x/y/00004.tar"]
    assert missing_of(matching.find([f"{filled}/**/*.tgz"]), filled) == [("**/*.tgz", "matches no object")]


@pytest.fixture
def curate(service, capsys):
    """Runs the command before any work; gives exit code, output and errors."""

    def run(*argv):
        code = curate_images.main([*argv, *TINY, *service.flags])
        return code, *capsys.readouterr()

    return run


def test_a_brace_range_with_a_missing_object_is_refused_by_name(curate, service, bucket, raw):
    service.put_directory(raw, f"{bucket}/raw")
    given = ["--input", f"{bucket}/raw/{{00000..00002}}.tar", "--output", f"{bucket}/out"]
    code, _, err = curate(*given)
    (line,) = err.strip().splitlines()
    assert code == 2
    assert f"1 name is missing beside 2 that can be read: {bucket}/raw/00002.tar (there is no such object" in line
    assert service.names(f"{bucket}/out") == []
    code, out, _ = curate(*given, "--allow_missing", "--dry_run")
    assert code == 0
    assert "  2 shards:\n" in out
    assert "  1 missing:\n" in out


def test_a_list_in_a_bucket_that_is_not_there_is_one_line(curate, bucket):
    code, _, err = curate("--input", f"@{bucket}/list.txt", "--output", f"{bucket}/out")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert f"{bucket}/list.txt" in err
