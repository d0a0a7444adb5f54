"""What flags mean: defaults that depend on others, rules, and what the manifest records of them."""

import inspect
import sys

import pyarrow as pa
import pytest
from apache_beam.internal import pickler

from beam_curator.commands.keywords import argv_of
from beam_curator.commands.options import CurationOptions, flags_of
from beam_curator.commands.rule_flag import load_rule
from beam_curator.commands.scorers_of_flags import scorers_of
from beam_curator.commands.steps_of_flags import resolve_defaults, rules_of
from beam_curator.errors import UsageError
from beam_curator.models.encoders.settings import SETTINGS
from beam_curator.rules.column_rules import AspectRatioAtMost, AtLeast, Below
from beam_curator.rules.names import rule_name
from beam_curator.rules.selecting import select
from beam_curator.transforms.clip_handler import ClipModelHandler


def options_of(*argv):
    return CurationOptions(["--input=a.tar", "--output=out", *argv])


def rules_in(options):
    return rules_of(options, scorers_of(options).columns)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's in the directory where the command is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(source, name="users_rules"):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)

    yield write
    for name in ("users_rules", "broken_rules"):
        sys.modules.pop(name, None)


def test_without_flags_the_job_is_that_of_the_readme():
    options = options_of()
    resolve_defaults(options)
    assert (options.clip_model, options.clip_pretrained) == ("ViT-L-14-quickgelu", "openai")
    assert (options.aesthetic_model, options.nsfw_model) == ("v2", "laion")
    assert (options.samples_per_shard, options.range_mb, options.max_failed_fraction) == (1000, 64, 1.0)
    assert rules_in(options) == [AtLeast("aesthetic", 5.0), Below("nsfw", 0.5)]


def test_the_untrained_model_goes_with_untrained_heads_unless_others_are_asked_for():
    options = options_of("--clip_model=tiny-untrained", "--nsfw_model=laion")
    resolve_defaults(options)
    assert (options.aesthetic_model, options.nsfw_model) == ("untrained", "laion")


def test_without_a_score_there_is_no_rule_of_it_and_a_limit_for_it_is_refused():
    assert rules_in(options_of("--aesthetic_model=none")) == [Below("nsfw", 0.5)]
    assert rules_in(options_of("--nsfw_model=none", "--min_aesthetic=4")) == [AtLeast("aesthetic", 4.0)]
    assert rules_in(options_of("--aesthetic_model=none", "--nsfw_model=none")) == []
    with pytest.raises(UsageError, match="--min_aesthetic 4: there is no such score with --aesthetic_model none"):
        rules_in(options_of("--aesthetic_model=none", "--min_aesthetic=4"))
    with pytest.raises(UsageError, match=r"--max_nsfw 0\.2: there is no such score with --nsfw_model none"):
        rules_in(options_of("--nsfw_model=none", "--max_nsfw=0.2"))


def test_a_threshold_is_turned_off_by_none():
    assert rules_in(options_of("--min_aesthetic=none", "--max_nsfw=NONE")) == []
    assert rules_in(options_of("--max_nsfw=none")) == [AtLeast("aesthetic", 5.0)]
    assert rules_in(options_of("--aesthetic_model=none", "--min_aesthetic=none", "--max_nsfw=0.2")) == [
        Below("nsfw", 0.2)
    ]
    assert argv_of({"min_aesthetic": None, "max_nsfw": None, "max_aspect_ratio": None}) == [
        "--min_aesthetic=none",
        "--max_nsfw=none",
    ]


def test_cheap_rules_come_first_then_scores_then_those_of_the_user(module):
    module("def mine(row): return True")
    options = options_of(
        "--min_width=10", "--min_height=20", "--max_aspect_ratio=3", "--min_aesthetic=4", "--rule=users_rules:mine"
    )
    *ours, users = rules_in(options)
    assert ours == [
        AtLeast("width", 10),
        AtLeast("height", 20),
        AspectRatioAtMost(3.0),
        AtLeast("aesthetic", 4.0),
        Below("nsfw", 0.5),
    ]
    assert users.__name__ == "mine"


RULES = """
import functools
def function(row): return row["width"] > 5
class Rule:
    name = "wide"
    def __call__(self, row): return row["width"] > 5
an_object = Rule()
partial = functools.partial(function)
number = 7
class NeedsMore:
    def __init__(self, limit): pass
class NotCallable: pass
"""


