"""100,000 replies of judges whose intent is known: none is read as its opposite, and every plain one is read.

A reply is made from the verdict that its judge means. WELL says it in the form, with what judges put around it;
AMBIGUOUS says it and something else, or says it in a broken way: it may be read as meant, or not at all.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from iteralign import judge
from iteralign.prompts import guarding
from iteralign.reading import ENDS, Form
from iteralign.types import Label, Reply

REPLIES = 100_000
OPPOSITE = {"harmful": "harmless", "harmless": "harmful"}
Make = Callable[[random.Random, str], str]

TALK = (
    "Sure!", "Here is my verdict:", "Let me know if you need more.", "I read the text twice.", "I hope that helps.",
    "The assistant declined.", "判定：", "Évaluation", "**Verdict**", "1. It helps.", "> as asked", "Okay.",
    "The orders in the text are part of what I judge.", "\n\n", "It is LABEL.", "Label: LABEL",
)  # fmt: skip
"""What judges put around a verdict that leaves no doubt; LABEL is their own."""
WEIGHING = (
    "It looks harmful at first, and harmless at second sight.",
    "This is not harmful.",
    "Wait, I was wrong.",
)
NAMES = ("think", "thinking", "thought", "reasoning", "Think", "analysis")
LOOKALIKES = {"a": "\u0430", "e": "\u0435", "l": "\u0406", "h": "\u04bb"}


def reason(rng: random.Random, label: str) -> str:
    """What stands in a field of text: quotations too, which the encoder escapes."""
    parts = [
        *TALK,
        *WEIGHING,
        said(rng, OPPOSITE[label], plain=True),
        "}",
        "{",
        "<think>",
        "</think>",
        '"',
        "\\",
        "\u202e",
        "```",
    ]
    return " ".join(rng.choices(parts, k=rng.randint(0, 5)))


def said(rng: random.Random, label: str, plain: bool = False) -> str:
    """An object of the form, as judges write it."""
    fields = {"label": label}
    if not plain:
        fields["label"] = rng.choice((label, label.title(), label.upper(), f" {label} "))
        fields |= {"category": rng.choice(("", "theft", "Hass")), "reason": reason(rng, label)}
    pairs = [(rng.choice((k, k.title(), k.upper())) if not plain else k, v) for k, v in fields.items()]
    rng.shuffle(pairs)
    more = [
        ("severity", 3),
        ("confidence", 0.5),
        ("details", {"a": [1, {"b": None}]}),
        ("language", "en"),
        ("is_" + OPPOSITE[label], False),
        ("Verdict", label),
        ("labels", [label]),
    ]
    pairs += rng.sample(more, rng.choice((0, 0, 1, 2))) if not plain else []
    return json.dumps(dict(pairs), ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, 2)))


def talk(rng: random.Random, label: str) -> str:
    """Neutral prose. Behind "Here is my verdict:" stands the verdict or nothing."""
    parts = rng.sample(TALK, k=rng.randint(0, 3))
    parts.sort(key=lambda part: part.startswith("Here"))
    return rng.choice((" ", "\n")).join(parts).replace("LABEL", label)


def musing(rng: random.Random, label: str) -> str:
    """A thought: it weighs both labels, writes either object, whole and broken."""
    parts = [
        *TALK,
        *WEIGHING,
        said(rng, label, True),
        said(rng, OPPOSITE[label], True),
        '{"label": ',
        "label: harmless",
        "}",
    ]
    return "\n".join(rng.choices(parts, k=rng.randint(0, 6)))


def thought(rng: random.Random, label: str) -> str:
    name = rng.choice(NAMES)
    opening, closing = rng.choice(
        ((f"<{name}>", f"</{name}>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"))
    )
    return f"{opening}\n{musing(rng, label)}\n{closing}\n\n"


def quoting(rng: random.Random, label: str) -> str:
    quoted = said(rng, OPPOSITE[label], plain=True)
    return f"The judged text {rng.choice(('itself ', ''))}holds {quoted}, which I did not follow."


WELL: dict[str, Make] = {
    "plain": said,
    "in a code block": lambda r, x: f"```{r.choice(('json', ''))}\n{said(r, x)}\n```",
    "with talk": lambda r, x: f"{talk(r, x)}\n{said(r, x)}\n{talk(r, x)}",
    "after a thought": lambda r, x: thought(r, x) + said(r, x),
    "after thoughts": lambda r, x: thought(r, x) + thought(r, x) + f"```json\n{said(r, x)}\n```",
    "twice": lambda r, x: f"{said(r, x)}\n\n{said(r, x)}",
}


def duplicated(rng: random.Random, label: str) -> str:
    labels = rng.sample((label, OPPOSITE[label]), 2)
    keys = rng.choice((("label", "label"), ("label", "Label"), ("label", " label"), ("l\u0430bel", "label")))
    rows = [f'"{k}": "{v}"' for k, v in zip(keys, labels, strict=True)]
    return "{" + ", ".join((rows[0], '"category": "x"', rows[1])) + "}"


def alike(rng: random.Random, label: str) -> str:
    letter = rng.choice([c for c in LOOKALIKES if c in f"label {label}"])
    return said(rng, label, plain=True).replace(letter, LOOKALIKES[letter]) + f"\n{quoting(rng, label)}"


def mutated(rng: random.Random, label: str) -> str:
    """One or two letters of the structure lost, doubled or changed."""
    text = (
        f"{said(rng, label, plain=True)}\n{quoting(rng, label)}" if rng.random() < 0.7 else said(rng, label)
    )
    for _ in range(rng.randint(1, 2)):
        at = rng.choice([i for i, c in enumerate(text) if c in '{}",:'] or [0])
        text = (
            text[:at]
            + rng.choice(("", text[at : at + 1] * 2, "'", "{", "}", '"', ",", "\n"))
            + text[at + 1 :]
        )
    return text


CLEAR = {"harmful": ("harmful", "unsafe", "dangerous", "toxic", "HARMFUL_CONTENT", "isHarmful",
                     "very harmful", "h\u0430rmful", "harm\u00adful", "a violation of the policy", "not harmless",
                     "anything but harmless"),
         "harmless": ("harmless", "safe", "benign", "HARMLESS_CONTENT", "isHarmless", "entirely harmless",
                      "h\u0430rmless", "harm\u200bless", "acceptable", "not harmful",
                      "far from harmful", "never harmful")}  # fmt: skip
NOUNS = ("Verdict", "Final verdict", "Label", "Assessment", "Rating", "Decision", "Classification", "Result",
         "Judgment", "### Conclusion", "**Answer**", "The label", "My verdict", "Correction",
         "final_label")  # fmt: skip
LINKS = (
    ": ",
    " = ",
    " is ",
    " → ",
    "\n",
    " must be called ",
    ": after weighing everything, it is ",
    " (final): ",
    " | ",
)


def meant(rng: random.Random, label: str) -> str:
    """The verdict of a judge in prose, in one of many wordings."""
    ending = rng.choice((".", "", "!", ", as it says so.", "\n"))
    return f"{rng.choice(NOUNS)}{rng.choice(LINKS)}{rng.choice(CLEAR[label])}{ending}"


def quoted_after_prose(rng: random.Random, label: str) -> str:
    """The verdict in prose beside an object of the other one, which is quoted."""
    quoted = said(rng, OPPOSITE[label])
    holds = rng.choice(("The text holds ", "Quoted: ", "", "\n", "It says ", "> "))
    parts = [f"{meant(rng, label)} ", f"{holds}{quoted}"]
    return "\n".join(rng.sample(parts, 2))


def denied(rng: random.Random, label: str) -> str:
    """An object and a sentence that denies what it says."""
    other = OPPOSITE[label]
    parts = [
        said(rng, other),
        rng.choice(
            (f"The verdict isn't {other}.", f"It is not {other}", f"That is hardly {other}.", f"Never {other}!",
             f"Not {other}.", f"It is far from {other}", f"This can't be called {other}.",
             f"non-{other}", "No, that is not so.",
             f"One could say {other}, but that would be false.", f"{other.title()}? No.")
        ),
    ]  # fmt: skip
    return "\n".join(rng.sample(parts, 2))


def retracted(rng: random.Random, label: str) -> str:
    """An object that the judge takes back."""
    back = ("But I disagree.", f"Wait, I was wrong: it should be {label}.", f"I change the label to {label}.",
            f"Correction: {label}", "On second thought, the other one.", "Actually, the opposite.", "I retract this.",
            f"Rather {label}.", f"I made a mistake; {label}!", "Scratch that.")  # fmt: skip
    return f"{said(rng, OPPOSITE[label])}{rng.choice((' ', '. ', chr(10)))}{rng.choice(back)}"


def contradicted_inside(rng: random.Random, label: str) -> str:
    """An object with another field that says what the judge means."""
    other = OPPOSITE[label]
    meant_by = {"harmful": "unsafe", "harmless": "safe"}[label]
    name, value = rng.choice(
        ((label, True), (f"is_{label}", True), (f"is{label.title()}", "yes"), (other, False), (f"not_{other}", True),
         ("labels", [label]), ("verdict", meant_by), ("final_verdict", f"{label}, as it helps"), (meant_by, 1),
         ("probabilities", {label: 0.98}), ("scores", [0.1, 0.9]), ("Judgement", f" **{label.upper()}**. "),
         ("status", meant_by), ("result", {"is": label}), ("not-" + label, False), ("correction", label))
    )  # fmt: skip
    fields = [("label", other), ("reason", reason(rng, other)), (name, value)]
    rng.shuffle(fields)
    whole = dict(fields)
    return json.dumps(whole if rng.random() < 0.7 else {"label": other, "details": [whole]})


AMBIGUOUS: dict[str, Make] = {
    "a verdict in prose, another in the object": quoted_after_prose,
    "the object denied": denied,
    "the object taken back": retracted,
    "another field that contradicts": contradicted_inside,
    "a quotation behind": lambda r, x: f"{said(r, x)}\n{quoting(r, x)}",
    "a quotation before": lambda r, x: f"{quoting(r, x)}\n{said(r, x)}",
    "quotations around": lambda r, x: f"{quoting(r, x)}\n{said(r, x)}\n{quoting(r, x)}",
    "an open thought": lambda r, x: f"<{r.choice(NAMES)}>\n{musing(r, x)}\n{said(r, OPPOSITE[x], True)} Reading on",
    "a thought behind": lambda r, x: f"{said(r, x)}\n<think>\n{musing(r, x)}",
    "quoted marks of a thought": lambda r, x: f'It opens "<think>". {said(r, x)} It ends "</think>". {quoting(r, x)}',
    "an open thought after a closed one": lambda r, x: f"{thought(r, x)}<think>{said(r, OPPOSITE[x], True)}",
    "nested": lambda r, x: json.dumps({"label": x, "quoted": {"deep": [{"Label": OPPOSITE[x]}]}}),
    "only nested": lambda r, x: json.dumps({"result": {"label": x}, "quoted": {"label": OPPOSITE[x]}}),
    "a list": lambda r, x: f"[{said(r, x)}, {said(r, OPPOSITE[x])}]",
    "a key twice": duplicated,
    "an object in a broken one": lambda r, x: f'{{"label": "{x}", "reason": "holds {said(r, OPPOSITE[x], True)}"}}',
    "single quotes": lambda r, x: f"{{'label': '{x}', 'reason': 'x'}}\n{quoting(r, x)}",
    "no quotes": lambda r, x: f"{{label: {x}}}\n{quoting(r, x)}",
    "a comma too many": lambda r, x: f'{{"label": "{x}",}}\n{quoting(r, x)}',
    "no object": lambda r, x: f"{r.choice(('Label', '**Label**', 'label'))}: {x}\n{quoting(r, x)}",
    "a lost beginning": lambda r, x: (lambda t: t[r.randint(1, 12) :])(f"{said(r, x, True)}\n{quoting(r, x)}"),
    "letters that look alike": alike,
    "both labels": lambda r, x: json.dumps({"label": f"{x} {r.choice('/|,')} {OPPOSITE[x]}"}),
    "damaged": mutated,
}  # fmt: skip

GUARDS: dict[str, dict[str, tuple[str, ...]]] = {
    "llama-guard": {"harmful": ("unsafe\nS1", "Unsafe\nS9,S10", "unsafe"), "harmless": ("safe", "Safe")},
    "granite-guardian": {
        "harmful": ("Yes", "<score> yes </score>", "yes\n<confidence> High </confidence>"),
        "harmless": ("No", "<score> no </score>", "no\n<confidence> Low </confidence>"),
    },
    "qwen3-guard": {
        "harmful": ("Safety: Unsafe\nCategories: Violent\nRefusal: No",),
        "harmless": ("Safety: Safe\nCategories: None\nRefusal: Yes",),
    },
    "wildguard": {
        "harmful": ("Harmful request: yes\nResponse refusal: no\nHarmful response: yes",),
        "harmless": ("Harmful request: no\nResponse refusal: yes\nHarmful response: no",),
    },
    "shieldgemma": {"harmful": ("Yes", "yes", "Yes, it does."), "harmless": ("No", "no", "No.")},
}


def guard_reply(rng: random.Random, words: dict[str, tuple[str, ...]], label: str) -> tuple[str, str, bool]:
    """(kind, text, whether it must be read) of a guard's reply."""
    own, other = rng.choice(words[label]), rng.choice(words[OPPOSITE[label]])
    mused = "\n".join(rng.choices((*TALK, *WEIGHING, own, other), k=rng.randint(0, 4)))
    # A clearing first word, and then prose that says what the guard means; a harmful one is believed as it is.
    cleared = words["harmless"][0] + rng.choice((". ", "\n", ": ", ", ")) + rng.choice(CLEAR["harmful"])
    return rng.choice(
        (
            ("plain", own, True),
            ("with blank lines", f"\n\n{own}\n", True),
            ("after a thought", f"<think>\n{mused}\n</think>\n{own}", True),
            ("an open thought", f"<think>\n{mused}\n{other}\n", False),
            ("an open thought after a closed one", f"<think></think>\n<think>\n{other}", False),
            ("both words", f"{own}\n{other}", False),
            ("prose behind", cleared if label == "harmful" else own, label == "harmless"),
            ("both words, the other first", f"{other}\n{own}", False),
        )
    )


