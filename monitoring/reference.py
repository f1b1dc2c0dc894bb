"""The reference page: `python -m monitoring.reference > docs/metrics.md`."""

import sys
from collections.abc import Iterable

from monitoring.metrics import BARYON, VLLM, Metric, Owner

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
- Text and OpenMetrics. prometheus-client writes no native histograms; Prometheus makes them of these with
  `convert_classic_histograms_to_nhcb: true`.
- Latency histograms are of requests that a replica took, `baryon_request_e2e_seconds` and `_tpot_seconds` of completed
  ones.
"""
OWNERS: dict[Owner, str] = {
    "gateway": "Gateways: the requests of this node's gateways",
    "state": "State: of the whole cluster, on the node where state is",
    "exporter": "Exporters: replicas and GPUs of this node",
    "vllm": "Engines: vLLM's own, with `model`, `replica` and `node` before its labels",
}
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
    sections.append("\n".join(["## Buckets, in seconds\n", *lines, ""]))
    return "\n".join(sections)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    text = metric.help.replace("|", "\\|")
    return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {text} |"


if __name__ == "__main__":
    sys.stdout.write(page((*BARYON, *VLLM)))
