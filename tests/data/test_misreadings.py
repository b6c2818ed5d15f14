"""Inputs that were once misread without a word: each is read right, or refused in one line with the way out."""

import json
from pathlib import Path
from typing import Any

import pytest

from iteralign.data.sources import Loaded, Wanted, load
from iteralign.errors import UserError

SKY, TREE, RIVER = "Why is the sky blue?", "Name a tall tree.", "Where does a river end?"
OAK = "Oaks are tall."
LATER = f"\n\nHuman: {TREE}\n\nAssistant: {OAK}\n\nHuman: {RIVER}\n\nAssistant:"
"""What is asked in a dialogue of two questions."""
TURNS = [
    {"role": "user", "content": TREE}, {"role": "assistant", "content": OAK}, {"role": "user", "content": RIVER},
]  # fmt: skip


def loaded(folder: Path, name: str, content: str, field: str | None = None) -> Loaded:
    (folder / name).write_text(content, encoding="utf-8")
    return load(Wanted(str(folder / name), field=field))


def refusal(folder: Path, name: str, content: str) -> str:
    with pytest.raises(UserError) as error:
        loaded(folder, name, content)
    line = str(error.value).removeprefix(f"{folder}/")
    assert "\n" not in line
    assert not any(word in line for word in ("sky", "tree", "river", "Oaks")), line
    return line


DIALOGUES = {
    "Guanaco, one line": f"### Human: {TREE}### Assistant: {OAK}### Human: {RIVER}",
    "Guanaco, lines": f"### Human: {TREE}\n### Assistant: {OAK}\n### Human: {RIVER}\n### Assistant:",
    "headings": f"## User\n{TREE}\n\n## Assistant\n{OAK}\n\n## User\n{RIVER}\n",
    "lines": f"Human: {TREE}\nAssistant: {OAK}\nHuman: {RIVER}\nAssistant: Sea.",
    "capitals": f"HUMAN: {TREE}\nASSISTANT: {OAK}\nHUMAN: {RIVER}\n",
    "user and bot": f"User: {TREE}\nBot: {OAK}\nUser: {RIVER}\nBot: Sea.",
    "CRLF": f"User: {TREE}\r\nAI: {OAK}\r\nUser: {RIVER}",
    "bold": f"**User:** {TREE}\n\n**Assistant:** {OAK}\n\n**User:** {RIVER}",
    "tags": f"<human>: {TREE}\n<bot>: {OAK}\n<human>: {RIVER}",
    "Vicuna": f"A chat between two. USER: {TREE} ASSISTANT: {OAK}</s>USER: {RIVER} ASSISTANT:",
    "ChatML": f"<|im_start|>user\n{TREE}<|im_end|>\n<|im_start|>assistant\n{OAK}<|im_end|>\n<|im_start|>user\n{RIVER}",
    "Zephyr": f"<|user|>\n{TREE}</s>\n<|assistant|>\n{OAK}</s>\n<|user|>\n{RIVER}</s>\n<|assistant|>",
    "Llama 2": f"<s>[INST] <<SYS>>\nBe short.\n<</SYS>>\n\n{TREE} [/INST] {OAK} </s><s>[INST] {RIVER} [/INST]",
    "Gemma": f"<start_of_turn>user\n{TREE}<end_of_turn>\n<start_of_turn>model\n{OAK}<end_of_turn>\n"
    f"<start_of_turn>user\n{RIVER}<end_of_turn>",
    "questions and answers": f"Q: {TREE}\nA: {OAK}\nQ: {RIVER}\nA: Sea.",
    "messages as JSON": json.dumps(TURNS),
    "messages as Python": repr(TURNS),
    "messages as numpy": repr(TURNS).replace("}, {", "}\n {"),
    "a document as JSON": json.dumps({"messages": TURNS}),
    "ShareGPT as JSON": json.dumps([{"from": "human", "value": TREE}, {"from": "gpt", "value": OAK},
                                    {"from": "human", "value": RIVER}]),
}  # fmt: skip


