"""What must agree with each other: the Dockerfile, the locked versions and the package's own metadata."""

import pathlib
import re
import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]


def docker_argument(name):
    return re.search(rf"^ARG {name}=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]


def locked_version(package):
    return re.search(rf"^{package}==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_image_has_the_beam_that_is_locked():
    assert docker_argument("BEAM_VERSION") == locked_version("apache-beam")


def test_the_image_has_a_python_that_the_package_supports():
    low, high = re.findall(r"3\.(\d+)", project()["requires-python"])
    assert int(low) <= int(docker_argument("PYTHON_VERSION").split(".")[1]) < int(high)


def test_the_locked_torch_is_built_for_the_cuda_of_the_image():
    runtime = locked_version("nvidia-cuda-runtime-cu12")
    assert docker_argument("CUDA_VERSION").split(".")[:2] == runtime.split(".")[:2]


def test_every_dependency_is_locked():
    declared = [*project()["dependencies"], *project()["optional-dependencies"]["dev"]]
    for requirement in declared:
        name = re.match(r"[A-Za-z0-9_.-]+", requirement)[0].replace("_", "-").lower()
        if name != "beam-curator":
            assert locked_version(name), name


def test_the_console_script_exists():
    from beam_curator.commands import curate_images

    assert project()["scripts"] == {"beam-curator": "beam_curator.commands.main:main"}
    assert callable(curate_images.main)


def copied():
    """Lists what the Dockerfile takes from the project."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line]
    return [name for names in lines for name in names]


def test_all_that_the_image_takes_is_there_and_makes_the_package():
    assert all((ROOT / name).exists() for name in copied())
    assert {"pyproject.toml", "setup.py", "constraints.txt", "beam_curator", "pipelines"} <= set(copied())
    ignored = {line.strip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert not ignored & set(copied())


def test_the_template_launcher_is_for_the_python_of_the_image():
    python = docker_argument("PYTHON_VERSION").replace(".", "")
    assert f"/python{python}-template-launcher-base:" in docker_argument("TEMPLATE_LAUNCHER")


def test_the_template_runs_the_main_job():
    variables = re.search(r"^ENV FLEX_TEMPLATE_PYTHON_PY_FILE=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert (ROOT / pathlib.PurePosixPath(variables[1]).relative_to("/opt/beam_curator")).name == "curate_images.py"
    assert (ROOT / pathlib.PurePosixPath(variables[1]).relative_to("/opt/beam_curator")).exists()


def test_the_beam_that_is_locked_is_one_that_the_package_takes():
    (lowest,) = [re.search(r">=(.+)", name)[1] for name in project()["dependencies"] if name.startswith("apache-beam")]
    locked = [int(part) for part in locked_version("apache-beam").split(".")]
    assert [int(part) for part in lowest.split(".")] <= locked


def test_cloud_build_builds_a_stage_that_the_dockerfile_has():
    targets = re.findall(r"_TARGET: (\w+)", (ROOT / "cloudbuild.yaml").read_text())
    stages = re.findall(r"^FROM .+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert targets == [stages[-1]] == ["worker"]
    assert "flex_template" in stages