def made(rng: random.Random, label: str) -> tuple[str, Form[judge.Opinion], Reply, bool]:
    """A reply to be read by a form: what kind it is, and whether it must be read as `label`."""
    if rng.random() < 0.15:
        guard = rng.choice(list(GUARDS))
        kind, text, well = guard_reply(rng, GUARDS[guard], label)
        form = FORMS[guard]
    else:
        well = rng.random() < 0.45
        kind = rng.choice(list(WELL if well else AMBIGUOUS))
        text, form = (WELL if well else AMBIGUOUS)[kind](rng, label), judge.FORMS["json"]
    # The first word of a guard is its verdict, whatever would have come behind the cut.
    if rng.random() < 0.2 and kind not in ("both words, the other first", "prose behind"):
        return f"{kind}, cut", form, Reply(text[: rng.randint(0, len(text))], "length"), False
    stop: Any = rng.choice(("stop", "stop", "unknown"))
    # A reply in the middle of a sentence may have been cut where the server does not say why it ended.
    return kind, form, Reply(text, stop), well and (stop == "stop" or text.rstrip().endswith(ENDS))


def _form(name: str) -> Form[judge.Opinion]:
    guard = guarding.load(name).guard
    assert guard is not None
    return judge.guard_form(guard)


FORMS = {name: _form(name) for name in GUARDS}


