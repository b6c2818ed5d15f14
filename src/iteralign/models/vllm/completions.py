"""Asking: one completion request a conversation, many in flight.

Token ids go out and token ids come back. The server's own template, start token, end tokens, stop strings and sampling
defaults have no say: a prompt is, id by id, the one that training used (`iteralign.lm.chat`), and an answer is read as
the in-process backend reads it (`models.batching.Answers`).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from iteralign.errors import UserError
from iteralign.lm.chat import Chat
from iteralign.models.batching import BatchRow, answers_of, rows_of
from iteralign.models.vllm.http import OffProtocol, Web
from iteralign.protocols import OnReplies
from iteralign.types import Conversation, Reply, Sampling

MOST_IDS = 2**31  # no vocabulary is that large, and tokenizers take no larger number


@dataclass(frozen=True)
class Served:
    """Who is asked: `name` at `web`, `connections` at once; its context holds `limit` tokens."""

    web: Web
    name: str
    limit: int
    connections: int
    chat: Chat


def ask_all(
    served: Served, conversations: Sequence[Conversation], sampling: Sampling, on_replies: OnReplies
) -> list[Reply]:
    """Replies in the order of `conversations`; each is heard alone. Raises UserError, Refused, Gone."""
    rows = rows_of(conversations, served.chat, sampling, served.limit)
    answers = answers_of(served.chat, sampling)
    replies: dict[int, Reply] = {}
    pool = ThreadPoolExecutor(min(served.connections, len(rows)))
    try:
        work = {pool.submit(_ask, served, request(served, row, sampling)): row for row in rows}
        for done in as_completed(work):
            row = work[done]
            replies[row.index] = answers.reply(len(row.ids), done.result())
            on_replies([(row.index, replies[row.index])])
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        served.web.hang_up()
        raise
    finally:
        pool.shutdown()
    return [replies[i] for i in range(len(conversations))]


def request(served: Served, row: BatchRow, sampling: Sampling) -> dict[str, Any]:
    """The body for one row. Whatever a server could fill in by itself is said."""
    return {
        "model": served.name,
        "prompt": row.ids,
        "max_tokens": row.room,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "seed": row.seed,
        "stop": list(answers_of(served.chat, sampling).stops),
        "stop_token_ids": list(served.chat.end_ids()),
        "ignore_eos": True,  # the end tokens above are all there are
        "return_token_ids": True,
    }


def _ask(served: Served, body: dict[str, Any]) -> list[int]:
    """The new ids of one answer, its end token included."""
    answer = served.web.post("/v1/completions", body)
    try:
        ids = answer["choices"][0].get("token_ids")
    except (LookupError, TypeError, AttributeError):
        raise OffProtocol("its reply is not of the protocol: it holds no choice") from None
    if ids is None:
        raise UserError("vllm: the server returns no token ids; vLLM 0.32.0 does")
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < MOST_IDS for i in ids):
        raise OffProtocol("its reply is not of the protocol: its token ids are no list of numbers")
    if len(ids) > body["max_tokens"]:
        raise OffProtocol("its reply is not of the protocol: it holds more token ids than were asked for")
    return ids
