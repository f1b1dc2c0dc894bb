"""`baryon status`: what runs where, in which stage, and why something does not."""

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.commands.output import FAILED, NOT_RUNNING, console, fail, print_json
from cluster.commands.why import decisions_of, print_why
from cluster.live_state import LiveState
from cluster.run_folder import RunRecord, default_run_folder
from cluster.running_cluster import running_cluster
from cluster.serve_api import ServeApi, ServeApiError

FAILURES_SHOWN = 5
DRAINS_SHOWN = 3


def status(
    json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Why each model has as many replicas as it has.")] = False,
) -> None:
    """What runs, in which stage, and the cause of the last failures.

    Example: baryon status --why
    """
    folder = default_run_folder()
    record = running_cluster(folder)
    if record is None:
        fail(f"no cluster is running from {folder.path}", NOT_RUNNING)
    try:
        document = read_status(record, with_decisions=why)
    except ServeApiError as error:
        fail(str(error), FAILED)
    if json:
        print_json(document)
    elif why:
        print_why(document["models"], document["decisions"])
    else:
        _print(document)


def read_status(record: RunRecord, *, with_decisions: bool = False) -> dict[str, Any]:
    """Applications as Serve sees them, replicas and failures as they reported them; the autoscaler's decisions."""
    applications = ServeApi(record.dashboard_url).applications()
    with LiveState(record.gcs_address) as state:
        snapshot = state.snapshot()
        decisions = decisions_of(state, snapshot) if with_decisions and snapshot else {}
    return {
        "endpoint": f"{record.gateway_url}/v1" if record.gateway_url else "",
        "dashboard": record.dashboard_url,
        "console": record.admin_url,
        "config": record.config_path,
        "applications": [_application(name, details) for name, details in applications.items()],
        "models": snapshot["models"] if snapshot else [],
        "replicas": snapshot["replicas"] if snapshot else [],
        "failures": snapshot["failures"] if snapshot else [],
        "drains": snapshot["drains"] if snapshot else [],
        "exporters": snapshot["exporters"] if snapshot else [],
        "state_is_away": snapshot is None,
        **({"decisions": decisions} if with_decisions else {}),
    }


def _application(name: str, details: dict[str, Any]) -> dict[str, Any]:
    deployments = details.get("deployments", {}).values()
    replicas = [replica for deployment in deployments for replica in deployment.get("replicas", [])]
    messages = [details.get("message", ""), *(deployment.get("message", "") for deployment in deployments)]
    return {
        "name": name,
        "status": details["status"],
        "replicas": [
            {"id": r["replica_id"], "state": r["state"], "node_ip": r.get("node_ip"), "pid": r.get("pid")}
            for r in replicas
        ],
        "message": next((message.strip() for message in messages if message.strip()), ""),
    }


def _print(document: dict[str, Any]) -> None:
    addresses = {name: document[name] for name in ("endpoint", "dashboard", "console", "config")}
    console.print("   ".join(f"{name} {address}" for name, address in addresses.items() if address))
    for exporter in document["exporters"]:
        console.print(f"metrics  http://{exporter['address']}/metrics ({exporter['node']})")
    if document["state_is_away"]:
        console.print("[yellow]the state deployment is away; gateways serve from their last snapshot[/yellow]")
    table = Table(
        "application", "status", "replica", "pid", "engine", "stage", "for", "detail", box=None, pad_edge=False
    )
    stages = {replica["replica_id"]: replica for replica in document["replicas"]}
    sleepers = {model["application"] for model in document["models"] if not model["replicas"]["min"]}
    for application in document["applications"]:
        asleep = "a request wakes it" if application["name"] in sleepers else ""
        for replica in application["replicas"] or [{"id": "-", "state": "-", "pid": ""}]:
            known = stages.get(replica["id"], {})
            table.add_row(
                application["name"],
                _colored(application["status"]),
                replica["id"],
                str(replica["pid"] or ""),
                known.get("engine", ""),
                known.get("stage", replica["state"].lower()),
                _duration(known.get("started_at_s")),
                known.get("detail", asleep if replica["id"] == "-" else ""),
            )
    console.print(table)
    for failure in document["failures"][:FAILURES_SHOWN]:
        ago = _duration(failure["at_s"])
        console.print(f"[red]{failure['model']}[/red] {ago} ago  [bold]{failure['cause']}[/bold]  {failure['message']}")
    for drain in document["drains"][:DRAINS_SHOWN]:
        console.print(_ended(drain))


def _ended(drain: dict[str, Any]) -> str:
    cut = drain["cut_requests"]
    what = f"[red]{cut} requests cut[/red]" if cut else "nothing cut"
    ago = _duration(drain["at_s"])
    return f"{drain['model']} {ago} ago  {drain['replica_id']} ended after {drain['waited_s']:.1f} s of drain, {what}"


def _colored(status: str) -> str:
    color = {"RUNNING": "green", "DEPLOYING": "yellow"}.get(status, "red")
    return f"[{color}]{status}[/{color}]"


def _duration(since_s: float | None) -> str:
    if since_s is None:
        return ""
    seconds = int(time.time() - since_s)
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
