"""What passes count in parts of a ledger, merged in any order and grouping, is what one pass over all of it counts."""

import collections
import dataclasses
import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator import rows
from beam_curator.report import repeats
from beam_curator.report.accumulators import Accumulator
from beam_curator.report.figures import Counted, figures_from, figures_of, keepers_after
from beam_curator.report.joint import Axis, JointHistogram
from beam_curator.report.ledger_files import files_of_ledger
from beam_curator.report.passes import passed_over
from beam_curator.report.survey import MANY, Category
from beam_curator.report.tally import survey_of, tally_after
from beam_curator.report.view import View
from beam_curator.rules.judging import judge
from tests.examples import examples
from tests.report.ledgers import RULES, drawn_rows, write_job

FILES, PER_FILE = 10, 40


def tables():
    """Rows in which all ties are that can be: shards of one name, equal scores, both zeros; columns that come and go,
    repeated captions, duplicates of two kinds in several groups, and a column of text."""
    random, found = np.random.default_rng(5), []
    kept_ids = []
    for number, table in enumerate(
        drawn_rows(FILES * PER_FILE, per_file=PER_FILE, shard="raw/{}/same.tar", caption="a caption")
    ):
        n = len(table)
        table = rows.with_column(table, "caption", [f"caption {one}" for one in random.integers(0, 60, n)])
        table = table.append_column("zero", pa.array(random.choice([0.0, -0.0, 1.5], n)))
        if number % 3 == 1:
            table = table.append_column(f"only_{number}", pa.array(random.random(n)))
        if number % 2:
            table = table.append_column(
                "tone", pa.array(random.choice(["warm", "cold", None, ""], n).tolist(), pa.string())
            )
        kept = [place for place, one in enumerate(table["status"].to_pylist()) if one == rows.KEPT]
        judged = judge(table, RULES)[0]["status"].to_pylist()
        stay = [place for place in kept if judged[place] == rows.KEPT][:2]
        kept_ids += [table["sample_id"][place].as_py() for place in stay]
        went = np.array([place for place in kept[3::4] if place not in stay])
        keepers = [kept_ids[one] for one in random.integers(0, len(kept_ids), len(went))]
        kinds = random.choice(["semantic", "perceptual"], len(went)).tolist()
        far = [0.9 + random.random() / 10 if kind == "semantic" else random.integers(0, 60) for kind in kinds]
        found.append(rows.without_duplicates(table, went, keepers, kinds, np.array(far, float)))
    return found


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    with pytest.MonkeyPatch.context() as few:
        few.setattr(repeats, "BUCKETS", 1 << 10)
        few.setattr(repeats, "_FEW", FILES * PER_FILE // 4)
        yield made_job(tmp_path_factory)


def made_job(tmp_path_factory):
    output = tmp_path_factory.mktemp("job")
    write_job(output, tables())
    ledger, manifest = files_of_ledger(str(output)), json.loads((output / "manifest.json").read_text())
    survey = passed_over(ledger, survey_of(manifest))
    tally = passed_over(ledger, tally_after(survey, manifest))
    return ledger, manifest, Counted(survey, tally, passed_over(ledger, keepers_after(tally)))


def plain(value):
    """Gives all that an accumulator holds, to be compared."""
    if isinstance(value, Accumulator):
        value.settle()
        return {name: plain(one) for name, one in vars(value).items()}
    if isinstance(value, (collections.Counter, dict)):
        return sorted((repr(name), plain(one)) for name, one in value.items())
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, set):
        return sorted(map(repr, value))
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else repr(value)


@pytest.fixture(scope="module")
def files(job):
    """The rows of each file of the ledger, once for all examples."""
    return [[View(*run) for run in part.tables(lambda schema: schema.names)] for part in job[0].groups(1)]


def merged(draw, files, empty):
    """The pass made of parts of one to five files, some of which are pickled, merged two by two."""
    left, found = list(draw(st.permutations(files))), []
    while left:
        one = pickle.loads(pickle.dumps(empty))
        for view in [view for _ in range(min(len(left), draw(st.integers(1, 5)))) for view in left.pop()]:
            one.add(view)
        found.append(one)
    while len(found) > 1:
        mine, other = (found.pop(draw(st.integers(0, len(found) - 1))) for _ in range(2))
        mine.merge(pickle.loads(pickle.dumps(other)) if draw(st.booleans()) else other)
        found.append(mine)
    return found[0]


