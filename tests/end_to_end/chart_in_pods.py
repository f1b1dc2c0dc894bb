"""`python -m tests.end_to_end.chart_in_pods FOLDER GROUP…`: the release of values-cpu.yaml in pods of `pods`, as JSON.

A pod of each GROUP is stopped while another takes over.

Run by `unshare`, in namespaces in which it may make others. What it deploys is the rendered `serveConfigV2`, unchanged.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from cluster.run_folder import store_folder
from cluster.serve_api import ServeApi, ServeApiError
from deployments.gateway.tenants.api_key import new_api_key
from tests.end_to_end.pods import DASHBOARD_AGENT_PORT, HEAD_ADDRESS, Pod, Pods
from tests.end_to_end.streams import Streams

GOLDEN = Path(__file__).parents[1] / "unit" / "chart" / "golden" / "cpu.yaml"
MODEL = "smollm2-135m-instruct"
TOKEN = "0" * 64
CLIENTS = 3
START_S = 480.0
LAST_STREAM_S = 60.0  # longer than a gateway waits for another in its place
SHORT_DRAIN_S = 180  # a gateway stops taking requests 145 s before
LONG_DRAIN_S = 480  # drain.seconds where a model starts slowly, as on a busy machine


def main(folder: Path, moving: list[str]) -> None:
    objects = list(yaml.safe_load_all(GOLDEN.read_text()))
    (service,) = [o for o in objects if o["kind"] == "RayService"]
    key = new_api_key()[1]
    secrets = {"demo-ray-token": {"auth_token": TOKEN}, "demo-api-keys": {"default": key}}
    pods = Pods(service, secrets, folder, store_folder())
    release = Release(pods, key)
    try:
        release.start(yaml.safe_load(service["spec"]["serveConfigV2"]))
        seen = {
            "served": release.served(),
            "commands": release.commands(),
            "confined": release.confined(),
            "moved": {group: release.moved(group) for group in moving},
            "ended": release.ended(),
        }
    except AssertionError:
        for log in sorted(folder.glob("*.log")):
            print(f"== {log.name}\n{log.read_text()[-3000:]}", file=sys.stderr)
        raise
    print(json.dumps(seen), flush=True)


class Release:
    def __init__(self, pods: Pods, key: str) -> None:
        self._pods = pods
        self._headers = {"Authorization": f"Bearer {key}"}
        os.environ["RAY_AUTH_TOKEN"] = TOKEN
        self._api = ServeApi(f"http://{HEAD_ADDRESS}:8265")
        self._living: dict[str, Pod] = {}
        self._tokens_per_s = 0.0

    def start(self, document: dict[str, Any]) -> None:
        for group in ("head", "state", "gateway", "cpu"):
            self._living[group] = self._pods.start(group)
            wait(self._answers if group == "head" else lambda group=group: self._is_ray_up(group), f"{group} is up")
        self._api.deploy(document)
        wait(lambda: set(self._statuses().values()) == {"RUNNING"}, "every application runs", self._account, START_S)
        wait(lambda: self._is_ready(self._living["gateway"]), "the gateway says that it is ready")

    def served(self) -> dict[str, Any]:
        body = {
            "model": MODEL,
            "temperature": 0,
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
        }
        url = f"{self._url()}/v1/chat/completions"
        answer = httpx.post(url, json=body, headers=self._headers, timeout=120)
        return {
            "applications": self._statuses(),
            "status": answer.status_code,
            "text": answer.json()["choices"][0]["message"]["content"],
            "without_key": httpx.post(url, json=body, timeout=30).status_code,
        }

    def commands(self) -> dict[str, Any]:
        """Those that the notes and the documentation tell to run in the head's pod."""
        key = self._baryon("keys", "create", "--tenant", "acme").split()[0]
        wait(lambda: self._models_for(key) == 200, "the new key opens the gateway")
        self._baryon("backup", "/tmp/backup.zip")
        wait(lambda: self._tenants_with_usage() == ["default"], "the first answer is counted")
        status = json.loads(self._baryon("status", "--json"))
        return {replica["model"]: replica["stage"] for replica in status["replicas"]}

    def _tenants_with_usage(self) -> list[str]:
        return [row["tenant"] for row in json.loads(self._baryon("usage", "--json", "--by", "tenant"))]

    def _baryon(self, *arguments: str) -> str:
        done = self._living["head"].exec(["python", "-m", "cluster.cli", *arguments])
        said = done.communicate(timeout=120)[0]
        assert done.returncode == 0, said
        return said

    def _models_for(self, key: str) -> int:
        return httpx.get(f"{self._url()}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code

    def confined(self) -> dict[str, list[str]]:
        """What each pod's user may write to and is, by group."""
        script = "id -u; for p in / /etc /usr /home/baryon /var/lib/baryon /tmp; do [ -w $p ] && echo $p; done; true"
        return {
            group: (pod.exec(["bash", "-c", script]).communicate(timeout=30)[0] or "").split()
            for group, pod in self._living.items()
        }

    def moved(self, group: str) -> dict[str, Any]:
        """A second pod of the group comes, and the first is stopped as a kubelet does it, under load."""
        old, new = self._living[group], self._pods.start(group)
        application = MODEL if group == "cpu" else group
        wait(lambda: self._is_ray_up_in(new), f"another {group} is up")
        before = self._addresses(application)
        with Streams(self._url(), MODEL, self._headers, tokens=150, clients=CLIENTS) as streams:
            wait(lambda: streams.tokens > 20, "streams run")
            began_s = time.monotonic()
            hook = old.exec(self._pods.pre_stop(group, LONG_DRAIN_S))
            if group == "gateway":
                wait(lambda: self._is_ready(new), "the other gateway is ready")
                streams.go_to(f"http://{new.address}:8000")
            said = hook.communicate(timeout=LONG_DRAIN_S + 20)[0]
            took_s = time.monotonic() - began_s
            old.terminate()
            self._living[group] = new
            wait(lambda done=streams.whole: streams.whole > done + 2, "streams go on")
            self._tokens_per_s = streams.tokens / (time.monotonic() - began_s) / CLIENTS
        return {
            "said": said.split("\n")[-2:],
            "hook": hook.returncode,
            "took_s": round(took_s, 1),
            "moved": (before, self._addresses(application)) == ([old.address], [new.address]),
            "whole": streams.whole,
            "failures": streams.failures,
        }

    def ended(self) -> dict[str, Any]:
        """Every pod is told at once, as when KubeRay deletes a cluster."""
        order: list[str] = []
        tokens = max(100, min(3000, int(self._tokens_per_s * LAST_STREAM_S)))

        def stop(group: str, pod: Pod) -> None:
            pod.exec(self._pods.pre_stop(group, SHORT_DRAIN_S)).communicate(timeout=260)
            order.append(group)
            pod.terminate()

        with Streams(self._url(), MODEL, self._headers, tokens=tokens, clients=CLIENTS, at_most=1) as streams:
            wait(lambda: streams.tokens > 20, "streams run")
            began_s = time.monotonic()
            threads = [threading.Thread(target=stop, args=one) for one in self._living.items()]
            for thread in threads:
                thread.start()
            streams.join()
            streams_s = time.monotonic() - began_s
            for thread in threads:
                thread.join()
        return {
            "order": order,
            "streams_s": round(streams_s, 1),
            "took_s": round(time.monotonic() - began_s, 1),
            "whole": streams.whole,
            "failures": streams.failures,
        }

    def _url(self) -> str:
        return f"http://{self._living['gateway'].address}:8000"

    def _answers(self) -> bool:
        try:
            self._api.applications()
        except ServeApiError:
            return False
        return True

    def _statuses(self) -> dict[str, str]:
        return {name: a["status"] for name, a in self._api.applications().items()}

    def _account(self) -> str:
        return json.dumps(self._api.applications(), indent=1)[-3000:]

    def _addresses(self, application: str) -> list[str]:
        (deployment,) = self._api.applications()[application]["deployments"].values()
        return [r["node_ip"] for r in deployment["replicas"] if r["state"] in ("RUNNING", "PENDING_MIGRATION")]

    def _is_ray_up(self, group: str) -> bool:
        return self._is_ray_up_in(self._living[group])

    def _is_ray_up_in(self, pod: Pod) -> bool:
        """KubeRay's probe of a worker's raylet."""
        return is_ok(f"http://{pod.address}:{DASHBOARD_AGENT_PORT}/api/local_raylet_healthz")

    def _is_ready(self, gateway: Pod) -> bool:
        probe = self._pods.template("gateway")["containers"][0]["readinessProbe"]["httpGet"]
        return is_ok(f"http://{gateway.address}:8000{probe['path']}")


def is_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def wait(condition: Callable[[], bool], what: str, account: Callable[[], str] = str, within_s: float = 180) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not in time: {what}\n{account()}"
        time.sleep(0.3)


if __name__ == "__main__":
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    main(Path(sys.argv[1]), sys.argv[2:])
