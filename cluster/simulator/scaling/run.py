"""One run of an autoscaling test: requests arrive, a policy says how many replicas there are to be, they come late."""

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol as Interface

from cluster.simulator.policies.baryon import Baryon
from cluster.simulator.request import SimulatedRequest
from cluster.simulator.scaling.ended import Ended
from cluster.simulator.scaling.snapshot import ReplicaLoad, Snapshot
from cluster.simulator.scaling.workload import Workload
from cluster.simulator.simulation import Fleet, SimulatedCluster
from cluster.simulator.summary import percentile
from cluster.simulator.trace_request import TraceRequest
from deployments.gateway.routing.router import Router
from deployments.gateway.routing.score import Slo
from engine.simulated.profiles import Profile, get_profile

TICK_S = 5.0
REVERSAL_COLD_STARTS = 2.0
RECOVERED = 0.95


class Scaler(Interface):
    """A policy. It may keep state: there is one for each run."""

    def initial(self) -> int:
        """Replicas that serve when the run begins."""
        ...

    def desired(self, seen: Snapshot) -> int:
        """Called every five seconds; the run keeps what it says within the protocol's limits."""
        ...

    def ready(self, cold_start_s: float) -> None:
        """A replica serves, so long after it was asked for."""
        ...


@dataclass(frozen=True, slots=True)
class Site:
    """What a policy is made for: the test, its hardware, and the gateway's router, which knows what work takes."""

    workload: Workload
    profile: Profile
    slo: Slo
    router: Router
    seed: int


ScalerFactory = Callable[[Site], Scaler]


@dataclass(frozen=True, slots=True)
class ScalingRow:
    """`slo_attainment` is over all requests; one that never finishes misses. `gpu_hours` counts replicas from being
    asked for to their end. `flaps`: changes of direction within two cold starts. `missed`: requests that did not meet
    the SLO; `longest_miss_s`: the longest time in which fewer than 95 % of those that came did.
    """

    policy: str
    seed: int
    requests: int
    failed: int
    missed: int
    longest_miss_s: float
    slo_attainment: float
    goodput_rps: float
    gpu_hours: float
    replicas_mean: float
    replicas_most: int
    actions: int
    flaps: int
    ttft_p50_ms: float
    ttft_p99_ms: float
    tpot_p90_ms: float


def gpus_of(profile: str) -> int:
    """Profiles are named for their tensor parallel size; a replica on a CPU counts as one."""
    named, _, size = profile.rpartition("-tp")
    return int(size) if named else 1


