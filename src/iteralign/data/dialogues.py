"""Dialogues: turns that a data set keeps in one text, as marked lines, as JSON or as Python writes a list.

The user's last turn is what such a text asks; an answer in it must never be sent as part of a prompt unseen. What
holds an answer and cannot be told apart into turns is refused.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from iteralign.errors import UserError
from iteralign.security import documents

Turns = Literal["first", "last", "transcript"]

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "Human"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "ai", "chatgpt", "chatbot"), "Assistant"),
    **dict.fromkeys(("system", "developer"), "System"),
}
"""Roles as published sets write them, and the names that a transcript gives them."""
TOOLS = {"tool", "function", "ipython", "observation"}
"""Roles of turns that nobody says to anybody."""
MARKS = {
    **ROLES,
    **dict.fromkeys(("instruction", "question", "q", "prompt", "query", "inst"), "Human"),
    **dict.fromkeys(
        ("response", "answer", "a", "output", "completion", "ai assistant", "/inst"), "Assistant"
    ),
    "input": "Input",
}
"""What stands before a turn in a text. An input follows an instruction and belongs to it."""
LITERAL = 1 << 18
"""Characters of a Python list in a cell (chosen): reading one takes some hundred times its size."""
AS_MESSAGES = 'save its turns as messages: [{"role": "user", "content": "…"}, …]'


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns as (role, text), blank ones left out; `usual` is what is read of them if nothing is chosen."""

    turns: tuple[tuple[str, str], ...]
    usual: Turns | None


@dataclass(frozen=True, slots=True)
class Style:
    """One way of marking turns. `needs` is what makes a text with such marks a dialogue: without an answer a chat
    template holds one prompt, and examples that end in an open question are one prompt; both are sent as they are.
    """

    mark: re.Pattern[str]
    needs: Literal["marks", "an answer", "the last answer"]


_TALKERS = "human|user|prompter|assistant|ai assistant|ai|bot|gpt|chatgpt|chatbot|system"
STYLES = (
    # Alpaca and Guanaco, which writes "### Human: …### Assistant: …" in one line
    Style(
        re.compile(
            rf"#{{2,6}}[ \t]*({_TALKERS}|instruction|input|question|model|response|answer|output)"
            r"[ \t]*(?::|(?=\r?\n|\Z))",
            re.I,
        ),
        "marks",
    ),
    # "User: …", "**User:** …", "<human>: …" at the start of a line
    Style(
        re.compile(rf"^[ \t]*[*_<\[]{{0,2}}({_TALKERS})[*_>\]]{{0,2}}[ \t]*[:\uff1a][*_]{{0,2}}", re.I | re.M),
        "marks",
    ),
    # Vicuna's template, which is one line
    Style(re.compile(r"(?:(?<![^\s>])|\A)(USER|ASSISTANT|HUMAN|SYSTEM|Human|User|Assistant):(?=\s|\Z)"), "an answer"),
    # chat templates: ChatML, Zephyr, Llama 3, Gemma, Llama 2
    Style(
        re.compile(
            r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>)\s*(user|assistant|system|model)"
            r"(?:<\|end_header_id\|>)?|<\|(user|assistant|system)\|>|\[(/?INST)\]"
        ),
        "an answer",
    ),
    Style(
        re.compile(
            r"^[ \t]*(q|question|prompt|query|instruction|input|a|answer|response|output|completion)[ \t]*:",
            re.I | re.M,
        ),
        "the last answer",
    ),
)  # fmt: skip
_ENDS = re.compile(
    r"<\|im_end\|>|<\|eot_id\|>|<\|end\|>|<end_of_turn>|</?s>|<\|begin_of_text\|>|<\|endoftext\|>|<bos>"
)
"""Special tokens that close a turn or open a text."""
_FRAME = re.compile(
    r"(below is an? instruction|a chat between|the following is a (conversation|dialog))", re.I
)
"""How the usual templates begin; what comes before the first turn in any other way may be the prompt itself."""
_PARTS = re.compile(r"\s*(\[.*\]|\{.*\})\s*", re.S)
_KEYS = re.compile(r"""["'](role|from|messages|conversations?|turns)["']\s*:""")
_TEXTS = re.compile(r"""\s*\[\s*["'].*["']\s*,?\s*\]\s*""", re.S)

# A blank line before a role is a marker; any other blank line belongs to the turn.
_MARKER = re.compile(r"(?:\A\s*|\r?\n\r?\n)(Human|Assistant):")


def transcript(text: str) -> Conversation | None:
    """A transcript of hh-rlhf as turns, without the blanks (NBSP too) around them; None for any other text."""
    parts = _MARKER.split(text)
    if len(parts) < 5 or parts[0].strip() or parts[1] != "Human" or "Assistant" not in parts:
        return None
    turns = zip(parts[1::2], (said.strip() for said in parts[2::2]), strict=True)
    return Conversation(tuple((role, said) for role, said in turns if said), "first")


