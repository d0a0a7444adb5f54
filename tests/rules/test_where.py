"""Conditions in SQL: what they keep, what they are told to drop for, and that nothing else than a condition runs."""

import pickle

import pyarrow as pa
import pytest

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.rules.column_rules import AtLeast
from beam_curator.rules.judging import judge
from beam_curator.rules.where import Where

TYPES = {**rows.types_of(rows.NEW_SCHEMA), "aesthetic": "number", "similarity": "number", "greyscale": "flag"}


def table(**columns):
    n = len(next(iter(columns.values())))
    types = {"width": pa.int32(), "caption": pa.string(), "greyscale": pa.bool_(), "offset": pa.int64()}
    fixed = {"status": pa.array(["kept"] * n), "reason": pa.nulls(n, pa.string())}
    return pa.table({**fixed, **{name: pa.array(v, types.get(name, pa.float32())) for name, v in columns.items()}})


def outcomes(condition, **columns):
    judged, _ = judge(table(**columns), [Where(condition)])
    return list(zip(judged["status"].to_pylist(), judged["reason"].to_pylist(), strict=True))


def kept(condition, **columns):
    return [status == "kept" for status, _ in outcomes(condition, **columns)]


def test_the_condition_of_the_guide_keeps_what_it_is_true_of():
    condition = "aesthetic >= 5 AND (similarity > 0.28 OR caption ILIKE '%photo%')"
    captions = ["A Photo", "drawing", "drawing", "a photo", None]
    found = outcomes(condition, aesthetic=[5, 6, 6, 4, 9], similarity=[0.1, 0.3, 0.2, 0.5, None], caption=captions)
    assert [status for status, _ in found] == ["kept", "kept", "dropped", "dropped", "dropped"]
    assert found[2][1] == found[3][1] == f"NOT ({condition})"
    assert found[4][1] == f"({condition}) IS NULL"


def test_three_valued_logic_is_that_of_sql():
    similarity, width = [None, None, 0.5], [1, 9, 9]
    assert kept("similarity > 0.3 OR width > 5", similarity=similarity, width=width) == [False, True, True]
    assert kept("NOT (similarity > 0.3)", similarity=similarity, width=width) == [False, False, False]
    assert kept("similarity IS NULL", similarity=similarity, width=width) == [True, True, False]


def test_numbers_are_compared_as_the_flags_compare_them():
    scores = [4.1, 4.0999994, 4.1000004, 16777217.0, None]
    exact = table(aesthetic=scores)
    flags, _ = judge(exact, [AtLeast("aesthetic", 4.1)])
    sql, _ = judge(exact, [Where("aesthetic >= 4.1")])
    assert sql["status"].to_pylist() == flags["status"].to_pylist()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("WIDTH % 2 = 1 -- odd", [True, False, True]),
        ('"offset" BETWEEN 5 AND 6', [False, True, True]),
        ("regexp_full_match(caption, '[a-c]+')", [True, True, False]),
        ("caption <> 'a ~ b' /* ~ */", [True, True, True]),
        ("caption||$$~$$ >--~ x\n '' AND width >/*~*/ 0", [True, True, True]),
        ("width / (width - 2) > 0", [False, False, True]),
        ("coalesce(width % (width - 1), -1) < 0", [True, False, False]),
        ("length(caption) IN (2, 3)", [True, False, True]),
        ("CASE WHEN greyscale THEN false ELSE true END", [False, True, True]),
        ("true", [True, True, True]),
        ("coalesce(try_cast(caption AS INT), 0) > 7", [False, False, True]),
    ],
)
def test_expressions_of_one_sample(condition, expected):
    columns = {
        "width": [1, 2, 3],
        "offset": [4, 5, 6],
        "caption": ["ab", "c", "999"],
        "greyscale": [True, False, None],
    }
    assert kept(condition, **columns) == expected


def test_a_ratio_of_nothing_is_no_great_number():
    """DuckDB 2 would give NaN and infinity, which are greater than any threshold."""
    condition = "width / aesthetic > 0.5"
    found = outcomes(condition, width=[0, 3, 3], aesthetic=[0, 0, 2])
    assert found == [("dropped", f"({condition}) IS NULL")] * 2 + [("kept", None)]
    found = outcomes("ln(width) > -5 OR sqrt(width) > 3", width=[0, -1, 9])
    assert [status for status, _ in found] == ["failed", "failed", "kept"]


