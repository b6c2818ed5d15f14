"""Every file and folder of the public data at hand loads as published, or one line says why not."""

import json
import os
from pathlib import Path

import pytest

from iteralign.data.formats import READERS, format_of
from iteralign.data.readers import EMPTY
from iteralign.data.sources import NOTE, Wanted, load
from iteralign.errors import UserError
from iteralign.evaluate import items

COPIES = Path(os.environ.get("ITERALIGN_DATA") or Path(__file__).parents[3] / "shared" / "data")
pytestmark = pytest.mark.skipif(
    not COPIES.is_dir(), reason="no copies of the published sets; set ITERALIGN_DATA"
)

FILES: dict[str, tuple[int, str | None, str]] = {
    # prompts, the column they are read from, the column of topics
    "advbench/harmful_behaviors.csv": (520, "goal", ""),
    "advbench/harmful_strings.csv": (574, "target", ""),
    "alpaca/alpaca_en_demo.json": (474, "instruction", ""),
    "alpaca/alpaca_tiny.json": (100, "instruction", ""),
    "alpaca/seed_tasks.jsonl": (175, "instruction", ""),
    "anthropic_evals/advanced-ai-risk/human_generated_evals/corrigible-more-HHH.jsonl": (309, "question", ""),
    "bbq/Religion.jsonl": (1200, "question", "category"),
    "catqa/catqa_english.json": (550, "prompt", "topic"),
    "dangerousqa/toxic_outs.json": (200, None, ""),
    "gsm8k/test.jsonl": (1319, "question", ""),
    "harmfulqa/harmfulqa.json": (1960, "prompt", "topic"),
    "hh-rlhf/red-team-attempts.GOLDEN_ROW/red_team_attempts.row0.jsonl": (1, "transcript", ""),
    "hh-rlhf/red-team-attempts.SURROGATE/red_team_attempts.jsonl.gz": (146, "transcript", ""),
    "iteralign_processed/prompt_que_dangerousqa.pkl": (200, None, ""),
    "iteralign_processed/prompt_que_dangerousqa_standard.pkl": (200, None, ""),
    "iteralign_processed/prompt_que_harmfulqa.pkl": (1960, None, ""),
    "iteralign_processed/prompt_que_harmfulqa_standard.pkl": (1960, None, ""),
    "malicious_instruct/malicious_instruct.txt": (100, None, ""),
    "openai_rbr_gold/train.jsonl": (351, "prompt", "category"),
    "refusal_direction/harmful_train.json": (260, "instruction", "category"),
    "refusal_direction/harmless_val.json": (6264, "instruction", "category"),
    "safety_tuned_llamas/I-Alpaca.json": (50, None, ""),
    "safety_tuned_llamas/I-MaliciousInstructions.json": (100, "instructions", ""),
    "safety_tuned_llamas/safety_only_data_Instructions.json": (2483, "instruction", ""),
    "truthfulqa/TruthfulQA.csv": (375, "Question", "Category"),
    "truthfulqa/TruthfulQA_demo.csv": (3, "Question", "Category"),
    "truthfulqa/data/mc_task.json": (375, "question", ""),
    "truthfulqa/hf_multiple_choice/validation.jsonl": (375, "question", ""),
    "xstest/model_completions/xstest_v2_completions_llama2new.csv": (200, "prompt", ""),
    "xstest/model_completions/xstest_v2_completions_mistralinstruct.csv": (200, "prompt", ""),
    "xstest/xstest_prompts.csv": (200, "prompt", ""),
}
"""Of TruthfulQA and XSTest excerpts are at hand: 375 of 817, 200 of 450."""

