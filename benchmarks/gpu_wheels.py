"""Collects the wheels that a GPU machine without a network lacks for `benchmarks.gpu`.

python -m benchmarks.gpu_wheels wheels --python 3.12

They are what this environment has of beam-curator's own dependencies, without those that --present names, which a
machine with torch has. They lie in loads of at most 64 MiB each, wheels/1, wheels/2, ...: to be carried one after the
other.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from beam_curator.first_few import counted

LIMIT_MIB = 64
PRESENT = (
    "torch",
    "torchvision",
    "triton",
    "numpy",
    "pillow",
    "sympy",
    "mpmath",
    "networkx",
    "jinja2",
    "markupsafe",
    "fsspec",
    "filelock",
    "typing-extensions",
    "setuptools",
)
"""The packages that come with torch, and torchvision; names that begin with "nvidia-" or "cuda-" as well."""
NOT_NEEDED = ("duckdb", "hf-xet")
"""The packages that no section imports."""


def our_requirements() -> list[str]:
    """Reads our requirements from pyproject.toml: what is installed of this package may be of an earlier day."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    block = text[text.index("\ndependencies = [") : text.index("\n]\n", text.index("\ndependencies = ["))]
    return re.findall(r'^  "([^"]+)"', block, re.MULTILINE)


def closure(requirements: Sequence[str], left_out: frozenset[str]) -> dict[str, str]:
    """The installed distributions that satisfy requirements, and theirs, without extras, by name, with versions."""
    found: dict[str, str] = {}
    due = [list(requirements)]
    while due:
        for text in due.pop():
            needed = Requirement(text)
            name = normal(needed.name)
            if name in left_out or name in found or name.startswith(("nvidia-", "cuda-")):
                continue
            if needed.marker and not needed.marker.evaluate({"extra": ""}):
                continue
            found[name] = metadata.version(name)
            due.append(metadata.requires(name) or [])
    return found


def normal(name: str) -> str:
    """A distribution's name as registries have it."""
    return re.sub("[-_.]+", "-", name).lower()


def download(found: dict[str, str], directory: Path, python: str) -> list[Path]:
    """Fetches wheels for Linux on x86; those that there is no wheel of are built here."""
    directory.mkdir(parents=True, exist_ok=True)
    common = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(directory)]
    elsewhere = ["--only-binary=:all:", f"--python-version={python}"]
    elsewhere += [f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    every = [f"{name}=={version}" for name, version in sorted(found.items())]
    if not subprocess.run([*common, *elsewhere, *every], check=False).returncode:
        return sorted(directory.glob("*.whl"))
    for wanted in every:
        if subprocess.run([*common, *elsewhere, wanted], check=False).returncode:
            build = [
                sys.executable,
                "-m",
                "pip",
                "wheel",
                "--quiet",
                "--no-deps",
                "--wheel-dir",
                str(directory),
                wanted,
            ]
            subprocess.run(build, check=True)
    return sorted(directory.glob("*.whl"))


def loads(sizes: Mapping[str, float]) -> list[list[str]]:
    """Wheels by their sizes in MiB, in as few loads as the largest that still fits each time makes of them."""
    found: list[list[str]] = []
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        room = (load for load in found if sum(map(sizes.__getitem__, load)) + sizes[name] <= LIMIT_MIB)
        load = next(room, None)
        if load is None:
            found.append([name])
        else:
            load.append(name)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Fetches them; 1 if one is too large by itself."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_wheels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, help="where they go")
    version = ".".join(map(str, sys.version_info[:2]))
    parser.add_argument("--python", default=version, help="the other machine's (default %(default)s)")
    parser.add_argument("--present", nargs="*", default=[], help="what else is there, such as pyarrow")
    parser.add_argument("--list", action="store_true", help="print names and versions, and fetch nothing")
    flags = parser.parse_args(argv)
    found = closure(our_requirements(), frozenset(map(normal, (*PRESENT, *NOT_NEEDED, *flags.present))))
    if flags.list:
        print("\n".join(f"{name}=={version}" for name, version in sorted(found.items())))
        return 0
    if flags.directory.exists() and any(flags.directory.iterdir()):
        parser.error(f"{flags.directory} is not empty: give a new directory")
    wheels = {wheel.name: wheel for wheel in download(found, flags.directory, flags.python)}
    sizes = {name: wheel.stat().st_size / (1 << 20) for name, wheel in wheels.items()}
    told = loads(sizes)
    for number, load in enumerate(told, 1):
        directory = flags.directory / str(number)
        directory.mkdir()
        for name in load:
            wheels[name].rename(directory / name)
            print(f"{sizes[name]:7.1f} MiB  {number}/{name}")
    fits = max(sizes.values()) <= LIMIT_MIB
    whole = f"{sum(sizes.values()):7.1f} MiB in {counted(len(sizes), 'wheel')}, {counted(len(told), 'load')}"
    print(f"{whole}, {'each within' if fits else 'OVER'} {LIMIT_MIB} MiB")
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
