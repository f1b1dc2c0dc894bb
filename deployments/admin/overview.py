"""What runs now, in one document: what state last told, what each gateway counts, what engines say of themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployments.admin.engine_gauges import EngineGauges
from deployments.admin.last_minute import Sums, quantile_ms
from deployments.catalogue_view import why_not_ready
from deployments.gateway.replica_table import ReplicaInfo
from deployments.gateway_registry import ReplicaCounts, Told

FAILURES_SHOWN = 8
DRAINS_SHOWN = 4

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StateView:
    """What this gateway last heard of state. `is_away`: it has not answered since `heard_at_s` (wall clock)."""

    snapshot: Mapping[str, Any]
    told: Told = field(default_factory=Told)
    heard_at_s: float = 0.0
    is_away: bool = False


def overview(
    at_s: float,
    state: StateView,
    gateways: Sequence[Document],
    members: Mapping[str, Sequence[ReplicaInfo]],
    gauges: Mapping[str, EngineGauges],
    *,
    is_key_needed: bool,
) -> Document:
    """`gateways`: what each says of itself (`GatewayView.now`); one that does not answer has `answers: False`."""
    answering = [gateway for gateway in gateways if gateway["answers"]]
    cards = state.snapshot.get("models", [])
    replicas = [_replica(row, answering, members, gauges) for row in state.snapshot.get("replicas", [])]
    models = [_model(card, state, replicas, answering) for card in cards]
    sums, window_s = Sums(), 1.0
    for gateway in answering:
        window_s = max(window_s, gateway["window_s"])
        for model in gateway["models"].values():
            sums.add(Sums.of(model["minute"]))
    return {
        "at_s": at_s,
        "state": {"is_away": state.is_away, "heard_at_s": state.heard_at_s},
        "is_key_needed": is_key_needed,
        "window_s": window_s,
        "totals": {
            **_rates(sums, window_s),
            "in_flight": sum(gateway["in_flight"] for gateway in answering),
            "waiting": sum(model["waiting"] for model in models),
        },
        "models": models,
        "replicas": replicas,
        "gateways": [_gateway(gateway) for gateway in gateways],
        "failures": list(state.snapshot.get("failures", []))[:FAILURES_SHOWN],
        "drains": list(state.snapshot.get("drains", []))[:DRAINS_SHOWN],
    }


def _rates(sums: Sums, window_s: float) -> Document:
    """None where nothing came in the last minute that could be told of."""
    return {
        "requests_per_s": sums.requests / window_s,
        "failed_per_s": sums.failed / window_s,
        "output_tokens_per_s": sums.output_tokens / window_s,
        "prompt_tokens_per_s": sums.prompt_tokens / window_s,
        "ttft_p50_ms": quantile_ms(sums.ttfts, 0.5),
        "ttft_p95_ms": quantile_ms(sums.ttfts, 0.95),
        "slo_met": sums.met / sums.judged if sums.judged else None,
        "prefix_hit_rate": sums.cached_tokens / sums.prompt_tokens if sums.prompt_tokens else None,
    }


def _model(
    card: Mapping[str, Any], state: StateView, replicas: Sequence[Document], gateways: Sequence[Document]
) -> Document:
    name = card["name"]
    ours = [replica for replica in replicas if replica["model"] == name]
    ready = sum(replica["stage"] == "ready" for replica in ours)
    counts = state.told.counts.get(name, ReplicaCounts(max(len(ours), card["replicas"]["min"]), ready, 0))
    told = [gateway["models"][name] for gateway in gateways if name in gateway["models"]]
    sums, window_s = Sums(), max((gateway["window_s"] for gateway in gateways), default=1.0)
    for model in told:
        sums.add(Sums.of(model["minute"]))
    return {
        "name": name,
        "engine": card["engine"],
        "slo": card["slo"],
        "replicas": card["replicas"],
        "target": counts.target,
        "ready": ready,
        "starting": counts.starting,
        "waiting": sum(model["waiting"] for model in told),
        "in_flight": sum(replica["in_flight"] for replica in ours),
        "not_ready": "" if ready else why_not_ready(name, state.snapshot),
        **_rates(sums, window_s),
    }


def _replica(
    row: Mapping[str, Any],
    gateways: Sequence[Document],
    members: Mapping[str, Sequence[ReplicaInfo]],
    gauges: Mapping[str, EngineGauges],
) -> Document:
    identity = row["replica_id"]
    member = next((one for one in members.get(row["model"], ()) if one.replica_id == identity), None)
    told = [gateway["replicas"][identity] for gateway in gateways if identity in gateway["replicas"]]
    prompt_tokens, cached_tokens = sum(one["prompt_tokens"] for one in told), sum(one["cached_tokens"] for one in told)
    gauge = gauges.get(identity)
    return {
        **{name: row[name] for name in ("replica_id", "model", "node_id", "pid", "engine", "stage", "detail")},
        "started_at_s": row["started_at_s"],
        "stages_s": row["stages"],
        "is_leaving": row["stage"] == "drain" or (member is not None and member.is_leaving),
        "in_flight": sum(one["in_flight"] for one in told),
        "max_in_flight": member.max_in_flight if member is not None else None,
        "kv_cache_tokens": row["kv_cache_tokens"],
        "engine_answers": gauge is not None,
        "running": gauge.running if gauge is not None else None,
        "waiting": gauge.waiting if gauge is not None else None,
        "kv_cache_used": gauge.kv_cache_used if gauge is not None else None,
        "preemptions": gauge.preemptions if gauge is not None else None,
        "prefix_hit_rate": cached_tokens / prompt_tokens if prompt_tokens else None,
    }


def _gateway(gateway: Document) -> Document:
    known = ("gateway_id", "node_id", "pid", "started_at_s", "answers", "is_this")
    now = {"in_flight": gateway.get("in_flight"), "is_draining": gateway.get("is_draining", False)}
    waiting = sum(model["waiting"] for model in gateway.get("models", {}).values()) if gateway["answers"] else None
    return {**{name: gateway[name] for name in known}, **now, "waiting": waiting}
