"""The page: inert whatever the ledger holds, the same bytes again, and its files told from others of their names."""

import html.parser
import json
import math
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator import rows
from beam_curator.commands.main import main
from beam_curator.report.rendering import share
from beam_curator.report.writing import write_report
from beam_curator.rules.column_rules import AtLeast
from tests.report.ledgers import drawn_rows, write_job

HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(2)>"'&{{7*7}}"""


class Elements(html.parser.HTMLParser):
    """The elements of a page, and where something would be fetched from or run."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.handlers, self.urls = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.handlers.append((tag, name))
            if name in ("src", "href", "action", "srcset"):
                self.urls.append(value)


def test_what_the_ledger_holds_is_inert(tmp_path):
    tables = drawn_rows(60, caption=HOSTILE + " {}", shard=HOSTILE + "{}.tar")
    change = lambda table: table.set_column(  # noqa: E731
        table.schema.get_field_index("reason"),
        table.schema.field("reason"),
        [[HOSTILE if one else one for one in table["reason"].to_pylist()]],
    )
    broken = [{"shard": HOSTILE, "offset": 1, "reason": HOSTILE, "lost_samples": 1}]
    write_job(tmp_path, tables, change=change, broken_shards=broken, flags={"where": [HOSTILE], "clip_model": HOSTILE})
    write_report(str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    found = Elements(page)
    assert found.tags.count("script") == 2
    assert "49" not in re.findall(r"\{\{.*?\}\}|'&(\d+)", page)
    assert not found.handlers
    assert found.tags.count("img") == page.count('src="data:image/webp')
    assert all(url.startswith(("#", "data:image/webp")) for url in found.urls)
    assert HOSTILE not in page
    assert "&lt;/script&gt;" in page


def test_the_page_asks_nobody(tmp_path):
    write_job(tmp_path, drawn_rows(60))
    write_report(str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src &#39;none&#39;; img-src data:;")
    assert "unsafe" not in policy
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.slow
def test_the_same_job_gives_the_same_bytes(tmp_path):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_job(tmp_path / name, drawn_rows(700))
        write_report(str(tmp_path / name))
        contents.append([(tmp_path / name / file).read_bytes() for file in ("report.html", "report.json")])
    assert contents[0] == contents[1]
    when = (tmp_path / "a" / "report.html").stat().st_mtime_ns
    write_report(str(tmp_path / "a"))
    assert (tmp_path / "a" / "report.html").stat().st_mtime_ns == when
    assert json.loads(contents[0][1])["counts"]["seen"] == 700


@pytest.mark.parametrize("rows_of", [1, 25])
def test_small_ledgers_have_a_page(tmp_path, rows_of):
    write_job(tmp_path, drawn_rows(rows_of))
    write_report(str(tmp_path))
    assert f"of {rows_of} samples kept" in (tmp_path / "report.html").read_text()


def test_the_command_says_where_the_page_is(tmp_path, capsys):
    write_job(tmp_path, drawn_rows(100))
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    kept = json.loads((tmp_path / "manifest.json").read_text())["counts"]["kept"]
    assert out == (
        f"{tmp_path}/report.html: 0.2 MB, {kept} of 100 samples kept; open it in any browser. Its figures: "
        f"{tmp_path}/report.json\n"
    )


def test_pictures_that_cannot_be_shown_are_told_with_why(tmp_path, capsys):
    write_job(tmp_path, drawn_rows(100))
    assert main(["report", str(tmp_path)]) == 0
    shown = len(json.loads((tmp_path / "report.json").read_text())["samples"])
    lost = f"{shown} of {shown} pictures cannot be shown: its score part is gone or damaged, which says where the image"
    assert capsys.readouterr().err == (
        f"note: {lost} stands ({shown}); where the input was moved, --input_root says to where\n"
    )


def test_a_ledger_with_a_text_that_is_none_any_more_is_one_line(tmp_path, capsys):
    write_job(tmp_path, drawn_rows(100))
    (file,) = (tmp_path / "samples").iterdir()
    pq.write_table(pq.read_table(file), file, compression="none", use_dictionary=False)
    whole = file.read_bytes()
    assert whole.count(b"a caption of 7") > 1
    file.write_bytes(whole.replace(b"a caption of 7", b"a caption \xeef 7"))
    assert main(["report", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert f"{file} is damaged" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["{}/nothing"], "beam-curator: {}/nothing holds no finished job (manifest.json is written last): run the job"),
        (["{}", "--outputs"], "beam-curator: unrecognized arguments: --outputs"),
        ([], "beam-curator: the following arguments are required: OUT (see --help)"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, capsys, argv, told):
    write_job(tmp_path, drawn_rows(10))
    assert main(["report", *(one.format(tmp_path) for one in argv)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(told.format(tmp_path))
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("counts", {"kept": "x"}), ("rules", 5), ("rules", [1]), ("flags", [1]), ("timings", 3), ("models", "x")],
)
def test_a_manifest_of_another_program_is_told(tmp_path, capsys, name, value):
    write_job(tmp_path, drawn_rows(10))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, name: value}))
    assert main(["report", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "manifest.json is none that Beam Curator wrote: look at its" in err
    assert err.count("\n") == 1


def test_a_page_of_somebody_else_stays(tmp_path, capsys):
    write_job(tmp_path, drawn_rows(10))
    (tmp_path / "report.html").write_text("<p>mine")
    assert main(["report", str(tmp_path)]) == 2
    assert "report.html is no report of Beam Curator's: move it away" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "<p>mine"


def test_numbers_are_told_as_people_do():
    assert [share(1, 3), share(0, 9), share(1, 10**6), share(10**6 - 1, 10**6), share(5, 5)] == [
        "33.3 %",
        "0 %",
        "< 0.1 %",
        "> 99.9 %",
        "100 %",
    ]


def failed(table):
    """All rows failed, each for a reason of its own."""
    reasons = [f"reason {chr(97 + row % 26)}{chr(97 + row // 26)}" for row in range(len(table))]
    for name, values in (("status", [rows.FAILED] * len(table)), ("reason", reasons)):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values, pa.string()))
    return table


def with_aesthetic(values):
    def change(table):
        place = table.schema.get_field_index("aesthetic")
        found = pa.array([values[row % len(values)] for row in range(len(table))], pa.float32())
        return table.set_column(place, table.schema.field(place), found)

    return change


def without_scores(table):
    return table.drop_columns(["aesthetic", "nsfw"])


@pytest.mark.parametrize(
    ("prepare", "change", "rules", "said"),
    [
        (None, failed, None, ["No sample is kept.", "289 other reasons", "No sample that could be used has a score"]),
        (None, None, [AtLeast("width", 1_000_000)], ["No sample is kept.", "of 300, for: width &lt; 1e+06"]),
        (with_aesthetic([math.nan, math.inf, -math.inf, 5.0]), None, None, ["aesthetic nan"]),
        (with_aesthetic([math.nan]), None, None, ["of 300 samples kept"]),
        (with_aesthetic([5.1]), None, None, ["of 300 samples kept"]),
        (without_scores, None, [AtLeast("width", 64)], ["of 300 samples kept"]),
    ],
    ids=["all failed", "none kept", "no numbers", "all NaN", "all equal", "no scores"],
)
def test_odd_ledgers_have_a_page_and_figures_that_are_json(tmp_path, prepare, change, rules, said):
    tables = [prepare(table) if prepare else table for table in drawn_rows(300)]
    given = {} if rules is None else {"rules": rules, "flags": {"min_width": rules[0].minimum}}
    write_job(tmp_path, tables, **given, **({"change": change} if change else {}))
    write_report(str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert [text for text in said if text not in page] == []

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