@pytest.mark.slow
@examples(15)
@given(st.data())
def test_any_parts_of_a_ledger_merged_in_any_order_give_the_same_figures(job, files, data):
    _, manifest, whole = job
    survey = merged(data.draw, files, survey_of(manifest))
    assert plain(survey) == plain(whole.survey)
    tally = merged(data.draw, files, tally_after(survey, manifest))
    assert plain(tally) == plain(whole.tally)
    keepers = merged(data.draw, files, keepers_after(tally))
    assert keepers.found == whole.keepers.found


def test_what_is_merged_above_is_all_that_a_report_can_hold(job):
    ledger, manifest, whole = job
    told = figures_from(whole, ledger, manifest).as_json
    assert told == figures_of(ledger, manifest).as_json
    assert [one["name"] for one in told["measures"]][:3] == ["aesthetic", "nsfw", "zero"]
    assert {band["kind"] for band in told["duplicates"]["bands"]} == {"semantic", "perceptual"}
    assert len(told["duplicates"]["groups"]) == 8
    assert all(group["keeper"] is not None for group in told["duplicates"]["groups"])
    assert {one["group"] for one in told["sheets"]} == {"thresholds", "scores", "random", "rules", "failures"}
    assert list(told["data"]["categories"]) == ["format", "tone"]
    assert told["data"]["repeats"]["caption"]
    assert len(told["what_if"]["axes"]) > 4
    assert len(whole.survey.shapes.nonzero()[0]) > 9


@examples(30)
@given(st.permutations(range(9)), st.integers(1, 8))
def test_joint_histograms_that_left_out_more_or_fewer_cuts_are_merged(order, together):
    random = np.random.default_rng(1)
    edges = tuple(np.linspace(0, 1, 41).tolist())
    axes = [Axis("a", ">=", edges, 14), Axis("b", "<", edges, 30), Axis("c", ">=", edges, 0)]
    places = [np.searchsorted(edges, one, "right") for one in random.random((3, 9000))]
    states = random.integers(0, 3, 9000)
    sizes = [0, 3, 10, 100, 500, 1500, 2500, 4000, 7000, 9000]

    def of(first, last):
        one = JointHistogram(axes, most=900)
        one.add([of_axis[first:last] for of_axis in places], states[first:last])
        return one

    parts = [of(sizes[place], sizes[place + 1]) for place in order]
    found = parts[0]
    for one in parts[1:together]:
        found.merge(one)
    rest = JointHistogram(axes, most=900)
    for one in parts[together:]:
        rest.merge(one)
    rest.merge(found)
    whole = of(0, 9000)
    assert rest.as_json() == whole.as_json()
    assert 0 < len(whole.cells) <= 900


def test_samples_of_few_possible_cells_are_counted_as_those_of_many():
    random = np.random.default_rng(1)
    axes = [Axis("a", ">=", (0.3, 0.6), 1), Axis("b", "<", (0.3, 0.6), 2)]
    places, states = random.integers(-1, 3, (2, 60)), random.integers(0, 3, 60)
    by_table, by_sorting = JointHistogram(axes), JointHistogram(axes)
    by_table.add(list(places), states)
    for first in range(0, 60, 3):  # 27 possible cells and states are more than 4 times these
        by_sorting.add(list(places[:, first : first + 3]), states[first : first + 3])
        by_sorting.settle()
    assert by_table.as_json() == by_sorting.as_json()
    assert by_table.counts.sum() == 60


def test_a_column_of_many_texts_is_none_of_few_however_it_is_divided():
    def of(texts):
        one = Category()
        there = np.ones(len(texts), bool)
        one.add(pa.chunked_array([pa.array(texts, pa.string())]), there, there)
        return one

    names = [f"name {n}" for n in range(MANY)]
    most = of([*names[:50], "", None])
    most.merge(of([*names[50:-1], None]))
    assert not most.many
    assert len(most.all) == MANY
    more = of(names[: MANY // 2])
    more.merge(of([*names[MANY // 2 :], "one more"]))
    assert plain(more) == plain(of([*names, "one more"]))
    assert more.many
    more.merge(of(names[:5]))
    assert plain(more) == plain(of([*names, "one more"]))


def test_pickled_counts_come_back_as_they_were_and_are_small(job):
    _, _, whole = job
    for one in (whole.survey, whole.tally, whole.keepers):
        assert plain(pickle.loads(pickle.dumps(one))) == plain(one)
    assert len(pickle.dumps(whole.survey)) < 60_000
    assert len(pickle.dumps(whole.tally)) < 60_000
