"""The document that a recipe's caller gets, with what it took."""

from collections.abc import Sequence
from typing import Any

import orjson

from deployments.gateway.recipes.decoded import Decoded
from deployments.gateway.recipes.inner_calls import EndedCall
from deployments.gateway.recipes.recipe_call import RecipeCall

RECEIPTS = {b"x-baryon-route": "route", b"x-baryon-actual": "actual"}


def answer_document(
    request_id: str, call: RecipeCall, decoded: Decoded, ended: Sequence[EndedCall], *, explains: bool
) -> bytes:
    """JSON. `explains`: why each engine call went where it went, and what came of it."""
    document = {
        "id": request_id,
        "object": "recipe.answer",
        "recipe": call.recipe.name,
        "model": call.model,
        "output": decoded.output,
        **decoded.more,
        **({"explanation": decoded.explanation} if decoded.explanation is not None else {}),
        "usage": usage(ended),
        "calls": [receipt(one) if explains else one.record.request_id for one in ended],
    }
    return orjson.dumps(document)


def usage(ended: Sequence[EndedCall]) -> dict[str, Any]:
    """Of all engine calls together, as each is charged: by what its answer says, and else by its record."""
    spent = [one.usage or one.record for one in ended]
    prompt, output, cached = (
        sum(getattr(one, name) or 0 for one in spent) for name in ("prompt_tokens", "output_tokens", "cached_tokens")
    )
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def receipt(ended: EndedCall) -> dict[str, Any]:
    record = ended.record
    told = {RECEIPTS[name]: orjson.loads(value) for name, value in ended.headers if name in RECEIPTS}
    return {
        "id": record.request_id,
        "path": record.path,
        "replica": record.replica,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "output_tokens": record.output_tokens,
        "ms": round(record.e2e_ms, 3),
        **told,
    }
