"""The report's figures are the ledger's: compared with counts over all rows, made in the plainest way."""

import collections
import dataclasses
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator import rows
from beam_curator.errors import JobError, StorageError
from beam_curator.report import repeats
from beam_curator.report.binning import NONE, places_of
from beam_curator.report.charts import WIDTH, Scale, text_of
from beam_curator.report.edges import edges_of
from beam_curator.report.figures import figures_of
from beam_curator.report.flow import flow_of
from beam_curator.report.joint import Axis, JointHistogram
from beam_curator.report.ledger_files import files_of_ledger
from beam_curator.report.repeats import Buckets
from beam_curator.report.spread import Spread
from beam_curator.report.thresholds import thresholds_of
from beam_curator.report.view import View
from beam_curator.rules.column_rules import AspectRatioAtMost, AtLeast, Below, Between
from tests.report.ledgers import RULES, drawn_rows, kept_by, write_job


def figures(output):
    return figures_of(files_of_ledger(str(output)), json.loads((output / "manifest.json").read_text())).as_json


def spread_of(*values):
    spread = Spread()
    spread.add(np.array(values, np.float64))
    return spread


def test_counts_of_a_column_take_as_much_memory_as_it_has_different_keys():
    spread = Spread()
    for values in np.random.default_rng(1).random((3, 40_000)):
        spread.add(values)
    assert spread.total == 120_000
    assert np.count_nonzero(spread.counts) > 1000
    assert sum(one.nbytes for one in vars(spread).values() if isinstance(one, np.ndarray)) < 30_000


def test_cuts_are_round_and_are_the_floats_that_people_type():
    assert edges_of(spread_of(*np.linspace(0.013, 0.987, 999)), [0.5])[:3] == [0.0, 0.02, 0.04]
    assert 0.3 in edges_of(spread_of(0.0, 0.5, 1.0))
    assert edges_of(spread_of(3, 4, 9)) == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    growing = edges_of(spread_of(*np.geomspace(100, 1e7, 500)), [12345])
    assert {100.0, 150.0, 200.0, 1000.0, 12345.0} <= set(growing)
    assert len(growing) <= 121
    assert edges_of(spread_of(), [5.0]) == [5.0]
    assert edges_of(spread_of(*[7.0] * 9))
    assert edges_of(spread_of(0.0))


@pytest.mark.parametrize(
    "values",
    [
        (-1.7e308, 1.7e308),
        (1.7e308,),
        (0, 5e-324),
        (5e-324,),
        (1, 1.7e308),
        (-1e308, 0, 1e-300),
        (10.0**30, 10.0**30 + 2**50),
        (1e16, 1e16 + 2),
    ],
)
def test_values_as_large_and_as_small_as_there_are_have_cuts_and_a_scale(values):
    edges = edges_of(spread_of(*values))
    assert edges == sorted(set(edges))
    assert 0 < len(edges) <= 121
    scale = Scale.of(edges)
    assert all(0 <= scale.x(edge) <= WIDTH for edge in edges)
    assert max(map(len, map(text_of, edges))) <= 21


def test_one_far_value_does_not_squeeze_the_rest():
    edges = edges_of(spread_of(*np.linspace(1, 10, 2000), 1e12))
    assert edges[-1] <= 11


@pytest.mark.parametrize(
    "edges",
    [
        [],
        [0.5],
        [0.0, 0.02, 0.04, 0.05, 0.06, 1.0],
        [*(n / 50 for n in range(60)), float(np.nextafter(0.3, 1))],
        [100.0, 150.0, 200.0, 1e3, 12345.0, 2e6],
        [-1e300, 0.0, 1e300],
        [0.0, 5e-324],
        [-1.7e308, 1.0, 1.7e308],
        [1e16, 1e16 + 2, 1e30],
    ],
)
def test_values_lie_between_the_cuts_that_a_search_finds(edges):
    edges, random = sorted(edges), np.random.default_rng(4)
    near = [np.nextafter(edge, side) for edge in edges for side in (-np.inf, np.inf)]
    odd = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1.7e308, -1.7e308, 1e-310, *edges, *near]
    values = np.concatenate([odd, random.normal(0, 1, 500), random.lognormal(5, 4, 500)])
    with np.errstate(all="raise", under="ignore"):
        found = places_of(values, edges)
    there = ~np.isnan(values)
    assert found[there].tolist() == np.searchsorted(edges, values[there], "right").tolist()
    assert found[~there].tolist() == [NONE]


