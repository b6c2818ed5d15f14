"""IterAlign: find where a language model fails, and mend it, with a constitution discovered from data.

Read `loop.py` first: it is the algorithm. The names below are the public interface;
none of them loads a model library, and each is loaded when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iteralign.errors import IterAlignError, UserError, WorldError
    from iteralign.loop import iteralign
    from iteralign.protocols import Journal, Lab, Model, Trainer
    from iteralign.settings import Method
    from iteralign.types import (
        Checkpoint,
        Constitution,
        Conversation,
        Iteration,
        Label,
        Material,
        Message,
        Metrics,
        Principle,
        Prompt,
        Rate,
        Reply,
        Response,
        Revision,
        Sampling,
        Verdict,
    )

__version__ = "0.1.0"

__all__ = [
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

_HOMES = {
    **dict.fromkeys(("IterAlignError", "UserError", "WorldError"), "errors"),
    **dict.fromkeys(("Journal", "Lab", "Model", "Trainer"), "protocols"),
    "Method": "settings",
    "iteralign": "loop",
}
"""Where a name of the interface is defined; all others are in `types`."""


def __getattr__(name: str) -> Any:
    """Load a name of the interface: `iteralign --help` needs none of them, and pydantic takes a while."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"iteralign.{_HOMES.get(name, 'types')}"), name)
