"""From a configuration to a serving cluster on this machine, and back to nothing."""

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.audited import actor
from cluster.config import BaryonConfig, GatewayConfig, Replicas
from cluster.exposure import check_keys
from cluster.key_desk import keys_exist_in
from cluster.live_state import LiveState
from cluster.placement import Node, Refusal, largest_node_gpus
from cluster.plan import plan_placement
from cluster.ray_head import RayHead, start_ray_head, stop_ray_head
from cluster.run_folder import RunFolder, RunRecord, store_folder
from cluster.serve_api import ServeApi, ServeApiError
from cluster.serve_schema import SMALL_CPUS, Surroundings, device_of, serve_schema
from deployments.gateway.certificate import CertificateError, server_context
from deployments.gateway.listener import listening_socket
from deployments.port_owner import owner_of
from engine.failure import CANNOT_HEAL
from engine.launch import Device
from engine.process_tree import Member, is_alive, read_member

POLL_S = 0.3
ONE = Replicas(min=1)
FAILED = frozenset({"DEPLOY_FAILED", "UNHEALTHY"})


class BringUpError(Exception):
    """The cluster cannot start, or did not; the message says why and what to do.

    `applications` are those that do not serve.
    """

    def __init__(self, message: str, applications: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.applications = applications


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person waiting would like to know. `subject` is a model, or the part of the cluster."""

    subject: str
    stage: str
    detail: str = ""


OnEvent = Callable[[Event], None]


def check_before_start(config: BaryonConfig, folder: RunFolder) -> None:
    """Raises:
    BringUpError: already running, the port is taken, the certificate is none, or a replica cannot be placed.
    NobodyMayCall: keys are needed and there is none.
    KeyDeskError: the state file cannot be used.
    """
    record = folder.read()
    if record is not None and head_of(record) is not None:
        raise BringUpError(
            f"a cluster is already running from {folder.path} (endpoint {record.gateway_url}). "
            "Use `baryon apply` to change it, `baryon down` to end it, or BARYON_RUN_DIR for a second one."
        )
    grouped = next((model for model in config.models if model.node_group is not None), None)
    if grouped is not None:
        raise BringUpError(f"node_group of {grouped.name!r} names a worker group of the Helm chart; leave it out here")
    check_keys(config.gateway, keys_exist=keys_exist_in(config.state.path or folder.state_path))
    if config.gateway.tls is not None:
        try:
            server_context(config.gateway.tls.certificate, config.gateway.tls.key)
        except CertificateError as error:
            raise BringUpError(f"gateway.tls: {error}") from None
    _check_port(config.gateway.host, config.gateway.port, "gateway.port")
    if config.gateway.admin_port:
        _check_port(config.gateway.admin_host, config.gateway.admin_port, "gateway.admin_port")
    _check_port(config.ray.dashboard_host, config.ray.dashboard_port, "ray.dashboard_port")
    machine = this_machine(config)
    refusal = placement_of(config, [machine], auto_device([machine]))
    if refusal is not None:
        raise BringUpError(refusal.message)


def placement_of(config: BaryonConfig, nodes: list[Node], auto: Device) -> Refusal | None:
    """Whether `replicas.min` of every model fits beside gateways and state, and one of each that begins at zero."""
    small = SMALL_CPUS * (config.gateway.processes + 1)
    usable = [Node(nodes[0].name, nodes[0].gpus, nodes[0].cpus - small), *nodes[1:]] if nodes else []
    always = [(model, device_of(model, auto)) for model in config.models]
    at_zero = [(model, device) for model, device in always if not model.replicas.min]
    woken = [[(model.model_copy(update={"replicas": ONE}), device)] for model, device in at_zero]
    for models in (always, *woken):
        placed = plan_placement(models, usable)
        if isinstance(placed, Refusal):
            return placed
    return None


def this_machine(config: BaryonConfig) -> Node:
    """What `baryon up` will offer to Ray."""
    gpus = config.ray.num_gpus if config.ray.num_gpus is not None else visible_gpus()
    cpus = config.ray.num_cpus if config.ray.num_cpus is not None else len(os.sched_getaffinity(0))
    return Node("this machine", float(gpus), float(cpus))


def visible_gpus() -> int:
    """NVIDIA device files of this machine, limited by CUDA_VISIBLE_DEVICES."""
    devices = [path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len(devices) if visible is None else min(len(devices), len([v for v in visible.split(",") if v]))


def auto_device(nodes: list[Node]) -> Device:
    return "cuda" if largest_node_gpus(nodes) >= 1 else "cpu"


@contextmanager
def running_cluster(
    config: BaryonConfig, folder: RunFolder, config_path: str, on_event: OnEvent
) -> Iterator[RunRecord]:
    """Start everything, hand over once Serve has the whole configuration, and end everything on the way out."""
    on_event(Event("ray", "starting"))
    ports = (config.gateway.port, config.gateway.admin_port, config.monitoring.port)
    head = start_ray_head(config.ray, folder.ray_folder, ports)
    try:
        record = _record(config, head, config_path)
        folder.write(record)
        on_event(Event("ray", "ready", f"dashboard {head.dashboard_url}"))
        ServeApi(head.dashboard_url).deploy(schema_for(config, folder, [this_machine(config)]))
        yield record
    finally:
        end_cluster(folder, on_event)


def schema_for(config: BaryonConfig, folder: RunFolder, nodes: list[Node]) -> dict[str, Any]:
    where = Surroundings(
        state_path=folder.state_path,
        store_folder=store_folder(),
        log_folder=folder.log_folder,
        engine_host="127.0.0.1",
        auto_device=auto_device(nodes),
        largest_node_gpus=largest_node_gpus(nodes),
        changed_by=actor(),
    )
    return serve_schema(config, where)


def wait_until_serving(
    record: RunRecord,
    on_event: OnEvent,
    patience_s: float,
    *,
    only: Collection[str] | None = None,
    to_the_end: bool = False,
    earlier: Collection[str] = (),
) -> None:
    """Report each model's stages until every application runs, or `only` these do.

    Serve tries a replica three times. What cannot heal is not waited for: the first replica that says so decides,
    unless it is one of the `earlier`, which have nothing to do with what is waited for.

    Raises:
        BringUpError: an application failed for good, and the message has the engine's cause; with `to_the_end` only
            once the others run. Or there was no news for `patience_s`.
    """
    api = ServeApi(record.dashboard_url)
    began_s, news_at_s = time.time(), time.monotonic()
    told: dict[str, Event] = {}
    with LiveState(record.gcs_address) as state:
        while True:
            applications = {n: a for n, a in api.applications().items() if only is None or n in only or n == "state"}
            snapshot = state.snapshot() if _status(applications, "state") == "RUNNING" else None
            for event in _events(applications, snapshot):
                if told.get(event.subject) != event:
                    told[event.subject] = event
                    news_at_s = time.monotonic()
                    on_event(event)
            hopeless = _hopeless(snapshot, began_s, earlier)
            failed = [
                n
                for n, a in applications.items()
                if a["status"] in FAILED or (a["status"] != "RUNNING" and n in hopeless)
            ]
            waiting = [name for name, app in applications.items() if app["status"] != "RUNNING"]
            if failed and (not to_the_end or failed == waiting):
                raise BringUpError(_why_failed(failed, applications, snapshot, began_s), failed)
            if applications and not waiting:
                return
            if time.monotonic() > news_at_s + patience_s:
                what = f"no news for {patience_s:.0f} s; `baryon status` shows what is being waited for"
                raise BringUpError(f"{' and '.join(waiting)}: {what}", waiting)
            time.sleep(POLL_S)


def end_cluster(folder: RunFolder, on_event: OnEvent, drain_timeout_s: float = 30.0) -> list[Member]:
    """Drain, stop Serve, end Ray; every process that is left, which should be none."""
    record = folder.read()
    head = head_of(record) if record is not None else None
    if record is None or head is None:
        folder.clear()
        return []
    on_event(Event("cluster", "stopping", "draining"))
    _drain(record, drain_timeout_s)
    left = stop_ray_head(head)
    folder.clear()
    on_event(Event("cluster", "stopped", f"{len(left)} processes left" if left else "no process left"))
    return left


def head_of(record: RunRecord) -> Member | None:
    """The recorded head process if it still runs."""
    member = read_member(record.pid)
    if member is None or member.start_ticks != record.start_ticks or not is_alive(member):
        return None
    return member


def _drain(record: RunRecord, timeout_s: float) -> None:
    """State goes last: gateways and replicas tell it what they did until their end."""
    api = ServeApi(record.dashboard_url)
    deadline_s = time.monotonic() + timeout_s
    try:
        api.delete_all_but("state")
        while api.applications().keys() - {"state"} and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        api.delete_all()
        while api.applications() and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
    except ServeApiError:
        return


def _record(config: BaryonConfig, head: RayHead, config_path: str) -> RunRecord:
    host = config.gateway.host if config.gateway.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104
    return RunRecord(
        pid=head.process.pid,
        start_ticks=head.process.start_ticks,
        gcs_address=head.gcs_address,
        dashboard_url=head.dashboard_url,
        gateway_url=f"{'https' if config.gateway.tls else 'http'}://{host}:{config.gateway.port}",
        config_path=config_path,
        admin_url=admin_url(config.gateway),
    )


def admin_url(gateway: GatewayConfig) -> str:
    """Where the console is; empty if there is none."""
    host = f"[{gateway.admin_host}]" if ":" in gateway.admin_host else gateway.admin_host
    return f"http://{host}:{gateway.admin_port}" if gateway.admin_port else ""


def _check_port(host: str, port: int, key: str) -> None:
    try:
        listening_socket(host, port, shared=False).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BringUpError(
                f"{key}: {host}:{port} is taken by {owner_of(port)}; end it, or choose another port"
            ) from None
        raise BringUpError(f"{key}: {host}:{port} cannot be bound: {error.strerror}") from None


def _status(applications: dict[str, Any], name: str) -> str:
    return str(applications.get(name, {}).get("status", ""))


def replica_ids(applications: dict[str, Any]) -> frozenset[str]:
    """Of every replica that Serve knows, those that start or stop included."""
    deployments = [d for application in applications.values() for d in application.get("deployments", {}).values()]
    return frozenset(replica["replica_id"] for deployment in deployments for replica in deployment["replicas"])


def _hopeless(snapshot: dict[str, Any] | None, since_s: float, earlier: Collection[str]) -> set[str]:
    """Applications of which a replica, not an earlier one, has failed of what cannot heal."""
    if snapshot is None:
        return set()
    failures = [f for f in snapshot["failures"] if f["at_s"] >= since_s and f["replica_id"] not in earlier]
    models = {failure["model"] for failure in failures if failure["cause"] in CANNOT_HEAL}
    return {model["application"] for model in snapshot["models"] if model["name"] in models}


def _events(applications: dict[str, Any], snapshot: dict[str, Any] | None) -> Iterator[Event]:
    """Of each application the stage of its newest replica that starts, and how many replicas serve meanwhile."""
    starting: dict[str, tuple[str, str]] = {}
    serving: Counter[str] = Counter()
    by_application = {model["application"]: model["name"] for model in snapshot["models"]} if snapshot else {}
    for replica in snapshot["replicas"] if snapshot else ():
        if replica["stage"] == "ready":
            serving[replica["model"]] += 1
        elif replica["stage"] != "drain":
            starting[replica["model"]] = (replica["stage"], replica["detail"])
    for name, application in applications.items():
        model = by_application.get(name, name)
        if application["status"] == "RUNNING":
            yield Event(model, "ready")
        elif application["status"] in FAILED:
            yield Event(model, "failed")
        else:
            stage, detail = starting.get(model) or (_first_words(application), "")
            meanwhile = f"{serving[model]} serve meanwhile" if serving[model] else ""
            yield Event(model, stage, "; ".join(filter(None, (detail, meanwhile))))


def _first_words(application: dict[str, Any]) -> str:
    messages = [d.get("message", "") for d in application.get("deployments", {}).values()]
    waiting = next((message for message in messages if "waiting" in message or "resources" in message), "")
    return f"waiting: {waiting.splitlines()[0][:160]}" if waiting else "starting"


def _why_failed(
    failed: Sequence[str], applications: dict[str, Any], snapshot: dict[str, Any] | None, since_s: float
) -> str:
    """A line for each: the cause that one of its replicas reported, or else Serve's own words."""
    model_of = {model["application"]: model["name"] for model in snapshot["models"]} if snapshot else {}
    failures = {f["model"]: f for f in reversed(snapshot["failures"]) if f["at_s"] >= since_s} if snapshot else {}
    lines = []
    for name in failed:
        failure = failures.get(model_of.get(name, name))
        if failure is not None:
            lines.append(f"{failure['model']}: {failure['cause']}: {failure['message']}")
            continue
        deployments = applications[name].get("deployments", {}).values()
        message = applications[name].get("message") or next((d["message"] for d in deployments if d.get("message")), "")
        lines.append(f"{name}: {(message.strip() or 'failed').splitlines()[-1]}")
    return "\n".join(lines)
