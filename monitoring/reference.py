"""The reference page: `python -m monitoring.reference > docs/metrics.md`."""

import sys
from collections.abc import Iterable

from monitoring.instruments import MOST_FINE_CELLS
from monitoring.metrics import BARYON, VLLM, Metric, Owner
from monitoring.native_buckets import BOUNDS_S, FACTOR, HIGHEST, LOWEST, PER_DOUBLING, SCHEMA, ZERO_THRESHOLD_S

HEAD = """# Metrics

Written from `monitoring/metrics.py` by `python -m monitoring.reference`; a test keeps it current.

Each node with a gateway or a replica has one scrape target, `GET /metrics` on `monitoring.port` (9464), for all that
run there. `GET /sd` on any lists every one of these for Prometheus's `http_sd_configs`, as `baryon status --json` does
(`exporters`):

```yaml
scrape_configs:
  - job_name: baryon
    http_sd_configs: [{url: "http://127.0.0.1:9464/sd", refresh_interval: 30s}]
```

- Where the port is taken, a node's exporter says by whom in its log and listens on a free port until it can have it;
  `/sd` follows.
- It listens on loopback, also where gateways do not: it has no keys of its own, and its page names tenants and models
  with what they use, versions and nodes. For a Prometheus on another machine, `monitoring.host` is `0.0.0.0` or any
  address of the nodes' network, and a firewall lets nobody but Prometheus reach the port.
- Counters of a process that ends or is killed stay (of a gateway, but for its last half second); its gauges go. An
  engine's own counters begin anew with the engine, under another `replica`.
- An engine that does not answer within its part of the scrape's timeout (3 s at most) is left out, with
  `baryon_replica_up` 0. One that is lost stays 0 for a minute.
- Labels are bounded: 400 pairs of model and tenant, and 256 of model and priority, on each node; the rest is `other`.
  `model` is `unknown` where a request named none that is served. `priority` is the tenant's, its class.
- Text, OpenMetrics, or protobuf, which alone has room for [native histograms](#native-histograms): whichever the
  client's `Accept` prefers.
- Latency histograms are of requests that a replica took, `baryon_request_e2e_seconds` and `_tpot_seconds` of completed
  ones.
"""
OWNERS: dict[Owner, str] = {
    "gateway": "Gateways: the requests of this node's gateways",
    "state": "State: of the whole cluster, on the node where state is",
    "exporter": "Exporters: replicas and GPUs of this node",
    "vllm": "Engines: vLLM's own, with `model`, `replica` and `node` before its labels",
}
NATIVE_QUERIES = (
    "histogram_quantile(0.99, sum by (model) (rate(baryon_request_ttft_seconds[5m])))",
    "histogram_fraction(0, 0.5, sum(rate(baryon_request_ttft_seconds[5m])))",
    "histogram_count(sum(rate(baryon_request_e2e_seconds[5m])))",
)
NATIVE = """## Native histograms

{names} have native buckets beside the classic ones:
schema {schema}, {per_doubling} to each doubling from {lowest:.0f} µs to {highest:,.0f} s, so wherever a quantile lies,
it is told within {error:.0f} %. Of {most} buckets only those that have counts are kept and told. What is shorter counts
as zero, what is longer is in the highest. A gateway has room for {room:,} parts of buckets of each metric, some 80 for
each of 100 pairs of model and priority; what comes after that is known as well as by the classic ones.

Engines' own histograms have classic buckets only; Prometheus 3 makes native ones with the same bounds of them
(`convert_classic_histograms_to_nhcb: true`).

They are in the protobuf form of the page. Prometheus asks for it once it is told to:

| Prometheus | native histograms | and the classic ones too |
|---|---|---|
| 2.40 to 2.44 | `--enable-feature=native-histograms`, for all jobs | impossible |
| 2.45 to 2.55 | the same | `scrape_classic_histograms: true` in the job |
| 3.0 to 3.7 | the same | `always_scrape_classic_histograms: true` in the job |
| 3.8 and newer | `scrape_native_histograms: true` in the job | the same |

**Keep the classic ones too**: Prometheus otherwise drops `_bucket`, `_sum` and `_count` of what has native buckets,
and the [dashboards](dashboards.md) ask for `_bucket` (alerts ask for none of these). On Kubernetes
`monitoring.podMonitor.nativeHistograms: true` of the chart sets both of 3.8's.

Queries have no `_bucket` and no `le`: a quantile, the share of requests within half a second, requests per second:

```promql
{queries}
```
"""
TABLE = "| name | type | unit | labels | what it is |\n|---|---|---|---|---|"


def page(metrics: Iterable[Metric]) -> str:
    known = list(metrics)
    sections = [HEAD]
    for owner, title in OWNERS.items():
        rows = [_row(metric) for metric in known if metric.owner == owner]
        sections.append("\n".join([f"## {title}\n", TABLE, *rows, ""]))
    bounds = sorted({metric.buckets for metric in known if metric.buckets}, key=len, reverse=True)
    named = [(", ".join(f"`{m.name}`" for m in known if m.buckets == buckets), buckets) for buckets in bounds]
    lines = [f"- {names}: {', '.join(f'{bound:g}' for bound in buckets)}" for names, buckets in named]
    sections.append("\n".join(["## Classic buckets, in seconds\n", *lines, ""]))
    return "\n".join([*sections, _native(known)])


def _native(metrics: Iterable[Metric]) -> str:
    return NATIVE.format(
        names=", ".join(f"`{metric.name}`" for metric in metrics if metric.has_native_buckets),
        schema=SCHEMA,
        per_doubling=PER_DOUBLING,
        lowest=1e6 * ZERO_THRESHOLD_S,
        highest=BOUNDS_S[-1],
        error=100 * (FACTOR - 1),
        most=HIGHEST - LOWEST,
        room=MOST_FINE_CELLS,
        queries="\n".join(NATIVE_QUERIES),
    )


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    text = metric.help.replace("|", "\\|")
    kind = f"{metric.kind}, native too" if metric.has_native_buckets else metric.kind
    return f"| `{metric.name}` | {kind} | {metric.unit} | {labels} | {text} |"


if __name__ == "__main__":
    sys.stdout.write(page((*BARYON, *VLLM)))
