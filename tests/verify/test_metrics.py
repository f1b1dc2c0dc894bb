"""Token counters against what clients were told, over gateways, tenants, streams, failures and kills of gateways."""

import asyncio
import os
import signal
from collections import Counter
from random import Random

import httpx
import orjson
import pytest

from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.metrics_of_two_gateways import eventually, values
from tests.end_to_end.test_two_gateways import gateways

pytestmark = pytest.mark.verify

MODELS = """
models:
  - {name: one, engine: simulated, profile: instant, cpus_per_replica: 0.1, max_in_flight: 64, replicas: {min: 2}}
  - {name: two, engine: simulated, profile: instant, cpus_per_replica: 0.1, max_in_flight: 64}
"""
REQUESTS, CLIENTS, TENANTS = 2_000, 16, ("acme", "globex", "initech")
KINDS = {"prompt": "prompt_tokens", "generated": "completion_tokens", "cached_prompt": "cached_tokens"}
Told = Counter[tuple[str, str, str]]


class Clients:
    """`told`: tokens by model, tenant and kind, from the usage in each answer."""

    def __init__(self, url: str, keys: dict[str, str]) -> None:
        self._url, self._keys = url, keys
        self._random = Random(11)
        self.told: Told = Counter()
        self.completed = 0

    async def ask_all(self) -> None:
        numbers = iter(range(REQUESTS))

        async def ask_on() -> None:
            async with httpx.AsyncClient(timeout=60) as client:
                for number in numbers:
                    await self._ask(client, number)

        await asyncio.gather(*(ask_on() for _ in range(CLIENTS)))

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        model, tenant = self._random.choice(("one", "one", "two")), self._random.choice(TENANTS)
        stream = bool(number % 2)
        words = " ".join(f"word{i}" for i in range(self._random.choice((3, 40, 200))))
        body = {"model": model, "prompt": words, "max_tokens": self._random.randint(1, 12), "ignore_eos": True}
        body |= {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        headers = {"authorization": f"Bearer {self._keys[tenant]}"}
        answer = await client.post(f"{self._url}/v1/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        events = answer.text.strip().split("\n\n")
        usage = orjson.loads(events[-2].removeprefix("data: ") if stream else answer.text)["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        usage = {**usage, "cached_tokens": cached}
        self.completed += 1
        for kind, field in KINDS.items():
            self.told[model, tenant, kind] += usage[field]


def key_of(cluster: ClusterProcess, tenant: str) -> str:
    done = cluster.run("keys", "create", tenant, "--json")
    assert done.returncode == 0, done.stderr
    return str(orjson.loads(done.stdout)["key"])


def test_token_counters_are_what_clients_were_told() -> None:
    cluster = ClusterProcess(MODELS, gateway_processes=2)
    try:
        cluster.start()
        clients = Clients(cluster.url, {tenant: key_of(cluster, tenant) for tenant in TENANTS})
        asyncio.run(clients.ask_all())
        eventually(cluster, lambda page: sum(values(page, "baryon_requests_total")) == REQUESTS)
        for pid in gateways(cluster).values():
            os.kill(pid, signal.SIGKILL)
        page = eventually(cluster, lambda page: values(page, "baryon_gateways") == [2])
        assert clients.completed == REQUESTS
        counted = {
            key: sum(values(page, f"baryon_{key[2]}_tokens_total", model=key[0], tenant=key[1])) for key in clients.told
        }
        assert counted == clients.told
        assert sum(values(page, "baryon_requests_total", outcome="completed")) == REQUESTS
        of_engines = sum(values(page, "vllm:generation_tokens_total", model="two"))
        ours = sum(tokens for (model, _, kind), tokens in clients.told.items() if (model, kind) == ("two", "generated"))
        assert of_engines - ours == 1, "the engine's first token, made as it started, is nobody's"
    finally:
        cluster.remove()
