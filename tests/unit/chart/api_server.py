"""An API server in memory: discovery, objects, apply and merge, KubeRay's schema. Enough for a real helm; nothing runs.

It has no watches, so no `helm --wait`.
"""

import copy
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from tests.unit.chart.kuberay_schema import problems
from tests.unit.chart.protobuf_secret import secret_in

KINDS = {
    "v1": {
        "namespaces": "Namespace",
        "secrets": "Secret",
        "services": "Service",
        "serviceaccounts": "ServiceAccount",
        "configmaps": "ConfigMap",
        "persistentvolumeclaims": "PersistentVolumeClaim",
        "pods": "Pod",
    },
    "batch/v1": {"jobs": "Job"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy", "ingresses": "Ingress"},
    "ray.io/v1": {"rayservices": "RayService"},
    "gateway.networking.k8s.io/v1": {"httproutes": "HTTPRoute"},
    "monitoring.coreos.com/v1": {"podmonitors": "PodMonitor", "prometheusrules": "PrometheusRule"},
}
VERBS = ["create", "delete", "get", "list", "patch", "update"]

Document = dict[str, Any]
Answer = tuple[int, Document]
Key = tuple[str, str, str]


class ApiServer:
    """Use as a context manager. `objects`: by resource, namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[Key, Document] = {}
        self._version = 1
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "ApiServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def names(self, resource: str) -> list[str]:
        return sorted(name for kind, _, name in self.objects if kind == resource)

    def answer(self, method: str, path: str, query: dict[str, str], content_type: str, body: bytes) -> Answer:
        with self._lock:
            parts = [part for part in path.split("/") if part]
            discovered = _discovery(parts)
            if discovered is not None:
                return 200, discovered
            found = _resource(parts)
            if found is None:
                return _failure(404, "NotFound", path)
            version, resource, namespace, name = found
            given = secret_in(body) if body.startswith(b"k8s\0") else yaml.safe_load(body) if body else {}
            return self._act(method, (resource, namespace, name), version, query, content_type, given)

    def _act(
        self, method: str, key: Key, version: str, query: dict[str, str], content_type: str, given: Document
    ) -> Answer:
        resource, namespace, name = key
        if method == "GET" and not name:
            return 200, self._listing(resource, namespace, version, query.get("labelSelector", ""))
        name = name or given["metadata"]["name"]
        key, old = (resource, namespace, name), self.objects.get((resource, namespace, name))
        is_apply = method == "PATCH" and "apply-patch" in content_type
        if old is None and method != "POST" and not is_apply:
            return _failure(404, "NotFound", f'{resource} "{name}" not found')
        if method == "GET":
            return 200, old or {}
        if method == "DELETE":
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": self.objects.pop(key)}
        if method == "POST" and old is not None:
            return _failure(409, "AlreadyExists", f'{resource} "{name}" already exists')
        new = _merged(copy.deepcopy(old or {}), given) if method == "PATCH" else given
        wrong = problems(new) if resource == "rayservices" else []
        if wrong:
            return _failure(422, "Invalid", f'{KINDS[version][resource]} "{name}" is invalid: {"; ".join(wrong)}')
        return (200 if old else 201), self._kept(key, version, new, for_real="dryRun" not in query)

    def _kept(self, key: Key, version: str, new: Document, *, for_real: bool) -> Document:
        resource, namespace, name = key
        self._version += 1
        metadata = {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z", **new.get("metadata", {})}
        metadata |= {"name": name, "resourceVersion": str(self._version)}
        if namespace:
            metadata["namespace"] = namespace
        kept = {**new, "apiVersion": version, "kind": KINDS[version][resource], "metadata": metadata}
        if for_real:
            self.objects[key] = kept
        return kept

    def _listing(self, resource: str, namespace: str, version: str, selector: str) -> Document:
        wanted = dict(term.split("=", 1) for term in selector.replace("==", "=").split(",") if "=" in term)
        items = [
            found
            for (kind, at, _), found in self.objects.items()
            if kind == resource
            and namespace in ("", at)
            and wanted.items() <= found["metadata"].get("labels", {}).items()
        ]
        metadata = {"resourceVersion": str(self._version)}
        kind = KINDS[version][resource] + "List"
        return {"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: ApiServer

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        content_type = self.headers.get("Content-Type", "")
        status, document = self.api.answer(self.command, url.path, dict(parse_qsl(url.query)), content_type, body)
        answer = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle


def _discovery(parts: list[str]) -> Document | None:
    if parts == ["version"]:
        return {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if parts == ["apis"]:
        versions = [{"groupVersion": v, "version": v.split("/")[1]} for v in KINDS if "/" in v]
        groups = [{"name": v["groupVersion"].split("/")[0], "versions": [v], "preferredVersion": v} for v in versions]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    version = "/".join(parts[1:])
    if version not in KINDS or parts[0] != ("apis" if "/" in version else "api"):
        return None
    resources = [
        {"name": name, "singularName": "", "kind": kind, "namespaced": kind != "Namespace", "verbs": VERBS}
        for name, kind in KINDS[version].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _resource(parts: list[str]) -> tuple[str, str, str, str] | None:
    """The version, resource, namespace and name that a path is about."""
    length = {"api": 2, "apis": 3}.get(parts[0] if parts else "", 0)
    version, rest = "/".join(parts[1:length]), parts[length:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if not rest or rest[0] not in KINDS.get(version, {}):
        return None
    return version, rest[0], namespace, rest[1] if len(rest) > 1 else ""


def _merged(under: Document, over: Document) -> Document:
    for name, value in over.items():
        if value is None:
            under.pop(name, None)
        elif isinstance(value, dict) and isinstance(under.get(name), dict):
            _merged(under[name], value)
        else:
            under[name] = value
    return under


def _failure(code: int, reason: str, message: str) -> Answer:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return code, {**status, "reason": reason, "message": message, "code": code}