WHICH = "which column holds the prompts? set field to one of: "
REFUSED = {
    **{f"bbh/{name}.json": WHICH + "input, target" for name in (
        "causal_judgement", "disambiguation_qa", "hyperbaton", "movie_recommendation", "snarks",
        "sports_understanding",
    )},
    "hh-rlhf/harmless-base/test.jsonl.gz": WHICH + "chosen, rejected",
    **{
        f"hhh_alignment/bigbench/benchmark_tasks/hhh_alignment/{name}/task.json": WHICH + "input, target_scores"
        for name in ("helpful", "honest")
    },
    "hhh_alignment/hf/helpful.jsonl": WHICH + "input, targets",
    "hhh_alignment/hf/honest.jsonl": WHICH + "input, targets",
    "hhh_alignment/prometheus/hhh_alignment_eval.json": WHICH + "source, chosen_instruction",
    "mt_bench/judge_prompts.jsonl": WHICH + "name, type",
    "mt_bench/question.jsonl": "row 1: 2 turns of the user without an answer: set turns to first",
    "mt_bench/reference_answer/gpt-4.jsonl": WHICH + "question_id",
}  # fmt: skip
SEVERAL = "holds several files: choose one of"
FOLDERS: dict[str, int | str] = {
    "advbench": SEVERAL, "alpaca": SEVERAL, "bbh": WHICH, "bbq": 1200, "catqa": 550, "dangerousqa": 200,
    "gsm8k": 1319, "harmfulqa": 1960, "hh-rlhf": SEVERAL, "hh-rlhf/red-team-attempts.SURROGATE": 146,
    "iteralign_processed": 4320, "malicious_instruct": 100, "mt_bench": SEVERAL, "openai_rbr_gold": 351,
    "refusal_direction": SEVERAL, "safety_tuned_llamas": SEVERAL, "truthfulqa": SEVERAL,
    "xstest": SEVERAL, "xstest/model_completions": 400,
}  # fmt: skip


def at_hand(name: str) -> Path:
    if not (COPIES / name).exists():
        pytest.skip(f"no copy of {name}")
    return COPIES / name


def refusal(place: Path) -> str:
    with pytest.raises(UserError) as error:
        load(Wanted(str(place)))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_file_at_hand_is_missing_below() -> None:
    data = (
        p for p in COPIES.rglob("*") if format_of(p) in READERS and not NOTE.match(p.name) and p.is_file()
    )
    assert {p.relative_to(COPIES).as_posix() for p in data} <= {*FILES, *REFUSED}


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_loads_as_published(name: str) -> None:
    found = load(Wanted(str(at_hand(name))))
    prompts, column, topic = FILES[name]
    assert (len(found.prompts), next(iter(found.read), None), found.topic) == (prompts, column, topic)
    assert found.rows == prompts and not found.left_out.get("blank")


@pytest.mark.parametrize("name", REFUSED)
def test_a_published_file_that_may_be_read_in_two_ways_is_refused(name: str) -> None:
    assert REFUSED[name] in refusal(at_hand(name))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_published_folder_loads_or_is_refused(name: str) -> None:
    wanted, place = FOLDERS[name], at_hand(name)
    if isinstance(wanted, str):
        assert wanted in refusal(place)
    else:
        assert len(load(Wanted(str(place))).prompts) == wanted


def test_every_input_of_alpaca_is_in_its_prompt() -> None:
    place = at_hand("alpaca/alpaca_en_demo.json")
    rows = json.loads(place.read_text())
    prompts = load(Wanted(str(place))).prompts
    assert all(
        r["instruction"] in p.text and (r["input"] in p.text or r["input"].strip().casefold() in EMPTY)
        for r, p in zip(rows, prompts, strict=True)
    )
    assert sum(bool(r["input"]) for r in rows) > 100


def test_every_turn_of_the_gold_set_up_to_the_users_last_is_in_its_prompt() -> None:
    place = at_hand("openai_rbr_gold/train.jsonl")
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    prompts = load(Wanted(str(place))).prompts
    for row, prompt in zip(rows, prompts, strict=True):
        assert all(turn["content"].strip() in prompt.text for turn in row["prompt"])


@pytest.mark.parametrize(
    "name", ["TruthfulQA.csv", "data/mc_task.json", "hf_multiple_choice/validation.jsonl"]
)
def test_truthfulqa_is_the_same_questions_in_each_form(name: str) -> None:
    found = items.READERS["truthfulqa-tf"](str(at_hand(f"truthfulqa/{name}")), False, None).values
    assert len(found) == 375 and all(len(i.candidates) > 1 for i in found)


def test_a_wrong_answer_that_stands_twice_counts_once() -> None:
    row = {"Question": "Who?", "Best Answer": "He.", "Incorrect Answers": "She.; It. ;She."}
    assert items.read_truthfulqa([row], "t")[0].candidates == ("He.", "She.", "It.")
