"""Finding and loading a language model: a directory or a hub id, its device and its number format.

Shared by generation and training, so that both read the same weights the same way. Safetensors only,
no code from a model repository unless the user asks for it, and one line for whatever is wrong.
"""

import contextlib
import copy
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iteralign.errors import IterAlignError, UserError, WorldError
from iteralign.lm import devices
from iteralign.lm.chat import Chat, chat_of
from iteralign.lm.fetch import cached, fetched, pickles, require_id
from iteralign.security import documents

SUFFIXES = (".json", ".safetensors", ".jinja", ".model", ".txt")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")
ADAPTER = "adapter_config.json"
LARGEST_TEXT = 1 << 28
"""Bytes of a tokenizer or a config (chosen: the largest known take 35 MB)."""
WIDTHS = ("hidden_size", "n_embd", "d_model")
SIZES = ("vocab_size", "intermediate_size", "num_hidden_layers", "n_layer", "num_layers")
"""Numbers of a config that stand, times the width, for weights that every model of the kind has."""
PER_BYTE = 8
"""Weights in a byte of a file, at most (the narrowest formats pack four)."""
UNBOUNDED = 1 << 20
"""The context of a model whose config names none, as those without position embeddings do not."""
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")


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

    Raises UserError where there is no such model, with the reason in one line; WorldError without a network.
    """
    if source.folder:
        return check(source.folder, field)
    patterns = (*(f"*{s}" for s in SUFFIXES), *("*.py",) * source.trust_remote_code)
    return check(fetched(source.name, source.revision, patterns, field), field)


def at_hand(source: Source) -> Path | None:
    """The directory of the model's config and tokenizer, if they are on this machine; the hub is not asked.

    Raises UserError for a hub id that is none, and for one that is not there where the hub may not be asked.
    """
    from huggingface_hub import is_offline_mode

    if not source.folder:
        require_id(source.name, "policy.model")
        if is_offline_mode():
            return find(source)
    folder = source.folder or cached(source.name, source.revision)
    there = {p.name for p in folder.iterdir()} if folder and folder.is_dir() else set()
    return folder if "config.json" in there and there & set(TOKENIZERS) else None


def check(folder: Path, field: str = "policy.model") -> Path:
    """`folder` itself, or a UserError that says why it is no model directory. Loads nothing."""
    name = str(folder)
    if not folder.is_dir():
        raise UserError(f"{field}: {name!r} is not a directory; name a model directory or a hub id")
    if not (folder / "config.json").is_file():
        if (folder / ADAPTER).is_file():
            base = _json(folder / ADAPTER).get("base_model_name_or_path")
            raise UserError(
                f"{field}: {name!r} is an adapter for {base!r}, not a model; name that model, or merge the two first"
            )
        raise UserError(f"{field}: {name!r} is no model directory: it has no config.json")
    require_files(folder, field)
    if not any(folder.glob("*.safetensors")):
        pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
        if pickled:
            raise pickles(field, name, pickled[0].name)
        raise UserError(f"{field}: {name!r} is no model directory: it has no *.safetensors")
    _require_weights(folder, field)
    return folder


def _require_weights(folder: Path, field: str) -> None:
    """Raises UserError where the config asks for far more than the files hold: to build such a model would fill the
    memory, or take hours, before the first weight is read."""
    config = _text_part(_json(folder / "config.json"))
    most = PER_BYTE * sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    width = next((config[key] for key in WIDTHS if isinstance(config.get(key), int)), 1)
    for key in SIZES:
        asked = config.get(key)
        if isinstance(asked, int) and asked * width > most:
            raise UserError(
                f"{field}: {str(folder / 'config.json')!r} says {key} = {asked} and a width of {width}, which are "
                "far more weights than its *.safetensors hold; put the model's own config there"
            )


def require_files(folder: Path, field: str = "policy.model") -> None:
    """Raises UserError where something else than a file has the name of one that is read: a pipe would hang, and
    a tokenizer of gigabytes would fill the memory."""
    for path in folder.iterdir():
        if path.suffix not in SUFFIXES:
            continue
        if not path.is_file():
            raise UserError(f"{field}: {str(path)!r} is not a file; put the model's own there, or remove it")
        if path.suffix != ".safetensors" and path.stat().st_size > LARGEST_TEXT:
            raise UserError(
                f"{field}: {str(path)!r} is larger than {LARGEST_TEXT:,} bytes; put the model's own there"
            )


def load_tokenizer(source: Source) -> Any:
    """The tokenizer, fast where there is one. Raises UserError, WorldError."""
    return _tokenizer(find(source), source)


def load_chat(source: Source, template: str = "auto") -> Chat:
    """How the model at `source` writes conversations (`chat.chat_of`). Raises UserError, WorldError."""
    return read_chat(find(source), source, template)


def read_chat(folder: Path, source: Source, template: str) -> Chat:
    """The same for a directory that need not hold weights. Raises UserError."""
    rows = _text_part(_json(folder / "config.json")).get("vocab_size")
    embeddings = rows if isinstance(rows, int) else None
    return chat_of(_tokenizer(folder, source), template, ends_of(folder), embeddings)


def ends_of(folder: Path) -> frozenset[int]:
    """The ids at which a model ends by its own account: those of its config and its generation config."""
    found: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        config = _json(folder / name) if (folder / name).is_file() else {}
        ids = config.get("eos_token_id", _text_part(config).get("eos_token_id"))
        found |= {i for i in (ids if isinstance(ids, list) else [ids]) if isinstance(i, int)}
    return frozenset(found)


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part about text of the config of a model that also reads something else."""
    part = config.get("text_config")
    return part if isinstance(part, dict) else config