def test_what_it_cannot_be_evaluated_of_fails_alone_and_one_row_is_as_many():
    captions = [str(number) for number in range(40)] + ["ten"]
    found = outcomes("CAST(caption AS INT) < 20", caption=captions)
    assert [status for status, _ in found] == ["kept"] * 20 + ["dropped"] * 20 + ["failed"]
    assert found[-1][1].startswith(
        "rule NOT (CAST(caption AS INT) < 20) raised Could not convert string 'ten' to INT32"
    )
    rule = pickle.loads(pickle.dumps(Where("caption = 'b' AND aesthetic > 0.5")))
    assert rule({"caption": "b", "aesthetic": 0.7, "status": "kept"})
    assert not rule({"caption": None, "aesthetic": 0.7, "status": "kept"})


def test_each_rule_is_counted_in_order_and_alone():
    given = table(aesthetic=[1, 2, 3, 4], width=[1, 1, 9, 9])
    rules = [AtLeast("aesthetic", 3), Where("width > 5"), Where("aesthetic < 4"), lambda row: row["width"] > 0]
    _, tallies = judge(given, [*rules[:3], rules[2], rules[3]])  # saying it twice changes nothing
    assert tallies.pop("NOT (aesthetic < 4) (rule 4)").dropped == 0
    assert [(one.samples, one.dropped, one.alone) for one in tallies.values()] == [
        (4, 2, 2),
        (2, 0, 2),
        (2, 1, 1),
        (1, 0, None),
    ]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("aesthetic >", 'condition "aesthetic >": syntax error at or near'),
        ("offset > 3", 'syntax error at or near "offset"; offset is a word of SQL: write "offset" in double quotes'),
        ("aestetic > 5", 'wants a column "aestetic" that the samples do not have: did you mean aesthetic?'),
        ("json_url = 'x'", 'a column "json_url" that the samples do not have: did you mean json.url, as rules'),
        ("beauty > 5", 'wants a column "beauty" that the samples do not have: there are sample_id, shard, key'),
        ("blur > 3", 'wants a column "blur" that the samples do not have: --image_measures gives it'),
        ("brigthness > 3", "did you mean brightness? (--image_measures gives it)"),
        ("caption_repeats < 5", "--max_caption_repeats gives it, after all rules"),
        ("aesthetic > 'high'", "Could not convert string 'high' to DOUBLE"),
        ("status = 'kept'", 'wants a column "status" that the samples do not have'),
        ("samples.width > 3", "samples.width: write the column's name alone, width"),
        ("json.a.b > 0.3", 'json.a.b: what is nested in a sample\'s .json is not carried; write json."a.b"'),
        ("json.similarity + 1", "is neither true nor false: it gives DOUBLE"),
        ("json.url ILIKE 3 OR lower(json.url) + 1", "No function matches"),
        ("aesthetic + 1", "is neither true nor false: it gives DOUBLE"),
        ("lenght(caption) > 3", "lenght is not for a condition: did you mean length?"),
        ("caption = ''; ATTACH 'x.db'", 'syntax error at or near ";"'),
        ("1), (2", "write one condition alone"),
        ("width > 1) OR (width < 5", "write one condition alone"),
        ("caption !~ 'a'", "!~ means one thing in one version of DuckDB and another in the next: write LIKE"),
        ("levenshtein(caption, 'a') < 3", "levenshtein is not for a condition"),
        ("true) FROM samples; SELECT (1", "write one condition alone"),
        ("true) FROM read_csv('/etc/passwd') WHERE (true", 'syntax error at or near "FROM"'),
        ("width IN (SELECT 1)", "a subquery is not for a condition, which looks at one sample alone"),
        ("EXISTS (FROM read_csv('/etc/passwd'))", "a subquery is not for a condition"),
        ("row_number() OVER () > 1", "a window function is not for a condition"),
        ("sum(width) > 3", "sum is not for a condition, which knows functions of one sample's values alone"),
        ("random() > 0.5", "random is not for a condition"),
        ("now() IS NOT NULL", "now is not for a condition"),
        ("getenv('HOME') = 'x'", "getenv is not for a condition"),
        ("caption::TIMESTAMPTZ IS NULL", "is not for a condition: to numbers or text"),
        ("width > $1", "a parameter is not for a condition"),
        ("COLUMNS(*) > 1", "a * is not for a condition"),
        ("NOT " * 2400 + "true", 'condition "NOT NOT'),
        ("abs(DISTINCT width) > 1", "abs takes its arguments alone"),
        ("caption = '\udc80'", "a condition holds what is no text in UTF-8"),
        (" ", "a condition is text in SQL"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_all_else_is_refused_in_one_line_before_anything_runs(condition, message):
    with pytest.raises(UsageError) as refused:
        Where(condition).check(TYPES)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 800