def test_quantiles_are_near_and_ends_are_exact():
    values = np.random.default_rng(0).normal(3, 10, 5000)
    spread = spread_of(*values, np.nan)
    assert spread.nulls == 1
    assert spread.total == 5000
    assert (spread.lowest, spread.highest) == (values.min(), values.max())
    for part in (0.05, 0.5, 0.9):
        true = np.quantile(values, part)
        assert abs(spread.quantile(part) - true) <= abs(true) / 64 + 0.05


def test_thresholds_are_read_with_the_value_of_their_flag():
    named = [rule.name for rule in (AtLeast("aesthetic", 5.123456789), Between("width", 64, 900))]
    manifest = {
        "rules": [{"rule": name} for name in (*named, "aspect_ratio > 3", "aesthetic < 5.12346 (rule 3)", "my rule")],
        "flags": {"min_aesthetic": 5.123456789, "max_aspect_ratio": 3.0},
    }
    told = [(one.column, one.keeps, one.value, one.flag) for one in thresholds_of(manifest)]
    assert told == [
        ("aesthetic", ">=", 5.123456789, "--min_aesthetic"),
        ("width", ">=", 64.0, ""),
        ("width", "<=", 900.0, ""),
        ("aspect_ratio", "<=", 3.0, "--max_aspect_ratio"),
    ]


def test_the_flow_ends_at_what_is_kept():
    counts = {
        "seen": 100,
        "kept": 40,
        "dropped_by_rule": {"b < 1": 20, "a < 1": 10, "duplicate: exact": 5},
        "failed_by_reason": {f"reason {n:02d}": n for n in range(1, 7)} | {"x": 4},
    }
    steps = flow_of(counts, ["b < 1", "a < 1"])
    assert [step.name for step in steps if step.kind == "rule"] == ["b < 1", "a < 1"]
    assert (steps[-1].kind, steps[-1].samples) == ("kept", 40)
    many = {**counts, "failed_by_reason": {f"reason {n}": 1 for n in range(25)}}
    assert sum(step.samples for step in flow_of(many) if step.kind == "failed") == 25
    assert "14 other reasons" in [step.name for step in flow_of(many)]


def recount(figures_told, positions):
    """Counts as the page does, from what is embedded in it."""
    import base64

    joint = figures_told["what_if"]
    cells = joint["cells"]
    places = np.frombuffer(base64.b64decode(joint["places"]), np.uint8).reshape(len(joint["axes"]), cells)
    counts = np.frombuffer(base64.b64decode(joint["counts"]), "<u4").reshape(3, cells)
    passes = np.ones(cells, bool)
    for axis, of_axis, position in zip(joint["axes"], places, positions, strict=True):
        passes &= of_axis >= position if axis["keeps"] == ">=" else of_axis <= position
    return counts[:, passes].sum(1)


def test_every_figure_is_the_ledgers(tmp_path):
    tables = drawn_rows(3000)
    all_rows = write_job(tmp_path, tables).to_pandas()
    told = figures(tmp_path)
    usable = all_rows[all_rows.status != "failed"]
    for measure in told["measures"]:
        assert sum(measure["kept"]) + measure["without"]["kept"] == (all_rows.status == "kept").sum()
        assert sum(measure["dropped"]) + measure["without"]["dropped"] == (all_rows.status == "dropped").sum()
    aesthetic, ratio = (next(m for m in told["measures"] if m["name"] == n) for n in ("aesthetic", "aspect_ratio"))
    assert (aesthetic["closed"], ratio["closed"], ratio["passing"]["keeps"]) == ("left", "right", "<=")
    longer, shorter = usable[["width", "height"]].max(axis=1), usable[["width", "height"]].min(axis=1)
    for place, edge in enumerate(ratio["edges"]):
        assert ratio["passing"]["samples"][place] == (longer <= edge * shorter).sum()
    for place, edge in enumerate(aesthetic["edges"]):
        assert aesthetic["passing"]["samples"][place] == (usable.aesthetic.astype(float) >= edge).sum()
    assert aesthetic["thresholds"][0]["value"] == 5.1
    assert 5.1 in aesthetic["edges"]
    assert np.array(told["data"]["shapes"]["all"]).sum() == len(usable)
    formats = {one["name"]: one["all"] for one in told["data"]["categories"]["format"]}
    assert formats == usable.format.value_counts().to_dict()


