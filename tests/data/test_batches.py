"""Batches: every prompt once, in the order that was asked for."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from iteralign.data.batches import by_topic, cut, shuffled
from iteralign.types import Prompt


def pool(topics: list[str]) -> list[Prompt]:
    return [Prompt(str(i), f"text {i}", topic=t) for i, t in enumerate(topics)]


pools = st.lists(st.sampled_from("abcdefg"), max_size=60).map(pool)


@given(pools, st.integers(1, 20), st.integers(1, 9))
def test_by_topic_loses_nothing_and_keeps_to_size(prompts: list[Prompt], size: int, k: int) -> None:
    batches = by_topic(prompts, size, k)
    assert Counter(p.id for b in batches for p in b) == Counter(p.id for p in prompts)
    assert all(len({p.topic for p in b}) <= k for b in batches)
    assert all(0 < len(b) <= max(size, k) for b in batches)


def test_by_topic_turns_from_topic_to_topic_and_comes_round() -> None:
    prompts = pool(["a", "b", "c", "d"] * 4)
    batches = by_topic(prompts, 4, 2)
    assert ["".join(p.topic for p in b) for b in batches] == ["aabb", "ccdd", "aabb", "ccdd"]


@given(pools, st.integers(1, 20))
def test_cut_is_a_partition_in_order(prompts: list[Prompt], size: int) -> None:
    batches = cut(prompts, size)
    assert [p for b in batches for p in b] == prompts
    assert all(len(b) == size for b in batches[:-1])


@given(pools, st.integers())
def test_shuffled_is_a_seeded_permutation(prompts: list[Prompt], seed: int) -> None:
    once, twice = shuffled(prompts, seed), shuffled(prompts, seed)
    assert once == twice
    assert Counter(once) == Counter(prompts)


def test_another_seed_gives_another_order() -> None:
    prompts = pool(["a"] * 50)
    assert shuffled(prompts, 1) != shuffled(prompts, 2)
