"""FindDuplicates and KeepOne, on things that are nobody's samples."""

import re
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import torch

import beam_curator as bc
from beam_curator.errors import CurationError, UsageError
from beam_curator.transforms.duplicate_pairs import drops_of, perceptual_pairs
from tests.duplicates.vector_sets import cosines, kept_by_brute_force, planted
from tests.eager import eager


def test_all_pairs_are_found_and_one_of_each_group_is_kept():
    vectors = planted(300, 16, seed=2)
    vectors[7], vectors[8] = 0, np.nan
    ids = [f"{index:03d}" for index in np.random.default_rng(0).permutation(len(vectors))]
    near = np.nan_to_num(cosines(vectors)) >= 0.95
    order = np.argsort(ids)
    expected = {ids[row]: ids[of] for row, of in kept_by_brute_force(near, order, np.ones(len(ids), bool)).items()}

    things = list(zip(ids, vectors.astype(float), strict=True))
    found = eager(_Both(), things)
    assert {drop.id: drop.duplicate_of for drop in found} == expected
    assert {drop.kind for drop in found} == {"semantic"}

    one, other = np.nonzero(np.triu(near, 1))
    pairs = eager(bc.FindDuplicates(cosine=0.95), list(zip(ids, vectors, strict=True)))
    assert {(pair.first, pair.second) for pair in pairs} == {
        tuple(sorted((ids[a], ids[b]))) for a, b in zip(one.tolist(), other.tolist(), strict=True)
    }
    assert len(pairs) == len(one)


class _Both(beam.PTransform):
    """Finds pairs, and keeps the smaller number."""

    def expand(self, things):
        ranked = things | beam.Map(lambda thing: (thing[0], int(thing[0]))).with_output_types(tuple[str, int])
        return ranked | bc.KeepOne(things | bc.FindDuplicates(cosine=0.95, cells=5))


def test_pairs_of_ones_own_need_no_vectors():
    pairs = [("a", "b", "name", 1.0), ("b", "c", "name", 2.0), ("c", "d", "address", 0.5), ("d", "x", "name", 0.0)]
    drops = list(drops_of([("a", 1), ("b", 0), ("c", 5), ("d", 2)], pairs))
    assert drops == [("a", "b", "name", 1.0), ("c", "b", "name", 2.0)]


def test_distances_may_be_unknown_and_pairs_may_come_twice_in_any_order():
    pairs = [
        ("a", "b", "exact", float("nan")),
        ("c", "b", "near", 2.0),
        ("b", "c", "near", 1.0),
        ("d", "c", "near", None),
    ]
    for given in (pairs, pairs[::-1]):
        drops = list(drops_of([("a", 0), ("b", 1), ("c", 2), ("d", 3)], given))
        assert [drop[:3] for drop in drops] == [("b", "a", "exact"), ("d", "c", "near")]
        assert all(np.isnan(drop.distance) for drop in drops)
        assert list(drops_of([("b", 1), ("c", 2)], given)) == [("c", "b", "near", 1.0)]


@pytest.mark.parametrize(
    ("other", "rank", "told"),
    [
        (1.0, float("nan"), "'b' has no rank"),
        (1.0, None, "'b' has no rank"),
        ((0, 1.0), (0, float("nan")), "'b' has no rank"),
        (1.0, "high", "ranks have no order"),
        (np.ones(2), np.ones(2), "ranks have no order"),
    ],
    ids=range(5),
)
def test_ranks_without_an_order_are_told(other, rank, told):
    with pytest.raises(CurationError, match=told):
        list(drops_of([("a", other), ("b", rank)], []))


@pytest.mark.parametrize(
    "pair",
    [("a", "b", 0.9), "ab", ("a", "b", "near", "far"), ("a", "b", None, 0.9), (1, 2, "near", 0.9)],
    ids=range(5),
)
def test_what_is_no_pair_is_told(pair):
    with pytest.raises(CurationError, match=r"is no pair.* give \(id, id, kind, distance\)"):
        list(drops_of([("a", 1), ("b", 2)], [("a", "b", "exact", None), pair]))


