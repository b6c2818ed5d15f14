"""Benchmarks of choices: what those get who know nothing, or nothing but lengths; bad files are one line."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import stats
from iteralign.errors import UserError
from iteralign.evaluate.choices import HHH, TRUE_OR_FALSE, TRUTHFULQA, best, evaluate, length_note
from iteralign.evaluate.items import Choice, category_of, read_hhh, read_truthfulqa
from iteralign.evaluate.results import Figure, to_json
from iteralign.models.scripted import ScriptedScorer
from iteralign.types import Options

N = 2000


def mc1(n: int, seed: int = 0) -> tuple[Choice, ...]:
    """Questions like TruthfulQA's: 2 to 9 candidates of all lengths, the right one first."""
    rng = random.Random(seed)
    sizes = [rng.randint(2, 9) for _ in range(n)]
    texts = [
        [f"{i} {j} " + "word " * (rng.randrange(20) + 20 * (j == 0)) for j in range(size)]
        for i, size in enumerate(sizes)
    ]
    rows = [
        {"question": f"question {i}?", "mc1_targets": {"choices": t, "labels": [1] + [0] * (len(t) - 1)}}
        for i, t in enumerate(texts)
    ]
    return read_truthfulqa(rows, "made")


def pairs(n: int) -> tuple[Choice, ...]:
    """Items like HHH Eval's: the good answer first, and always the longer one."""
    rows = [
        {
            "input": f"request {i}",
            "targets": {"choices": [f"good {i} and long", f"bad {i}"], "labels": [1, 0]},
        }
        for i in range(n)
    ]
    return read_hhh(rows, "made", "honest")


def noise(question: Options) -> Sequence[float]:
    """A scorer that knows nothing and is sure of it: another value for every text."""
    rng = random.Random(str(question))
    return [rng.gauss(-1, 1) for _ in question.endings]


HABITS: dict[str, Callable[[Options], Sequence[float]]] = {
    "constant": lambda q: [-1.0 for _ in q.endings],
    "the first place": lambda q: [-float(i) for i in range(len(q.endings))],
    "the last place": lambda q: [float(i) for i in range(len(q.endings))],
    "long texts": lambda q: [float(len(q.conversation[-1].content) + len(e)) for e in q.endings],
    "short texts": lambda q: [-float(len(q.conversation[-1].content) + len(e)) for e in q.endings],
    "chance": noise,
}


def figure(figures: Sequence[Figure], name: str) -> Figure:
    return next(f for f in figures if f.name.startswith(name))


def is_chance(found: Figure) -> bool:
    """Within four standard errors of what guessing scores: a false alarm once in 16,000 tests."""
    assert found.chance is not None
    return abs(found.value - found.chance) < 4 * (found.chance * (1 - found.chance) / found.n) ** 0.5


@pytest.mark.parametrize("habit", HABITS.values(), ids=list(HABITS))
def test_who_knows_nothing_gets_chance_in_truthfulqa(habit: Callable[[Options], Sequence[float]]) -> None:
    choices = mc1(N)
    figures = TRUTHFULQA.figures(choices, evaluate(TRUTHFULQA, ScriptedScorer("s", habit), choices))
    corrected, released = figure(figures, "accuracy, corrected"), figure(figures, "accuracy, as released")
    assert is_chance(corrected)
    assert is_chance(released)
    assert released.value > 1.5 * corrected.value  # the fault is worth that much to one who knows nothing
    # What these items would reward, had they been asked so.
    assert figure(figures, "the longest").value > 0.5
    assert figure(figures, "the shortest").value < corrected.value / 2


@pytest.mark.parametrize("habit", HABITS.values(), ids=list(HABITS))
def test_who_knows_nothing_gets_chance_in_hhh(habit: Callable[[Options], Sequence[float]]) -> None:
    choices = pairs(N)
    figures = HHH.figures(choices, evaluate(HHH, ScriptedScorer("s", habit), choices))
    assert is_chance(figure(figures, "overall, corrected"))
    assert figure(figures, "the longest candidate").value == 1.0


LENGTHS = {"the longest candidate": 1.0, "the shortest candidate": -1.0}


