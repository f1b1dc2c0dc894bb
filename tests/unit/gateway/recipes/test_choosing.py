"""Recipes that choose, and explanations, as a client meets them: a whole gateway and the simulated engine."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from engine.guard import RouteGuard
from engine.simulated.api import SimulatedApi
from engine.simulated.core import SimulatedEngine
from engine.simulated.profiles import get_profile
from tests.unit.engine.loopback import serving
from tests.unit.gateway.keys import no_keys
from tests.unit.gateway.recipes.files import GREET, put

MODEL = "m"
CHOICE = GREET.replace("{kind: generate}", "{kind: choose, labels: ['y', 'n']}")
BARE = '  - {role: user, content: "{{ who }}"}\n'
TEXT = "The train to Rome leaves at nine. Tickets are cheap. Bring a passport."


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("BARYON_INTERNAL_TOKEN", "good")
    put(tmp_path, CHOICE)
    put(tmp_path, CHOICE.replace("max_chars: 20}", "required: false}"), "optional")
    put(tmp_path, re.sub(r"  - role: system.*content: .*?\n(?=output)", BARE, CHOICE, flags=re.DOTALL), "bare")
    put(
        tmp_path,
        (tmp_path / "bare.yaml")
        .read_text()
        .replace("max_chars: 20}", "required: false}")
        .replace("name: bare", "name: greet"),
        "nothing",
    )
    simulated = SimulatedEngine(get_profile("llama-3.1-8b-h100-tp1"), 64, 8192, 64)
    async with serving(RouteGuard(SimulatedApi(simulated, MODEL, 4096).app())) as served:
        replicas, catalogue = ReplicaTable(), Catalogue()
        replicas.update(MODEL, [ReplicaInfo("r0", served.url, "good", max_in_flight=64, max_model_len=4096)])
        catalogue.replace({MODEL: ModelCard(MODEL, "simulated")})
        gateway = Gateway(GatewaySettings(recipes_folder=str(tmp_path)), replicas, catalogue, no_keys())
        await gateway.start("127.0.0.1", 0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.bound_port}/v1/recipes/") as opened:
            yield opened
        await gateway.close()


async def ask(client: httpx.AsyncClient, name: str, inputs: dict[str, Any], **more: Any) -> Any:
    return (await client.post(name, json={"inputs": inputs, **more})).json()


async def test_sentiment_has_a_probability_for_each_label_and_says_what_it_cost(client: httpx.AsyncClient) -> None:
    told = await ask(client, "sentiment", {"text": TEXT})
    chances = told["probabilities"]
    assert set(chances) == {"positive", "neutral", "negative"}
    assert sum(chances.values()) == pytest.approx(1, abs=1e-6)
    assert told["output"] == next(iter(chances)) == max(chances, key=lambda label: chances[label])
    assert told["cost"]["reads"] >= 1
    assert told["usage"]["prompt_tokens"] == told["cost"]["prompt_tokens"]


async def test_labels_of_the_callers_own_in_any_order(client: httpx.AsyncClient) -> None:
    labels = ["sports", "travel", "travel abroad", "science"]
    first, second = [await ask(client, "classify", {"text": TEXT, "labels": order}) for order in (labels, labels[::-1])]
    assert set(first["probabilities"]) == set(labels)
    assert first["probabilities"] == second["probabilities"]


async def test_what_is_remembered_of_labels_and_habits_costs_nothing_again(client: httpx.AsyncClient) -> None:
    first, second = [await ask(client, "sentiment", {"text": TEXT}) for _ in range(2)]
    assert second["probabilities"] == pytest.approx(first["probabilities"])
    assert second["cost"]["reads"] < first["cost"]["reads"]
    assert len(second["calls"]) < len(first["calls"])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", "a"], "the label 'a' twice"),
        (["a", ""], "an empty label"),
        (["a"], "from 2 to 64"),
        ("a,b", "array of strings"),
        (None, "is missing"),
    ],
)
async def test_labels_that_make_no_sense_are_refused(client: httpx.AsyncClient, labels: Any, words: str) -> None:
    told = await ask(client, "classify", {"text": TEXT, "labels": labels})
    assert told["error"]["param"] == "inputs.labels"
    assert words in told["error"]["message"]


async def test_a_file_of_an_operators_own_chooses_too(client: httpx.AsyncClient) -> None:
    told = await ask(client, "greet", {"who": "Ada"})
    assert told["output"] in ("y", "n")


async def test_a_choice_without_a_text_that_is_needed_is_not_calibrated_against_itself(
    client: httpx.AsyncClient,
) -> None:
    told = await ask(client, "optional", {"who": "Ada"})
    assert told["probabilities"] == told["uncalibrated"]
    assert told["probabilities"]["y"] != told["probabilities"]["n"]


async def test_a_prompt_that_is_the_text_alone_is_calibrated_and_explained(client: httpx.AsyncClient) -> None:
    told = await ask(client, "bare", {"who": "Ada"}, explain=True)
    assert told["output"] in ("y", "n")
    assert told["probabilities"] != told["uncalibrated"]
    assert [part["text"] for part in told["explanation"]["segments"]] == ["Ada"]


async def test_a_prompt_of_nothing_is_refused(client: httpx.AsyncClient) -> None:
    told = await ask(client, "nothing", {})
    assert (told["error"]["code"], told["error"]["param"]) == ("invalid_value", "inputs")


async def test_a_choice_is_not_streamed(client: httpx.AsyncClient) -> None:
    told = await ask(client, "sentiment", {"text": TEXT}, stream=True)
    assert told["error"]["param"] == "stream"


async def test_a_choice_is_explained_by_what_it_would_be_without_each_part(client: httpx.AsyncClient) -> None:
    told = await ask(client, "sentiment", {"text": TEXT}, explain=True)
    why = told["explanation"]
    assert (why["input"], why["unit"], why["answer"]) == ("text", "sentence", told["output"])
    assert "".join(part["text"] for part in why["segments"]) == TEXT
    assert why["cost"]["variants"] == 4


async def test_a_text_is_explained_by_the_input_and_unit_that_the_caller_names(client: httpx.AsyncClient) -> None:
    explain = {"input": "question", "unit": "word"}
    told = await ask(client, "answer", {"question": "Where to?", "context": TEXT}, explain=explain, max_tokens=4)
    why = told["explanation"]
    assert (why["input"], why["unit"]) == ("question", "word")
    assert [part["text"] for part in why["segments"]] == ["Where ", "to?"]
    assert why["tokens"]


async def test_without_a_word_the_longest_text_is_explained(client: httpx.AsyncClient) -> None:
    told = await ask(client, "answer", {"question": "Where to?", "context": TEXT}, explain=True, max_tokens=4)
    assert told["explanation"]["input"] == "context"


@pytest.mark.parametrize(
    "explain", ["yes", 1, {"unit": "letter"}, {"input": 7}, {"inputs": "text"}, {"input": "context"}, [True]]
)
async def test_an_explanation_of_something_else_is_refused(client: httpx.AsyncClient, explain: Any) -> None:
    told = await ask(client, "answer", {"question": "Where to?"}, explain=explain)
    assert told["error"]["param"] == "explain"


async def test_a_stream_is_not_explained(client: httpx.AsyncClient) -> None:
    told = await ask(client, "answer", {"question": "Where to?"}, explain=True, stream=True)
    assert told["error"]["param"] == "explain"
