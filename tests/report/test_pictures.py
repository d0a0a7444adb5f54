"""What is shown: the same samples whatever the order of files, upright small pictures of them, and what stays of each
group of duplicates."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from beam_curator import rows
from beam_curator.report.choosing import First
from beam_curator.report.copies import ids_of
from beam_curator.report.embedded_pictures import LEFT_OUT, EmbeddedPictures
from beam_curator.report.ledger_files import Piece
from beam_curator.report.rendering import facts
from beam_curator.report.thumbnails import SIDE, Thumbnail, thumbnail
from beam_curator.report.view import View
from beam_curator.report.writing import write_report
from tests.report.ledgers import drawn_rows, write_job


def encoded(size, orientation=None, format="JPEG"):
    image = Image.new("RGB", size, (200, 30, 30))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    sink = io.BytesIO()
    image.save(sink, format, exif=exif)
    return sink.getvalue()


def test_the_first_by_rank_do_not_depend_on_the_order_of_files():
    tables = drawn_rows(2000, per_file=100)
    ranks = [np.round(table["aesthetic"].to_numpy().astype(float)) for table in tables]

    def chosen(order):
        first = First(9)
        for file in order:
            there = np.flatnonzero(np.isfinite(ranks[file]))
            first.add(View(tables[file], [Piece(file=file)]), there, ranks[file][there])
        return first.places

    assert chosen(range(20)) == chosen(range(19, -1, -1))
    least = min(ranks[place.file][place.row] for place in chosen(range(20)))
    assert least == np.nanmin(np.concatenate(ranks))


def test_a_thumbnail_is_small_and_upright():
    found = Image.open(io.BytesIO(thumbnail(encoded((640, 320), orientation=6)).webp))
    assert found.format == "WEBP"
    assert found.size == (SIDE // 2, SIDE)
    assert Image.open(io.BytesIO(thumbnail(encoded((30, 20), format="PNG")).webp)).size == (30, 20)


@pytest.mark.parametrize(
    ("data", "sha256", "why"),
    [
        (b"not an image", None, "cannot be decoded"),
        (encoded((90, 90))[:300], None, "cannot be decoded"),
        (encoded((9, 9)), "0" * 64, "its shard has changed since it was scored"),
    ],
    ids=["no image", "cut", "another"],
)
def test_what_cannot_be_shown_says_why(data, sha256, why):
    assert thumbnail(data, sha256) == Thumbnail(None, why)


def test_pictures_are_left_out_before_the_page_grows_too_large():
    give = EmbeddedPictures([Thumbnail(bytes(300)), Thumbnail(bytes(30))], most=500)
    assert give(0)["src"].startswith("data:image/webp;base64,")
    assert give(0) == {"src": "", "why": LEFT_OUT}
    assert give(1)["src"]


def test_names_have_the_same_hash_in_any_column():
    names = [f"{n:032x}" for n in range(50)] + ["", "a", "ab", "ä" * 9]
    whole = ids_of(pa.array(names))
    assert len(set(whole.tolist())) == len(names)
    assert ids_of(pa.array(["x", *names])[1:]).tolist() == whole.tolist()
    assert [ids_of(pa.array([name]))[0] for name in names] == whole.tolist()


def with_duplicates(tables):
    """The tables with every tenth kept sample dropped as a duplicate of the first one."""
    keeper = next(
        name
        for table in tables
        for name, status in zip(table["sample_id"].to_pylist(), table["status"].to_pylist(), strict=True)
        if status == "kept"
    )
    found = []
    for table in tables:
        kept = [n for n, one in enumerate(table["status"].to_pylist()) if one == "kept"]
        some = [n for n in kept[1::10] if table["sample_id"][n].as_py() != keeper]
        distances = [0.955 + 0.04 * (n % 2) for n in range(len(some))]
        found.append(rows.without_duplicates(table, some, [keeper] * len(some), ["semantic"] * len(some), distances))
    return keeper, found


def test_duplicates_are_shown_with_what_stays(tmp_path):
    keeper, tables = with_duplicates(drawn_rows(1200))
    judged = write_job(tmp_path, tables, rules=(), flags={"duplicates": ["semantic"]})
    write_report(str(tmp_path))
    told = json.loads((tmp_path / "report.json").read_text())
    went = judged.to_pandas()
    went = went[went.duplicate_of.notna()]
    (group,) = told["duplicates"]["groups"]
    assert group["went"] == told["duplicates"]["went_in_all"] == len(went) > 20
    assert told["samples"][group["keeper"]]["id"] == keeper
    assert len(group["samples"]) == 5
    bands = {(band["from"], band["below"]): band["went"] for band in told["duplicates"]["bands"]}
    near = (went.duplicate_distance > 0.99).sum()
    assert bands == {(0.95, 0.96): len(went) - near, (0.995, 1.01): near}
    assert all(pair["kept"] == group["keeper"] for band in told["duplicates"]["bands"] for pair in band["pairs"])
    assert told["what_if"]["unknown"] == ["duplicates"]
    page = (tmp_path / "report.html").read_text()
    assert f"{len(went)} samples went for 1 that stay" in page
    assert 'class="keeper"' in page
    assert "its score part is gone" in page


def test_what_stays_in_another_output_is_not_shown_by_what_has_its_name_here(tmp_path):
    _, tables = with_duplicates(drawn_rows(600))
    copy = next(n for n, one in enumerate(tables[0]["duplicate_of"].to_pylist()) if one)
    own = tables[0]["sample_id"][copy].as_py()  # what stays is the same sample, as another output has it
    tables[0] = rows.without_duplicates(tables[0], [copy], [own], ["exact"], [0.0])
    write_job(tmp_path, tables, rules=(), flags={"duplicates": ["exact"], "against": ["other"]})
    write_report(str(tmp_path))
    bands = json.loads((tmp_path / "report.json").read_text())["duplicates"]["bands"]
    assert [pair["kept"] for band in bands if band["kind"] == "exact" for pair in band["pairs"]] == [None]


def test_sheets_hold_the_nearest_and_the_extremes(tmp_path):
    judged = write_job(tmp_path, drawn_rows(1500)).to_pandas()
    write_report(str(tmp_path))
    told = json.loads((tmp_path / "report.json").read_text())
    sheets = {sheet["title"]: [told["samples"][n] for n in sheet["samples"]] for sheet in told["sheets"]}
    kept = judged[judged.status == "kept"]
    assert {one["id"] for one in sheets["just kept: aesthetic >= 5.1"]} == set(
        kept.sort_values("aesthetic").sample_id[:12]
    )
    dropped = judged[judged.reason == "nsfw >= 0.3"].sort_values("nsfw")
    assert {one["id"] for one in sheets["just dropped: nsfw >= 0.3"]} == set(dropped.sample_id[:12])
    assert sheets["highest aesthetic"][0]["id"] == judged.loc[judged.aesthetic.idxmax()].sample_id
    assert all(one["status"] == "failed" for one in sheets["not an image that can be decoded"])
    assert all(one["veiled"] == (one["scores"].get("nsfw", 0) >= 0.3) for one in told["samples"])


def test_what_is_said_below_a_picture():
    sample = {
        "width": 600,
        "height": 400,
        "scores": {"aesthetic": 5.25, "nsfw": 0.0123456, "blur": 0.5},
        "kind": "semantic",
        "distance": 0.98,
    }
    assert facts(sample, "nsfw") == ["nsfw 0.01235", "600 \u00d7 400", "aesthetic 5.25", "blur 0.5", "semantic 0.98"]
    assert facts(sample, "aspect_ratio")[0] == "aspect_ratio 1.5"
    assert facts({**sample, "width": None, "distance": None, "scores": {}}) == []
