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
    from pipelines import curate_images

    assert project()["scripts"] == {"beam-curator": "pipelines.curate_images:main"}
    assert callable(curate_images.main)
