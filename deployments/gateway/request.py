"""Step 1: read the request. What the gateway itself must know; the engine checks the rest."""

from dataclasses import dataclass
from typing import Any

import orjson

from deployments.gateway.errors import GatewayError, bad_request

BYTES_PER_TOKEN = 4
STATEFUL_FIELDS = {
    "previous_response_id": "send the whole conversation in 'input'",
    "conversation": "send the whole conversation in 'input'",
    "background": "wait for the answer, or stream it",
}


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """`prompt_tokens` is a guess from the body's size, good enough to weigh one replica's load against another's."""

    model: str
    stream: bool
    prompt_tokens: int


def read_inference_request(body: bytes) -> InferenceRequest:
    """Raises:
    GatewayError: not JSON, not an object, a field of the wrong type, or one that needs a server with memory.
    """
    document = _object(body)
    model = document.get("model")
    if model is None:
        raise bad_request("The field 'model' is missing.", "model", "missing_required_parameter")
    if not isinstance(model, str):
        raise bad_request(f"'model' must be a string, not {_json_type(model)}.", "model", "invalid_type")
    stream = document.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise bad_request(f"'stream' must be true or false, not {_json_type(stream)}.", "stream", "invalid_type")
    for field, instead in STATEFUL_FIELDS.items():
        if document.get(field):
            message = f"'{field}' is not supported: replicas keep no conversation between requests; {instead}."
            raise bad_request(message, field, "unsupported_parameter")
    return InferenceRequest(model, bool(stream), max(1, len(body) // BYTES_PER_TOKEN))


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GatewayError(400, "invalid_json", f"The body is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise GatewayError(400, "invalid_json", f"The body must be a JSON object, not {_json_type(document)}.")
    return document


def _json_type(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")
