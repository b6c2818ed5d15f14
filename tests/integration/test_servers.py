"""An oracle behind real HTTP, on servers that nobody here wrote: vLLM, and transformers' own.

The model that they serve judges approximately (examples/small_oracle.py), so some of its replies cannot be read: what
counts is that each is read, asked for again, or counted.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iteralign import judge, measure, propose
from iteralign.config.schema import validated
from iteralign.errors import UserError
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.models.vllm import server as servers
from iteralign.models.vllm.server import Server
from iteralign.organism.world import drafts
from iteralign.run import build
from iteralign.types import Constitution, Label, Message, Probe, Prompt, Response, Sampling

pytestmark = pytest.mark.integration

# Bounded in every field: a small model asked for an integer writes digits until it is cut off.
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"enum": ["harmful", "harmless"], "type": "string"},
        "grave": {"type": "boolean"},
    },
    "required": ["label", "grave"],
    "additionalProperties": False,
}
JUDGED = [
    Response(Prompt(f"{d.item.text} {kind}", d.item.text), text)
    for d in drafts("hazard", "test", 12, 0)
    for kind, text in (("bad", d.bad[0]), ("good", d.good[0]), ("foreign", 'Zebras! {} "label": \u2603'))
]


@pytest.fixture(scope="module")
def vllm(
    serving: Any, small_oracle: Path, vllm_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    arguments = [
        "--model",
        str(small_oracle),
        "--served-model-name",
        "oracle",
        "--dtype",
        "float32",
        "--enforce-eager",
    ]
    # without it a small model may write blanks for ever, as JSON allows
    compact = [
        "--structured-outputs-config",
        json.dumps({"backend": "xgrammar", "disable_any_whitespace": True}),
    ]
    command = servers.command(vllm_python, [*arguments, *compact])
    with serving(command, tmp_path_factory.mktemp("log") / "vllm.log") as server:
        yield server


@pytest.fixture(scope="module")
def transformers(
    serving: Any, small_oracle: Path, vllm_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    module = ["-m", "transformers.cli.transformers", "serve", str(small_oracle)]
    command = [vllm_python, *module, "--host", servers.HOST, "--device", "cpu"]
    with serving(command, tmp_path_factory.mktemp("log") / "transformers.log") as server:
        yield server


@pytest.fixture(params=["vllm", "transformers"])
def oracle(
    request: pytest.FixtureRequest, small_oracle: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """`oracle(config)`: a model behind the server, reached as a user reaches it: by the environment."""
    server: Server = request.getfixturevalue(request.param)
    monkeypatch.setenv("LOCAL_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("LOCAL_API_KEY", server.key)
    spec = f"openai-api/local/{'oracle' if request.param == 'vllm' else small_oracle}"
    opened: list[RemoteModel] = []

    def open_(**config: Any) -> RemoteModel:
        opened.append(RemoteModel(spec, RemoteSettings(max_connections=8, max_retries=2, config=config)))
        return opened[-1]

    open_.kind = request.param  # type: ignore[attr-defined]
    yield open_
    for model in opened:
        model.close()


class Counting:
    """The model, and how often it was asked."""

    def __init__(self, model: RemoteModel) -> None:
        self.model, self.id, self.asked = model, model.id, 0

    def generate(self, conversations: Any, *rest: Any) -> Any:
        self.asked += len(conversations)
        return self.model.generate(conversations, *rest)


def test_every_role_of_the_oracle_and_every_reply_is_accounted_for(oracle: Any) -> None:
    method = build.method(validated({"oracle": {"repair": 1}}))
    model = Counting(oracle())
    verdicts = judge.assess(model, JUDGED, method.prompts)
    assert [v.response for v in verdicts] == JUDGED
    unread = sum(v.label is Label.UNPARSED for v in verdicts)
    assert len(JUDGED) <= model.asked <= 2 * len(JUDGED), "asked again once at most"
    assert unread <= model.asked - len(JUDGED), "only what was asked for again in vain is unread"
    assert {Label.HARMFUL, Label.HARMLESS} <= {v.label for v in verdicts}
    failures = [v for v in verdicts if v.label is Label.HARMFUL]
    law = propose.propose(model, failures, Constitution(), method.prompts, method.propose, 1)
    assert all(p.principle.text.strip() for p in law.proposals)
    safe = [Prompt(d.item.text, d.item.text) for d in drafts("benign", "test", 8, 0)]
    graded = measure.grade(
        model, [(Probe(p, "benign"), Response(p, "Use a pot.")) for p in safe], method.measure
    )
    assert len(graded) == len(safe)


def test_a_schema_is_kept_where_the_server_keeps_it_and_does_no_harm_where_not(oracle: Any) -> None:
    from inspect_ai.model import ResponseSchema
    from inspect_ai.util import JSONSchema

    schema = ResponseSchema(name="verdict", json_schema=JSONSchema.model_validate(SCHEMA))
    conversations = [(Message("user", r.text),) for r in JUDGED[:8]]
    free = oracle().generate(conversations, Sampling(max_tokens=60))
    bound = oracle(response_schema=schema).generate(conversations, Sampling(max_tokens=60))
    if oracle.kind == "vllm":
        read = [json.loads(r.text) for r in bound]
        assert all(set(v) == {"label", "grave"} and v["label"] in ("harmful", "harmless") for v in read)
    else:
        assert [r.text for r in bound] == [r.text for r in free]
    assert all(r.usage.input_tokens > 0 and r.raw for r in bound)


def test_a_request_that_the_server_refuses_is_one_line(oracle: Any) -> None:
    too_long = [(Message("user", "the " * 5000),)]
    said: list[str] = []
    try:
        said += [r.stop for r in oracle().generate(too_long, Sampling(max_tokens=20))]
    except UserError as error:
        said += str(error).splitlines()
    assert len(said) == 1, "one reply without text, or one line"
    if oracle.kind == "vllm":  # `transformers serve` refuses nothing: it answers whatever the length
        assert said[0] == "length" or said[0].startswith("openai-api/local/")
