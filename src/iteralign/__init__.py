"""IterAlign: find where a language model fails, and mend it, with a constitution discovered from data.

Read `loop.py` first: it is the algorithm. The names below are the public interface;
none of them loads a model library.
"""

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
