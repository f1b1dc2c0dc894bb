"""Of prompts and answers nothing is in any file that is written: real vLLM and a simulated engine, all routes, whole
and streamed, answered, refused and broken off, with redaction and without.
"""

import secrets
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest

from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.written_files import places_to_write, words_in, written_since
from tests.unit.privacy.streams import CHAT, COMPLETIONS, MESSAGES, RESPONSES, documents_in, read

pytestmark = [pytest.mark.engine, pytest.mark.cluster, pytest.mark.verify]

MODEL, SIMULATED = "smollm2-135m-instruct", "sim"
MODELS = """
models:
  - name: smollm2-135m-instruct
    source: bundled:smollm2-135m-instruct
    kv_cache_gib: 0.5
    cpus_per_replica: 0.5
    engine_args: {max_model_len: 1024, enable_auto_tool_choice: true, tool_call_parser: hermes}
  - {name: sim, engine: simulated, profile: instant, cpus_per_replica: 0.1}
"""
SHORTEST_ANSWER = 24
WRITTEN = frozenset({"content", "text", "arguments", "output", "thinking"})
TENANTS = {"plain": "off", "hidden": "redact", "whole": "restore"}
HOLDS_WITHIN_S = 30


def canary() -> str:
    """Letters that nothing else has."""
    return "canary" + "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(20))


@dataclass
class Canaries:
    """What was said to engines, and what they said. `known`: what is stored on purpose."""

    said: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    known: str = field(default_factory=lambda: f"tenant-{secrets.token_hex(8)}")

    def new(self) -> str:
        self.said.append(canary())
        return self.said[-1]

    def address(self) -> str:
        return f"{self.new()}@example.com"

    def heard(self, text: str) -> None:
        """All of it, in pieces that are long enough to be nobody else's."""
        text = text.strip()
        for begin in range(0, len(text) - SHORTEST_ANSWER + 1, SHORTEST_ANSWER):
            piece = text[begin : begin + SHORTEST_ANSWER]
            if len(set(piece)) > 8:
                self.answered.add(piece)


class Clients:
    """One for each tenant, who ask and note what they hear."""

    def __init__(self, cluster: ClusterProcess, canaries: Canaries) -> None:
        self.cluster = cluster
        self.canaries = canaries
        self.keys = {name: self._key(f"{canaries.known}-{name}", privacy) for name, privacy in TENANTS.items()}

    def _key(self, tenant: str, privacy: str) -> str:
        done = self.cluster.run("keys", "create", "--tenant", tenant, "--privacy", privacy, "--json")
        assert done.returncode == 0, done.stderr
        return str(orjson.loads(done.stdout)["key"])

    def ask(self, tenant: str, path: bytes, body: dict[str, Any], **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[tenant]}", "x-baryon-explain": "1", **more.pop("headers", {})}
        url = self.cluster.url + path.decode()
        answer = httpx.post(url, json={"model": MODEL, **body}, headers=headers, timeout=120, **more)
        is_stream = answer.headers["content-type"].startswith("text/event-stream")
        if answer.status_code == 200 and not is_stream:
            self._hear(answer.json())
        elif answer.status_code == 200:
            for text in read(path, documents_in(answer.content)).values():
                self.canaries.heard(text)
        return answer

    def _hear(self, document: Any) -> None:
        """What a model wrote. Ids beside it are in logs on purpose."""
        for name, one in document.items() if isinstance(document, dict) else ():
            if isinstance(one, str) and name in WRITTEN:
                self.canaries.heard(one)
            for inner in one if isinstance(one, list) else [one]:
                self._hear(inner)

    def leave_in_the_middle(self, tenant: str, body: dict[str, Any]) -> None:
        headers = {"authorization": f"Bearer {self.keys[tenant]}"}
        url, asked = self.cluster.url + CHAT.decode(), {"model": MODEL, "stream": True, **body}
        with httpx.stream("POST", url, json=asked, headers=headers, timeout=120) as answer:
            next(answer.iter_bytes())


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterProcess]:
    process = ClusterProcess(MODELS)
    try:
        process.start()
        yield process
    finally:
        process.remove()


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[number % 2], "content": said} for number, said in enumerate(contents)]


def bodies(path: bytes, canaries: Canaries) -> dict[str, Any]:
    """With something of everybody's in every text."""
    said, address = f"Tell me of {canaries.new()} please.", canaries.address()
    return {
        CHAT: {"messages": [{"role": "system", "content": address}, *turns(said)], "max_tokens": 16, "user": address},
        COMPLETIONS: {"prompt": f"{said} {address}", "max_tokens": 16, "stop": [canaries.new()], "suffix": None},
        RESPONSES: {"input": said, "instructions": address, "max_output_tokens": 16},
        MESSAGES: {"messages": turns(said), "system": address, "max_tokens": 16},
    }[path]


