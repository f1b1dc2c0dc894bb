"""Errors as clients see them: OpenAI's shape, and Anthropic's on its own route. Nothing internal is ever in one."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

ANTHROPIC_ROUTE = b"/v1/messages"
LONGEST_NAME_SHOWN = 200
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


@dataclass(eq=False)
class GatewayError(Exception):
    """`code` is for programs, `message` for people, `param` names the field; `retry_after_s` when waiting helps."""

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after_s: int | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"

    @property
    def kind(self) -> str:
        if self.status >= 500:
            return "server_error"
        return "rate_limit_error" if self.status == 429 else "invalid_request_error"

    def body(self, path: bytes) -> bytes:
        """The JSON document, in the shape of the API that `path` belongs to."""
        if path == ANTHROPIC_ROUTE:
            kind = _ANTHROPIC_TYPES.get(self.status, "api_error")
            return orjson.dumps({"type": "error", "error": {"type": kind, "message": self.message}})
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})


def bad_request(message: str, param: str | None = None, code: str = "invalid_value") -> GatewayError:
    return GatewayError(400, code, message, param)


def model_not_found(name: str, known: Sequence[str]) -> GatewayError:
    name = name[:LONGEST_NAME_SHOWN]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Available: {', '.join(known) or 'none'}."
    return GatewayError(404, "model_not_found", f"The model '{name}' does not exist. {hint}", "model")


def model_not_for(name: str, allowed: Sequence[str]) -> GatewayError:
    """As OpenAI says it: 404, and the same whether the model exists or not."""
    name, names = name[:LONGEST_NAME_SHOWN], ", ".join(allowed) or "none"
    message = f"The model '{name}' does not exist, or your key does not allow it. Available: {names}."
    return GatewayError(404, "model_not_found", message, "model")


def key_missing() -> GatewayError:
    message = "An API key is needed: 'Authorization: Bearer KEY', or 'x-api-key: KEY'."
    return GatewayError(401, "missing_api_key", message)


def key_refused() -> GatewayError:
    return GatewayError(401, "invalid_api_key", "The API key is wrong, expired or revoked.")


def no_key_exists() -> GatewayError:
    message = "An API key is needed here, and none exists yet. The operator makes one with `baryon keys create`."
    return GatewayError(401, "missing_api_key", message)


def two_credentials() -> GatewayError:
    message = "'Authorization' and 'x-api-key' have different keys. Send one of them."
    return GatewayError(400, "two_credentials", message)


def keys_unknown() -> GatewayError:
    message = "This gateway has not yet been told which API keys there are. Try again in 1 s."
    return GatewayError(503, "keys_unknown", message, retry_after_s=1)


def keys_stale(good_for_s: float) -> GatewayError:
    message = (
        f"This gateway has not been told for more than {good_for_s:g} s which API keys are still good "
        "(gateway.keys_good_for_s). Try again."
    )
    return GatewayError(503, "keys_stale", message, retry_after_s=5)


def headers_too_large() -> GatewayError:
    return GatewayError(431, "headers_too_large", "The request line and headers are too large.")


def malformed_http() -> GatewayError:
    return GatewayError(400, "malformed_http", "The request is not valid HTTP/1.1.")


def route_not_found() -> GatewayError:
    return GatewayError(404, "unknown_url", "There is no such route. GET /v1/models lists what is served.")


def origin_not_allowed() -> GatewayError:
    message = "Web pages of this origin may not call. The operator allows origins by gateway.cors_origins."
    return GatewayError(403, "origin_not_allowed", message)


def cannot_redact_tokens(field: str) -> GatewayError:
    message = (
        f"'{field}' is token ids. Personal data is taken out of what this key sends, and ids cannot be read for it: "
        "send text."
    )
    return GatewayError(400, "cannot_redact_tokens", message, field)


def too_many_parts(most: int) -> GatewayError:
    message = f"The body has more than {most} opening brackets ([ and {{), which is the most there may be."
    return GatewayError(400, "too_many_parts", message)


def too_many_numbers(most: int) -> GatewayError:
    message = f"Personal data is taken out of what this key sends, and this has more than {most} numbers to look at."
    return GatewayError(400, "too_many_numbers", message)


def too_much_for_names(what: str) -> GatewayError:
    message = f"Names of people are taken out of what this key sends, and this has {what}: send less at a time."
    return GatewayError(400, "too_much_for_names", message)


def names_unavailable() -> GatewayError:
    message = "The model that finds names of people did not answer, and without it this request is not sent on."
    return GatewayError(503, "names_unavailable", message, retry_after_s=5)


def names_key_redacts() -> GatewayError:
    message = "The key that asks for names of people must be of a tenant with `--privacy off`: it would ask for ever."
    return GatewayError(400, "names_key_redacts", message)


def method_not_allowed(allowed: str) -> GatewayError:
    return GatewayError(405, "method_not_allowed", f"This route takes {allowed}.")


def body_too_large(limit_bytes: int) -> GatewayError:
    return GatewayError(413, "request_too_large", f"The request body is larger than {limit_bytes} bytes.")


def request_timeout(what: str) -> GatewayError:
    return GatewayError(408, "request_timeout", f"The {what} did not arrive in time.")


def at_capacity(model: str, retry_after_s: int) -> GatewayError:
    message = f"Every replica of '{model}' is full. Try again in {retry_after_s} s."
    return GatewayError(503, "at_capacity", message, retry_after_s=retry_after_s)


def not_ready(model: str, why: str, retry_after_s: int) -> GatewayError:
    return GatewayError(503, "model_not_ready", f"'{model}' is not ready: {why}", retry_after_s=retry_after_s)


def room_is_full(model: str, waiting: int, retry_after_s: int) -> GatewayError:
    message = (
        f"'{model}' has no replica that is free, and {waiting} requests wait for one already, which is as many as may. "
        f"Try again in {retry_after_s} s."
    )
    return GatewayError(503, "at_capacity", message, retry_after_s=retry_after_s)


def room_is_out_of_memory(model: str, limit_bytes: int, retry_after_s: int) -> GatewayError:
    message = (
        f"'{model}' has no replica that is free, and the requests that wait at this gateway hold {limit_bytes >> 20} "
        f"MiB already, which is as much as may. Try again in {retry_after_s} s."
    )
    return GatewayError(503, "at_capacity", message, retry_after_s=retry_after_s)


def wake_too_long(model: str, limit_s: float, retry_after_s: int) -> GatewayError:
    message = (
        f"'{model}' was at zero replicas and is being woken, which takes about {retry_after_s} s; a request waits at "
        f"most {limit_s:g} s. Try again in {retry_after_s} s."
    )
    return GatewayError(503, "model_not_ready", message, retry_after_s=retry_after_s)


def waited_in_vain(model: str, limit_s: float, why: str, retry_after_s: int) -> GatewayError:
    message = (
        f"'{model}' had no replica within the {limit_s:g} s that a request waits: {why} Try again in {retry_after_s} s."
    )
    return GatewayError(503, "model_not_ready", message, retry_after_s=retry_after_s)


def queue_too_long(model: str, limit_s: float, retry_after_s: int) -> GatewayError:
    message = (
        f"'{model}' is busy: as its queue moves, this request would wait about {retry_after_s} s, and it may wait at "
        f"most {limit_s:g} s. Try again in {retry_after_s} s."
    )
    return GatewayError(503, "at_capacity", message, retry_after_s=retry_after_s)


def client_left() -> GatewayError:
    """Nobody is told: the connection is closed."""
    return GatewayError(499, "client_left", "The client left before its answer was there.")


def engine_unavailable() -> GatewayError:
    message = "The engine that had this request is gone. Try again."
    return GatewayError(503, "engine_unavailable", message, retry_after_s=1)


def at_replicas_capacity() -> GatewayError:
    return GatewayError(503, "at_capacity", "The replica's queue is full. Try again in 1 s.", retry_after_s=1)


def engine_refused(status: int) -> GatewayError:
    return GatewayError(status, "engine_refused", "The engine refused this request.")


def unsupported_route() -> GatewayError:
    return GatewayError(404, "unsupported_route", "This model does not serve this route.")


def engine_error() -> GatewayError:
    return GatewayError(500, "engine_error", "The engine failed on this request.")


def internal_error() -> GatewayError:
    return GatewayError(500, "internal_error", "The gateway failed on this request; its log says why.")


def first_token_timeout(limit_s: float) -> GatewayError:
    return GatewayError(504, "first_token_timeout", f"The engine sent nothing for {limit_s:.0f} s.")


def idle_stream(limit_s: float) -> GatewayError:
    return GatewayError(504, "idle_stream", f"The stream stood still for {limit_s:.0f} s.")


def not_ready_yet() -> GatewayError:
    return GatewayError(503, "not_ready", "Models are starting that this gateway has not served yet.", retry_after_s=1)


def shutting_down() -> GatewayError:
    return GatewayError(503, "shutting_down", "This gateway is shutting down. Try again.", retry_after_s=1)
