"""The whole loop over HTTP: the organism behind vLLM, its oracle a small model behind vLLM or `transformers serve`.

    make demo-vllm                                        both servers are vLLM
    make demo-vllm ARGS="--oracle transformers"           the oracle's is transformers'
    make demo-vllm DATA=/where/the/sets/lie

A set whose folder is not there is left out, and said to be. What comes out says nothing about the method: the organism
and the small oracle know nothing of these prompts. It is to be looked at for what is not there: no break, no verdict
that was guessed; what could not be read is counted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from small_oracle import lessons, make

from iteralign.cli.main import status
from iteralign.models.vllm import server
from iteralign.models.vllm.server import Server
from iteralign.report.summary import summarise

CONFIG = Path(__file__).with_suffix(".toml")
SETS = ("harmfulqa", "dangerousqa")
MODULES = {"vllm": server.MODULE, "transformers": "transformers.cli.transformers"}
START_S = 900.0


def main() -> int:
    options = _options()
    python, folder = os.path.abspath(options.vllm), options.runs / "small-oracle"
    if not (folder / "model.safetensors").is_file():
        print("teaching the small oracle, about a minute")
        make(folder, lessons())
    print(f"starting its server ({options.oracle})")
    oracle, name = serve(options.oracle, python, folder.resolve(), options.runs / "oracle.log")
    try:
        oracle.wait(START_S)
        os.environ |= {"LOCAL_BASE_URL": f"{oracle.url}/v1", "LOCAL_API_KEY": oracle.key}
        codes = (run(source, options, [f"vllm.python={python}", f"oracle.model={name}"]) for source in SETS)
        return next((code for code in codes if code), 0)  # the first that fails is the last
    finally:
        oracle.close()


def serve(kind: str, python: str, folder: Path, log: Path) -> tuple[Server, str]:
    """A server, being started, with the model in `folder`; and its name for inspect_ai."""
    if kind == "vllm":
        arguments = ["--model", str(folder), "--served-model-name", "oracle", "--dtype", "float32"]
        command = server.command(python, [*arguments, "--generation-config", "vllm", "--enforce-eager"])
        return Server(command, log, server.environment(), "the oracle's server"), "openai-api/local/oracle"
    command = [python, "-m", MODULES[kind], "serve", str(folder), "--host", server.HOST, "--device", "cpu"]
    return Server(command, log, server.environment(), "the oracle's server"), f"openai-api/local/{folder}"


def run(source: str, options: argparse.Namespace, sets: Sequence[str]) -> int:
    data, name = options.data / source, f"over-{options.oracle}-{source}"
    if not data.is_dir():
        print(f"{source}: left out, there is no folder {data}")
        return 0
    given = [*sets, f"redteam.source={source}", f"redteam.path={data}", f"name={name}", *options.set]
    arguments = [part for assignment in given for part in ("--set", assignment)]
    code = status(["run", str(CONFIG), *arguments, "--runs", str(options.runs), "--quiet"])
    if code == 0:
        print(counts(source, options.runs / name))
    return code


def counts(source: str, root: Path) -> str:
    """What the run could and could not read."""
    turns = [turn["counts"] for turn in summarise(root)["iterations"]]
    asked, harmful, unread = (sum(turn[key] for turn in turns) for key in ("prompts", "harmful", "unparsed"))
    harmless = asked - harmful - unread
    return f"{source}: of {asked} answers {harmful} harmful, {harmless} harmless, {unread} whose verdict cannot be read"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vllm", default=".venv-vllm/bin/python", help="a Python that has vLLM")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where the sets lie")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs lie")
    parser.add_argument("--oracle", choices=MODULES, default="vllm", help="the oracle's server")
    parser.add_argument("--set", action="append", default=[], help="as for iteralign run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
