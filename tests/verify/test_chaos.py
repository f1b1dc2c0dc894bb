"""All that can be killed is killed, in turn, under load: answers stay whole or fail honestly, and all comes back."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

import httpx
import pytest

from cluster.bench.overhead_run import commit_id, write_json
from tests.end_to_end.cluster_process import ClusterProcess
from tests.verify.results import RESULTS

pytestmark = pytest.mark.verify
MODELS = """
models:
  - {name: sim, engine: simulated, profile: instant, cpus_per_replica: 0.1, max_in_flight: 64, replicas: {min: 3}}
"""
CLIENTS = 8
BETWEEN_KILLS_S = 6.0
KILLS = 12
TOKENS = 20


class Load:
    """Clients that ask again and again, half of them for streams, and count what they get."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self._cluster = cluster
        self.outcomes: Counter[str] = Counter()
        self.ended = False

    def ask_until_ended(self, client: int) -> None:
        while not self.ended:
            self.outcomes[self._outcome(stream=client % 2 == 0)] += 1

    def _outcome(self, stream: bool) -> str:
        body = {"model": "sim", "prompt": "chaos", "max_tokens": TOKENS, "ignore_eos": True, "stream": stream}
        body |= {"stream_options": {"include_usage": True}} if stream else {}
        try:
            answer = self._cluster.post("/v1/completions", body, 30)
        except httpx.ConnectError:
            return "refused connection"
        except httpx.TransportError:
            return "broken"
        if answer.status_code != 200:
            return str(answer.status_code)
        whole = f'"completion_tokens":{TOKENS}' in answer.text.replace(" ", "")
        return (
            "whole" if whole and (not stream or answer.text.rstrip().endswith("data: [DONE]")) else "cut short as 200"
        )


def victims(cluster: ClusterProcess) -> dict[str, Callable[[], int]]:
    def of_application(name: str) -> int:
        application = next(a for a in cluster.status()["applications"] if a["name"] == name)
        return int(application["replicas"][0]["pid"])

    def engine() -> int:
        replica = next(iter(cluster.replicas("sim").values()))
        return next(m.pid for m in cluster.engine_members(replica) if "engine.simulated" in m.title)

    def controller() -> int:
        return next(member.pid for member in cluster.tree() if "ServeController" in member.title)

    return {
        "replica": lambda: next(iter(cluster.replicas("sim").values())),
        "engine": engine,
        "gateway": lambda: of_application("gateway"),
        "state": lambda: of_application("state"),
        "controller": controller,
    }


def test_nothing_is_lost_silently_and_everything_comes_back() -> None:
    random = Random(7)
    cluster = ClusterProcess(MODELS, gateway_processes=2)
    try:
        cluster.start()
        load, killed = Load(cluster), Counter[str]()
        with ThreadPoolExecutor(CLIENTS) as pool:
            asking = [pool.submit(load.ask_until_ended, client) for client in range(CLIENTS)]
            try:
                for _ in range(KILLS):
                    name, find = random.choice(sorted(victims(cluster).items()))
                    os.kill(find(), signal.SIGKILL)
                    killed[name] += 1
                    time.sleep(BETWEEN_KILLS_S)
            finally:
                load.ended = True
            for one in asking:
                one.result()
        deadline_s = time.monotonic() + 90
        while len(cluster.replicas("sim")) < 3:
            assert time.monotonic() < deadline_s, cluster.status()
            time.sleep(0.5)
        after = [load._outcome(stream=n % 2 == 0) for n in range(50)]
        write_json(
            {"benchmark": "chaos", "commit": commit_id(), "killed": killed, "outcomes": load.outcomes},
            RESULTS / "chaos.json",
        )
        assert load.outcomes["cut short as 200"] == 0, load.outcomes
        assert set(load.outcomes) <= {"whole", "broken", "refused connection", "500", "503"}, load.outcomes
        assert load.outcomes["whole"] > 0.9 * load.outcomes.total(), load.outcomes
        assert after == ["whole"] * 50
        assert cluster.stop() == []
    finally:
        cluster.remove()