def ask_everything(clients: Clients) -> None:
    canaries = clients.canaries
    for tenant in TENANTS:
        for path in (CHAT, COMPLETIONS, RESPONSES, MESSAGES):
            for stream in (False, True):
                for model in (SIMULATED,) if tenant == "hidden" else (MODEL, SIMULATED):
                    answer = clients.ask(tenant, path, {**bodies(path, canaries), "stream": stream, "model": model})
                    assert answer.status_code == 200, (path, answer.text)
        ask_recipes(clients, tenant)
        tokens = clients.ask(tenant, b"/tokenize", {"prompt": canaries.new()})
        assert tokens.status_code == 200
        clients.leave_in_the_middle(tenant, {"messages": turns(canaries.new()), "max_tokens": 400})


def ask_recipes(clients: Clients, tenant: str) -> None:
    """Of the simulated engine: a written answer, whole and streamed, and one of two labels."""
    canaries = clients.canaries
    question, task = {"question": canaries.new(), "context": canaries.address()}, {"task": canaries.address()}
    labels = {"text": canaries.new(), "labels": [canaries.new(), canaries.new()]}
    for name, inputs, stream in (("answer", question, False), ("write", task, True), ("classify", labels, False)):
        body = {
            "model": SIMULATED,
            "inputs": inputs,
            **({"max_tokens": 16, "stream": stream} if name == "write" else {}),
        }
        answer = clients.ask(tenant, f"/v1/recipes/{name}".encode(), body)
        assert answer.status_code == 200, (name, answer.text)


def ask_wrongly(clients: Clients) -> None:
    """What the gateway refuses, and what the engine does: there the words might end up in a log of an error."""
    canaries, refused = clients.canaries, 0
    for tenant in TENANTS:
        for body in (
            {"messages": turns(canaries.new() * 400)},
            {"messages": turns(canaries.new()), canaries.new(): canaries.new()},
            {"messages": turns(canaries.new()), "temperature": canaries.new()},
            {"messages": canaries.new()},
            {"messages": [{"role": canaries.new(), "content": {"text": canaries.new()}}]},
            {"messages": turns(canaries.new()), "tools": [{"type": canaries.new()}]},
            {"messages": turns(canaries.new()), "model": canaries.new()},
            {"messages": turns(canaries.new()), "structured_outputs": {"regex": canaries.new() + "("}},
            {"messages": [{"role": "user", "content": [picture(canaries)]}]},
        ):
            refused += clients.ask(tenant, CHAT, body).status_code >= 400
        headers = {"authorization": f"Bearer {clients.keys[tenant]}"}
        url, cut = clients.cluster.url + CHAT.decode(), f'{{"model": "{canaries.new()}'
        assert httpx.post(url, content=cut, headers=headers).status_code == 400
    assert refused >= 7 * len(TENANTS)


def picture(canaries: Canaries) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{canaries.new()}"}}


def check_redaction(clients: Clients) -> None:
    """Through real vLLM: forced to write the placeholder token by token, and told the prompt back."""
    address = clients.canaries.address()
    choice = {"structured_outputs": {"choice": [f"Write to {address} now"]}, "temperature": 0, "max_tokens": 40}
    expected = {"hidden": "Write to <EMAIL_1> now", "whole": f"Write to {address} now"}
    for tenant, text in expected.items():
        body = {"messages": turns(f"I am {address}"), **choice}
        whole = clients.ask(tenant, CHAT, body)
        assert whole.headers["x-baryon-redacted"] == "EMAIL=1"
        assert whole.json()["choices"][0]["message"]["content"] == text
        streamed = clients.ask(tenant, CHAT, {**body, "stream": True})
        assert read(CHAT, documents_in(streamed.content))["text", 0] == text
        pieces = [d["choices"][0]["delta"].get("content") for d in documents_in(streamed.content) if d["choices"]]
        assert sum(map(bool, pieces)) > 3, "it came in several tokens"
        echoed = clients.ask(tenant, COMPLETIONS, {"prompt": f"Mail {address}", "echo": True, "max_tokens": 1})
        shown = "<EMAIL_1>" if tenant == "hidden" else address
        assert echoed.json()["choices"][0]["text"].startswith(f"Mail {shown}")
        check_calls(clients, tenant, address, shown)
        check_cache(clients, tenant, address)


