"""Finding and loading a language model: a directory or a hub id, its device and its number format.

Shared by generation and training, so that both read the same weights the same way. Safetensors only,
no code from a model repository unless the user asks for it, and one line for whatever is wrong.
"""

import contextlib
import gc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from iteralign.errors import UserError, unknown

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
SUFFIXES = (".json", ".safetensors", ".jinja", ".model", ".txt")


@dataclass(frozen=True)
class Source:
    """Where a model comes from: `name` is a directory or a hub id, `revision` a hub branch or commit."""

    name: str
    revision: str | None = None
    trust_remote_code: bool = False

    @property
    def folder(self) -> Path | None:
        """The directory, if `name` is meant as one: it exists, or it is written like a path."""
        path = Path(self.name).expanduser()
        like_path = self.name.startswith(("/", ".", "~")) or self.name.count("/") > 1
        return path if path.exists() or like_path else None


def find(source: Source, field: str = "policy.model") -> Path:
    """The directory of the model; a hub id is fetched into the hub's own cache first.

    Raises UserError where there is no such model, with the reason in one line.
    """
    return check(source.folder or _fetched(source, field), field)


def check(folder: Path, field: str = "policy.model") -> Path:
    """`folder` itself, or a UserError that says why it is no model directory. Loads nothing."""
    if not folder.is_dir():
        raise UserError(f"{field}: {str(folder)!r} is not a directory; name a model directory or a hub id")
    if not (folder / "config.json").is_file():
        raise UserError(f"{field}: {str(folder)!r} is no model directory: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        hint = " (its weights are pickles; convert them)" if any(folder.glob("*.bin")) else ""
        raise UserError(f"{field}: {str(folder)!r} is no model directory: it has no *.safetensors{hint}")
    return folder


@lru_cache
def _fetched(source: Source, field: str) -> Path:
    """A hub id's files, at the commit that its revision names now; from the cache when offline."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    patterns = [f"*{s}" for s in SUFFIXES] + ["*.py"] * source.trust_remote_code
    revision, reach = source.revision, "no network"
    try:
        revision = HfApi().model_info(source.name, revision=revision, timeout=20).sha
        return Path(snapshot_download(source.name, revision=revision, allow_patterns=patterns))
    except HFValidationError as error:
        raise UserError(f"{field}: {source.name!r} is neither a directory nor a hub id") from error
    except HfHubHTTPError as error:
        reach = " ".join(str(error).split())[:120]
    except OSError as error:
        reach = f"the hub cannot be reached ({type(error).__name__})"
    except Exception as error:  # the hub's HTTP client has an error tree of its own, and changes it
        if "httpx" not in type(error).__module__ and "httpcore" not in type(error).__module__:
            raise
        reach = f"the hub cannot be reached ({type(error).__name__})"
    try:
        return Path(snapshot_download(source.name, revision=source.revision, local_files_only=True))
    except (HfHubHTTPError, OSError, ValueError) as error:
        message = f"{field}: no model {source.name!r} here, in the cache or on the hub: {reach}"
        raise UserError(message) from error


def device_of(name: str) -> str:
    """`auto` is the first GPU there is, else the CPU. Raises UserError."""
    import torch

    if name not in DEVICES:
        raise unknown("policy.device", name, DEVICES)
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return "cuda" if has["cuda"] else "mps" if has["mps"] else "cpu"
    if not has[name]:
        raise UserError(f"policy.device: {name!r} but torch finds no such device here; use auto or cpu")
    return name


def dtype_of(name: str, device: str) -> str:
    """`auto` is bfloat16 on a GPU that computes in it, else float32. Raises UserError.

    The CPU stays at float32 even where it knows bfloat16: without the instructions half precision is
    about a hundred times slower, and with them greedy answers change with the batch size (measured
    in 7 of 16 sequences), so that a batch cut in two would no longer be the same batch. float16
    overflows in some models, so it is only used when asked for.
    """
    import torch

    if name not in DTYPES:
        raise unknown("policy.dtype", name, DTYPES)
    if name != "auto":
        return name
    native = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"


def load_tokenizer(source: Source) -> Any:
    """The tokenizer, fast where there is one. Raises UserError."""
    folder = find(source)
    with quiet(), _one_line(source):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, trust_remote_code=source.trust_remote_code)


def load_model(source: Source, device: str, dtype: str) -> Any:
    """The causal language model on `device`, in evaluation mode, every weight from the files.

    Raises UserError, also where the files lack a weight: a policy that is partly random would answer.
    """
    folder = find(source)
    with quiet(), _one_line(source):
        import torch
        from transformers import AutoModelForCausalLM

        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, in one line
            trust_remote_code=source.trust_remote_code,
        )
    lacking = sorted(info["missing_keys"]) + sorted(str(m) for m in info["mismatched_keys"])
    if lacking:
        raise UserError(
            f"policy.model: {source.name!r} lacks {len(lacking)} weights, the first: {lacking[0]}"
        )
    return model.to(device).eval()


def context_of(model: Any) -> int:
    """How many tokens prompt and answer may have together."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", 1 << 20))


def give_back(device: str) -> None:
    """Return the memory of models that nobody holds any more to the GPU."""
    if device == "cuda":
        import torch

        gc.collect()
        torch.cuda.empty_cache()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' bars, notes and warnings; put back what was set before."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _one_line(source: Source) -> Iterator[None]:
    """Turn the libraries' many ways of saying `I cannot read this` into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if "memory" in str(error).lower():
            raise
        why = " ".join(str(error).split())[:200]
        raise UserError(f"policy.model: cannot load {source.name!r}: {why}") from error
