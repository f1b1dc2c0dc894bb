"""What a gateway remembers of requests' texts: of who has them shown, as the engine saw them; of others nothing."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import orjson
import pytest

from deployments.gateway.recent_requests import RecentRequests
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.tenants.keyring import Keyring
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.texts.kept_texts import KeptTexts
from deployments.gateway.texts.request_text import RequestText
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, Answer, OpenStand, Stand, post, until
from tests.unit.gateway.keys import keyring_of, new_key, page
from tests.unit.gateway.recipes.engine import ChatEngine
from tests.unit.gateway.scripted_engine import Exchange, ScriptedEngine, stream, stream_then_die, unary
from tests.unit.privacy.requests import EMAIL, REQUESTS, VALUES
from tests.unit.privacy.streams import CHAT, PATHS
from tests.unit.privacy.streams import stream as streamed

SHOWN = {
    "hidden": Tenant("hidden"),
    "shown": Tenant("shown", show_text="on"),
    "redact": Tenant("redact", privacy="redact", show_text="on"),
    "restore": Tenant("restore", privacy="restore", show_text="on"),
}
KEYS = {name: new_key() for name in SHOWN}
SECRET = "nobody's business"
ANSWER = orjson.dumps({"choices": [{"message": {"role": "assistant", "content": f"Dear <EMAIL_1>, {SECRET}"}}]})


class Shown:
    """A gateway, and what its tenants are changed to."""

    def __init__(self, stand: Stand, keyring: Keyring) -> None:
        self.stand = stand
        self.recent = stand.gateway.app.recent
        self._keyring = keyring

    async def ask(self, who: str, path: bytes = CHAT, headers: str = "", **body: Any) -> Answer:
        body = {"model": MODEL, **(body or {"messages": [{"role": "user", "content": f"I am {EMAIL}"}]})}
        answer = await self.stand.ask(post(path.decode(), body, f"authorization: Bearer {KEYS[who]}\r\n{headers}"))
        await self.stand.settled()
        return answer

    def text(self, answer: Answer) -> Any:
        found = self.recent.find(answer.headers["x-request-id"])
        assert found is not None
        return found.get("text")

    def change(self, who: str, **news: Any) -> None:
        """As `key_follower` takes it in."""
        self._keyring.adopt(page({KEYS[who]: replace(SHOWN[who], **news)}, version="e.2", begins_anew=False))


async def opened(open_stand: OpenStand, *engines: ScriptedEngine) -> Shown:
    keyring = keyring_of({KEYS[name]: tenant for name, tenant in SHOWN.items()})
    return Shown(await open_stand(*engines, keyring=keyring), keyring)


async def test_what_was_said_is_told_of_one_request_and_in_no_list(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    """Nor is it in the record, which is all that metrics, spans and logs get."""
    shown = await opened(open_stand, await start_engine(unary(ANSWER)))
    records: list[RequestRecord] = []
    shown.stand.gateway.app.observers.append(records.append)
    answer = await shown.ask("shown")
    assert shown.text(answer) == {
        "prompt": [{"of": "user", "text": f"I am {EMAIL}"}],
        "answer": [{"of": "assistant", "text": f"Dear <EMAIL_1>, {SECRET}"}],
        "cut": [],
    }
    (record,) = records
    elsewhere = repr([shown.recent.latest(), [getattr(record, name) for name in record.__slots__]])
    assert answer.headers["x-request-id"] in elsewhere
    assert SECRET not in elsewhere
    assert EMAIL not in elsewhere


@pytest.mark.parametrize("path", sorted(REQUESTS))
@pytest.mark.parametrize("is_stream", [False, True])
async def test_of_who_has_not_switched_it_on_nothing_is_kept(
    start_engine: StartEngine, open_stand: OpenStand, monkeypatch: pytest.MonkeyPatch, path: bytes, is_stream: bool
) -> None:
    made: list[object] = []
    monkeypatch.setattr(RequestText, "__init__", lambda self, *_: made.append(self))
    script = stream(*streamed(path, [SECRET], ["{}"])) if is_stream and path in PATHS else unary(ANSWER)
    shown = await opened(open_stand, await start_engine(script))
    asks_for_stream = {"stream": True} if is_stream and path in PATHS else {}
    answer = await shown.ask("hidden", path, **REQUESTS[path], **asks_for_stream)
    assert answer.status == 200
    assert (made, len(shown.recent.texts), shown.recent.texts.bytes) == ([], 0, 0)
    assert shown.text(answer) is None


@pytest.mark.parametrize("who", ["redact", "restore"])
@pytest.mark.parametrize("path", sorted(REQUESTS))
async def test_nothing_that_was_taken_out_of_a_request_is_kept_of_it(
    start_engine: StartEngine, open_stand: OpenStand, path: bytes, who: str
) -> None:
    """Whole or streamed, in the prompt or where the answer has it again."""
    engine = await start_engine(unary(ANSWER))
    shown = await opened(open_stand, engine)
    answers = [await shown.ask(who, path, **REQUESTS[path])]
    if path in PATHS:
        text, arguments = "Dear <EMAIL_1>!", '{"to": "<EMAIL_1>"}'
        engine.script = stream(*streamed(path, list(text), list(arguments)))
        answers.append(await shown.ask(who, path, **REQUESTS[path], stream=True))
        assert {"of": "assistant", "text": text} in shown.text(answers[1])["answer"]
        assert (EMAIL.encode() in answers[1].body) == (who == "restore")
    for answer in answers:
        assert answer.status == 200
        told = repr(shown.text(answer))
        assert "<EMAIL_1>" in told
        assert not [value for value in VALUES if value in told]
    assert len(shown.recent.texts) == len(answers)


async def test_who_looks_for_names_in_others_requests_has_none_of_them_shown(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    """The names' model may be of this cluster, and gets texts before anything is taken out of them."""
    shown = await opened(open_stand, await start_engine(unary(ANSWER)))
    answer = await shown.ask("shown", headers="x-baryon-names: 1\r\n")
    assert (answer.status, shown.text(answer), len(shown.recent.texts)) == (200, None, 0)