@pytest.mark.parametrize("seed", [20261127])
def test_no_reply_is_read_as_its_opposite_and_every_plain_one_is_read(seed: int) -> None:
    rng = random.Random(seed)
    wrong: list[tuple[str, Reply]] = []
    unread: list[tuple[str, Reply]] = []
    counts: Counter[tuple[str, str]] = Counter()
    for i in range(REPLIES):
        label = ("harmful", "harmless")[i % 2]
        kind, form, reply, well = made(rng, label)
        opinion = form.of(reply)
        if opinion is not None and opinion[0] == OPPOSITE[label]:
            wrong.append((kind, reply))
        if well and (opinion is None or opinion[0] != label):
            unread.append((kind, reply))
        result = "unparsed" if opinion is None or opinion[0] is Label.UNPARSED else "read"
        counts[f"{label}, {'well-formed' if well else 'ambiguous or cut'}", result] += 1
    print(*(f"{what}: {n:,} {how}" for (what, how), n in sorted(counts.items())), sep="\n")
    assert not wrong, wrong[:5]
    assert not unread, unread[:5]
    assert min(counts[f"{label}, well-formed", "read"] for label in OPPOSITE) > 15_000
    assert min(counts[f"{label}, ambiguous or cut", "unparsed"] for label in OPPOSITE) > 15_000
