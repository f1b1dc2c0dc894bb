"""Names of people, told by a model that may be wrong, slow, gone or fooled."""

from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from deployments.gateway.errors import GatewayError
from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.names_model import (
    KEY_VARIABLE,
    MOST_NAMES,
    MOST_PIECES,
    PIECE_CHARACTERS,
    NamesModel,
    pieces_of,
)
from deployments.gateway.privacy.redactor import Redactor
from deployments.gateway.privacy.said import said_texts
from tests.unit.privacy.requests import CONVERSATION, DATA

PEOPLE = ("Ann Lee", "Bob", "Zoë O'Brien-Müller")
Answer = Callable[[dict[str, Any]], Any]


class Server:
    """Of the model: `answer` is what it writes to a request, or an HTTP response."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer or names_of_people

    @property
    def model(self) -> NamesModel:
        return NamesModel("http://names.example/", "finder", httpx.MockTransport(self._handle))

    @property
    def texts(self) -> list[str]:
        return [orjson.loads(request.content)["messages"][-1]["content"] for request in self.requests]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        told = self._answer(orjson.loads(request.content))
        if isinstance(told, httpx.Response):
            return told
        content = told if isinstance(told, str) else orjson.dumps(told).decode()
        return httpx.Response(200, json={"choices": [{"message": {"content": content}}]})


def names_of_people(body: dict[str, Any]) -> dict[str, list[str]]:
    text = body["messages"][-1]["content"]
    return {"names": [name for name in PEOPLE if name in text]}


def chat(*contents: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content} for content in contents]}


async def redacted(server: Server, document: dict[str, Any]) -> list[str]:
    done = await Redactor(Detector(), server.model).redact(document, "restore")
    return [message["content"] for message in done.document["messages"]]


async def test_names_are_taken_out_beside_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "baryon_key")
    server = Server()
    contents = await redacted(server, chat("Ann Lee (ann@x.com) met Bob.", "What did Bob say to Zoë O'Brien-Müller?"))
    assert contents == ["<NAME_1> (<EMAIL_1>) met <NAME_2>.", "What did <NAME_2> say to <NAME_3>?"]
    request = server.requests[0]
    assert str(request.url) == "http://names.example/v1/chat/completions"
    assert (request.headers["authorization"], request.headers["x-baryon-names"]) == ("Bearer baryon_key", "1")
    body = orjson.loads(request.content)
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["temperature"] == 0


async def test_a_text_that_comes_twice_is_asked_about_once_and_numbers_not_at_all() -> None:
    server = Server()
    await redacted(server, chat("I am Bob", "I am Bob", "12 + 30", ""))
    assert server.texts == ["I am Bob"]


async def test_only_what_was_said_is_asked_about() -> None:
    texts = list(said_texts({"messages": CONVERSATION, "user": "Bob", "tools": [{"name": "Bob"}]}))
    assert texts == [DATA, DATA, f'{{"to": "{DATA}"}}', DATA]


@pytest.mark.parametrize(
    "told",
    [
        {"names": ["user", "Carl", "", "a", " Bob", "42", 7, None, "x" * 101, ["Bob"]]},
        {"names": []},
    ],
)
async def test_what_the_model_makes_up_changes_nothing(told: Any) -> None:
    text = "Bob is 42; a " + "x" * 101
    assert await redacted(Server(lambda _: told), chat(text)) == [text]


async def test_roles_and_the_like_are_no_names_though_the_model_be_fooled() -> None:
    done = await Redactor(Detector(), Server(lambda _: {"names": ["user", "text"]}).model).redact(
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "the user writes text"}]}]}, "redact"
    )
    (message,) = done.document["messages"]
    assert message == {"role": "user", "content": [{"type": "text", "text": "the <NAME_1> writes <NAME_2>"}]}


@pytest.mark.parametrize(
    "told",
    [
        httpx.Response(500),
        httpx.Response(401, json={"error": {}}),
        httpx.Response(200, content=b"no json"),
        httpx.Response(200, json={"choices": []}),
        "no json",
        '{"names": ["Bo',
        '{"people": []}',
        '{"names": "Bob"}',
        "[]",
        "null",
    ],
)
async def test_without_its_answer_nothing_leaves(told: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        await redacted(Server(lambda _: told), chat("I am Bob"))
    assert (caught.value.status, caught.value.code) == (503, "names_unavailable")
    assert "Bob" not in str(caught.value)


async def test_a_server_that_is_not_there_is_an_error_too() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(GatewayError):
        await NamesModel("http://names.example", "finder", httpx.MockTransport(refuse)).names_in(["I am Bob"])


async def test_a_long_text_is_asked_about_in_pieces_that_do_not_cut_words() -> None:
    text = "word " * 1_000 + "Ann Lee " + "word " * 1_000 + "Bob"
    pieces = list(pieces_of(text))
    assert "".join(pieces) == text
    assert all(len(piece) <= PIECE_CHARACTERS for piece in pieces)
    assert all(piece.endswith(" ") for piece in pieces[:-1])
    assert list(pieces_of("x" * (PIECE_CHARACTERS + 1))) == ["x" * PIECE_CHARACTERS, "x"]
    (content,) = await redacted(Server(), chat(text))
    assert content == text.replace("Ann Lee", "<NAME_1>").replace("Bob", "<NAME_2>")


async def test_what_would_keep_the_model_busy_for_long_is_refused() -> None:
    server = Server()
    with pytest.raises(GatewayError) as caught:
        await redacted(server, chat("word " * (PIECE_CHARACTERS // 5) * (MOST_PIECES + 1)))
    assert (caught.value.status, caught.value.code) == (400, "too_much_for_names")
    assert server.requests == []
    words = [f"Name{number}" for number in range(MOST_NAMES + 1)]
    with pytest.raises(GatewayError) as caught:
        await redacted(Server(lambda _: {"names": words}), chat(" ".join(words)[:PIECE_CHARACTERS], " ".join(words)))
    assert caught.value.code == "too_much_for_names"
