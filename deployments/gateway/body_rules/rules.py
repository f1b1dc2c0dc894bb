"""Step 1, continued: nothing reaches an engine that the tables of this folder do not know, or that is beyond them."""

import difflib
import re
from typing import Any
from urllib.parse import urlsplit

from deployments.gateway.body_rules.content import (
    DATA,
    MOST_REMOTE_MEDIA,
    MediaReference,
    content_problem,
    media_references,
    parts,
)
from deployments.gateway.body_rules.fields import MOST_INPUTS, MOST_TOKENS, REFUSED, ROUTES
from deployments.gateway.body_rules.shape import DEEPEST, is_too_deep
from deployments.gateway.errors import GatewayError, bad_request
from deployments.gateway.settings import GatewaySettings

MOST_SEQUENCES = 128
LONGEST_NAME_SHOWN = 64
PLAIN_URL = re.compile(r"https://[\w.-]{1,255}/[\w.~:/?#@!$&'()*+,;=%-]{0,4096}", re.ASCII)


def check_body(path: bytes, document: dict[str, Any], settings: GatewaySettings) -> list[MediaReference]:
    """The media that the gateway has to fetch, from hosts that the operator allows.

    Raises:
        GatewayError: 400, what is wrong with which field.
    """
    if is_too_deep(document):
        raise bad_request(f"The body is nested more than {DEEPEST} deep.", code="invalid_json")
    check_fields(path, document, settings)
    check_together(path, document, settings)
    return remote_media(document, settings)


def check_fields(path: bytes, document: dict[str, Any], settings: GatewaySettings) -> None:
    allowed = ROUTES[path]
    for name, value in document.items():
        field = allowed.get(name)
        if field is None:
            if name not in settings.extra_body_fields:
                raise not_taken(path, name)
        elif value is not None and (problem := field.problem(value)):
            raise bad_request(f"'{name}' {problem}.", name)


def not_taken(path: bytes, name: str) -> GatewayError:
    if name in REFUSED:
        return bad_request(f"'{name}' is not taken from clients: {REFUSED[name]}.", name, "unsupported_parameter")
    shown = name[:LONGEST_NAME_SHOWN]
    near = difflib.get_close_matches(shown, ROUTES[path], n=1)
    hint = f"Did you mean '{near[0]}'?" if near else "Leave it out."
    return bad_request(f"{path.decode()} has no parameter '{shown}'. {hint}", shown, "unknown_parameter")


def check_together(path: bytes, document: dict[str, Any], settings: GatewaySettings) -> None:
    """Fields that are within their limits alone and not beside each other.

    Raises:
        GatewayError: 400.
    """
    choices = max(count(document, "n", 1), count(document, "best_of", 1))
    if choices > settings.max_n:
        field = "n" if document.get("n") == choices else "best_of"
        raise bad_request(f"'{field}' must be at most {settings.max_n}; send several requests.", field)
    if path == b"/v1/completions":
        check_prompts(document, choices, settings)
    elif path == b"/v1/embeddings" and len_of_batch(document.get("input")) > MOST_INPUTS:
        raise bad_request(f"'input' must be at most {MOST_INPUTS} inputs; send several requests.", "input")
    most = min(count(document, "max_tokens", MOST_TOKENS), count(document, "max_completion_tokens", MOST_TOKENS))
    if (least := count(document, "min_tokens", 0)) > most:
        raise bad_request(f"'min_tokens' ({least}) is more than the most tokens asked for ({most}).", "min_tokens")


def count(document: dict[str, Any], name: str, otherwise: int) -> int:
    value = document.get(name)
    return value if isinstance(value, int) else otherwise


def check_prompts(document: dict[str, Any], choices: int, settings: GatewaySettings) -> None:
    sequences = len_of_batch(document.get("prompt")) * choices
    if sequences > MOST_SEQUENCES:
        message = (
            f"'prompt' and 'n' ask for {sequences} sequences, at most {MOST_SEQUENCES} may be; send several requests."
        )
        raise bad_request(message, "prompt")
    asks_for_prompts_logprobs = document.get("echo") and document.get("logprobs") is not None
    if asks_for_prompts_logprobs and "prompt_logprobs" not in settings.extra_body_fields:
        message = "'echo' with 'logprobs' is not taken from clients: it computes the whole prompt anew, cached or not."
        raise bad_request(message, "echo", "unsupported_parameter")


def len_of_batch(inputs: Any) -> int:
    """How many prompts: one is a string or a list of token ids."""
    return len(inputs) if isinstance(inputs, list) and inputs and isinstance(inputs[0], str | list) else 1


def remote_media(document: dict[str, Any], settings: GatewaySettings) -> list[MediaReference]:
    """Raises:
    GatewayError: 400, a part of a message holds what may not be there.
    """
    remote: list[MediaReference] = []
    for part in parts(document):
        if (problem := content_problem(part)) is not None:
            field, why = problem
            raise bad_request(
                f"'{field}' in a message is not taken from clients: {why}.", field, "unsupported_parameter"
            )
        for reference in media_references(part):
            if reference.url[: len(DATA)].lower() != DATA:
                check_host(reference, settings)
                remote.append(reference)
    if len(remote) > MOST_REMOTE_MEDIA:
        raise bad_request(f"At most {MOST_REMOTE_MEDIA} media are fetched for a request.", remote[0].key)
    return remote


def check_host(reference: MediaReference, settings: GatewaySettings) -> None:
    """Raises:
    GatewayError: 400, not a URL of a host that the operator allows.
    """
    if not settings.media_hosts:
        message = (
            f"'{reference.key}' must be a data: URI, like data:image/png;base64,...; nothing is fetched from here."
        )
        raise bad_request(message, reference.key)
    if not PLAIN_URL.fullmatch(reference.url) or urlsplit(reference.url).netloc not in settings.media_hosts:
        message = f"'{reference.key}' must be a data: URI, or an https: URL of a host that the operator allows."
        raise bad_request(message, reference.key)
