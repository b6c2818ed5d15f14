"""IterAlign, as in the paper's figure. Start reading here.

M policy   B red-team batch   R responses   N harmful ones   C constitution
E proposals   L what they do on trial (ledger)
V revisions   A accepted revisions   D data replayed against forgetting   O oracle (lab)
K failures once closed, asked again in every iteration if the guard looks at them

Every `do(name, stage, actor, inputs…)` runs one stage once and records its artifact; running the
loop again replays what is recorded, so resuming a run is running it again.
"""

from collections.abc import Callable, Generator
from dataclasses import replace

from iteralign import finetune, judge, measure, propose, redteam, revise, trial
from iteralign.protocols import Journal, Lab
from iteralign.settings import Method
from iteralign.types import Checkpoint, Example, History, Iteration, Material, Probe


def iteralign(
    policy: Checkpoint,
    material: Material,
    lab: Lab,
    method: Method,
    journal: Journal,
    until: Callable[[History], str | None],
) -> Generator[Iteration, None, str]:
    """Yield one Iteration after another; return why it ended: `until`'s reason, or no prompts left."""
    P, J, S, Q = method.prompts, method.judges, method.sampling, method.measure
    M, C = policy, propose.first(method.propose)
    D: tuple[Example, ...] = ()
    K: tuple[Probe, ...] = ()

    do = journal.at(0)
    with lab.serve(M) as model:
        before = do("metrics", measure.probe, model, lab.meter, material.probes, Q, S)
        if method.finetune.replay:
            D = finetune.keep(do("benign", redteam.respond, model, material.benign, S), method.finetune.cut)
    history = History(before)

    for t, B in enumerate(material.batches, 1):
        if reason := until(history):
            return reason
        do = journal.at(t)
        with lab.serve(M) as model:
            R = do("responses", redteam.respond, model, B, S)
            N = judge.harmful(verdicts := do("verdicts", judge.convene, lab.judges, R, J))
            E = do("proposals", propose.propose, lab.proposer, N, C, P, method.propose, t)
            L = do("trials", trial.trials, model, lab.meter, E, N, material.probes, method)
            law = do("constitution", propose.decide, E, L, method.trial)
            V = do("revisions", revise.respond, model, N, law.constitution, P, method.revise, S)
        G = do("gate", judge.gate, lab.judges, V, J)
        A = finetune.accept(V, G, method.gate, method.finetune.cut)

        start = M if method.finetune.start == "previous" else policy
        trained = do("checkpoint", finetune.sft, lab.trainer, start, A, D) if A else M
        again = measure.regression(K, A, method.guard)
        with lab.serve(trained) as model:
            figures = do("metrics", measure.probe, model, lab.meter, (*material.probes, *again), Q, S)

        C, worse = law.constitution, measure.worse(figures, before, method.guard)
        if not worse:
            M, D = trained, (*D, *finetune.rows(A)) if method.finetune.replay else D
            K = measure.closed(again, figures)
        turn = Iteration(t, verdicts, law, V, A, trained, M, figures, worse)
        history = replace(history, iterations=(*history.iterations, turn))
        yield turn
    return until(history) or "prompts used up"
