"""Mixed requests, some of whose clients leave, and what engines and ledger say came of them."""

import asyncio
import contextlib
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from deployments.gateway.usage import read_usage
from engine.internal_token import token_now
from engine.request_feed import ORPHANED_AFTER_S
from tests.unit.gateway.harness import Client, post

METRIC = re.compile(r"^vllm:(prompt_tokens|generation_tokens)_total\{[^}]*\} (\S+)$", re.MULTILINE)
LONGEST_ANSWER_S = 60.0
SETTLE_S = 60.0
UNCHANGED_S = ORPHANED_AFTER_S + 3.0


@dataclass(frozen=True, slots=True)
class Tokens:
    prompt: int = 0
    output: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt + other.prompt, self.output + other.output)

    def __sub__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt - other.prompt, self.output - other.output)


class MixedLoad:
    """`embeds`: the models have embeddings too. `steady` are models whose clients never leave."""

    def __init__(
        self,
        port: int,
        models: Sequence[str],
        steady: Sequence[str],
        random: Random,
        *,
        embeds: bool,
        longest: int = 40,
        most_choices: int = 4,
    ) -> None:
        self._port, self._models, self._steady, self._random = port, models, steady, random
        self._embeds, self._longest, self._most_choices = embeds, longest, most_choices
        self.outcomes: Counter[str] = Counter()
        self.seen: dict[str, Tokens] = dict.fromkeys(models, Tokens())
        """By model, the usage in answers that clients got whole and that said it."""

    async def run(self, requests: int, clients: int, leaving: float = 0.1) -> None:
        """`leaving`: the part of requests whose client leaves before the end, where it may."""
        left = iter(range(requests))

        async def client() -> None:
            for _ in left:
                await self._one(leaving)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def _one(self, leaving: float) -> None:
        model = self._random.choice(self._models)
        path, body = self._request(model)
        leaves = model not in self._steady and self._random.random() < leaving
        try:
            opened = Client(*await asyncio.open_connection("127.0.0.1", self._port), deadline_s=LONGEST_ANSWER_S)
        except OSError:
            self.outcomes["refused connection"] += 1
            await asyncio.sleep(0.05)
            return
        opened.send(post(path, body))
        try:
            async with asyncio.timeout(LONGEST_ANSWER_S):
                outcome = await (self._left(opened, body) if leaves else self._answered(opened, model))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            outcome = f"broken: {type(error).__name__}"
        finally:
            opened.leave()
        self.outcomes[outcome] += 1

    async def _left(self, client: Client, body: dict[str, Any]) -> str:
        """After some events of a stream, or at some time during an answer that comes whole."""
        if body.get("stream"):
            status, _ = await client.head()
            for _ in range(self._random.randint(0, 10)):
                if not await client.chunk():
                    return "ended before its client left"
            return f"left ({status})"
        await asyncio.sleep(self._random.uniform(0, 0.15))
        return "left"

    async def _answered(self, client: Client, model: str) -> str:
        answer = await client.answer()
        if not answer.whole:
            return "cut"
        if answer.status == 200:
            usage = read_usage(answer.body)
            self.seen[model] += Tokens(usage.prompt_tokens, usage.output_tokens) if usage else Tokens()
        return str(answer.status)

    def _request(self, model: str) -> tuple[str, dict[str, Any]]:
        text = " ".join(self._random.choice(("tell", "me", "of", "rivers")) for _ in range(self._random.randint(3, 60)))
        kind = self._random.choice(("chat", "chat", "completions", "completions", "embeddings"))
        if kind == "embeddings" and self._embeds:
            return "/v1/embeddings", {"model": model, "input": [text, text[:9]]}
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": self._random.randint(1, self._longest),
            "ignore_eos": True,
        }
        if self._random.random() < 0.6:
            body["stream"] = True
            body |= self._random.choice([{}, {}, {"stream_options": {"include_usage": True}}])
        if self._random.random() < 0.15:
            body["n"] = self._random.randint(1, self._most_choices)
        if kind == "chat":
            return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": text}]}
        return "/v1/completions", {**body, "prompt": text}


Engines = Callable[[], Awaitable[dict[str, Tokens]]]
Ledger = Callable[[], Awaitable[dict[str, Tokens]]]


async def engine_tokens(engines: Sequence[tuple[str, str, str]]) -> dict[str, Tokens]:
    """By model, from `/metrics` of each (model, URL, token)."""
    tokens: dict[str, Tokens] = {}
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        for model, url, token in engines:
            text = (
                await http.get(f"{url}/metrics", headers={"x-baryon-internal-token": token_now(token).decode()})
            ).text
            found: Counter[str] = Counter()
            for name, value in METRIC.findall(text):
                found[name] += int(float(value))
            tokens[model] = tokens.get(model, Tokens()) + Tokens(found["prompt_tokens"], found["generation_tokens"])
    return tokens


def accounted(rows: Sequence[dict[str, Any]]) -> dict[str, Tokens]:
    """By model, delivered and surplus together."""
    return {
        row["model"]: Tokens(
            row["prompt_tokens"] + row["surplus_prompt_tokens"], row["output_tokens"] + row["surplus_output_tokens"]
        )
        for row in rows
    }


def difference(engines: dict[str, Tokens], ledger: dict[str, Tokens]) -> dict[str, Tokens]:
    """What engines counted and the ledger has not."""
    return {model: tokens - ledger.get(model, Tokens()) for model, tokens in engines.items()}


async def settled(engines: Engines, ledger: Ledger, expected: dict[str, Tokens] | None = None) -> dict[str, Tokens]:
    """The difference, once it is `expected` (nothing, if that is not given) or stays for longer than orphans take."""
    wanted = expected if expected is not None else {}
    loop = asyncio.get_running_loop()
    last: dict[str, Tokens] = {}
    deadline_s, since_s = loop.time() + SETTLE_S, loop.time()
    while loop.time() < deadline_s and loop.time() - since_s < UNCHANGED_S:
        found = difference(await engines(), await ledger())
        if all(tokens == wanted.get(model, Tokens()) for model, tokens in found.items()):
            return found
        if found != last:
            last, since_s = found, loop.time()
        await asyncio.sleep(0.25)
    return last


class Watch:
    """What the engines counted over the last seconds, so that it is known what the last second before a kill held."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._samples: deque[tuple[float, dict[str, Tokens]]] = deque(maxlen=200)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                self._samples.append((asyncio.get_running_loop().time(), await self._engines()))
            await asyncio.sleep(0.1)

    async def last_second(self, at_s: float) -> dict[str, Tokens]:
        """Between the last sample that is at least one second older than `at_s` and the first after it."""
        while self._samples[-1][0] <= at_s:
            await asyncio.sleep(0.05)
        before = [tokens for time_s, tokens in self._samples if time_s <= at_s - 1.0][-1]
        after = next(tokens for time_s, tokens in self._samples if time_s > at_s)
        return {model: tokens - before.get(model, Tokens()) for model, tokens in after.items()}
