"""One tenant cannot find out by timing what another has in the prefix cache."""

from typing import Any

import orjson
import pytest

from deployments.gateway.cache_salt import SALTED_ROUTES, cache_salt
from deployments.gateway.request import InferenceRequest, inference_request, read_document
from deployments.gateway.settings import GatewaySettings
from engine.guard import GENERATION_ROUTES, TOKENS_ROUTE
from tests.unit.gateway.test_body_rules import BASE

ACME, EVIL = (cache_salt(b"secret of the cluster", name) for name in ("acme", "evil"))


def asked(path: bytes, salt: str | None, **more: Any) -> InferenceRequest:
    body = orjson.dumps({"model": "m", **BASE[path], **more})
    document, _ = read_document(path, body, GatewaySettings())
    return inference_request(path, document, salt)


@pytest.mark.parametrize("path", sorted(SALTED_ROUTES - {TOKENS_ROUTE}))
@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_gets_the_salt_of_the_tenant(path: bytes, stream: bool) -> None:
    assert orjson.loads(asked(path, ACME, stream=stream).body)["cache_salt"] == ACME
    assert "cache_salt" not in orjson.loads(asked(path, None, stream=stream).body), "without tenants there is none"


def test_tokens_of_our_own_asking_are_salted_like_the_tenants_text() -> None:
    tokens = {"model": "m", "token_ids": list(range(300)), "sampling_params": {"max_tokens": 1}}
    mine, again, theirs = (inference_request(TOKENS_ROUTE, dict(tokens), salt) for salt in (ACME, ACME, EVIL))
    assert orjson.loads(mine.body)["cache_salt"] == ACME
    assert mine.prompt == again.prompt
    assert set(mine.prompt.hashes).isdisjoint(theirs.prompt.hashes)
    assert mine.output_at_most == 1


def test_routes_without_a_cache_get_none() -> None:
    for path in {path for _, path in GENERATION_ROUTES} - SALTED_ROUTES:
        assert "cache_salt" not in orjson.loads(asked(path, ACME).body)


def test_a_salt_is_the_same_everywhere_and_says_nothing_of_the_tenant() -> None:
    assert cache_salt(b"secret of the cluster", "acme") == ACME
    assert len({ACME, EVIL, cache_salt(b"another secret", "acme"), cache_salt(b"secret of the cluster", "")}) == 4
    assert "acme" not in ACME


def test_the_router_expects_a_hit_only_where_the_engine_has_one() -> None:
    long = [{"role": "user", "content": "a long prompt " * 100}]
    mine, again, theirs, nobodys = (
        asked(b"/v1/chat/completions", salt, messages=long).prompt.hashes for salt in (ACME, ACME, EVIL, None)
    )
    assert mine == again
    assert set(mine).isdisjoint(theirs)
    assert set(mine).isdisjoint(nobodys)
