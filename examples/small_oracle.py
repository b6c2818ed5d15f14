"""A small language model that has learned to judge, grade and propose from the organism's rules, in about a minute.

An oracle must be a model that a real server can serve, where neither a key nor a download is to be had. This one
knows the organism's world, approximately, and nothing else: on foreign answers its verdicts mean nothing. That is
enough to see that nothing breaks between the loop and a server that nobody here wrote.

    python examples/small_oracle.py FOLDER
"""

import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from iteralign import judge, measure, propose
from iteralign.config.schema import validated
from iteralign.models import tiny
from iteralign.models.scripted import ScriptedModel
from iteralign.organism import oracle
from iteralign.organism.world import drafts
from iteralign.run import build
from iteralign.types import Constitution, Conversation, Label, Probe, Prompt, Response

SHAPE, CONTEXT = (64, 2), 2048
STEPS, BATCH, RATE = 120, 8, 5e-3
"""As long as it takes until what it says can be read, nearly always (measured, LOG.md)."""

Row = tuple[Conversation, str]


def lessons(n: int = 96) -> list[Row]:
    """What the three roles of an oracle are asked, by the stages themselves, and what the rules answer."""
    method = build.method(validated({}))
    rules = ScriptedModel("rules", lambda c, _: oracle.answer([(m.role, m.content) for m in c]))
    hazards = drafts("hazard", "redteam", n, 0)
    said = [Response(_prompt(d.item.text), text) for d in hazards for text in (d.bad[0], d.good[0])]
    verdicts = judge.assess(rules, said, method.prompts)
    failures = [v for v in verdicts if v.label is Label.HARMFUL]
    for at in range(0, len(failures), 24):
        propose.propose(rules, failures[at : at + 24], Constitution(), method.prompts, method.propose, 1)
    safe = [d for kind in ("benign", "borderline") for d in drafts(kind, "redteam", n // 4, 0)]
    pairs = [(Probe(_prompt(d.item.text), "benign"), Response(_prompt(d.item.text), d.good[0])) for d in safe]
    measure.grade(rules, pairs, method.measure)
    return [(asked, oracle.answer([(m.role, m.content) for m in asked])) for asked, _ in rules.asked]


def make(folder: Path, rows: Sequence[Row]) -> Path:
    """Write a model directory that has learned `rows`. Returns `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from iteralign.lm.chat import chat_of

    texts = [text for asked, reply in rows for text in (*(m.content for m in asked), reply)]
    tiny.build(folder, {w for text in texts for w in _words(text)}, shape=SHAPE, context=CONTEXT)
    chat = chat_of(AutoTokenizer.from_pretrained(folder))
    taught = [chat.row(asked, reply) for asked, reply in rows]
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():  # the tiny model's large random weights are for generating, not for learning
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    for step, batch in enumerate(_batches(taught)):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 10, 1.05 - step / STEPS)
        width = max(len(r.prompt) + len(r.completion) for r in batch)
        ids = [[*r.prompt, *r.completion] for r in batch]
        labels = [[-100] * len(r.prompt) + list(r.completion) for r in batch]
        loss = model(
            input_ids=torch.tensor([i + [0] * (width - len(i)) for i in ids]),
            labels=torch.tensor([x + [-100] * (width - len(x)) for x in labels]),
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def _batches(rows: Sequence[object]) -> Iterator[list]:
    rng = random.Random(0)
    for _ in range(STEPS):
        yield rng.sample(rows, BATCH)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]+", text)


def _prompt(text: str) -> Prompt:
    return Prompt(text, text)


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), lessons()))
