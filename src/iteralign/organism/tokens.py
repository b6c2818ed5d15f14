"""Tokens as the organism's provider bills them: words and punctuation marks."""

import re

TOKEN = re.compile(r"\w+|[^\w\s]")


def count(text: str) -> int:
    return len(TOKEN.findall(text))