def check_calls(clients: Clients, tenant: str, address: str, shown: str) -> None:
    schema = {"type": "object", "properties": {"to": {"type": "string", "enum": [address]}}, "required": ["to"]}
    body = {
        "messages": turns(f"Write to {address}"),
        "tools": [{"type": "function", "function": {"name": "send", "parameters": schema, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "send"}},
        "temperature": 0,
        "max_tokens": 60,
    }
    (call,) = clients.ask(tenant, CHAT, body).json()["choices"][0]["message"]["tool_calls"]
    assert orjson.loads(call["function"]["arguments"]) == {"to": shown}
    streamed = clients.ask(tenant, CHAT, {**body, "stream": True})
    assert orjson.loads(read(CHAT, documents_in(streamed.content))["arguments", 0]) == {"to": shown}


def check_cache(clients: Clients, tenant: str, address: str) -> None:
    """A conversation that goes on finds its beginning in the engine's cache."""
    beginning = f"I am {address}. " + "The weather was fine and we went for a walk. " * 20
    first = clients.ask(tenant, CHAT, {"messages": turns(beginning), "max_tokens": 20, "temperature": 0}).json()
    said = first["choices"][0]["message"]["content"]
    again = clients.ask(
        tenant, CHAT, {"messages": turns(beginning, said, f"Is it {address}?"), "max_tokens": 2, "temperature": 0}
    )
    receipt = orjson.loads(again.headers["x-baryon-actual"])
    assert receipt["hit_tokens"] >= 128, receipt


def check_shown_text(clients: Clients) -> None:
    """Of who has it switched on, what was said is told of one request, with placeholders, until it is switched off."""
    said, address = clients.canaries.new(), clients.canaries.address()
    body = {"messages": turns(f"{said} {address}"), "max_tokens": 16}
    switch(clients, "whole", "on")
    deadline_s = time.monotonic() + HOLDS_WITHIN_S
    while (text := text_of(clients, asked := clients.ask("whole", CHAT, body))) is None:
        assert time.monotonic() < deadline_s
    assert text["prompt"] == [{"of": "user", "text": f"{said} <EMAIL_1>"}]
    answer = asked.json()["choices"][0]["message"]["content"].replace(address, "<EMAIL_1>")
    assert text["answer"] == [{"of": "assistant", "text": answer}]
    assert text_of(clients, clients.ask("plain", CHAT, body)) is None
    switch(clients, "whole", "off")
    deadline_s = time.monotonic() + HOLDS_WITHIN_S
    while text_of(clients, asked) is not None:
        assert time.monotonic() < deadline_s


def switch(clients: Clients, tenant: str, shown: str) -> None:
    done = clients.cluster.run("keys", "limit", f"{clients.canaries.known}-{tenant}", "--show-text", shown)
    assert done.returncode == 0, done.stderr


def text_of(clients: Clients, answer: httpx.Response) -> Any:
    """On the page of that one request."""
    url = f"http://127.0.0.1:{clients.cluster.admin_port}/admin/requests/{answer.headers['x-request-id']}"
    page = httpx.get(url, timeout=30)
    assert page.status_code == 200, page.text
    return page.json()["text"]


def test_of_prompts_and_answers_nothing_is_in_any_file(cluster: ClusterProcess) -> None:
    began_s, canaries = time.time() - 1, Canaries()
    clients = Clients(cluster, canaries)
    check_redaction(clients)
    check_shown_text(clients)
    ask_everything(clients)
    ask_wrongly(clients)
    done = cluster.run("backup", str(cluster.folder / "backup.zip"))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(cluster.folder / "backup.zip") as packed:
        packed.extractall(cluster.folder / "backup")
    for command in (("status",), ("usage", "--json"), ("keys", "list"), ("audit",), ("status", "--why")):
        shown = cluster.run(*command)
        assert not [word for word in canaries.said if word in shown.stdout + shown.stderr], command
    requests = httpx.get(f"http://127.0.0.1:{cluster.admin_port}/admin/requests", timeout=30)
    assert requests.status_code == 200
    assert not [word for word in canaries.said if word in requests.text]
    assert len(canaries.said) > 100
    assert len(canaries.answered) > 20
    cluster.stop()
    check_files(cluster, canaries, began_s)


def check_files(cluster: ClusterProcess, canaries: Canaries, began_s: float) -> None:
    """After the end, when all that was buffered is written. Sentences of a model may be anybody's, so those are looked
    for in what this cluster wrote.
    """
    written = list(written_since(began_s, places_to_write(cluster.folder)))
    of_the_run = {path for path in written if path.is_relative_to(cluster.folder)}
    holders = {path for path in of_the_run if words_in(path, [canaries.known])}
    names = {path.name for path in of_the_run}
    assert "state.sqlite" in names, names
    assert any("engines" in path.parts and "vllm" in path.read_text(errors="replace").lower() for path in of_the_run)
    assert any("backup" in path.parts for path in of_the_run)
    assert any(path.name.startswith("state.sqlite") for path in holders), "what is stored on purpose is found"
    words = [*canaries.said, *canaries.answered]
    found = {str(path): words_in(path, words if path in of_the_run else canaries.said) for path in written}
    assert not {path: hits for path, hits in found.items() if hits}
