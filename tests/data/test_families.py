"""Families: ids are unique, and no split divides a family, whatever the order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from iteralign.data.families import deduplicated, key, parted, prompt, unique
from iteralign.types import Prompt

texts = st.lists(
    st.sampled_from(["a", "A ", "b", "b?", "c\xa0d", "c d", "e", "f", "g"]) | st.text(), max_size=40
)
pools = texts.map(lambda found: unique(prompt(text) for text in found))


def test_what_does_not_count() -> None:
    assert key(" How\xa0do\nI? ") == key("how do I") == "how do i"
    assert key("?!") == "?!"


@given(texts)
def test_ids_are_unique_and_the_first_of_a_text_keeps_its_own(found: list[str]) -> None:
    pool = unique(prompt(text) for text in found)
    assert [p.text for p in pool] == found
    assert len({p.id for p in pool}) == len(pool)
    assert {p.id for p in pool} >= {prompt(text).id for text in found}


def test_an_id_of_the_users_own_may_look_like_a_number_of_ours() -> None:
    pool = unique(Prompt(name, "x") for name in ["a", "a-2", "a", "a"])
    assert [p.id for p in pool] == ["a", "a-2", "a-3", "a-4"]


@given(pools)
def test_deduplication_keeps_the_first_of_each(pool: tuple[Prompt, ...]) -> None:
    kept = deduplicated(pool)
    assert len({key(p.text) for p in kept}) == len(kept) == len({key(p.text) for p in pool})
    assert list(kept) == [p for p in pool if p in kept]


@given(pools, st.floats(0, 0.99), st.randoms(use_true_random=False))
def test_a_split_never_divides_a_family_and_ignores_the_order(pool, holdout, random) -> None:  # type: ignore[no-untyped-def]
    parts = parted(pool, holdout)
    assert Counter(p for part in parts for p in part) == Counter(pool)
    families = [{p.family for p in part} for part in parts]
    assert sum(map(len, families)) == len(set().union(*families))
    mixed = list(pool)
    random.shuffle(mixed)
    assert [set(part) for part in parted(mixed, holdout)] == [set(part) for part in parts]


def test_the_share_is_about_what_was_asked() -> None:
    parts = parted([prompt(f"question {i}") for i in range(4000)], 0.2)
    assert 3100 < len(parts.attack) < 3300
    assert 320 < len(parts.validation) < 480 and 320 < len(parts.test) < 480
    assert parted(parts.attack, 0)[1:] == ((), ())
