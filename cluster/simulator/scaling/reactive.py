"""Peers' rules as they publish them: each looks at what is there now."""

import math
from collections import deque
from collections.abc import Callable

from cluster.simulator.scaling.run import Site
from cluster.simulator.scaling.snapshot import Snapshot, tpot_ms, ttft_ms
from cluster.simulator.summary import percentile


class Window:
    """Values of the last so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: deque[tuple[float, float]] = deque()

    def add(self, now_s: float, value: float) -> None:
        self._values.append((now_s, value))
        while self._values[0][0] <= now_s - self._seconds:
            self._values.popleft()

    def mean(self) -> float:
        return sum(value for _, value in self._values) / len(self._values)

    def most(self) -> float:
        return max(value for _, value in self._values)

    def least(self) -> float:
        return min(value for _, value in self._values)


class Reactive:
    """Starts with the protocol's count, and knows nothing of cold starts."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def initial(self) -> int:
        return self.site.workload.protocol.replicas.initial

    def ready(self, cold_start_s: float) -> None: ...


class RayServe(Reactive):
    """Requests in flight ÷ target, averaged over 30 s; agreed on for 30 s upwards and for 600 s downwards."""

    LOOK_BACK_S, UP_S, DOWN_S = 30.0, 30.0, 600.0

    def __init__(self, site: Site, target: float) -> None:
        super().__init__(site)
        self._target = target
        self._ongoing = Window(self.LOOK_BACK_S)
        self._above_since_s = self._below_since_s = math.inf

    def desired(self, seen: Snapshot) -> int:
        self._ongoing.add(seen.now_s, seen.requests)
        wanted = math.ceil(self._ongoing.mean() / self._target)
        self._above_since_s = min(self._above_since_s, seen.now_s) if wanted > seen.target else math.inf
        self._below_since_s = min(self._below_since_s, seen.now_s) if wanted < seen.target else math.inf
        if seen.now_s - self._above_since_s >= self.UP_S or seen.now_s - self._below_since_s >= self.DOWN_S:
            self._above_since_s = self._below_since_s = math.inf
            return wanted
        return seen.target


class Hpa(Reactive):
    """Kubernetes' horizontal autoscaler as KEDA drives it: what the metric asks for, polled; upwards at most double or
    four more in 15 s; downwards the most of the last `calm_s`.
    """

    TOLERANCE = 0.1

    def __init__(self, site: Site, wanted: Callable[[Snapshot], float], poll_s: float, calm_s: float) -> None:
        super().__init__(site)
        self._wanted, self._poll_s = wanted, poll_s
        self._recommended = Window(calm_s)
        self._next_s = 0.0

    def desired(self, seen: Snapshot) -> int:
        raw = self._wanted(seen)
        if seen.now_s < self._next_s:
            return seen.target
        self._next_s = seen.now_s + self._poll_s
        near = abs(raw / max(1, seen.target) - 1) <= self.TOLERANCE
        wanted = seen.target if near else math.ceil(raw)
        self._recommended.add(seen.now_s, wanted)
        if wanted > seen.target:
            return min(wanted, max(2 * seen.target, seen.target + 4))
        return min(seen.target, int(self._recommended.most()))


def keda_waiting(site: Site) -> Hpa:
    """vLLM production-stack: five waiting requests per replica, polled every 15 s, 360 s of calm."""
    return Hpa(site, lambda seen: seen.waiting_requests / 5, 15.0, 360.0)


class SloKeda:
    """llm-d: s = max(P90 TTFT ÷ SLO, P90 TPOT ÷ SLO), at most 2, averaged over 45 s; up above 0.55, down below 0.40;
    while replicas start, the part of them that serve is credited.
    """

    AVERAGED_S, UP, DOWN, MOST = 45.0, 0.55, 0.40, 2.0

    def __init__(self, site: Site) -> None:
        self._slo = site.slo
        self._scores = Window(self.AVERAGED_S)
        self._last = 0.0

    def __call__(self, seen: Snapshot) -> float:
        if seen.finished:
            ttft = percentile([ttft_ms(request) for request in seen.finished], 0.9)
            tpot = percentile([tpot_ms(request) for request in seen.finished], 0.9)
            self._last = min(self.MOST, max(ttft / self._slo.ttft_ms, tpot / self._slo.tpot_ms))
        self._scores.add(seen.now_s, self._last)
        score = self._scores.mean() * seen.running / max(1, seen.target)
        if score > self.UP:
            return seen.target * score / self.UP
        if score < self.DOWN:
            return seen.target * score / self.DOWN
        return seen.target


def llm_d_slo_keda(site: Site) -> Hpa:
    """Kubernetes' own 300 s of calm before it goes down."""
    return Hpa(site, SloKeda(site), 15.0, 300.0)


