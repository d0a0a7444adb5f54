"""The job on Flink: embedded in Beam's job server, and on a session cluster of separate processes."""

import pytest

from tests.engines import engine_flink, engine_parts

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module", autouse=True)
def jars():
    engine_parts.build_jars()


@pytest.fixture
def cluster(request, tmp_path):
    cluster = engine_flink.SessionCluster(tmp_path / "cluster", restarts=getattr(request, "param", 0))
    yield cluster
    cluster.stop()


def test_flink_inside_the_job_server_with_python_in_the_command_gives_the_same_bytes(start, assert_same, tmp_path):
    flags = [*engine_flink.job_server_flags(), "--flink_master", "[local]", "--environment_type", "LOOPBACK"]
    assert "scored 986 images" in assert_same(start(tmp_path / "flink-embedded", *flags))


def test_a_session_cluster_gives_the_same_bytes_with_workers_of_its_own(cluster, start, assert_same, tmp_path):
    assert "scored 986 images" in assert_same(start(tmp_path / "flink-external", *cluster.flags))


def test_a_session_cluster_gives_the_same_bytes_with_python_in_the_command(cluster, start, assert_same, tmp_path):
    assert "scored 986 images" in assert_same(start(tmp_path / "flink-loopback", *cluster.loopback_flags))


@pytest.mark.parametrize("cluster", [3], indirect=True)
def test_a_task_manager_that_is_killed_changes_nothing_where_the_cluster_restarts_tasks(
    cluster, start, assert_same, tmp_path
):
    job = start(tmp_path / "flink-restarted", *cluster.flags)
    job.wait_for_scores(4)
    cluster.task_managers[0].kill()
    assert job.scored() < 40, "too late: nothing is proven"
    assert_same(job)


def test_without_restarts_the_job_fails_with_one_line_and_the_same_command_resumes_it(
    cluster, start, assert_same, tmp_path
):
    job = start(tmp_path / "flink-resumed", *cluster.flags)
    job.wait_for_scores(4)
    cluster.task_managers[0].kill()
    code, stdout, errors = job.wait()
    told = [line for line in errors.splitlines() if line.startswith("beam-curator: ")]
    assert (code, stdout, len(told)) == (1, "", 1), errors
    assert told[0].startswith("beam-curator: the engine failed the job: TaskManager with id")
    assert told[0].endswith("run the same command again to resume")
    assert "Traceback" not in errors
    cluster.add_task_manager()
    assert "had been scored before" in assert_same(start(job.out, *cluster.flags))
