"""The shape of the source, read with `ast`: who may import whom, and what no file does.

A module that none of the tables below knows fails the first test: where it belongs is a decision.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "iteralign"
FILES = sorted(PACKAGE.rglob("*.py"))

STAGES = {"redteam", "judge", "propose", "trial", "revise", "finetune", "measure", "stop"}
# What a stage, and an implementation behind a Protocol, may stand on.
FLOOR = {"types", "errors", "options"}
TOOLS = {"protocols", "stats", "reading", "prompts", "security", "settings"}
METHOD = STAGES | {"settings", "asking", "loop"}
IMPLEMENTATIONS = {"models", "training", "data", "organism"}
# What stands around the algorithm. Each may import those before it.
ROOMS = ("config", "record", "budget", "run", "evaluate", "report", "experiment", "cli")

ALLOWED: dict[str, set[str]] = {
    "options": set(),
    "types": {"options"},
    "errors": set(),
    "doubt": set(),
    "reading": {"types", "doubt"},
    "security": set(),
    "protocols": {"types"},
    "stats": {"types"},
    "prompts": FLOOR | {"security"},
    "lm": FLOOR | {"security"},
    "settings": {"options", "types", "prompts"},
    "asking": {"types", "protocols", "prompts", "reading"},
    **{stage: FLOOR | TOOLS | {"settings", "asking"} | STAGES for stage in STAGES},
    "loop": {"types", "protocols", "settings"} | STAGES,
    **dict.fromkeys(IMPLEMENTATIONS, FLOOR | TOOLS | {"lm"}),
    **{room: FLOOR | TOOLS | METHOD | set(ROOMS[:i]) for i, room in enumerate(ROOMS)},
    "iteralign": {"errors", "protocols", "loop", "settings", "types"},
}

# Those who may name an implementation, and why.
COMPOSERS = {
    "run/build.py": IMPLEMENTATIONS | {"lm"},  # the composition root
    "run/planner.py": {"models"},  # a plan that asks nothing runs on scripted models
    "run/preview.py": {"lm", "training"},  # what is shown is what the trainer's own rows say
    "run/inputs.py": {"data", "organism"},  # its half for prompts and probes
    "run/runner.py": {"lm"},  # old weights leave the disk, and those that a run ends with are looked at
    "evaluate/subject.py": {"models", "lm"},  # its half for the model under evaluation
    "evaluate/judges.py": {"models"},  # for its judges
    "evaluate/tasks.py": {"models", "organism"},  # and for what Inspect calls
    "evaluate/items.py": {"data", "organism"},  # and for what they ask
    "cli/data.py": {"data"},  # `iteralign data` shows a set before any run
    "cli/organism.py": {"organism"},  # `iteralign organism` is the organism's own front
}

# os and friends: the world. A stage gets values and actors, and touches nothing else.
WORLD = {
    "os",
    "pathlib",
    "shutil",
    "subprocess",
    "socket",
    "tempfile",
    "io",
    "sys",
    "time",
    "random",
    "threading",
}
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "inspect_ai",
    "openai",
    "anthropic",
}
HTTP = {"http", "urllib", "requests", "httpx", "httpx2", "aiohttp"}

UNPICKLERS = {"data/pickles.py": {"pickle"}}  # its unpickler finds no class: tests/data/test_pickles.py


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def unit_of(path: Path) -> str:
    """The top-level module or folder that a file belongs to; the package's own `__init__` is `iteralign`."""
    first = path.relative_to(PACKAGE).parts[0]
    return "iteralign" if first == "__init__.py" else first.removesuffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """Absolute dotted names of all imports, at the top and inside functions alike."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import in line {node.lineno}"
            module = str(node.module)
            whole = {"iteralign"} | (
                {module} if module.startswith("iteralign") and is_folder(module) else set()
            )
            names |= {f"{module}.{alias.name}" for alias in node.names} if module in whole else {module}
    return names


def is_folder(module: str) -> bool:
    return PACKAGE.parent.joinpath(*module.split(".")).is_dir()


def own_units(path: Path) -> set[str]:
    units = {n.split(".")[1] for n in imported(path) if n.startswith("iteralign.")}
    # `from iteralign import __version__` names the package itself.
    return {u for u in units if (PACKAGE / u).exists() or (PACKAGE / f"{u}.py").exists()}


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    unit = unit_of(path)
    assert unit in ALLOWED, f"{name_of(path)}: decide which layer {unit!r} is in, and write it into ALLOWED"
    allowed = ALLOWED[unit] | COMPOSERS.get(name_of(path), set()) | {unit}
    assert own_units(path) <= allowed, f"{name_of(path)} may not import {sorted(own_units(path) - allowed)}"


@pytest.mark.parametrize("unit", sorted(METHOD | {"types", "protocols"}))
def test_the_algorithm_touches_nothing_but_values_and_actors(unit: str) -> None:
    roots = {n.split(".")[0] for n in imported(PACKAGE / f"{unit}.py")}
    assert not roots & (WORLD | HEAVY | HTTP)


def test_the_loop_fits_on_one_screen() -> None:
    lines = (PACKAGE / "loop.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 80


def test_the_loop_has_no_branch_on_the_kind_of_method() -> None:
    """Presets differ by values; a name of a preset in the loop or a stage would be a branch."""
    for unit in sorted(METHOD - {"settings"}):
        strings = {n.value for n in ast.walk(tree_of(PACKAGE / f"{unit}.py")) if isinstance(n, ast.Constant)}
        assert not strings & {"paper", "improved"}, unit


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_remote_code_and_no_pickle(path: Path) -> None:
    roots = {n.split(".")[0] for n in imported(path)} - UNPICKLERS.get(name_of(path), set())
    assert not roots & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for call in (n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call)):
        for keyword in call.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            assert (keyword.arg, value) != ("trust_remote_code", True), f"{name_of(path)}:{call.lineno}"
            assert (keyword.arg, value) != ("weights_only", False), f"{name_of(path)}:{call.lineno}"
        function = ast.unparse(call.func)
        assert function not in ("eval", "exec", "os.system"), f"{name_of(path)}:{call.lineno}"


PRIVATE = {
    "training/fit.py": {"_n_gpu"},  # transformers has no public way to say: one device
    "iteralign_organism/mixed.py": {
        "_foreach_add_",
        "_foreach_copy_",
    },  # torch's only fused updates outside its optimizers
    "run/inputs.py": {"_asdict"},  # public, of named tuples
    "cli/signals.py": {"_exit"},  # public, of os
}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_private_name_of_a_dependency(path: Path) -> None:
    """Neither imported, nor reached through an object, nor named in a text."""
    tree, own = tree_of(path), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own.add(node.target.id)
    reached = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr.startswith("_")}
    theirs = {a for a in reached - own if not a.startswith("__")} - PRIVATE.get(name_of(path), set())
    assert not theirs
    foreign = [n for n in imported(path) if not n.startswith("iteralign")]
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    modules = [t for t in texts if re.fullmatch(r"[a-z]\w*(\.\w+)+", t) and not t.startswith("iteralign")]
    assert not [
        n
        for n in (*foreign, *modules)
        if any(part.startswith("_") for part in n.split(".")) and "__" not in n
    ]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_opens_with_its_idea(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), name_of(path)


@pytest.mark.parametrize("path", [p for p in FILES if unit_of(p) != "cli"], ids=name_of)
def test_only_the_command_line_prints(path: Path) -> None:
    """Except a module's own `main`, its entry for development."""
    entries = [node for f in functions(path) if f.name == "main" for node in ast.walk(f)]
    calls = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call) and n not in entries]
    assert not {ast.unparse(n.func) for n in calls} & {"print", "sys.stdout.write", "sys.stderr.write"}
