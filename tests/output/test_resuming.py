"""Which shards a job knows, of this input and of earlier ones."""

from beam_curator.output.resuming import merged
from beam_curator.sources.shard_identity import KnownShard


def test_a_job_remembers_also_what_is_gone_all_in_the_order_of_urls():
    known = [KnownShard(url, 1, "was", url) for url in "abd"]
    found = [KnownShard(url, 2, "is", url, path="here") for url in "bc"]
    told = [(shard.url, shard.generation, shard.matched, shard.path) for shard in merged(known, found)]
    assert told == [("a", "was", False, ""), ("b", "is", True, ""), ("c", "is", True, ""), ("d", "was", False, "")]