class ScalingRun:
    """Time is in seconds here; the cluster's is in milliseconds."""

    def __init__(self, workload: Workload, factory: ScalerFactory, seed: int) -> None:
        protocol = workload.protocol
        profile = get_profile(protocol.profile)
        self._workload, self._protocol, self._seed = workload, protocol, seed
        self._slo = Slo(protocol.slo.ttft_ms, protocol.slo.tpot_ms)
        fleet = Fleet(profile, 0, hash_tokens=workload.block_tokens, slo=self._slo)
        self._cluster = SimulatedCluster(fleet, Baryon, seed)
        (self._gateway,) = (gateway for gateway in self._cluster.gateways if isinstance(gateway, Baryon))
        self._scaler = factory(Site(workload, profile, self._slo, self._gateway.router, seed))
        self._starting: deque[tuple[float, int]] = deque()
        self._leaving: list[int] = []
        self._asked_s: dict[int, float] = {}
        self._replica_s = 0.0
        self._began: list[TraceRequest] = []
        self._finished: list[SimulatedRequest] = []
        self._ended = Ended()
        self._changes: list[tuple[float, int]] = []
        self._most = 0
        self._target = self._clip(self._scaler.initial())
        for _ in range(self._target):
            self._enlist(self._ask(0.0), 0.0)
            self._scaler.ready(protocol.cold_start_s)

    def row(self, name: str) -> ScalingRow:
        last_s = 0.0
        for asked in self._workload.requests(self._seed):
            while last_s + TICK_S <= asked.arrived_ms / 1000:
                self._tick(last_s, last_s + TICK_S)
                last_s += TICK_S
            self._until(asked.arrived_ms / 1000)
            self._began.append(asked)
            self._finished += self._cluster.arrive(asked)
        while last_s + TICK_S <= self._protocol.seconds:
            self._tick(last_s, last_s + TICK_S)
            last_s += TICK_S
        while self._starting:
            self._until(self._starting[0][0])
        self._finished += self._cluster.until(math.inf)
        self._ended.add(self._finished)
        return self._summary(name)

    def _tick(self, since_s: float, now_s: float) -> None:
        self._until(now_s)
        self._let_go(now_s)
        seen = self._snapshot(since_s, now_s)
        self._ended.add(self._finished)
        self._began, self._finished = [], []
        wanted = self._clip(self._scaler.desired(seen))
        if wanted != self._target:
            self._changes.append((now_s, wanted - self._target))
        self._target = wanted
        have = len(self._cluster.candidates) + len(self._starting)
        for _ in range(wanted - have):
            self._starting.append((now_s + self._protocol.cold_start_s, self._ask(now_s)))
        for _ in range(have - wanted):
            self._give_up(now_s)
        self._most = max(self._most, len(self._asked_s))

    def _until(self, at_s: float) -> None:
        while self._starting and self._starting[0][0] <= at_s:
            ready_s, replica = self._starting.popleft()
            self._finished += self._cluster.until(ready_s * 1000)
            self._enlist(replica, ready_s)
            self._scaler.ready(ready_s - self._asked_s[replica])
        self._finished += self._cluster.until(at_s * 1000)

    def _ask(self, now_s: float) -> int:
        replica = self._cluster.build()
        self._asked_s[replica] = now_s
        return replica

    def _enlist(self, replica: int, now_s: float) -> None:
        self._gateway.meet(replica)
        self._cluster.enlist(replica, now_s * 1000)

    def _give_up(self, now_s: float) -> None:
        """One that is not ready yet, else the one with the fewest requests."""
        if self._starting:
            _, replica = self._starting.pop()
            self._end(replica, now_s)
            return
        replicas = self._cluster.replicas
        replica = min(self._cluster.candidates, key=lambda index: len(replicas[index].requests()))
        self._cluster.retire(replica)
        self._leaving.append(replica)
        self._let_go(now_s)

    def _let_go(self, now_s: float) -> None:
        for replica in [index for index in self._leaving if not self._cluster.replicas[index].requests()]:
            self._leaving.remove(replica)
            self._gateway.router.forget(str(replica))
            self._end(replica, now_s)

    def _end(self, replica: int, now_s: float) -> None:
        self._replica_s += now_s - self._asked_s.pop(replica)

    def _clip(self, wanted: int) -> int:
        return max(self._protocol.replicas.min, min(self._protocol.replicas.max, wanted))

    def _snapshot(self, since_s: float, now_s: float) -> Snapshot:
        replicas = [self._cluster.replicas[index] for index in self._cluster.candidates]
        loads = tuple(
            ReplicaLoad(
                len(replica.running), len(replica.waiting), replica.blocks.used_blocks / replica.blocks.capacity_blocks
            )
            for replica in replicas
        )
        return Snapshot(
            now_s=now_s,
            since_s=since_s,
            loads=loads,
            starting=len(self._starting),
            leaving=len(self._leaving),
            target=self._target,
            unplaced_requests=len(self._cluster.unplaced),
            began=self._began,
            finished=self._finished,
        )

    def _summary(self, name: str) -> ScalingRow:
        end_s = self._protocol.seconds
        replica_s = self._replica_s + sum(end_s - asked_s for asked_s in self._asked_s.values())
        ended, kept_at_ms = self._ended, self._ended.kept_at_ms(self._slo)
        requests, kept = len(ended.arrived_ms), len(kept_at_ms)
        return ScalingRow(
            policy=name,
            seed=self._seed,
            requests=requests,
            failed=requests - len(ended.ttft_ms),
            missed=requests - kept,
            longest_miss_s=longest_miss_s(ended.arrived_ms, kept_at_ms),
            slo_attainment=kept / requests if requests else 1.0,
            goodput_rps=kept / end_s,
            gpu_hours=replica_s * gpus_of(self._protocol.profile) / 3600,
            replicas_mean=replica_s / end_s,
            replicas_most=self._most,
            actions=len(self._changes),
            flaps=flaps(self._changes, REVERSAL_COLD_STARTS * self._protocol.cold_start_s),
            ttft_p50_ms=percentile(ended.ttft_ms, 0.5),
            ttft_p99_ms=percentile(ended.ttft_ms, 0.99),
            tpot_p90_ms=percentile(ended.tpot_ms, 0.9),
        )


def longest_miss_s(arrived_ms: Sequence[float], kept_ms: Sequence[float]) -> float:
    """`kept_ms`: when those arrived that met the SLO. In windows as long as a tick; one in which none came is as the
    one before.
    """
    arrived, kept = (Counter(int(at_ms / 1000 // TICK_S) for at_ms in times) for times in (arrived_ms, kept_ms))
    longest = lasts = 0
    for window in range(max(arrived, default=-1) + 1):
        if arrived[window]:
            lasts = lasts + 1 if kept[window] < RECOVERED * arrived[window] else 0
        else:
            lasts += bool(lasts)
        longest = max(longest, lasts)
    return longest * TICK_S


def flaps(changes: Sequence[tuple[float, int]], within_s: float) -> int:
    """Changes of direction so soon after the last change."""
    return sum(
        (before[1] > 0) != (after[1] > 0) and after[0] - before[0] <= within_s for before, after in pairwise(changes)
    )