@pytest.mark.parametrize("name", LENGTHS)
def test_one_who_knows_only_lengths_gets_the_baseline_and_not_chance(name: str) -> None:
    """A scorer of the answer's length scores exactly what the figure beside the accuracy says, ties and all."""
    lengths = {
        TRUE_OR_FALSE.format(question=c.question, answer=text): len(text)
        for c in mc1(N)
        for text in c.candidates
    }
    sign = LENGTHS[name]
    scorer = ScriptedScorer("s", lambda q: [sign * lengths[q.conversation[-1].content], 0.0])
    figures = TRUTHFULQA.figures(mc1(N), evaluate(TRUTHFULQA, scorer, mc1(N)))
    corrected = figure(figures, "accuracy, corrected")
    assert corrected.value == figure(figures, name).value
    assert not is_chance(corrected)
    assert f"{corrected.value:.3f} by the {name.split()[1]}" in length_note(figures)


def test_questions_with_the_same_right_answer_are_one_cluster() -> None:
    rows = [
        {"question": f"q {i}?", "mc1_targets": {"choices": [f"Fact {i % 4}", f"myth {i}"], "labels": [1, 0]}}
        for i in range(80)
    ]
    scorer = ScriptedScorer("s", lambda q: [float("Fact 0" in q.conversation[-1].content), 0.0])
    choices = read_truthfulqa(rows, "made")
    records = evaluate(TRUTHFULQA, scorer, choices)
    assert len({r.cluster for r in records}) == 4
    found = figure(TRUTHFULQA.figures(choices, records), "accuracy, corrected")
    alone = stats.rate(round(found.value * found.n), found.n)
    assert found.high - found.low > 2 * (alone.high - alone.low)
    named = read_truthfulqa([row | {"family": "one"} for row in rows], "made")
    assert {c.cluster for c in named} == {"one"}


def test_who_knows_gets_everything() -> None:
    def knows(question: Options) -> Sequence[float]:
        text = question.conversation[-1].content
        if question.endings == (" A", " B"):
            return [-0.1, -3.0] if text.index("good") < text.index("bad") else [-3.0, -0.1]
        return [-0.1, -3.0] if "Assistant: " + text.split()[2].rstrip("?") + " 0 " in text else [-3.0, -0.1]

    scorer = ScriptedScorer("s", knows)
    assert {r.outcome for r in evaluate(TRUTHFULQA, scorer, mc1(50))} == {"right"}
    assert {r.outcome for r in evaluate(HHH, scorer, pairs(50))} == {"right"}


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=2, max_size=8), st.randoms())
def test_the_place_of_a_candidate_decides_nothing(scores: list[float], rng: random.Random) -> None:
    texts = tuple(f"text {i}" for i in range(len(scores)))
    order = rng.sample(range(len(scores)), len(scores))
    here = Choice("id", "q", texts, 0)
    there = Choice("id", "q", tuple(texts[i] for i in order), 0)
    assert texts[best(here, scores)] == there.candidates[best(there, [scores[i] for i in order])]


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    from iteralign.evaluate.results import Result, read

    file = tmp_path / "here.json"

    choices = pairs(3)
    records = evaluate(HHH, ScriptedScorer("s", noise), choices)
    result = Result("hhh", {"model": "m"}, {"origin": "x"}, HHH.figures(choices, records), records)
    file.write_text(to_json(result), encoding="utf-8")
    assert read(file) == result
    for broken in ("[]", "{", "{}", '{"schema": 2}', to_json(result).replace('"n"', '"m"')):
        file.write_text(broken, encoding="utf-8")
        with pytest.raises(UserError, match="here.json: not a result of iteralign evaluate"):
            read(file)


