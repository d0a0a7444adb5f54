"""What flags mean: defaults that depend on others, rules, and what the manifest records of them."""

import sys

import pytest

from beam_curator.configured import load_rule, resolve_defaults, rules_of
from beam_curator.errors import UsageError
from beam_curator.options import CurationOptions, flags_of
from beam_curator.selection import AspectRatioAtMost, AtLeast, Below


def options_of(*argv):
    return CurationOptions(["--input=a.tar", "--output=out", *argv])


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
    assert rules_of(options) == [AtLeast("aesthetic", 5.0), Below("nsfw", 0.5)]


def test_the_untrained_model_goes_with_untrained_heads_unless_others_are_asked_for():
    options = options_of("--clip_model=tiny-untrained", "--nsfw_model=laion")
    resolve_defaults(options)
    assert (options.aesthetic_model, options.nsfw_model) == ("untrained", "laion")


def test_cheap_rules_come_first_then_scores_then_those_of_the_user(module):
    module("def mine(row): return True")
    options = options_of(
        "--min_width=10", "--min_height=20", "--max_aspect_ratio=3", "--min_aesthetic=4", "--rule=users_rules:mine"
    )
    *ours, users = rules_of(options)
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
        ("users_rules", "write it as package.module:object"),
        (":function", "write it as package.module:object"),
        ("users_rules:", "write it as package.module:object"),
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


def test_the_manifest_records_our_flags_but_not_where_the_output_goes():
    flags = flags_of(options_of("--min_aesthetic=6", "--overwrite"))
    assert flags["min_aesthetic"] == 6.0
    assert flags["input"] == ["a.tar"]
    assert flags["rule"] is None
    assert not {"output", "overwrite", "help", "runner"} & set(flags)