@pytest.mark.parametrize("form", ["a.json", "a.jsonl", "a.csv", "texts.json", "messages.jsonl"])
@pytest.mark.parametrize("style", DIALOGUES)
def test_a_dialogue_in_one_text_is_read_as_turns(tmp_path: Path, style: str, form: str) -> None:
    text = DIALOGUES[style]
    if form.endswith(".csv"):
        content = 'id,prompt\n1,"' + text.replace('"', '""') + '"\n'
    elif form == "texts.json":
        content = json.dumps([text, SKY])
    else:
        row = {"messages" if form.startswith("messages") else "prompt": text}
        content = json.dumps([row]) if form.endswith(".json") else json.dumps(row)
    assert loaded(tmp_path, form, content).prompts[0].text == LATER


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (f"### Instruction:\n{TREE}\n\n### Response:\n{OAK}", TREE),
        (f"Below is an instruction that describes a task.\n\n### Instruction:\n{TREE}\n\n### Response:\n", TREE),
        (f"### Instruction:\nShorten.\n\n### Input:\n{OAK}\n\n### Response:\nOaks.", f"Shorten.\n\n{OAK}"),
        (f"System: Be short.\nUser: {TREE}\nAssistant: {OAK}", TREE),
        (f"Instruction: {TREE}\nOutput: {OAK}", TREE),
        (f"Question: {TREE}\nAnswer: {OAK}", TREE),
        ("['" + TREE + "']", TREE),
        (f"Assistant: {OAK}\n\nHuman: {RIVER}", f"\n\nAssistant: {OAK}\n\nHuman: {RIVER}\n\nAssistant:"),
        # no answer in it: sent as it is
        (f"Q: {TREE}\nA: {OAK}\nQ: {RIVER}\nA:", f"Q: {TREE}\nA: {OAK}\nQ: {RIVER}\nA:"),
        (f"[INST] {TREE} [/INST]", f"[INST] {TREE} [/INST]"),
        ("[1] Name a tree, then a [river]", "[1] Name a tree, then a [river]"),
        ("{name} is a tree: {why}", "{name} is a tree: {why}"),
        ("Notes.\nUser: bob\nHost: sky", "Notes.\nUser: bob\nHost: sky"),
    ],
)  # fmt: skip
def test_one_exchange_asks_its_question_and_other_texts_stay(tmp_path: Path, text: str, asked: str) -> None:
    assert loaded(tmp_path, "a.jsonl", json.dumps({"prompt": text})).prompts[0].text == asked


def test_a_dialogue_a_line_in_a_plain_text(tmp_path: Path) -> None:
    lines = (
        f"### Human: {TREE} ### Assistant: {OAK}\n{SKY}\nA chat between two. USER: {RIVER} ASSISTANT: Sea.\n"
    )
    assert [p.text for p in loaded(tmp_path, "a.txt", lines).prompts] == [TREE, SKY, RIVER]


