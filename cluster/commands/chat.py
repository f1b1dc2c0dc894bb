"""`baryon chat`: talk to a model in the terminal."""

import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import orjson
import typer

from cluster.bring_up import head_of
from cluster.commands.output import FAILED, NOT_RUNNING, console, fail
from cluster.run_folder import default_run_folder

TIMEOUT = httpx.Timeout(600.0, connect=5.0)
Message = dict[str, str]


class ChatError(Exception):
    """The endpoint answered with an error, in its own words."""


def chat(
    prompt: Annotated[str | None, typer.Argument(help="Ask this and leave; without it, a conversation.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Default: the first one served.")] = None,
    endpoint: Annotated[str | None, typer.Option("--endpoint", help="Default: this machine's cluster.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
) -> None:
    """Talk to a model; answers stream. Ctrl-D ends a conversation. A key is taken from BARYON_API_KEY.

    Example: baryon chat "What is the capital of France?"
    """
    key = os.environ.get("BARYON_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    url = endpoint or _local_endpoint()
    with httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False) as client:
        try:
            name = model or _first_model(client)
            parameters = {"model": name, "temperature": temperature, "max_tokens": max_tokens}
            if prompt is not None:
                _say(client, parameters, [{"role": "user", "content": prompt}])
            else:
                console.print(f"[dim]{name}; Ctrl-D ends it[/dim]")
                _converse(client, parameters)
        except (ChatError, httpx.HTTPError) as error:
            fail(str(error), FAILED)


def _converse(client: httpx.Client, parameters: dict[str, Any]) -> None:
    messages: list[Message] = []
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            return
        if line:
            messages.append({"role": "user", "content": line})
            messages.append({"role": "assistant", "content": _say(client, parameters, messages)})


def _say(client: httpx.Client, parameters: dict[str, Any], messages: list[Message]) -> str:
    answer = ""
    for piece in _stream(client, {**parameters, "messages": messages, "stream": True}):
        sys.stdout.write(piece)
        sys.stdout.flush()
        answer += piece
    sys.stdout.write("\n")
    return answer


def _stream(client: httpx.Client, body: dict[str, Any]) -> Iterator[str]:
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.is_error:
            raise ChatError(_message(response.read()))
        for line in response.iter_lines():
            data = line.removeprefix("data: ")
            if data == line or data == "[DONE]":
                continue
            event = orjson.loads(data)
            if "error" in event:
                raise ChatError(_message(data.encode()))
            for choice in event["choices"]:
                yield choice["delta"].get("content") or ""


def _message(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body.decode(errors="replace")[:300]


def _first_model(client: httpx.Client) -> str:
    answer = client.get("/v1/models")
    if answer.is_error:
        raise ChatError(_message(answer.content))
    models = answer.json()["data"]
    if not models:
        raise ChatError("nothing is served yet")
    return str(models[0]["id"])


def _local_endpoint() -> str:
    folder = default_run_folder()
    record = folder.read()
    if record is None or head_of(record) is None:
        fail(
            f"no cluster is running from {folder.path}; start one with `baryon up`, or name an --endpoint", NOT_RUNNING
        )
    return record.gateway_url
