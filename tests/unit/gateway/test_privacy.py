"""Redaction through a whole gateway: what its engine gets, and what its client gets back."""

import asyncio
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from deployments.gateway.answer_tap import LARGEST_HELD_BYTES, AnswerTap
from deployments.gateway.privacy.names_model import AT_ONCE
from deployments.gateway.request_reader import RequestReader
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.tenant import Privacy, Tenant
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, OpenStand, Stand, post, until
from tests.unit.gateway.keys import keyring_of, new_key
from tests.unit.gateway.scripted_engine import Exchange, ScriptedEngine, hang_up, never_answer, stream, unary
from tests.unit.privacy.requests import EMAIL, REQUESTS, VALUES
from tests.unit.privacy.streams import CHAT, MESSAGES, PATHS, documents_in, read
from tests.unit.privacy.streams import stream as streamed

KEYS = {name: new_key() for name in ("off", "redact", "restore", "other")}
TENANTS: dict[str, Privacy] = {"off": "off", "redact": "redact", "restore": "restore", "other": "restore"}
HELLO = f"I am {EMAIL}"
ANSWER = orjson.dumps({"choices": [{"message": {"content": "Hello <EMAIL_1>, not <EMAIL_2>"}}]})


async def opened(open_stand: OpenStand, *engines: ScriptedEngine, **settings: Any) -> Stand:
    keyring = keyring_of({KEYS[name]: Tenant(name, privacy=privacy) for name, privacy in TENANTS.items()})
    return await open_stand(*engines, keyring=keyring, settings=GatewaySettings(**settings))


def asked(who: str, path: bytes = CHAT, headers: str = "", **body: Any) -> bytes:
    body = {"model": MODEL, **(body or {"messages": [{"role": "user", "content": HELLO}]})}
    return post(path.decode(), body, f"authorization: Bearer {KEYS[who]}\r\n{headers}")


def got(engine: ScriptedEngine, number: int = -1) -> str:
    return engine.exchanges[number].body.decode()


@pytest.mark.parametrize("who", ["redact", "restore"])
@pytest.mark.parametrize("path", sorted(REQUESTS))
async def test_no_byte_of_personal_data_reaches_an_engine(
    start_engine: StartEngine, open_stand: OpenStand, path: bytes, who: str
) -> None:
    engine = await start_engine(unary(b"{}"))
    stand = await opened(open_stand, engine)
    answer = await stand.ask(asked(who, path, **REQUESTS[path]))
    assert answer.status == 200
    sent = engine.exchanges[0].head.decode() + got(engine)
    assert "<EMAIL_1>" in sent
    assert not [value for value in VALUES if value in sent]
    assert "EMAIL=1" in answer.headers["x-baryon-redacted"]


