"""The job on Prism, and on Spark by Beam's job server."""

import pytest

from tests.engines import engine_parts, engine_spark

pytestmark = pytest.mark.engines


def test_prism_gives_the_same_bytes(start, assert_same, tmp_path):
    engine_parts.build_prism()
    assert_same(start(tmp_path / "prism", "--runner", "PrismRunner", "--prism_location", engine_parts.PRISM))


@pytest.fixture
def spark(tmp_path):
    engine_parts.build_jars()
    server = engine_spark.SparkJobServer(tmp_path / "server")
    yield server
    server.stop()


def test_spark_gives_the_same_bytes_and_does_not_tell_what_it_scored(spark, start, assert_same, tmp_path):
    assert "how much of it was scored in this run, the runner does not tell" in assert_same(
        start(tmp_path / "spark", *spark.flags)
    )