def test_squares_are_up_to_a_ratio_of_1_where_no_rule_looks_at_it(tmp_path):
    """`--max_aspect_ratio 1` keeps them, and it is the only flag of that measure."""

    def square(table):
        return rows.with_column(rows.with_column(table, "width", [100] * len(table)), "height", [100] * len(table))

    write_job(tmp_path, [square(table) for table in drawn_rows(50)], [AtLeast("aesthetic", 5)], {})
    ratio = next(one for one in figures(tmp_path)["measures"] if one["name"] == "aspect_ratio")
    counted = dict(zip(ratio["edges"], ratio["passing"]["samples"], strict=True))
    assert (ratio["passing"]["keeps"], counted[1.0]) == ("<=", 49)  # one failed


def test_languages_and_licences_of_metadata_are_categories_and_other_texts_are_not(tmp_path):
    def with_fields(table):
        fields = {"json.LANGUAGE": ["en", "de"] * (len(table) // 2), "json.url": ["u"] * len(table)}
        schema = pa.schema([rows.field_of(name, pa.string(), rows.CARRIED) for name in fields])
        return rows.with_fields(table, pa.table(fields, schema))

    write_job(tmp_path, drawn_rows(100), carry=with_fields)
    found = figures(tmp_path)["data"]["categories"]
    assert list(found) == ["format", "json.LANGUAGE"]
    assert {one["name"] for one in found["json.LANGUAGE"]} == {"de", "en"}


@pytest.mark.parametrize("seed", range(3))
def test_thresholds_that_move_together_are_counted_as_rules_would(tmp_path, seed):
    tables = drawn_rows(2500, seed)
    write_job(tmp_path, tables)
    told = figures(tmp_path)
    axes = told["what_if"]["axes"]
    assert [axis["column"] for axis in axes[:4]] == ["width", "aspect_ratio", "aesthetic", "nsfw"]
    standing = [axis["position"] for axis in axes]
    assert recount(told, standing)[:2].tolist() == [kept_by(RULES, tables), 0]
    pick = random.Random(seed)
    for _ in range(5):
        positions = [pick.randrange(1, len(axis["edges"])) for axis in axes[:4]]
        rules = [
            AtLeast("width", axes[0]["edges"][positions[0] - 1]),
            AspectRatioAtMost(max(1.0, axes[1]["edges"][positions[1]])),
            AtLeast("aesthetic", axes[2]["edges"][positions[2] - 1]),
            Below("nsfw", axes[3]["edges"][positions[3]]),
        ]
        found = recount(told, [*positions, *standing[4:]])
        assert found[0] + found[1] == kept_by(rules, tables)


def test_what_other_rules_decide_is_told_and_is_a_range(tmp_path):
    def with_another(table):
        status, reason = table["status"].to_pylist(), table["reason"].to_pylist()
        for place in [place for place, one in enumerate(status) if one == "kept"][::3]:
            status[place], reason[place] = "dropped", "my rule"
        return rows.with_column(rows.with_column(table, "status", status), "reason", reason)

    write_job(tmp_path, drawn_rows(1000), change=with_another)
    told = figures(tmp_path)
    assert told["what_if"]["unknown"] == ["my rule"]
    kept, dropped, _ = recount(told, [axis["off"] for axis in told["what_if"]["axes"]])
    assert kept == told["counts"]["kept"]
    assert (
        kept + dropped
        == told["counts"]["seen"] - told["counts"]["failed"] - told["counts"]["dropped_by_rule"]["my rule"]
    )


def test_a_rule_that_only_sounds_like_a_threshold_is_none(tmp_path):
    class Sly:
        name = "aesthetic < 4"

        def __call__(self, row):
            return row["width"] > 100

    write_job(tmp_path, drawn_rows(600), rules=(Sly(),), flags={})
    told = figures(tmp_path)
    assert all(not axis["rule"] for axis in told["what_if"]["axes"])
    assert told["what_if"]["unknown"] == ["aesthetic < 4"]


def test_a_joint_histogram_is_thinned_the_same_in_any_order():
    random_numbers = np.random.default_rng(1)
    edges = tuple(np.linspace(0, 1, 41).tolist())
    axes = [Axis("a", ">=", edges, 14), Axis("b", "<", edges, 30), Axis("c", ">=", edges, 0)]
    values = random_numbers.random((3, 20_000))
    places = [np.searchsorted(edges, one, "right") for one in values]
    states = random_numbers.integers(0, 3, 20_000)
    whole = JointHistogram(axes, most=1500)
    whole.add(places, states)
    whole.settle()
    pieces = JointHistogram(axes, most=1500)
    for some in np.array_split(random_numbers.permutation(20_000), 37):
        pieces.add([one[some] for one in places], states[some])
        pieces.settle()
    assert whole.as_json() == pieces.as_json()
    assert len(whole.cells) <= 1500
    assert whole.counts.sum() == 20_000
    thinned = [dataclasses.astuple(axis) for axis in whole.axes]
    assert thinned[0][2][thinned[0][3] - 1] == edges[13]
    assert thinned[1][2][thinned[1][3]] == edges[30]
    passes = (values[0] >= edges[13]) & (values[1] < edges[30])
    at_a, at_b, _ = whole.places()
    kept = (at_a >= whole.axes[0].position) & (at_b <= whole.axes[1].position)
    assert whole.counts[kept].sum() == passes.sum()


def test_parts_of_an_older_release_lack_columns(tmp_path):
    tables = drawn_rows(900)
    judged = write_job(tmp_path, tables)
    assert len(judged) == 900
    first = tmp_path / "samples" / "part-0000000000-00000.parquet"
    older = pq.read_table(first)
    pq.write_table(older.drop_columns(["images", "image", "same_key", "caption", "nsfw"]), first)
    told = figures(tmp_path)
    nsfw = next(one for one in told["measures"] if one["name"] == "nsfw")
    assert sum(nsfw["kept"]) + nsfw["without"]["kept"] == told["counts"]["kept"]


def test_a_ledger_that_is_not_the_manifests_is_told(tmp_path):
    write_job(tmp_path, drawn_rows(900))
    (tmp_path / "samples" / "part-0000000000-00000.parquet").unlink()
    with pytest.raises(JobError, match=r"the ledger has .*, manifest.json says .*: the job did not reach its end"):
        figures(tmp_path)
    (tmp_path / "samples" / "part-0000000000-00000.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "samples" / "mine.parquet").write_bytes(b"not of the job")
    with pytest.raises(JobError, match="files of the ledger are gone or damaged: run it again"):
        figures(tmp_path)


def damage(path, column):
    """Makes the pages of a column unreadable, and leaves what the file says of itself."""
    group = pq.read_metadata(path).row_group(0)
    (chunk,) = [one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == column]
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[begin : begin + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(content)


@pytest.mark.parametrize("column", ["status", "key", "aesthetic"])
def test_a_ledger_that_is_damaged_in_a_column_is_told_whichever_pass_looks_at_it(tmp_path, column):
    write_job(tmp_path, drawn_rows(900))
    path = tmp_path / "samples" / "part-0000000000-00000.parquet"
    damage(path, column)
    with pytest.raises(StorageError, match=rf"{path} is damaged \(.*\): remove it, and run its job again"):
        figures(tmp_path)


def test_a_ledger_that_goes_while_it_is_read_is_told(tmp_path):
    write_job(tmp_path, drawn_rows(90))
    ledger = files_of_ledger(str(tmp_path))
    (tmp_path / "samples" / "part-0000000000-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(StorageError, match=r"00000.parquet is no file of the ledger any more: run the job again"):
        list(ledger.rows({0: [1]}, lambda schema: ["key"]))


@pytest.mark.parametrize("few", [0, 2000, 1 << 16])
def test_the_commonest_texts_are_counted_exactly_in_any_order_of_files(monkeypatch, few):
    monkeypatch.setattr(repeats, "_FEW", few)
    pick = np.random.default_rng(2)
    texts = [f"caption {n % 997 if n % 3 else n} of {'x' * (n % 40)}" for n in pick.integers(0, 4000, 6000)]
    texts += ["the same" for _ in range(70)] + ["", ""] + ["ä", "ä", "ä"]
    texts = [texts[n] for n in pick.permutation(len(texts))]
    tables = [
        pa.table({"shard": ["s"] * 500, "offset": range(500), "status": ["kept"] * 500, "reason": [None] * 500})
        for _ in range(0, len(texts) // 500)
    ]
    views = [
        View(table.append_column("caption", pa.array(texts[500 * n : 500 * n + 500]))) for n, table in enumerate(tables)
    ]
    counted = collections.Counter(texts[: 500 * len(views)])

    def told(order):
        buckets = Buckets()
        for view in order:
            buckets.add(view, "caption")
            buckets.settle()
        found = buckets.fullest()
        for view in order:
            found.add(view, "caption")
        return found.as_json()

    found = told(views)
    assert found == told(views[::-1])
    assert found[0] == {"text": "the same", "samples": counted["the same"]}
    best = sorted(counted.items(), key=lambda one: (-one[1], one[0]))[: len(found)]
    assert [one["samples"] for one in found] == [count for _, count in best]
    assert len(found) > 5
