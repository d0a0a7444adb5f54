"""The report of a whole job: written at its end, about its own ledger, with its own pictures; and again afterwards."""

import itertools
import json
import shutil

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_curator.commands.main import main
from beam_curator.transforms.reporting import WriteReport
from tests.report.browsers import opened

FILES = ("report.html", "report.json")


@pytest.fixture
def curate(curate):
    """The main job, with a report."""

    def run(output, *more, base=None):
        return curate(output, *(("--report", "true") if base is None else ()), *more, base=base)

    return run


@pytest.fixture
def finished(finished):
    """A finished job that has a report."""
    assert main(["report", str(finished)]) == 0
    return finished


def test_a_job_writes_its_report_and_the_command_writes_the_same(finished, raw, curate):
    assert curate(finished)[0] == 0
    page, figures = ((finished / name).read_bytes() for name in FILES)
    told, manifest = json.loads(figures), json.loads((finished / "manifest.json").read_text())
    assert told["counts"] == manifest["counts"]
    assert (told["flow"][-1]["kind"], told["flow"][-1]["samples"]) == ("kept", told["counts"]["kept"])
    assert page.count(b"data:image/webp") > 50
    assert len(page) < 5_000_000
    assert b"untrained" in page
    for name in FILES:
        (finished / name).unlink()
    assert main(["report", str(finished)]) == 0
    assert [(finished / name).read_bytes() for name in FILES] == [page, figures]
    assert not (finished / "_tmp").exists()  # verify would say that it does not belong there
    assert curate(finished, "--min_aesthetic", "8", "--report", "false")[0] == 0
    assert not any((finished / name).exists() for name in FILES)
    shutil.move(raw, raw.with_name("elsewhere"))
    try:
        assert main(["report", str(finished), "--input_root", str(raw.with_name("elsewhere"))]) == 0
        assert (finished / "report.html").read_text().count("data:image/webp") > 50
        assert main(["report", str(finished)]) == 0
    finally:
        shutil.move(raw.with_name("elsewhere"), raw)
    page = (finished / "report.html").read_text()
    assert "its shard can no longer be read" in page
    assert "data:image/webp" not in page


@pytest.mark.parametrize(
    ("how", "rows_together"),
    [
        ([], 40),
        (["--direct_running_mode=multi_threading", "--direct_num_workers=3"], 1),
        (["--direct_running_mode=multi_processing", "--direct_num_workers=2"], 1),
    ],
    ids=["one worker", "3 threads", "2 processes"],
)
def test_any_workers_and_any_groups_of_files_give_the_same_bytes(with_duplicates, tmp_path, how, rows_together):
    output = shutil.copytree(with_duplicates, tmp_path / "out")
    wanted = [(output / name).read_bytes() for name in FILES]
    told = json.loads(wanted[1])
    assert all(told["counts"][name] for name in ("kept", "dropped_by_rule", "failed_by_reason"))
    assert told["duplicates"]["groups"][0]["keeper"] is not None
    assert {band["kind"] for band in told["duplicates"]["bands"]} >= {"exact", "perceptual"}
    assert len(list((output / "samples").iterdir())) > 3
    for name in FILES:
        (output / name).unlink()
    with beam.Pipeline(FnApiRunner(), PipelineOptions(how)) as pipeline:
        (
            pipeline
            | beam.Create([json.loads((output / "manifest.json").read_text())])
            | WriteReport(f"{output}/", rows_together)
        )
    assert [(output / name).read_bytes() for name in FILES] == wanted


@pytest.fixture(scope="module")
def with_duplicates(finished_once, flags, tmp_path_factory):
    """A finished job with failures, rules and duplicates, and its report by `beam-curator report`."""
    output = shutil.copytree(finished_once, tmp_path_factory.mktemp("duplicates") / "out")
    more = ["--duplicates", "exact,perceptual", "--duplicate_bits", "40", "--min_width", "64", "--max_nsfw", "none"]
    assert main(["curate", *flags, "--output", str(output), *more, "--min_aesthetic", "4"]) == 0
    assert main(["report", str(output)]) == 0
    return output


