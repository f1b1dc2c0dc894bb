"""A choice on the path of every request: a gateway, and the simulated engine behind its guard."""

from collections.abc import AsyncIterator

import pytest

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.recipes.chooser import Chooser, Question
from deployments.gateway.recipes.explain import explain_choice, explain_text
from deployments.gateway.recipes.inner_calls import InnerCalls, Origin
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.tenant import ANYONE
from engine.guard import RouteGuard
from engine.simulated.api import SimulatedApi
from engine.simulated.core import SimulatedEngine
from engine.simulated.profiles import get_profile
from tests.unit.engine.loopback import serving
from tests.unit.gateway.keys import no_keys

MODEL = "m"
LABELS = ("sports", "business", "travel", "travel abroad")


def render(text: str) -> list[dict[str, str]]:
    asked = {"role": "user", "content": f"What is the topic of this text?\n\nText: {text}"}
    return [asked, {"role": "assistant", "content": "The topic is"}]


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setenv("BARYON_INTERNAL_TOKEN", "good")
    simulated = SimulatedEngine(get_profile("llama-3.1-8b-h100-tp1"), 64, 8192, 64)
    async with serving(RouteGuard(SimulatedApi(simulated, MODEL, 4096).app())) as served:
        replicas, catalogue = ReplicaTable(), Catalogue()
        replicas.update(MODEL, [ReplicaInfo("r0", served.url, "good", max_in_flight=64, max_model_len=4096)])
        catalogue.replace({MODEL: ModelCard(MODEL, "simulated")})
        opened = Gateway(GatewaySettings(), replicas, catalogue, no_keys())
        await opened.start("127.0.0.1", 0)
        yield opened
        await opened.close()


@pytest.fixture
def calls(gateway: Gateway) -> InnerCalls:
    request = ClientRequest(b"POST", b"/v1/recipes/classify", {}, b"", keep_alive=True, is_http_1_1=True)
    return InnerCalls(gateway.app, request, ANYONE, Origin("req-outer", "classify"))


async def test_a_choice_is_made_and_every_token_of_it_recorded(calls: InnerCalls) -> None:
    question = Question("t", MODEL, render("The train to Rome"), LABELS, (render(""),))
    choice = await Chooser(lambda _: 1).choose(calls, question)
    assert sum(choice.probabilities.values()) == pytest.approx(1, abs=1e-6)
    await calls.settled()
    reads = [call.record for call in calls.ended if call.record.path == "/inference/v1/generate"]
    assert len(reads) == choice.cost.reads
    assert all(record.outcome == "completed" for record in reads)
    assert sum(record.prompt_tokens for record in reads) == choice.cost.prompt_tokens
    assert sum(record.output_tokens for record in reads) == choice.cost.output_tokens == choice.cost.reads


async def test_a_choice_on_the_same_engine_is_the_same_again(calls: InnerCalls) -> None:
    question = Question("t", MODEL, render("The train to Rome"), LABELS, (render(""),))
    first, second = [await Chooser(lambda _: 1).choose(calls, question) for _ in range(2)]
    assert first.probabilities == second.probabilities


async def test_explanations_come_through_as_well(calls: InnerCalls) -> None:
    text = "The train to Rome leaves at nine. Tickets are cheap. Bring a passport."
    question = Question("t", MODEL, render(text), LABELS)
    why = await explain_choice(Chooser(lambda _: 1), calls, question, render, text)
    assert len(why.contributions) == 3
    said = await explain_text(calls, MODEL, render, text, " travel by train")
    assert len(said.contributions) == 3
    assert said.tokens
    assert said.cost.reads == 4
