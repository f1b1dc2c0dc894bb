"""The gateway's OpenAPI document, made of the tables that it decides by. Not served; a copy is in docs.

python -m deployments.gateway.openapi > docs/openapi.json
"""

import sys
from typing import Any

import orjson

from deployments.gateway.body_rules.fields import ROUTES
from deployments.gateway.body_rules.values import Value
from deployments.gateway.recipes.inputs import inputs_schema
from deployments.gateway.recipes.recipe import NAME, Recipe
from deployments.gateway.recipes.recipe_call import FIELDS
from deployments.gateway.recipes.shelf import shipped

READ_ONLY_ROUTES = ("/v1/models", "/v1/recipes", "/health")
RECIPE = "/v1/recipes/{name}"
REQUIRED: dict[bytes, list[str]] = {
    b"/v1/chat/completions": ["messages"],
    b"/v1/completions": ["prompt"],
    b"/v1/responses": ["input"],
    b"/v1/messages": ["messages", "max_tokens"],
    b"/v1/embeddings": [],
    b"/tokenize": [],
    b"/detokenize": ["tokens"],
}
STATUSES = {
    400: "A field is wrong, unknown or not taken from clients; `param` names it.",
    401: "An API key is needed, or the one sent is wrong, expired or revoked.",
    403: "A web page whose origin the operator has not allowed.",
    404: "No such model, or one that does not serve this route.",
    405: "Another method is meant.",
    408: "The request did not arrive in time.",
    413: "The body is too large.",
    422: "The engine refuses it; of a recipe: the answer is not JSON of its schema, or was cut off.",
    429: "A limit of the tenant's.",
    431: "The headers are too large.",
    500: "The engine failed at it.",
    502: "Of a choice: the engine does not tell probabilities, as one that is too old.",
    503: "No replica is free or ready; `Retry-After` says when one may be.",
    504: "An engine, or a whole recipe, took too long.",
}
NULL = {"type": "null"}
CHANCES = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}}
RECIPE_ANSWER = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "recipe.answer"},
        "recipe": {"type": "string"},
        "model": {"type": "string"},
        "output": {"description": "The text, the JSON document, or the label."},
        "finish_reason": {"type": "string", "description": "Of a text."},
        "pieces": {"type": "integer", "description": "Into how many a text longer than the context was cut; else 0."},
        "probabilities": {**CHANCES, "description": "Of each label; their sum is 1."},
        "uncalibrated": {**CHANCES, "description": "The same as the model has them, its habits not divided out."},
        "cost": {"type": "object", "description": "Of a choice: engine calls, and tokens."},
        "explanation": {"type": "object", "description": "Which part of the input speaks how much for the answer."},
        "usage": {"type": "object"},
        "calls": {"type": "array", "description": "The engine calls that it took, by their request ids."},
    },
    "required": ["id", "object", "recipe", "model", "output", "usage", "calls"],
}


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    generating = {path.decode(): {"post": generation(path, fields)} for path, fields in ROUTES.items()}
    reading = {path: {"get": {"responses": responses("application/json")}} for path in READ_ONLY_ROUTES}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Baryon's gateway", "version": "1"},
        "paths": {**generating, **reading, **recipes()},
        "components": {"responses": errors()},
    }


def generation(path: bytes, fields: dict[str, Value]) -> dict[str, Any]:
    properties = {name: or_null(value.schema) for name, value in fields.items()} | {"model": {"type": "string"}}
    body = {
        "type": "object",
        "properties": properties,
        "required": ["model", *REQUIRED[path]],
        "additionalProperties": False,
    }
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": responses("application/json", "text/event-stream"),
    }


def recipes() -> dict[str, Any]:
    """Those that are shipped, each with its inputs; an operator's are found by `GET /v1/recipes`."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "pattern": NAME}}
    one = {"parameters": [name], "get": {"responses": responses("application/json")}}
    shown = {f"/v1/recipes/{ready.recipe.name}": recipe(ready.recipe) for ready in shipped().values()}
    any_of_them = {**one, "post": recipe_call({"type": "object"}, "text/event-stream")}
    return {RECIPE: any_of_them, **dict(sorted(shown.items()))}


def recipe(known: Recipe) -> dict[str, Any]:
    streams = ("text/event-stream",) if known.output.kind == "generate" else ()
    called = recipe_call(inputs_schema(known.inputs), *streams)
    return {
        "get": {"summary": known.about, "responses": responses("application/json")},
        "post": {"summary": known.about, **called},
    }


def recipe_call(inputs: dict[str, Any], *streams: str) -> dict[str, Any]:
    properties = {name: or_null(value.schema) for name, value in FIELDS.items()} | {"inputs": inputs}
    body = {"type": "object", "properties": properties, "required": ["inputs"], "additionalProperties": False}
    told = responses("application/json", *streams)
    told["200"]["content"]["application/json"] = {"schema": RECIPE_ANSWER}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}, "responses": told}


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, NULL]} if schema else schema


def responses(*kinds: str) -> dict[str, Any]:
    refused = {str(status): {"$ref": f"#/components/responses/{status}"} for status in STATUSES}
    return {"200": {"description": "The answer.", "content": {kind: {} for kind in kinds}}, **refused}


def errors() -> dict[str, Any]:
    told = {"error": {"type": "object", "required": ["message"]}}
    error = {"application/json": {"schema": {"type": "object", "properties": told, "required": ["error"]}}}
    return {str(status): {"description": why, "content": error} for status, why in STATUSES.items()}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
