"""What came out of a recipe: the answer, and what else there is to say of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.gateway.errors import GatewayError, engine_error
from deployments.gateway.usage import Usage


@dataclass(frozen=True, slots=True)
class Decoded:
    """`more`: further fields of the document that the client gets. `explanation`: if it was wanted."""

    output: Any
    more: dict[str, Any] = field(default_factory=dict)
    explanation: dict[str, Any] | None = None


def text_of(answer: dict[str, Any]) -> tuple[str, str]:
    """The text of a chat completion, and why it ended.

    Raises:
        GatewayError: 500, that is not what the engine's answer is.
    """
    try:
        choice = answer["choices"][0]
        text, reason = choice["message"]["content"] or "", choice["finish_reason"]
    except (KeyError, IndexError, TypeError):
        raise engine_error() from None
    if not isinstance(text, str):
        raise engine_error()
    return text, str(reason)


def usage_of(answer: Mapping[str, Any]) -> Usage | None:
    """What an engine's whole answer says it took; None if it says nothing."""
    told = answer.get("usage")
    if not isinstance(told, dict) or "prompt_tokens" not in told:
        return None
    cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(told["prompt_tokens"], told.get("completion_tokens") or 0, cached)


def cut_off(what: str, max_tokens: int) -> GatewayError:
    message = (
        f"The answer ended at 'max_tokens' ({max_tokens}) before {what} was complete. Ask for more tokens, or for a "
        "smaller answer."
    )
    return GatewayError(422, "answer_cut_off", message, "max_tokens")
