"""The gateway's OpenAPI document, made of the tables that it decides by. Not served; a copy is in docs.

python -m deployments.gateway.openapi > docs/openapi.json
"""

import sys
from typing import Any

import orjson

from deployments.gateway.body_rules.fields import ROUTES
from deployments.gateway.body_rules.values import Value

READ_ONLY_ROUTES = ("/v1/models", "/health")
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
    422: "The engine refuses it.",
    429: "A limit of the tenant's.",
    431: "The headers are too large.",
    503: "No replica is free or ready; `Retry-After` says when one may be.",
}
NULL = {"type": "null"}


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    generating = {path.decode(): {"post": generation(path, fields)} for path, fields in ROUTES.items()}
    reading = {path: {"get": {"responses": responses("application/json")}} for path in READ_ONLY_ROUTES}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Baryon's gateway", "version": "1"},
        "paths": {**generating, **reading},
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
