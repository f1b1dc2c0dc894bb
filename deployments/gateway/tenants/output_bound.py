"""How many tokens a request allows its answers to have together."""

from typing import Any

from engine.guard import TOKENS_ROUTE

WITHOUT_OUTPUT = frozenset({b"/v1/embeddings", b"/tokenize", b"/detokenize"})
COMPLETIONS = b"/v1/completions"
COMPLETIONS_DEFAULT_TOKENS = 16
BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


def output_at_most(path: bytes, document: dict[str, Any]) -> int | None:
    """None: as many as the model's context has room for. The document is checked already."""
    if path in WITHOUT_OUTPUT:
        return 0
    if path == TOKENS_ROUTE:
        document = document["sampling_params"]
    default = COMPLETIONS_DEFAULT_TOKENS if path == COMPLETIONS else None
    bound = next((document[name] for name in BOUNDS if document.get(name) is not None), default)
    if bound is None:
        return None
    return int(bound) * prompts_in(document) * max(1, document.get("n") or 1, document.get("best_of") or 1)


def prompts_in(document: dict[str, Any]) -> int:
    """`prompt` is a text, a list of token ids (one prompt), or a list of either."""
    prompt = document.get("prompt")
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
