"""Scripted: the fake must itself keep the contract of a Model."""

import pytest

from iteralign.models.scripted import ScriptedModel, failing
from iteralign.protocols import Model, identity
from iteralign.types import Conversation, Message, Reply, Sampling, Usage

CONVERSATIONS: list[Conversation] = [
    (Message("system", "be kind"), Message("user", f"q {i}")) for i in range(7)
]


def echo(conversation: Conversation, sampling: Sampling) -> str:
    return f"{conversation[-1].content} at {sampling.temperature}"


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("shuffle", [None, 1, 2])
def test_replies_come_in_order_however_they_are_finished(batch_size: int, shuffle: int | None) -> None:
    model: Model = ScriptedModel("m", echo, batch_size=batch_size, shuffle=shuffle)
    heard: list[list[int]] = []
    replies = model.generate(CONVERSATIONS, Sampling(), lambda batch: heard.append([i for i, _ in batch]))
    assert [r.text for r in replies] == [f"q {i} at 0.0" for i in range(7)]
    assert sorted(i for batch in heard for i in batch) == list(range(7))
    assert max(map(len, heard)) == min(batch_size, 7)


def test_it_remembers_what_it_was_asked() -> None:
    model = ScriptedModel("m", echo)
    model.generate(CONVERSATIONS[:2], Sampling(seed=1))
    model.generate(CONVERSATIONS[:1], Sampling(seed=2))
    assert model.asked == [
        (CONVERSATIONS[0], Sampling(seed=1)),
        (CONVERSATIONS[1], Sampling(seed=1)),
        (CONVERSATIONS[0], Sampling(seed=2)),
    ]


def test_usage_counts_words_and_a_reply_passes_as_it_is() -> None:
    refusal = Reply("No.", "refusal", Usage(1, 1))
    assert ScriptedModel("m", echo).generate(CONVERSATIONS[:1], Sampling())[0].usage == Usage(4, 4)
    assert ScriptedModel("m", lambda *_: refusal).generate(CONVERSATIONS[:1], Sampling()) == [refusal]


def test_a_failure_comes_at_its_call_and_loses_its_batch_alone() -> None:
    model = ScriptedModel("m", failing(echo, RuntimeError("down"), at=4), batch_size=2)
    heard: list[int] = []
    with pytest.raises(RuntimeError, match="down"):
        model.generate(CONVERSATIONS, Sampling(), lambda batch: heard.extend(i for i, _ in batch))
    assert heard == [0, 1]
    assert len(model.asked) == 4
    assert len(model.generate(CONVERSATIONS, Sampling())) == 7, "one failure, then it is up again"


def test_it_is_an_actor() -> None:
    assert identity(ScriptedModel("m", echo)) == "m"
