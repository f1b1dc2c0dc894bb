"""The examples of the docs, as they stand there, on the real default model; those of docs/privacy.md need keys."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from deployments.gateway.recipes.shelf import shipped
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import CHAT, EMBED, SIMULATED
from tests.end_to_end.curl_examples import block, examples

pytestmark = [pytest.mark.engine, pytest.mark.cluster]
EXAMPLES = [
    (page, example.path.removeprefix("/v1/recipes/"), example.body)
    for page in ("recipes.md", "choose.md", "explain.md")
    for example in examples(page)
]
NAMES = [f"{page}-{at}-{name}" for at, (page, name, _) in enumerate(EXAMPLES)]
TEXT = "The tram to the old harbour leaves every ten minutes. A ticket costs two francs. "


@pytest.fixture(scope="session")
def client(cluster: ClusterProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{cluster.url}/v1/recipes/", timeout=300) as opened:
        yield opened


def ask(client: httpx.Client, name: str, body: dict[str, Any]) -> Any:
    answer = client.post(name, json={"model": CHAT, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_shipped_recipe_has_an_example() -> None:
    assert {name for page, name, _ in EXAMPLES if page == "recipes.md"} == set(shipped())
    assert {page for page, _, _ in EXAMPLES} == {"recipes.md", "choose.md", "explain.md"}


@pytest.mark.parametrize(("page", "name", "body"), EXAMPLES, ids=NAMES)
def test_an_example_of_the_docs_is_answered(client: httpx.Client, page: str, name: str, body: dict[str, Any]) -> None:
    if body.get("stream"):
        with client.stream("POST", name, json={"model": CHAT, **body}) as answer:
            events = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        *texts, last = map(json.loads, events[:-1])
        assert "".join(event["choices"][0]["delta"].get("content") or "" for event in texts).strip()
        assert last["usage"]["completion_tokens"] > 0
        return
    told = ask(client, name, body)
    output = shipped()[name].recipe.output
    if output.kind == "generate":
        assert told["output"].strip()
    elif output.kind == "json":
        jsonschema.validate(told["output"], body["inputs"]["schema"])
    else:
        assert sum(told["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        assert set(told["probabilities"]) == set(output.labels or body["inputs"]["labels"])
        assert told["output"] == max(told["probabilities"], key=told["probabilities"].__getitem__)
    assert told["usage"]["total_tokens"] > 0
    if body.get("explain"):
        parts = told["explanation"]["segments"]
        assert "".join(part["text"] for part in parts) == body["inputs"][told["explanation"]["input"]]
        assert sorted(part["rank"] for part in parts) == list(range(1, len(parts) + 1))


def test_the_answers_that_the_docs_promise_come(client: httpx.Client) -> None:
    """Of the default model, at temperature 0."""
    good = {"inputs": {"text": "The room was clean and the staff were lovely."}}
    bad = {"inputs": {"text": "The soup was cold. The waiter was rude. I will never come back."}}
    assert [ask(client, "sentiment", body)["output"] for body in (good, bad)] == ["positive", "negative"]
    assert "Paris" in ask(client, "answer", {"inputs": {"question": "What is the capital of France?"}})["output"]


def test_what_the_docs_show_of_an_explanation_is_what_comes(client: httpx.Client) -> None:
    """Numbers are of one machine: what speaks for the answer, and which part decides most, are not."""
    shown = json.loads(block("explain.md", '{"output"'))
    (body,) = (body for page, name, body in EXAMPLES if (page, name) == ("explain.md", "sentiment"))
    told = ask(client, "sentiment", body)
    assert told["output"] == shown["output"]
    parts, expected = told["explanation"]["segments"], shown["explanation"]["segments"]
    assert [part.keys() for part in parts] == [part.keys() for part in expected]
    assert [part["text"] for part in parts] == [part["text"] for part in expected]
    assert [part["text"] for part in parts if part["rank"] == 1] == [
        part["text"] for part in expected if part["rank"] == 1
    ]
    cost = told["explanation"]["cost"]
    counted = ("variants", "reads", "prompt_tokens", "output_tokens")
    assert {name: cost[name] for name in counted}.items() <= shown["explanation"]["cost"].items()


def test_a_text_longer_than_the_context_is_summed_up(client: httpx.Client) -> None:
    """2,048 tokens."""
    text = " ".join(f"On day {number} of the journey, we saw {number + 3} ships." for number in range(220))
    told = ask(client, "summarize", {"inputs": {"text": text}, "max_tokens": 60})
    assert told["pieces"] >= 2
    assert told["output"].strip()
    assert len(told["calls"]) > told["pieces"]


@pytest.mark.parametrize("max_tokens", [1, 2, 5, 10, 20, 40, 80])
def test_json_at_any_max_tokens_is_whole_or_an_error(client: httpx.Client, max_tokens: int) -> None:
    item = {"type": "object", "properties": {"place": {"type": "string", "maxLength": 20}}, "required": ["place"]}
    schema = {"type": "array", "items": item, "minItems": 1, "maxItems": 3}
    body = {"model": CHAT, "inputs": {"text": TEXT, "schema": schema}, "max_tokens": max_tokens}
    answer = client.post("extract", json=body)
    if answer.status_code == 200:
        jsonschema.validate(answer.json()["output"], schema)
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "answer_cut_off")


def test_a_recipe_asks_a_simulated_model_too(client: httpx.Client) -> None:
    told = ask(client, "sentiment", {"model": SIMULATED, "inputs": {"text": TEXT}})
    assert told["model"] == SIMULATED


def test_a_model_that_does_not_chat_says_so(client: httpx.Client) -> None:
    answer = client.post("answer", json={"model": EMBED, "inputs": {"question": "Why?"}})
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


def test_usage_is_what_the_engines_counted(client: httpx.Client) -> None:
    told = ask(client, "classify", {"inputs": {"text": TEXT, "labels": ["travel", "sports", "food"]}})
    assert told["usage"]["prompt_tokens"] == told["cost"]["prompt_tokens"]
    assert told["usage"]["completion_tokens"] == told["cost"]["output_tokens"] == told["cost"]["reads"]
