"""A text that is longer than the model's context: each piece is asked for, then all their answers together."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deployments.gateway.errors import GatewayError, engine_error
from deployments.gateway.recipes.decoded import text_of
from deployments.gateway.recipes.engine_routes import CHAT, TOKENIZE
from deployments.gateway.recipes.inner_calls import InnerCalls
from deployments.gateway.recipes.pieces import pieces
from deployments.gateway.recipes.recipe_call import RecipeCall, continued
from deployments.gateway.recipes.recipe_file import Prompt

MOST_PIECES = 128
MOST_ROUNDS = 4
SHORTEST_PIECE = 16
LEAST_ROOM_TOKENS = 64
ROOM_USED = 0.9
TEMPLATE_TOKENS = 64

Messages = list[dict[str, str]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Counted:
    """A prompt in tokens, and how many the model takes with its answer."""

    tokens: int
    context_tokens: int


async def fitting(calls: InnerCalls, call: RecipeCall, context_tokens: int | None, say: Say) -> tuple[Messages, int]:
    """Messages that the model's context has room for, and how many pieces were asked for to get them. `context_tokens`:
    as far as known. `say` gets what is being done.

    Raises:
        GatewayError: 400, even the pieces are too many or too large; others as of a plain request.
    """
    messages, long = call.messages(call.ready.prompt), call.recipe.long_text
    if long is None or call.ready.combine is None or surely_fits(messages, call.max_tokens, context_tokens):
        return messages, 0
    text, asked = call.values[long.field], 0
    for _ in range(MOST_ROUNDS):
        counted = await count(calls, call, messages)
        if counted.tokens + call.max_tokens <= counted.context_tokens:
            return messages, asked
        answers = await of_pieces(calls, call, text, counted, say)
        asked += len(answers)
        text = "\n\n".join(answers)
        messages = call.messages(call.ready.combine, **{long.field: text})
    raise too_long(call)


def surely_fits(messages: Messages, max_tokens: int, context_tokens: int | None) -> bool:
    """No token stands for less than a byte, but for those of the chat template."""
    if context_tokens is None:
        return False
    size_bytes = sum(len(message["content"].encode()) + TEMPLATE_TOKENS for message in messages)
    return size_bytes + max_tokens <= context_tokens


async def count(calls: InnerCalls, call: RecipeCall, messages: Messages) -> Counted:
    asked = {"model": call.model, "messages": messages, "add_generation_prompt": True, **continued(messages)}
    answer = await calls.ask(TOKENIZE, asked)
    try:
        return Counted(int(answer["count"]), int(answer["max_model_len"]))
    except (KeyError, TypeError, ValueError):
        raise engine_error() from None


async def of_pieces(calls: InnerCalls, call: RecipeCall, text: str, whole: Counted, say: Say) -> list[str]:
    """What the model makes of each piece of `text`; `whole`: the prompt that was too long with all of it."""
    long, prompt = call.recipe.long_text, call.ready.piece
    assert long is not None
    assert prompt is not None
    frame = await count(calls, call, call.messages(prompt, **{long.field: "."}))
    answer_tokens = min(long.max_tokens, whole.context_tokens // 4)
    room_tokens = whole.context_tokens - answer_tokens - frame.tokens
    if room_tokens < LEAST_ROOM_TOKENS:
        raise too_long(call)
    most_chars = max(1, int(room_tokens * ROOM_USED * len(text) / whole.tokens))
    if len(text) > MOST_PIECES * most_chars:
        raise too_long(call)
    cut = await small_enough(calls, call, prompt, list(pieces(text, most_chars)), whole.context_tokens - answer_tokens)
    say(f"{call.recipe.name}: the text is longer than the context of {call.model}; {len(cut)} pieces are read first")
    asked = [call.chat(call.messages(prompt, **{long.field: piece}), answer_tokens) for piece in cut]
    answers = await asyncio.gather(*(calls.ask(CHAT, one) for one in asked))
    return [text_of(answer)[0].strip() for answer in answers]


async def small_enough(
    calls: InnerCalls, call: RecipeCall, prompt: Prompt, cut: list[str], most_tokens: int
) -> list[str]:
    """Pieces whose text has more tokens for its length than the whole has are halved until they fit."""
    long = call.recipe.long_text
    assert long is not None
    texts = [piece for piece in cut if piece.strip()]
    while True:
        counts = await asyncio.gather(
            *(count(calls, call, call.messages(prompt, **{long.field: piece})) for piece in texts)
        )
        fits = [counted.tokens <= most_tokens for counted in counts]
        if all(fits):
            return texts
        if any(len(piece) < SHORTEST_PIECE for piece, is_small in zip(texts, fits, strict=True) if not is_small):
            raise too_long(call)
        texts = [
            half
            for piece, is_small in zip(texts, fits, strict=True)
            for half in ([piece] if is_small else pieces(piece, max(1, len(piece) // 2)))
        ]
        if len(texts) > MOST_PIECES:
            raise too_long(call)


def too_long(call: RecipeCall) -> GatewayError:
    field: Any = call.recipe.long_text.field if call.recipe.long_text else "inputs"
    message = f"'{field}' is too long for {call.model}, even in {MOST_PIECES} pieces. Send less of it, or ask a model "
    return GatewayError(400, "text_too_long", message + "with a longer context.", f"inputs.{field}")
