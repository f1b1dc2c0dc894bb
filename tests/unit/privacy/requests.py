"""Requests of every route with the same data in every text that they have."""

from typing import Any

from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.redaction import Redaction

EMAIL, PHONE, CARD = "ann@example.com", "+49 30 901820", "4111 1111 1111 1111"
IBAN, IP = "DE89 3704 0044 0532 0130 00", "203.0.113.7"
VALUES = (EMAIL, PHONE, CARD, IBAN, IP)
DATA = f"{EMAIL}, {PHONE}; {CARD} / {IBAN} from {IP}"
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,4111111111111111"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": f'{{"to": "{DATA}"}}'}}
TOOL = {"name": "send", "description": DATA, "parameters": {"type": "object", "properties": {"to": {"enum": [DATA]}}}}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": DATA},
    {"role": "user", "name": EMAIL, "content": [{"type": "text", "text": DATA}, PICTURE]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": DATA},
]
REQUESTS: dict[bytes, dict[str, Any]] = {
    b"/v1/chat/completions": {
        "messages": CONVERSATION,
        "tools": [{"type": "function", "function": TOOL}],
        "stop": [EMAIL],
        "user": EMAIL,
        "metadata": {"who": EMAIL},
        "structured_outputs": {"choice": [EMAIL, "other"]},
        "prediction": {"type": "content", "content": DATA},
    },
    b"/v1/completions": {"prompt": [DATA, f"again {DATA}"], "suffix": DATA, "stop": EMAIL},
    b"/v1/responses": {
        "instructions": DATA,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": DATA}]},
            {"type": "function_call", "call_id": "c", "name": "send", "arguments": f'["{DATA}"]'},
            {"type": "function_call_output", "call_id": "c", "output": DATA},
        ],
        "tools": [{"type": "function", **TOOL}],
    },
    b"/v1/messages": {
        "system": [{"type": "text", "text": DATA}],
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": DATA},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "send", "input": {"to": [DATA]}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": DATA}]}],
            },
            {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": DATA}}]},
        ],
        "stop_sequences": [EMAIL],
        "metadata": {"user_id": EMAIL},
    },
    b"/v1/embeddings": {"input": [DATA, EMAIL]},
    b"/tokenize": {"messages": CONVERSATION},
}


def redaction(*, keeps_literals: bool = True, names: dict[str, list[str]] | None = None) -> Redaction:
    return Redaction(Detector(("US",)), names or {}, keeps_literals=keeps_literals)
