"""What becomes of a recipe's call when its client, its engine or its gateway goes, or it takes too long."""

import asyncio
from pathlib import Path

import pytest

from deployments.gateway.catalogue import Scaling, Wake
from deployments.gateway.request_record import RequestRecord
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, OpenStand, Stand, post, until
from tests.unit.gateway.recipes.engine import ChatEngine
from tests.unit.gateway.recipes.files import GREET, put
from tests.unit.gateway.recipes.stand import QUESTION, Open, ask
from tests.unit.gateway.scripted_engine import Exchange, hang_up, never_answer, stream_then_die, unary


async def test_a_stream_whose_engine_dies_ends_with_an_error_and_is_not_whole(opened: Open) -> None:
    stand = await opened(stream_then_die(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'))
    answer = await ask(stand, "answer", {**QUESTION, "stream": True})
    assert not answer.whole
    assert b'"code":"engine_unavailable"' in answer.body


@pytest.mark.parametrize("stream_it", [True, False])
async def test_when_the_client_leaves_the_engine_stops(opened: Open, stream_it: bool) -> None:
    gone = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await never_answer(exchange)
        gone.set()

    stand = await opened(wait)
    client = await stand.client()
    client.send(post("/v1/recipes/answer", {**QUESTION, "stream": stream_it}))
    await until(lambda: stand.gateway.app.routers.total_requests() == 1)
    client.leave()
    await asyncio.wait_for(gone.wait(), 5)
    await stand.settled()


async def asleep(open_stand: OpenStand) -> Stand:
    stand = await open_stand()
    stand.know(wake=Wake(max_wait_s=60, max_waiting=4), scaling=Scaling(cold_start_s=40), not_ready="it sleeps.")
    return stand


async def test_a_recipe_wakes_its_model_and_waits_for_it(start_engine: StartEngine, open_stand: OpenStand) -> None:
    stand = await asleep(open_stand)
    client = await stand.client()
    client.send(post("/v1/recipes/answer", QUESTION))
    await until(lambda: stand.waiting() == 1)
    assert stand.gateway.app.room.news.is_set()
    stand.have(await start_engine(ChatEngine("Because.")))
    assert (await client.answer()).json()["output"] == "Because."
    await stand.settled()


@pytest.mark.parametrize("stream_it", [True, False])
async def test_a_client_that_leaves_while_its_recipe_waits_frees_its_place(
    open_stand: OpenStand, stream_it: bool
) -> None:
    stand = await asleep(open_stand)
    client = await stand.client()
    client.send(post("/v1/recipes/answer", {**QUESTION, "stream": stream_it}))
    await until(lambda: stand.waiting() == 1)
    client.leave()
    await until(lambda: not stand.waiting() and not stand.gateway.app.in_flight())


async def test_a_gateway_that_drains_sends_a_waiting_recipe_elsewhere(open_stand: OpenStand) -> None:
    stand = await asleep(open_stand)
    client = await stand.client()
    client.send(post("/v1/recipes/answer", QUESTION))
    await until(lambda: stand.waiting() == 1)
    stand.gateway.app.room.close()
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (503, "shutting_down")


async def test_a_replica_that_dies_in_the_middle_of_a_recipe_is_replaced_by_another(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    answering = ChatEngine("Because.")
    died: list[Exchange] = []

    async def dies_once(exchange: Exchange) -> None:
        if died:
            await answering(exchange)
        else:
            died.append(exchange)
            await hang_up(exchange)

    stand = await open_stand(await start_engine(dies_once), await start_engine(dies_once))
    assert (await ask(stand, "answer", QUESTION)).json()["output"] == "Because."
    assert len(died) == 1
    await stand.settled()


async def test_a_recipe_that_failed_is_found_by_its_id_and_in_the_log_and_its_parts_are_counted_once(
    opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, GREET + "limits: {timeout_s: 0.05}\n")
    stand = await opened(never_answer, tmp_path)
    seen: list[RequestRecord] = []
    stand.gateway.app.observers.append(seen.append)
    with caplog.at_level("WARNING", logger="baryon.requests"):
        answer = await ask(stand, "greet", {"inputs": {"who": "Ada"}})
        await until(lambda: bool(seen))
    found = stand.gateway.app.recent.find(answer.headers["x-request-id"])
    assert found is not None
    assert (found["recipe"], found["model"], found["error_code"]) == ("greet", MODEL, "recipe_timeout")
    assert [record.path for record in seen] == ["/v1/chat/completions"]
    assert answer.headers["x-request-id"] in caplog.text
    await stand.settled()


async def test_a_recipe_that_takes_too_long_is_a_504_and_its_engine_stops(opened: Open, tmp_path: Path) -> None:
    put(tmp_path, GREET + "limits: {timeout_s: 0.05}\n")
    stand = await opened(never_answer, tmp_path)
    answer = await ask(stand, "greet", {"inputs": {"who": "Ada"}})
    assert (answer.status, answer.error["code"]) == (504, "recipe_timeout")
    await stand.settled()


async def test_an_engine_that_says_nonsense_is_a_500(opened: Open) -> None:
    stand = await opened(unary(b'{"choices": []}'))
    answer = await ask(stand, "answer", QUESTION)
    assert (answer.status, answer.error["code"]) == (500, "engine_error")
