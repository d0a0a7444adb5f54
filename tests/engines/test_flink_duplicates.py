"""Duplicates on a Flink session cluster: the same bytes as on this machine."""

import pytest

from tests.engines import engine_flink, engine_parts
from tests.integration.integration_content import content

pytestmark = pytest.mark.engines

FLAGS = (
    "--duplicates",
    "exact,perceptual,semantic",
    "--duplicate_cosine",
    "0.99",
    "--max_nsfw",
    "none",
    "--min_aesthetic",
    "none",
)


def test_duplicates_are_the_same_on_a_session_cluster(start, tmp_path):
    engine_parts.build_jars()
    code, _, errors = start(tmp_path / "local", *FLAGS).wait()
    assert code == 0, errors
    cluster = engine_flink.SessionCluster(tmp_path / "cluster")
    try:
        code, stdout, errors = start(tmp_path / "flink", *FLAGS, *cluster.flags).wait()
    finally:
        cluster.stop()
    print(stdout)
    assert code == 0, errors
    for kind in ("exact", "perceptual", "semantic"):
        assert f"duplicate: {kind}" in stdout
    assert content(tmp_path / "flink") == content(tmp_path / "local")
