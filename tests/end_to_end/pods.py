"""Pods without Kubernetes: what a rendered RayService asks for, as processes in namespaces of their own on one bridge.

Each has its own files, process ids and address, may write only to its volumes, and is nobody in particular. What
KubeRay's operator adds (Ray's command and its environment) is added here; no limit and no NetworkPolicy is enforced.
"""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from cluster.kuberay import STORE_FOLDER
from tests.end_to_end.pod_init import CODE

ROOT = Path(__file__).resolve().parents[2]
ROUTER = "10.77.0.1"
HEAD_ADDRESS = "10.77.0.2"
DASHBOARD_AGENT_PORT = 52365

Document = dict[str, Any]


class Pod:
    """Use `Pods.start`."""

    def __init__(self, name: str, address: str, process: "subprocess.Popen[str]", environment: dict[str, str]) -> None:
        self.name = name
        self.address = address
        self._process = process
        self._environment = environment
        self.has_ended = False

    @property
    def first_pid(self) -> int:
        """Of the pod's process 1, as seen from outside."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(path.read_text().split()[0])

    def exec(self, command: list[str]) -> "subprocess.Popen[str]":
        """As `kubectl exec` and a preStop hook run one: in the container, as its user."""
        within = ["nsenter", f"--target={self.first_pid}", "--mount", "--net", "--pid", f"--wdns={CODE}", "--"]
        within += ["nsenter", "--target=1", "--user", "--preserve-credentials", "--", *command]
        return subprocess.Popen(
            within, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment
        )

    def terminate(self) -> None:
        """What comes after preStop."""
        subprocess.run(["kill", "-TERM", str(self.first_pid)], check=True)
        self._process.wait(60)
        self.has_ended = True

    def is_alive(self) -> bool:
        return self._process.poll() is None


class Pods:
    """Of one release. `folder` is where volumes and logs are; `secrets` by name, each a dictionary of its keys.

    `models` is this machine's store, in every pod at the place of the chart's: a pod here reaches no other network.
    """

    def __init__(
        self, ray_service: Document, secrets: Mapping[str, Mapping[str, str]], folder: Path, models: Path
    ) -> None:
        self._cluster = ray_service["spec"]["rayClusterConfig"]
        self._secrets = secrets
        self._folder = folder
        self._models = models
        self._count = 0
        derived = _derive_autoscaling_config_from_ray_cr(
            {"metadata": {"name": "demo", "namespace": "default"}, "spec": self._cluster}
        )["available_node_types"]
        self._resources = {name: of["resources"] for name, of in derived.items()}
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "pods", "type", "bridge")
        _run("ip", "addr", "add", f"{ROUTER}/24", "dev", "pods")
        _run("ip", "link", "set", "pods", "up")

    def template(self, group: str) -> Document:
        specs = {g["groupName"]: g for g in self._cluster["workerGroupSpecs"]}
        spec: Document = (self._cluster["headGroupSpec"] if group == "head" else specs[group])["template"]["spec"]
        return spec

    def pre_stop(self, group: str, within_s: int) -> list[str]:
        """The hook's command, but with a deadline of the test's: a machine may be slow."""
        command: list[str] = self.template(group)["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[-2] == "--within-s"
        return [*command[:-1], str(within_s)]

    def start(self, group: str) -> Pod:
        """Its init containers first, as there."""
        self._count += 1
        name, address = f"{group}-{self._count}", f"10.77.0.{self._count + 1}"
        folder = self._folder / name
        volumes = self._volumes(group, folder)
        template = self.template(group)
        for number, container in enumerate(template.get("initContainers", [])):
            init = self._run(f"{name}-init{number}", "10.77.0.250", container, volumes, container["command"], group)
            assert init._process.wait(60) == 0, (self._folder / f"{init.name}.log").read_text()
        return self._run(name, address, template["containers"][0], volumes, self._ray_start(group), group)

    def log(self, pod: Pod) -> str:
        return (self._folder / f"{pod.name}.log").read_text()

    def _run(
        self, name: str, address: str, container: Document, volumes: Mapping[str, Path], command: list[str], group: str
    ) -> Pod:
        environment = self._environment(container, group, name, address)
        mounts = [
            {"from": str(volumes[m["name"]]), "path": m["mountPath"], "read_only": m.get("readOnly", False)}
            for m in container["volumeMounts"]
        ]
        mounts.append({"from": str(self._models), "path": str(STORE_FOLDER), "read_only": False})
        if "shm" not in volumes:
            mounts.append({"from": str(_empty(volumes["tmp"].parent / "shm")), "path": "/dev/shm", "read_only": False})
        spec = {
            "code": str(ROOT),
            "folder": str(_empty(self._folder / f"{name}.root")),
            "mounts": mounts,
            "address": address,
            "router": ROUTER,
            "user": self.template(group)["securityContext"]["runAsUser"],
            "group": self.template(group)["securityContext"]["runAsGroup"],
            "command": command,
            "environment": environment,
        }
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(spec))
        alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        process = subprocess.Popen(
            [*alone, sys.executable, "-m", "tests.end_to_end.pod_init", str(path)],
            stdin=subprocess.PIPE,
            stdout=(self._folder / f"{name}.log").open("w"),
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        pod = Pod(name, address, process, environment)
        self._give_network(pod, address)
        return pod

    def _give_network(self, pod: Pod, address: str) -> None:
        deadline_s = time.monotonic() + 30
        while "mounted" not in self.log(pod):
            assert pod.is_alive(), self.log(pod)
            assert time.monotonic() < deadline_s, self.log(pod)
            time.sleep(0.05)
        outside = f"pod{address.rpartition('.')[2]}"
        _run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth1", "netns", str(pod.first_pid))
        _run("ip", "link", "set", outside, "master", "pods", "up")
        assert pod._process.stdin is not None
        pod._process.stdin.write("\n")
        pod._process.stdin.flush()

    def _volumes(self, group: str, folder: Path) -> dict[str, Path]:
        volumes = {}
        for volume in self.template(group)["volumes"]:
            path = volumes[volume["name"]] = _empty(folder / volume["name"])
            if "secret" in volume:
                for key, value in self._secrets[volume["secret"]["secretName"]].items():
                    (path / key).write_text(value)
        return volumes

    def _environment(self, container: Document, group: str, name: str, address: str) -> dict[str, str]:
        """The image's, the chart's, and KubeRay's own."""
        given = {
            one["name"]: one["value"] if "value" in one else self._secret(one["valueFrom"]["secretKeyRef"])
            for one in container.get("env", [])
        }
        head = "127.0.0.1" if group == "head" else HEAD_ADDRESS
        token = self._secret({"name": self._cluster["authOptions"]["secretName"], "key": "auth_token"})
        return {
            "PATH": f"{CODE}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(CODE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "RAY_CLUSTER_NAME": "demo",
            "RAY_NODE_TYPE_NAME": "headgroup" if group == "head" else group,
            "RAY_CLOUD_INSTANCE_ID": name,
            "RAY_ADDRESS": f"{head}:6379",
            "RAY_PORT": "6379",
            "FQ_RAY_IP": HEAD_ADDRESS,
            "RAY_AUTH_MODE": self._cluster["authOptions"]["mode"],
            "RAY_AUTH_TOKEN": token,
            **given,
        }

    def _secret(self, reference: Mapping[str, str]) -> str:
        return self._secrets[reference["name"]][reference["key"]]

    def _ray_start(self, group: str) -> list[str]:
        """The command that KubeRay makes of rayStartParams and resources."""
        resources = dict(self._resources["headgroup" if group == "head" else group])
        spec = self._cluster["headGroupSpec"] if group == "head" else None
        specs = {g["groupName"]: g for g in self._cluster["workerGroupSpecs"]}
        parameters = (spec or specs[group])["rayStartParams"]
        command = ["python", "-m", "ray.scripts.scripts", "start", "--block", "--metrics-export-port=8080"]
        command += ["--head", "--port=6379"] if group == "head" else [f"--address={HEAD_ADDRESS}:6379"]
        command += [f"--{name}={value}" for name, value in parameters.items()]
        command += [f"--dashboard-agent-listen-port={DASHBOARD_AGENT_PORT}", f"--num-cpus={resources.pop('CPU')}"]
        command += [f"--memory={resources.pop('memory')}"]
        resources.pop("node:__internal_head__", None)
        return [*command, f"--resources={json.dumps(resources)}"] if resources else command


def secrets_of(objects: list[Document]) -> dict[str, dict[str, str]]:
    """The Secrets among rendered objects."""
    return {
        o["metadata"]["name"]: {k: base64.b64decode(v).decode() for k, v in o["data"].items()}
        for o in objects
        if o["kind"] == "Secret"
    }


def _empty(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)
