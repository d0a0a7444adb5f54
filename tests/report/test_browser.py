"""The page in a real browser: it opens without a network, and what its sliders say is what the rules would keep."""

import io
import os
import pathlib

import pytest
from PIL import Image

from beam_curator import rows
from beam_curator.report.figures import figures_of
from beam_curator.report.ledger_files import files_of_ledger
from beam_curator.report.rendering import render
from beam_curator.report.thumbnails import Thumbnail
from beam_curator.report.writing import finished_manifest, write_report
from beam_curator.rules.column_rules import AspectRatioAtMost, AtLeast, Below
from tests.report.browsers import opened
from tests.report.ledgers import RULES, drawn_rows, kept_by, write_job

pytestmark = pytest.mark.slow

AXE = "BEAM_CURATOR_AXE"
"""The environment variable that names an `axe.min.js` in place of the package's."""

WIDTHS = (1280, 768, 375)
"""Of the window, in pixels."""


def test_sliders_count_what_the_rules_would_keep(tmp_path):
    tables = drawn_rows(2000)
    write_job(tmp_path, tables)
    write_report(str(tmp_path))
    with opened(tmp_path / "report.html") as (page, said, asked):
        kept = lambda: int(page.inner_text("#what-if-kept").replace(",", ""))  # noqa: E731
        assert kept() == kept_by(RULES, tables)
        assert "--min_width 64 --max_aspect_ratio 3 --min_aesthetic 5.1 --max_nsfw 0.3" in page.inner_text(
            "#what-if-flags"
        )
        slider = page.locator("input[data-axis='2']")
        for value in (4, 4.6, 5, 5.6, 6):
            edges = page.evaluate("JSON.parse(document.getElementById('joint').textContent).axes[2].edges")
            slider.evaluate(
                "(one, value) => { one.value = value; one.dispatchEvent(new Event('input')); }", edges.index(value) + 1
            )
            assert kept() == kept_by([*RULES[:2], AtLeast("aesthetic", value), RULES[3]], tables)
            assert f"--min_aesthetic {value:g}" in page.inner_text("#what-if-flags")
            assert f"at least {value:g}" == slider.get_attribute("aria-valuetext")
        page.locator("input[data-axis='3']").focus()
        page.keyboard.press("ArrowLeft")
        below = float(page.inner_text("#told-3").removeprefix("below "))
        assert below < 0.3
        rules = [AtLeast("width", 64), AspectRatioAtMost(3.0), AtLeast("aesthetic", 6), Below("nsfw", below)]
        assert kept() == kept_by(rules, tables)
        page.click("#what-if-reset")
        assert kept() == kept_by(RULES, tables)
        assert not said
        assert [one.split(":")[0] for one in asked] == ["file"]


def test_duplicates_come_back_only_where_one_that_stays_for_them_goes(tmp_path):
    def without_nsfw(table):
        return rows.with_column(table, "nsfw", [0.1] * len(table))

    def with_duplicates(table):
        kept = [place for place, status in enumerate(table["status"].to_pylist()) if status == rows.KEPT]
        went = kept[1:6]
        columns = ([kept[0]] * len(went), ["exact"] * len(went), [float("nan")] * len(went))
        return rows.without_duplicates(table, went, [f"{of}" for of in columns[0]], *columns[1:])

    rules = [AtLeast("aesthetic", 5), Below("nsfw", 0.3)]
    write_job(tmp_path, list(map(without_nsfw, drawn_rows(60))), rules, {}, change=with_duplicates)
    write_report(str(tmp_path))
    with opened(tmp_path / "report.html") as (page, _, _):

        def range_told() -> list[int]:
            return [int(page.get_attribute("#what-if-kept", f"data-{end}")) for end in ("low", "high")]

        kept, _ = range_told()
        page.locator("input[data-axis='1']").focus()
        page.keyboard.press("ArrowLeft")
        assert range_told() == [kept, kept]
        page.locator("input[data-axis='0']").evaluate(
            "one => { one.value = one.max; one.dispatchEvent(new Event('input')); }"
        )
        low, high = range_told()
        assert low < kept
        assert high >= low


def axe_script():
    """axe-core: that of a package of Python, or a newer one that the environment names."""
    if named := os.environ.get(AXE):
        return pathlib.Path(named).read_text(encoding="utf-8")
    return pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_that_shuts_anybody_out(tmp_path, dark):
    script = axe_script()
    write_job(tmp_path, drawn_rows(300))
    write_report(str(tmp_path))
    with opened(tmp_path / "report.html", dark=dark) as (page, _, _):
        page.evaluate(script)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            found = page.evaluate("axe.run()")
            assert len(found["passes"]) > 30
            assert [(width, one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(tmp_path, width):
    write_job(tmp_path, drawn_rows(300))
    write_report(str(tmp_path))
    with opened(tmp_path / "report.html", width=width, dark=width == 375) as (page, said, _):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not said


def test_pictures_beside_each_other_begin_at_one_height_however_long_their_headings_are(tmp_path):
    write_job(tmp_path, drawn_rows(300))
    write_report(str(tmp_path))
    with opened(tmp_path / "report.html") as (page, _, _):
        page.evaluate("document.querySelector('.side-by-side h4').textContent = 'reason '.repeat(60)")
        tops = page.eval_on_selector_all(
            ".side-by-side > div",
            "all => all.map(one => [one, one.querySelector('.sheet')].map(it => it.getBoundingClientRect().top))",
        )
        line = [pictures for heading, pictures in tops if heading == tops[0][0]]
        assert len(line) > 1
        assert max(line) - min(line) < 1


def test_flags_to_copy_have_all_digits_of_a_threshold(tmp_path):
    write_job(tmp_path, drawn_rows(60), [AtLeast("aesthetic", 5.123456789012)], {"min_aesthetic": 5.123456789012})
    write_report(str(tmp_path))
    with opened(tmp_path / "report.html") as (page, _, _):
        assert page.inner_text("#what-if-flags") == "--min_aesthetic 5.123456789012"


def with_pictures(output):
    """A page whose samples all have a picture, some of them veiled."""
    write_job(output, drawn_rows(300))
    sink = io.BytesIO()
    Image.new("RGB", (168, 168), (200, 30, 30)).save(sink, "WEBP")
    figures = figures_of(files_of_ledger(str(output)), finished_manifest(str(output)))
    page = output / "report.html"
    page.write_text(render(figures.as_json, [Thumbnail(sink.getvalue())] * len(figures.wanted)))
    return page


def test_a_veil_is_lifted_by_keyboard(tmp_path):
    with opened(with_pictures(tmp_path)) as (page, said, _):
        before = page.locator(".veiled").count()
        page.locator(".veil").first.focus()
        page.keyboard.press("Enter")
        assert page.locator(".veiled").count() == before - 1 > 0
        assert not said


def test_what_is_printed_has_no_control_and_no_veiled_picture(tmp_path):
    with opened(with_pictures(tmp_path), width=720) as (page, said, _):
        assert page.locator("button:visible").count() > 2
        page.emulate_media(media="print")
        for hidden in ("button", "input", "summary", "nav", ".veiled img"):
            assert page.locator(hidden).count() > 0, hidden
            assert page.locator(f"{hidden}:visible").count() == 0, hidden
        assert page.locator(".frame:not(.veiled) img:visible").count() > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 720
        assert not said