async def test_switched_off_it_is_told_no_more_and_then_forgotten(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    shown = await opened(open_stand, await start_engine(unary(ANSWER)))
    answer, other = await shown.ask("shown"), await shown.ask("redact")
    shown.change("shown", show_text="off")
    assert shown.text(answer) is None
    shown.stand.gateway.app.keys_changed()
    assert len(shown.recent.texts) == 1
    assert shown.text(other) is not None
    shown.change("shown", show_text="on")
    assert shown.text(answer) is None, "what is forgotten does not come back"
    assert shown.text(await shown.ask("shown")) is not None


async def test_what_was_kept_before_redaction_was_switched_on_goes_with_that(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    shown = await opened(open_stand, await start_engine(unary(ANSWER)))
    answer = await shown.ask("shown")
    shown.change("shown", show_text="on", privacy="redact")
    assert shown.text(answer) is None
    shown.stand.gateway.app.keys_changed()
    assert (len(shown.recent.texts), shown.recent.texts.bytes) == (0, 0)
    assert EMAIL not in repr(shown.text(await shown.ask("shown")))


async def test_a_request_that_runs_while_it_is_switched_off_is_not_kept(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    goes_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await goes_on.wait()
        await unary(ANSWER)(exchange)

    engine = await start_engine(script)
    shown = await opened(open_stand, engine)
    asking = asyncio.create_task(shown.ask("shown"))
    await until(lambda: len(engine.exchanges) == 1)
    shown.change("shown", show_text="off")
    shown.stand.gateway.app.keys_changed()
    goes_on.set()
    assert (await asking).status == 200
    assert len(shown.recent.texts) == 0


async def test_of_an_answer_that_broke_off_what_came_is_kept(start_engine: StartEngine, open_stand: OpenStand) -> None:
    events = streamed(CHAT, ["one ", "two ", "three"], [])
    shown = await opened(open_stand, await start_engine(stream_then_die(*events[:3])))
    answer = await shown.ask("shown", messages=[], stream=True)
    assert not answer.whole
    assert shown.text(answer)["answer"] == [{"of": "assistant", "text": "one "}]


async def test_what_a_replica_began_to_say_before_another_answered_is_not_kept(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    async def half(exchange: Exchange) -> None:
        exchange.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n" + b"[")
        await exchange.writer.drain()
        exchange.writer.transport.close()

    engines = [await start_engine(half), await start_engine(unary(ANSWER))]
    shown = await opened(open_stand, *engines)
    while not engines[0].exchanges:
        answer = await shown.ask("shown")
    assert answer.status == 200
    assert shown.text(answer)["answer"] == [{"of": "assistant", "text": f"Dear <EMAIL_1>, {SECRET}"}]


async def test_an_engines_error_is_no_answer(start_engine: StartEngine, open_stand: OpenStand) -> None:
    error = unary(orjson.dumps({"error": {"message": SECRET}, "content": SECRET}), b"400 Bad Request")
    shown = await opened(open_stand, await start_engine(error))
    answer = await shown.ask("shown")
    assert answer.status == 400
    assert shown.text(answer)["answer"] == []
    assert shown.text(answer)["prompt"]


async def test_what_is_refused_before_it_is_read_has_no_text(start_engine: StartEngine, open_stand: OpenStand) -> None:
    shown = await opened(open_stand, await start_engine(unary(ANSWER)))
    answer = await shown.ask("shown", messages=SECRET)
    assert (answer.status, shown.text(answer)) == (400, None)


@pytest.mark.parametrize("who", ["shown", "restore"])
async def test_of_a_recipe_the_calls_that_it_made_have_theirs(
    start_engine: StartEngine, open_stand: OpenStand, who: str
) -> None:
    shown = await opened(open_stand, await start_engine(ChatEngine("From <EMAIL_1>")))
    answer = await shown.ask(who, b"/v1/recipes/write", inputs={"task": f"Write to {EMAIL}"}, model=MODEL)
    assert answer.status == 200, answer.body
    told = shown.text(answer)
    assert told["answer"][0]["of"] == "assistant"
    assert ("<EMAIL_1>" if who == "restore" else EMAIL) in repr(told["prompt"])
    assert (EMAIL in repr(told)) == (who == "shown")


async def test_no_log_line_has_it_though_all_be_logged_and_something_breaks(
    start_engine: StartEngine, open_stand: OpenStand, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: RequestText) -> bytes:
        raise ValueError(f"{self._body!r} {SECRET}")

    caplog.set_level(logging.DEBUG)
    shown = await opened(open_stand, await start_engine(unary(ANSWER)))
    await shown.ask("shown")
    monkeypatch.setattr(RequestText, "told", breaks)
    answer = await shown.ask("shown")
    assert (answer.status, shown.text(answer)) == (200, None)
    assert "is not kept: ValueError" in caplog.text
    assert EMAIL not in caplog.text
    assert SECRET not in caplog.text


def test_a_text_goes_with_its_request() -> None:
    recent = RecentRequests(2, KeptTexts({"shown": SHOWN["shown"]}.get))
    for number in range(5):
        recent.keep(RequestRecord(f"req-{number}", "g", CHAT.decode()))
        recent.texts.keep(f"req-{number}", RequestText(SHOWN["shown"], CHAT, b'{"prompt": "p"}'))
    assert len(recent.texts) == 2
    assert [bool(recent.texts.of(f"req-{number}")) for number in range(5)] == [False, False, False, True, True]


def test_of_too_much_text_the_oldest_goes() -> None:
    texts = KeptTexts({"shown": SHOWN["shown"]}.get, most_bytes=10_000)
    for number in range(50):
        texts.keep(f"req-{number}", RequestText(SHOWN["shown"], CHAT, orjson.dumps({"prompt": "x" * 1_000})))
        assert texts.bytes <= 10_000
    assert texts.of("req-49") is not None
    assert texts.of("req-0") is None
    assert 5 < len(texts) < 10
