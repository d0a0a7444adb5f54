"""Names of files as text."""

import pytest

from beam_curator.storage.urls import is_remote


@pytest.mark.parametrize(("url", "remote"), [("gs://b/a", True), ("s3://b", True), ("/a/b", False), ("a:b", False)])
def test_urls_with_a_scheme_are_remote(url, remote):
    assert is_remote(url) == remote
