"""Perceptual duplicates are all found, up to each class's horizon, whatever the order and however many there are."""

import io
import itertools
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from beam_curator.duplicates import bit_counts, competitors, first_neighbours, hash_join, hash_tables
from beam_curator.duplicates import edges as edges_module
from beam_curator.duplicates.competitors import hashes_in
from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.hashes import BITS, TEXTURE, Hashes, hashes_of
from beam_curator.duplicates.keepers import Relation, keep_one, numbered
from beam_curator.duplicates.likeness import distances
from beam_curator.duplicates.perceptual import Bits, perceptual_edges
from beam_curator.images import picture_hashes
from benchmarks.lookalikes import photograph_like
from tests.duplicates.hash_sets import apart, bits_between, edited, near, planted
from tests.duplicates.vector_sets import kept_by_brute_force


def pairs_of(edges: Edges) -> set[tuple[int, int]]:
    return set(zip(edges.first.tolist(), edges.second.tolist(), strict=True))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def due(hashes: Hashes, bits: int, neighbours: int) -> tuple[set[tuple[int, int]], dict[int, int]]:
    """The pairs that have to be listed, and the horizons, by brute force."""
    close, count = near(hashes, bits), len(hashes)
    horizon = np.full(count, count)
    for one in np.flatnonzero(close.sum(axis=1) >= neighbours):
        horizon[one] = np.flatnonzero(close[one])[neighbours - 1]
    one, other = np.nonzero(np.triu(close, 1))
    wanted = (other <= horizon[one]) | (one <= horizon[other])
    cut = np.flatnonzero(horizon < count).tolist()
    return set(zip(one[wanted].tolist(), other[wanted].tolist(), strict=True)), {of: int(horizon[of]) for of in cut}


@pytest.mark.slow
@pytest.mark.parametrize("bits", [0, 16, 32, 96])
def test_every_pair_is_found(bits: int) -> None:
    hashes = planted(2500, seed=bits)
    found = perceptual_edges(hashes, bits)
    one, other = np.nonzero(np.triu(near(hashes, bits), 1))
    assert pairs_of(found) == set(zip(one.tolist(), other.tolist(), strict=True))
    np.testing.assert_array_equal(found.distance, bits_between(hashes)[found.first, found.second])
    assert len(found.first) or not bits
    assert not len(found.cut)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [11, 12, 32, 96])
