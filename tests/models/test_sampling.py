"""Decoding rules, row by row."""

import pytest
import torch

from iteralign.models.sampling import FrequencyPenalty, SeededChoice, StopStrings, nucleus, row_seeds
from iteralign.types import Message, Sampling

LOGITS = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]))
A, B = ((Message("user", text),) for text in "ab")


def test_seeds_depend_on_the_row_and_not_on_its_place() -> None:
    seeds = row_seeds([A, B, A], 0)
    assert len(set(seeds)) == 3
    assert row_seeds([B, A, A], 0) == [seeds[1], seeds[0], seeds[2]]
    assert row_seeds([A, B], 0) == [seeds[2], seeds[1]]  # the front was answered and is gone
    assert set(row_seeds([A, B, A], 1)).isdisjoint(seeds)


@pytest.mark.parametrize(("top_p", "kept"), [(0.0, 1), (0.5, 1), (0.6, 2), (0.8, 2), (0.9, 3), (0.99, 4)])
def test_nucleus_keeps_the_fewest_that_reach_top_p(top_p: float, kept: int) -> None:
    finite = nucleus(LOGITS, top_p).isfinite()
    assert finite[0].tolist() == [i < kept for i in range(4)]
    assert finite[1].tolist() == finite[0].tolist()[::-1]


def test_choice_samples_the_softmax() -> None:
    rows = 4000
    choice = SeededChoice(Sampling(temperature=2.0), range(rows), "cpu")
    drawn = choice(torch.empty(0), LOGITS[:1].expand(rows, 4)).argmax(-1)
    shares = torch.bincount(drawn, minlength=4) / rows
    # 4 standard errors of a share of 0.5 in 4000
    assert torch.allclose(shares, (LOGITS[0] / 2).softmax(-1), atol=0.032)


def test_a_row_draws_the_same_noise_in_any_batch() -> None:
    sampling = Sampling(temperature=1.0)
    both = SeededChoice(sampling, [5, 6], "cpu")
    alone = SeededChoice(sampling, [6], "cpu")
    for _ in range(3):
        torch.rand(3)
        assert torch.equal(both(torch.empty(0), LOGITS)[1], alone(torch.empty(0), LOGITS[1:])[0])


def test_frequency_penalty_counts_the_answer_only() -> None:
    ids = torch.tensor([[3, 3, 0, 0, 1], [3, 3, 2, 2, 2]])
    lowered = FrequencyPenalty(0.5, prompt_tokens=2)(ids, torch.zeros(2, 4))
    assert lowered.tolist() == [[-1.0, -0.5, 0.0, 0.0], [0.0, 0.0, -1.5, 0.0]]


def test_stop_strings_end_their_row_only_and_for_good() -> None:
    def letters(ids: list[int]) -> str:
        return "".join(chr(97 + i) for i in ids)

    stops = StopStrings(("cd",), letters, prompt_tokens=2)
    ids = torch.tensor([[2, 3, 0, 2, 3], [2, 3, 0, 0, 2]])
    assert stops(ids, None).tolist() == [True, False]
    longer = torch.cat([ids, torch.zeros(2, 20, dtype=torch.long)], 1)
    assert stops(longer, None).tolist() == [True, False]
