"""`"explain": true`: which input is explained, and how the answer's document has it."""

from collections.abc import Callable
from typing import Any

from deployments.gateway.errors import bad_request
from deployments.gateway.recipes.explain import Explanation, explain_text
from deployments.gateway.recipes.inner_calls import InnerCalls
from deployments.gateway.recipes.recipe_call import RecipeCall

MOST_CHARS = 50_000

Messages = list[dict[str, str]]


def explained_input(call: RecipeCall) -> str:
    """The name of the text whose parts are left out in turn: the longest, if the caller does not say.

    Raises:
        GatewayError: 400, the recipe has no such input, or got no text, or more of it than is read for this.
    """
    given = {
        field.name: call.values[field.name]
        for field in call.recipe.inputs
        if field.type == "text" and call.values[field.name]
    }
    asked = call.explain.input if call.explain is not None else None
    if asked is not None and asked not in given:
        names = ", ".join(given) or "none"
        raise bad_request(f"'explain' names '{asked[:64]}', which is no text that was given: {names}.", "explain")
    if not given:
        raise bad_request("There is no text that could be explained.", "explain")
    refuse_long(call)
    return asked or max(given, key=lambda name: len(given[name]))


def refuse_long(call: RecipeCall) -> None:
    """It is read again for each part that is left out; of an answer that is a text, engines tell a log-probability for
    each token of the prompt each time.
    """
    chars = sum(len(message["content"]) for message in call.messages(call.ready.prompt))
    if chars > MOST_CHARS:
        message = f"'explain' is for prompts of up to {MOST_CHARS} characters, and this one has {chars}: leave it out."
        raise bad_request(message, "explain")


def rendering(call: RecipeCall, name: str) -> Callable[[str], Messages]:
    """The prompt with another text for one input."""
    return lambda text: call.messages(call.ready.prompt, **{name: text})


async def explained(calls: InnerCalls, call: RecipeCall, answer: str) -> dict[str, Any] | None:
    """Why the model wrote `answer`, as it wrote it, if the caller wants to know.

    Raises:
        GatewayError: see `explained_input`; others as of a plain request.
    """
    if call.explain is None:
        return None
    name = explained_input(call)
    why = await explain_text(calls, call.model, rendering(call, name), call.values[name], answer, call.explain.unit)
    return explanation_of(name, why)


def explanation_of(name: str, why: Explanation) -> dict[str, Any]:
    return {"input": name, **why.document()}