def _json(path: Path) -> dict[str, Any]:
    try:
        value = documents.read_json(path)
    except documents.Unreadable as error:
        raise UserError(f"policy.model: cannot load {str(path)!r}: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"policy.model: cannot load {str(path)!r}: it holds no JSON object")
    return value


def _tokenizer(folder: Path, source: Source) -> Any:
    with quiet(), _one_line(source):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, trust_remote_code=source.trust_remote_code)


def load_model(source: Source, device: str, dtype: str, **options: Any) -> Any:
    """The causal language model on `device`, in evaluation mode, every weight from the files.

    `options` go to transformers as they are. Raises UserError, also where the files lack a weight: a policy that
    is partly random would answer; WorldError if memory does not suffice, that of the GPUs alone if it is on them.
    """
    folder = find(source)
    options = {**devices.placing(device), **options}
    with quiet(), _one_line(source), _enough_memory(source, device):
        import torch
        from transformers import AutoModelForCausalLM

        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, in one line
            trust_remote_code=source.trust_remote_code,
            **options,
        )
        lacking = sorted(info["missing_keys"]) + sorted(str(m) for m in info["mismatched_keys"])
        if lacking:
            raise UserError(
                f"policy.model: {source.name!r} lacks {len(lacking)} weights, the first: {lacking[0]}"
            )
        devices.require_whole(model, device)
        model.generation_config = savable(model.generation_config)
        return (model if options else model.to(device)).eval()


def savable(found: Any) -> Any:
    """Return a model's generation config in a form that transformers saves; `found` itself where it does.

    transformers loads a config with a temperature but without `do_sample` (Vicuna 1.5) and refuses to save it, with
    the whole model: a full fine-tuning would be lost at its end. Sampling is then switched on, as the publishers of
    Llama 2 did. Where that does not help, the ids of the special tokens are kept and nothing else.
    """
    from transformers import GenerationConfig

    sampled = copy.deepcopy(found)
    sampled.do_sample = True
    ids = {name: getattr(found, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if not isinstance(ids["pad_token_id"], int) or ids["pad_token_id"] < 0:
        ids["pad_token_id"] = None
    return next(c for c in (found, sampled, GenerationConfig(**ids)) if _refusal(c) is None)


def _refusal(config: Any) -> str | None:
    try:
        config.validate(strict=True)  # what saving does first
    except (ValueError, TypeError) as error:
        return str(error)
    return None


def generation_in(folder: Path, config: Any) -> Any:
    """The generation config that the model in `folder` is loaded with. Raises UserError."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return GenerationConfig.from_model_config(config)
    with quiet(), _one_line(Source(str(folder))):
        return GenerationConfig.from_pretrained(folder)


def require_savable(config: Any, tokenizer: Any, source: Source) -> None:
    """Raises UserError where transformers does not save a config or a tokenizer: known before a training, not after."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            copy.deepcopy(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except OSError:
            raise
        except (
            Exception
        ) as error:  # transformers, tokenizers and huggingface_hub each have errors of their own
            why = " ".join(str(error).split())[:200]
            raise UserError(
                f"policy.model: {source.name!r} loads, but transformers does not save it again ({why}), so a trained "
                "policy could not be written; mend its config.json or its tokenizer"
            ) from error


def context_of(config: Any) -> int:
    """How many tokens prompt and answer may have together."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", UNBOUNDED))


def config_in(folder: Path, source: Source) -> Any:
    """The config of the model in `folder`. Raises UserError."""
    with quiet(), _one_line(source):
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(folder, trust_remote_code=source.trust_remote_code)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or not: torch has several ways of saying so."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in OUT_OF_MEMORY)


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
def _enough_memory(source: Source, device: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise WorldError(
            f"out of memory while loading {source.name!r} on {device}; free memory and rerun to resume, or start anew "
            "with a smaller model or with policy.dtype = 'bfloat16'"
        ) from error


@contextlib.contextmanager
def _one_line(source: Source) -> Iterator[None]:
    """Turn the libraries' many ways of saying `I cannot read this` into one line: a damaged file may end in any."""
    try:
        yield
    except Exception as error:
        if isinstance(error, IterAlignError) or ran_out(error):
            raise
        raise UserError(f"policy.model: {_reason(source, f'{type(error).__name__}: {error}')}") from error


def _reason(source: Source, said: str) -> str:
    said = " ".join(said.split())
    if "trust_remote_code" in said:
        return (
            f"{source.name!r} needs code from its own repository, custom code that is not run unless you say so: read "
            "it, then set policy.trust_remote_code = true, or take a model that transformers knows"
        )
    if "Unrecognized configuration class" in said:
        return f"{source.name!r} is not a causal language model; name one that continues text"
    return f"cannot load {source.name!r}: {said[:200]}"