async def test_the_answer_has_it_again_only_for_who_asked_for_that(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(unary(ANSWER))
    stand = await opened(open_stand, engine)
    contents = {}
    for who in ("off", "redact", "restore"):
        answer = await stand.ask(asked(who))
        assert int(answer.headers["content-length"]) == len(answer.body)
        contents[who] = answer.json()["choices"][0]["message"]["content"]
        assert ("x-baryon-redacted" in answer.headers) == (who != "off")
    assert contents == {
        "off": "Hello <EMAIL_1>, not <EMAIL_2>",
        "redact": "Hello <EMAIL_1>, not <EMAIL_2>",
        "restore": f"Hello {EMAIL}, not <EMAIL_2>",
    }
    assert [EMAIL in exchange.body.decode() for exchange in engine.exchanges] == [True, False, False]


async def test_the_example_in_the_docs_is_what_happens(start_engine: StartEngine, open_stand: OpenStand) -> None:
    docs = (Path(__file__).parents[3] / "docs" / "privacy.md").read_text()
    (shown,) = re.findall(r"```\n(client .*?)```", docs, re.DOTALL)
    sent, seen, written, restored = (line.split(maxsplit=1)[1] for line in shown.splitlines())
    engine = await start_engine(unary(orjson.dumps({"choices": [{"message": {"content": written}}]})))
    stand = await opened(open_stand, engine)
    answer = await stand.ask(asked("restore", messages=[orjson.loads(sent)]))
    assert orjson.loads(got(engine))["messages"] == [orjson.loads(seen)]
    assert answer.json()["choices"][0]["message"]["content"] == restored.removesuffix("(restore)").strip()


@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_is_restored_though_every_token_cuts_a_placeholder(
    start_engine: StartEngine, open_stand: OpenStand, path: bytes
) -> None:
    text, called = "To <EMAIL_1>: a<b <EMAIL_9>", orjson.dumps({"to": "<EMAIL_1>"}).decode()
    engine = await start_engine(stream(*streamed(path, list(text), list(called))))
    stand = await opened(open_stand, engine)
    answer = await stand.ask(asked("restore", path, **REQUESTS[path], stream=True))
    assert answer.whole
    texts = read(path, documents_in(answer.body))
    shown = text.replace("<EMAIL_1>", EMAIL)
    assert shown in texts.values()
    assert path == b"/v1/completions" or called.replace("<EMAIL_1>", EMAIL) in texts.values()
    assert "<EMAIL_1>" not in str(texts)
    engine.script = stream(*streamed(path, list(text), list(called)))
    raw = await stand.ask(asked("redact", path, **REQUESTS[path], stream=True))
    assert raw.body == b"".join(streamed(path, list(text), list(called))), "byte for byte as the engine said it"


async def test_usage_is_counted_and_hidden_as_in_any_stream(start_engine: StartEngine, open_stand: OpenStand) -> None:
    choice = b'{"index":0,"delta":{"content":"%b"},"finish_reason":%b}'
    usage = b',"usage":{"prompt_tokens":9,"total_tokens":%d,"completion_tokens":%d}}\n\n'
    events = [
        b'data: {"id":"1","choices":[' + choice % (piece, finish) + b"]" + usage % (9 + count, count)
        for count, (piece, finish) in enumerate([(b"<EMA", b"null"), (b"IL_1>", b"null"), (b"!", b'"stop"')], start=1)
    ]
    last = b'data: {"id":"1","choices":[]' + usage % (12, 3)
    engine = await start_engine(stream(*events, last, b"data: [DONE]\n\n"))
    stand = await opened(open_stand, engine)
    answer = await stand.ask(
        asked("restore", messages=[{"role": "user", "content": HELLO}], stream=True, headers="x-baryon-timing: 1\r\n")
    )
    assert b"usage" not in answer.body
    assert b": server-timing" in answer.body
    assert read(CHAT, documents_in(answer.body.replace(b": server-timing", b"event: x")))["text", 0] == f"{EMAIL}!"
    await stand.settled()
    counted = [counts for _, counts in stand.gateway.app.tally.take()]
    assert [(counts.prompt_tokens, counts.output_tokens) for counts in counted] == [(9, 3)]


async def test_requests_at_the_same_time_get_each_their_own(start_engine: StartEngine, open_stand: OpenStand) -> None:
    """All of them are `<EMAIL_1>` to the engine, which answers when it has them all."""
    count, all_here = 8, asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if len(engine.exchanges) == count:
            all_here.set()
        await all_here.wait()
        await unary(ANSWER)(exchange)

    engine = await start_engine(script)
    stand = await opened(open_stand, engine)
    people = [f"person{number}@example.com" for number in range(count)]
    asks = [
        stand.ask(asked(("restore", "other")[number % 2], messages=[{"role": "user", "content": person}]))
        for number, person in enumerate(people)
    ]
    for person, answer in zip(people, await asyncio.gather(*asks), strict=True):
        assert answer.json()["choices"][0]["message"]["content"] == f"Hello {person}, not <EMAIL_2>"
    assert all("@" not in exchange.body.decode() for exchange in engine.exchanges)


async def test_another_replica_gets_the_same_and_its_answer_is_restored(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engines = await start_engine(hang_up), await start_engine(unary(ANSWER))
    stand = await opened(open_stand, *engines)
    for _ in range(3):
        answer = await stand.ask(asked("restore"))
        assert EMAIL in answer.json()["choices"][0]["message"]["content"]
    assert engines[0].exchanges
    assert all(EMAIL not in exchange.body.decode() for engine in engines for exchange in engine.exchanges)


async def test_an_answer_too_large_to_be_sent_at_once_is_still_restored_whole(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    text = "<EMAIL_1>" + "x" * (2 * LARGEST_HELD_BYTES) + "<EMAIL_1>"
    engine = await start_engine(unary(orjson.dumps({"choices": [{"text": text}]})))
    stand = await opened(open_stand, engine)
    answer = await stand.ask(asked("restore"))
    assert answer.whole
    assert answer.json()["choices"][0]["text"] == text.replace("<EMAIL_1>", EMAIL)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (b"/v1/completions", {"prompt": [1, 2, 3]}),
        (b"/v1/completions", {"prompt": ["a", [1]]}),
        (b"/v1/embeddings", {"input": [[1, 2]]}),
        (b"/detokenize", {"tokens": [1]}),
    ],
)
async def test_token_ids_are_refused_clearly_and_no_engine_hears_of_them(
    start_engine: StartEngine, open_stand: OpenStand, path: bytes, body: dict[str, Any]
) -> None:
    engine = await start_engine(unary(b"{}"))
    stand = await opened(open_stand, engine)
    answer = await stand.ask(asked("redact", path, **body))
    assert (answer.status, answer.error["code"]) == (400, "cannot_redact_tokens")
    assert engine.exchanges == []
    assert (await stand.ask(asked("off", path, **body))).status == 200


async def test_a_large_request_is_redacted_aside_and_the_same(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engine = await start_engine(unary(ANSWER))
    stand = await opened(open_stand, engine)
    long = "Nothing to see here. " * 5_000 + HELLO
    await stand.ask(asked("redact", messages=[{"role": "user", "content": long}]))
    assert orjson.loads(got(engine))["messages"][0]["content"] == long.replace(EMAIL, "<EMAIL_1>")


async def test_regions_of_phone_numbers_may_change_while_it_runs(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(unary(ANSWER))
    stand = await opened(open_stand, engine, phone_regions=["US"])
    body = {"messages": [{"role": "user", "content": "Ruf 030 901820 an"}]}
    await stand.ask(asked("redact", **body))
    stand.gateway.settings = GatewaySettings(phone_regions=["DE"])
    await stand.ask(asked("redact", **body))
    assert ["030 901820" in exchange.body.decode() for exchange in engine.exchanges] == [True, False]


async def test_who_asks_for_names_may_not_have_names_looked_for(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    stand = await opened(open_stand, await start_engine(unary(ANSWER)))
    answer = await stand.ask(asked("restore", headers="x-baryon-names: 1\r\n"))
    assert (answer.status, answer.error["code"]) == (400, "names_key_redacts")
    assert (await stand.ask(asked("off", headers="x-baryon-names: 1\r\n"))).status == 200


@pytest.mark.parametrize(("whose", "status"), [("off", 200), ("restore", 503)])
async def test_names_are_found_by_a_model_of_the_same_cluster(
    start_engine: StartEngine, open_stand: OpenStand, monkeypatch: pytest.MonkeyPatch, whose: str, status: int
) -> None:
    """The gateway asks itself, by the key of a tenant without redaction; by another's it would ask for ever."""

    async def script(exchange: Exchange) -> None:
        asks_for_names = b"response_format" in exchange.body
        content = '{"names": ["Ann Lee"]}' if asks_for_names else "Dear <NAME_1>"
        await unary(orjson.dumps({"choices": [{"message": {"content": content}}]}))(exchange)

    engine = await start_engine(script)
    stand = await opened(open_stand, engine)
    stand.gateway.settings = GatewaySettings(names_url=f"http://127.0.0.1:{stand.port}", names_model=MODEL)
    monkeypatch.setenv("BARYON_NAMES_KEY", KEYS[whose])
    answer = await stand.ask(asked("restore", messages=[{"role": "user", "content": f"Ann Lee, {EMAIL}"}]))
    assert answer.status == status
    if status == 503:
        assert answer.error["code"] == "names_unavailable"
        assert engine.exchanges == []
        return
    assert answer.json()["choices"][0]["message"]["content"] == "Dear Ann Lee"
    assert answer.headers["x-baryon-redacted"] == "EMAIL=1, NAME=1"
    assert orjson.loads(got(engine))["messages"][0]["content"] == "<NAME_1>, <EMAIL_1>"
    await stand.settled()


@pytest.mark.parametrize("is_recipe", [False, True])
async def test_a_model_is_not_asked_for_names_any_more_when_the_client_has_left(
    start_engine: StartEngine, open_stand: OpenStand, is_recipe: bool
) -> None:
    names_model, engine = await start_engine(never_answer), await start_engine(unary(ANSWER))
    stand = await opened(open_stand, engine, names_url=f"http://127.0.0.1:{names_model.port}", names_model="n")
    texts = [{"role": "user", "content": f"Ann Lee wrote number {number}"} for number in range(AT_ONCE + 2)]
    recipe = {"inputs": {"question": "Who is Ann Lee?"}}
    asking = asked("restore", b"/v1/recipes/answer", **recipe) if is_recipe else asked("restore", messages=texts)
    expected = 1 if is_recipe else AT_ONCE
    client = await stand.client()
    client.send(asking)
    await until(lambda: len(names_model.exchanges) == expected)
    client.leave()
    for exchange in names_model.exchanges:
        await asyncio.wait_for(exchange.gone.wait(), 5)
    await stand.settled()
    assert len(names_model.exchanges) == expected
    assert not engine.exchanges
    (told,) = stand.gateway.app.recent.latest(1)
    assert (told["outcome"], told["status"]) == ("client_gone", 0)


async def test_when_off_nothing_of_it_is_in_the_way_of_a_chunk() -> None:
    """An answer is then looked at by the same class as ever, and so with redaction alone."""
    reader, body = RequestReader(GatewaySettings), orjson.dumps({"model": "m", "stream": True, "messages": []})
    assert (await reader.read(CHAT, body, None)).new_tap is AnswerTap
    assert (await reader.read(CHAT, body, None, "redact")).new_tap is AnswerTap
    assert (await reader.read(CHAT, body, None, "restore")).new_tap is not AnswerTap
    assert (await reader.read(b"/tokenize", body, None, "restore")).new_tap is AnswerTap


def test_when_off_nothing_of_it_is_loaded() -> None:
    script = (
        "import sys, asyncio, orjson\n"
        "from deployments.gateway import app, server\n"
        "from deployments.gateway.request_reader import RequestReader\n"
        "from deployments.gateway.settings import GatewaySettings\n"
        'body = orjson.dumps({"model": "m", "messages": []})\n'
        'asyncio.run(RequestReader(GatewaySettings).read(b"/v1/chat/completions", body, None))\n'
        "print(sorted(name for name in sys.modules if name.startswith(('phonenumbers', 'stdnum'))\n"
        "    or name == 'deployments.gateway.privacy.detection'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_errors_of_anthropics_route_have_its_shape(start_engine: StartEngine, open_stand: OpenStand) -> None:
    stand = await opened(open_stand, await start_engine(unary(b"{}")))
    many = "1 " * 100_001
    answer = await stand.ask(asked("redact", MESSAGES, messages=[{"role": "user", "content": many}], max_tokens=1))
    assert answer.status == 400
    assert "numbers" in answer.error["message"]


@pytest.mark.parametrize("who", ["off", "redact", "restore"])
async def test_no_log_line_of_a_gateway_has_what_was_said_though_all_be_logged(
    start_engine: StartEngine, open_stand: OpenStand, caplog: pytest.LogCaptureFixture, who: str
) -> None:
    """On every route, answered, refused, failed, and with a part of the gateway that breaks."""
    caplog.set_level(logging.DEBUG)
    engine = await start_engine(unary(ANSWER))
    stand = await opened(open_stand, engine)
    for script in (
        unary(ANSWER),
        unary(orjson.dumps({"error": {"message": EMAIL}}), b"400 Bad Request"),
        unary(EMAIL.encode(), b"500 Internal Server Error"),
        stream(b"data: " + EMAIL.encode() + b"\n\n"),
    ):
        engine.script = script
        for path in sorted(REQUESTS):
            await stand.ask(asked(who, path, **REQUESTS[path]))
    await stand.ask(asked(who, **{EMAIL: EMAIL, "messages": []}))
    await stand.ask(asked(who, messages=EMAIL))
    stand.gateway.app.observers.append(lambda record: 1 / 0)
    await stand.ask(asked(who))
    assert "ZeroDivisionError" in caplog.text
    assert not [value for value in VALUES if value in caplog.text]