def test_every_pair_of_edited_pictures_is_found_and_its_least_distance(bits: int) -> None:
    hashes = edited(2000, seed=bits)
    found, due = perceptual_edges(hashes, bits), apart(hashes, bits)
    one, other = np.nonzero(np.triu(due <= bits))
    assert pairs_of(found) == set(zip(one.tolist(), other.tolist(), strict=True))
    np.testing.assert_array_equal(found.distance, due[found.first, found.second])
    np.testing.assert_array_equal(found.distance, distances(hashes, one, other, bits))
    half, rest = np.arange(0, len(hashes), 2), np.arange(1, len(hashes), 2)
    within = np.column_stack(Bits(hashes, bits).within(half, rest))
    np.testing.assert_array_equal(np.argwhere(due[np.ix_(half, rest)] <= bits), within)
    by_edit = (found.distance < bits_between(hashes)[found.first, found.second]).sum()
    assert (by_edit > 20) == (bits >= 32)


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [planted, edited])
@pytest.mark.parametrize("neighbours", [3, 32])
@pytest.mark.parametrize(
    ("small", "tile", "pruned_from", "settled_below", "seed"),
    [(128, 32, 1 << 22, 4096, 0), (4, 8, 200, 0, 1), (1, 64, 50, 100, 2), (128, 32, 300, 0, 0)],
)
def test_of_a_cut_class_all_neighbours_up_to_its_horizon_are_listed(
    neighbours: int,
    small: int,
    tile: int,
    pruned_from: int,
    settled_below: int,
    seed: int,
    pictures: Callable[..., Hashes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edges_module, "NEIGHBOURS", neighbours)
    monkeypatch.setattr(hash_join, "_SMALL", small)
    monkeypatch.setattr(hash_join, "_TILE", tile)
    monkeypatch.setattr(first_neighbours, "_PRUNED_FROM", pruned_from)
    monkeypatch.setattr(hash_join, "_SETTLED_BELOW", settled_below)
    hashes = pictures(700, seed, clump=250)
    found = perceptual_edges(hashes)
    pairs, horizon = due(hashes, 32, neighbours)
    assert pairs_of(found) == pairs
    np.testing.assert_array_equal(found.distance, apart(hashes, 32)[found.first, found.second])
    assert dict(zip(found.cut.tolist(), found.horizon.tolist(), strict=True)) == horizon
    assert 0 < len(horizon) < len(hashes)


@pytest.mark.slow
@pytest.mark.parametrize(("pictures", "count", "sides"), [(planted, 20_000, 1), (edited, 14_000, 5)])
def test_near_copies_of_one_picture_do_not_multiply(
    pictures: Callable[..., Hashes], count: int, sides: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    whole = hash_join.bits_between

    def counted(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        found = whole(one, other)
        compared.append(found.size)
        return found

    monkeypatch.setattr(hash_join, "bits_between", counted)
    found = perceptual_edges(pictures(count, 0, clump=count))
    assert len(found.cut) > 0.85 * count
    assert len(found.first) < count * 40
    assert sum(compared) < sides * count**2 / 3


@pytest.mark.slow
def test_the_order_decides_which_end_wins_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_module, "NEIGHBOURS", 10_000)
    hashes = planted(1500, seed=1, clump=200)
    order = np.random.default_rng(2).permutation(len(hashes))
    found, mixed = perceptual_edges(hashes), perceptual_edges(hashes.take(order))
    there = {tuple(sorted((int(order[one]), int(order[other])))) for one, other in pairs_of(mixed)}
    assert pairs_of(found) == there


def test_what_was_compared_is_not_compared_again() -> None:
    hashes = planted(1500, seed=3)
    everything = pairs_of(perceptual_edges(hashes))
    base = np.arange(len(hashes)) < 600
    known = np.arange(len(hashes)) % 3 > 0
    rest = pairs_of(perceptual_edges(hashes, base=base, known=known))
    assert rest == {(i, j) for i, j in everything if not (base[i] and base[j]) and not (known[i] and known[j])}
    assert 0 < len(rest) < len(everything)


@pytest.mark.slow
@pytest.mark.parametrize("neighbours", [2, 32])
def test_one_keeper_a_group_as_brute_force_has_it(neighbours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_module, "NEIGHBOURS", neighbours)
    distinct = planted(600, seed=4, clump=150)
    random = np.random.default_rng(5)
    samples = distinct.take(random.integers(0, len(distinct), 900))
    order = random.permutation(900)
    everyone = np.ones(900, bool)
    classes = numbered(np.unique(samples.ids, return_inverse=True)[1], everyone, order)
    _, row = np.unique(classes, return_index=True)
    hashes = samples.take(row)
    relation = Relation("perceptual", classes, perceptual_edges(hashes), Bits(hashes), 0.0)
    competes = random.random(900) < 0.8
    drops = keep_one(order, competes, ~everyone, [relation])
    close = near(samples, 32)
    expected = kept_by_brute_force(close, order, competes)
    assert dict(zip(drops.rows.tolist(), drops.of.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(drops.distance, bits_between(samples)[drops.rows, drops.of])


def test_pairs_can_be_asked_for_one_by_one() -> None:
    hashes = planted(500, seed=6, clump=40)
    bits, close = Bits(hashes, 24), near(hashes, 24)
    one, other = np.arange(0, 500, 3), np.arange(1, 500, 3)
    found = bits.within(one, other)
    np.testing.assert_array_equal(np.argwhere(close[np.ix_(one, other)]), np.column_stack(found))
    distances = bits.distances(one[:150], other[:150])
    np.testing.assert_array_equal(~np.isnan(distances), close[one[:150], other[:150]])


def test_bits_are_counted_without_numpy_2_as_with_it() -> None:
    words = np.random.default_rng(7).integers(0, 2**64, (50, 4), dtype=np.uint64)
    expected = np.unpackbits(words.view(np.uint8).reshape(50, 4, 8), axis=2).sum(axis=2)
    np.testing.assert_array_equal(bit_counts.ones_of(words), expected)
    np.testing.assert_array_equal(bit_counts.ones_of_halves(words), expected)


def test_rows_without_hashes_or_with_little_texture_are_not_compared() -> None:
    fine = ["0" * 52 + "f" * 12, None, "f" * 64, "f" * 64, "0" * 52 + "7" + "f" * 11]
    hashes, there = hashes_of(fine, [TEXTURE, None, TEXTURE - 1, 10_000, 10_000])
    assert there.tolist() == [True, False, False, True, False]
    assert hashes.fine.tolist() == [[0, 0, 0, (1 << 48) - 1], [0] * 4, [0] * 4, [(1 << 64) - 1] * 4, [0] * 4]
    assert bytes(hashes.ids[0]).hex() == f"{fine[0]}{TEXTURE:08x}" + "0" * 96 + 2 * fine[0]


def striped(seed: int, upright: bool) -> Image.Image:
    """Twelve stripes of random greys."""
    greys = np.repeat(np.random.default_rng(seed).integers(0, 256, 12).astype(np.uint8), 16)
    levels = np.broadcast_to(greys, (128, 192))
    return Image.fromarray(np.ascontiguousarray(levels if upright else levels.T))


def test_what_a_hash_has_no_part_of_is_not_told_apart_by_it() -> None:
    """Flags, bars and gradients: one row, or one column, is like the other."""
    facts = [picture_hashes(striped(seed, upright)) for seed in range(6) for upright in (False, True)]
    assert {one.phash256 for one in facts} == {"0" * 64}
    assert min(one.texture for one in facts) > TEXTURE
    _, there = hashes_of([one.phash256 for one in facts], [one.texture for one in facts])
    assert not there.any()


@pytest.mark.parametrize("quality", [30, 95])
def test_pictures_out_of_focus_are_told_by_their_hashes(quality: int) -> None:
    focused = [photograph_like(seed) for seed in range(8)]
    soft = [ImageEnhance.Contrast(image.filter(ImageFilter.GaussianBlur(12))).enhance(0.5) for image in focused]
    facts = [picture_hashes(image) for image in [*soft, *(jpeg(image, quality) for image in soft)]]
    assert max(one.texture for one in facts) < 50
    hashes, there = hashes_of(*zip(*((one.phash256, one.texture, one.colours) for one in facts), strict=True))
    assert there.all()
    one, other = np.triu_indices(len(facts), 1)
    assert (~np.isnan(distances(hashes, one, other, BITS)) == (other == one + 8)).all()


def facts_of(texture: int, *colours: tuple[int, int, int]) -> tuple[str, int, str]:
    """Computes the facts of a picture that is made of one or more colours."""
    return "f" * 64, texture, (bytes(itertools.chain(*colours)) * 16)[:48].hex()


GROUND = (200, 90, 40)
"""A colour, whose grey level is 117."""


def varied(texture: int, gain: float = 1, grey: bool = False, shift: int = 0) -> tuple[str, int, str]:
    """The facts of a picture of brown parts, one lighter than the other."""
    parts = np.outer(np.linspace(0.4, 1, 16), GROUND) * gain + np.array([shift, 0, -shift])
    if grey:
        parts = np.repeat(parts @ [[0.299], [0.587], [0.114]], 3, axis=1)
    return facts_of(texture, *np.clip(np.rint(parts), 0, 255).astype(int).tolist())


ON_WHITE = (GROUND, (220, 180, 170))


def on_white(*colours: tuple[int, int, int], texture: int = 60) -> tuple[str, int, str]:
    """The facts of a picture whose parts are nearly white, but for the first ones."""
    return facts_of(texture, *colours, *[(225, 225, 225)] * (16 - len(colours)))


_ALIKE = {
    "equal": (varied(60), varied(60), True),
    "three times the texture": (varied(60), varied(180), True),
    "more than that": (varied(60), varied(181), False),
    "of two shapes of colour": (varied(60), varied(60, shift=40), True),
    "greyish": (varied(60), facts_of(60, (121, 119, 119)), True),
    "another hue": (varied(60), facts_of(60, (60, 90, 200)), False),
    "paler": (varied(60), facts_of(60, (135, 115, 100)), False),
    "on one ground, equal": (facts_of(60, GROUND), facts_of(60, GROUND), True),
    "on one ground, brighter": (facts_of(60, GROUND), facts_of(60, (255, 117, 52)), True),
    "on one ground, too bright": (facts_of(60, (120, 50, 40)), facts_of(60, (240, 100, 80)), False),
    "on one ground, grey": (facts_of(60, GROUND), facts_of(60, (119, 119, 119)), True),
    "on one ground, another grey": (facts_of(60, GROUND), facts_of(60, (128, 128, 128)), False),
    "on one ground, nearly of one hue": (facts_of(60, GROUND), facts_of(60, (200, 120, 70)), False),
    "on one ground, not plain": (facts_of(256, GROUND), facts_of(256, (200, 120, 70)), True),
    "plain on white, equal": (on_white(*ON_WHITE), on_white(*ON_WHITE), True),
    "plain on white, twice the texture": (on_white(*ON_WHITE), on_white(*ON_WHITE, texture=120), True),
    "plain on white, more than that": (on_white(*ON_WHITE), on_white(*ON_WHITE, texture=121), False),
    "plain on white, nearly equal": (on_white(*ON_WHITE), on_white((205, 95, 35), (220, 180, 170)), True),
    "plain on white, a part of another": (on_white(*ON_WHITE), on_white((209, 90, 40), (220, 180, 170)), False),
    "plain on white, a little lighter": (on_white(*ON_WHITE), on_white((212, 96, 43), (225, 188, 178)), False),
    "plain on white, brighter": (on_white(*ON_WHITE), on_white((255, 117, 52), (233, 214, 201)), False),
    "plain on white, grey": (on_white(*ON_WHITE), on_white((117,) * 3, (191,) * 3), True),
    "plain on white, another grey": (on_white(*ON_WHITE), on_white((117,) * 3, (196,) * 3), False),
    "plain on white, pale hues": (on_white(*[(60, 70, 60)] * 4), on_white(*[(66, 63, 68)] * 4), False),
    "on white, brighter": (
        on_white(*ON_WHITE, texture=256),
        on_white((255, 117, 52), (233, 214, 201), texture=256),
        True,
    ),
    "on white, another hue": (
        on_white(*ON_WHITE, texture=256),
        on_white((200, 60, 140), (220, 180, 170), texture=256),
        False,
    ),
}


@pytest.mark.parametrize(("one", "other", "same"), list(_ALIKE.values()), ids=list(_ALIKE))
def test_pictures_of_one_shape_are_duplicates_where_texture_and_colour_agree(
    one: tuple[str, int, str], other: tuple[str, int, str], same: bool
) -> None:
    for pair in ((one, other), (other, one)):
        hashes, _ = hashes_of(*map(list, zip(*pair, strict=True)))
        at = np.zeros(1, np.int64)
        assert Bits(hashes).distances(at, at + 1).tolist() == pytest.approx([0.0 if same else np.nan], nan_ok=True)
        assert len(Bits(hashes).within(at, at + 1)[0]) == same
        assert len(perceptual_edges(hashes).first) == same


@pytest.mark.parametrize(
    ("edit", "other", "same"),
    [
        ("cropped", on_white((209, 90, 40), (220, 180, 170)), True),
        ("cropped", on_white((217, 90, 40), (220, 180, 170)), False),
        ("cropped", on_white((117,) * 3, (191,) * 3), False),
        ("clipped", on_white(*ON_WHITE), False),
        ("clipped", on_white(*ON_WHITE, texture=300), False),
    ],
    ids=["moved", "moved far", "grey", "clipped", "clipped, and not plain beside what is"],
)
def test_edited_copies_of_plain_things_on_white_have_the_same_colours(
    edit: str, other: tuple[str, int, str], same: bool
) -> None:
    fine, texture, colours = on_white(*ON_WHITE, texture=max(60, other[1] // 2))
    facts = [("0f" * 32, texture, colours, fine, fine), (*other, None, None)]
    columns = [list(column) for column in zip(*facts, strict=True)]
    columns[4 if edit == "cropped" else 3] = [None, None]
    hashes, _ = hashes_of(*columns)
    assert perceptual_edges(hashes).distance.tolist() == ([12] if same else [])


def test_a_jobs_rows_are_compared_with_their_colours() -> None:
    names = ("phash256", "texture", "colours")
    values = zip(facts_of(60, (200, 90, 40)), facts_of(60, (60, 90, 200)), strict=True)
    hashes, ids = hashes_in(pa.table(dict(zip(names, values, strict=True))))
    assert (ids.null_count, len(set(ids.to_pylist()))) == (0, 2)
    assert len(perceptual_edges(hashes).first) == 0
    without = pa.table({"phash256": [None], "texture": [None]})
    assert hashes_in(without)[1].null_count == 1


def test_pictures_are_told_apart_by_what_edits_leave_and_only_where_that_tells_something() -> None:
    fine, texture, colours = facts_of(60, (200, 90, 40))
    other = "0f" * 32
    columns = {"phash256": [fine] * 5, "texture": [texture] * 5, "colours": [colours] * 5}
    (before,) = set(hashes_in(pa.table(columns))[1].to_pylist())
    cropped, clipped = [None, fine, other, other, "0" * 63 + "1"], [None, None, None, other, None]
    _, ids = hashes_in(pa.table({**columns, "phash256_cropped": cropped, "phash256_clipped": clipped}))
    assert [one == before for one in ids.to_pylist()] == [True, True, False, False, True]
    assert len(set(ids.to_pylist())) == 3


def edits_of(fine: int, cropped: int | None = None, clipped: int | None = None) -> tuple[str | int | None, ...]:
    after = (None if words is None else f"{words:064x}" for words in (cropped, clipped))
    return (f"{fine:064x}", 60, None, *after)


@pytest.mark.parametrize(
    ("texture", "bits", "far"),
    [
        *((256, 0, 0), (256, 1, 2), (256, 10, 14), (256, 24, 32), (256, 25, np.nan)),
        *((255, 1, 2), (255, 16, 32), (255, 17, np.nan)),
    ],
)
def test_bits_between_things_on_white_count_a_third_more_and_double_where_they_are_plain(
    texture: int, bits: int, far: float
) -> None:
    _, texture, colours = on_white(*ON_WHITE, texture=texture)
    facts = [(f"{hash_:064x}", texture, colours) for hash_ in ((1 << 128) - 1, ((1 << 128) - 1) ^ ((1 << bits) - 1))]
    hashes, _ = hashes_of(*map(list, zip(*facts, strict=True)))
    one = np.zeros(1, np.int64)
    assert Bits(hashes).distances(one, one + 1).tolist() == pytest.approx([far], nan_ok=True)
    assert len(Bits(hashes).within(one, one + 1)[0]) == (not np.isnan(far))
    assert perceptual_edges(hashes).distance.tolist() == ([] if np.isnan(far) else [far])


@pytest.mark.parametrize("edit", ["cropped", "clipped"])
@pytest.mark.parametrize(("flipped", "far"), [(0, 12.0), (20, 32.0), (21, np.nan)])
def test_what_is_far_apart_is_near_as_an_edit_leaves_it(edit: str, flipped: int, far: float) -> None:
    whole, copy = (1 << 128) - 1, ((1 << 128) - 1) << 64
    after = copy ^ ((1 << flipped) - 1)
    things = [edits_of(whole, **{edit: after}), edits_of(copy)]
    for pair in (things, things[::-1]):
        hashes, _ = hashes_of(*map(list, zip(*pair, strict=True)))
        one = np.zeros(1, np.int64)
        assert Bits(hashes).distances(one, one + 1).tolist() == pytest.approx([far], nan_ok=True)
        assert perceptual_edges(hashes).distance.tolist() == ([] if np.isnan(far) else [far])
    both = [edits_of(whole, after, after), edits_of(whole << 96, after, after)]
    hashes, _ = hashes_of(*map(list, zip(*both, strict=True)))
    assert len(perceptual_edges(hashes).first) == 0, "two edited pictures are not compared"


def test_rows_that_are_looked_at_some_at_a_time_have_the_hashes_that_they_have_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = [facts_of(60, (level, 90, 40)) for level in range(0, 70, 10)]
    columns = dict(zip(("phash256", "texture", "colours"), map(list, zip(*facts, strict=True)), strict=True))
    table = pa.table({**columns, "texture": [*columns["texture"][:4], None, *columns["texture"][5:]]})
    once, ids_once = hashes_in(table)
    monkeypatch.setattr(competitors, "_AT_A_TIME", 3)
    found, ids = hashes_in(table)
    assert (ids, ids.null_count) == (ids_once, 1)
    for name in ("fine", "texture", "colours", "edited"):
        np.testing.assert_array_equal(getattr(found, name), getattr(once, name))
    assert len(hashes_in(table[:0])[0]) == 0


@pytest.mark.slow
def test_hashes_that_differ_in_few_bits_meet_whatever_these_are() -> None:
    random = np.random.default_rng(0)
    for bits, least in ((13, 1.0), (24, 0.999), (32, 0.99)):
        flipped = np.zeros((20_000, 256), np.uint8)
        np.put_along_axis(flipped, random.random(flipped.shape).argsort(axis=1)[:, :bits], 1, axis=1)
        words = np.packbits(flipped, axis=1).view(">u8").astype(np.uint64)
        assert hash_tables.meet(words.T).mean() >= least
    orders = hash_tables._MASKS.reshape(5, 14, 4)
    assert not np.bitwise_and.reduce(orders[:, :2], axis=1).any()
    assert (bit_counts.ones_of(np.bitwise_or.reduce(orders, axis=1)).sum(axis=1) == 14 * 18).all()


@pytest.mark.parametrize("count", [0, 1])
def test_few_classes_have_no_pairs(count: int) -> None:
    found = perceptual_edges(planted(10, seed=8).take(np.arange(count)))
    assert (found.classes, len(found.first), len(found.cut)) == (count, 0, 0)
