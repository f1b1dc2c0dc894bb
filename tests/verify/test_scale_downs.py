"""Replicas and gateways go and are replaced 200 times under load: no stream is cut, no client sees an error."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from cluster.bench.overhead_run import commit_id, write_json
from cluster.bring_up import schema_for, this_machine
from cluster.config_file import load_config
from cluster.run_folder import RunFolder
from cluster.serve_api import ServeApi
from tests.end_to_end.cluster_process import ClusterProcess
from tests.verify.keep_alive_load import KeepAliveLoad
from tests.verify.results import RESULTS

pytestmark = pytest.mark.verify
EVENTS = 200
MODELS = ["a", "b", "c"]
SETTLING_S = 120.0
STREAM_TOKENS = range(60, 240)


@dataclass(frozen=True)
class Deployed:
    """How many, in which version: something that needs new processes."""

    count: int
    version: int = 0

    def next(self, least: int) -> tuple["Deployed", str]:
        """In turn it shrinks by one, and is rolled out while it grows."""
        if self.count > least:
            return Deployed(self.count - 1, self.version), "scale-down"
        return Deployed(self.count + 1, self.version + 1), "rollout"


@dataclass(frozen=True)
class Fleet:
    """No setting needs new gateways, so what makes a version of theirs is the CPUs they reserve."""

    models: tuple[Deployed, ...] = (Deployed(2), Deployed(1), Deployed(2))
    gateways: Deployed = Deployed(3)

    def next(self) -> tuple["Fleet", Counter[str]]:
        """The next fleet, and what the applications are about to go through."""
        models, engines_do = zip(*(model.next(least=1) for model in self.models), strict=True)
        gateways, gateways_do = self.gateways.next(least=2)
        events = [f"{what} of engines" for what in engines_do] + [f"{gateways_do} of gateways"]
        return Fleet(models, gateways), Counter(events)

    def yaml(self) -> str:
        common = "engine: simulated, profile: llama-3.1-70b-h100-tp4, cpus_per_replica: 0.1, drain_timeout_s: 30"
        return "models:\n" + "".join(
            f"  - {{name: {name}, {common}, max_in_flight: {64 + model.version}, replicas: {{min: {model.count}}}}}\n"
            for name, model in zip(MODELS, self.models, strict=True)
        )

    def document(self, cluster: ClusterProcess) -> dict[str, Any]:
        config = load_config(cluster.write_config(self.yaml(), self.gateways.count))
        schema = schema_for(config, RunFolder(cluster.folder / "run"), [this_machine(config)])
        gateway = next(a for a in schema["applications"] if a["name"] == "gateway")
        gateway["deployments"][0]["ray_actor_options"]["num_cpus"] = 0.05 + self.gateways.version * 1e-4
        return schema


def settle(api: ServeApi, fleet: Fleet) -> None:
    """Until Serve says that all is as asked, and nothing of the old is left."""
    counts = {name: model.count for name, model in zip(MODELS, fleet.models, strict=True)}
    wanted = {name: ["RUNNING"] * count for name, count in {**counts, "gateway": fleet.gateways.count}.items()}
    deadline_s = time.monotonic() + SETTLING_S
    while True:
        applications = api.applications()
        states = {
            name: [r["state"] for d in applications[name]["deployments"].values() for r in d["replicas"]]
            for name in wanted
        }
        if states == wanted and all(a["status"] == "RUNNING" for a in applications.values()):
            return
        assert time.monotonic() < deadline_s, (fleet, states)
        time.sleep(0.2)


def drained(cluster: ClusterProcess) -> dict[str, dict[str, Any]]:
    snapshot = cluster.live.snapshot()
    assert snapshot is not None
    return {drain["replica_id"]: drain for drain in snapshot["drains"]}


def test_nothing_is_cut_and_no_client_sees_an_error() -> None:
    fleet, done, drains = Fleet(), Counter[str](), dict[str, dict[str, Any]]()
    cluster = ClusterProcess(fleet.yaml(), gateway_processes=fleet.gateways.count)
    try:
        cluster.start()
        api = ServeApi(f"http://127.0.0.1:{cluster.dashboard_port}")
        began_s = time.monotonic()
        with KeepAliveLoad(cluster.url, MODELS, clients=2, stream_tokens=STREAM_TOKENS, seed=5) as load:
            while done.total() < EVENTS:
                fleet, going_through = fleet.next()
                api.deploy(fleet.document(cluster))
                settle(api, fleet)
                done += going_through
                drains |= drained(cluster)
        result = {
            "benchmark": "scale_downs",
            "commit": commit_id(),
            "events": done,
            "seconds": round(time.monotonic() - began_s),
            "outcomes": load.outcomes,
            "slowest_s": {kind: round(s, 2) for kind, s in load.slowest_s.items()},
            "longest_stream_s": round(load.longest_stream_s, 2),
            "engines_drained": len(drains),
            "longest_drain_s": max(drain["waited_s"] for drain in drains.values()),
            "requests_cut": sum(drain["cut_requests"] for drain in drains.values()),
        }
        write_json(result, RESULTS / "scale_downs.json")
        assert load.failures == {}
        assert result["requests_cut"] == 0
        assert cluster.stop() == []
    finally:
        cluster.remove()
