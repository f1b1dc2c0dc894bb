"""Limits of a key on a running cluster: over all its gateways, through Ray's calls, and after a change."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import orjson

from tests.end_to_end.cluster_process import ClusterProcess

KNOWN_WITHIN_S = 2.5


def check_limits(cluster: ClusterProcess) -> None:
    """Each request on a connection of its own, so that the kernel spreads them over the gateways."""
    key = made(cluster, "limited", "--requests-per-minute", "40", "--concurrent", "10")
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: ask(cluster, key), range(80)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (40, 40)
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers["x-ratelimit-limit-requests"] == "40"
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"

    done = cluster.run("keys", "limit", "limited", "--requests-per-minute", "60")
    assert done.returncode == 0, done.stderr
    time.sleep(KNOWN_WITHIN_S)
    assert [ask(cluster, key).status_code for _ in range(30)].count(200) == 20

    blocked = made(cluster, "blocked", "--tokens-per-day", "0")
    assert ask(cluster, blocked).json()["error"]["code"] == "limit_is_zero"
    assert cluster.run("keys", "limit", "limited", "--requests-per-minute", "-1").returncode != 0


def made(cluster: ClusterProcess, tenant: str, *limits: str) -> str:
    """A new key, once every gateway knows it."""
    done = cluster.run("keys", "create", "--tenant", tenant, *limits, "--json")
    assert done.returncode == 0, done.stderr
    time.sleep(KNOWN_WITHIN_S)
    key: str = orjson.loads(done.stdout)["key"]
    return key


def ask(cluster: ClusterProcess, key: str) -> httpx.Response:
    body = {"model": "sim", "prompt": "a", "max_tokens": 2}
    return httpx.post(
        f"{cluster.url}/v1/completions", json=body, headers={"authorization": f"Bearer {key}"}, timeout=20
    )
