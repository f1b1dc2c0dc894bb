"""Why a request went where it went, and what came of it: for whoever asks by header, and for the debug log."""

from typing import Any

import orjson

from deployments.gateway.routing.router import Placement
from deployments.gateway.routing.score import Terms
from deployments.gateway.usage import Usage

MAX_CANDIDATES = 8


def prediction(placement: Placement) -> dict[str, Any]:
    """The replica, what was expected of it, and the terms of the best candidates, in milliseconds and tokens."""
    ranked = sorted(placement.candidates.items(), key=lambda item: item[1].total_ms)
    return {
        "replica": placement.replica,
        "predicted_hit_tokens": round(placement.terms.hit_tokens),
        "predicted_ttft_ms": round(placement.terms.ttft_ms, 2),
        "prompt_tokens": round(placement.prompt.tokens),
        "candidates": [{"replica": replica, **_rounded(terms)} for replica, terms in ranked[:MAX_CANDIDATES]],
    }


def actual(placement: Placement, usage: Usage | None, now_ms: float) -> dict[str, Any]:
    """What happened. A time to first token that no stream showed is the engine's own; null where nobody told."""
    dispatch = placement.dispatch
    ttft_ms = usage.ttft_ms if usage else None
    if dispatch.shows_first_token and dispatch.first_token_ms is not None:
        ttft_ms = dispatch.first_token_ms - dispatch.dispatched_ms
    return {
        "replica": placement.replica,
        "hit_tokens": usage.cached_tokens if usage else None,
        "predicted_hit_tokens": round(placement.terms.hit_tokens),
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "ttft_ms": round(ttft_ms, 2) if ttft_ms is not None else None,
        "predicted_ttft_ms": round(placement.terms.ttft_ms, 2),
        "e2e_ms": round(now_ms - dispatch.dispatched_ms, 2),
    }


def line(record: dict[str, Any]) -> bytes:
    """One line of JSON, fit for a header and for an event's comment."""
    return orjson.dumps(record)


def _rounded(terms: Terms) -> dict[str, float]:
    return {name: round(value, 2) for name, value in terms._asdict().items()}