REFUSED: dict[str, tuple[str, str, str]] = {
    # 1: a lone first line
    "a first prompt with underscores": (
        "a.csv",
        "how_to_find_rivers\nfind_a_tree_now\n",
        "or a prompt? set field",
    ),
    "two words with an underscore": ("a.tsv", "big_tree\nsmall_river\n", "or a prompt? set field"),
    "a title above a list": (
        "a.csv",
        f"A list of things to ask in part one\n{SKY}\n{TREE}\n{RIVER}\n",
        "a title, or a prompt?",
    ),
    "a title above a plain text": (
        "a.txt",
        f"A list of things to ask in part one\n{SKY}\n{TREE}\n{RIVER}\n",
        "end it with a mark",
    ),
    "a note above a header": (
        "a.csv",
        f"This is what we asked them all.\nprompt\n{SKY}\n",
        "take out the lines above",
    ),
    "a comment in a plain text": ("a.txt", f"# things\n{SKY}\n{TREE}\n", "a comment? take it out"),
    # 2: a table under the name of a text
    "a table of commas": ("a.txt", f"prompt,category\n{TREE},wood\n", "name the file .csv"),
    "a table of tabs": ("a.txt", f"id\tprompt\n1\t{TREE}\n", "name the file .tsv"),
    "a table of semicolons": ("a.txt", f"id;text\n1;{TREE}\n", "name the file .csv"),
    "a table without names": ("a.txt", f"1\t{TREE}\n2\t{SKY}\n", "name the file .tsv, with names of columns"),
    "a header with an underscore": ("a.txt", f"my_prompt\n{TREE}\n", "take it out, or name the file .csv"),
    "a separator": ("a.txt", f"sep=;\n{TREE}\n", "name the file .csv"),
    "JSON lines": ("a.txt", '{"prompt": "a"}\n{"prompt": "b"}\n', "name it .jsonl"),
    "JSON": ("a.txt", json.dumps([SKY, TREE]), "name it .json"),
    # 3: dialogues over several rows, or with other text
    "turns in lines": ("a.txt", f"### Human: {TREE}\n### Assistant: {OAK}\n", "it holds dialogues"),
    "headings in lines": ("a.txt", f"### Instruction:\n{TREE}\n### Response:\n{OAK}\n", "it holds dialogues"),
    "users in lines": ("a.txt", f"User: {TREE}\nAI: {OAK}\n", "it holds dialogues"),
    "questions in lines": ("a.txt", f"Q: {TREE}\nA: {OAK}\nQ: {RIVER}\nA: Sea.\n", "it holds dialogues"),
    "turns in a list": ("a.json", json.dumps([f"Human: {TREE}", f"Assistant: {OAK}"]), "it holds dialogues"),
    "turns in rows": ("a.csv", f"text\nHuman: {TREE}\nAssistant: {OAK}\n", "it holds dialogues"),
    "a text before a dialogue": (
        "a.jsonl",
        json.dumps({"prompt": f"Play a part.\nUser: {TREE}\nAssistant: {OAK}"}),
        "save its turns as messages",
    ),
    # 4: turns as a text
    "turns that are cut off": (
        "a.csv",
        "messages\n\"[{'role': 'user', 'content': 'tree', }, {]\"\n",
        "save them as JSON",
    ),
    "a call": (
        "a.csv",
        "messages\n\"[{'role': 'user', 'content': open('river')}]\"\n",
        "nor a list of Python",
    ),
    "deep turns": ("a.csv", "messages\n\"[{'role': " + "[" * 5000 + "]" * 5000 + '}]"\n', "nested too deep"),
    "a turn without a text": (
        "a.jsonl",
        '{"messages": [{"role": "user", "words": "tree"}]}',
        "a turn that is not a text",
    ),
    # 6: the usual name, and no prompts
    "a constant instruction": (
        "a.csv",
        f"query,instruction\n{SKY},Reply.\n{RIVER},Reply.\n",
        "column 'instruction' holds the same few texts again and again, and 'query'",
    ),
    "a constant sentence": (
        "a.csv",
        f"query,instruction\n{SKY},Answer this for me.\n{RIVER},Answer this for me.\n",
        "set field (--field)",
    ),
    "labels": (
        "a.csv",
        f"text,behavior\nwood,{TREE}\nwater,{RIVER}\n",
        "column 'text' holds labels or ids, and 'behavior'",
    ),
    "ids": (
        "a.jsonl",
        json.dumps({"prompt": "p-17", "text": SKY}),
        "column 'prompt' holds labels or ids, and 'text'",
    ),
    "few texts": (
        "a.json",
        json.dumps([{"prompt": "Reply to me now", "request": f"Name tree number {n}."} for n in range(30)]),
        "'prompt' holds the same few texts again and again, and 'request'",
    ),
    "a lone column of ids": ("a.jsonl", '{"id": "p-17"}\n{"id": "p-18"}', "its only column is 'id'"),
    # 7: keys
    "prompts as keys": (
        "a.json",
        json.dumps({SKY: {"answers": ["a", "b"]}, RIVER: {"answers": ["c"]}}),
        "prompts that are keys",
    ),
    "prompts above answers": ("a.json", json.dumps({SKY: ["a"], RIVER: ["b"]}), "prompts that are keys"),
    "prompts and targets": (
        "a.json",
        json.dumps({"name a tree": "oak", "name a river": "Nile"}),
        "prompts that are keys",
    ),
    "opposites as topics": (
        "a.json",
        json.dumps({"harmful": [SKY], "harmless": [TREE]}),
        "harmful beside harmless",
    ),
    "targets beside attacks": (
        "a.json",
        json.dumps({"attacks": [SKY], "targets": ["a"]}),
        "set field to one of: attacks",
    ),
    "records under ids": (
        "a.json",
        json.dumps({"1": {"prompt": SKY}, "2": {"prompt": TREE}}),
        "prompts that are keys",
    ),
    "prompts above objects": (
        "a.json",
        json.dumps({"name a tree": {"target": "oak"}}),
        "prompts that are keys",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_would_be_misread_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    name, content, said = REFUSED[fault]
    assert said in refusal(tmp_path, name, content)


READ: dict[str, tuple[str, str, list[str], list[str], dict[str, int]]] = {
    # 1: (name, content, prompts, topics, left out)
    "a header with a usual word": ("a.csv", f"harmful_text\n{TREE}\n", [TREE], [], {}),
    "a long first prompt": (
        "a.csv",
        f"Tell me how many rivers end in a lake\n{TREE}\n",
        ["Tell me how many rivers end in a lake", TREE],
        [],
        {},
    ),
    # 5: one turn a row
    "a turn a row": (
        "a.jsonl",
        "\n".join(json.dumps({"text": t["content"], "role": t["role"]}) for t in TURNS),
        [TREE, RIVER],
        [],
        {"turns of other roles": 1},
    ),
    "a turn a row, ShareGPT": (
        "a.csv",
        f"from,value,text\nhuman,1,{TREE}\ngpt,2,{OAK}\nsystem,3,Be short.\n",
        [TREE],
        [],
        {"turns of other roles": 2},
    ),
    "a speaker that is no role": ("a.csv", f"author,prompt\nAda,{TREE}\nBob,{SKY}\n", [TREE, SKY], [], {}),
    # 6: neighbours that are right
    "one prompt with several answers": (
        "a.csv",
        f"prompt,response\n{TREE},Oaks are very tall.\n{TREE},Pines are very tall.\n",
        [TREE, TREE],
        [],
        {},
    ),
    "short prompts beside notes": (
        "a.csv",
        f"prompt,response\nName one,{OAK}\nName two,{OAK}\n",
        ["Name one", "Name two"],
        [],
        {},
    ),
    # 7: documents
    "columns under topics": (
        "a.json",
        json.dumps(
            {"Wood": {"prompt": [TREE], "target": [OAK]}, "Water": {"prompt": [RIVER], "target": ["Sea."]}}
        ),
        [TREE, RIVER],
        ["Wood", "Water"],
        {},
    ),
    "prompts and notes under topics": (
        "a.json",
        json.dumps(
            {"Wood": {"prompts": [TREE], "description": "d"}, "Water": {"prompts": [RIVER], "note": "n"}}
        ),
        [TREE, RIVER],
        ["Wood", "Water"],
        {},
    ),
    "references beside prompts": (
        "a.json",
        json.dumps({"references": ["u"], "attacks": [TREE, RIVER]}),
        [TREE, RIVER],
        [],
        {"entries beside the prompts": 1},
    ),
    "addresses beside prompts": (
        "a.json",
        json.dumps({"seen at": ["https://a.example/b"], "attacks": [TREE, RIVER]}),
        [TREE, RIVER],
        [],
        {"entries beside the prompts": 1},
    ),
    "references beside topics": (
        "a.json",
        json.dumps({"references": ["u"], "Wood": [TREE], "Water": [RIVER]}),
        [TREE, RIVER],
        ["Wood", "Water"],
        {"entries beside the prompts": 1},
    ),
    "topics under categories": (
        "a.json",
        json.dumps({"version": 1, "categories": {"Wood": [TREE], "Water": [RIVER]}}),
        [TREE, RIVER],
        ["Wood", "Water"],
        {"entries beside the prompts": 1},
    ),
    "topics under categories beside a name": (
        "a.json",
        json.dumps({"name": "x", "categories": {"Wood": {"subcategories": {"High": [TREE]}}}}),
        [TREE],
        ["Wood"],
        {"entries beside the prompts": 1},
    ),
    # 8: Excel
    "a separator": ("a.csv", f"\ufeffsep=;\r\nid;prompt\r\n1;{TREE}\r\n", [TREE], [], {}),
    "a quoted separator": ("a.csv", f'"sep=|"\nid|prompt\n1|{TREE}\n', [TREE], [], {}),
    "a separator above a list": ("a.csv", f"sep=,\n{TREE}\n{SKY}\n", [TREE, SKY], [], {}),
    "a tab as separator": ("a.csv", f"sep=\t\nid\tprompt\n1\t{TREE}\n", [TREE], [], {}),
    # 11: what says that a cell is empty
    "empty inputs": (
        "a.json",
        json.dumps(
            [
                {"instruction": TREE, "input": t}
                for t in ("nan", "<noinput>", "None", "null", "N/A", " NaN ", float("nan"))
            ]
        ),
        [TREE] * 7,
        [],
        {},
    ),
    "empty prompts": ("a.csv", f"id,prompt\n1,nan\n2,None\n3,{TREE}\n", [TREE], [], {"blank": 2}),
    "no topic": ("a.json", json.dumps([{"prompt": TREE, "topic": float("nan")}]), [TREE], [], {}),
}


@pytest.mark.parametrize("shape", READ)
def test_what_was_misread_is_read_as_it_is_meant(tmp_path: Path, shape: str) -> None:
    name, content, prompts, topics, left_out = READ[shape]
    found = loaded(tmp_path, name, content)
    assert [p.text for p in found.prompts] == prompts
    assert [p.topic for p in found.prompts if p.topic] == topics
    assert dict(found.left_out) == left_out


def test_a_field_settles_which_column_holds_the_prompts(tmp_path: Path) -> None:
    for fault, field in (("a constant instruction", "query"), ("labels", "text"), ("ids", "prompt")):
        name, content, _ = REFUSED[fault]
        assert loaded(tmp_path, name, content, field).read[0] == field


def test_turns_in_a_parquet_file_as_text(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"messages": [json.dumps(TURNS), repr(TURNS)]}), tmp_path / "a.parquet")
    assert [p.text for p in load(Wanted(str(tmp_path / "a.parquet"))).prompts] == [LATER, LATER]


