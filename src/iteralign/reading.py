"""Read the replies of oracles. Every reader is total: a reply that cannot be read gives None, never an error."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from iteralign import doubt
from iteralign.types import Reply

T = TypeVar("T")

MOST = 1_000_000
"""Characters of a reply that is read at all. A verdict takes a few hundred (ours)."""

ENDS = ("}", "`", ".", "!", "?", '"', "'", ")", ">", "*")
"""How a reply ends that was not broken off. Asked only where the server does not say why it ended."""

_NAME = r"(?:\w{1,20}[:_])?(?:think(?:ing)?|thoughts?|reasoning|analysis|reflection|scratchpad)(?:_process)?"
THOUGHT = re.compile(
    rf"</?{_NAME}(?:\s[^<>]{{0,80}})?>|\[/?THINK\]|◁/?think▷|<\|(?:begin|end)_of_thought\|>"
    r"|<\|channel\|?>(?:analysis|thought)|<channel\|>|<\|(?:START|END)_THINKING\|>|\bdone thinking\b",
    re.I,
)
_CLOSED = re.compile(
    rf"\s*(?:<({_NAME})(?:\s[^<>]{{0,80}})?>.*?</\1>|\[THINK\].*?\[/THINK\]|◁think▷.*?◁/think▷"
    r"|<\|START_THINKING\|>.*?<\|END_THINKING\|>|<\|channel>thought\b.*?<channel\|>"
    r"|<\|begin_of_thought\|>.*?<\|end_of_thought\|>|<\|channel\|>analysis<\|message\|>.*?<\|end\|>)",
    re.I | re.S,
)
"""The marks of a thought and a whole one: DeepSeek and Qwen, Mistral, Kimi, OpenThinker, Cohere, gpt-oss, Gemma."""


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """The form of a reply.

    read: the value of a text, None if it cannot be read.
    whole: the value depends on the whole reply, so one cut by the length limit has none; nor has one that ended for
        an unknown reason in the middle of something. Otherwise the first words decide.
    """

    read: Callable[[str], T | None]
    whole: bool = True

    def of(self, reply: Reply) -> T | None:
        """Return the value of a reply. A refusal is read as an empty text: its words are no answer."""
        if len(reply.text) > MOST or (self.whole and reply.stop == "length"):
            return None
        if self.whole and reply.stop == "unknown" and not reply.text.rstrip().endswith(ENDS):
            return None
        return self.read("" if reply.stop == "refusal" else reply.text)


def one_object(
    text: str, key: str, words: Sequence[str] = (), everyday: bool = False
) -> Mapping[str, Any] | None:
    """Return the JSON object that a reply consists of, its keys in lower case; None if there is any doubt.

    A judge that quotes an object of the judged text must never be read by that quotation. So every brace of the
    reply belongs to an object that parses, every object has `key`, and all of them, nested ones too, agree on it.
    Nor does anything around it or in its other fields contradict it (`doubt`).
    Parsing stops at the first failure, which also makes it linear.

    Args:
        text: The reply. A closed thought at its start is left out; any other thought makes it unreadable.
        key: The field that decides, in lower case.
        words: The values that it may have, in lower case. Empty: any value, and nothing contradicts it.
        everyday: The words are common ones, which prose may use in another sense.
    """
    answer = without_thought(text)
    decided: list[Any] = []
    others: list[tuple[str, Any]] = []
    # Where the template opened the thought, the reply holds its end alone. A judge may also quote such a mark after its
    # verdict, so an object before it leaves a doubt, and what stands there is read as any prose.
    before, closer, after = answer.partition("</think>")
    if closer and "{" not in before and not THOUGHT.search(before):
        answer = after
    else:
        before = ""

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = {name.strip().lower(): value for name, value in pairs}
        # A key that only looks like one of the form is no less ambiguous than a key given twice.
        if len(found) < len(pairs) or not all(map(str.isascii, found)):
            raise ValueError("keys that are not told apart")
        if key in found:
            if isinstance(found[key], str):
                found[key] = found[key].strip().lower()
            decided.append(found[key])
        # As written: capitals tell the words of a name apart.
        others.extend((name, value) for name, value in pairs if name.strip().lower() != key)
        return found

    decoder = json.JSONDecoder(object_pairs_hook=fields, parse_constant=_no_number)
    objects, around, at = [], [], 0
    try:
        while (start := answer.find("{", at)) >= 0:
            around.append(answer[at:start])
            value, at = decoder.raw_decode(answer, start)
            objects.append(value)
        around.append(answer[at:])
        rest = " ".join(around)
        if not objects or not all(key in each for each in objects) or "}" in rest or THOUGHT.search(rest):
            return None
    except (ValueError, RecursionError):
        return None
    word = decided[0]
    if any(value != word for value in decided):
        return None
    if words:
        if word not in words or doubt.in_fields(others, key, word, words, everyday):
            return None
        # A thought weighs all words, everyday ones too, so what may be one is held to the strict rule.
        if doubt.in_prose(around, key, word, words, everyday) or doubt.in_prose([before], key, word, words):
            return None
    found: Mapping[str, Any] = objects[-1]
    return found


def one_word(key: str, words: Sequence[str], everyday: bool = False) -> Form[str]:
    """Return the form of a JSON object whose field `key` holds one of `words`; its value is that word."""

    def read(text: str) -> str | None:
        found = one_object(text, key, words, everyday)
        return None if found is None else str(found[key])

    return Form(read)


def without_thought(text: str) -> str:
    """Return a reply without the closed thoughts at its start.

    Thoughts elsewhere stay: what is cut out between two quoted marks could be the answer itself.
    """
    at = 0
    while closed := _CLOSED.match(text, at):
        at = closed.end()
    return text[at:]


def encodable(text: str) -> str:
    """Return a text that can be sent and written: half of a surrogate pair becomes U+FFFD, two halves one letter."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def one_line(value: Any, limit: int = 300) -> str:
    """Return a text field of a reply as one bounded line; anything that is not text is empty."""
    return encodable(" ".join(value.split())[:limit]) if isinstance(value, str) else ""


def last_paragraph(text: str) -> str:
    """Return what the released code keeps of a proposal: the part after the last blank line."""
    return text.strip().split("\n\n")[-1].strip()


def _no_number(name: str) -> Any:
    raise ValueError(name)
