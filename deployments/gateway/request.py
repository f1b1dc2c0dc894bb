"""Step 1: read the request. What the gateway itself must know; the engine checks the rest."""

from dataclasses import dataclass
from typing import Any

import orjson

from deployments.gateway.answer_tap import AnswerTap, NewTap
from deployments.gateway.body_rules.content import MediaReference
from deployments.gateway.body_rules.json_body import json_object, json_type
from deployments.gateway.body_rules.rules import check_body
from deployments.gateway.cache_salt import SALTED_ROUTES
from deployments.gateway.errors import bad_request
from deployments.gateway.prompt_blocks import PromptBlocks, blocks_of, prompt_blocks, token_blocks
from deployments.gateway.recipient import Header
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.output_bound import output_at_most, prompts_in
from deployments.gateway.usage import UsageWanted, asking_for_usage
from engine.guard import TOKENS_ROUTE

ONLY_TOKENIZED = frozenset({b"/tokenize", b"/detokenize"})
STATEFUL_FIELDS = {
    "previous_response_id": "send the whole conversation in 'input'",
    "conversation": "send the whole conversation in 'input'",
    "background": "wait for the answer, or stream it",
}


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """`body` is what the engine gets: it asks for the usage that the router learns from and the ledger counts.

    `usage_wanted`: what of that the client asked for; it does not get the rest. `choices` to each of `prompts`.
    `output_at_most`: tokens; None if not bounded. `redacted`: what the client is told of its personal data, if that was
    taken out of the body. `new_tap`: what looks at its answer. `waits_for_slot`: it is the rest of what was let in,
    so it waits for others of its tenant instead of being refused.
    """

    model: str
    stream: bool
    prompt: PromptBlocks
    body: bytes
    usage_wanted: UsageWanted | None = None
    prompts: int = 1
    choices: int = 1
    output_at_most: int | None = None
    redacted: Header | None = None
    new_tap: NewTap = AnswerTap
    waits_for_slot: bool = False


def read_document(path: bytes, body: bytes, settings: GatewaySettings) -> tuple[dict[str, Any], list[MediaReference]]:
    """What is asked, checked, and the media that are still to be fetched for it.

    Raises:
        GatewayError: not JSON, not an object, a field that is not taken or of the wrong type, or one that needs a
            server with memory.
    """
    document = json_object(body)
    model = document.get("model")
    if model is None:
        raise bad_request("The field 'model' is missing.", "model", "missing_required_parameter")
    if not isinstance(model, str):
        raise bad_request(f"'model' must be a string, not {json_type(model)}.", "model", "invalid_type")
    stream = document.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise bad_request(f"'stream' must be true or false, not {json_type(stream)}.", "stream", "invalid_type")
    for field, instead in STATEFUL_FIELDS.items():
        if document.get(field):
            message = f"'{field}' is not supported: replicas keep no conversation between requests; {instead}."
            raise bad_request(message, field, "unsupported_parameter")
    return document, check_body(path, document, settings)


def inference_request(path: bytes, document: dict[str, Any], cache_salt: str | None) -> InferenceRequest:
    """The engine gets the document as it was understood here, not the bytes it came in: of a key that came twice, it
    knows only the value that was checked. `cache_salt`: of the tenant, if there are tenants.
    """
    model, stream = document["model"], bool(document.get("stream"))
    salt: bytes = model.encode("utf-8", "replace")
    if cache_salt is not None:
        salt += b"\0" + cache_salt.encode()
    prompt = blocks_to_compute(path, document, salt)
    if cache_salt is not None and path in SALTED_ROUTES:
        document["cache_salt"] = cache_salt
    body, wanted = asking_for_usage(path, orjson.dumps(document), document)
    prompts, choices = prompts_in(document), document.get("n") or 1
    return InferenceRequest(model, stream, prompt, body, wanted, prompts, choices, output_at_most(path, document))


def blocks_to_compute(path: bytes, document: dict[str, Any], salt: bytes) -> PromptBlocks:
    """Of what is only made into tokens, or text again, nothing: no model reads it, and no cache holds it then."""
    if path in ONLY_TOKENIZED:
        return blocks_of(b"", salt)
    return token_blocks(document["token_ids"], salt) if path == TOKENS_ROUTE else prompt_blocks(document, salt)