def test_an_input_belongs_to_the_last_turn_of_a_conversation(tmp_path: Path) -> None:
    row: dict[str, Any] = {"instruction": RIVER, "input": "In brief.", "history": json.dumps([[TREE, OAK]])}
    (prompt,) = loaded(tmp_path, "a.jsonl", json.dumps(row)).prompts
    assert prompt.text == LATER.replace(RIVER, f"{RIVER}\n\nIn brief.")


@pytest.mark.parametrize(
    "content", ["Tall tree,Long river\nWide sky,Red oak\n", "a,Tall tree\nb,Long river\n"]
)
def test_a_refusal_shows_no_short_prompt_of_a_list_without_a_header(tmp_path: Path, content: str) -> None:
    said = refusal(tmp_path, "a.csv", content)
    assert "column 2 (" in said and "characters)" in said


FOLDERS: dict[str, tuple[list[str], str | list[str]]] = {
    "opposites": (["harmful.csv", "benign.csv"], "their names say harmful and benign"),
    "opposite folders": (["unsafe/a.csv", "safe/b.csv"], "their names say unsafe and safe"),
    "opposites as splits": (["train_harmful.csv", "train_harmless.csv"], "harmful and harmless"),
    "prompts and answers": (["prompts.csv", "responses.csv"], "prompt and response"),
    "parts of one set": (["part_1.csv", "part_2.csv"], ["of part_1.csv", "of part_2.csv"]),
    **{
        f"notes: {note}": (["a.csv", note], ["of a.csv"])
        for note in (
            "terms_of_use.txt",
            "TERMS.txt",
            "LICENSE",
            "LICENCE.txt",
            "readme.txt",
            "README.md",
            "NOTICE.txt",
            "dataset_card.txt",
            "DatasetCard.txt",
            "datasheet.json",
            "my_set_license.txt",
            "code_of_conduct.txt",
            "citation.json",
            "dataset_info.json",
            "usage-policy.txt",
            "requirements.txt",
            "config.json",
            "checksums.txt",
            "sha256sums.txt",
        )
    },
    "a note alone": (["terms_of_use.txt"], "no data file in it"),
    "names that only begin like notes": (["noticeable.csv"], ["of noticeable.csv"]),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_is_one_set_without_its_notes(tmp_path: Path, case: str) -> None:
    names, expected = FOLDERS[case]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"prompt\nof {name}\n")
    if isinstance(expected, list):
        assert [p.text for p in load(Wanted(str(tmp_path))).prompts] == expected
    else:
        with pytest.raises(UserError) as error:
            load(Wanted(str(tmp_path)))
        assert expected in str(error.value) and "\n" not in str(error.value)