def test_the_curve_of_duplicates_says_what_jobs_with_other_thresholds_keep(finished, curate):
    base = ["--duplicates", "exact,perceptual,semantic", "--duplicate_bits", "40", "--min_aesthetic", "none"]
    base += ["--max_nsfw", "none"]

    def figures(*more):
        assert curate(finished, *base, *more)[0] == 0
        return json.loads((finished / "report.json").read_text())

    told = figures("--duplicate_cosine", "0.98")
    curves = {
        one["kind"]: {point["threshold"]: point["kept"] for point in one["points"]}
        for one in told["duplicates"]["curves"]
    }
    assert curves["perceptual"][40] == curves["semantic"][0.98] == told["counts"]["kept"]
    assert min(curves["semantic"]) == 0.98
    assert max(curves["perceptual"]) == 40
    assert curves["semantic"][0.999] > curves["semantic"][0.98]
    stricter = figures("--duplicate_cosine", "0.995")
    assert stricter["counts"]["kept"] == curves["semantic"][0.995]
    again = {one["kind"]: one["points"] for one in stricter["duplicates"]["curves"]}
    assert again["semantic"][0]["threshold"] == 0.98  # pairs are listed as far as the first job compared
    page = (finished / "report.html").read_text()
    assert "Semantic: kept by threshold" in page
    shutil.rmtree(finished / "edges")
    assert main(["report", str(finished)]) == 0
    assert (
        "Not known: the pairs of perceptual duplicates are not in edges/ any more"
        in (finished / "report.html").read_text()
    )


def test_a_page_of_somebody_else_stops_a_job_before_any_work(finished, curate):
    (finished / "report.html").write_text("mine")
    code, _, err = curate(finished, "--min_aesthetic", "8")
    assert code == 2
    assert "report.html is no report of Beam Curator's: move it away, and run the same command again" in err
    assert (finished / "manifest.json").exists()


@pytest.mark.slow
def test_veils_lift_by_keyboard_and_pictures_are_shown(finished):
    with opened(finished / "report.html") as (page, said, asked):
        veiled = page.locator(".veiled").count()
        assert veiled
        button = page.locator(".veil").first
        button.focus()
        page.keyboard.press("Enter")
        assert page.locator(".veiled").count() == veiled - 1
        page.evaluate("document.querySelectorAll('img').forEach(one => { one.loading = 'eager'; })")
        page.wait_for_function("[...document.images].every(one => one.complete)")
        assert page.evaluate("[...document.images].every(one => one.naturalWidth > 0 && one.alt)")
        headings = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))")
        assert headings[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
        assert not said
        assert {one.split(":")[0] for one in asked} <= {"file", "data"}


def test_pictures_are_found_wherever_scores_and_images_are(finished, curate, tmp_path):
    from PIL import Image

    assert curate(tmp_path / "apart", "--scores_from", str(finished), "--min_aesthetic", "3")[0] == 0
    assert (tmp_path / "apart" / "report.html").read_text().count("data:image/webp") > 50
    (tmp_path / "folder").mkdir()
    for number in range(4):
        Image.new("RGB", (90, 70 + number), (60 * number, 90, 10)).save(tmp_path / "folder" / f"{number}.png")
    base = ["--input", str(tmp_path / "folder"), "--input_format", "folder", "--clip_model", "tiny-untrained"]
    assert curate(tmp_path / "of_folder", "--min_aesthetic", "none", "--max_nsfw", "none", base=base)[0] == 0
    page = (tmp_path / "of_folder" / "report.html").read_text()
    assert "of 4 samples kept" in page
    assert page.count("data:image/webp") >= 4
    assert 'class="gone"' not in page
    (tmp_path / "list.csv").write_text("bild\n" + "".join(f"folder/{number}.png\n" for number in range(4)))
    base = ["--input", str(tmp_path / "list.csv"), "--image_column", "bild", "--clip_model", "tiny-untrained"]
    assert curate(tmp_path / "of_list", "--min_aesthetic", "none", "--max_nsfw", "none", base=base)[0] == 0
    assert 'class="gone"' not in (tmp_path / "of_list" / "report.html").read_text()
