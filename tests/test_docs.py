"""The documentation says what is there: files, links and public names; and it fits a screen."""

import functools
import pathlib
import re

import pytest

import beam_curator

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@functools.cache
def modules():
    """The project's own modules; environments and what tools leave have names with a dot."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [f"/{path.relative_to(ROOT)}" for folder in folders for path in folder.rglob("*.py")] + ["/setup.py"]


@pages
def test_no_line_is_over_120_columns_but_in_tables(page):
    lines = page.read_text().splitlines()
    assert [line for line in lines if len(line) > 120 and not line.lstrip().startswith("|")] == []


@pages
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", FENCE.sub("", page.read_text()))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pages
def test_files_that_are_named_are_there(page):
    if page.name == "CHANGELOG.md":
        pytest.skip("names what was there")
    named = re.findall(r"`([\w/]+\.py)`", FENCE.sub("", page.read_text()))
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in modules())] == []


def test_the_reference_has_every_public_name_once():
    reference = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    assert sorted(re.findall(r"^::: beam_curator\.(\w+)$", reference, re.MULTILINE)) == sorted(beam_curator.__all__)


def test_docstrings_have_sections_of_one_style():
    others = re.compile(r"^ +(Fields|Parameters|Arguments|Return|Yield|Raise|Params):$", re.MULTILINE)
    found = [path.name for path in (ROOT / "beam_curator").rglob("*.py") if others.search(path.read_text())]
    assert found == []
