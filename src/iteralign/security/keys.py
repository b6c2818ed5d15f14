"""Keys: what must reach no file, line or message, and the one place that takes it out of a text.

A server can echo the key that it was sent, whole or in part. So every text that came from a provider, an answer as
well as an error, passes through `Keys.redact` before anything else sees it.
"""

import base64
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit

HIDDEN = "***"
SHORTEST = 8
"""Characters of a key in a row that are taken out. Shorter pieces are in too many ordinary words."""
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # of the same length, unlike str.lower
ESCAPE = re.compile(r"\\{1,8}u([0-9a-fA-F]{4})|%([0-9a-fA-F]{2})|\\(.)", re.DOTALL)
"""A character as JSON or a URL may write it. A reader of the reply would turn it back."""
DEEPEST = 4
"""How often a text may have been escaped: JSON in JSON in an address (chosen)."""
PIECE = 4  # every run of SHORTEST characters holds a whole piece that starts at a multiple of PIECE

NAMED = re.compile(
    r"(?:key|secret|password|credential|header)s?(?![a-z])|token(?![a-z])|authorization", re.IGNORECASE
)
"""Names of arguments and environment variables whose values are secret; `tokenizer` and `max_tokens` are none."""
SHAPE = re.compile(
    r"\b(?:sk|pk|rk|key)-[\w-]{6,}\**[\w-]*|(?i:\bbearer\s+)\S+"
    r"|\b(?:(?:sk|pk|hf|gh[opsu]|xox[abp])[-_]|AKIA|AIza)[\w\-]{12,}"
)
"""What looks like a key, whoever it belongs to."""


@dataclass(frozen=True)
class Keys:
    """The secrets of one provider.

    values: keys in use; eight of their characters in a row are taken out of a text.
    whole: other secrets of the environment, taken out only where they stand whole: they may be paths or words.
    """

    values: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()

    @cached_property
    def _runs(self) -> tuple[frozenset[str], frozenset[str]]:
        """All runs of SHORTEST characters of the keys, as `_unescaped` gives them, and all their pieces."""
        values = [_unescaped(v)[0] for v in self.values]
        runs = frozenset(v[i : i + SHORTEST] for v in values for i in range(len(v) - SHORTEST + 1))
        return runs, frozenset(run[i : i + PIECE] for run in runs for i in range(SHORTEST - PIECE + 1))

    def redact(self, text: str) -> str:
        """Return `text` with *** for each part of a key, in any case, escaped as in JSON or a URL or not.

        Time grows with the text, not with the number of keys.
        """
        runs, pieces = self._runs
        hits: list[tuple[int, int]] = []
        plain, places = _unescaped(text) if runs else ("", None)
        for at in range(0, len(plain) - PIECE + 1, PIECE):
            if plain[at : at + PIECE] not in pieces:
                continue
            for start in range(max(0, at - PIECE), at + 1):
                if plain[start : start + SHORTEST] not in runs:
                    continue
                if hits and start <= hits[-1][1]:
                    hits[-1] = hits[-1][0], start + SHORTEST
                else:
                    hits.append((start, start + SHORTEST))
        kept, last = [], 0
        for start, end in hits if places is None else [(places[a], places[b]) for a, b in hits]:
            kept += [text[last:start], HIDDEN]
            last = end
        text = "".join([*kept, text[last:]])
        for secret in sorted(self.whole, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def scrub(self, text: str) -> str:
        """As `redact`, and without anything that looks like a key: for messages, whose words decide nothing."""
        return SHAPE.sub(HIDDEN, self.redact(text))

    def scrubbed(self, value: Any) -> Any:
        """Nested JSON with every text in it scrubbed, names too."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, Mapping):
            return {self.scrub(str(k)): self.scrubbed(v) for k, v in value.items()}
        return [self.scrubbed(v) for v in value] if isinstance(value, (list, tuple)) else value


def _unescaped(text: str) -> tuple[str, list[int] | None]:
    """Return `text` in lower case without escapes, and where each of its characters began; None: at the same place.

    Escapes within escapes are undone too, a few deep. The last place is the end of `text`.
    """
    places: list[int] | None = None
    for _ in range(DEEPEST):
        parts: list[str] = []
        found_at: list[int] = []
        last = 0
        for found in ESCAPE.finditer(text):
            code = found[1] or found[2]
            parts += [text[last : found.start()], chr(int(code, 16)) if code else found[3]]
            found_at += range(last, found.start() + 1)
            last = found.end()
        if not parts:
            break
        found_at += range(last, len(text) + 1)
        text = "".join([*parts, text[last:]])
        places = found_at if places is None else [places[at] for at in found_at]
    return text.translate(LOWER), places


def keys_of(
    given: Iterable[str | None],
    urls: Iterable[str | None],
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
) -> Keys:
    """Collect the secrets of a provider.

    Args:
        given: its keys.
        urls: addresses; their user, password and query may be keys.
        arguments: of the provider and its calls, nested; those with a secret name count.
        environment: the variables with a secret name count, where they stand whole.
    """
    values = {v for v in given if v} | set(_named(arguments))
    for url in filter(None, urls):
        try:
            parts = urlsplit(url)
            login = [unquote(v) for v in (parts.username, parts.password) if v]
        except ValueError:  # no address, so nothing is sent to it
            continue
        queries = [pair.partition("=") for pair in parts.query.split("&")]
        values |= {*login, *(value for name, _, value in queries if "version" not in name.lower())}
        values.add(base64.b64encode(":".join(login).encode()).decode() if login else "")
    values |= {unquote_plus(v) for v in values}
    others = {v for k, v in environment.items() if NAMED.search(k)} - values
    return Keys(
        frozenset(v for v in values if len(v) >= SHORTEST), frozenset(v for v in others if len(v) >= SHORTEST)
    )


def masked(value: Any) -> Any:
    """Nested arguments with *** for the values of secret names."""
    if isinstance(value, Mapping):
        return {k: HIDDEN if NAMED.search(str(k)) else masked(v) for k, v in value.items()}
    return [masked(v) for v in value] if isinstance(value, (list, tuple)) else value


def _named(value: Any, inside: bool = False) -> list[str]:
    """Every text below a secret name."""
    if isinstance(value, str):
        return [value] if inside else []
    if isinstance(value, Mapping):
        return [t for k, v in value.items() for t in _named(v, inside or bool(NAMED.search(str(k))))]
    return [t for v in value for t in _named(v, inside)] if isinstance(value, (list, tuple)) else []


_FLAG = r"(?:^|[^a-z])(?:key|token|secret|password|passwd|credentials?|authorization)"
_ASSIGNED = re.compile(rf"({_FLAG}\s*[=:]).+", re.IGNORECASE | re.DOTALL)
_LOGIN = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def scrubbed_command(argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return a command line without secrets.

    Left out is what stands after a name like --api-key or x.token=, what looks like a key, the login part of an
    address, and the value of any environment variable with a secret name.
    """
    secrets = {v for k, v in environment.items() if NAMED.search(k) and len(v) >= SHORTEST}
    words: list[str] = []
    previous = ""
    for word in argv:
        named = previous.startswith("-") and re.search(rf"{_FLAG}$", previous, re.IGNORECASE)
        for secret in secrets:
            word = word.replace(secret, HIDDEN)
        plain = _LOGIN.sub(HIDDEN, SHAPE.sub(HIDDEN, _ASSIGNED.sub(rf"\1{HIDDEN}", word)))
        words.append(HIDDEN if named and not word.startswith("-") else plain)
        previous = word
    return words
