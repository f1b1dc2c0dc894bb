"""`baryon bench`: what the gateway costs on this machine."""

import signal
from pathlib import Path
from shutil import which
from typing import Annotated

import typer

from cluster.bench.http_load import LoadError
from cluster.bench.overhead import OverheadError, OverheadPlan
from cluster.bench.overhead_run import MODEL, Peers, run_overhead, write_json
from cluster.bench.peers import PeerError, free_port, ray_serve_llm_is_installed
from cluster.bring_up import BringUpError
from cluster.commands.output import FAILED, EventPrinter, console, fail, print_json
from cluster.ray_head import RayStartError
from cluster.serve_api import ServeApiError

bench = typer.Typer(help="Measure this installation.", no_args_is_help=True)


@bench.callback()
def _bench() -> None:
    """Measure this installation."""


@bench.command()
def overhead(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each target; medians are reported.")] = 9,
    streams: Annotated[int, typer.Option(min=1)] = 32,
    output_tokens: Annotated[int, typer.Option(min=2)] = 64,
    router: Annotated[
        str | None, typer.Option("--vllm-router", help="Where vllm-router is, if not on the PATH.")
    ] = None,
    peers: Annotated[bool, typer.Option(help="Measure vllm-router and Ray Serve LLM too, where installed.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the whole document.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the document here.")] = None,
) -> None:
    """The same engine asked directly and through the gateway, interleaved: throughput ratio and added TTFT.

    Starts a cluster of its own with the tiny model, and ends it. vllm-router and Ray Serve LLM are measured in the same
    rounds where they are installed, each beside an engine without our guard.

    Example: baryon bench overhead --json
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = OverheadPlan(MODEL, streams=streams, output_tokens=output_tokens, rounds=rounds)
    try:
        others = Peers(router or which("vllm-router"), ray_serve_llm_is_installed()) if peers else Peers(None, False)
        document = run_overhead(plan, (free_port(), free_port()), others, (lambda _: None) if json else EventPrinter())
    except (PeerError, BringUpError, RayStartError, ServeApiError, OverheadError, LoadError, OSError) as error:
        fail(str(error), FAILED)
    if out is not None:
        write_json(document, out)
    if json:
        print_json(document)
        return
    console.print(
        f"throughput through the gateway ÷ direct   {document['throughput_ratio']:.3f} "
        f"({document['throughput_ratio_min']:.3f} to {document['throughput_ratio_max']:.3f})\n"
        f"added TTFT, one stream                    {document['ttft_added_ms_p50']:.2f} ms median, "
        f"{document['ttft_added_ms_p95']:.2f} ms p95\n"
        f"gateway resident memory                   {document['gateway_rss_mb']:.0f} MB"
    )
    for name, added in document["peers"].items():
        console.print(
            f"{name:<13} ÷ plain vLLM {added['throughput_ratio']:.3f} "
            f"({added['throughput_ratio_min']:.3f} to {added['throughput_ratio_max']:.3f}), "
            f"added TTFT {added['ttft_added_ms_p50']:.2f} ms median, {added['ttft_added_ms_p95']:.2f} ms p95, "
            f"{added['rss_mb']:.0f} MB"
        )
