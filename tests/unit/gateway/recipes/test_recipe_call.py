"""Whatever a client sends to whichever recipe is a call, or an error that names a field."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.errors import GatewayError
from deployments.gateway.recipes.recipe_call import FIELDS, call_of, read_document
from deployments.gateway.recipes.shelf import shipped

NAMES = sorted({field.name for ready in shipped().values() for field in ready.recipe.inputs})
json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats(0, 3) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "type", "unit"]), inner),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {"inputs": st.dictionaries(st.sampled_from(NAMES), json)},
    optional={name: json for name in FIELDS if name != "inputs"},
)


@given(st.sampled_from(sorted(shipped())), bodies | st.dictionaries(st.sampled_from([*FIELDS, "other"]), json))
def test_any_body_is_a_call_or_a_4xx(name: str, body: dict[str, Any]) -> None:
    """And the prompt of a call is made, or refused for its inputs."""
    try:
        call = call_of(shipped()[name], read_document(orjson.dumps(body)), "m", 4096, 10_000)
        messages = call.messages(call.ready.prompt)
    except GatewayError as error:
        assert 400 <= error.status < 500
        assert error.message
        return
    assert messages
    assert 1 <= call.max_tokens <= call.recipe.limits.max_tokens
    assert orjson.dumps(call.chat(messages))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_a_4xx(body: bytes) -> None:
    try:
        assert isinstance(read_document(body), dict)
    except GatewayError as error:
        assert error.status == 400
