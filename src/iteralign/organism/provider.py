"""The organism's oracle and guard as a provider of inspect_ai, `organism/oracle` and `organism/guard`: the same API
as any real LLM."""

from typing import Any

from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from iteralign.errors import unknown
from iteralign.organism import comparing, guard, oracle
from iteralign.organism.tokens import count

MODELS = {"oracle": oracle.answer, "guard": guard.answer}


@modelapi(name="organism")
class OrganismAPI(ModelAPI):
    """Answers by rules, at once, in this process."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        **model_args: Any,
    ) -> None:
        if model_name not in MODELS:
            raise unknown("model of the organism", model_name, MODELS)
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self.fingerprint = oracle.fingerprint()

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        messages = [(m.role, m.text) for m in input]
        text = comparing.answer(messages) or MODELS[self.model_name](messages)
        output = ModelOutput.from_content(model=self.model_name, content=text)
        spent, made = sum(count(content) for _, content in messages), count(text)
        output.usage = ModelUsage(input_tokens=spent, output_tokens=made, total_tokens=spent + made)
        return output