@pytest.mark.parametrize("name", ["function", "Rule", "an_object", "partial"])
def test_a_rule_is_a_function_an_object_or_a_class_that_makes_one(module, name):
    module(RULES)
    rule = load_rule(f"users_rules:{name}")
    assert [bool(rule({"width": width})) for width in (5, 6)] == [False, True]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("users_rules", r"write it as \[NAME=\]package.module:object\[\(VALUES\)\]"),
        (":function", r"write it as \[NAME=\]package.module:object\[\(VALUES\)\]"),
        ("users_rules:", r"write it as \[NAME=\]package.module:object\[\(VALUES\)\]"),
        ("users_rules:missing", "cannot be loaded: AttributeError: .*missing"),
        ("no_such_module:rule", "cannot be loaded: ModuleNotFoundError: .*no_such_module"),
        ("broken_rules:rule", "cannot be loaded: SyntaxError"),
        ("users_rules:NeedsMore", "cannot be loaded: TypeError: .*limit"),
        ("users_rules:number", "is a int, not something to call with a row"),
        ("users_rules:NotCallable", "is a NotCallable, not something to call with a row"),
    ],
)
def test_a_rule_that_cannot_be_loaded_is_one_error_that_names_it(module, name, message):
    module(RULES)
    module("def rule(row) return", "broken_rules")
    with pytest.raises(UsageError, match=f"^--rule {name}: {message}"):
        load_rule(name)


WITH_VALUES = """
class LongCaption:
    def __init__(self, words): self.words = words
    def __call__(self, row): return len(row["caption"].split()) >= self.words
def longer_than(row, words=1, spare=()): return len(row["caption"].split()) > words
def make(words):
    def rule(row): return len(row["caption"].split()) >= words
    return rule
class Space:
    make = make
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("users_rules:longer_than", "longer_than"),
        ("users_rules:longer_than(words=2)", "longer_than(words=2)"),
        ("users_rules:longer_than( 2 , spare = {'b','a'} )", "longer_than(2, spare={'a', 'b'})"),
        ("users_rules:make(3)", "make(3)"),
        ("users_rules:Space.make(3)", "make(3)"),
        ("users_rules:LongCaption(words=3)", "LongCaption(words=3)"),
        ("a word or two=users_rules:make(words=3)", "a word or two"),
        ("short = users_rules:longer_than(words=2)", "short"),
        ("wordless=users_rules:longer_than", "wordless"),
        ("beam_curator:AtLeast('bytes', 3)", "bytes < 3"),
        ("tiny=beam_curator:AtLeast('bytes', minimum=3)", "tiny"),
    ],
)
def test_a_rule_is_given_values_and_a_name_and_travels_to_workers(module, text, name):
    module(WITH_VALUES)
    rule = pickler.loads(pickler.dumps(load_rule(text)))
    assert rule_name(rule) == name
    table = pa.table({"status": ["kept"] * 2, "reason": pa.nulls(2, pa.string()), "caption": ["one", "a b c"]})
    selected = select(table.append_column("bytes", pa.array([1, 5])), [rule])
    assert selected["reason"].to_pylist() == [name, None]


@pytest.mark.parametrize(
    "values",
    ["(open('x'))", "(words=__import__('os'))", "(*[1])", "(**{'a': 1})", "(", "(1))", "(1)(2)", "(1).x", "(a b)"],
)
def test_values_are_plain_ones_and_run_no_code(module, values):
    module(WITH_VALUES)
    with pytest.raises(UsageError, match=r"^--rule users_rules:longer_than.*(plain values|write it as)"):
        load_rule(f"users_rules:longer_than{values}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("users_rules:longer_than(word=2)", "TypeError: got an unexpected keyword argument 'word'"),
        ("users_rules:make()", "TypeError: .*missing 1 required positional argument: 'words'"),
        ("users_rules:LongCaption(1, 2)", "TypeError: .*positional argument"),
    ],
)
def test_values_that_a_rule_does_not_take_are_refused_before_any_work(module, text, message):
    module(WITH_VALUES)
    with pytest.raises(UsageError, match=f"cannot be loaded: {message}"):
        load_rule(text)


def test_limits_of_a_named_rule_of_ours_are_checked_as_those_of_others():
    with pytest.raises(UsageError, match=r"--rule x=beam_curator:AtLeast\('nsfw', 7\) would drop every sample"):
        rules_in(options_of("--rule", "x=beam_curator:AtLeast('nsfw', 7)"))


def test_the_manifest_records_our_flags_but_not_where_the_output_goes():
    flags = flags_of(options_of("--min_aesthetic=6", "--overwrite"))
    assert flags["min_aesthetic"] == 6.0
    assert flags["input"] == ["a.tar"]
    assert flags["rule"] is None
    assert not {"output", "overwrite", "help", "runner"} & set(flags)


def test_each_setting_of_an_encoder_is_a_flag_and_an_argument_of_the_handler_with_the_same_default():
    arguments = inspect.signature(ClipModelHandler.__init__).parameters
    options = options_of()
    for setting in SETTINGS:
        assert getattr(options, setting.name) == setting.default == arguments[setting.name].default
    assert {one.name for one in SETTINGS} == set(arguments) - {"self", "model", "pretrained", "model_dir"}
