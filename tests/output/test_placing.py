"""Where kept samples go: each once, in order, in full shards, under keys that are unique."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator.errors import JobError
from beam_curator.output.placing import output_key, shard_name, slices
from beam_curator.output.prefix_sums import GroupCounts, KeySample, Place, places_of
from tests.examples import examples

KEPT = st.dictionaries(
    st.tuples(st.sampled_from(["a.tar", "b.tar", "gs://b/c.tar"]), st.integers(0, 1 << 40)), st.integers(0, 25)
)
SAMPLES_PER_SHARD = st.integers(1, 12)


def in_one_sum(kept):
    """The place of each range, from a running sum over all: what two levels must give."""
    ordered = sorted(kept)
    sums = list(itertools.accumulate((kept[key] for key in ordered), initial=0))
    return {key: Place(place, rank) for rank, (key, place) in enumerate(zip(ordered, sums, strict=False))}


def placed(kept, samples_per_shard):
    """(output shard, position, range, which of its kept samples) of every kept sample, in the order of the input."""
    places = dict(places_of(list(kept.items()), []))
    return [
        (run.output_index, run.position + index, key, run.first + index)
        for key in sorted(kept)
        for run in slices(places[key].kept, kept[key], samples_per_shard)
        for index in range(run.samples)
    ]


@given(KEPT, SAMPLES_PER_SHARD)
def test_every_kept_sample_is_placed_once_and_in_order(kept, samples_per_shard):
    found = placed(kept, samples_per_shard)
    assert [(key, index) for _, _, key, index in found] == [(k, i) for k in sorted(kept) for i in range(kept[k])]
    assert [shard * samples_per_shard + position for shard, position, *_ in found] == list(range(len(found)))


@given(KEPT, SAMPLES_PER_SHARD)
def test_every_output_shard_but_the_last_is_exactly_full(kept, samples_per_shard):
    shards = [shard for shard, *_ in placed(kept, samples_per_shard)]
    sizes = [len(list(group)) for _, group in itertools.groupby(shards)]
    assert sorted(set(shards)) == list(range(len(sizes)))
    assert all(size == samples_per_shard for size in sizes[:-1])
    assert all(0 < size <= samples_per_shard for size in sizes[-1:])


@given(KEPT, st.lists(st.tuples(st.sampled_from(["", "a.tar", "b.tar", "z"]), st.integers(0, 1 << 40))), st.randoms())
def test_places_are_those_of_one_sum_whatever_the_groups_and_the_order_of_arrival(kept, cuts, random):
    shuffled = list(kept.items())
    random.shuffle(shuffled)
    own = random.sample(sorted(kept), len(kept) // 2)  # groups also begin at ranges
    assert dict(places_of(shuffled, sorted({*cuts, *own}))) == in_one_sum(kept)


@given(KEPT, st.integers(1, 9), st.integers(1, 4), st.randoms())
def test_the_keys_that_cut_groups_are_the_same_in_any_order_and_number_of_parts(kept, size, apart, random):
    shuffled = list(kept)
    random.shuffle(shuffled)
    parts = [KeySample(size) for _ in range(3)]
    for key in shuffled:
        random.choice(parts).add(key)
    total, whole = KeySample(size), KeySample(size)
    for part in parts:
        total.add_all(part)
    for key in kept:
        whole.add(key)
    assert total.cuts(apart) == whole.cuts(apart)
    assert len(total.cuts(apart)) <= size / apart
    assert dict(places_of(list(kept.items()), total.cuts(apart))) == in_one_sum(kept)


@examples(50)
@given(st.sampled_from([1, 7, 9999, 10_000, 10_001, 123_456]), st.data())
def test_output_keys_are_unique_and_sort_in_the_order_of_places(samples_per_shard, data):
    places = data.draw(
        st.lists(
            st.tuples(st.integers(0, 99_999), st.integers(0, samples_per_shard - 1)),
            min_size=2,
            max_size=20,
            unique=True,
        )
    )
    keys = [output_key(index, position, samples_per_shard) for index, position in sorted(places)]
    assert keys == sorted(set(keys))


def test_keys_stay_unique_when_the_index_outgrows_its_five_digits():
    keys = {output_key(index, position, 10) for index in (1, 10, 10_000, 100_000, 1_000_000) for position in range(10)}
    assert len(keys) == 50


def test_names_are_those_of_img2dataset():
    assert shard_name(7) == "00007"
    assert output_key(7, 3, 1000) == "000070003"


def test_a_range_that_comes_twice_has_no_place():
    with pytest.raises(JobError, match=r"a\.tar: two batches begin at 512"):
        GroupCounts.of([(("a.tar", 512), 3), (("a.tar", 0), 1), (("a.tar", 512), 0)])
