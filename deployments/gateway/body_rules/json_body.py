"""Step 1: the bytes of a body become a document, or are refused before anything looks into it."""

from typing import Any

import orjson

from deployments.gateway.body_rules.shape import MOST_BRACKETS, has_too_many_parts
from deployments.gateway.errors import GatewayError, too_many_parts


def json_object(body: bytes) -> dict[str, Any]:
    """Raises:
    GatewayError: 400, it is no JSON object, or has too many parts.
    """
    if has_too_many_parts(body):
        raise too_many_parts(MOST_BRACKETS)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GatewayError(400, "invalid_json", f"The body is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise GatewayError(400, "invalid_json", f"The body must be a JSON object, not {json_type(document)}.")
    return document


def json_type(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")