GOOD: dict[str, Any] = {"question": "q?", "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]}}
PAIR: dict[str, Any] = {"input": "q?", "targets": {"choices": ["a", "b"], "labels": [1, 0]}}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"mc1_targets": GOOD["mc1_targets"]}, "row 2: no field 'question' or 'Question'; it has mc1_targets"),
    ({"question": "q?", "mc1": {}}, "row 2: no field 'mc1_targets' or 'Best Answer'; it has question, mc1"),
    (GOOD | {"question": "  "}, "row 2: field 'question' is blank"),
    (GOOD | {"question": 3}, "row 2: field 'question' is not a text but int"),
    (GOOD | {"mc1_targets": ["a"]}, "row 2: candidates are not an object but list"),
    (GOOD | {"mc1_targets": {"a": 0, "b": 0}}, "row 2: no right answer; it takes one"),
    (GOOD | {"mc1_targets": {"a": 1, "b": 1}}, "row 2: 2 right answers; it takes one"),
    (GOOD | {"mc1_targets": {"a": 1, "b": 2}}, "row 2: labels are 0 or 1"),
    (GOOD | {"mc1_targets": {"a": 1}}, "row 2: 1 candidates; a choice needs at least 2"),
    (GOOD | {"mc1_targets": {"a": 1, " ": 0}}, "row 2: candidate 2 is blank or not a text"),
    (
        GOOD | {"mc1_targets": {"choices": ["a", "b", "a"], "labels": [1, 0, 0]}},
        "row 2: candidate 3 stands there twice",
    ),
    (GOOD | {"mc1_targets": {"choices": ["a", "b"], "labels": [1]}}, "row 2: 2 candidates but 1 labels"),
    (GOOD, "row 2 repeats row 1: the same question twice"),
]


@pytest.mark.parametrize(("row", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_a_bad_item_is_one_line(row: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_truthfulqa([GOOD, row], "f.json")
    assert str(caught.value) == f"f.json: {said}"


def test_bad_items_of_hhh_are_one_line() -> None:
    three = {"choices": ["a", "b", "c"], "labels": [1, 0, 0]}
    for row, said in (
        ({"input": "q"}, "row 1: no field 'targets' or 'target_scores'; it has input"),
        (PAIR | {"targets": three}, "row 1: 3 candidates; an item of HHH Eval has 2"),
        (PAIR | {"targets": {"a": 0, "b": 0}}, "row 1: no right answer; it takes one"),
    ):
        with pytest.raises(UserError) as caught:
            read_hhh([row], "f.json", "honest")
        assert str(caught.value) == f"f.json: {said}"
    with pytest.raises(UserError, match="f.json: no item in it"):
        read_hhh([], "f.json", "honest")
    assert category_of({}, "hhh/Honest/task.json") == "honest"
    assert category_of({"category": "other"}, "hhh/honest.jsonl") == "other"
    with pytest.raises(UserError, match="of which category"):
        category_of({}, "items.jsonl")


def test_the_published_formats_of_truthfulqa_agree(public: Path) -> None:
    folder = public / "truthfulqa"
    hub = read_truthfulqa(lines(folder / "hf_multiple_choice" / "validation.jsonl"), "hub")
    authors = read_truthfulqa(json.loads((folder / "data" / "mc_task.json").read_text("utf-8")), "authors")
    assert len(hub) == 375
    assert hub == authors


def test_one_who_guesses_scores_as_published_on_truthfulqa(public: Path) -> None:
    """0.41 as released and 0.22 corrected is what chance gives on the whole set."""
    choices = read_truthfulqa(lines(public / "truthfulqa" / "hf_multiple_choice" / "validation.jsonl"), "hub")
    figures = TRUTHFULQA.figures(choices, evaluate(TRUTHFULQA, ScriptedScorer("s", noise), choices))
    released, corrected = figure(figures, "accuracy, as released"), figure(figures, "accuracy, corrected")
    assert released.low < 0.41 < released.high
    assert corrected.low < 0.22 < corrected.high
    longest, shortest = figures[-2:]
    assert longest.low > 0.25 > 0.21 > shortest.value  # the data's own bias, far from chance on either side
    assert released.chance == pytest.approx(0.40, abs=0.005)
    assert corrected.chance == pytest.approx(0.22, abs=0.005)


def test_the_published_formats_of_hhh_agree(public: Path) -> None:
    folder, found = public / "hhh_alignment", {}
    for category in ("honest", "helpful"):
        hub = read_hhh(lines(folder / "hf" / f"{category}.jsonl"), "hub", category)
        task = folder / "bigbench" / "benchmark_tasks" / "hhh_alignment" / category / "task.json"
        rows = json.loads(task.read_text("utf-8"))["examples"]
        assert hub == read_hhh(rows, "bigbench", category_of(rows[0], str(task)))
        found[category] = hub
    assert {name: len(items) for name, items in found.items()} == {"honest": 61, "helpful": 59}
    longest, shortest = HHH.figures(found["honest"], ())[-2:]
    assert (round(longest.value, 2), round(shortest.value, 2)) == (0.64, 0.36)  # the data's own bias


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
