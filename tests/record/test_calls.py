"""Calls: kept as they finish, never asked twice, and in the end as if nothing had ever gone wrong."""

import json
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import pytest

from iteralign.errors import UserError
from iteralign.models.scripted import ScriptedModel, failing
from iteralign.protocols import OnReplies, unheard
from iteralign.record.calls import Call, Calls, Question, Recorded, Spent, read, usage
from iteralign.types import Conversation, Message, Reply, Sampling, Usage

GREEDY = Sampling()


def ask(*texts: str) -> list[Conversation]:
    return [(Message("user", text),) for text in texts]


def said(texts: Sequence[Reply]) -> list[str]:
    return [reply.text for reply in texts]


def upper(conversation: Conversation, _: Sampling) -> str:
    return conversation[-1].content.upper()


def counting() -> ScriptedModel:
    """Answers the n-th question with n: equal questions get unequal answers."""
    numbers = iter(range(1000))
    return ScriptedModel("m", lambda *_: str(next(numbers)))


class Sorted:
    """A backend that sorts by length and cuts batches of two; remembers what it computed together."""

    id = "m"

    def __init__(self, batches: int = 1000) -> None:
        self.together: list[list[str]] = []
        self.left = batches

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: OnReplies = unheard
    ) -> list[Reply]:
        replies: dict[int, Reply] = {}
        order = sorted(range(len(conversations)), key=lambda i: -len(conversations[i][0].content))
        for start in range(0, len(order), 2):
            if self.left == 0:
                raise RuntimeError("killed")
            self.left -= 1
            batch = [(i, Reply(conversations[i][0].content.upper())) for i in order[start : start + 2]]
            self.together.append([conversations[i][0].content for i, _ in batch])
            replies.update(batch)
            on_replies(batch)
        return [replies[i] for i in range(len(conversations))]


def recorded(model: object, path: Path) -> tuple[Recorded, Calls]:
    calls = Calls(path)
    return Recorded(model, calls, lambda: None), calls  # type: ignore[arg-type]


def test_a_finished_call_is_on_disk_before_the_next_begins(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    seen: list[int] = []

    def answer(conversation: Conversation, _: Sampling) -> str:
        seen.append(len(read(path)))
        return "x"

    recorded(ScriptedModel("m", answer), path)[0].generate(ask("a", "b", "c"), GREEDY)
    assert seen == [0, 1, 2]


def test_only_what_is_missing_is_asked_again_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    dying = ScriptedModel("m", failing(upper, RuntimeError("killed"), at=3), shuffle=1)
    with pytest.raises(RuntimeError):
        recorded(dying, path)[0].generate(ask("a", "b", "c", "d", "e"), GREEDY)
    done = {c.question.conversation[0].content for c in read(path)}
    assert len(done) == 2

    rest = ScriptedModel("m", upper)
    replies = recorded(rest, path)[0].generate(ask("a", "b", "c", "d", "e"), GREEDY)
    assert said(replies) == ["A", "B", "C", "D", "E"]
    assert [c[0].content for c, _ in rest.asked] == [x for x in "abcde" if x not in done]


@pytest.mark.parametrize("batches", range(4))
def test_the_rest_is_batched_as_if_never_interrupted(tmp_path: Path, batches: int) -> None:
    texts = ["aaaa", "b", "cc", "dddd", "eee", "f", "gg"]
    whole, dying, rest = Sorted(), Sorted(batches), Sorted()
    recorded(whole, tmp_path / "whole")[0].generate(ask(*texts), GREEDY)
    with pytest.raises(RuntimeError):
        recorded(dying, tmp_path / "calls")[0].generate(ask(*texts), GREEDY)
    recorded(rest, tmp_path / "calls")[0].generate(ask(*texts), GREEDY)
    assert dying.together + rest.together == whole.together


def test_sealing_hides_order_batches_and_interruptions(tmp_path: Path) -> None:
    texts = ["aaaa", "b", "cc", "b", "eee"]
    files = []
    for name, size, shuffle in (("one", 1, None), ("two", 2, 3), ("many", 16, None)):
        model, calls = recorded(ScriptedModel("m", upper, batch_size=size, shuffle=shuffle), tmp_path / name)
        model.generate(ask(*texts), GREEDY)
        model.generate(ask("b", "z"), GREEDY)
        calls.seal()
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1] == files[2]
    assert [c.question.conversation[0].content for c in read(tmp_path / "one")] == [*texts, "b", "z"]


