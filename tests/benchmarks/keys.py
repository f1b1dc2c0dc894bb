"""What 100,000 keys cost: `python -m tests.benchmarks.keys [--cluster] [--json OUT]`.

A store with 100,000 keys of 10,000 tenants. Reload: every page read from it, pickled and unpickled as on the way from
state to a gateway, and adopted; the longest that one page holds the gateway's loop is told apart. A look-up: a key
checked, or refused. Head to tenant: what the gateway does for a request with a key, twice (before and after its body),
with the salt for the prefix cache. Medians of rounds; memory is the keyring's own. With `--cluster` also a reload from
the state deployment of a running cluster, by the call that gateways make.
"""

import argparse
import json
import pickle
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from cluster.bench.overhead_run import commit_id
from deployments.gateway.tenants.api_key import fingerprint, new_api_key
from deployments.gateway.tenants.door import Door
from deployments.gateway.tenants.keyring import Keyring
from deployments.key_changes import CreateKey
from deployments.key_store import KeyStore
from tests.end_to_end.cluster_process import ClusterProcess

KEYS, TENANTS = 100_000, 10_000
ROUNDS, LOOKUPS = 9, 2_000


def filled_store(path: Path) -> tuple[KeyStore, list[str]]:
    store, keys = KeyStore(path), []
    store._connection.execute("PRAGMA synchronous=OFF")
    for number in range(KEYS):
        key_id, key = new_api_key()
        store.carry_out(CreateKey(f"tenant-{number % TENANTS}", key_id, fingerprint(key.encode())), "benchmark")
        keys.append(key)
    return store, keys


def reload(store: KeyStore) -> tuple[Keyring, float, float]:
    """The keyring, all of it in seconds, and the longest that a page took at the gateway in milliseconds."""
    keyring, revision, longest_ms = Keyring(), 0, 0.0
    started_s = time.perf_counter()
    while not keyring.is_known:
        sent = pickle.dumps(store.page_after(revision, "e"), protocol=5)
        at_s = time.perf_counter()
        keyring.adopt(pickle.loads(sent))
        longest_ms = max(longest_ms, (time.perf_counter() - at_s) * 1_000)
        revision = int(keyring.version.partition(".")[2])
    return keyring, time.perf_counter() - started_s, longest_ms


def reload_from_cluster_s(state_path: Path) -> float:
    """By the median."""
    text = f"state: {{path: {state_path}}}\nmodels: [{{name: sim, engine: simulated, profile: instant}}]\n"
    cluster, took_s = ClusterProcess(text), []
    try:
        cluster.start()
        state = cluster.live._handle("State", "state")
        for _ in range(ROUNDS):
            keyring, started_s = Keyring(), time.perf_counter()
            while not keyring.is_known:
                keyring.adopt(state.watch_keys.remote(keyring.version).result(timeout_s=10))
            took_s.append(time.perf_counter() - started_s)
    finally:
        cluster.remove()
    return statistics.median(took_s)


def median_us(once: Callable[[str], object], keys: list[str]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        for key in keys:
            once(key)
        rounds.append((time.perf_counter() - started_s) / len(keys) * 1e6)
    return statistics.median(rounds)


def report(store: KeyStore, keys: list[str]) -> dict[str, Any]:
    reloads = [reload(store) for _ in range(ROUNDS)]
    tracemalloc.start()
    keyring, _, _ = reload(store)
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    some = Random(1).sample(keys, LOOKUPS)
    door = Door(keyring, lambda: False)

    def head_to_tenant(key: str) -> None:
        headers = {b"authorization": b"Bearer " + key.encode()}
        assert door.refusal(b"/v1/chat/completions", headers) is None
        door.cache_salt(door.tenant(headers))

    return {
        "commit": commit_id(),
        "keys": KEYS,
        "reload_s": statistics.median(seconds for _, seconds, _ in reloads),
        "longest_page_ms": statistics.median(longest for _, _, longest in reloads),
        "keyring_mb": kept_bytes / 1e6,
        "lookup_us": {
            "good": median_us(lambda key: keyring.tenant_of(key.encode(), 0.0), some),
            "wrong secret": median_us(lambda key: keyring.tenant_of(key.encode(), 0.0), [k[:-2] + "zz" for k in some]),
            "unknown": median_us(lambda key: keyring.tenant_of(key.encode(), 0.0), [new_api_key()[1] for _ in some]),
            "malformed": median_us(lambda key: keyring.tenant_of(key.encode(), 0.0), [k + "x" * 30_000 for k in some]),
        },
        "head_to_tenant_us": median_us(head_to_tenant, some),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cluster", action="store_true")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        state_path = Path(folder) / "state.sqlite"
        store, keys = filled_store(state_path)
        told = report(store, keys)
        store.close()
        if arguments.cluster:
            told["reload_from_cluster_s"] = reload_from_cluster_s(state_path)
    print(json.dumps(told, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
