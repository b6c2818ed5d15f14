"""A section of a config: what all have in common, and those whose words only one implementation reads."""

from pydantic import BaseModel, ConfigDict, Field

MANY = 1_000_000
"""The most of anything that is counted out in memory, as prompts are (chosen: the paper's preset asks for as many)."""
DAY_S = 86_400


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class Vllm(Section):
    """The server behind `policy.backend = "vllm"`: started for the run by `python` (null: this interpreter) with
    `args`, or one that runs already, at `url`. `sleep`: whether it leaves the GPU while training (null: if on one).
    """

    python: str | None = None
    url: str | None = None
    args: tuple[str, ...] = ()
    sleep: bool | None = None
    start_timeout_s: float = Field(600.0, gt=0, le=DAY_S)
    timeout_s: float = Field(600.0, gt=0, le=DAY_S)
