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
SETTLING_S = 120.0
STREAM_TOKENS = range(60, 240)


@dataclass(frozen=True)
class Fleet:
    """What is deployed. A version is a setting that needs new processes; a gateway has none but its resources."""

    replicas: tuple[int, int] = (2, 1)
    versions: tuple[int, int] = (0, 0)
    gateways: int = 3
    gateway_version: int = 0

    def models(self) -> str:
        lines = "models:\n"
        for name, count, version in zip("ab", self.replicas, self.versions, strict=True):
            lines += f"  - {{name: {name}, engine: simulated, profile: llama-3.1-70b-h100-tp4, cpus_per_replica: 0.1, "
            lines += f"max_in_flight: {64 + version}, drain_timeout_s: 30, replicas: {{min: {count}}}}}\n"
        return lines

    def after(self, round_: int) -> tuple["Fleet", dict[str, str]]:
        """The next fleet, and what each application is about to go through.

        In turn each shrinks by one, and then is rolled out while it grows.
        """
        even = round_ % 2
        (a, b), (version_a, version_b) = self.replicas, self.versions
        fleet = Fleet(
            replicas=(a + 1, b - 1) if even else (a - 1, b + 1),
            versions=(version_a + 1, version_b) if even else (version_a, version_b + 1),
            gateways=self.gateways + (1 if even else -1),
            gateway_version=self.gateway_version + even,
        )
        down, out = "scale-down of engines", "rollout of engines"
        gateways = "rollout of gateways" if even else "scale-down of gateways"
        return fleet, {"a": out if even else down, "b": down if even else out, "gateway": gateways}


def document(cluster: ClusterProcess, fleet: Fleet) -> dict[str, Any]:
    config = load_config(cluster.write_config(fleet.models(), fleet.gateways))
    schema = schema_for(config, RunFolder(cluster.folder / "run"), [this_machine(config)])
    gateway = next(a for a in schema["applications"] if a["name"] == "gateway")
    gateway["deployments"][0]["ray_actor_options"]["num_cpus"] = 0.05 + fleet.gateway_version * 1e-4
    return schema


def settle(api: ServeApi, fleet: Fleet) -> None:
    """Until Serve says that all is as asked, and nothing of the old is left."""
    wanted = {"a": fleet.replicas[0], "b": fleet.replicas[1], "gateway": fleet.gateways}
    deadline_s = time.monotonic() + SETTLING_S
    while True:
        applications = api.applications()
        states = {
            name: [r["state"] for d in applications[name]["deployments"].values() for r in d["replicas"]]
            for name in wanted
        }
        if all(a["status"] == "RUNNING" for a in applications.values()) and states == {
            name: ["RUNNING"] * count for name, count in wanted.items()
        }:
            return
        assert time.monotonic() < deadline_s, (fleet, states)
        time.sleep(0.2)


def drained(cluster: ClusterProcess) -> dict[str, dict[str, Any]]:
    snapshot = cluster.live.snapshot()
    assert snapshot is not None
    return {drain["replica_id"]: drain for drain in snapshot["drains"]}


def test_nothing_is_cut_and_no_client_sees_an_error() -> None:
    fleet, done, drains = Fleet(), Counter[str](), dict[str, dict[str, Any]]()
    cluster = ClusterProcess(fleet.models(), gateway_processes=fleet.gateways)
    try:
        cluster.start()
        api = ServeApi(f"http://127.0.0.1:{cluster.dashboard_port}")
        began_s = time.monotonic()
        with KeepAliveLoad(cluster.url, ["a", "b"], clients=3, stream_tokens=STREAM_TOKENS, seed=5) as load:
            round_ = 0
            while done.total() < EVENTS:
                fleet, going_through = fleet.after(round_)
                api.deploy(document(cluster, fleet))
                settle(api, fleet)
                done.update(going_through.values())
                drains |= drained(cluster)
                round_ += 1
                print(round_, f"{time.monotonic() - began_s:.0f} s", dict(done), load.outcomes, flush=True)
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
