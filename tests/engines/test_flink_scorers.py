"""Scorers of a package of its own on a Flink session cluster, whose workers have the package as well."""

import pytest

from tests.engines import engine_flink, engine_parts
from tests.integration.integration_content import content, ledger
from tests.scorer_wheel import FLAGS, install_scorers

pytestmark = pytest.mark.engines

SCORERS = [flag for scorer in FLAGS.values() for flag in ("--scorer", scorer)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install_scorers(tmp_path_factory.mktemp("scorers"))


@pytest.fixture
def start_cluster(tmp_path):
    """Starts a session cluster; stops it at the end."""
    engine_parts.build_jars()
    clusters = []

    def start_cluster(**more):
        clusters.append(engine_flink.SessionCluster(tmp_path / "cluster", **more))
        return clusters[-1]

    yield start_cluster
    for cluster in clusters:
        cluster.stop()


def test_scorers_of_an_installed_package_give_the_same_bytes_on_a_session_cluster(
    installed, start_cluster, start, tmp_path
):
    code, _, errors = start(tmp_path / "local", *SCORERS, packages=installed).wait()
    assert code == 0, errors
    cluster = start_cluster(packages=installed)
    code, stdout, errors = start(tmp_path / "flink", *SCORERS, *cluster.flags, packages=installed).wait()
    print(stdout)
    assert code == 0, errors
    assert "scored 986 images" in stdout

    rows = [row for row in ledger(tmp_path / "flink") if row["status"] != "failed"]
    assert rows
    for column in ("centre", "warmth", "words", "longest_word"):
        assert any(row[column] is not None for row in rows)
    assert content(tmp_path / "flink") == content(tmp_path / "local")


def test_workers_without_the_package_fail_the_job_with_one_line_that_names_it(
    installed, start_cluster, start, tmp_path
):
    cluster = start_cluster(task_managers=1)
    code, stdout, errors = start(tmp_path / "flink", *SCORERS, *cluster.flags, packages=installed).wait()
    told = [line for line in errors.splitlines() if line.startswith("beam-curator: ")]
    print("\n".join(told))
    assert (code, stdout, len(told)) == (1, "", 1), errors
    assert told[0].startswith(
        "beam-curator: a worker has no Python module picture_scorers: install its package where the workers run; "
    )
    assert "Traceback" not in errors
