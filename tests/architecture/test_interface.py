"""The public interface by name and signature, and what importing it costs."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import iteralign

HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "tokenizers",
    "inspect_ai",
    "scipy",
    "numpy",
)

INTERFACE = [
    "Checkpoint",
    "Constitution",
    "Conversation",
    "IterAlignError",
    "Iteration",
    "Journal",
    "Lab",
    "Label",
    "Material",
    "Message",
    "Method",
    "Metrics",
    "Model",
    "Principle",
    "Prompt",
    "Rate",
    "Reply",
    "Response",
    "Revision",
    "Sampling",
    "Trainer",
    "UserError",
    "Verdict",
    "WorldError",
    "__version__",
    "iteralign",
]

SIGNATURES = {
    "iteralign": "(policy, material, lab, method, journal, until)",
    "Model.generate": "(self, conversations, sampling, on_replies)",
    "Trainer.train": "(self, start, examples)",
    "Journal.at": "(self, t)",
    "Checkpoint": "(id, base, path, kind, hash)",
    "Constitution": "(principles)",
    "Iteration": "(t, verdicts, amendment, revisions, accepted, trained, policy, metrics, rolled_back)",
    "Lab": "(serve, judge, proposer, trainer, meter, panel, close)",
    "Material": "(batches, probes, benign)",
    "Message": "(role, content)",
    "Method": "(prompts, measure, sampling, propose, revise, gate, finetune, guard, judging, trial)",
    "Metrics": "(violations, by_topic, benign, overrefusal, truthful, undecided, results, reopened)",
    "Principle": "(id, text, category, evidence, born)",
    "Prompt": "(id, text, family, topic)",
    "Rate": "(hits, n, value, low, high)",
    "Reply": "(text, stop, usage, raw)",
    "Response": "(prompt, text, cut)",
    "Revision": "(prompt, first, text, critique, shown, candidate, cut)",
    "Sampling": "(temperature, top_p, max_tokens, stop, frequency_penalty, seed)",
    "Verdict": "(response, label, category, reason, votes)",
}


def test_the_names() -> None:
    assert sorted(iteralign.__all__) == sorted(INTERFACE)
    assert all(hasattr(iteralign, name) for name in iteralign.__all__)


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signatures(name: str) -> None:
    thing: Any = iteralign
    for part in name.split("."):
        thing = getattr(thing, part)
    assert f"({', '.join(inspect.signature(thing).parameters)})" == SIGNATURES[name]


def test_the_three_values_of_a_verdict() -> None:
    assert [label.value for label in iteralign.Label] == ["harmful", "harmless", "unparsed"]


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `code`."""
    report = "import sys; print('\\nLOADED', *sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_import_is_light() -> None:
    assert not loaded_by("import iteralign") & {*HEAVY, "typer", "rich", "pydantic"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["version"], ["run", "--help"], ["show", "--help"]], ids=" ".join
)
def test_help_is_light(arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["iteralign", *{arguments!r}]
from iteralign.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    assert not loaded_by(code) & set(HEAVY)


def test_the_command_is_declared() -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="iteralign")
    assert script.value == "iteralign.cli.main:main"
    (provider,) = entry_points(group="inspect_ai", name="iteralign")
    assert provider.value == "iteralign.evaluate.tasks"


def test_the_package_is_typed() -> None:
    assert (Path(iteralign.__file__).parent / "py.typed").is_file()


def test_both_packages_have_one_version() -> None:
    import tomllib

    root = Path(__file__).parents[2]
    made = tomllib.loads((root / "organism" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert made["version"] == iteralign.__version__
    assert made["dependencies"] == [f"iteralign=={iteralign.__version__}"]
    assert f"version: {iteralign.__version__}\n" in (root / "CITATION.cff").read_text(encoding="utf-8")
