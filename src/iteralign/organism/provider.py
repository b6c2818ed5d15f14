"""The organism's oracle as a provider of inspect_ai, `organism/oracle`: the same API as any real LLM."""

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
from iteralign.organism import comparing, oracle
from iteralign.organism.tokens import count


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
        if model_name != "oracle":
            raise unknown("model of the organism", model_name, ["oracle"])
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
        text = comparing.answer(messages) or oracle.answer(messages)
        output = ModelOutput.from_content(model=self.model_name, content=text)
        spent, made = sum(count(content) for _, content in messages), count(text)
        output.usage = ModelUsage(input_tokens=spent, output_tokens=made, total_tokens=spent + made)
        return output