def test_ids_are_texts():
    with pytest.raises(CurationError, match=r"the id 7 is no text: give each thing one, such as '7'"):
        list(drops_of([("a", 1), (7, 2)], []))


@pytest.mark.parametrize(
    "after",
    [bc.Select("width >= 9"), bc.KeepTop("width=0.5"), bc.DropDuplicates("out", kinds=["semantic"])],
    ids=["Select", "KeepTop", "DropDuplicates"],
)
def test_nothing_is_dropped_after_duplicates(after, tmp_path):
    pipeline = beam.Pipeline()
    dropped = (
        pipeline | bc.ReadSamples(str(tmp_path / "*.tar")) | bc.DropDuplicates(str(tmp_path / "out"), kinds="exact")
    )
    with pytest.raises(UsageError, match=rf"{type(after).__name__} comes after DropDuplicates"):
        dropped | "After" >> after


def test_nothing_gives_nothing():
    assert eager(bc.FindDuplicates(), []) == []


@pytest.mark.parametrize(
    ("things", "told"),
    [
        ([("a", [1.0, 0.0]), ("b", [1.0])], "the vector of 'b' has the shape [1]: give 2 numbers for each id"),
        ([("a", [1.0, 0.0]), ("a", [1.0, 0.0])], "the id 'a' comes twice"),
        ([("a", [1.0, 0.0]), ("b", ["x", "y"])], "the vector of 'b' is none: vectors to compare are numbers [n, dim]"),
        ([("a", [1.0, None])], "the vector of 'a' is none: vectors to compare are numbers [n, dim], not object"),
        ([("a", [1.0, [2.0, 3.0]])], "the vector of 'a' is none: setting an array element with a sequence"),
        ([("a", torch.ones(2, requires_grad=True))], "the vector of 'a' is none: Can't call numpy() on Tensor"),
    ],
    ids=["lengths", "ids", "text", "nothing", "lists", "gradients"],
)
def test_what_cannot_be_compared_is_told(things, told):
    with pytest.raises(CurationError, match=re.escape(told)):
        eager(bc.FindDuplicates(), things)


@pytest.mark.parametrize("cosine", [1.5, float("nan"), "high", True], ids=str)
def test_a_threshold_that_is_none_is_refused(cosine):
    with pytest.raises(UsageError, match="a cosine is from -1 to 1"):
        bc.FindDuplicates(cosine=cosine)


def test_numbers_of_numpy_are_numbers():
    settings = bc.DropDuplicates("out", cosine=np.float32(0.5), bits=np.int64(3)).settings
    assert [(value, type(value)) for value in (settings.cosine, settings.bits)] == [(0.5, float), (3, int)]


@pytest.mark.parametrize("cells", [0, -1, 2.5, True])
def test_cells_that_cannot_be_meant_are_refused(cells):
    with pytest.raises(UsageError, match=r"cells=.*: a whole number, 1 or more"):
        bc.FindDuplicates(cells=cells)


def test_one_kind_and_one_output_may_be_given_as_they_are():
    settings = bc.DropDuplicates("out", kinds="semantic,exact", against=Path("other")).settings
    assert (settings.kinds, settings.against) == (("exact", "semantic"), ("other",))
    assert bc.DropDuplicates("out", against=["a", "b", "a"]).settings.against == ("a", "b")
    with pytest.raises(UsageError, match="duplicate_slack=proven: over 0 to"):
        bc.DropDuplicates("out", slack="proven")


def test_ranks_and_pairs_are_in_the_same_windows():
    pipeline = beam.Pipeline()
    ranks = pipeline | "Ranks" >> beam.Create([("a", 1), ("b", 2)])
    pairs = pipeline | "Pairs" >> beam.Create([("a", "b", "exact", 1.0)])
    windows = beam.window.FixedWindows(10)
    both = [one | label >> beam.WindowInto(windows) for label, one in (("R", ranks), ("P", pairs))]
    assert both[0] | "Both" >> bc.KeepOne(both[1])
    with pytest.raises(UsageError, match=r"ranks in FixedWindows and pairs in other windows \(GlobalWindows\)"):
        both[0] | "One" >> bc.KeepOne(pairs)
    with pytest.raises(UsageError, match="KeepOne takes a PCollection of pairs, as FindDuplicates gives, not list"):
        bc.KeepOne([("a", "b", "exact", 1.0)])


