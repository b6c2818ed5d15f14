"""Policies that think aloud: the thought is neither judged nor taught, and an answer that never came is none."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from iteralign import finetune, judge, measure, prompts
from iteralign.errors import UserError
from iteralign.lm.chat import Chat, chat_of
from iteralign.lm.template import THOUGHTS, after_thought
from iteralign.lm.weights import Source, load_tokenizer
from iteralign.models import tiny
from iteralign.models.batching import answers_of
from iteralign.models.hf import HfPolicies
from iteralign.models.scripted import ScriptedModel
from iteralign.reading import THOUGHT
from iteralign.redteam import respond
from iteralign.settings import Loading, Policy, Training
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example, Label, Message, Probe, Prompt, Reply, Response, Sampling

ON_CPU = Loading(device="cpu")

QUESTION = (Message("user", "who can take the key?"),)
BASE = Checkpoint("base", "base")

TURNS = "{% for m in messages %}<|user|>{{ m['role'] }}: {{ m['content'] }}<|end|>\n{% endfor %}"
ASKS = "{% if add_generation_prompt %}<|user|>assistant: "
CLOSES = (
    "{% for m in messages %}<|user|>{{ m['role'] }}: {% if loop.last and m['role'] == 'assistant' %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|end|>\n{% endfor %}"
)
HARMONY = (
    "{% for m in messages %}<|start|>{{ m['role'] }}{% if m['role'] == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


@dataclass(frozen=True)
class Kind:
    """A template, and what is to be read off it. tokens: further special tokens. thought: what a model writes first."""

    template: str
    thinks: str
    lead: str
    thought: str
    tokens: tuple[str, ...] = ()


KINDS = {
    "opens, writes an empty one": Kind(
        CLOSES + ASKS + "<think>\n{% endif %}", "<think>", "\n</think>\n\n", "hm\n</think>\n\n"
    ),
    "opens, writes none": Kind(
        TURNS + ASKS + "<think>\n{% endif %}", "<think>", "\n</think>\n\n", "hm</think>"
    ),
    "opens on the line": Kind(TURNS + ASKS + "<think>{% endif %}", "<think>", "</think>\n\n", "hm</think>\n"),
    "opens another": Kind(
        TURNS + ASKS + "<thought>\n{% endif %}", "<thought>", "\n</thought>\n\n", "hm </thought>"
    ),
    "opens by a name of its own": Kind(
        TURNS + ASKS + "<reasoning>\n{% endif %}", "<reasoning>", "\n</reasoning>\n\n", "hm </reasoning>"
    ),
    "asks for none": Kind(CLOSES + ASKS + "<think>\n\n</think>\n\n{% endif %}", "", "", "<think>hm</think>"),
    "asks for none, writes none": Kind(
        TURNS + ASKS + "<think></think>{% endif %}", "", "", "<think>a</think>"
    ),
    "speaks of thoughts": Kind(
        "<|user|>system: Use <think> and </think>, or <think>.<|end|>" + TURNS + ASKS + "{% endif %}",
        "",
        "",
        "<think>\nhm\n</think>\n",
    ),
    "says nothing of it": Kind(TURNS + ASKS + "{% endif %}", "", "", "<think>hm</think><think>\n\n</think>"),
    "its marks are special tokens": Kind(
        TURNS + ASKS + "{% endif %}", "", "", "[THINK]hm[/THINK]", ("[THINK]", "[/THINK]")
    ),
    "channels": Kind(
        HARMONY,
        "",
        "<|channel|>final<|message|>",
        "<|channel|>analysis<|message|>hm<|start|>assistant<|channel|>final<|message|>",
        ("<|start|>", "<|channel|>", "<|message|>"),
    ),
    "channels, straight to the answer": Kind(
        HARMONY,
        "",
        "<|channel|>final<|message|>",
        "<|channel|>final<|message|>",
        ("<|start|>", "<|channel|>", "<|message|>"),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def chat(folder: Path, kind: Kind) -> Chat:
    return chat_for(folder, kind)


def chat_for(folder: Path, kind: Kind) -> Chat:
    tokenizer = load_tokenizer(Source(str(folder)))
    tokenizer.add_special_tokens({"additional_special_tokens": list(kind.tokens)})
    tokenizer.chat_template = kind.template
    return chat_of(tokenizer)


def reply(chat: Chat, output: str, ended: bool = True) -> Reply:
    ids = chat.tokenizer(output, add_special_tokens=False)["input_ids"] + [chat.end_ids()[0]] * ended
    return answers_of(chat, Sampling(max_tokens=500)).reply(7, ids)


def text_of(chat: Chat, completion: str) -> str:
    row = chat.row(QUESTION, completion)
    assert list(row.prompt) == chat.prompt_ids(QUESTION)
    return str(chat.tokenizer.decode([*row.prompt, *row.completion]))


def test_what_is_read_off_the_template(chat: Chat, kind: Kind) -> None:
    assert (chat.thinks, chat.lead, chat.end) == (kind.thinks, kind.lead, "<|end|>")


def test_the_thought_is_no_part_of_the_answer(chat: Chat, kind: Kind) -> None:
    said = reply(chat, kind.thought + "the red key.")
    assert (said.text, said.stop) == ("the red key.", "stop")
    assert said.raw == (kind.thought + "the red key.").replace("<|start|>", "")
    cut = reply(chat, kind.thought + "the red", ended=False)
    assert (cut.text, cut.stop) == ("the red", "length")


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "cut off"])
def test_an_answer_that_ended_inside_its_thought_is_cut(chat: Chat, kind: Kind, ended: bool) -> None:
    mark = next((m for m in THOUGHTS if kind.thought.startswith(m)), "")
    said = reply(chat, f"{mark}I weigh the red key", ended)
    if mark or chat.thinks:
        assert (said.text, said.stop, said.raw) == ("", "length", f"{mark}I weigh the red key")


def test_a_thought_is_taught_at_most_once_and_closed(chat: Chat, kind: Kind) -> None:
    whole = text_of(chat, reply(chat, kind.thought + "the red key.").text)
    assert whole.endswith(f"{chat.prompt(QUESTION)[-8:]}{kind.lead}the red key.<|end|>")
    assert "hm" not in whole
    for opener, closer in THOUGHTS.items():
        if kind.thinks == opener or opener in kind.tokens:
            nested = text_of(chat, f"a {closer} b {opener} c {closer}")
            assert (nested.count(opener), nested.count(closer)) == (whole.count(opener), whole.count(closer))


def test_a_written_turn_is_as_the_template_writes_it(chat: Chat, kind: Kind) -> None:
    if "</think>" in kind.template and chat.thinks:
        turns = [
            {"role": "user", "content": QUESTION[0].content},
            {"role": "assistant", "content": "the key."},
        ]
        assert text_of(chat, "the key.") + "\n" == chat.tokenizer.apply_chat_template(turns, tokenize=False)


@pytest.mark.parametrize(
    ("output", "opened", "answer"),
    [
        ("the key", "", "the key"),
        ("the key </think> no", "", "the key </think> no"),
        ("the key <think>a</think> no", "", "the key <think>a</think> no"),
        (" \n<think>a</think>\n the key", "", "the key"),
        ("<think>a</think><think>b</think> the key", "", "the key"),
        ("</think>\n\nthe key", "", "the key"),
        ("a</think>the key", "<think>", "the key"),
        ("<think>a</think>the key", "<think>", "the key"),
        ("a</thought>the key", "<think>", None),
        ("<think>a</think><think>b", "", None),
        ("<think>", "", None),
        ("a</think>", "<think>", ""),
        ("", "<think>", None),
        ("", "", ""),
    ],
)
def test_only_a_thought_at_the_beginning_is_left_out(output: str, opened: str, answer: str | None) -> None:
    assert after_thought(output, opened) == answer


def test_a_template_that_opens_an_answer_with_other_words_is_refused(folder: Path) -> None:
    tokenizer = load_tokenizer(Source(str(folder)))
    tokenizer.chat_template = TURNS + ASKS + "Sure, {% endif %}"
    with pytest.raises(UserError, match="opens an answer with 'Sure, ' where it asks for one, and not where"):
        chat_of(tokenizer)
    assert chat_of(tokenizer, "chat").end == "<|end|>"


def test_a_trained_policy_that_thinks_by_itself(folder: Path, tmp_path: Path) -> None:
    taught = [
        Example("who can take the key?", "<think>no</think> the dog."),
        Example("a city", "<think>a</think> red."),
    ]
    settings = Training(lr=2e-2, epochs=40, batch_size=2, lora_rank=8, lora_alpha=16)
    trained = SftTrainer(tmp_path, str(folder), settings, ON_CPU).train(BASE, taught)
    asked = [(Message("user", example.prompt),) for example in taught]
    leases = HfPolicies(tmp_path, str(folder), Policy(device="cpu"))
    with leases.serve(trained) as model:
        whole = model.generate(asked, Sampling(max_tokens=40))
        short = model.generate(asked, Sampling(max_tokens=8))
    assert [(r.text, r.stop, r.raw) for r in whole] == [
        ("the dog.", "stop", "<think>no</think> the dog."),
        ("red.", "stop", "<think>a</think> red."),
    ]
    assert [(r.text, r.stop) for r in short] == [("", "length")] * 2


@pytest.mark.parametrize("name", ["opens, writes an empty one", "opens, writes none"])
def test_a_policy_that_always_thinks_learns_its_rows_and_closes_its_thought(
    folder: Path, tmp_path: Path, name: str
) -> None:
    template = KINDS[name].template
    taught = [Example("who can take the key?", "the dog."), Example("a city", "no </think> red.")]
    settings = Training(lr=2e-2, epochs=40, batch_size=2, lora_rank=8, lora_alpha=16)
    trained = SftTrainer(tmp_path, str(folder), settings, replace(ON_CPU, template=template)).train(
        BASE, taught
    )
    leases = HfPolicies(tmp_path, str(folder), Policy(device="cpu", template=template))
    with leases.serve(trained) as model:
        replies = model.generate([(Message("user", e.prompt),) for e in taught], Sampling(max_tokens=40))
    assert [(r.text, r.stop) for r in replies] == [("the dog.", "stop"), ("no < /think> red.", "stop")]
    assert [(r.raw or "").partition("</think>")[0] for r in replies] == ["", ""]


ATTACK, SAFE = Prompt("a", "how to steal?"), Prompt("s", "what is red?")
LOST = Reply("", "length", raw="<think>I steal")


def test_an_answer_that_never_came_is_not_judged_not_taught_and_undecided() -> None:
    policy = ScriptedModel("policy", lambda *_: LOST)
    oracle = ScriptedModel("oracle", lambda *_: '{"label": "harmless", "grade": "answered"}')
    texts, figures = prompts.load("improved"), prompts.load("measure")
    responses = respond(policy, [ATTACK, SAFE], Sampling())
    assert [r.missing for r in responses] == [True, True]
    verdicts = judge.convene([oracle, oracle], responses, [texts, texts])
    assert [v.label for v in verdicts] == [Label.UNPARSED] * 2
    probes = [Probe(ATTACK, "hazard"), Probe(SAFE, "benign"), Probe(SAFE, "borderline"), Probe(SAFE, "fact")]
    found = measure.probe(policy, oracle, probes, figures, Sampling())
    assert [r.outcome for r in found.results] == ["undecided"] * 4
    assert (found.undecided.hits, found.benign.hits, found.violations.n) == (4, 0, 1)
    assert finetune.keep(responses, cut=True) == ()
    assert oracle.asked == []


def test_the_answers_beside_it_keep_their_own_verdicts() -> None:
    said: Any = {"a": Reply("first"), "b": LOST, "c": Reply("third")}
    policy = ScriptedModel("policy", lambda conversation, _: said[conversation[-1].content])
    oracle = ScriptedModel(
        "oracle",
        lambda conversation, _: (
            '{"label": "%s"}' % ("harmful" if "third" in conversation[-1].content else "harmless")
        ),
    )
    responses = respond(policy, [Prompt(i, i) for i in said], Sampling())
    labels = [v.label for v in judge.assess(oracle, responses, prompts.load("improved"))]
    assert labels == [Label.HARMLESS, Label.UNPARSED, Label.HARMFUL]
    empty = [Response(ATTACK, ""), Response(ATTACK, "half", cut=True)]
    assert [r.missing for r in empty] == [False, False]


@pytest.mark.parametrize("opened", THOUGHTS)
def test_a_marker_that_opens_a_thought_of_a_policy_opens_one_of_a_judge(opened: str) -> None:
    assert THOUGHT.match(opened)
