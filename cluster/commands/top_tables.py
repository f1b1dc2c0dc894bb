"""How `baryon top` looks: totals, models, replicas and requests as tables for a terminal of any size."""

from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

COLOURS = {
    "queue": "yellow",
    "retry": "red",
    "engine_queue": "dark_orange",
    "prefill": "blue",
    "decode": "green",
    "engine": "magenta",
}
OTHER = "bright_black"
BAR_LEAST, BAR_MOST = 10, 70
BESIDE_BAR = 66
LINES_BESIDE_REQUESTS = 9
EIGHTHS = " ▏▎▍▌▋▊▉█"

Document = dict[str, Any]


def screen(document: Document, width: int, height: int) -> RenderableType:
    """Requests fill what is left of `height` lines."""
    used = LINES_BESIDE_REQUESTS + len(document["models"]) + len(document["replicas"])
    rows = document["requests"][: max(3, height - used)]
    return Group(
        _totals(document), Text(), _models(document), Text(), _replicas(document), Text(), _requests(rows, width)
    )


def receipt(document: Document, width: int) -> RenderableType:
    """One request's: the sentence, and its stages beside the usual ones."""
    request, usual = document["request"], document["usual"]
    table = Table("stage", box=None, pad_edge=False)
    for title in ("time", "share", *(("usual",) if usual else ())):
        table.add_column(title, justify="right")
    for stage, ms in request["stages_ms"].items():
        share = f"{ms / request['e2e_ms']:.0%}" if request["e2e_ms"] else ""
        normal = (milliseconds(usual["stages"].get(stage, 0.0)),) if usual else ()
        style = "bold" if stage == document["largest"] else ""
        name = Text(stage.replace("_", " "), style=COLOURS.get(stage, ""))
        table.add_row(name, milliseconds(ms), share, *normal, style=style)
    bar = stage_bar(request, request["e2e_ms"], min(BAR_MOST, width))
    return Group(Text(document["sentence"], style="bold"), bar, Text(), table, Text(), *map(Text, _facts(request)))


def _facts(request: Document) -> tuple[str, ...]:
    began = datetime.fromtimestamp(request["began_s"])
    where = f"{request['model'] or 'no model of ours'} on {request['replica'] or 'no replica'}"
    tokens = f"{request['prompt_tokens']} tokens in ({request['cached_tokens']} cached), {request['output_tokens']} out"
    return (
        f"{request['outcome'].replace('_', ' ')} {request['status'] or ''} {request['error_code']}".strip(),
        f"{where}, tenant {request['tenant'] or '-'}",
        f"{tokens}, TTFT {milliseconds(request['ttft_ms'])}",
        f"{began:%d %b %H:%M:%S}  gateway {request['gateway_id']}  {request['request_id']}",
    )


def stage_bar(request: Document, whole_ms: float, width: int) -> Text:
    """`width` characters stand for `whole_ms`."""
    bar, at, so_far_ms = Text(), 0, 0.0
    for stage, ms in request["stages_ms"].items():
        so_far_ms += ms
        end = round(width * so_far_ms / whole_ms) if whole_ms else 0
        bar.append("█" * (end - at), style=COLOURS.get(stage, OTHER))
        at = end
    if not at:
        bar.append("▏", style=OTHER)
        at = 1
    return bar.append(" " * max(0, width - at))


def milliseconds(ms: float | None) -> str:
    if ms is None:
        return "-"
    if ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def _totals(document: Document) -> Text:
    totals = document["totals"]
    text = Text(f"{datetime.fromtimestamp(document['at_s']):%H:%M:%S}  ", style="dim")
    if document["state"]["is_away"]:
        text.append("state away  ", style="bold yellow")
    parts = (
        f"{totals['requests_per_s']:.1f} requests/s",
        f"{totals['output_tokens_per_s']:.0f} tokens/s",
        f"TTFT {milliseconds(totals['ttft_p50_ms'])} / p95 {milliseconds(totals['ttft_p95_ms'])}",
        f"SLO met {_percent(totals['slo_met'])}",
        f"prefix hits {_percent(totals['prefix_hit_rate'])}",
        f"{totals['in_flight']} in flight",
        f"{totals['waiting']} waiting",
    )
    return text.append("   ".join(parts), style="bold")


def _models(document: Document) -> Table:
    titles = ("model", "replicas", "req/s", "tok/s", "TTFT", "p95", "SLO met", "waiting")
    table = _table(titles, left=1)
    for model in document["models"]:
        starting = f" +{model['starting']}" if model["starting"] else ""
        label = " (simulated)" if model["engine"] == "simulated" else ""
        table.add_row(
            f"{model['name']}[dim]{label}[/dim]",
            f"{model['ready']}/{model['target']}{starting}",
            f"{model['requests_per_s']:.1f}",
            f"{model['output_tokens_per_s']:.0f}",
            milliseconds(model["ttft_p50_ms"]),
            milliseconds(model["ttft_p95_ms"]),
            _percent(model["slo_met"]),
            str(model["waiting"] or "-"),
        )
    return table


def _replicas(document: Document) -> Table:
    table = _table(("replica", "node", "stage", "load", "KV cache", "prefix hits", "waiting", "for"), left=3)
    for replica in document["replicas"]:
        stage = "leaving" if replica["is_leaving"] else replica["stage"].replace("_", " ")
        table.add_row(
            replica["replica_id"],
            replica["node_id"][:8],
            f"[{'green' if stage == 'ready' else 'yellow'}]{stage}[/]",
            f"{replica['in_flight']}/{replica['max_in_flight'] or '-'}",
            _gauge(replica["kv_cache_used"]),
            _percent(replica["prefix_hit_rate"]),
            "-" if replica["waiting"] is None else str(replica["waiting"]),
            _for(document["at_s"] - replica["started_at_s"]),
        )
    return table


def _requests(rows: list[Document], width: int) -> RenderableType:
    if not rows:
        return Text("no request has ended yet", style="dim")
    bar_width = max(BAR_LEAST, min(BAR_MOST, width - BESIDE_BAR))
    longest_ms = max(row["e2e_ms"] for row in rows)
    table = Table("began", "model", "", box=None, pad_edge=False)
    for title in ("total", "TTFT", "in", "out"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        ended = "" if row["outcome"] == "completed" else f" [red]{(row['error_code'] or row['outcome'])}[/red]"
        table.add_row(
            f"{datetime.fromtimestamp(row['began_s']):%H:%M:%S}",
            f"{row['model'] or '-'}{ended}",
            stage_bar(row, longest_ms, bar_width),
            milliseconds(row["e2e_ms"]),
            milliseconds(row["ttft_ms"]),
            str(row["prompt_tokens"]),
            str(row["output_tokens"]),
        )
    return Group(table, _legend())


def _legend() -> Text:
    text = Text()
    for stage, colour in COLOURS.items():
        text.append("█ ", style=colour).append(f"{stage.replace('_', ' ')}  ", style="dim")
    return text.append("█ ", style=OTHER).append("the rest", style="dim")


def _table(titles: tuple[str, ...], left: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for at, title in enumerate(titles):
        table.add_column(title, justify="left" if at < left else "right", no_wrap=True)
    return table


def _gauge(share: float | None) -> str:
    if share is None:
        return "-"
    eighths = round(48 * min(1.0, share))
    bar = "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"[blue]{bar:<6}[/blue] {share:4.0%}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _for(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.0f} h"
