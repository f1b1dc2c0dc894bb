"""`generate`: text, whole or as it comes."""

from deployments.gateway.answer_tap import NewTap
from deployments.gateway.errors import bad_request
from deployments.gateway.recipes.decoded import Decoded, text_of
from deployments.gateway.recipes.engine_routes import CHAT
from deployments.gateway.recipes.explained import explained
from deployments.gateway.recipes.inner_calls import InnerCalls
from deployments.gateway.recipes.long_text import Messages, fitting
from deployments.gateway.recipes.recipe_call import RecipeCall
from deployments.gateway.recipient import Recipient


async def generate(calls: InnerCalls, call: RecipeCall, context_tokens: int | None) -> Decoded:
    """`context_tokens` of the model, as far as known.

    Raises:
        GatewayError: as of a plain request; 400, a text that is too long.
    """
    messages, pieces = await fitting(calls, call, context_tokens, say=lambda words: None)
    if pieces and call.explain is not None:
        raise bad_request(
            "'explain' needs the text in one piece, and it is longer than the model's context.", "explain"
        )
    text, reason = text_of(await calls.ask(CHAT, call.chat(messages)))
    more = {"pieces": pieces} if call.recipe.long_text is not None else {}
    return Decoded(text.strip(), {"finish_reason": reason, **more}, await explained(calls, call, text))


async def stream(
    calls: InnerCalls, call: RecipeCall, messages: Messages, recipient: Recipient, new_tap: NewTap
) -> None:
    """The events of a chat completion, with the usage at their end; what goes wrong is told as in every stream."""
    asked = {**call.chat(messages), "stream": True, "stream_options": {"include_usage": True}}
    await calls.pass_on(CHAT, asked, recipient, new_tap)
