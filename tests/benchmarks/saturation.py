"""`python -m tests.benchmarks.saturation`: how much of round robin's capacity each scenario's rate is."""

from dataclasses import replace

from cluster.simulator.policies.by_load import RoundRobin
from cluster.simulator.scenarios import SCENARIOS, Scenario
from cluster.simulator.simulation import Fleet, simulate
from engine.simulated.profiles import get_profile

PROFILE, REPLICAS = "llama-3.1-70b-h100-tp4", 8
OVERLOAD = 200.0


def saturation_req_s(scenario: Scenario, requests: int) -> float:
    """What all replicas together finish while each has a queue: eight times the slowest one's rate in mid-run."""
    fleet = Fleet(get_profile(PROFILE), REPLICAS, hash_tokens=scenario.block_tokens, slowness=scenario.slowness)
    asked = replace(scenario, seconds=requests / scenario.rate_req_s)
    ends: list[list[float]] = [[] for _ in range(REPLICAS)]
    for request in simulate(asked.requests(0, OVERLOAD), fleet, RoundRobin, 0):
        ends[request.replica].append(request.finished_ms / 1000)
    return REPLICAS * min(_middle_rate(of_one) for of_one in ends)


def _middle_rate(ends_s: list[float]) -> float:
    first, last = len(ends_s) // 4, len(ends_s) * 3 // 4
    return (last - first) / (ends_s[last] - ends_s[first])


def main() -> None:
    for scenario in SCENARIOS.values():
        most = saturation_req_s(scenario, 16_000)
        print(f"{scenario.name:<18} saturates at {most:7.2f} req/s; asked {scenario.rate_req_s / most:.2f} of it")


if __name__ == "__main__":
    main()
