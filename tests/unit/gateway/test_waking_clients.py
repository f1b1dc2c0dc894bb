"""The clients that people use, in front of a model that sleeps."""

import asyncio

import anthropic
import openai
import pytest

from deployments.gateway.catalogue import Scaling, Wake
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, OpenStand, Stand, until
from tests.unit.gateway.scripted_engine import stream, unary

CHUNK = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
)
CHAT = stream(CHUNK % b"Par", CHUNK % b"is", b"data: [DONE]\n\n")
MESSAGES = stream(
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Paris"}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
REFUSAL = b'{"error":{"message":"max_tokens is too large","type":"BadRequestError","param":"max_tokens","code":400}}'


@pytest.fixture
async def sleeping(open_stand: OpenStand) -> Stand:
    gateway = await open_stand(settings=GatewaySettings(first_word_s=0.02, word_period_s=0.05))
    gateway.know(wake=Wake(max_wait_s=60, max_waiting=4), scaling=Scaling(cold_start_s=40))
    return gateway


async def woken_after_a_while(gateway: Stand, start_engine: StartEngine, script: object) -> None:
    await until(lambda: gateway.waiting() == 1)
    await asyncio.sleep(0.15)
    gateway.have(await start_engine(script))  # type: ignore[arg-type]


async def ask_openai(gateway: Stand) -> str:
    base_url = f"http://127.0.0.1:{gateway.port}/v1"
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Capital of France?"}], stream=True
        )
        return "".join([event.choices[0].delta.content or "" async for event in answer])


async def test_the_openai_client_waits_and_reads_its_stream(sleeping: Stand, start_engine: StartEngine) -> None:
    answer, _ = await asyncio.gather(ask_openai(sleeping), woken_after_a_while(sleeping, start_engine, CHAT))
    assert answer == "Paris"


async def test_the_openai_client_raises_what_went_wrong_after_the_head(
    sleeping: Stand, start_engine: StartEngine
) -> None:
    waking = asyncio.create_task(woken_after_a_while(sleeping, start_engine, unary(REFUSAL, b"400 Bad Request")))
    with pytest.raises(openai.APIError, match="max_tokens is too large"):
        await ask_openai(sleeping)
    await waking


async def ask_anthropic(gateway: Stand) -> str:
    base_url = f"http://127.0.0.1:{gateway.port}"
    async with anthropic.AsyncAnthropic(base_url=base_url, api_key="none", max_retries=0) as client:
        answer = await client.messages.create(
            model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Capital of France?"}], stream=True
        )
        return "".join([event.delta.text async for event in answer if event.type == "content_block_delta"])  # type: ignore[union-attr]


async def test_the_anthropic_client_waits_and_reads_its_stream(sleeping: Stand, start_engine: StartEngine) -> None:
    answer, _ = await asyncio.gather(ask_anthropic(sleeping), woken_after_a_while(sleeping, start_engine, MESSAGES))
    assert answer == "Paris"


async def test_the_anthropic_client_raises_what_went_wrong_after_the_head(
    sleeping: Stand, start_engine: StartEngine
) -> None:
    waking = asyncio.create_task(woken_after_a_while(sleeping, start_engine, unary(b"{}", b"500 Oh")))
    with pytest.raises(anthropic.APIStatusError, match="The engine failed on this request"):
        await ask_anthropic(sleeping)
    await waking
