"""Keys on a running cluster with two gateways: what is changed counts on both within two seconds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from cluster.key_desk import RunningDesk
from cluster.ray_head import auth_token
from cluster.run_folder import RunFolder
from deployments.gateway.tenants.api_key import fingerprint, new_api_key
from deployments.key_changes import RevokeKey, RotateKey, SetLimits
from tests.end_to_end.cluster_process import ClusterProcess

SEEN_WITHIN_S = 2.0
CONNECTIONS = 40
OF_RAY = (
    "/api/serve/applications/",
    "/api/jobs/",
    *(f"/api/v0/{what}?detail=1&limit=1000" for what in ("actors", "workers", "tasks", "placement_groups")),
)


@contextmanager
def one_client_each(cluster: ClusterProcess, pids: set[int]) -> Iterator[list[httpx.Client]]:
    """A client with one kept connection for each gateway process."""
    with ExitStack() as stack:
        clients: dict[int, httpx.Client] = {}
        for _ in range(CONNECTIONS):
            client = stack.enter_context(httpx.Client(base_url=cluster.url, timeout=10))
            answer = client.get("/health")
            stream = answer.extensions["network_stream"]
            clients.setdefault(holder(pids, cluster.port, stream.get_extra_info("client_addr")[1]), client)
        assert clients.keys() == pids
        yield list(clients.values())


def holder(pids: set[int], port: int, client_port: int) -> int:
    for pid in pids:
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.laddr.port == port and connection.raddr and connection.raddr.port == client_port:
                return pid
    raise AssertionError(f"nobody has the connection from port {client_port}")


def status_of(client: httpx.Client, key: str | None, *, header: str = "authorization") -> int:
    value = {"authorization": f"Bearer {key}", "x-api-key": str(key)}[header]
    body = {"model": "sim", "prompt": "a", "max_tokens": 2}
    return client.post("/v1/completions", json=body, headers={header: value} if key else {}).status_code


def models_of(client: httpx.Client, key: str) -> list[str]:
    answer = client.get("/v1/models", headers={"x-api-key": key})
    return [model["id"] for model in answer.json()["data"]]


def seen_on_all(clients: list[httpx.Client], is_so: Callable[[httpx.Client], bool]) -> None:
    """Every gateway says so before `SEEN_WITHIN_S` have passed, and none takes it back."""
    deadline_s = time.monotonic() + SEEN_WITHIN_S
    for client in clients:
        while not is_so(client):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
    assert all(map(is_so, clients))


def check_keys(cluster: ClusterProcess, pids: set[int], state_pid: int) -> None:
    with one_client_each(cluster, pids) as clients:
        assert all(status_of(client, None) == 200 for client in clients), "without keys, anyone"
        check_address(cluster)
        key, key_id = created(cluster)
        seen_on_all(clients, lambda client: status_of(client, key) == 200 and status_of(client, None) == 401)
        check_in_a_pod(cluster, key_id)
        assert status_of(clients[0], key, header="x-api-key") == 200
        assert status_of(clients[0], key[:-1] + ("A" if key[-1] != "A" else "B")) == 401

        desk = RunningDesk(cluster.live)
        desk.change(SetLimits("acme", {"models": ["other"], "tokens_per_day": 5}))
        seen_on_all(clients, lambda client: models_of(client, key) == [] and status_of(client, key) == 404)
        desk.change(SetLimits("acme", {"models": None, "tokens_per_day": None}))
        seen_on_all(clients, lambda client: models_of(client, key) == ["sim"])

        new_id, new_key = new_api_key()
        desk.change(RotateKey(key_id, new_id, fingerprint(new_key.encode())))
        seen_on_all(clients, lambda client: status_of(client, new_key) == 200 and status_of(client, key) == 401)

        os.kill(state_pid, signal.SIGKILL)
        assert all(status_of(client, new_key) == 200 and status_of(client, key) == 401 for client in clients)
        wait_for_state(desk, state_pid)

        desk.change(RevokeKey(new_id))
        seen_on_all(clients, lambda client: status_of(client, new_key) == 401)
        assert all(status_of(client, None) == 401 for client in clients), "the last key is gone, the door stays closed"
        rows = desk.audit(100)
    assert [row["action"] for row in rows] == [
        *("key.revoke", "key.rotate", "tenant.limit", "tenant.limit", "key.create", "config.change")
    ]
    metadata = cluster.live.first_replica("sim")
    check_nowhere(cluster, [key, new_key, metadata["token"]])


def check_address(cluster: ClusterProcess) -> None:
    """Nobody has a key yet, so an address that others reach is not opened."""
    wide = cluster.folder / "wide.yaml"
    wide.write_text(cluster.config.read_text().replace("gateway: {", "gateway: {host: 0.0.0.0, "))
    refused = cluster.run("apply", str(wide))
    assert refused.returncode == 2, refused.stderr
    assert "baryon keys create" in refused.stderr


def check_in_a_pod(cluster: ClusterProcess, key_id: str) -> None:
    """On KubeRay there is no record of a run; the cluster is the one that Ray itself is in."""
    record = RunFolder(cluster.folder / "run").read()
    assert record is not None
    pod = {"KUBERAY_GEN_RAY_START_CMD": "ray start", "RAY_ADDRESS": record.gcs_address}
    command = [sys.executable, "-m", "cluster.cli", "keys", "list", "--json"]
    environment = {**cluster.environment, **pod, "BARYON_RUN_DIR": str(cluster.folder / "pod")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [key["id"] for key in orjson.loads(done.stdout)["keys"]] == [key_id]


def created(cluster: ClusterProcess) -> tuple[str, str]:
    done = cluster.run("keys", "create", "--tenant", "acme", "--json")
    assert done.returncode == 0, done.stderr
    made = orjson.loads(done.stdout)
    return made["key"], made["id"]


def wait_for_state(desk: RunningDesk, killed_pid: int) -> None:
    """Another process answers."""
    deadline_s = time.monotonic() + 40
    while psutil.pid_exists(killed_pid) or not answers(desk):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def answers(desk: RunningDesk) -> bool:
    try:
        return bool(desk.listing()["keys"])
    except Exception:
        return False


def check_nowhere(cluster: ClusterProcess, secrets: list[str]) -> None:
    """Not in a file of the run, a command line, what Ray's dashboard tells, nor what commands print of it."""
    words = [secret.encode() for secret in secrets]
    for path in (p for p in cluster.folder.rglob("*") if p.is_file() and not p.is_symlink()):
        assert not found(words, read(path)), path
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        assert not found(words, read(path)), path
    for path_of_ray in OF_RAY:
        assert not found(words, told_by_ray(cluster, path_of_ray)), path_of_ray
    assert not found(words, str((cluster.live.snapshot(), cluster.live.keys(), cluster.live.audit(100))).encode())


def told_by_ray(cluster: ClusterProcess, path: str) -> bytes:
    url = f"http://127.0.0.1:{cluster.dashboard_port}{path}"
    answer = httpx.get(url, headers={"Authorization": f"Bearer {auth_token()}"}, timeout=30, trust_env=False)
    assert answer.status_code == 200, (path, answer.text)
    return answer.content


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def found(words: list[bytes], text: bytes) -> list[Any]:
    return [word for word in words if word in text]
