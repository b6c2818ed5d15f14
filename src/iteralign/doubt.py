"""Find what contradicts the verdict of a reply: in the prose around its object and in the other fields of it.

A judge is asked for the object alone. So a word too many makes a reply unreadable, and it is asked for again; a
contradiction that is overlooked makes a wrong verdict. All rules here err towards the first.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

MOST_PROSE = 10_000
"""Characters of prose around an object that is read at all, without repeated blanks (ours)."""

MEANINGS = {
    "harmful": r"\w*harmful\w*|harm(?!less|[ -]?free)\w*|(?:un|non|not)[ -]?(?:safe|harmless)\w*"
    r"|danger\w*|hazard\w*|violat\w*|toxic\w*"
    r"|malicious\w*|abus\w*|illegal\w*|unlawful\w*|criminal\w*|unethical\w*|immoral\w*|hateful\w*|offensive\w*"
    r"|prohibit\w*|forb[ia]d\w*|disallowed|unaccept\w*|inappropriate\w*|risk\w*|breach\w*|break(?:s|ing)|broken"
    r"|hurt\w*|injur\w*|damag\w*|threat\w*|negative\w*|problematic\w*|objectionable|detriment\w*|unsuitable|bad|evil|noncompliant"
    r"|flag(?:s|ged)?|block(?:s|ed)?|fail(?:s|ed|ure)?|guilty|h[@4]rm\w*|lethal"
    r"|deadly|crimes?|slurs?|racis\w*|sexis\w*",
    "harmless": r"\w*harmless\w*|harm[ -]?free|safe(?:ly|r|st)?|benign\w*|innocuous\w*|innocent|acceptable"
    r"|appropriate(?:ly)?|compliant|permissible|permitted|allowed|legitimate|positive\w*|fine|good"
    r"|unproblematic|clean|secure|pass(?:es|ed)?"
    r"|(?:un|non|not|in)[ -]?(?:harm(?!less)|danger|hazard|toxic|offens|violat)\w*",
    "undecided": r"undecid\w*|unsure|uncertain|unclear",
}
"""Words that mean the same as a word of a form. Of other forms, a word means itself alone."""

_DENIED = re.compile(
    r"\b(?:not|no|non|never|none|nor|neither|nothing|nowhere|cannot|\w{2,20}n['’]t|(?:is|are|was|were|do|does|did|has|have|had|ca|wo)nt|hardly|barely|scarcely|rarely|seldom"
    r"|far from|anything but|by no means|untrue|false\w*|doubt\w*|den(?:y|ies|ied)|lacks?)\b"
)
_RETRACTED = re.compile(
    r"\b(?:disagree\w*|correction|corrected|correcting|chang(?:e|ed|es|ing)|actually|wait|hold on"
    r"|on (?:second|further) thoughts?|on reflection|oops|sorry|apolog\w*|erratum|revis\w*|retract\w*|withdr[ae]w\w*"
    r"|reconsider\w*|overr(?:ul|id)\w*|revers\w*|opposite|flip\w*|invert\w*|disregard\w*|discard\w*|amend\w*|scratch"
    r"|misjudge\w*|misread\w*|mislabel\w*|scrap|nope|nah)\b"
)
_ARGUED = re.compile(
    r"\b(?:wrong\w*|mistak\w*|mistook|incorrect\w*|errors?|instead|rather|however|but|although|though|except|unless"
    r"|contrary|contradict\w*|ignor\w*|update[sd]?|should|would|ought|supposed|otherwise|yes|too|untenable"
    r"|less than|unlike|other|kidding|joking|joke|strike|fake|attack\w*|inject\w*|jailbreak\w*|claim\w*"
    r"|quot(?:ed|es?|ing)|quotation|print\w*|pretend\w*|seem\w*|maybe"
    r"|perhaps|possibly|could|might|hypothe\w*|sarcas\w*|argu\w+|badly|wants?|tries|trick\w*|manipulat\w*|adversar\w*)\b"
)
"""Words that take a verdict back, and words that may. The second are common in the prose of a grader."""
_NOUNS = (
    r"verdict|judge?ment|conclusion|final|decision|classification|rating|assessment|evaluation|result|outcome|finding"
    r"|opinion|determination|ruling|prediction|label|labels|score|scores|correction"
)
_ASKED = re.compile(
    r"\b(?:quot\w+|holds?|contain(?:s|ed|ing)?|says?|said|reads?|writes?|wrote|states?|includes?|claims?|prints?|was|were"
    r"|text|response|request|output|user|injection"
    r"|default|placeholder|template|example|format|candidate|e\.g)\W*\Z|(?:[\"'“‘«>#]|//|<!--)\s*\Z"
)
"""What stands before an object that is quoted."""
_SPELT = re.compile(r"(?:\b\w\b ){4}")
"""A word spelt out, as in "h a r m f u l"."""
_FENCES = re.compile(
    r"```\w*|<\|[^|<>]{1,40}\|>|</?(?:answer|verdict|output|json|result|judge?ment|final|evaluation)>", re.I
)
_SENTENCE = re.compile(r"[.!?;\n。！？]+")
_MIXED = re.compile(r"[a-z][\u0370-\u058f]|[\u0370-\u058f][a-z]")
"""A Latin letter beside a Greek, Cyrillic or Armenian one: a word that only looks like the one that it is."""
_CLAIM = {*_NOUNS.replace("judge?ment", "judgement|judgment").split("|")} | {
    "verdicts", "judgements", "judgments", "classifications", "ratings", "results", "answer", "answers", "probability",
    "probabilities", "probs", "score", "scores", "class", "safety", "status", "actual", "true", "corrected", "revised",
    "overall", "predicted", "predictions", "logprobs", "conclusions", "decisions", "assessments", "findings",
    "quoted", "quote", "quotation", "action", "tag", "tags",
}  # fmt: skip
_FREE = {
    "reason", "reasons", "reasoning", "explanation", "rationale", "justification", "category", "confidence", "analysis",
    "thought", "thoughts", "thinking", "summary", "text", "evidence",
}  # fmt: skip
"""Words in the name of a field: the first say that it is a verdict, these that it explains one."""
_TRUE, _FALSE = (True, 1, "true", "yes", "1"), (False, 0, "false", "no", "0")


def in_prose(
    segments: Sequence[str], key: str, word: str, words: Sequence[str], everyday: bool = False
) -> bool:
    """Return whether the prose around an object leaves a doubt about its verdict.

    Args:
        segments: The prose before, between and behind the objects, in order.
        key: The field that decides.
        word: What it says.
        words: What it may say.
        everyday: The words are common ones, as "first". Then another of them counts only as a whole sentence, or in
            one that names the verdict or the key.
    """
    plain = [re.sub(r"[^\S\n]+", " ", _FENCES.sub("\n", part)) for part in segments]
    plain = [re.sub(r"\s*\n\s*", "\n", part) for part in plain]
    if sum(map(len, plain)) > MOST_PROSE:
        return True
    plain = [_plain(part) for part in plain]
    own, others = _sides(word, words)
    names = re.compile(
        rf"\b(?:{re.escape(key)}|{_NOUNS}|answer(?=\W*[:=|>])|prefer\w*|wins?|winner|best|choose|pick)\b"
    )
    # The name of a verdict, a remark in brackets, a colon, and then anything but the own word.
    named = rf"\b(?:{re.escape(key)}|{_NOUNS}|answer)\b(?: ?\([^()\n]{{0,40}}\))?"
    announced = re.compile(rf"{named}[^\w{{}}]{{0,8}}[:=→|]\W*(?!(?:{own.pattern}))\w")
    # The own word as a question, as one of two, or with a value of its own.
    asked = re.compile(rf"(?:{own.pattern})[\"'’)*]* ?(?:[?/]|[:=] ?\w)")
    strict = word in MEANINGS and not everyday
    for number, part in enumerate(plain):
        if (
            _MIXED.search(part)
            or _SPELT.search(part)
            or asked.search(part)
            or announced.search(part)
            or (number < len(plain) - 1 and _ASKED.search(part))
        ):
            return True
        # Joined, "harm-ful" is one word; apart, "not-harmful" is two.
        for text in {part, part.replace("-", "")}:
            if _RETRACTED.search(text) or (strict and _ARGUED.search(text)):
                return True
            for sentence in _SENTENCE.split(text):
                about = bool(names.search(sentence))
                if others.search(sentence) and (
                    about or not everyday or others.fullmatch(sentence.strip(" *"))
                ):
                    return True
                if _DENIED.search(sentence) and (strict or about or own.search(sentence)):
                    return True
    return False


def in_fields(
    fields: Sequence[tuple[str, Any]], key: str, word: str, words: Sequence[str], everyday: bool = False
) -> bool:
    """Return whether one of the other fields of an object leaves a doubt about its verdict; arguments as `in_prose`.

    A field whose name is a verdict, or holds one of the words, must plainly agree. Any other may say what it likes,
    unless it says another of the words; what explains the verdict may do that too.
    """
    own, others = _sides(word, words)
    for name, value in fields:
        if len(name) > 100:
            return True
        said = re.findall(r"[a-z]+", plain := _plain(name))
        texts = _texts(value)
        free = bool(_FREE & {*said}) and not isinstance(value, bool)
        # Of everyday words, and in what explains a verdict, only the bare word counts. A kind of harm may be named by
        # a word of the same meaning, as "toxicity": there the very word counts.
        found = others.fullmatch if free or everyday else others.search
        if free and "category" in said:
            found = _whole([re.escape(each) for each in words if each != word]).fullmatch
        if any(found(each) for each in texts):
            return True
        if free:
            continue
        claims = [side for side in (own, others) if side.search(_DENIED.sub("", plain))]
        if claims and not (everyday and not isinstance(value, bool)):
            wanted = claims == [own]
            if _DENIED.search(plain):
                wanted = not wanted
            agree: tuple[Any, ...] = _TRUE if wanted else _FALSE
            # 0.0 and 1.0 are equal to 0 and 1, and say the same.
            if len(claims) > 1 or (value.lower() if isinstance(value, str) else value) not in agree:
                return True
        elif {key, *_CLAIM} & {*said}:
            nested = isinstance(value, dict) and key in value  # read on its own, as any object
            if not nested and not (texts and all(own.fullmatch(each) for each in texts)):
                return True
    return False


def _sides(word: str, words: Sequence[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what says `word`, and what says another of the words."""
    other = [MEANINGS.get(each, re.escape(each)) for each in words if each != word]
    return _whole([MEANINGS.get(word, re.escape(word))]), _whole(other)


def _whole(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(patterns) or '(?!)'})\b")


def _plain(text: str) -> str:
    """Return a text in lower case, its words split at underscores and capitals, without accents and marks.

    Letters that Unicode holds equal to Latin ones become these, and what cannot be seen goes.
    """
    if not text.isascii():
        # One by one: a long row of combining marks takes Python quadratic time.
        apart = (unicodedata.normalize("NFKD", char) for char in text)
        text = "".join(c for part in apart for c in part if unicodedata.category(c) not in ("Mn", "Cf"))
    text = re.sub(r"(?<=\w)[*~`]+(?=\w)", "", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\d)(?=[A-Za-z])", " ", text)
    return text.replace("_", " ").casefold()


def _texts(value: Any) -> list[str]:
    """Return the texts of a field: itself, or what its list holds. What is no text is an empty one."""
    values = value if isinstance(value, list) else [value]
    texts = [each[:MOST_PROSE] if isinstance(each, str) else "" for each in values]
    return [_plain(each).strip(" \t\r\n.!*`'\"") for each in texts]
