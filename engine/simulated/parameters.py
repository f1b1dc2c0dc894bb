"""What the simulated engine reads of a request."""

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from engine.simulated.tokens import standing_for

DEFAULT_TOKENS = 64


class StreamOptions(BaseModel):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class SamplingParameters(BaseModel):
    max_tokens: int = Field(DEFAULT_TOKENS, ge=1)
    logprob_token_ids: list[int] = Field([], max_length=128)
    prompt_logprobs: int | None = None


class Parameters(BaseModel):
    """Everything else that a real engine knows is accepted and ignored."""

    model_config = ConfigDict(extra="ignore")
    model: str | None = None
    prompt: str | list[str] | list[int] | None = None
    messages: list[dict[str, Any]] | None = None
    input: str | list[Any] | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    max_output_tokens: int | None = Field(None, ge=1)
    n: int = Field(1, ge=1, le=128)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tokens: list[int] | None = None
    token_ids: list[int] = []
    sampling_params: SamplingParameters | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False

    def text(self) -> str:
        """The prompt as one string."""
        if self.token_ids:
            return standing_for(self.token_ids)
        given = self.messages or self.input or self.prompt or ""
        return given if isinstance(given, str) else orjson.dumps(given).decode()

    def output_tokens(self) -> int:
        if self.sampling_params is not None:
            return self.sampling_params.max_tokens
        return self.max_completion_tokens or self.max_tokens or self.max_output_tokens or DEFAULT_TOKENS