def test_equal_questions_keep_their_own_answers(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    first = recorded(counting(), path)[0]
    assert said(first.generate(ask("a", "a", "b"), GREEDY)) == ["0", "1", "2"]
    assert said(first.generate(ask("a"), GREEDY)) == ["3"]
    again = recorded(ScriptedModel("m", failing(upper, RuntimeError(), at=1)), path)[0]
    assert said(again.generate(ask("a", "a", "b"), GREEDY)) == ["0", "1", "2"]
    assert said(again.generate(ask("a"), GREEDY)) == ["3"]


@pytest.mark.parametrize(
    ("name", "conversation", "sampling"),
    [
        ("other", ask("a")[0], GREEDY),
        ("m", ask("a ")[0], GREEDY),
        ("m", (Message("system", "s"), *ask("a")[0]), GREEDY),
        ("m", ask("a")[0], Sampling(seed=1)),
        ("m", ask("a")[0], Sampling(stop=("\n\n",))),
    ],
)
def test_another_question_is_asked(
    tmp_path: Path, name: str, conversation: Conversation, sampling: Sampling
) -> None:
    path = tmp_path / "calls.jsonl"
    recorded(ScriptedModel("m", upper), path)[0].generate(ask("a"), GREEDY)
    model = ScriptedModel(name, upper)
    recorded(model, path)[0].generate([conversation], sampling)
    assert len(model.asked) == 1


def test_the_raw_reply_its_usage_and_its_stop_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    reply = Reply("No.", "refusal", Usage(11, 2), raw='{"choices": ["\ud83d"]}')
    model, calls = recorded(ScriptedModel("m", lambda *_: reply), path)
    model.generate(ask("a"), GREEDY)
    calls.seal()
    assert read(path) == [Call(Question("m", ask("a")[0], GREEDY), reply)]
    again = recorded(ScriptedModel("m", failing(upper, RuntimeError(), at=1)), path)[0]
    assert again.generate(ask("a"), GREEDY) == [reply], "within a run, a refusal is a fact"


def test_a_torn_last_line_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    recorded(ScriptedModel("m", upper), path)[0].generate(ask("a", "b"), GREEDY)
    path.write_bytes(path.read_bytes()[:-5])
    model, calls = recorded(ScriptedModel("m", upper), path)
    model.generate(ask("a", "b"), GREEDY)
    assert len(read(path)) == 2
    calls.seal()
    assert len(read(path)) == 2


def test_damage_before_the_last_line_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text("[]\n[{}]\n[]\n")
    with pytest.raises(UserError, match=r"calls\.jsonl: line 2 is damaged .*; delete the file to ask"):
        Calls(path)


def test_what_is_not_asked_again_is_dropped_when_sealed(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    recorded(ScriptedModel("m", upper), path)[0].generate(ask("old"), GREEDY)
    model, calls = recorded(ScriptedModel("m", upper), path)
    model.generate(ask("new"), GREEDY)
    calls.seal()
    assert [c.reply.text for c in read(path)] == ["NEW"]
    unasked = Calls(path)
    unasked.seal()
    assert not path.exists()


def test_a_model_that_reports_nothing_is_recorded_when_it_returns(tmp_path: Path) -> None:
    class Mute:
        id = "m"

        def generate(
            self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: OnReplies = unheard
        ) -> list[Reply]:
            return [Reply(c[0].content) for c in conversations]

    path = tmp_path / "calls.jsonl"
    assert said(recorded(Mute(), path)[0].generate(ask("a", "b"), GREEDY)) == ["a", "b"]
    assert len(read(path)) == 2
    assert len(path.read_text().splitlines()) == 1, "kept together"


def test_the_listener_hears_recorded_and_fresh_replies_by_index(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    recorded(ScriptedModel("m", upper), path)[0].generate(ask("b"), GREEDY)
    heard: list[tuple[int, str]] = []
    model = recorded(ScriptedModel("m", upper), path)[0]
    model.generate(ask("a", "b", "c"), GREEDY, lambda batch: heard.extend((i, r.text) for i, r in batch))
    assert heard == [(1, "B"), (0, "A"), (2, "C")]


def test_a_lazy_model_is_not_touched_when_all_is_on_record(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    recorded(ScriptedModel("m", upper), path)[0].generate(ask("a"), GREEDY)

    class Lazy:
        id = "m"

        def generate(self, *_: object) -> list[Reply]:
            raise AssertionError("loaded")

    model = recorded(Lazy(), path)[0]
    assert model.id == "m"
    assert said(model.generate(ask("a"), GREEDY)) == ["A"]
    assert model.generate([], GREEDY) == []


def test_replies_may_be_heard_from_many_threads(tmp_path: Path) -> None:
    class Threaded:
        id = "m"

        def generate(
            self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: OnReplies = unheard
        ) -> list[Reply]:
            replies = [Reply(c[0].content) for c in conversations]
            threads = [Thread(target=on_replies, args=([(i, r)],)) for i, r in enumerate(replies)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return replies

    texts = [str(i) for i in range(50)]
    model, calls = recorded(Threaded(), tmp_path / "calls.jsonl")
    assert said(model.generate(ask(*texts), GREEDY)) == texts
    assert sorted(int(c.reply.text) for c in read(calls.path)) == list(range(50))
    assert (calls.answered, calls.asked, len(calls.fresh)) == (50, 50, 50)


def test_usage_adds_up_by_model_over_finished_and_unfinished_steps(tmp_path: Path) -> None:
    folder = tmp_path / "iterations" / "001" / "calls"
    for name, path in (("m", "10_responses.model.jsonl"), ("o", "20_verdicts.oracle.jsonl")):
        model, calls = recorded(ScriptedModel(name, upper), folder / path)
        model.generate(ask("one two", "three"), GREEDY)
        if name == "m":
            calls.seal()
    model, _ = recorded(ScriptedModel("o", upper), tmp_path / "iterations/002/calls/20_verdicts.oracle.jsonl")
    model.generate(ask("four"), GREEDY)
    assert usage(tmp_path) == {"m": Spent(2, 3, 3), "o": Spent(3, 4, 4)}


def test_a_sealed_line_is_one_call_that_reads_alone(tmp_path: Path) -> None:
    model, calls = recorded(ScriptedModel("m", upper, batch_size=2), tmp_path / "calls.jsonl")
    model.generate(ask("a", "b"), GREEDY)
    growing = [json.loads(x) for x in calls.path.read_text().splitlines()]
    calls.seal()
    sealed = [json.loads(x) for x in calls.path.read_text().splitlines()]
    assert growing == [sealed], "one line a batch before, one a call after"
    assert sealed[0]["question"]["conversation"] == [{"role": "user", "content": "a"}]
    assert sealed[0]["reply"]["text"] == "A"
