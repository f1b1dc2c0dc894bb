"""Is an engine healthy, hung or in need of a canary? A pure judgement over what was observed.

Hung means that work is running and the engine has made no step for some time, or that it answers nothing for that
long. `/health` does not tell: it can stay 200 while generation hangs (CVE-2026-114051). A canary, one generated token,
is only for an engine that should be idle: under saturation it would queue, and a busy replica would be killed.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the engine. None fields: it did not answer.

    `steps` counts iterations that made a token; a prompt's chunks before the last make none, and show as a changed
    `kv_cache_usage` (a share of 1).
    """

    at_s: float
    steps: int | None
    running: int | None
    waiting: int | None
    kv_cache_usage: float = 0.0


@dataclass(frozen=True, slots=True)
class HealthLimits:
    hang_timeout_s: float
    idle_canary_period_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Health:
    """What is remembered between looks."""

    steps: int
    kv_cache_usage: float
    progress_at_s: float
    answered_at_s: float
    has_work: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    action: Literal["wait", "canary", "replace"]
    reason: str = ""


def at_start(now_s: float) -> Health:
    return Health(steps=0, kv_cache_usage=0.0, progress_at_s=now_s, answered_at_s=now_s, has_work=False)


def observe(health: Health, seen: Observation) -> Health:
    """Progress is a new step, a change of the KV cache, or the arrival of work at an engine that had none."""
    if seen.steps is None:
        return health
    has_work = bool(seen.running or seen.waiting)
    stepped = (seen.steps, seen.kv_cache_usage) != (health.steps, health.kv_cache_usage)
    progressed = stepped or (has_work and not health.has_work)
    return replace(
        health,
        steps=seen.steps,
        kv_cache_usage=seen.kv_cache_usage,
        has_work=has_work,
        answered_at_s=seen.at_s,
        progress_at_s=seen.at_s if progressed else health.progress_at_s,
    )


def after_canary(health: Health, now_s: float) -> Health:
    """A canary came back: the engine generates."""
    return replace(health, progress_at_s=now_s, answered_at_s=now_s)


def judge(health: Health, limits: HealthLimits, now_s: float) -> Verdict:
    silent_s = now_s - health.answered_at_s
    stalled_s = now_s - health.progress_at_s
    if silent_s >= limits.hang_timeout_s:
        return Verdict("replace", f"the engine's server has not answered for {silent_s:.0f} s")
    if health.has_work and stalled_s >= limits.hang_timeout_s:
        return Verdict("replace", f"requests are running and the engine has made no step for {stalled_s:.0f} s")
    if not health.has_work and stalled_s >= limits.idle_canary_period_s:
        return Verdict("canary")
    return Verdict("wait")
