"""What a caller gives a recipe: each wrong thing is a 400 that names the field."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.errors import GatewayError
from deployments.gateway.recipes.inputs import checked, inputs_schema
from deployments.gateway.recipes.recipe import InputField

FIELDS = [
    InputField(name="text", max_chars=10),
    InputField(name="context", max_chars=10, required=False),
    InputField(name="tone", type="choice", options=["dry", "warm"], default="dry"),
    InputField(name="examples", type="texts", max_items=2, max_chars=10, required=False),
    InputField(name="labels", type="labels", required=False),
    InputField(name="count", type="number", minimum=1, maximum=5, default=3),
    InputField(name="loud", type="flag", required=False),
    InputField(name="form", type="schema", required=False),
]
NOTHING = {"context": None, "examples": [], "labels": [], "loud": None, "form": None}


def test_what_is_left_out_is_its_default_or_nothing() -> None:
    assert checked({"text": "a"}, FIELDS) == {"text": "a", "tone": "dry", "count": 3, **NOTHING}


def test_labels_do_not_keep_their_order() -> None:
    one, other = (checked({"text": "a", "labels": labels}, FIELDS) for labels in (["b", "a "], ["a", "b"]))
    assert one == other


@pytest.mark.parametrize(
    ("given", "param", "words"),
    [
        (None, "inputs", "must be an object with the recipe's inputs: text, context"),
        ([], "inputs", "must be an object"),
        ({}, "inputs.text", "The input 'text' is missing"),
        ({"text": None}, "inputs.text", "is missing"),
        ({"text": 7}, "inputs.text", "must be a string"),
        ({"text": "  "}, "inputs.text", "is empty"),
        ({"text": "x" * 11}, "inputs.text", "has 11 characters; it may have 10"),
        ({"text": "a", "contxt": "b"}, "inputs.contxt", "Did you mean 'context'?"),
        ({"text": "a", "x" * 9000: "b"}, "inputs." + "x" * 64, "It has text, context"),
        ({"text": "a", "tone": "loud"}, "inputs.tone", "must be one of dry, warm"),
        ({"text": "a", "tone": ["dry"]}, "inputs.tone", "must be one of dry, warm"),
        ({"text": "a", "examples": []}, "inputs.examples", "from 1 to 2 strings, and has 0"),
        ({"text": "a", "examples": ["a", "b", "c"]}, "inputs.examples", "and has 3"),
        ({"text": "a", "examples": ["x" * 6, "x" * 6]}, "inputs.examples", "12 characters together"),
        ({"text": "a", "examples": [1]}, "inputs.examples", "array of strings"),
        ({"text": "a", "labels": ["a"]}, "inputs.labels", "from 2 to 64 labels, and has 1"),
        ({"text": "a", "labels": ["a", "b", "a"]}, "inputs.labels", "the label 'a' twice"),
        ({"text": "a", "labels": ["a", " a"]}, "inputs.labels", "the label 'a' twice"),
        ({"text": "a", "labels": ["a", " "]}, "inputs.labels", "an empty label"),
        ({"text": "a", "labels": ["a", "b\n"]}, "inputs.labels", None),
        ({"text": "a", "labels": ["a", "b\nc"]}, "inputs.labels", "cannot be printed"),
        ({"text": "a", "labels": [str(n) for n in range(65)]}, "inputs.labels", "and has 65"),
        ({"text": "a", "count": 6}, "inputs.count", "from 1 to 5"),
        ({"text": "a", "count": True}, "inputs.count", "from 1 to 5"),
        ({"text": "a", "count": "3"}, "inputs.count", "from 1 to 5"),
        ({"text": "a", "loud": "yes"}, "inputs.loud", "true or false"),
        ({"text": "a", "form": []}, "inputs.form", "an object"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(given: Any, param: str, words: str | None) -> None:
    if words is None:
        assert checked(given, FIELDS)["labels"] == ["a", "b"]
        return
    with pytest.raises(GatewayError) as raised:
        checked(given, FIELDS)
    assert (raised.value.status, raised.value.param) == (400, param)
    assert words in raised.value.message


json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "a"]), inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([field.name for field in FIELDS]), json))
def test_what_is_taken_satisfies_the_schema_that_callers_are_told(values: dict[str, Any]) -> None:
    try:
        checked(values, FIELDS)
    except GatewayError as error:
        assert error.status == 400
        return
    told = {name: value for name, value in values.items() if value is not None}
    if "labels" in told:
        told["labels"] = [label.strip() for label in told["labels"]]
    jsonschema.validate(told, inputs_schema(FIELDS))
