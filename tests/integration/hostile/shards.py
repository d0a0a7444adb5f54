"""Shards that attack or puzzle whoever reads them, and what is to become of each."""

from tests.integration.hostile.archives import compressed, not_tars, truncated
from tests.integration.hostile.captions import caption_shards
from tests.integration.hostile.headers import headers
from tests.integration.hostile.images import image_shards
from tests.integration.hostile.members import members
from tests.integration.hostile.parts import Hostile, good_tar, kept


def all_shards():
    """Every hostile shard by its file name, and good ones before, between and after."""
    named = {}
    for group in (truncated, not_tars, headers, members, image_shards, caption_shards):
        named |= {f"{group.__name__}-{name}.tar": shard for name, shard in group().items()}
    for name, shard in compressed().items():
        stem, _, suffix = name.rpartition(".")
        named[f"compressed-{stem}.tar.{suffix}"] = shard
    named |= {
        f"{name}.tar": Hostile(good_tar("g1", "g2"), kept("g1", "g2")) for name in ("aa-good", "m-good", "zz-good")
    }
    return named