class AibrixApa(Reactive):
    """KV-cache use ÷ 0.5: beyond a tolerance the count is multiplied with it, upwards at most doubled; downwards the
    most of the last 300 s.
    """

    TARGET, UP_TOLERANCE, DOWN_TOLERANCE, MOST_UP, AVERAGED_S, CALM_S = 0.5, 0.1, 0.2, 2.0, 60.0, 300.0

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._used, self._recommended = Window(self.AVERAGED_S), Window(self.CALM_S)

    def desired(self, seen: Snapshot) -> int:
        if not seen.loads:
            return seen.target
        self._used.add(seen.now_s, sum(load.cache_used for load in seen.loads) / len(seen.loads))
        wanted = seen.target if seen.starting else self._wanted(self._used.mean() / self.TARGET, seen)
        self._recommended.add(seen.now_s, wanted)
        return wanted if wanted > seen.target else min(seen.target, int(self._recommended.most()))

    def _wanted(self, ratio: float, seen: Snapshot) -> int:
        if ratio > 1 + self.UP_TOLERANCE:
            return math.ceil(seen.running * min(self.MOST_UP, ratio))
        if ratio < 1 - self.DOWN_TOLERANCE:
            return math.ceil(seen.running * ratio)
        return seen.target


class Wva(Reactive):
    """llm-d's saturation rule, on the peaks of a minute: a replica is full from 80 % of its KV cache or five
    waiting on. One more where the others have less than 10 % or three to spare; one less where the rest would still
    have more.
    """

    FULL_CACHE, FULL_QUEUE, SPARE_CACHE, SPARE_QUEUE, PEAK_S, POLL_S = 0.8, 5, 0.1, 3, 60.0, 30.0

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._spare_cache, self._spare_queue = Window(self.PEAK_S), Window(self.PEAK_S)
        self._next_s = 0.0

    def desired(self, seen: Snapshot) -> int:
        free = [x for x in seen.loads if x.cache_used < self.FULL_CACHE and x.waiting_requests < self.FULL_QUEUE]
        count = max(1, len(free))
        self._spare_cache.add(seen.now_s, sum(self.FULL_CACHE - x.cache_used for x in free) / count)
        self._spare_queue.add(seen.now_s, sum(self.FULL_QUEUE - x.waiting_requests for x in free) / count)
        if seen.now_s < self._next_s or seen.starting:
            return seen.target
        self._next_s = seen.now_s + self.POLL_S
        cache, queue = self._spare_cache.least(), self._spare_queue.least()
        if cache < self.SPARE_CACHE or queue < self.SPARE_QUEUE:
            return seen.target + 1
        return seen.target - 1 if self._without_one(cache, queue, len(free)) else seen.target

    def _without_one(self, cache: float, queue: float, free: int) -> bool:
        if free < 2:
            return False
        more = free / (free - 1)
        left_cache = self.FULL_CACHE - (self.FULL_CACHE - cache) * more
        left_queue = self.FULL_QUEUE - (self.FULL_QUEUE - queue) * more
        return left_cache >= self.SPARE_CACHE and left_queue >= self.SPARE_QUEUE


class DynamoPlanner(Reactive):
    """Every 180 s what the last rate needs, at least; every 5 s one more if all replicas are predicted to miss the SLO,
    one less if all keep 0.8 of it. Nothing while a replica starts.
    """

    FLOOR_S, SENSITIVITY = 180.0, 0.8

    def __init__(self, site: Site, capacity_rps: float) -> None:
        super().__init__(site)
        self._capacity_rps = capacity_rps
        self._rate = Window(self.FLOOR_S)
        self._ttft, self._tpot = Window(30.0), Window(30.0)
        self._floor, self._next_s = 0, 0.0

    def desired(self, seen: Snapshot) -> int:
        self._rate.add(seen.now_s, len(seen.began) / (seen.now_s - seen.since_s))
        if seen.finished:
            self._ttft.add(seen.now_s, sum(map(ttft_ms, seen.finished)) / len(seen.finished))
            self._tpot.add(seen.now_s, sum(map(tpot_ms, seen.finished)) / len(seen.finished))
        if seen.now_s >= self._next_s:
            self._next_s = seen.now_s + self.FLOOR_S
            self._floor = math.ceil(self._rate.mean() / self._capacity_rps)
        if seen.starting or not seen.finished:
            return seen.target
        ttft, tpot = self._ttft.mean() / self.site.slo.ttft_ms, self._tpot.mean() / self.site.slo.tpot_ms
        worst = max(ttft, tpot)
        if worst > 1:
            return max(self._floor, seen.target + 1)
        after = worst * seen.target / max(1, seen.target - 1)
        if after < self.SENSITIVITY and not seen.leaving:
            return max(self._floor, seen.target - 1)
        return max(self._floor, seen.target)
