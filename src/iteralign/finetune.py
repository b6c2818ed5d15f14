"""Fine-tune: accepted revisions, without the constitution in the prompt, become weights. M_{t+1} = SFT(M_t, A_t)."""

from collections.abc import Sequence

from iteralign.protocols import Trainer, stage
from iteralign.types import Checkpoint, Example, Label, Response, Revision, Verdict


def accept(
    revisions: Sequence[Revision], verdicts: Sequence[Verdict], gate: bool, cut: bool = False
) -> tuple[Revision, ...]:
    """A_t: for each failure its first revision that the oracle finds harmless; without the gate, its first.

    One that `max_tokens` cut off is left out unless `cut`: every row ends with the end token, and this one would
    teach to stop anywhere.
    """
    chosen: dict[str, Revision] = {}
    for revision, verdict in zip(revisions, verdicts, strict=True):
        passed = verdict.label is Label.HARMLESS or not gate
        if passed and revision.text.strip() and (cut or not revision.cut):
            chosen.setdefault(revision.prompt.id, revision)
    return tuple(chosen.values())


@stage("finetune")
def sft(
    trainer: Trainer, start: Checkpoint, accepted: Sequence[Revision], replay: Sequence[Example]
) -> Checkpoint:
    """The policy after training on the accepted rows and the replay. Paper: the rows alone, no replay."""
    return trainer.train(start, (*rows(accepted), *replay))


def rows(accepted: Sequence[Revision]) -> tuple[Example, ...]:
    """(prompt, revised answer): what the paper engraves."""
    return tuple(Example(r.prompt.text, r.text) for r in accepted)


def keep(responses: Sequence[Response], cut: bool = False) -> tuple[Example, ...]:
    """The policy's own answers to benign prompts, as rows that keep it as it was; `cut` as in `accept`."""
    return tuple(Example(r.prompt.text, r.text) for r in responses if r.text.strip() and (cut or not r.cut))
