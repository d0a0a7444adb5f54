"""Presets: each file says flags that the command takes and a source; DataComp's is its own definition, row by row."""

import numpy as np
import pyarrow as pa
import pytest

from beam_curator.commands.flags import curation_parser
from beam_curator.commands.options import CurationOptions
from beam_curator.commands.preset_flag import preset_names, read_preset, with_preset
from beam_curator.commands.scorers_of_flags import scorers_of
from beam_curator.commands.steps_of_flags import resolve_defaults, rules_of, tops_of
from beam_curator.errors import UsageError
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.caption_measures import CaptionMeasures
from beam_curator.rules.judging import judge


def options_of(*argv):
    options = CurationOptions(with_preset(argv))
    resolve_defaults(options)
    return options


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_made_of_flags_that_make_rules(name):
    preset = read_preset(name)
    assert preset.source.startswith("https://")
    curation_parser("x", "").parse_args(with_preset([f"--preset={name}"]))
    options = options_of("--preset", name)
    columns = scorers_of(options).columns
    assert rules_of(options, columns) or tops_of(options, columns)


def test_what_else_is_said_wins_or_is_added():
    options = options_of("--min_width=300", "--preset=coyo", "--where", "width < 900")
    assert (options.min_width, options.min_height, options.preset) == (300, 200, "coyo")
    assert [text[:10] for text in options.where] == ["bytes >= 5", "language =", "caption_ch", "width < 90"]
    assert read_preset("coyo").beside(options) == ["--min_width 300 takes the place of 200, which --preset coyo says"]
    assert read_preset("coyo").beside(options_of("--preset=coyo", "--caption_measures")) == []
    with pytest.raises(UsageError, match="--preset coyo: --preset datacomp-basic is given as well"):
        with_preset(["--preset", "datacomp-basic", "--preset=coyo"])
    with pytest.raises(UsageError, match="no such preset: did you mean datacomp-basic"):
        with_preset(["--preset", "datacomp-basics"])


_ENGLISH = ("a", "photo", "of", "the", "red", "house", "on", "hill", "ok")
_OTHERS = ("das", "Haus", "am", "See", "une", "maison", "rouge", "猫", "の", "写真", "DSC_0012.JPG")


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [False, True], ids=["of_the_stored_image", "original_sides"])
def test_datacomp_basic_keeps_what_datacomps_own_definition_keeps(recorded):
    random = np.random.default_rng(0)
    words = [*_ENGLISH, *_OTHERS]
    captions = [" ".join(random.choice(words, random.integers(0, 7))) for _ in range(10_000)]
    captions[:5] = ["", "a b c", "ab cd e", "red\nhouse on", "the  red   house"]
    width, height = random.integers(150, 900, 10_000), random.integers(150, 900, 10_000)
    width[:3000], height[:3000] = 3 * height[:3000] + random.integers(-1, 2, 3000), height[:3000]
    sides = {"width": pa.array(width, pa.int32()), "height": pa.array(height, pa.int32())}
    if recorded:  # what is stored was resized
        sides = {name: pa.array([256] * 10_000, pa.int32()) for name in sides} | {
            "json.original_width": pa.array(width, pa.int64()),
            "json.original_height": pa.array(height, pa.int64()),
        }
    measured = LoadedScorer(CaptionMeasures())([caption or "x" for caption in captions]).values
    has = [bool(caption) for caption in captions]
    table = pa.table(
        {
            "status": ["kept"] * 10_000,
            "reason": pa.nulls(10_000, pa.string()),
            **sides,
            "caption": captions,
            **{
                name: pa.array([one if there else None for one, there in zip(values, has, strict=True)], type)
                for (name, values), type in zip(
                    measured.items(), (pa.float32(), pa.float32(), pa.string(), pa.float32()), strict=True
                )
            },
        }
    )
    options = options_of("--preset", "datacomp-basic", "--clip_model", "tiny-untrained")
    judged, _ = judge(table, rules_of(options, scorers_of(options).columns))
    got = np.array([status == "kept" for status in judged["status"].to_pylist()])
    # As DataComp's load_uids_with_basic_filter_helper has it.
    least, most = np.minimum(width, height), np.maximum(width, height)
    english = np.array([language == "en" for language in measured["language"]])
    texts = np.array([len(text.split()) > 2 and len(text) > 5 for text in captions])
    expected = english & texts & (least >= 200) & (most / least <= 3.0)
    assert (got == expected).all()
    assert 500 < expected.sum() < 9000
