"""Which strings of a request people or models said, apart from what only holds them together or describes tools."""

from collections.abc import Iterator
from typing import Any

from deployments.gateway.privacy.media_values import is_medium
from deployments.gateway.prompt_blocks import BEFORE_THE_TURNS, TURNS

FIRST = (*BEFORE_THE_TURNS, *TURNS)
SAID = frozenset(
    {
        *("content", "text", "input", "prompt", "system", "instructions", "suffix", "output", "arguments", "refusal"),
        *("thinking", "reasoning", "reasoning_content", "title", "context", "summary", "data"),
    }
)
STRUCTURE = frozenset(
    {
        *("role", "type", "id", "call_id", "tool_call_id", "tool_use_id", "status", "media_type", "detail", "format"),
        *("cache_control", "signature", "encrypted_content"),
    }
)


def is_said(field: str, *, within_said: bool) -> bool:
    return field in SAID or (within_said and field not in STRUCTURE)


def said_texts(document: dict[str, Any]) -> Iterator[str]:
    """In the order in which a model reads them."""
    for name in FIRST:
        if name in document:
            yield from _texts(document[name], said=is_said(name, within_said=False))


def _texts(value: Any, *, said: bool) -> Iterator[str]:
    if isinstance(value, str):
        if said:
            yield value
    elif isinstance(value, dict):
        for key in value:
            if not is_medium(value, key):
                yield from _texts(value[key], said=is_said(key, within_said=said))
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, said=said)