def test_what_would_change_nothing_is_refused():
    assert bc.DropDuplicates("out", kinds=["exact"], cosine=0.97, keep="first").settings.keep == "first"
    with pytest.raises(UsageError, match=r"duplicate_cosine=0\.9: only semantic duplicates are told by it"):
        bc.DropDuplicates("out", kinds=["exact", "perceptual"], cosine=0.9)
    with pytest.raises(UsageError, match="duplicate_bits=0: only perceptual duplicates are told by it"):
        bc.DropDuplicates("out", kinds="semantic", bits=0)
    for of_vectors in ({"cosine": 0.9}, {"slack": 0.2}, {"cells": 3}):
        with pytest.raises(UsageError, match="bits=0: hashes have no cosine, slack and cells"):
            bc.FindDuplicates(bits=0, **of_vectors)


def test_other_elements_are_refused_where_the_pipeline_is_built():
    pipeline = beam.Pipeline()
    with pytest.raises(beam.typehints.TypeCheckError):
        pipeline | beam.Create([1]) | bc.FindDuplicates()


@pytest.mark.parametrize(
    ("other", "told"),
    [(("f" * 62, 100, None), "'f{62}' is not 64 hex digits"), (None, "NoneType"), ({"phash256": 1}, "'texture'")],
    ids=["digits", "nothing", "names"],
)
def test_which_one_has_no_hashes_is_told(other, told):
    good = ("f" * 64, 100, None)
    with pytest.raises(CurationError, match=rf"'b': hashes to compare are phash256, texture and colours.*{told}"):
        list(perceptual_pairs({"a": good, "b": other, "c": good}, 32))


@pytest.mark.slow
def test_hashes_are_compared_in_place_of_vectors():
    random = np.random.default_rng(0)
    fine = random.integers(0, 2, 256)

    def facts(flipped, texture=100):
        bits = fine.copy()
        bits[:flipped] ^= 1
        return np.packbits(bits).tobytes().hex(), texture, "80" * 48

    things = [("same", facts(0)), ("a", facts(0)), ("b", facts(10)), ("far", facts(60)), ("blank", facts(0, 10))]
    pairs = eager(bc.FindDuplicates(bits=32), things)
    expected = {("a", "same", "perceptual", 0), ("a", "b", "perceptual", 10), ("b", "same", "perceptual", 10)}
    assert {tuple(pair) for pair in pairs} == expected

    many = [(f"{count:03d}", facts(count % 50)) for count in range(100)]
    due = {(f"{a:03d}", f"{b:03d}") for a in range(100) for b in range(a + 1, 100) if abs(a % 50 - b % 50) <= 32}
    assert {tuple(pair)[:2] for pair in eager(bc.FindDuplicates(bits=32), many)} == due

    flat, whole = "0" * 32, "f" * 32
    edited = [("whole", (flat + whole, 60, None, whole + flat, None)), ("copy", (whole + flat, 60, None, None, None))]
    assert [tuple(pair) for pair in eager(bc.FindDuplicates(bits=32), edited)] == [("copy", "whole", "perceptual", 12)]
    with pytest.raises(CurationError, match="of all or of none phash256_cropped and phash256_clipped"):
        eager(bc.FindDuplicates(bits=32), [*edited, things[0]])

    assert eager(bc.FindDuplicates(bits=32), []) == []
    with pytest.raises(CurationError, match="hashes to compare are phash256, texture and colours"):
        eager(bc.FindDuplicates(bits=32), [("a", "abc")])
    shifted = [("a", ("0" * 62, 100, None)), ("b", ("0" * 66, 100, None))]
    with pytest.raises(CurationError, match=r"'0{62}' is not 64 hex digits"):
        eager(bc.FindDuplicates(bits=32), shifted)
    with pytest.raises(UsageError, match="duplicate_bits=200"):
        bc.FindDuplicates(bits=200)
