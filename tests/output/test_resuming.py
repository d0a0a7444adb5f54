"""Which shards a job knows, of this input and of earlier ones."""

import pytest

from beam_curator.output.resuming import merged, notes
from beam_curator.sources.shard_identity import KnownShard


def test_a_job_remembers_also_what_is_gone_all_in_the_order_of_urls():
    known = [KnownShard(url, 1, "was", url) for url in "abd"]
    found = [KnownShard(url, 2, "is", url, path="here") for url in "bc"]
    told = [(shard.url, shard.generation, shard.matched, shard.path) for shard in merged(known, found)]
    assert told == [("a", "was", False, ""), ("b", "is", True, ""), ("c", "is", True, ""), ("d", "was", False, "")]


@pytest.mark.parametrize(
    ("path", "told"),
    [("new/a.tar", "first raw/a.tar to new/a.tar:"), ("raw/a.tar", "first /old/raw/a.tar to /new/a.tar:")],
    ids=["the input alone", "with the directory that the job runs in"],
)
def test_where_shards_were_and_where_they_are_now_is_told(path, told):
    was = KnownShard("raw/a.tar", 1, "g", "/old/raw/a.tar")
    (line,) = notes([was], [KnownShard("raw/a.tar", 1, "g", "/new/a.tar", path=path)])
    assert told in line
