"""LoRA adapters: put beside a base, and refused where they were made for another one.

peft loads an adapter of another model as far as names and shapes agree and leaves the rest random or out, with
a warning at most; the policy would then answer as nobody trained it. Here the two must match in every tensor.
"""

from pathlib import Path
from typing import Any

from iteralign.errors import UserError
from iteralign.lm import weights

FILE = "adapter_model.safetensors"


def beside(base: Any, folder: Path, name: str, trainable: bool = False) -> Any:
    """`base` with the adapter in `folder` beside it; `name` is what the base is called.

    Raises UserError if the adapter is damaged or was made for another base; `base` is not to be used then.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="pt") as file:
            stored = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (no mapping)
        with weights.quiet():
            model = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
    except (OSError, SafetensorError) as error:
        raise UserError(f"checkpoint {folder.name}: its adapter cannot be read: {_line(error)}") from error
    except (RuntimeError, ValueError, KeyError) as error:
        if weights.ran_out(error):
            raise
        raise _other(folder, name, _line(error)) from error
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    wanted = {key: tuple(tensor.shape) for key, tensor in state.items()}
    if wanted != stored:
        model.unload()
        first = min(key for key in {*wanted, *stored} if wanted.get(key) != stored.get(key))
        raise _other(folder, name, f"{first} is {stored.get(first)} there and {wanted.get(first)} here")
    return model


def _other(folder: Path, base: str, why: str) -> UserError:
    return UserError(
        f"checkpoint {folder.name}: this adapter was not made for {base!r} ({why}); set policy.model to the base that "
        "its adapter_config.json names, or start a new run"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
