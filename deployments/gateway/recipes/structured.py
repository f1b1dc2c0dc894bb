"""`json`: a document that parses and satisfies its schema, or an error that says why there is none."""

from typing import Any

import orjson

from deployments.gateway.body_rules.shape import DEEPEST, is_too_deep
from deployments.gateway.errors import GatewayError
from deployments.gateway.recipes.decoded import Decoded, cut_off, text_of
from deployments.gateway.recipes.engine_routes import CHAT
from deployments.gateway.recipes.explained import explained
from deployments.gateway.recipes.inner_calls import InnerCalls
from deployments.gateway.recipes.recipe_call import RecipeCall
from deployments.gateway.recipes.schema_check import SchemaCheck


async def structured(calls: InnerCalls, call: RecipeCall, check: SchemaCheck) -> Decoded:
    """The engine is held to the schema while it writes; what it wrote is checked all the same.

    Raises:
        GatewayError: 422, the answer was cut off, or does not satisfy the schema; others as of a plain request.
    """
    schema = schema_of(call)
    held = {"type": "json_schema", "json_schema": {"name": call.recipe.name, "schema": schema}}
    asked = {**call.chat(call.messages(call.ready.prompt)), "response_format": held}
    text, reason = text_of(await calls.ask(CHAT, asked))
    document = document_of(text, reason, call.max_tokens)
    if problem := await check.problem(schema, document):
        message = f"The model's answer does not satisfy the schema: {problem}"
        raise GatewayError(422, "schema_not_satisfied", message)
    return Decoded(document, explanation=await explained(calls, call, text))


def schema_of(call: RecipeCall) -> dict[str, Any]:
    output = call.recipe.output
    schema = call.values[output.schema_from] if output.schema_from is not None else output.json_schema
    assert isinstance(schema, dict)
    return schema


def document_of(text: str, reason: str, max_tokens: int) -> Any:
    """Raises:
    GatewayError: 422.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        if reason == "length":
            raise cut_off("its JSON", max_tokens) from None
        raise GatewayError(422, "answer_not_json", "The model's answer is not JSON.") from None
    if is_too_deep([document]):
        raise GatewayError(
            422, "answer_not_json", f"The model's answer is JSON that is nested more than {DEEPEST} deep."
        )
    return document