def dialogue(text: str, place: str) -> Conversation | None:
    """The turns of a text that marks them, in the first style that fits; None for any other text.

    Raises UserError: an answer stands in it, but other text before the first turn.
    """
    if transcript(text):
        return transcript(text)
    for style in STYLES:
        found = _marked(text, style)
        if found is None:
            continue
        before, turns = found
        if before and not _FRAME.match(before):
            if any(role == "Assistant" and said for role, said in turns):
                raise UserError(f"{place} holds a dialogue with other text before it: {AS_MESSAGES}")
            continue
        system = (("System", before),) if before else ()
        return Conversation((*system, *((role, said) for role, said in turns if said)), None)
    return None


def _marked(text: str, style: Style) -> tuple[str, list[tuple[str, str]]] | None:
    """What stands before the first mark, and the turns; None if they are not of a user and an assistant."""
    marks = [(m, MARKS[next(filter(None, m.groups())).lower()]) for m in style.mark.finditer(text)]
    if not {"Human", "Input"} & {role for _, role in marks} or "Assistant" not in {role for _, role in marks}:
        return None
    turns: list[tuple[str, str]] = []
    ends = [m.start() for m, _ in marks[1:]] + [len(text)]
    for (mark, role), end in zip(marks, ends, strict=True):
        said = _ENDS.sub("", text[mark.end() : end]).strip()
        system, closed, rest = said.removeprefix("<<SYS>>").partition("<</SYS>>")
        if closed:
            turns.append(("System", system.strip()))
            said = rest.strip()
        if role == "Input" and turns and turns[-1][0] == "Human":
            turns[-1] = ("Human", "\n\n".join(filter(None, (turns[-1][1], said))))
        else:
            turns.append(("Human" if role == "Input" else role, said))
    answered = any(role == "Assistant" and said for role, said in turns)
    if (style.needs != "marks" and not answered) or (style.needs == "the last answer" and not turns[-1][1]):
        return None
    return _ENDS.sub("", text[: marks[0][0].start()]).strip(), turns


def spread(texts: Iterable[str]) -> bool:
    """Whether a dialogue stands in several texts, a turn or a line in each: one begins as a user's turn, one as an
    answer. In the style of questions and answers, one that follows the other."""
    found: dict[int, set[str]] = {}
    last: tuple[int, str] = (-1, "")
    for text in texts:
        opened = [(n, m) for n, style in enumerate(STYLES) if (m := style.mark.match(text))][:1]
        if not opened:
            last = (-1, "")
            continue
        number, mark = opened[0]
        role = MARKS[next(filter(None, mark.groups())).lower()]
        if STYLES[number].needs != "the last answer":
            found.setdefault(number, set()).add(role)
        elif (last, role) == ((number, "Human"), "Assistant"):
            return True
        last = (number, role)
    return any({"Human", "Assistant"} <= roles for roles in found.values())


def structured(text: str, place: str, sure: bool = False) -> list[Any] | None:
    """The turns of a cell that holds them as JSON or as Python writes a list; None for any other text.

    sure: whether any list in it holds turns.

    Raises UserError: it begins and ends as such a list does, and cannot be read.
    """
    if not _PARTS.fullmatch(text):
        return None
    sure = sure or bool(_KEYS.search(text))
    if not sure and not _TEXTS.fullmatch(text):
        return None
    try:
        value = _literal(text)
    except documents.Unreadable as error:
        if sure:
            raise UserError(
                f"{place} looks like turns as a text, but is {error}: save them as JSON"
            ) from None
        return None
    if isinstance(value, Mapping):
        inside = [
            v
            for k, v in value.items()
            if str(k).lower() in ("messages", "conversation", "conversations", "turns")
        ]
        is_turn = "role" in value or "from" in value
        value = [value] if is_turn else inside[0] if len(inside) == 1 else None
    if not isinstance(value, list | tuple):
        return None
    return list(value) if sure or all(isinstance(part, str) for part in value) else None


def _literal(text: str) -> Any:
    """The value of JSON, or of a Python literal within bounds. Raises Unreadable."""
    try:
        return documents.parsed_json(text)
    except documents.Unreadable as error:
        if len(text) > LITERAL:
            raise documents.Unreadable(f"not JSON, and longer than {LITERAL:,} characters") from None
        if "nested" in str(error) or _depth(text) > documents.DEPTH:
            raise documents.Unreadable(f"nested too deep (more than {documents.DEPTH} levels)") from None
    # numpy writes no comma between the items; a line feed inside a text is escaped, so this one is between them
    text = re.sub(r"\}[ \t]*\r?\n[ \t]*\{", "}, {", text.strip())
    try:
        return documents.shallow(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise documents.Unreadable("neither JSON nor a list of Python") from None


def _depth(text: str) -> int:
    """Brackets that are open at once, at most; those inside texts count too, which errs on the safe side."""
    most = now = 0
    for mark in re.findall(r"[\[\](){}]", text):
        now += 1 if mark in "[({" else -1
        most = max(most, now)
    return most
